"""Accuracy over the number of labels, by which texts are labelled next.

    PYTHONPATH=benchmarks:PEERS python benchmarks/labelling.py DATA --cache DIR [--sets ...] [--seeds 5] [--head usual]
    PYTHONPATH=benchmarks python benchmarks/labelling.py --timing

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label. The pool of a seed is 1,000 of
1,500 training rows, and 600 test rows judge. DIR keeps the vectors of the default encoder, which is frozen. PEERS is a
folder with the peers, made by ``pip install --no-deps --target PEERS small-text scikit-activeml iteration-utilities
makefun dill``; without it they are left out.

Ten labels are chosen before there is any classifier, then ten more at a time by one fitted on those so far. The
classifier is the default head on the frozen vectors, `LabelPriorLogisticRegression`, with the names of the classes that
were labelled so far; it knows no others. ``--head usual`` takes its usual tau and C instead of the average over several
by cross-validation, which takes ten times as long; "auto" is the default of `Classifier`.
"random" and "margin" are this library's, "margin" after ten random ones. Of small-text EmbeddingKMeans is measured (its
BreakingTies is "margin"), of scikit-activeml TypiClust and MaxHerding with their defaults. The cold start is measured
by itself with twice as many labels as there are classes. ``--timing`` chooses ten of 100,000 random vectors instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from data import read, some, spaced
from sklearn.preprocessing import normalize

from fewshot import Classifier, Embedding, LabelPriorLogisticRegression, load, next_to_label
from fewshot.heads.counting import measure_spread
from fewshot.heads.label_prior import DEFAULT_C, DEFAULT_TAU
from fewshot.labelling.picking import STRATEGIES

SETS = ["sst2", "cr", "tweeteval_emotion", "trec6", "ag_news", "snips", "sms_spam"]
TRAIN, POOL, TEST = 1500, 1000, 600
BUDGETS = (10, 20, 30, 40, 60)


@dataclass(frozen=True)
class Rows:
    """Rows of a set: unit vectors and the number of each one's class."""

    vectors: Any
    classes: Any

    def of(self, rows: Any) -> Rows:
        """Some of them."""
        return Rows(self.vectors[rows], self.classes[rows])


@dataclass(frozen=True)
class Kept:
    """An encoder of texts that are numbers of rows, whose vectors are there."""

    vectors: Any
    fingerprint: str = "kept"

    def encode(self, texts: Sequence[str]) -> Any:
        """Look the vectors up."""
        return self.vectors[[int(text) for text in texts]]


class Frozen:
    """The default head on vectors, with the names of the classes that it was shown."""

    def __init__(self, rows: Rows, labelled: Any, prompts: Any, head: str) -> None:
        X, y = rows.vectors[labelled].astype(np.float64), rows.classes[labelled]
        self.model_, self.classes_, self.head = Kept(rows.vectors), np.unique(y), None
        if len(self.classes_) > 1:
            variance = measure_spread(X, np.ones(len(X)))[1]
            usual = {"tau": DEFAULT_TAU / variance, "C": DEFAULT_C / variance} if head == "usual" else {}
            self.head = LabelPriorLogisticRegression(**usual).fit(X, y, prompts[self.classes_])

    def fit(self, X: Any, y: Any) -> Frozen:
        """Nothing more: it is fitted when it is made."""
        return self

    def proba(self, vectors: Any) -> Any:
        """Probabilities of the classes that it knows."""
        return np.ones((len(vectors), 1)) if self.head is None else self.head.predict_proba(vectors)

    def predict_proba(self, texts: Sequence[str]) -> Any:
        """The same of rows by number, as `next_to_label` asks."""
        return self.proba(self.model_.encode(texts))

    def accuracy(self, rows: Rows) -> float:
        """How often it is right."""
        return float((self.classes_[self.proba(rows.vectors).argmax(axis=1)] == rows.classes).mean())


#: Chooses n more rows of the pool, from the labelled ones and the classifier fitted on them, under a seed.
Way = Callable[[Rows, list[int], Any, int, int], Sequence[int]]


def own(strategy: str, cold: str | None = None) -> Way:
    """A strategy of next_to_label, or another one where nothing is labelled."""

    def choose(rows: Rows, labelled: list[int], clf: Any, n: int, seed: int) -> list[int]:
        texts = [str(i) for i in range(len(rows.vectors))]
        y = [None] * len(texts)
        for i in labelled:
            y[i] = int(rows.classes[i])
        way = strategy if labelled else cold or strategy
        return [
            pick.row
            for pick in next_to_label(clf or Kept(rows.vectors), texts, n, y=y, strategy=way, random_state=seed)
        ]

    return choose


def small_text() -> dict[str, Way]:
    """The peer's best without a network of its own."""
    from small_text import EmbeddingKMeans

    def choose(rows: Rows, labelled: list[int], clf: Any, n: int, seed: int) -> list[int]:
        np.random.seed(seed)  # noqa: NPY002 - the peer draws from it
        free, known = np.setdiff1d(np.arange(len(rows.vectors)), labelled), np.array(labelled, dtype=int)
        vectors = rows.vectors[np.concatenate([free, known])]  # it counts so
        place = EmbeddingKMeans().query(None, rows.vectors, free, known, rows.classes[known], n, embeddings=vectors)
        return list(place)

    return {"small-text EmbeddingKMeans": choose}


def scikit_activeml() -> dict[str, Way]:
    """The peer's strategies that need vectors alone."""
    from skactiveml.pool import MaxHerding, TypiClust

    def by(kind: Any) -> Way:
        def choose(rows: Rows, labelled: list[int], clf: Any, n: int, seed: int) -> list[int]:
            y = np.full(len(rows.vectors), np.nan)
            y[labelled] = rows.classes[labelled]
            return list(kind(random_state=seed).query(rows.vectors.astype(np.float64), y, batch_size=n))

        return choose

    return {"scikit-activeml TypiClust": by(TypiClust), "scikit-activeml MaxHerding": by(MaxHerding)}


def ways() -> dict[str, Way]:
    """What is compared."""
    found = {"random": own("random"), "margin": own("margin", "random"), "typical": own("typical"), "auto": own("auto")}
    found |= small_text() if importlib.util.find_spec("small_text") else {}
    return found | (scikit_activeml() if importlib.util.find_spec("skactiveml") else {})


def read_set(data: Path, cache: Path, name: str, most: int = 1000) -> tuple[Any, Rows, Rows]:
    """Vectors of the class prompts, the training and the test rows, of at most so many classes.

    They come from the cache where they are there.
    """
    parts = [spaced(read(data / name, part)) for part in ("train", "test")]
    drawn = np.random.RandomState(0).permutation(sorted(set(parts[0].label) - {"oos"}))[:most]
    parts = [part[part.label.isin(drawn)] for part in parts]
    train, test = some(parts[0].drop_duplicates("text"), TRAIN), some(parts[1], TEST)
    classes = sorted(set(parts[0].label))
    path = cache / f"{name}.npz"
    if not path.exists():
        encoder = load(cache_bytes=0)
        prompts = Classifier(encoder, strategy=Embedding()).fit(None, classes).strategy_.prototypes_
        vectors = [normalize(encoder.encode(part.text.tolist())).astype(np.float32) for part in (train, test)]
        cache.mkdir(exist_ok=True)
        np.savez(path, prompts=prompts, train=vectors[0], test=vectors[1])
    found = np.load(path)
    numbers = [np.searchsorted(classes, part.label) for part in (train, test)]
    return found["prompts"], Rows(found["train"], numbers[0]), Rows(found["test"], numbers[1])


def curve(
    way: Way, prompts: Any, pool: Rows, judges: Rows, budgets: Sequence[int], seed: int, head: str
) -> list[float]:
    """The accuracy with each number of labels, each chosen after the labels before it."""
    labelled: list[int] = []
    clf, found = None, []
    for budget in budgets:
        chosen = [int(i) for i in way(pool, labelled, clf, budget - len(labelled), seed)]
        assert len(set(labelled + chosen)) == budget, "a way chose too few, or the same row again"
        labelled = labelled + chosen
        clf = Frozen(pool, labelled, prompts, head)
        found.append(clf.accuracy(judges))
    return found


class Guessing:
    """A classifier of five classes with random probabilities, on random vectors."""

    classes_ = np.arange(5)

    def __init__(self, n: int) -> None:
        rng = np.random.RandomState(0)
        self.model_ = Kept(rng.normal(size=(n, 384)).astype(np.float32))
        self.proba = rng.dirichlet(np.ones(5), size=n)

    def fit(self, X: Any, y: Any) -> Guessing:
        """There is nothing to learn."""
        return self

    def predict_proba(self, X: Any) -> Any:
        """What was drawn."""
        return self.proba


def print_seconds(n: int = 100_000) -> None:
    """How long ten texts of many take to choose, in seconds of the processor and of the clock."""
    clf, texts = Guessing(n), [str(i) for i in range(n)]
    print("| labelled rows | strategy | processor, s | clock, s |\n| --- | --- | --- | --- |")
    for known in (0, 40, 1000):
        y = [0] * known + [None] * (n - known)
        for strategy in STRATEGIES:
            start, began = time.perf_counter(), time.process_time()
            assert len(next_to_label(clf, texts, 10, y=y, strategy=strategy)) == 10
            spent = f"{time.process_time() - began:.2f} | {time.perf_counter() - start:.2f}"
            print(f"| {known} | {strategy} | {spent} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--head", choices=["usual", "auto"], default="usual")
    options = parser.parse_args()
    if options.timing:
        print_seconds()
        return
    if options.data is None or options.cache is None:
        parser.error("DATA and --cache are needed, or --timing")
    warnings.simplefilter("ignore")  # of peers
    print("| set | labels chosen by |", " | ".join(map(str, BUDGETS)), "| cold start |")
    print("| --- " * (len(BUDGETS) + 3) + "|")
    for name in options.sets:
        prompts, train, test = read_set(options.data, options.cache, name)
        cold = 2 * len(prompts)
        for title, way in ways().items():
            rows = []
            for seed in range(options.seeds):
                pool = train.of(np.random.RandomState(seed).permutation(len(train.classes))[:POOL])
                after = curve(way, prompts, pool, test, BUDGETS, seed, options.head)
                rows.append(after + curve(way, prompts, pool, test, (cold,), seed, options.head))
            shown = " | ".join(f"{100 * value:.1f}" for value in np.mean(rows, axis=0))
            print(f"| {name} | {title} | {shown} ({cold}) |", flush=True)


if __name__ == "__main__":
    main()
