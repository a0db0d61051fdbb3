"""Probabilities that can be trusted: calibrations and readouts of one language model, with 0, 4 and 16 labels a class.

    python benchmarks/calibration.py DATA [--model embedded:masked] [--seeds 0 1 2 3 4] [--sets ...] [--rows-from test]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label. The template of each set is named
below. With k labels a class the examples are ``train[train.label == c].sample(k, random_state=seed)``; with none there
are 500 unlabelled training texts, ``train.sample(500, random_state=seed)``. Measured on ``test.sample(600,
random_state=0)``: balanced accuracy, log loss, expected calibration error of the top label in 15 bins of equal mass,
and the queries that fitting asked the model. Every query is scored once and shared by all methods.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from data import draw, read, some
from sklearn.metrics import balanced_accuracy_score, log_loss

from fewshot import Auto, Classifier, LabelMassWarning, Prompting, Readout, calibration_error, load
from fewshot.calibration import PMI
from fewshot.models.wrappers import RememberedLM

SETS = {  # template, and what stands before a label word when there is no text
    "sst2": ("sst2/it_was", "It was "),
    "cr": ("sst2/it_was", "It was "),
    "ag_news": ("ag_news/news", ""),
    "trec6": ("trec/colon", ""),
    "tweeteval_emotion": ("emotion/it_made_me", "It made me "),
}
DEMONSTRATIONS = "4 shots, auto"
UNLABELLED = {
    "none": lambda premise: Prompting(),
    "contextual": lambda premise: Prompting(calibration="contextual"),
    "domain-context": lambda premise: Prompting(calibration="domain-context"),
    "pmi": lambda premise: Prompting(calibration=PMI(premise)),
    "batch": lambda premise: Prompting(calibration="batch"),
    "auto": lambda premise: Prompting(calibration="auto"),
}
LABELLED: dict[str, Callable[[str], Any]] = {
    **UNLABELLED,
    "learned": lambda premise: Prompting(calibration="learned"),
    DEMONSTRATIONS: lambda premise: Prompting(4, calibration="auto"),
    "Readout labels": lambda premise: Readout("labels"),
    "Readout vocabulary, knn": lambda premise: Readout.knn_prompting(),
    "Readout hidden, prototypes": lambda premise: Readout.prototypes(),
    "Readout hidden": lambda premise: Readout("hidden"),
    "Readout hidden + embeddings": lambda premise: Readout("hidden", embeddings=True),
    "Auto()": lambda premise: Auto(),
}


class Counted(RememberedLM):
    """Counts the distinct queries of one fit."""

    def __init__(self, lm: Any) -> None:
        super().__init__(lm)
        self.asked: set[Any] = set()

    def loglikelihoods(self, queries: Any) -> Any:
        self.asked.update(queries)
        return super().loglikelihoods(queries)

    def read(self, queries: Any, what: str) -> Any:
        self.asked.update((query, what) for query in queries)
        return super().read(queries, what)


def measured(clf: Classifier, lm: Counted, shown: pd.DataFrame, labels: Any, test: pd.DataFrame) -> dict[str, float]:
    """Fit, and judge on the test rows."""
    lm.asked.clear()
    clf.fit(shown.text, labels)
    calls = len(lm.asked)
    proba = clf.predict_proba(test.text)
    predicted = clf.classes_[proba.argmax(axis=1)]
    return {
        "balanced accuracy": float(balanced_accuracy_score(test.label, predicted)),
        "log loss": float(log_loss(test.label, proba, labels=list(clf.classes_))),
        "ECE": calibration_error(proba.max(axis=1), predicted == test.label.to_numpy()),
        "calls": float(calls),
    }


def run(options: argparse.Namespace) -> pd.DataFrame:
    """One line a set, number of labels, seed and method."""
    model, lines = load(options.model), []
    for name in options.sets:
        template, premise = SETS[name]
        train, test = (
            read(options.data / name, one).replace({"label": {"numeric": "number"}}) for one in ("train", "test")
        )
        if options.rows_from == "train":
            test = some(train)
            train = train.drop(test.index)
        else:
            test = some(test)
        lm = Counted(model)
        for seed in options.seeds:
            for shots in (0, 4, 16):
                shown = train.sample(min(500, len(train)), random_state=seed) if not shots else draw(train, shots, seed)
                for method, make in (LABELLED if shots else UNLABELLED).items():
                    if method == DEMONSTRATIONS and shots < 16:
                        continue  # of 4 labels a class too few are left to calibrate on
                    clf = Classifier(lm, template, strategy=make(premise), random_state=seed)
                    found = measured(clf, lm, shown, shown.label if shots else None, test)
                    lines.append({"set": name, "shots": shots, "seed": seed, "method": method, **found})
            print(f"{name}, seed {seed}: done", flush=True)
    return pd.DataFrame(lines)


def table(frame: pd.DataFrame, shots: int) -> None:
    """Means over the seeds of each set, and over the sets."""
    part = frame[frame.shots == shots]
    sets = [name for name in SETS if name in set(part.set)]
    print(f"\n| {shots} labels a class | " + " | ".join(sets) + " | mean | log loss | ECE | calls |")
    print("| --- " * (len(sets) + 5) + "|")
    for method in LABELLED:
        own = part[part.method == method]
        if len(own):
            each = own.groupby("set").mean(numeric_only=True).loc[sets]
            accuracies = " | ".join(f"{value:.3f}" for value in each["balanced accuracy"])
            mean = each.mean()
            print(
                f"| {method} | {accuracies} | {mean['balanced accuracy']:.3f} | {mean['log loss']:.3f} | "
                f"{mean['ECE']:.3f} | {mean['calls']:.0f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="embedded:masked")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rows-from", choices=["test", "train"], default="test", help="train: to settle constants on")
    options = parser.parse_args()
    warnings.simplefilter("ignore", LabelMassWarning)
    frame = run(options)
    for shots in (0, 4, 16):
        table(frame, shots)


if __name__ == "__main__":
    main()
