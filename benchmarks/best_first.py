"""What the most probable span of a text costs: best-first search, all spans, and free answers (embedded:causal).

    pip install -e ".[bench]"
    PYTHONPATH=benchmarks python benchmarks/best_first.py DATA [--dtype float32] [--questions 16] [--all 4] [--chat]

DATA holds xquad_en/test.csv.gz, columns context and question. Questions are drawn from 40 paragraphs, those that
benchmarks leave out of their tests; candidates are all spans of at most 8 words. The ways take turns, eight questions
in one call each, but for transformers' generate, which is called for each question. Seconds are those of one thread
for one question, tokenising included: of the processor, and by the clock. "Of greedy" is the share of the processor's
seconds of our greedy answer of 10 tokens. "Looked at" are the beginnings of spans that went through the model, and all
there are. All spans are scored for the first questions only (``--all``), and are compared with what was found.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from writing import plain

from fewshot import load
from fewshot.models.base import FloatArray, Query
from fewshot.models.engine import best_first
from fewshot.models.ranking import rank
from fewshot.task.words import split_words

PARAGRAPHS, WORDS, NEW = 40, 8, 10
BLOCK = 8  # questions in one call
TOPS = (1, 3, 5)  # an Extractor looks for three
GREEDY, SEARCH, PEER, ALL = f"greedy, {NEW} tokens", "best-first, k={}", "transformers' generate", "all spans"


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


def clock(work: Callable[[], Any]) -> tuple[FloatArray, Any]:
    """Seconds of the processor and by the clock, and what is found."""
    start = np.array([time.process_time(), time.perf_counter()])
    found = work()
    return np.array([time.process_time(), time.perf_counter()]) - start, found


def blocks(queries: list[Query]) -> list[list[Query]]:
    return [queries[i : i + BLOCK] for i in range(0, len(queries), BLOCK)]


def search(lm: Any, queries: list[Query], k: int) -> tuple[FloatArray, list[Any], int]:
    """Seconds, what is found, and how many beginnings are looked at."""
    made: list[Any] = []
    init = best_first.Searches.__init__

    def noted(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        made.append(self)

    best_first.Searches.__init__ = noted  # type: ignore[method-assign]
    lm._continued._known = {}  # tokens that an earlier way has left
    seconds, found = clock(lambda: lm.most_probable(queries, k))
    best_first.Searches.__init__ = init  # type: ignore[method-assign]
    return seconds, found, sum(searches.n_looked for searches in made)


def measure(lm: Any, queries: list[Query]) -> tuple[dict[str, FloatArray], dict[int, int], list[Any]]:
    """Seconds of each way, how many beginnings each search looks at, and what the last one finds."""
    seconds: dict[str, FloatArray] = defaultdict(lambda: np.zeros(2))
    looked: dict[int, int] = defaultdict(int)
    found = []
    for part in blocks(queries):
        seconds[GREEDY] += clock(lambda own=part: lm.generate(own, NEW))[0]  # type: ignore[misc]
        for k in TOPS:
            passed, best, n = search(lm, part, k)
            seconds[SEARCH.format(k)] += passed
            looked[k] += n
        seconds[PEER] += clock(lambda own=part: plain(lm, own, 1, NEW, ()))[0]  # type: ignore[misc]
        found += best
    return seconds, looked, found


def compare_all(lm: Any, queries: list[Query], found: list[Any]) -> tuple[FloatArray, str]:
    """Seconds of scoring all spans, and whether that says what was found."""
    lm._continued._known = {}
    seconds, scores = clock(lambda: lm.loglikelihoods(queries))
    pairs = list(zip(scores, found, strict=False))
    same = sum(rank(one.logprobs, 1).indices[0] == best.indices[0] for one, best in pairs)
    apart = max(np.abs(one.logprobs[best.indices] - best.logprobs).max() for one, best in pairs)
    return seconds, f"{same} of {len(queries)} have the same best span, log-probabilities differ by {apart:.1g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--all", type=int, default=4)
    parser.add_argument("--chat", action="store_true", help="in the model's chat format, as an Extractor asks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    queries = draw_queries(args.data, args.questions)
    print(f"{np.mean([len(query.candidates) for query in queries]):.0f} spans a question\n")
    print("| type | way | seconds a question | by the clock | of greedy | looked at |\n" + "| --- " * 6 + "|")
    for dtype in args.dtype:
        lm = load("embedded:causal", dtype=dtype, chat=args.chat)
        lm.most_probable(queries[:1], 1)  # what is compared once a model is no part of the price
        joined = lm._joined(queries)
        nodes = sum(len({rest[:i] for rest in one.rests for i in range(len(rest))}) for one in joined)
        seconds, looked, found = measure(lm, queries)
        n = len(queries)
        said = {SEARCH.format(k): f"{own / n:.0f} of {nodes / n:.0f}" for k, own in looked.items()}
        rows = {way: passed / n for way, passed in seconds.items()}
        if args.all:
            passed, said[ALL] = compare_all(lm, queries[: args.all], found)
            rows[ALL] = passed / args.all
        for way, (own, clocked) in rows.items():
            share = own / rows[GREEDY][0]
            print(f"| {dtype} | {way} | {own:.2f} | {clocked:.2f} | {share:.2f} | {said.get(way, '')} |", flush=True)


if __name__ == "__main__":
    main()
