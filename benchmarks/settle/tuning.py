"""The constants of `Contrastive` and of the head on its vectors, by leave one set out: chosen on the others.

    PYTHONPATH=benchmarks:benchmarks/settle python benchmarks/settle/tuning.py DATA --cache DIR
        [--shots 2 8 64] [--draws 2] [--sets ...] [--peers] [--uneven] [--swapped]

DATA holds one folder a set with train.csv.gz, columns text and label. Only training rows are read: those that judge (up
to 400) and those that examples are drawn from are those of frozen_head.py. DIR keeps what was fitted, so that a killed
run goes on; remove it to begin afresh.

A variant is how the encoder is tuned (how many examples the class prompts of a class count for, and whether that
follows what the names count for in the frozen head; the steps; how many runs have their weights averaged; by which
power of its class's size an example counts less), and the head on its vectors (the weight of the names, whether it
follows in the same way, up to 1, and whether it falls with n examples a class as 12 / (4 + n); how many times the
number of classes C is; and how much of the frozen head's log-probabilities is mixed in). Variants that differ in the
head alone share a tuning. All are judged against "names" (label names alone), "plain" (scikit-learn's
LogisticRegression with its defaults on the frozen unit vectors) and "frozen" (`Embedding()`). --peers adds "auto"
(`Auto()`) and, with 8 a class, "setfit" (setfit 1.2.0 with its defaults, above 100 examples capped at 500 steps).
Every fit has one thread.

With --swapped every class has the name of the next one, so that the names mislead.
With --uneven examples are 40 of one class and 2 of the other, for each of the sets with two classes, and the rows that
judge are weighed so that they are as many to one.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from against_setfit import setfit_probabilities
from data import draw
from frozen_head import MEASURES, SETS, judge, print_table, split, worst
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from fewshot import Auto, Classifier, Contrastive, Embedding, LabelPriorLogisticRegression, load

JUDGES = 400
FLOOR = 1e-9


class Tuning(NamedTuple):
    """How an encoder is tuned."""

    anchors: float = 4.0
    follows: bool = True
    steps: int | None = None
    runs: int = 1
    balance: float = 0.0

    def __str__(self) -> str:
        parts = [f"anchors {self.anchors:g}{' by names' * self.follows}"]
        parts += [f"{self.steps} steps"] * bool(self.steps) + [f"{self.runs} runs"] * (self.runs > 1)
        return ", ".join(parts + [f"balance {self.balance:g}"] * bool(self.balance))


class Head(NamedTuple):
    """What is fitted on the tuned vectors."""

    tau: float = 3.5
    follows: bool = True
    falls: bool = False
    times: float = 1.0
    frozen: float = 0.0

    def __str__(self) -> str:
        parts = [f"tau {self.tau:g}{' by names' * self.follows}{', falls' * self.falls}", f"C {self.times:g} K"]
        return ", ".join(parts + [f"{self.frozen:g} frozen"] * bool(self.frozen))


class Variant(NamedTuple):
    """How an encoder is tuned, and what is fitted on its vectors."""

    tuning: Tuning = Tuning()
    head: Head = Head()

    def __str__(self) -> str:
        return f"{self.tuning}; {self.head}"


NOW = Variant()
#: Until 2026-11-29: with few examples, and with more than 64.
BEFORE = Variant(Tuning(follows=False, steps=7), Head(follows=False))
BEFORE_LARGE = Variant(Tuning(follows=False), Head(follows=False))
FIXED = [Tuning(anchors, False, 7) for anchors in (0.0, 8.0)] + [Tuning(follows=False, steps=12)]
HEADS = [
    *(Head(tau, follows=False) for tau in (0.0, 1.25, 3.5)),
    *(Head(times=times) for times in (0.5, 2.0)),
    Head(falls=True),
    *(Head(frozen=share) for share in (0.25, 0.5)),
]
VARIANTS = [
    *(NOW, BEFORE),
    *(Variant(one, BEFORE.head) for one in FIXED),
    *(Variant(Tuning(steps=steps)) for steps in (7, 10)),
    *(Variant(Tuning(), head) for head in HEADS),
]
#: Where a fit takes long (64 a class), other tunings are tried, and where there are many classes just two.
LARGE = [
    NOW,
    BEFORE_LARGE,
    *(Variant(Tuning(steps=steps, follows=False, runs=runs), BEFORE.head) for steps, runs in ((12, 1), (None, 3))),
]
MANY = [NOW, BEFORE_LARGE]
UNEVEN = [BEFORE, *(Variant(BEFORE.tuning._replace(balance=power), BEFORE.head) for power in (0.5, 1.0))]
SWAPPED = [Variant(Tuning(steps=7)), BEFORE, Variant(Tuning(0.0, steps=7), Head(0.0)), NOW]


@dataclass(frozen=True)
class Draw:
    """Examples of a set, and the rows that judge."""

    shown: pd.DataFrame
    judging: pd.DataFrame
    classes: list[str]
    shares: Any  # how much each judge counts

    @cached_property
    def y(self) -> Any:
        """The class of each example."""
        return np.searchsorted(self.classes, self.shown.label)

    @cached_property
    def wanted(self) -> Any:
        """The class of each judge."""
        return np.searchsorted(self.classes, self.judging.label)


def draw_even(folder: Path, shots: int, seed: int) -> Draw:
    """As many examples of each class."""
    classes, judging, pool = split(folder)
    judging = judging[:JUDGES]
    return Draw(draw(pool, shots, seed), judging, classes, np.full(len(judging), 1 / len(judging)))


def draw_uneven(folder: Path, _: int, seed: int) -> Draw:
    """40 examples of one class, which alternates with the seed, and 2 of the other."""
    classes, judging, pool = split(folder)
    judging = judging[:JUDGES]
    many = classes[seed % 2]
    parts = [pool[pool.label == one].sample(40 if one == many else 2, random_state=seed) for one in classes]
    counts = judging.label.value_counts()
    shares = [(40 if one == many else 2) / 42 / counts[one] for one in judging.label]
    return Draw(pd.concat(parts), judging, classes, np.array(shares))


class Measuring:
    """Log-probabilities of the judges of one draw, by every way; what is dear is kept in files."""

    def __init__(self, own: Draw, encoder: Any, stem: Path, *, seed: int, swapped: bool) -> None:
        self.own, self.encoder, self.stem = own, encoder, stem
        self.seed, self.swapped = seed, swapped

    def kept(self, way: str, make: Callable[[], dict[str, Any]]) -> Any:
        """What a file of this draw holds, made where there is none."""
        path = self.stem.with_name(f"{self.stem.name}-{way}.npz")
        if not path.exists():
            np.savez(path, **make())
            print(path.stem, f"{float(np.load(path)['seconds']):.1f} s", flush=True)
        return np.load(path)

    @cached_property
    def prompts(self) -> list[str]:
        """The prompt of each class."""
        zero = Classifier(self.encoder, strategy=Embedding()).fit(None, self.own.classes)
        found = zero.template_.class_prompts(self.own.classes, self.own.classes)
        return found[1:] + found[:1] if self.swapped else found

    def vectors(self, encoder: Any, seconds: float) -> dict[str, Any]:
        """Unit vectors of examples, class prompts and judges."""
        texts = {"X": self.own.shown.text.tolist(), "P": self.prompts, "J": self.own.judging.text.tolist()}
        found = {name: normalize(encoder.encode(part)).astype(np.float32) for name, part in texts.items()}
        return {**found, "seconds": seconds}

    @cached_property
    def frozen(self) -> tuple[Any, Any]:
        """The frozen vectors, and the head on them."""
        found = self.kept("frozen", lambda: self.vectors(self.encoder, 0.0))
        return found, LabelPriorLogisticRegression().fit(found["X"], self.own.y, found["P"])

    @property
    def names_weight(self) -> float:
        """What the names count for in the frozen head."""
        return float(self.frozen[1].names_weight_)

    def tuned(self, tuning: Tuning) -> Any:
        """The vectors of a tuned copy."""
        return self.kept(str(tuning), lambda: self.tune(tuning))

    def tune(self, tuning: Tuning) -> dict[str, Any]:
        """Tune, and encode."""
        own, counts = self.own, np.bincount(self.own.y)
        weights = counts[own.y] ** -tuning.balance
        share = self.names_weight if tuning.follows else 1.0
        started = time.perf_counter()
        copies = [
            Contrastive(tuning.steps, anchors=tuning.anchors).tune(
                self.encoder,
                own.shown.text.tolist(),
                own.y,
                self.prompts,
                range(len(own.classes)),
                names_weight=share,
                sample_weight=weights / weights.mean() if tuning.balance else None,
                random_state=10 * self.seed + run,
            )
            for run in range(tuning.runs)
        ]
        weights = [one.model.state_dict() for one in copies]
        mean = {
            name: sum(one[name] for one in weights) / len(weights) if first.is_floating_point() else first
            for name, first in weights[0].items()
        }
        copies[0].model.load_state_dict(mean)
        return self.vectors(copies[0], time.perf_counter() - started)

    def scores(self, way: Any) -> tuple[Any, float]:
        """Log-probabilities, and seconds to fit."""
        if way == "auto":
            found = self.kept("auto", self.fit_auto)
            return found["scores"], float(found["seconds"])
        if way == "setfit":
            found = self.kept("setfit", self.fit_setfit)
            return found["scores"], float(found["seconds"])
        vectors, head = self.frozen
        if way == "names":
            return log_softmax(10 * vectors["J"].astype(float) @ vectors["P"].T, axis=1), np.nan
        if way == "plain":
            return LogisticRegression().fit(vectors["X"], self.own.y).predict_log_proba(vectors["J"]), np.nan
        if way == "frozen":
            return head.predict_log_proba(vectors["J"]), np.nan
        tuning, own = way
        tuned = self.tuned(tuning)
        mean_size = len(self.own.y) / len(self.own.classes)
        tau = own.tau * (min(1.0, self.names_weight) if own.follows else 1.0)
        tau *= 12 / (4 + mean_size) if own.falls else 1.0
        fitted = LabelPriorLogisticRegression(tau=tau, C=own.times * len(self.own.classes))
        scores = fitted.fit(tuned["X"], self.own.y, tuned["P"]).predict_log_proba(tuned["J"])
        if own.frozen:
            mixed = (1 - own.frozen) * scores + own.frozen * head.predict_log_proba(vectors["J"])
            scores = log_softmax(mixed, axis=1)
        return scores, float(tuned["seconds"])

    def fit_auto(self) -> dict[str, Any]:
        """What `Auto` takes, with an encoder whose cache is empty."""
        clf = Classifier(load(cache_bytes=0), strategy=Auto(), random_state=self.seed)
        started = time.perf_counter()
        clf.fit(self.own.shown.text, self.own.shown.label)
        seconds = time.perf_counter() - started
        return {
            "scores": clf.predict_log_proba(self.own.judging.text),
            "seconds": seconds,
            "chosen": clf.report_.chosen,
        }

    def fit_setfit(self) -> dict[str, Any]:
        """The peer."""
        proba, seconds = setfit_probabilities(self.own.shown, self.own.judging.text.tolist(), self.seed)
        return {"scores": np.log(np.clip(proba, FLOOR, None)), "seconds": seconds}


def judge_uneven(scores: Any, own: Draw) -> dict[str, float]:
    """Area under the ROC curve and log loss, of rows that are as uneven as the examples."""
    loss = -own.shares @ scores[np.arange(len(own.wanted)), own.wanted]
    return {"area": float(roc_auc_score(own.wanted, scores[:, 1])), "log loss": float(loss)}


def measure(options: argparse.Namespace) -> pd.DataFrame:
    """Every way on every draw: a line for each."""
    options.cache.mkdir(parents=True, exist_ok=True)
    encoder, lines = load(), []
    kind = "uneven" if options.uneven else "swapped" if options.swapped else ""
    make = draw_uneven if options.uneven else draw_even
    for shots, seed, name in itertools.product(options.shots, range(options.draws), options.sets):
        own = make(options.data / name, shots, seed)
        many = len(own.classes) > 20
        if (options.uneven and len(own.classes) > 2) or (many and (seed or shots > 16)):
            continue
        stem = options.cache / "-".join([name, kind or str(shots), str(seed)])
        measuring = Measuring(own, encoder, stem, seed=seed, swapped=options.swapped)
        for way in ways_of(options, shots, many):
            scores, seconds = measuring.scores(way)
            judged = judge_uneven(scores, own) if options.uneven else judge(scores, own.wanted)
            lines.append({"set": name, "shots": shots, "seed": seed, "way": str(way), "seconds": seconds, **judged})
    return pd.DataFrame(lines)


def ways_of(options: argparse.Namespace, shots: int, many: bool) -> list[Any]:
    """What is measured with so many examples of a class."""
    if options.uneven or options.swapped:
        return UNEVEN if options.uneven else ["names", "plain", "frozen", *SWAPPED]
    peers = ["auto", *["setfit"] * (shots == 8 and not many)] if options.peers else []
    return ["names", "plain", "frozen", *(MANY if many else LARGE if shots > 16 else VARIANTS), *peers]


def left_out(table: pd.DataFrame) -> dict[str, str]:
    """For each set the variant with the lowest mean log loss on the others, over 2 and 8 examples a class.

    What mixes in the frozen head is not among them: it would encode every text twice.
    """
    choices = [str(variant) for variant in VARIANTS if not variant.head.frozen]
    few = table[table.way.isin(choices) & (table.shots <= 16)]
    whole = few.groupby("set").way.nunique() == len(choices)
    few, chosen = few[few.set.map(whole).astype(bool)], {}
    for name in table.set.unique():
        means = few[few.set != name].groupby(["way", "shots", "set"])["log loss"].mean()
        if len(means):
            chosen[name] = means.groupby(["way", "shots"]).mean().unstack("shots").mean(axis=1).idxmin()
    return chosen


def report_variants(table: pd.DataFrame, measures: list[str]) -> None:
    """Print each variant's means, and its difference to what was before, with the standard error over draws."""
    for shots, part in table[table.way.str.startswith("anchors")].groupby("shots"):
        rows: list[list[Any]] = []
        wide = part.pivot_table(index=["set", "seed"], columns="way", values=[*measures, "seconds"])
        before = next(one for one in map(str, (BEFORE, BEFORE_LARGE)) if one in wide[measures[0]])
        for variant in wide[measures[0]].columns:
            own = wide.xs(variant, axis=1, level="way").dropna()
            apart = 100 * (own[measures[0]] - wide[measures[0], before]).dropna()
            row = [variant, len(own), *(float(own[one].mean()) for one in measures)]
            error = apart.std(ddof=1) / len(apart) ** 0.5
            rows.append([*row, f"{apart.mean():+.1f} ({error:.1f})", f"{own.seconds.mean():.1f}"])
        title = f"{shots} a class" if shots else "40 and 2 examples"
        print_table([title, "draws", *measures, "points to before (standard error)", "seconds"], rows)


def report_ways(table: pd.DataFrame) -> None:
    """Print the ways beside each other, set by set; what the other sets choose is the last of them."""
    chosen = left_out(table)
    print("\nchosen by the others:\n" + "\n".join(f"- {name}: {variant}" for name, variant in chosen.items()))
    titles = {
        "names": "names",
        "plain": "plain",
        "frozen": "frozen",
        str(NOW): "tuned",
        "auto": "auto",
        "setfit": "SetFit",
    }
    for shots, part in table.groupby("shots"):
        means = part.groupby(["way", "set"])[[*MEASURES, "seconds"]].mean()
        ways = [way for way in titles if way in means.index.get_level_values("way")]
        found = {titles[way]: means.loc[way] for way in ways}
        lines = {name: means.loc[(way, name)] for name, way in chosen.items() if (way, name) in means.index}
        if lines:
            found["tuned, left out"] = pd.DataFrame(lines).T
        sets = [name for name in SETS if all(name in one.index for one in found.values())]
        rows = [
            [name, *(float(one.accuracy[name]) if name in one.index else "" for one in found.values())]
            for name in SETS
            if name in found["names"].index
        ]
        for what in (*MEASURES, "seconds"):
            values = [float(one[what][sets].mean()) for one in found.values()]
            rows.append([f"mean {what}, {len(sets)} sets", *values])
        best = [found[way].accuracy[sets] for way in ("names", "plain")]
        rows.append(
            ["worst to max(names, plain), points", *(worst(one.accuracy[sets], *best)[1] for one in found.values())]
        )
        print_table([f"accuracy, {shots} a class", *found], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--shots", nargs="+", type=int, default=[2, 8, 64])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--uneven", action="store_true")
    parser.add_argument("--swapped", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some texts are longer than the window
    torch.set_num_threads(1)
    options.shots = [0] if options.uneven else [8] if options.swapped else options.shots
    table = measure(options)
    report_variants(table, ["area", "log loss"] if options.uneven else MEASURES)
    if not (options.uneven or options.swapped):
        report_ways(table)


if __name__ == "__main__":
    main()
