"""Answers out of a text from few answered questions: F1 and exact matches, and seconds.

    PYTHONPATH=benchmarks python benchmarks/answers.py DATA [--sizes 16 64 256] [--draws 5] [--ways head]

DATA holds xquad_en/test.csv.gz with the columns context, question, answer and answer_start: 1,190 questions about 240
paragraphs. Examples are drawn from 60 paragraphs under a seed, which have 288 questions; 40 have too few for 256. The
902 questions of the other 180 judge, and none of them was looked at for any choice.

F1 and exact matches (EM) are those of SQuAD, averaged over questions, and then over draws; beside F1 is its standard
deviation over draws. Fit is seconds for one fit, reading of texts included, and the other seconds are for a question,
all by the clock; both are medians over draws.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from extracts import Example, draw_examples, read_examples, split_paragraphs

from fewshot import FewshotWarning, FineTuning, SpanHead, load
from fewshot.evaluation import answer_f1, exact_match
from fewshot.task.extracts import ExtractTask

#: What answers, and with which model.
WAYS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "head": lambda: (SpanHead(), load()),
    "head, no vectors": lambda: (SpanHead(components=0), load()),
    "head, masked": lambda: (SpanHead(), load("embedded:masked")),
    "tuned": lambda: (FineTuning("span"), load()),
}


def measure(strategy: Any, model: Any, examples: list[Example], judges: list[Example]) -> tuple[float, ...]:
    """F1, exact matches, seconds of the fit and seconds a question."""
    task = ExtractTask([one.asked for one in examples], [[one.place] for one in examples], None, 8)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewshotWarning)  # of answers that are no candidates: they count as wrong
        strategy.fit_answers(task, model, random_state=0)
    fitted = time.perf_counter()
    readings = strategy.answer_readings([one.asked for one in judges])
    seconds = time.perf_counter() - fitted
    given = []
    for one, reading in zip(judges, readings, strict=True):
        place, _ = reading.find()
        given.append(one.asked.context[slice(*place)] if place else "")
    right = [one.answer for one in judges]
    return answer_f1(right, given), exact_match(right, given), fitted - start, seconds / len(judges)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["head"])
    options = parser.parse_args()
    pool, judges = split_paragraphs(read_examples(options.data / "xquad_en" / "test.csv.gz"))
    print(f"{len(judges)} questions judge, {options.draws} draws of {len(pool)} questions", flush=True)
    print("| way | examples | F1 (sd) | EM | fit s | s a question |")
    print("|---|---|---|---|---|---|")
    for way in options.ways:
        strategy, model = WAYS[way]()
        for size in options.sizes:
            rows = [measure(strategy, model, draw_examples(pool, size, seed), judges) for seed in range(options.draws)]
            f1, matches, fit, ask = np.array(rows).T
            print(
                f"| {way} | {size} | {f1.mean():.3f} ({f1.std():.3f}) | {matches.mean():.3f} | {np.median(fit):.1f} | "
                f"{np.median(ask):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
