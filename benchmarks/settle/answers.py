"""The constants of the head of an extractor, on the questions that examples are drawn from; none that judges is read.

    PYTHONPATH=benchmarks python benchmarks/settle/answers.py DATA [--draws 3] [--only NAME ...] [--temperatures]

DATA holds xquad_en/test.csv.gz. Of its 240 paragraphs the 60 that benchmarks/answers.py draws examples from are used,
with 288 questions. With 16 and 64 examples they are drawn from half of the paragraphs, and 60 questions of the other
half judge; with four fifths of the paragraphs, the others do. One constant is changed at a time, all else stays as it
is. F1 is that of SQuAD, averaged over questions; seconds are those of the processor for one fit, the vectors of tokens
left out.

With --temperatures nothing is changed but what the logarithms of probabilities are divided by, and printed are the mean
probability of the answers, the share that match exactly, the expected calibration error of the former for the latter,
and the log loss of the right answers that are candidates.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from extracts import Example, draw_examples, read_examples, split_paragraphs
from scipy.special import log_softmax

from fewshot import FewshotWarning, SpanHead, load
from fewshot.evaluation import answer_f1, calibration_error, exact_match
from fewshot.strategies import span_head
from fewshot.task.extracts import ExtractTask

#: Parameters of the head, and constants of its module, which begin with an underscore.
CHOICES: dict[str, Sequence[Any]] = {
    "penalty": [0.1, 0.3, 1.0, 3.0],
    "components": [0, 20, 40, 80],
    "markers": [0, 6, 12, 24],
    "layer": [0, 2, 3, 4, 6],
    "_OVERLAP": [1.5, 3.0, 6.0],
    "_FORM": [0.25, 0.5, 1.0],
    "_VECTOR": [0.25, 0.5, 1.0],
    "_MEANING": [0.0, 1.5, 3.0, 6.0],
    "_WRONG": [100, 200, 400],
}
JUDGES = 60
TEMPERATURES = [0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4]


class KeptVectors:
    """A model that reads a text once."""

    def __init__(self, model: Any) -> None:
        self.model, self.kept = model, {}

    def token_vectors(self, texts: Sequence[str], layer: int | None = None) -> list[Any]:
        new = [text for text in texts if (text, layer) not in self.kept]
        found = self.model.token_vectors(new, layer=layer) if new else []
        self.kept.update({(text, layer): one for text, one in zip(new, found, strict=True)})
        return [self.kept[text, layer] for text in texts]


def folds(pool: list[Example], size: int | None, draws: int) -> Iterator[tuple[list[Example], list[Example]]]:
    """Examples, and the questions that judge, of other paragraphs."""
    contexts = sorted({one.asked.context for one in pool})
    for draw in range(draws):
        order = np.random.RandomState(draw).permutation(len(contexts))
        parts = np.array_split(order, 2) if size else np.array_split(order, 5)[draw::draws]
        for part in parts:
            held = {contexts[i] for i in part}
            inside, outside = ([one for one in pool if (one.asked.context in held) == side] for side in (True, False))
            yield (
                (draw_examples(outside, size, draw), inside[:: max(len(inside) // JUDGES, 1)])
                if size
                else (
                    outside,
                    inside,
                )
            )


def measure(
    model: Any, given: dict[str, Any], examples: list[Example], judges: list[Example]
) -> tuple[list[float], float]:
    """The F1 of each question, and the seconds of the fit."""
    head = SpanHead(**given)
    start = time.process_time()
    head.fit_answers(ExtractTask([one.asked for one in examples], [[one.place] for one in examples], None, 8), model)
    seconds = time.process_time() - start
    found = []
    for one, reading in zip(judges, head.answer_readings([one.asked for one in judges]), strict=True):
        place, _ = reading.find()
        found.append(answer_f1([one.answer], [one.asked.context[slice(*place)] if place else ""]))
    return found, seconds


def try_temperatures(model: Any, pool: list[Example], draws: int) -> None:
    """How sure the head may be."""
    print("| examples | temperature | probability | exact | ECE | log loss |\n|---|---|---|---|---|---|")
    for size in (16, 64, None):
        logs, places, right = [], [], []
        for examples, judges in folds(pool, size, draws):
            task = ExtractTask([one.asked for one in examples], [[one.place] for one in examples], None, 8)
            readings = SpanHead().fit_answers(task, model).answer_readings([one.asked for one in judges])
            for one, reading in zip(judges, readings, strict=True):
                texts = [one.asked.context[slice(*place)] for place in reading.places]
                logs.append(reading.log_probabilities)
                places.append(texts.index(one.answer) if one.answer in texts else None)
                right.append(exact_match([one.answer], [texts[int(np.argmax(logs[-1]))]]) == 1)
        for temperature in TEMPERATURES:
            scaled = [log_softmax(own / temperature) for own in logs]
            sure = [float(np.exp(own.max())) for own in scaled]
            loss = np.mean([-own[i] for own, i in zip(scaled, places, strict=True) if i is not None])
            print(
                f"| {size or '4/5'} | {temperature} | {np.mean(sure):.3f} | {np.mean(right):.3f} | "
                f"{calibration_error(sure, right):.3f} | {loss:.3f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--temperatures", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FewshotWarning)
    pool, _ = split_paragraphs(read_examples(options.data / "xquad_en" / "test.csv.gz"))
    model = KeptVectors(load())
    if options.temperatures:
        try_temperatures(model, pool, options.draws)
        return
    print("| constant | value | F1 of 16 | of 64 | of 4/5 | mean | fit s of 4/5 |\n|---|---|---|---|---|---|---|")
    for name in options.only:
        for value in CHOICES[name]:
            before = getattr(span_head, name, None)
            given = {} if name.startswith("_") else {name: value}
            if not given:
                setattr(span_head, name, value)
            means = []
            for size in (16, 64, None):
                rows = [measure(model, given, *fold) for fold in folds(pool, size, options.draws)]
                means.append(float(np.mean([f1 for found, _ in rows for f1 in found])))
            if not given:
                setattr(span_head, name, before)
            shown = " | ".join(f"{mean:.3f}" for mean in (*means, np.mean(means)))
            print(f"| {name} | {value} | {shown} | {np.mean([seconds for _, seconds in rows]):.1f} |", flush=True)


if __name__ == "__main__":
    main()
