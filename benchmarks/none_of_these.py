"""Answers or "none of these" on clinc150: the precision asked of `fit_threshold`, and the one reached on new texts.

    python benchmarks/none_of_these.py DATA [--precision 0.9] [--shots 8] [--seeds 0 1 2 3 4] [--tuned]

DATA holds the folder clinc150 with train.csv.gz and test.csv.gz, columns text and label. Its label "oos" is that of
texts of none of the 150 classes. The classifier learns from a few training rows of each class and from none of these.
The threshold is settled on other training rows: all 100 of no class and 3 of each class, since 1,000 of the 5,500 test
rows are of no class. "Precision" is the share of right answers among all answers: any answer to a row of no class is
wrong. "Accuracy" is that of the rows of a class, if all were answered. Seconds are those of the processor to fit, with
encoding.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from data import draw, read, spaced

from fewshot import Classifier, Contrastive, Embedding, fit_threshold, load, predict_or_none

NONE = "oos"
MEASURES = ["accuracy", "threshold", "precision, settling", "precision, test", "answered", "of a class", "of none"]


def measure(classifier: Any, settling: pd.DataFrame, test: pd.DataFrame, precision: float) -> list[float]:
    """What the threshold promises on the rows that settle it, and what it gives on test rows."""
    threshold = fit_threshold(classifier, settling.text, settling.label, precision, none_label=NONE)
    line = [float(np.mean(classifier.predict(test.text) == test.label) / np.mean(test.label != NONE)), threshold]
    for rows in (settling, test):
        answers = predict_or_none(classifier, rows.text, threshold, none_label=NONE)
        given = answers != NONE
        line.append(float(np.mean(answers[given] == rows.label[given])))
    none = test.label == NONE
    return [*line, *(float(given[rows].mean()) for rows in (none | True, ~none, none))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--precision", type=float, default=0.9)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tuned", action="store_true", help="also tune the encoder, on the first seed alone")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the calibration of some hundred rows
    encoder = load()
    train, test = (spaced(read(options.data / "clinc150", part)) for part in ("train", "test"))
    none = train[train.label == NONE]
    known = train.drop(none.index)
    print(f"| encoder | seed | {' | '.join(MEASURES)} | seconds |\n{'| --- ' * (len(MEASURES) + 3)}|")
    ways = [("frozen", None, options.seeds), ("tuned", Contrastive(), options.seeds[:1] * options.tuned)]
    for way, tuning, seeds in ways:
        lines = []
        for seed in seeds:
            shown = draw(known, options.shots, seed)
            settling = pd.concat([draw(known.drop(shown.index), 3, seed), none])
            classifier = Classifier(encoder, strategy=Embedding(tuning=tuning), random_state=0)
            started = time.process_time()
            classifier.fit(shown.text, shown.label)
            spent = time.process_time() - started
            line = [*measure(classifier, settling, test, options.precision), spent]
            lines.append(line)
            print_line(way, str(seed), line)
        if len(lines) > 1:
            print_line(way, "mean", np.mean(lines, axis=0).tolist())


def print_line(way: str, seed: str, line: list[float]) -> None:
    """Print a line of the table."""
    print(f"| {way} | {seed} | {' | '.join(f'{one:.3f}' for one in line[:-1])} | {line[-1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
