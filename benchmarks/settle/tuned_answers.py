"""The constants of FineTuning("span"), one changed at a time, beside the frozen head of an extractor.

    PYTHONPATH=benchmarks python benchmarks/settle/tuned_answers.py DATA [--sizes 16 64] [--draws 1]
        [--only NAME ...]

DATA holds xquad_en/test.csv.gz. Examples and the questions that judge are drawn as in benchmarks/settle/answers.py,
from the paragraphs of training questions: twice a draw, with the halves of the paragraphs changed over. Each cell is
the mean F1 of questions; seconds are those of the processor for one fit, with one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from answers import folds
from extracts import Example, read_examples, split_paragraphs

from fewshot import FineTuning, LoRA, SpanHead, load
from fewshot.evaluation import answer_f1
from fewshot.task.extracts import ExtractTask
from fewshot.training import finetune_span


def span(layer: int | None = None, parameters: Any = "all", *, pairs: bool = True, **settings: Any) -> FineTuning:
    """A strategy whose head reads a layer."""
    return FineTuning("span", parameters, head=SpanHead(layer, pairs=pairs), **settings)


#: What is compared, and after how many steps the head is fitted again where that is not the default.
VARIANTS: dict[str, tuple[Any, int | None]] = {
    "frozen": (SpanHead(), None),
    **{f"frozen pairs, layer {n}": (SpanHead(n, pairs=True), None) for n in (3, 4, 6)},
    "default": (span(), None),
    "texts alone": (span(pairs=False), None),
    **{f"rate {rate:g}": (span(learning_rate=rate), None) for rate in (3e-5, 1e-4, 3e-4)},
    **{f"layer {n}": (span(n), None) for n in (3, 4, 6)},
    **{f"steps {n}": (span(steps=n), None) for n in (6, 12, 24, 48, 96)},
    **{f"refit {n}, rate 3e-4": (span(learning_rate=3e-4), n) for n in (5, 10)},
    "bias": (span(None, "bias"), None),
    "LoRA": (span(None, LoRA()), None),
}


def measure(
    model: Any, strategy: Any, refit: int | None, examples: list[Example], judges: list[Example]
) -> tuple[list[float], float]:
    """The F1 of each question, and the seconds of the fit."""
    task = ExtractTask([one.asked for one in examples], [[one.place] for one in examples], None, 8)
    started = time.process_time()
    with mock.patch.object(finetune_span, "REFIT", refit or finetune_span.REFIT):
        strategy.fit_answers(task, model, random_state=0)
    seconds = time.process_time() - started
    found = []
    for one, reading in zip(judges, strategy.answer_readings([one.asked for one in judges]), strict=True):
        place, _ = reading.find()
        found.append(answer_f1([one.answer], [one.asked.context[slice(*place)] if place else ""]))
    return found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pool, _ = split_paragraphs(read_examples(options.data / "xquad_en" / "test.csv.gz"))
    model = load(cache_bytes=0)
    print("| variant | " + " | ".join(f"F1 of {size}" for size in options.sizes) + " | mean | fit s |")
    print("| --- " * (3 + len(options.sizes)) + "|")
    for variant in options.only:
        means, seconds = [], 0.0
        for size in options.sizes:
            rows = [measure(model, *VARIANTS[variant], *fold) for fold in folds(pool, size, options.draws)]
            means.append(float(np.mean([f1 for found, _ in rows for f1 in found])))
            seconds = float(np.mean([took for _, took in rows]))
        numbers = " | ".join(f"{one:.3f}" for one in [*means, np.mean(means)])
        print(f"| {variant} | {numbers} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
