"""Whether a calibration that knows the order of the classes is better than one that does not.

    PYTHONPATH=benchmarks python benchmarks/settle/ordered_calibration.py DATA SCORES [--model ...] [--sets ...]

DATA holds one folder a set with train.csv.gz, columns text and label: the five levels of sst5 from "very negative" to
"very positive". "sst5" is the training part of SST-5. "amazon" and "tweets" are the sentences and tweets that ten
people rated for Hutto and Gilbert (2014, "VADER"), their mean rating cut at -1.5, -0.5, 0.5 and 1.5. SCORES is a
folder for the word log-scores, which are computed where they are not there. Of ``train.sample(1000, random_state=0)``
the first 500 are drawn from and the others are judged; all are training rows. Every calibration learns from the same
5, 20 or 40 rows of each class, in five draws.

"batch" needs no labels, "learned" is ``calibration="learned"``. The others are proportional odds (McCullagh 1980,
"Regression Models for Ordinal Data"): the log-odds of a level of at most j are a threshold less a slope, the same for
all j, times what the batch-calibrated log-scores say. That is their mean level ("mean level"), their sum weighed by
level ("log contrast"), or for each j the log-odds that they give themselves ("log-odds"). Thresholds are shrunk
towards the shares of the classes, or those of "log-odds" towards 0, by a ridge that cross-validation chooses, as it
does for "learned".
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from data import read
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit
from sklearn.model_selection import StratifiedKFold

from fewshot import Classifier, LabelMassWarning, Prompting, load
from fewshot.calibration import Batch, Learned
from fewshot.evaluation.metrics import compute_metrics
from fewshot.evaluation.predictions import Predictions
from fewshot.task.scale import levels_of

SETS = ["sst5", "amazon", "tweets"]
TEMPLATES = ["sst5/it_was", "sst5/review"]
DRAWN, JUDGED, DRAWS, SHOTS = 500, 500, 5, (5, 20, 40)
RIDGES = (0.01, 0.1, 1.0)
METRICS = ("log loss", "RPS", "quadratic kappa", "expected level MAE", "accuracy")


def score(model: Any, rows: Any, template: str) -> dict[str, Any]:
    """Word log-scores, columns in the order of the scale, and the levels of the rows."""
    clf = Classifier(model, template, strategy=Prompting()).fit()
    asking = clf.strategy_.askings_[0]
    logprobs = np.array([one.logprobs for one in asking.ask(rows.text.tolist()).answers])
    scale = clf.verbalizer_.scale
    assert scale is not None
    levels = levels_of(scale, clf.classes_.tolist())
    return {"scores": logprobs[:, np.argsort(levels)], "labels": levels_of(scale, rows.label.tolist())}


class ProportionalOdds:
    """Levels from batch-calibrated class log-scores by one slope and a threshold between each two levels."""

    def __init__(self, by: str, ridge: float) -> None:
        self.by, self.ridge = by, ridge

    def covariates(self, scores: Any) -> Any:
        """What the slope goes with, of shape (n_texts, 1 or n_levels - 1)."""
        if self.by == "log contrast":
            weights = np.arange(scores.shape[1]) - (scores.shape[1] - 1) / 2
            return (log_softmax(scores, axis=1) @ weights)[:, None]
        p = np.exp(log_softmax(scores, axis=1))
        if self.by == "mean level":
            return (p @ np.arange(scores.shape[1]))[:, None]
        return -logit(np.clip(p.cumsum(axis=1)[:, :-1], 1e-6, 1 - 1e-6))

    def fit(self, scores: Any, levels: Any) -> ProportionalOdds:
        n_levels = scores.shape[1]
        x = self.covariates(scores)
        own = self.by == "log-odds"
        self.middle, self.spread = (0.0, 1.0) if own else (x.mean(), max(float(x.std()), 1e-6))
        shares = (np.bincount(levels, minlength=n_levels) + 0.5).cumsum()
        self.start = np.zeros(n_levels - 1) if own else logit(shares[:-1] / shares[-1])
        found = minimize(
            lambda theta: (
                self.ridge * (theta[0] ** 2 + ((theta[1:] - self.start) ** 2).sum()) / 2
                - self.log_proba_of(theta, x, n_levels)[np.arange(len(levels)), levels].sum()
            ),
            np.r_[0.0, self.start],
            method="L-BFGS-B",
        )
        self.theta = found.x
        return self

    def log_proba_of(self, theta: Any, x: Any, n_levels: int) -> Any:
        """The first parameter is the logarithm of the slope, so that it is positive."""
        below = expit(theta[1:] - np.exp(theta[0]) * (x - self.middle) / self.spread)
        below = np.maximum.accumulate(below, axis=1)  # thresholds that cross leave a level nothing
        p = np.diff(below, axis=1, prepend=0, append=1)
        return np.log((p + 1e-6) / (1 + 1e-6 * n_levels))

    def log_proba(self, scores: Any) -> Any:
        return self.log_proba_of(self.theta, self.covariates(scores), scores.shape[1])


def chosen(by: str, scores: Any, levels: Any) -> ProportionalOdds:
    """The ridge with the lowest log loss in five folds."""
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(scores, levels))

    def held_out(ridge: float) -> float:
        losses = [
            -ProportionalOdds(by, ridge).fit(scores[a], levels[a]).log_proba(scores[b])[np.arange(len(b)), levels[b]]
            for a, b in folds
        ]
        return float(np.concatenate(losses).mean())

    return ProportionalOdds(by, min(RIDGES, key=held_out)).fit(scores, levels)


def calibrated(scores: Any, levels: Any, new: Any) -> dict[str, Any]:
    """Log-probabilities of new rows by each way."""
    batch = Batch().fit(scores)
    own, others = batch.transform(scores), batch.transform(new)
    learned = Learned().fit(scores, levels, lambda words, _: words)
    found = {"batch": log_softmax(others, axis=1)}
    found["learned"] = learned.transform_classes(learned.transform(new))
    for by in ("mean level", "log contrast", "log-odds"):
        found[by] = chosen(by, own, levels).log_proba(others)
    return found


def measure(scores: Any, labels: Any) -> dict[tuple[int, str], Any]:
    """The metrics of each number of rows a class and each way, of shape (draws, metrics)."""
    n_levels = scores.shape[1]
    names = list(range(n_levels))
    found: dict[tuple[int, str], Any] = {}
    for shots in SHOTS:
        for draw in range(DRAWS):
            rng = np.random.RandomState(draw)
            rows = [rng.permutation(np.flatnonzero(labels[:DRAWN] == level))[:shots] for level in names]
            at = np.concatenate(rows)
            for way, logs in calibrated(scores[at], labels[at], scores[DRAWN:]).items():
                p = np.exp(logs)
                values = compute_metrics(Predictions(names, labels[DRAWN:], p.argmax(axis=1), p, tuple(names)))
                found.setdefault((shots, way), []).append([values[name] for name in METRICS])
    return {key: np.array(own) for key, own in found.items()}


def report(name: str, found: dict[tuple[int, str], Any]) -> None:
    """A table; in brackets the standard error of the difference from "learned" over the draws."""
    print(f"\n| {name}: rows a class, calibration | " + " | ".join(METRICS) + " |\n" + "| --- " * 6 + "|")
    for (shots, way), own in found.items():
        gaps = own - found[shots, "learned"]
        error = gaps.std(axis=0, ddof=1) / np.sqrt(len(gaps))
        cells = [
            f"{value:.3f} ({gap:+.3f} ± {one:.3f})" if way != "learned" else f"{value:.3f}"
            for value, gap, one in zip(own.mean(axis=0), gaps.mean(axis=0), error, strict=True)
        ]
        print(f"| {shots}, {way} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--model", default="embedded:masked")
    parser.add_argument("--sets", nargs="+", default=SETS)
    options = parser.parse_args()
    warnings.simplefilter("ignore", LabelMassWarning)
    options.scores.mkdir(parents=True, exist_ok=True)
    model = None
    for name in options.sets:
        rows = read(options.data / name, "train").sample(DRAWN + JUDGED, random_state=0)
        for template in TEMPLATES:
            path = options.scores / f"{options.model.replace(':', '-')}-{template.replace('/', '-')}-{name}.npz"
            if not path.exists():
                model = model or load(options.model)
                np.savez(path, **score(model, rows, template))
            known = np.load(path)
            report(f"{name}, {template}", measure(known["scores"], known["labels"]))


if __name__ == "__main__":
    main()
