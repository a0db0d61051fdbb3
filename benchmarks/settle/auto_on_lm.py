"""How `Auto` should choose among wordings, formats and readouts of a causal model, from a few labelled rows.

    PYTHONPATH=benchmarks python benchmarks/settle/auto_on_lm.py DATA SCORES [--sets ...] [--shots 8] [--draws 20]
        [--ask | --demonstrations]

DATA holds one folder a set with train.csv.gz, columns text and label. SCORES is a folder for what the model says, which
is asked where it is not there, and with --ask nothing else is done. Only training rows are read: of each class
``sample(n, random_state=0)``, n as below. Every phrasing of `phrasings_of` is asked once, zero-shot, in bfloat16, and
its hidden states are read. A draw labels some rows of each class; the others judge, each class with its share in the
training rows. The strategies are the library's own, on a `FakeLM` that says what the model said. --demonstrations asks
the model itself, 40 of the rows that judge.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from data import read, spaced
from scipy.special import log_softmax, softmax
from sklearn.base import clone

from fewshot import Classifier, FakeLM, Prompting, Readout, Task, Template, Verbalizer, load
from fewshot.models.wrappers import RememberedLM
from fewshot.strategies.comparison import cross_validated, mutual_information
from fewshot.strategies.phrasings import phrasings_of
from fewshot.task.resolve import resolve

ROWS = {"sst2": 40, "trec6": 20, "sms_spam": 40, "ag_news": 24}  # of each class


def ask(data: Path, name: str, path: Path) -> None:
    """What the model says of every row in each phrasing: class log-scores, and hidden states."""
    train = spaced(read(data / name, "train"))
    classes = sorted(set(train.label))
    parts = [train[train.label == one].sample(ROWS[name], random_state=0) for one in classes]
    texts = [text for part in parts for text in part.text]
    lm = load("embedded:causal", dtype="bfloat16")
    settled = resolve(Classifier(lm), None, classes)
    found: dict[str, Any] = {"classes": classes, "shares": [float((train.label == one).mean()) for one in classes]}
    for one in phrasings_of(settled.task, settled.model):
        started = time.perf_counter()
        own = one.name.removeprefix("prompting, ")
        asked = Prompting(orders=one.orders).fit(one.task, one.remembered, None, None)
        found[f"{own}: scores"] = asked.log_scores(texts)
        once = Prompting().fit(one.task, one.remembered, None, None)
        found[f"{own}: first order"] = once.log_scores(texts)
        found[f"{own}: hidden"] = one.remembered.read(once._ask(texts)[0].queries, "hidden")
        print(f"{name} {own}: {time.perf_counter() - started:.0f} s", flush=True)
    np.savez(path, **found)


class Said:
    """One set: what the model said of its rows, as a library model that strategies can ask again."""

    def __init__(self, path: Path) -> None:
        said = dict(np.load(path))
        self.classes, self.shares = said["classes"].tolist(), said["shares"]
        self.names = [name.removesuffix(": scores") for name in said if name.endswith(": scores")]
        n, k = said[f"{self.names[0]}: scores"].shape
        self.labels = np.repeat(self.classes, n // k)
        self.lm = RememberedLM(_lm(said))
        self.words = Verbalizer({one: f"w{i}" for i, one in enumerate(self.classes)})

    def task(self, names: Sequence[str], kind: str) -> Task:
        """The task in these phrasings, as wordings of one: a text is the number of a row."""
        own = [
            Task(Template("{{ text }};" + name + ": " + kind + ";{{ label }}"), self.words, np.array(self.classes))
            for name in names
        ]
        return replace(own[0], others=tuple(own[1:]))

    def draw(self, shots: int, seed: int) -> tuple[Any, Any]:
        """Numbers of the labelled rows, and of those that judge."""
        rng = np.random.RandomState(seed)
        rows = np.arange(len(self.labels))
        shown = np.concatenate([rng.permutation(rows[self.labels == one])[:shots] for one in self.classes])
        return shown, np.setdiff1d(rows, shown)

    def judge(self, scores: Any, rows: Any) -> Any:
        """Balanced accuracy and log loss of log-scores, each class with its share in the training rows."""
        targets = np.searchsorted(self.classes, self.labels[rows])
        right = scores.argmax(axis=1) == targets
        losses = -np.maximum(scores[np.arange(len(rows)), targets], -20.0)
        each = [[right[targets == i].mean(), losses[targets == i].mean()] for i in range(len(self.classes))]
        return np.array([np.mean(each, axis=0)[0], self.shares @ np.array(each)[:, 1]])


def _lm(said: dict[str, Any]) -> FakeLM:
    def scores(query: Any) -> Any:
        number, which, _ = query.prefix.split(";")
        return said[which][int(number)]

    def hidden(query: Any) -> Any:
        number, which, _ = query.prefix.split(";")
        return said[f"{which.split(': ')[0]}: hidden"][int(number)]

    return FakeLM(scores, hidden=hidden)


WAYS = {  # what is fitted in every phrasing, and whether all orders of the label words are asked
    "batch": (Prompting(calibration="batch"), "scores"),
    "learned": (Prompting(calibration="learned"), "scores"),
    "readout": (Readout("hidden"), "first order"),
}


SEVERAL: dict[str, Callable[[str], bool]] = {  # phrasings that are asked together, as several wordings are
    "chat": lambda name: name.endswith("chat"),
    "plain": lambda name: name.endswith("plain"),
    "plain but listed": lambda name: name.endswith("plain") and "generic/listed" not in name,
}


def fit(said: Said, shots: int, seed: int) -> dict[str, Any]:
    """Of each phrasing and way the held-out scores of the labelled rows, and the scores of those that judge."""
    shown, rows = said.draw(shots, seed)
    X, y = [str(i) for i in shown], said.labels[shown].tolist()
    found: dict[str, Any] = {"targets": np.searchsorted(said.classes, y), "rows": rows}
    groups = {name: [name] for name in said.names}
    groups |= {f"several, {end}": [name for name in said.names if fits(name)] for end, fits in SEVERAL.items()}
    for name, group in groups.items():
        for way, (strategy, kind) in WAYS.items():
            if len(group) > 1 and way != "readout":
                continue
            task, folds = said.task(group, kind), min(5, shots)
            held = cross_validated(way, strategy, task, said.lm, X=X, y=y, folds=folds, random_state=seed)
            fitted = clone(strategy).fit(task, said.lm, X, y, random_state=seed)
            found[name, way] = (held.log_scores, fitted.log_scores([str(i) for i in rows]))
    return found


def _loss(scores: Any, targets: Any) -> float:
    return float(-scores[np.arange(len(targets)), targets].mean())


def rules(found: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The scores that every rule ends with on the rows that judge."""
    targets = found["targets"]
    losses = {(name, way): _loss(found[name, way][0], targets) for name in names for way in WAYS}
    information = {name: mutual_information(found[name, "batch"][0]) for name in names}

    def ranked(*ways: str, among: Sequence[str] = names) -> list[tuple[str, str]]:
        return sorted(((name, way) for name in among for way in ways), key=lambda key: losses[key])

    def mean(keys: Sequence[tuple[str, str]]) -> Any:
        return log_softmax(np.mean([found[key][1] for key in keys], axis=0), axis=1)

    def weighted(keys: Sequence[tuple[str, str]], strength: float) -> Any:
        weights = softmax([-strength * len(targets) * losses[key] for key in keys])
        return log_softmax(np.tensordot(weights, [found[key][1] for key in keys], axes=1), axis=1)

    both, readouts = ranked("batch", "readout"), ranked("readout")
    default = (names[0], "readout")
    gaps = np.subtract(*(found[key][0][np.arange(len(targets)), targets] for key in (readouts[0], default)))
    clear = gaps.mean() > gaps.std(ddof=1) / np.sqrt(len(gaps))
    by_both = min(names, key=lambda name: losses[name, "batch"] + losses[name, "readout"])
    informed = max(names, key=lambda name: information[name])
    result = {
        "a: phrasing zero-shot, then its best way": mean(ranked(*WAYS, among=[ranked("batch")[0][0]])[:1]),
        "b: best way of any phrasing": mean(both[:1]),
        "b: best readout of any phrasing": mean(readouts[:1]),
        "c: default readout within a standard error": mean([readouts[0] if clear else default]),
        "c: phrasing by both losses, readout": mean([(by_both, "readout")]),
        "c: phrasing by information, its best way": mean(ranked(*WAYS, among=[informed])[:1]),
        "d: mean of all readouts": mean(readouts),
        "d: mean of the three best readouts": mean(readouts[:3]),
    }
    result |= {f"d: mean of the {n} best ways": mean(both[:n]) for n in (2, 3, 4, 6)}
    result |= {f"d: ways weighted by loss, {strength}": weighted(both, strength) for strength in (0.25, 0.5, 1.0)}
    several = [key for key in found if isinstance(key, tuple) and key[0] not in names]
    result |= {f"f: {name}, {way}": found[name, way][1] for name, way in several}
    result |= {f"e: {name}, {way}": found[name, way][1] for name in names for way in WAYS}
    return result


def report(folder: Path, sets: list[str], shots: int, draws: int) -> None:
    """Print each rule's balanced accuracy and log loss on each set, and its mean distance to the best fixed choice."""
    table: dict[str, list[Any]] = {}
    for name in sets:
        said = Said(folder / f"{name}.npz")
        each: dict[str, list[Any]] = {}
        for seed in range(draws):
            found = fit(said, shots, seed)
            for rule, scores in rules(found, said.names).items():
                each.setdefault(rule, []).append(said.judge(scores, found["rows"]))
        for rule, values in each.items():
            table.setdefault(rule, []).append(np.mean(values, axis=0))
        print(name, flush=True)
    means = {rule: np.array(values) for rule, values in table.items()}
    fixed = np.array([values for rule, values in means.items() if rule.startswith("e")])
    print(f"{shots} a class, {draws} draws: balanced accuracy / log loss; regret to the best fixed choice of each set")
    print("| rule | " + " | ".join(sets) + " | mean | regret |\n" + "| --- " * (len(sets) + 3) + "|")
    for rule, values in means.items():
        regret = (fixed[:, :, 0].max(axis=0) - values[:, 0]).mean(), (values[:, 1] - fixed[:, :, 1].min(axis=0)).mean()
        cells = [f"{a:.3f} / {b:.3f}" for a, b in [*values, values.mean(axis=0), regret]]
        print(f"| {rule} | " + " | ".join(cells) + " |")


def demonstrate(data: Path, name: str, shots: int, draws: int) -> None:
    """Print how 16 demonstrations do beside the readout, on some of the rows that judge, asked of the model itself."""
    train = spaced(read(data / name, "train"))
    classes = sorted(set(train.label))
    parts = [train[train.label == one].sample(ROWS[name], random_state=0) for one in classes]
    lm = load("embedded:causal", dtype="bfloat16")
    for form, template in (("chat", "generic/causal"), ("plain", "generic/unlisted")):
        model = RememberedLM(lm.with_chat(form == "chat"))
        for way in (Prompting(16, calibration="auto"), Prompting(calibration="batch"), Readout()):
            each = []
            for seed in range(draws):
                own = [part.sample(frac=1.0, random_state=seed) for part in parts]
                shown = pd.concat([part[:shots] for part in own])
                rest = pd.concat([part[shots : shots + 40 // len(own)] for part in own])
                clf = Classifier(model, template, strategy=clone(way), random_state=seed).fit(shown.text, shown.label)
                scores, targets = clf.predict_log_proba(rest.text), np.searchsorted(classes, rest.label)
                each.append([(scores.argmax(axis=1) == targets).mean(), _loss(scores, targets)])
            mean = " / ".join(f"{value:.3f}" for value in np.mean(each, axis=0))
            print(f"{name} {template}, {form}, {way}: {mean}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(ROWS))
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--ask", action="store_true")
    parser.add_argument("--demonstrations", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # label words are unlikely
    options.scores.mkdir(parents=True, exist_ok=True)
    for name in options.sets:
        path = options.scores / f"{name}.npz"
        if not path.exists():
            ask(options.data, name, path)
    if options.demonstrations:
        for name in options.sets:
            demonstrate(options.data, name, options.shots, options.draws)
    elif not options.ask:
        report(options.scores, options.sets, options.shots, options.draws)


if __name__ == "__main__":
    main()
