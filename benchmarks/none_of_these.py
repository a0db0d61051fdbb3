"""Answers or "none of these" on clinc150: the precision asked of `fit_threshold`, and the one reached on new texts.

    python benchmarks/none_of_these.py DATA [--precision 0.9] [--shots 8] [--seeds 0 1 2] [--splits 100] [--tuned]

DATA holds the folder clinc150 with train.csv.gz and test.csv.gz, columns text and label. Its label "oos" is that of
texts of none of the 150 classes. The classifier learns from a few training rows of each class and from none of these.
The threshold is settled on other training rows, all 100 of no class and 3 of each class, since 1,000 of the 5,500 test
rows are of no class; the test rows are new then. Or it is settled on as many test rows, and the other test rows are
new: the mean and the deviation of random splits. "Accuracy there" is that of the rows of a class that settle it, if
all were answered. "Precision" is the share of right answers among all answers: any answer to a row of no class is
wrong. "Answered" is the share of the new rows. Seconds are those of the processor to fit, with encoding.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from conformal import Recorded
from data import draw, read, spaced

from fewshot import Classifier, Contrastive, Embedding, fit_threshold, load, predict_or_none

NONE = "oos"
MEASURES = ["accuracy there", "threshold", "precision there", "precision, new", "answered", "of a class", "of none"]


def measure(classifier: Any, settling: pd.DataFrame, new: pd.DataFrame, precision: float) -> list[float]:
    """What the threshold promises on the rows that settle it, and what it gives on new ones."""
    threshold = fit_threshold(classifier, settling.text, settling.label, precision, none_label=NONE)
    known = settling[settling.label != NONE]
    line = [float(np.mean(predict_or_none(classifier, known.text, 0, none_label=NONE) == known.label)), threshold]
    for rows in (settling, new):
        answers = predict_or_none(classifier, rows.text, threshold, none_label=NONE)
        given = answers != NONE
        line.append(float(np.mean(answers[given] == rows.label[given])))
    none = new.label == NONE
    return [*line, *(float(given[rows].mean()) for rows in (none | True, ~none, none))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--precision", type=float, default=0.9)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--tuned", action="store_true", help="tune the encoder")
    options = parser.parse_args()
    encoder = load()
    train, test = (spaced(read(options.data / "clinc150", part)) for part in ("train", "test"))
    none = train[train.label == NONE]
    known = train.drop(none.index)
    print(f"| seed | settled on | {' | '.join(MEASURES)} | seconds |\n{'| --- ' * (len(MEASURES) + 3)}|")
    for seed in options.seeds:
        shown = draw(known, options.shots, seed)
        settling = pd.concat([draw(known.drop(shown.index), 3, seed), none])
        strategy = Embedding(tuning=Contrastive() if options.tuned else None)
        started = time.process_time()
        classifier = Classifier(encoder, strategy=strategy, random_state=0).fit(shown.text, shown.label)
        spent = time.process_time() - started
        texts = pd.concat([settling.text, test.text]).tolist()
        said = Recorded(classifier.classes_, dict(zip(texts, classifier.predict_proba(texts), strict=True)))
        line = measure(said, settling, test, options.precision)
        print(f"| {seed} | training rows | {' | '.join(f'{one:.3f}' for one in line)} | {spent:.1f} |", flush=True)
        lines = []
        for split in range(options.splits):
            other = test.sample(len(settling), random_state=split)
            lines.append(measure(said, other, test.drop(other.index), options.precision))
        means, spreads = np.mean(lines, axis=0), np.std(lines, axis=0)
        cells = (f"{mean:.3f} ({spread:.3f})" for mean, spread in zip(means, spreads, strict=True))
        print(f"| {seed} | other test rows | {' | '.join(cells)} | |", flush=True)


if __name__ == "__main__":
    main()
