"""The constants of the frozen head, by leave one set out: chosen on eleven sets, reported on the twelfth.

    PYTHONPATH=benchmarks python benchmarks/settle/frozen_head.py DATA --cache DIR [--encoder default masked causal]
        [--shots 2 8 64] [--draws 10] [--sets ...]

DATA holds one folder a set with train.csv.gz, columns text and label. Only training rows are read: up to 500 judge, and
examples are drawn from other ones. Label names are as they are written, underscores to blanks; the out-of-scope rows of
clinc150 are left out. DIR keeps the vectors of an encoder, and what was measured on a set: remove it to begin afresh.
"masked" is the embedded masked model without its last layer, and "causal" the embedded causal one, both by the mean of
their hidden states. "plain" is scikit-learn's LogisticRegression with its defaults on the same unit vectors.

A variant of the head is the variance of the intercepts of the label names alone, how much these count in the average,
the power of C by which other choices count, the largest C, and whether the choices of tau and C are divided by the
variance of the examples. Each is the head itself with these constants; only fits that several variants need are shared.
With --centring the vectors are also taken from the mean of the texts of other sets, or from the half of that and the
half of the examples, up to 16 a class of these. The other sets choose what has the highest mean accuracy on them, of
all variants or of those that keep there within the limits below.
Of more than 20 classes, and with 64 a class, fewer draws are made, since a fit takes long; of both at once none.
Seconds are those of the processor, for the head of the first draw, on vectors that are there already.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
from data import draw, read, some, spaced
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from fewshot import Classifier, Embedding, LabelPriorLogisticRegression, load
from fewshot.evaluation import calibration_error
from fewshot.heads import label_prior, logistic

KNOWN = ["sst2", "cr", "tweeteval_emotion", "trec6", "ag_news", "snips", "sms_spam", "banking77"]
SETS = [*KNOWN, "mpqa", "tweeteval_hate", "clinc150", "yelp_1k"]
JUDGES, POOL, LEAST_A_CLASS = 500, 1000, 16


class Variant(NamedTuple):
    """The constants of a head, and from which mean the vectors are taken."""

    variance: float
    alone: float
    power: float
    most: float
    centre: str = "no mean"
    divided: bool = True

    def __str__(self) -> str:
        text = f"variance {self.variance:g}, alone {self.alone:g}, power {self.power:g}, C to {self.most:g}"
        text += "" if self.centre == "no mean" else f", {self.centre}"
        return text + ("" if self.divided else ", undivided")


BEFORE, NOW = Variant(0, 10, 0, 100, divided=False), Variant(1, 3, -0.25, 1000)
UNDIVIDED = NOW._replace(divided=False)
SETTLED = [Variant(*one, 0, 100) for one in itertools.product((0, 0.1, 1, 10), (1, 3, 10, 30))]
SETTLED += [Variant(*one, -0.25, 1000) for one in itertools.product((0, 0.1, 1, 10), (1, 3, 10))]
SETTLED += [Variant(1, alone, power, 1000) for power, alone in itertools.product((0, -0.5), (1, 3, 10))]
SETTLED += [BEFORE, UNDIVIDED]
CENTRED = [NOW._replace(centre=centre) for centre in ("mean of others", "half mean")]
LIMITS = {2: -2.0, 8: -1.0}  # points that the worst set may lack to the better of label names and logistic regression
IMBALANCED = ("sst2", "cr")
NEARLY_NONE = 1e-6  # the variance that stands for 0
MEASURES = ["accuracy", "log loss", "ECE"]


@dataclass(frozen=True)
class Data:
    """Unit vectors of the class prompts, of the rows that judge and of those that examples are drawn from."""

    classes: list[str]
    prompts: Any
    judges: Any
    wanted: Any
    pool: pd.DataFrame  # column label; the index counts the rows of vectors
    vectors: Any

    def drawn(self, shots: int, seed: int) -> tuple[Any, Any]:
        """Vectors and classes of some examples a class."""
        shown = draw(self.pool, shots, seed)
        return self.vectors[shown.index], np.searchsorted(self.classes, shown.label)


def load_encoder(name: str) -> Any:
    """The default encoder, or the mean of the hidden states of an embedded language model."""
    if name == "default":
        return load(cache_bytes=0)
    model = load(f"embedded:{name}")
    with TemporaryDirectory() as folder:
        model.model.base_model.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        return load(folder, cache_bytes=0)


def split(folder: Path) -> tuple[list[str], pd.DataFrame, pd.DataFrame]:
    """The classes of a set, the training rows that judge, and those that examples are drawn from."""
    train = spaced(read(folder, "train"))
    train = train[train.label != "oos"]
    judging = some(train, min(JUDGES, len(train) // 2))
    classes = sorted(set(train.label))
    size = max(POOL // len(classes), LEAST_A_CLASS)
    rest = train.drop(judging.index)
    pool = pd.concat([some(rest[rest.label == one], size) for one in classes]).reset_index(drop=True)
    return classes, judging, pool


def read_set(options: argparse.Namespace, encoder: Any, name: str) -> Data:
    """The vectors of a set, from the folder where they are there."""
    classes, judging, pool = split(options.data / name)
    path = options.cache / f"{options.encoder}-{name}.npz"
    if not path.exists():
        prompts = Classifier(encoder, strategy=Embedding()).fit(None, classes).strategy_.prototypes_
        parts = [normalize(encoder.encode(part.text.tolist())) for part in (judging, pool)]
        np.savez(path, prompts=prompts, judges=parts[0], vectors=parts[1])
        print(f"{name}: encoded {len(judging) + len(pool)} texts", flush=True)
    found = np.load(path)
    wanted = np.searchsorted(classes, judging.label)
    return Data(classes, found["prompts"], found["judges"], wanted, pool, found["vectors"])


def share_fits() -> Any:
    """Fit the same examples of a draw once for all variants: one constant concerns a fit, and only one with C 0."""
    found: dict[Any, Any] = {}
    optimum = logistic.Problem.optimum

    def shared(self: Any, tau: float, C: float, **limits: Any) -> Any:
        own = logistic._INTERCEPT_VARIANCE if C == 0 else None
        key = (self.Z[:, 0].tobytes(), tau, C, own, *limits.values())  # enough to tell the rows of one draw apart
        if key not in found:
            found[key] = optimum(self, tau, C, **limits)
        return found[key]

    return mock.patch.object(logistic.Problem, "optimum", shared)


def fit(X: Any, y: Any, prompts: Any, variant: Variant) -> Any:
    """The head with these constants."""
    with (
        mock.patch.object(logistic, "_INTERCEPT_VARIANCE", max(variant.variance, NEARLY_NONE)),
        mock.patch.object(label_prior, "_ALONE", float(variant.alone)),
        mock.patch.object(logistic, "_C_POWER", variant.power),
        mock.patch.object(label_prior, "CS", [C for C in label_prior.CS if variant.most >= C]),
    ):
        given = {} if variant.divided else {"taus": label_prior.TAUS, "Cs": label_prior.CS}
        return LabelPriorLogisticRegression(**given).fit(X, y, prompts)


def judge(scores: Any, wanted: Any) -> dict[str, float]:
    """Accuracy, log loss and expected calibration error of class log-probabilities."""
    right = scores.argmax(axis=1) == wanted
    loss = -scores[np.arange(len(wanted)), wanted].mean()
    error = calibration_error(np.exp(scores.max(axis=1)), right)
    return dict(zip(MEASURES, (float(right.mean()), float(loss), error), strict=True))


def centred(data: Data, X: Any, others: Any, centre: str) -> tuple[Any, Any, Any]:
    """Examples, class prompts and rows, less a mean."""
    parts = X, data.prompts, data.judges
    if centre == "no mean":
        return parts
    mean = others if centre == "mean of others" else (others + X.mean(axis=0)) / 2
    return tuple(normalize(part - mean) for part in parts)


def measure(data: Data, others: Any, shots: int, draws: int, variants: list[Variant]) -> pd.DataFrame:
    """Every way on every draw: a line for each."""
    lines: list[dict[str, Any]] = []

    def note(seed: int, way: Any, scores: Any, seconds: float = np.nan) -> None:
        lines.append({"seed": seed, "way": way, "seconds": seconds, **judge(scores, data.wanted)})

    for seed in range(draws):
        X, y = data.drawn(shots, seed)
        note(seed, "names", log_softmax(10 * data.judges @ data.prompts.T, axis=1))
        started = time.process_time()
        plain = LogisticRegression().fit(X, y)
        note(seed, "plain", plain.predict_log_proba(data.judges), time.process_time() - started)
        spent = {}
        for variant in (BEFORE, UNDIVIDED, NOW) if seed == 0 else ():
            started = time.process_time()
            fit(X, y, data.prompts, variant)
            spent[variant] = time.process_time() - started
        with share_fits():
            for variant in variants:
                mine, prompts, rows = centred(data, X, others, variant.centre)
                head = fit(mine, y, prompts, variant)
                note(seed, variant, head.predict_log_proba(rows), spent.get(variant, np.nan))
    return pd.DataFrame(lines)


def measure_all(options: argparse.Namespace, encoder: Any) -> tuple[dict[str, Data], pd.DataFrame]:
    """The means over the draws of each set, number of examples and way, from the folder where they are there."""
    options.cache.mkdir(parents=True, exist_ok=True)
    sets = {name: read_set(options, encoder, name) for name in options.sets}
    tables = []
    for (name, data), shots in itertools.product(sets.items(), options.shots):
        many = len(data.classes) > 20
        if many and shots > 16:
            continue
        draws = min(options.draws, 2 if many else 3 if shots > 16 else options.draws)
        variants = SETTLED + (CENTRED if options.centring and shots <= 16 else [])
        path = options.cache / f"{options.encoder}-{name}-{shots}-{draws}{'-centred' * options.centring}.pkl"
        if not path.exists():
            others = np.mean([one.vectors.mean(axis=0) for own, one in sets.items() if own != name], axis=0)
            measure(data, others, shots, draws, variants).to_pickle(path)
        means = pd.read_pickle(path).groupby("way")[[*MEASURES, "seconds"]].mean()
        tables.append(means.assign(set=name, shots=shots, draws=draws))
        spread = data.vectors.var(axis=0).sum()
        print(name, shots, means.accuracy[["names", "plain"]].round(3).tolist(), f"variance {spread:.3f}", flush=True)
    return sets, pd.concat(tables).set_index(["set", "shots"], append=True)


def choose(table: pd.DataFrame, limits: dict[int, float]) -> Variant:
    """The variant with the highest mean accuracy, of those whose worst set keeps within the limits where any does."""
    wide = table.accuracy.unstack("way")
    apart = 100 * wide[SETTLED].sub(wide[["names", "plain"]].max(axis=1), axis=0).groupby("shots").min()
    keep = [one for one in SETTLED if all(apart[one].get(n, 0.0) >= limit for n, limit in limits.items())]
    return wide[keep or SETTLED].groupby("shots").mean().mean().idxmax()


def print_table(head: list[str], rows: list[list[Any]]) -> None:
    print("\n| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(f"{one:.3f}" if isinstance(one, float) else str(one) for one in row) + " |")


def worst(own: Any, names: Any, plain: Any) -> tuple[float, str]:
    """The least difference of accuracies to the better of label names and plain logistic regression, in points."""
    apart = 100 * (own - np.maximum(names, plain))
    return float(apart.min()), f"{apart.min():+.1f} ({apart.idxmin()})"


def report(table: pd.DataFrame, names: list[str]) -> None:
    """Print what each idea does alone, what the other sets choose, and the ways beside each other."""
    wide = table[[*MEASURES, "seconds"]].unstack("way")
    shots = sorted(set(table.index.get_level_values("shots")))
    rows: list[list[Any]] = []
    for variant in [one for one in SETTLED + CENTRED if ("accuracy", one) in wide]:
        row: list[Any] = [str(variant)]
        for n in shots:
            part = wide.xs(n, level="shots")
            if part["accuracy", variant].isna().any():
                row += [""] * 3
                continue
            apart = worst(part["accuracy", variant], part["accuracy", "names"], part["accuracy", "plain"])[1]
            row += [float(part["accuracy", variant].mean()), float(part["log loss", variant].mean()), apart]
        rows.append(row)
    print_table(["variant", *(f"{what}, {n}" for n in shots for what in ("accuracy", "log loss", "worst"))], rows)
    left_out = {}
    for by, limits in (("within the limits", LIMITS), ("by accuracy alone", {})):
        left_out[by] = {name: choose(table.drop(name, level="set"), limits) for name in names}
        print(f"\nchosen by the others, {by}:\n" + "\n".join(f"- {name}: {own}" for name, own in left_out[by].items()))
    for n in shots:
        part = wide.xs(n, level="shots")
        own = list(part.index)
        ways: dict[str, Any] = {"names": "names", "plain": "plain"}
        ways |= {"as it was": BEFORE, "undivided": UNDIVIDED, "as it is": NOW}
        found = {title: part.xs(way, axis=1, level="way") for title, way in ways.items()}
        for by, chosen in left_out.items():
            lines = [part.xs(chosen[name], axis=1, level="way").loc[name] for name in own]
            found[f"left out, {by}"] = pd.DataFrame(lines, index=own)
        best = [found[title].accuracy for title in ("names", "plain")]
        rows = [[name, *(float(one.accuracy[name]) for one in found.values())] for name in own]
        for what in (*MEASURES, "seconds"):
            rows.append([f"mean {what}", *(float(one[what].mean()) for one in found.values())])
        rows.append(["worst to max(names, plain), points", *(worst(one.accuracy, *best)[1] for one in found.values())])
        higher = (int((one["log loss"] > found["names"]["log loss"]).sum()) for one in found.values())
        rows.append(["sets with a higher log loss than names", *higher])
        print_table([f"accuracy, {n} a class", *found], rows)


def report_imbalance(sets: dict[str, Data], draws: int) -> None:
    """Print what 40 examples of one class and 2 of the other give; rows are weighed so that they are as many to one."""
    rows = []
    for name, many in itertools.product(IMBALANCED, (0, 1)):
        data, lines = sets[name], []
        shares = np.where(
            data.wanted == many, 40 / 42 / (data.wanted == many).sum(), 2 / 42 / (data.wanted != many).sum()
        )
        for seed in range(draws):
            parts = [data.pool[data.pool.label == one] for one in data.classes]
            drawn = [own.sample(40 if i == many else 2, random_state=seed) for i, own in enumerate(parts)]
            shown = pd.concat(drawn)
            X, y = data.vectors[shown.index], np.searchsorted(data.classes, shown.label)
            heads = [LogisticRegression(), LogisticRegression(class_weight="balanced")]
            fitted = [head.fit(X, y) for head in heads] + [fit(X, y, data.prompts, one) for one in (BEFORE, NOW)]
            line = []
            for head in fitted:
                scores = head.predict_log_proba(data.judges)
                loss = -shares @ scores[np.arange(len(data.wanted)), data.wanted]
                line += [roc_auc_score(data.wanted, scores[:, 1]), loss]
            lines.append(line)
        cells = (f"{a:.3f} / {b:.3f}" for a, b in np.mean(lines, axis=0).reshape(-1, 2))
        rows.append([f"{name}, 40 {data.classes[many]}", *cells])
    head = ["area under the ROC curve / log loss", "plain", "plain, balanced", "as it was", "as it is"]
    print_table(head, rows)


def report_many(options: argparse.Namespace, sets: dict[str, Data], encoder: Any) -> None:
    """Print the seconds of the processor that 8 examples of each of the 150 classes take."""
    data = sets["clinc150"]
    X, y = data.drawn(8, 0)
    started = time.process_time()
    fit(X, y, data.prompts, NOW)
    spent = time.process_time() - started
    train = spaced(read(options.data / "clinc150", "train"))
    shown = draw(train[train.label != "oos"], 8, 0)
    started = time.process_time()
    Classifier(encoder, strategy=Embedding()).fit(shown.text, shown.label)
    print(
        f"\nclinc150, {len(data.classes)} classes, 8 a class: {spent:.1f} s of the processor for the head, "
        f"{time.process_time() - started:.1f} s with encoding"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--encoder", default="default", choices=["default", "masked", "causal"])
    parser.add_argument("--shots", nargs="+", type=int, default=[2, 8, 64])
    parser.add_argument("--centring", action="store_true")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sets", nargs="+", default=SETS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some texts are longer than the window
    encoder = load_encoder(options.encoder)
    sets, table = measure_all(options, encoder)
    report(table, options.sets)
    if set(IMBALANCED) <= sets.keys():
        report_imbalance(sets, options.draws)
    if "clinc150" in sets:
        report_many(options, sets, encoder)


if __name__ == "__main__":
    main()
