"""How much a class prior helps batch calibration, and how many texts of balance its estimate should be given.

    PYTHONPATH=benchmarks python benchmarks/settle/batch_prior.py DATA SCORES [--models ...] [--sets ...]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label. SCORES is a folder for the class
log-scores of the plain prompt, which are computed where they are not there: of ``train.sample(600, random_state=0)``
the first 300 are three draws of 100 unlabelled texts, and the others are the training rows that judge; 400 test rows
report. The masked model reads the templates named below, the causal model the generic one with the names of the
classes.
"estimated" is expectation maximisation on the calibrated scores of the unlabelled texts (Saerens, Latinne and
Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities"), which the library leaves out;
"counted, labels" is ``Batch(class_prior="estimated")`` with the labels of the same texts.
The strength is settled on the training rows: on all of them, and for each set on the others' (log loss; the mean of
the draws and models). What is reported on the test rows has the strength of the other sets.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from data import read, some
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score

from fewshot import Classifier, LabelMassWarning, Prompting, load
from fewshot.calibration import Batch
from fewshot.calibration.priors import log_loss

MODELS = ["embedded:masked", "embedded:causal"]
TEMPLATES = {  # of the masked model
    "sms_spam": "{{ text | shorten }} [ Category: {{ label }} ]",  # the generic one when this was measured
    "sst2": "sst2/it_was",
    "ag_news": "ag_news/news",
    "trec6": "trec/colon",
    "tweeteval_emotion": "emotion/it_made_me",
}
DRAWS, UNLABELLED = 3, 100
Scores = dict[tuple[str, str], dict[str, Any]]  # of each model and set
STRENGTHS = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]
ESTIMATES = ["estimated", "counted, labels"]
WAYS = ["none", "batch", "true shares", "estimated", "batch, labels", "counted, labels"]


def score(model: Any, data: Path, name: str, template: str | None) -> dict[str, Any]:
    """Class log-scores and columns of the labels of one set."""
    train, test = (read(data / name, part).replace({"label": {"numeric": "number"}}) for part in ("train", "test"))
    pool = train.sample(600, random_state=0)
    parts = {"unlabelled": pool[: DRAWS * UNLABELLED], "train": pool[DRAWS * UNLABELLED :], "test": some(test, 400)}
    clf = Classifier(model, template, strategy=Prompting()).fit(None, sorted(set(train.label)))
    found = {}
    for part, rows in parts.items():
        found[f"{part}_scores"] = clf.predict_log_proba(rows.text)
        found[f"{part}_labels"] = np.searchsorted(clf.classes_, rows.label)
    return found


def score_all(options: argparse.Namespace) -> Scores:
    """The scores of every model and set, from the folder where they are there."""
    options.scores.mkdir(parents=True, exist_ok=True)
    found = {}
    for model_name in options.models:
        model = None
        for name in options.sets:
            path = options.scores / f"{model_name.replace(':', '-')}-{name}.npz"
            if not path.exists():
                model = model or load(model_name)
                template = TEMPLATES[name] if model_name == "embedded:masked" else None
                np.savez(path, **score(model, options.data, name, template))
                print(f"{path.name}: scored", flush=True)
            found[model_name, name] = dict(np.load(path))
    return found


def calibrated(found: dict[str, Any], part: str, draw: int, way: str, strength: float) -> Any:
    """Class log-scores of a part of a set, calibrated on one draw of texts, whose labels the last ways see."""
    scores = found[f"{part}_scores"]
    if way == "none":
        return scores
    drawn = slice(draw * UNLABELLED, (draw + 1) * UNLABELLED)
    prior: Any = "estimated" if way == "counted, labels" else None
    if way == "true shares":
        prior = np.bincount(found[f"{part}_labels"], minlength=scores.shape[1]) / len(scores)
    targets = found["unlabelled_labels"][drawn] if way.endswith("labels") else None
    fitted = Batch(class_prior=prior, prior_strength=strength)
    fitted.take_classes(range(scores.shape[1]))
    unlabelled = found["unlabelled_scores"][drawn]
    fitted.fit(unlabelled, targets, lambda words, rows: words)
    calibrated_scores = fitted.transform_classes(fitted.transform(scores))
    if way == "estimated":
        calibrated_scores = calibrated_scores + np.log(estimate_shares(fitted.transform(unlabelled), strength))
    return calibrated_scores


def estimate_shares(scores: Any, strength: float) -> Any:
    """The most probable shares among texts without labels, under a Dirichlet prior of ``strength`` balanced texts."""
    shares = np.full(scores.shape[1], 1 / scores.shape[1])
    for _ in range(1000):
        counts = softmax(scores + np.log(shares), axis=1).sum(axis=0) + strength / len(shares)
        before, shares = shares, counts / counts.sum()
        if np.abs(shares - before).max() < 1e-9:
            break
    return shares


def measure(found: dict[str, Any], part: str, way: str, strength: float = 1.0) -> Any:
    """Balanced accuracy, accuracy and log loss, means over the draws."""
    labels, lines = found[f"{part}_labels"], []
    for draw in range(DRAWS):
        scores = calibrated(found, part, draw, way, strength)
        said = scores.argmax(axis=1)
        lines.append((balanced_accuracy_score(labels, said), np.mean(said == labels), log_loss(scores, labels)))
    return np.mean(lines, axis=0)


def settle(scores: Scores, sets: list[str], way: str) -> dict[str, float]:
    """Print the losses on training rows, and return the best strength for each set by the others'."""
    losses = {
        name: np.mean(
            [
                [measure(found, "train", way, strength)[2] for strength in STRENGTHS]
                for (_, own), found in scores.items()
                if own == name
            ],
            axis=0,
        )
        for name in sets
    }
    print(f"| {way}: strength | " + " | ".join(f"{strength:g}" for strength in STRENGTHS) + " | by the others |")
    print("| --- " * (len(STRENGTHS) + 2) + "|")
    best = {}
    for name in sets:
        others = np.mean([losses[other] for other in sets if other != name], axis=0)
        best[name] = STRENGTHS[int(others.argmin())]
        print(f"| {name} | " + " | ".join(f"{loss:.3f}" for loss in losses[name]) + f" | {best[name]:g} |")
    mean = np.mean(list(losses.values()), axis=0)
    print("| mean | " + " | ".join(f"{loss:.3f}" for loss in mean) + f" | {STRENGTHS[int(mean.argmin())]:g} |\n")
    return best


def report(scores: Scores, sets: list[str], best: dict[str, dict[str, float]]) -> None:
    """Print what each way does on the test rows."""
    for model in sorted({model for model, _ in scores}, reverse=True):
        print(f"| {model}: balanced accuracy, accuracy, log loss | " + " | ".join(sets) + " | mean |")
        print("| --- " * (len(sets) + 2) + "|")
        for way in WAYS:
            lines = [measure(scores[model, name], "test", way, best.get(way, {}).get(name, 1.0)) for name in sets]
            lines.append(np.mean(lines, axis=0))
            cells = (f"{balanced:.3f}, {accuracy:.3f}, {loss:.3f}" for balanced, accuracy, loss in lines)
            print(f"| {way} | " + " | ".join(cells) + " |")
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--sets", nargs="+", default=list(TEMPLATES))
    options = parser.parse_args()
    warnings.simplefilter("ignore", LabelMassWarning)
    scores = score_all(options)
    report(scores, options.sets, {way: settle(scores, options.sets, way) for way in ESTIMATES})


if __name__ == "__main__":
    main()
