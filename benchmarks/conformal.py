"""Coverage and size of conformal sets on real texts, against the 0.90 that alpha = 0.1 promises.

    python benchmarks/conformal.py DATA [--splits 100] [--rows 500]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label. ``Embedding()`` with the default
encoder learns from 8 training rows per class (16 on banking77; seed 0) and scores all test rows once. Then, for each
split, 500 random test rows calibrate a `ConformalClassifier` and the others are measured. "empty" is the share of sets
without a class.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from data import draw, read
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator

from fewshot import Classifier, Embedding, load
from fewshot.conformal import ConformalClassifier

SHOTS = {"ag_news": 8, "banking77": 16, "sms_spam": 8}


class Recorded(ClassifierMixin, BaseEstimator):
    """What a classifier said of each text, so that a hundred splits cost one pass of the encoder."""

    def __init__(self, classes_: Any, said: dict[str, Any]) -> None:
        self.classes_ = classes_
        self.said = said

    def predict_proba(self, X: Any) -> Any:
        return np.array([self.said[text] for text in X])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--rows", type=int, default=500)
    options = parser.parse_args()
    encoder = load()
    print("| set | classes | accuracy | method | coverage | its deviation | mean set size | empty |")
    print("| --- " * 8 + "|")
    for name, shots in SHOTS.items():
        train, test = read(options.data / name, "train"), read(options.data / name, "test")
        shown = draw(train, shots, 0)
        clf = Classifier(encoder, strategy=Embedding(), random_state=0).fit(shown.text, shown.label)
        texts, labels = test.text.to_numpy(), test.label.to_numpy()
        proba = clf.predict_proba(texts)
        recorded = FrozenEstimator(Recorded(clf.classes_, dict(zip(texts, proba, strict=True))))
        where = np.searchsorted(clf.classes_, labels)
        accuracy = (proba.argmax(axis=1) == where).mean()
        for method in ("lac", "aps"):
            measured = []
            for seed in range(options.splits):
                order = np.random.default_rng(seed).permutation(len(texts))
                seen, new = order[: options.rows], order[options.rows :]
                conformal = ConformalClassifier(recorded, 0.1, method=method).fit(texts[seen], labels[seen])
                sets = conformal.predict_set(texts[new])
                sizes = sets.sum(axis=1)
                measured.append([sets[np.arange(len(new)), where[new]].mean(), sizes.mean(), (sizes == 0).mean()])
            coverage, size, empty = np.mean(measured, axis=0)
            print(
                f"| {name} | {len(clf.classes_)} | {accuracy:.3f} | {method} | {coverage:.3f} | "
                f"{np.std(measured, axis=0)[0]:.3f} | {size:.2f} | {empty:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
