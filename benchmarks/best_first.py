"""What the most probable span of a text costs: best-first search, all spans, and free answers (embedded:causal).

    pip install -e ".[bench]"
    python benchmarks/best_first.py DATA [--dtype float32 bfloat16] [--questions 16] [--all 4]

DATA holds xquad_en/test.csv.gz, columns context and question. Questions are drawn from 40 paragraphs, those that
benchmarks leave out of their tests; candidates are all spans of at most 8 words. Seconds are those of one thread of the
processor, tokenising included, for one question, all asked in one call; transformers' generate is called for each.
"Of greedy" is the share of our greedy answer of 10 tokens. "Looked at" are the beginnings of spans that went through
the model, and all there are. All spans are scored for the first questions only (``--all``), and are compared with what
was found.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fewshot import load
from fewshot.models.base import Query
from fewshot.models.engine import best_first
from fewshot.models.ranking import rank
from fewshot.task.words import split_words

PARAGRAPHS, WORDS, NEW = 40, 8, 10


def draw_queries(data: Path, n: int) -> list[Query]:
    rows = pd.read_csv(data / "xquad_en" / "test.csv.gz", keep_default_na=False, dtype=str)
    contexts = np.random.RandomState(0).permutation(rows["context"].unique())[:PARAGRAPHS]
    drawn = rows[rows["context"].isin(contexts)].sample(n, random_state=0)
    return [
        Query(f"{context}\n\nQuestion: {question}\nAnswer: ", spans(context))
        for context, question in zip(drawn["context"], drawn["question"], strict=True)
    ]


def spans(text: str) -> tuple[str, ...]:
    words = split_words(text)
    return tuple(
        dict.fromkeys(text[start:end] for i, (start, _) in enumerate(words) for _, end in words[i : i + WORDS])
    )


def clock(work: Callable[[], Any], n: int) -> tuple[float, Any]:
    start = time.process_time()
    found = work()
    return (time.process_time() - start) / n, found


def generate(lm: Any, queries: list[Query]) -> None:
    """One prompt after the other by transformers' own generate."""
    for query in queries:
        ids = lm.tokenizer(query.prefix.rstrip(" "), return_tensors="pt").input_ids
        with torch.inference_mode():
            lm.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)


def search(lm: Any, queries: list[Query], k: int) -> tuple[float, list[Any], float]:
    made: list[Any] = []
    init = best_first.Searches.__init__

    def noted(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        made.append(self)

    best_first.Searches.__init__ = noted  # type: ignore[method-assign]
    lm._continued._known = {}  # tokens that an earlier way has left
    seconds, found = clock(lambda: lm.most_probable(queries, k), len(queries))
    best_first.Searches.__init__ = init  # type: ignore[method-assign]
    return seconds, found, sum(searches.n_looked for searches in made) / len(queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--all", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    queries = draw_queries(args.data, args.questions)
    print(f"{np.mean([len(query.candidates) for query in queries]):.0f} spans a question\n")
    print("| type | way | seconds a question | of greedy | looked at |\n| --- | --- | --- | --- | --- |")
    for dtype in args.dtype:
        lm = load("embedded:causal", dtype=dtype, chat=False)
        lm.most_probable(queries[:1], 1)  # what is compared once a model is no part of the price
        joined = lm._joined(queries)
        nodes = np.mean([len({rest[:i] for rest in one.rests for i in range(len(rest))}) for one in joined])
        greedy, _ = clock(lambda lm=lm: lm.generate(queries, NEW), len(queries))  # type: ignore[misc]
        print(f"| {dtype} | greedy, {NEW} tokens | {greedy:.2f} | 1.0 | |", flush=True)
        for k in (1, 5):
            seconds, found, looked = search(lm, queries, k)
            print(
                f"| | best-first, k={k} | {seconds:.2f} | {seconds / greedy:.1f} | {looked:.0f} of {nodes:.0f} |",
                flush=True,
            )
        seconds, _ = clock(lambda lm=lm: generate(lm, queries), len(queries))  # type: ignore[misc]
        print(f"| | transformers' generate | {seconds:.2f} | {seconds / greedy:.1f} | |", flush=True)
        if args.all:
            lm._continued._known = {}
            part = queries[: args.all]
            seconds, scores = clock(lambda lm=lm, part=part: lm.loglikelihoods(part), len(part))  # type: ignore[misc]
            pairs = list(zip(scores, found, strict=False))
            same = sum(rank(one.logprobs, 1).indices[0] == best.indices[0] for one, best in pairs)
            apart = max(np.abs(one.logprobs[best.indices] - best.logprobs).max() for one, best in pairs)
            said = f"{same} of {len(part)} have the same best span, log-probabilities differ by {apart:.1g}"
            print(f"| | all spans | {seconds:.2f} | {seconds / greedy:.1f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
