"""Flipped labels found by `label_errors` and by cleanlab, on the same probabilities.

    PYTHONPATH=benchmarks python benchmarks/label_errors.py FOLDER [SET ...]

FOLDER has one folder a set, as benchmarks/data.py reads them. Of up to 300 training rows of each, 10 and 20 % of the
labels are flipped to another class, evenly. The texts are encoded once; the default head is fitted on five folds.
What is measured is the share of true flips among as many rows as there are flips, worst first, as a mean of five
seeds. cleanlab, where it is installed, ranks by its default, "self_confidence", and by "normalized_margin", of all
rows or of those that `find_label_issues` names first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from data import read, some
from sklearn.preprocessing import normalize

from fewshot import load
from fewshot.heads.label_prior import LabelPriorLogisticRegression
from fewshot.labelling.errors import judge_labels

SETS = ("ag_news", "banking77", "cr", "snips", "sst2", "trec6", "tweeteval_emotion")
SHARES, SEEDS, FOLDS = (0.1, 0.2), range(5), 5


def flipped(targets: Any, share: float, n_classes: int, rng: np.random.RandomState) -> tuple[Any, Any]:
    """Labels of which a share is another class, and which they are."""
    rows = rng.permutation(len(targets))[: round(share * len(targets))]
    noisy = targets.copy()
    noisy[rows] = (noisy[rows] + rng.randint(1, n_classes, size=len(rows))) % n_classes
    return noisy, rows


def held_out(vectors: Any, names: Any, noisy: Any, rng: np.random.RandomState) -> Any:
    """Out-of-sample probabilities of the default head."""
    order = np.concatenate([rng.permutation(np.flatnonzero(noisy == k)) for k in range(len(names))])
    fold = np.empty(len(noisy), dtype=int)
    fold[order] = np.arange(len(noisy)) % FOLDS
    proba = np.empty((len(noisy), len(names)))
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        head = LabelPriorLogisticRegression().fit(vectors[train], noisy[train], names, classes=np.arange(len(names)))
        proba[test] = np.exp(head.predict_log_proba(vectors[test]))
    return proba


def ranked_by_ours(proba: Any, noisy: Any) -> Any:
    """All rows, worst first: those that are probably wrong before the others."""
    _, confidence, wrong = judge_labels(proba, noisy)
    return np.lexsort((confidence, ~wrong))


def ranked_by_cleanlab(proba: Any, noisy: Any) -> dict[str, Any]:
    """All rows, worst first, by the scores of cleanlab; empty where it is not installed."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return {}
    scores = {m: get_label_quality_scores(noisy, proba, method=m) for m in ("self_confidence", "normalized_margin")}
    named = find_label_issues(noisy, proba, n_jobs=1)
    found = {name: np.argsort(one, kind="stable") for name, one in scores.items()}
    return found | {"issues first": np.lexsort((scores["self_confidence"], ~named))}


def measure(folder: Path, encoder: Any) -> None:
    """Print the lines of a set."""
    train = some(read(folder, "train"), 300)
    classes = sorted(set(train.label))
    targets = np.array([classes.index(label) for label in train.label])
    vectors = normalize(encoder.encode(train.text.tolist()))
    names = normalize(encoder.encode([f"It is about {name.replace('_', ' ')}." for name in classes]))
    for share in SHARES:
        found: dict[str, list[float]] = {}
        for seed in SEEDS:
            rng = np.random.RandomState(seed)
            noisy, rows = flipped(targets, share, len(classes), rng)
            proba = held_out(vectors, names, noisy, rng)
            wrong = judge_labels(proba, noisy)[2]
            ranks = {"ours": ranked_by_ours(proba, noisy), **ranked_by_cleanlab(proba, noisy)}
            for name, order in ranks.items():
                found.setdefault(name, []).append(np.isin(order[: len(rows)], rows).mean())
            found.setdefault("named", []).append(wrong.sum() / len(rows))
            found.setdefault("right of those named", []).append(np.isin(np.flatnonzero(wrong), rows).mean())
        cells = "  ".join(f"{name} {np.mean(values):.3f}" for name, values in found.items())
        print(f"{folder.name:18} {len(classes):3} classes  {share:.0%}  {cells}", flush=True)


if __name__ == "__main__":
    root, *chosen = sys.argv[1:]
    encoder = load(None)
    for name in chosen or SETS:
        measure(Path(root) / name, encoder)
