"""Fine-tuning and distillation of one masked language model, against the transformers Trainer on the same body.

    python benchmarks/finetuning.py DATA --results FILE [--shots 16 64] [--seeds 0 1 2 3 4] [--sets ...] [--methods ...]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label (rte: text_a, text_b and label).
The template of each set is named below. The examples are ``train[train.label == c].sample(k, random_state=seed)`` for
each class in sorted order; the test rows ``test.sample(min(600, n), random_state=0)``; the unlabelled rows 2,000 others
of the training set. "calibrated" and "distilled" are given no label at all. FILE keeps one line a fit, and what is in
it is not run again. rte is shown and not part of the means.

To settle constants, ``--rows-from train`` judges on training rows. A method of `FineTuning` may name its learning
rate: ``--methods "prompt at 5e-5"``.

The peer ("Trainer") is `AutoModelForSequenceClassification` on the exported body with the Trainer's own loop and
defaults, at the learning rate, the batch size and the number of steps of "head". "Trainer, same start" also begins with
the new layer that "head" begins with, by which two runs of the same recipe differ most; "Trainer at 5e-5" has the
Trainer's own learning rate.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from data import draw, read, some
from sklearn.metrics import log_loss

from fewshot import (
    Auto,
    Classifier,
    Contrastive,
    Distillation,
    Embedding,
    FewshotWarning,
    FineTuning,
    LoRA,
    Prompting,
    embedded,
    load,
)
from fewshot.training.examples import n_steps

HEAD_RATE = 3e-4  # the default, said here so that the peer has the same
SETS = {
    "sst2": "sst2/it_was",
    "cr": "sst2/it_was",
    "trec6": "trec/colon",
    "ag_news": "ag_news/news",
    "rte": "rte/maybe",
}
UNLABELLED: dict[str, Callable[[], Any]] = {
    "calibrated": lambda: Prompting(calibration="batch"),
    "distilled": lambda: Distillation(Prompting(calibration="batch")),
}
LABELLED: dict[str, Callable[[], Any]] = {
    "prompt": FineTuning,
    "prompt, LoRA": lambda: FineTuning(parameters=LoRA()),
    "prompt, bias": lambda: FineTuning(parameters="bias"),
    "head": lambda: FineTuning("head", learning_rate=HEAD_RATE),
    "distilled with labels": Distillation,
    "Auto, 30 s": lambda: Auto(budget=30),
    "Auto, 180 s": lambda: Auto(budget=180),
}
ENCODER: dict[str, Callable[[], Any]] = {
    "Embedding": Embedding,
    "Embedding, tuned": lambda: Embedding(tuning=Contrastive()),
}
PEERS = ["Trainer", "Trainer, same start", "Trainer at 5e-5"]  # 5e-5 is the Trainer's own default
METHODS = [*UNLABELLED, *LABELLED, *PEERS, *ENCODER]
GAPS = [
    ("distilled", "calibrated"),
    ("prompt", "head"),
    ("prompt, LoRA", "prompt"),
    *(("head", peer) for peer in PEERS),
]
N_UNLABELLED = 2000


def peak_bytes(reset: bool = False) -> int:
    """The most memory that this process has had since the last reset (Linux only)."""
    if reset:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier fits have freed goes back to the system
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def fitted(method: str, name: str, shown: pd.DataFrame, more: pd.DataFrame, seed: int) -> Classifier:
    """Fit one of this library's ways."""
    fields = [column for column in shown if column != "label"]
    rows, free = (frame[fields[0]] if len(fields) == 1 else frame[fields] for frame in (shown, more))
    if method in ENCODER:
        template = SETS[name] if len(fields) > 1 else None  # says how the fields become one text
        return Classifier(load(), template, strategy=ENCODER[method](), random_state=seed).fit(rows, shown.label)
    clf = Classifier("embedded:masked", SETS[name], random_state=seed)
    if method in UNLABELLED:
        return clf.set_params(strategy=UNLABELLED[method]()).fit(free)
    way, _, rate = method.partition(" at ")
    clf.set_params(strategy=LABELLED[way]())
    if rate:
        clf.set_params(strategy__learning_rate=float(rate))
    if method.startswith("distilled"):
        return clf.fit(pd.concat([rows, free]), [*shown.label, *[None] * len(free)])
    return clf.fit(rows, shown.label)


def head_start(name: str, shown: pd.DataFrame, seed: int) -> dict[str, Any]:
    """What "head" begins with: its weights after a step of no length."""
    clf = Classifier("embedded:masked", SETS[name], random_state=seed)
    clf.set_params(strategy=FineTuning("head", steps=1, learning_rate=1e-30))
    rows = shown.drop(columns="label").squeeze(axis=1)
    state: dict[str, Any] = clf.fit(rows, shown.label).strategy_.model_.model.state_dict()
    return state


def trainer(
    body: Path, shown: pd.DataFrame, test: pd.DataFrame, *, rate: float, seed: int, start: dict[str, Any] | None
) -> tuple[np.ndarray, list[str], float]:
    """The peer: probabilities, classes and seconds to fit."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    classes, fields = sorted(set(shown.label)), [column for column in shown if column != "label"]
    started = time.perf_counter()
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(body)
    model = AutoModelForSequenceClassification.from_pretrained(body, num_labels=len(classes))
    if start is not None:
        model.load_state_dict(start)

    def encoded(frame: pd.DataFrame) -> Dataset:
        tokens = tokenizer(*(frame[field].tolist() for field in fields), truncation=True)
        return Dataset.from_dict({**tokens, "labels": [classes.index(label) for label in frame.label]})

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=n_steps(len(shown)),
            per_device_train_batch_size=16,
            learning_rate=rate,
            seed=seed,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
        )
        learner = Trainer(
            model, arguments, train_dataset=encoded(shown), data_collator=DataCollatorWithPadding(tokenizer)
        )
        learner.train()
        seconds = time.perf_counter() - started
        logits = learner.predict(encoded(test)).predictions
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    return proba / proba.sum(axis=1, keepdims=True), classes, seconds


def measured(method: str, name: str, options: argparse.Namespace, shots: int, seed: int) -> dict[str, Any]:
    """One line of the results."""
    train = read(options.data / name, "train").replace({"label": {"numeric": "number"}})
    test = some(train if options.rows_from == "train" else read(options.data / name, "test"))
    test = test.replace({"label": {"numeric": "number"}})
    if options.rows_from == "train":
        train = train.drop(test.index)
    shown = draw(train, max(shots, 1), seed)
    others = train.drop(shown.index)
    more = others.sample(min(N_UNLABELLED, len(others)), random_state=seed)
    start = head_start(name, shown, seed) if method == "Trainer, same start" else None
    extra = {}
    peak_bytes(reset=True)
    before = peak_bytes()
    started = time.perf_counter()
    if method in PEERS:
        rate = float(method.partition(" at ")[2] or HEAD_RATE)
        proba, classes, seconds = trainer(options.body, shown, test, rate=rate, seed=seed, start=start)
    else:
        clf = fitted(method, name, shown, more, seed)
        seconds = time.perf_counter() - started
        peak = peak_bytes() - before
        proba, classes = clf.predict_proba(test.drop(columns="label").squeeze(axis=1)), list(clf.classes_)
        if method.startswith("Auto"):
            extra = {"chosen": clf.report_.chosen}
    if method in PEERS:
        peak = peak_bytes() - before
    right = np.array(classes)[proba.argmax(axis=1)] == test.label.to_numpy()
    loss = log_loss(test.label, np.maximum(proba, 1e-9) / np.maximum(proba, 1e-9).sum(1, keepdims=True), labels=classes)
    line = {"set": name, "shots": shots, "seed": seed, "method": method}
    return {**line, "accuracy": right.mean(), "log loss": loss, "seconds": seconds, "MiB": peak / 2**20, **extra}


def table(frame: pd.DataFrame, shots: int) -> None:
    """Means over the draws of each method, whose number is the last column."""
    part = frame[frame.shots == shots]
    if part.empty:
        return
    sets = [name for name in SETS if name in set(part.set)]
    print(f"\n| {shots} per class | " + " | ".join(sets) + " | mean | log loss | seconds | MiB | draws |")
    print("| --- " * (len(sets) + 6) + "|")
    for method in sorted(set(part.method), key=lambda one: (METHODS.index(one.partition(" at ")[0]), one)):
        own = part[part.method == method]
        each = own.groupby("set").mean(numeric_only=True).reindex(sets)
        averaged = each.loc[[name for name in sets if name != "rte"]]
        mean = averaged.mean()
        cells = " | ".join("" if np.isnan(value) else f"{value:.3f}" for value in each.accuracy)
        print(
            f"| {method} | {cells} | {mean.accuracy:.3f} | {mean['log loss']:.3f} | {mean.seconds:.1f} | "
            f"{own.MiB.max():.0f} | {len(own)} |"
        )


def gaps(frame: pd.DataFrame) -> None:
    """Differences in accuracy on the same draws, with standard errors, and the ratio of the seconds; without rte."""
    frame = frame[frame.set != "rte"]
    print("\n| on the same draws | per class | points | standard error | seconds, ratio | draws |")
    print("| --- " * 6 + "|")
    for one, other in GAPS:
        first, second = (frame[frame.method == name].set_index(["shots", "set", "seed"]) for name in (one, other))
        both = first.index.intersection(second.index)
        for shots in sorted(set(both.get_level_values("shots"))):
            own = both[both.get_level_values("shots") == shots]
            points = 100 * (first.accuracy[own] - second.accuracy[own])
            ratio = first.seconds[own].sum() / second.seconds[own].sum()
            error = points.std() / len(own) ** 0.5
            print(f"| {one} - {other} | {shots} | {points.mean():+.1f} | {error:.1f} | {ratio:.2f} | {len(own)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--shots", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rows-from", choices=["test", "train"], default="test", help="train: to settle constants on")
    parser.add_argument("--only-table", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FewshotWarning)
    lines = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    known = {(line["set"], line["shots"], line["seed"], line["method"]) for line in lines}
    with tempfile.TemporaryDirectory() as folder:
        options.body = embedded.export(Path(folder) / "body")
        for seed in [] if options.only_table else options.seeds:
            for name in options.sets:
                for method in options.methods:
                    for shots in [0] if method in UNLABELLED else options.shots:
                        if (name, shots, seed, method) in known:
                            continue
                        line = measured(method, name, options, shots, seed)
                        lines.append(line)
                        with options.results.open("a") as file:
                            file.write(json.dumps(line) + "\n")
                        print(line, flush=True)
    frame = pd.DataFrame(lines)
    frame = frame[frame.seed.isin(options.seeds)]
    for shots in (0, *options.shots):
        table(frame, shots)
    gaps(frame)


if __name__ == "__main__":
    main()
