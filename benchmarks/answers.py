"""Answers out of a text from few answered questions, or from none: F1 and exact matches, and seconds.

    PYTHONPATH=benchmarks python benchmarks/answers.py DATA [--sizes 16 64 256] [--draws 5] [--ways head]
    PYTHONPATH=benchmarks python benchmarks/answers.py DATA --questions 60 --sizes 16 --draws 2 --ways WAY ...

DATA holds xquad_en/test.csv.gz with the columns context, question, answer and answer_start: 1,190 questions about 240
paragraphs. Examples are drawn from 60 paragraphs under a seed, which have 288 questions; 40 have too few for 256. The
902 questions of the other 180 judge, or so many of them, drawn under a seed; none of them was looked at for any choice.

F1 and exact matches (EM) are those of SQuAD, averaged over questions, and then over draws; beside F1 is its standard
deviation over draws. Fit is seconds for one fit, reading of texts included, and the other seconds are for a question;
both are medians over draws, of the processor / by the clock. A language model answers with the most probable span of at
most 8 words, or with the first line of what it writes greedily, where the same prompt ends; transformers' generate is
called for each question.
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
from asking import WrittenAnswers
from extracts import Example, draw_examples, read_examples, split_paragraphs

from fewshot import FewshotWarning, FineTuning, Prompting, SpanHead, load
from fewshot.evaluation import answer_f1, exact_match
from fewshot.models.base import FloatArray, Query
from fewshot.strategies.extracting import AskedSpans
from fewshot.task.extracts import Asked, ExtractTask

#: What prompts show of the examples, as tried by hand on training questions; the README says how.
NEAREST, RANDOM = (Prompting(shots=2, selection=selection) for selection in ("nearest", "random"))
#: What answers, and with which model.
WAYS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "head": lambda: (SpanHead(), load()),
    "head, no vectors": lambda: (SpanHead(components=0), load()),
    "head, masked": lambda: (SpanHead(), load("embedded:masked")),
    "tuned": lambda: (FineTuning("span"), load()),
    "zero-shot, exact": lambda: (AskedSpans(Prompting()), load_lm()),
    "zero-shot, greedy": lambda: (WrittenAnswers(Prompting()), load_lm()),
    "zero-shot, generate": lambda: (WrittenAnswers(Prompting(), peer=True), load_lm()),
    "zero-shot, exact, plain": lambda: (AskedSpans(Prompting()), load_lm(chat=False)),
    "zero-shot, greedy, plain": lambda: (WrittenAnswers(Prompting()), load_lm(chat=False)),
    "random, exact": lambda: (AskedSpans(RANDOM), load_lm()),
    "random, greedy": lambda: (WrittenAnswers(RANDOM), load_lm()),
    "nearest, exact": lambda: (AskedSpans(NEAREST), load_lm()),
}


def load_lm(*, chat: bool = True) -> Any:
    lm = load("embedded:causal", dtype="float32", chat=chat)
    lm.most_probable([Query("The capital of France is", (" Rome", " Paris"))], 1)  # what is compared once a model
    return lm


def measure(strategy: Any, model: Any, examples: list[Example], judges: list[Example]) -> list[float]:
    """F1, exact matches, and seconds of the fit and of a question: of the processor, and by the clock."""
    task = ExtractTask([one.asked for one in examples], [[one.place] for one in examples], None, 8)
    start = read_clocks()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewshotWarning)  # of answers that are no candidates: they count as wrong
        strategy.fit_answers(task, model, random_state=0)
    fitted = read_clocks()
    asked = [one.asked for one in judges]
    given = strategy.answer_texts(asked) if isinstance(strategy, WrittenAnswers) else find_texts(strategy, asked)
    seconds = (read_clocks() - fitted) / len(judges)
    right = [one.answer for one in judges]
    return [answer_f1(right, given), exact_match(right, given), *(fitted - start), *seconds]


def read_clocks() -> FloatArray:
    return np.array([time.process_time(), time.perf_counter()])


def find_texts(strategy: Any, asked: list[Asked]) -> list[str]:
    found = []
    for one, reading in zip(asked, strategy.answer_readings(asked), strict=True):
        place, _ = reading.find()
        found.append(one.context[slice(*place)] if place else "")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["head"])
    parser.add_argument("--questions", type=int, help="how many judge; all, where it is not said")
    options = parser.parse_args()
    pool, judges = split_paragraphs(read_examples(options.data / "xquad_en" / "test.csv.gz"))
    if options.questions is not None:
        judges = draw_examples(judges, options.questions, 0)
    print(f"{len(judges)} questions judge, {options.draws} draws of {len(pool)} questions", flush=True)
    print("| way | examples | F1 (sd) | EM | fit s | s a question |")
    print("|---|---|---|---|---|---|")
    for way in options.ways:
        strategy, model = WAYS[way]()
        for size, draws in [(0, 1)] if way.startswith("zero-shot") else [(n, options.draws) for n in options.sizes]:
            rows = [measure(strategy, model, draw_examples(pool, size, seed), judges) for seed in range(draws)]
            f1, matches, *seconds = np.array(rows).T
            fit, fit_clock, ask, ask_clock = map(np.median, seconds)
            said = f"{f1.mean():.3f} ({f1.std():.3f}) | {matches.mean():.3f} | {fit:.1f} / {fit_clock:.1f}"
            print(f"| {way} | {size} | {said} | {ask:.3f} / {ask_clock:.3f} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
