"""Writer against transformers' generate, and against a translation memory: Multi30k, English to German or French.

    python benchmarks/writing.py DATA [--model embedded:causal] [--rows 24] [--pairs 5000] [--to de] [--selections ...]

DATA holds multi30k/train.csv.gz and multi30k/test.csv.gz, columns en, de and fr. The first test rows are translated
after 8 demonstrations from the first training pairs, once the nearest of each row, which prompts hardly share, and once
the same for all rows. transformers' ``generate`` continues the same prompts greedily, row by row and in batches that
are padded on the left, with ``stop_strings``; its texts are cut at the stop. The translation memory answers with the
translation of the nearest source sentence. Times are of
the processor, in one run, on one thread where OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fewshot import Prompting, Writer, load
from fewshot.evaluation import evaluate_texts
from fewshot.models.base import Query
from fewshot.models.text.stops import cut_at_stop

NAMES = {"de": "German", "fr": "French"}
STOP, NEW, BATCH = "\n", 48, 8


def timed(f: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = f()
    return time.process_time() - start, found


def plain(lm: Any, queries: list[Query], batch: int, new: int = NEW, stop: Sequence[str] = (STOP,)) -> list[str]:
    """What transformers writes after the same tokens, cut at a stop text."""
    prompts = [lm._continued.prompt(query) for query in queries]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    pad, answers = lm.tokenizer.pad_token_id or lm.tokenizer.eos_token_id, [""] * len(prompts)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = max(len(prompts[i]) for i in part)
        ids = torch.tensor([[pad] * (width - len(prompts[i])) + list(prompts[i]) for i in part])
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in part])
        more = {"stop_strings": list(stop), "tokenizer": lm.tokenizer} if stop else {}
        with torch.inference_mode():
            out = lm.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=new, do_sample=False, pad_token_id=pad, **more
            )
        for i, text in zip(part, lm.tokenizer.batch_decode(out[:, width:], skip_special_tokens=True), strict=True):
            answers[i] = cut_at_stop(text, stop)
    return answers


def memory(source: list[str], target: list[str], texts: list[str]) -> list[str]:
    """The translation of the nearest source sentence."""
    encoder = load()
    vectors = [np.asarray(encoder.encode(one), dtype=np.float64) for one in (source, texts)]
    pool, asked = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in vectors)
    return [target[i] for i in (asked @ pool.T).argmax(axis=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="embedded:causal")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--to", choices=sorted(NAMES), default="de")
    parser.add_argument("--selections", nargs="+", default=["random", "nearest"])
    args = parser.parse_args()
    train, test = (
        pd.read_csv(args.data / "multi30k" / f"{name}.csv.gz", keep_default_na=False, dtype=str)
        for name in ("train", "test")
    )
    train, test = train[: args.pairs], test[: args.rows]
    texts, true = test.en.tolist(), test[args.to].tolist()
    lm = load(args.model, dtype="float32").with_chat(False)
    template = f"English: {{{{ text }}}}\n{NAMES[args.to]}: {{{{ answer }}}}"
    print(f"{args.model}, float32, {len(texts)} rows, {len(train)} pairs, {torch.get_num_threads()} threads\n")
    print(
        "| 8 demonstrations | Writer, s | generate row by row, s | ratio | in batches, s | ratio | equal texts | chrF |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for selection in args.selections:
        writer = Writer(
            lm, template, strategy=Prompting(shots=8, selection=selection), max_new_tokens=NEW, random_state=0
        )
        writer.fit(train.en.tolist(), train[args.to].tolist())
        queries = writer.asking_.ask(texts).queries
        lm.generate(queries[:1], 2, [STOP])  # the self-check of the engine
        ours, found = timed(lambda own=queries: lm.generate(own, NEW, [STOP]))
        rows, expected = timed(lambda own=queries: plain(lm, own, 1))
        batches, _ = timed(lambda own=queries: plain(lm, own, BATCH))
        same = np.mean([a == b for a, b in zip(found, expected, strict=True)])
        chrf = evaluate_texts(true, [text.strip() for text in found]).metrics.loc["chrF"]
        print(
            f"| {selection} | {ours:.1f} | {rows:.1f} | {rows / ours:.1f} | {batches:.1f} | {batches / ours:.1f} | "
            f"{same:.0%} | {chrf['value']:.1f} [{chrf['low']:.1f}, {chrf['high']:.1f}] |",
            flush=True,
        )
    baselines = {
        "translation memory": memory(train.en.tolist(), train[args.to].tolist(), texts),
        "the source, copied": texts,
    }
    for name, said in baselines.items():
        chrf = evaluate_texts(true, said).metrics.loc["chrF"]
        print(f"| {name} | | | | | | | {chrf['value']:.1f} [{chrf['low']:.1f}, {chrf['high']:.1f}] |")
    print(f"\nThe first of what is written: {found[0].strip()!r} for {texts[0]!r}.")


if __name__ == "__main__":
    main()
