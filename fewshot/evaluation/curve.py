"""learning_curve: what a classifier makes of no labels, of a few, and of more."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from fewshot.checks import at_least
from fewshot.classifier import Classifier
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.evaluation.metrics import METRICS, ORDERED_METRICS, compute_metrics
from fewshot.evaluation.predictions import check_named, predict
from fewshot.evaluation.tables import Result, make_frame, need_pandas, render_html
from fewshot.inputs import take_labelled
from fewshot.labels import in_turn, orders_of_classes
from fewshot.models.base import IntArray, is_language_model
from fewshot.models.loading import load
from fewshot.models.wrappers import RememberedLM
from fewshot.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LearningCurve", "learning_curve"]


@dataclass(frozen=True, eq=False)
class LearningCurve(Result):
    """Metrics by number of labelled rows; prints as a table of their means.

    Attributes
    ----------
    draws : DataFrame
        A row for each fit: name, shots (labelled rows per class), draw, the metrics of `evaluate` (NaN where a
        classifier has no probabilities, or does not know the order of the classes), and the seconds that fit and
        prediction took.
    skipped : DataFrame
        What is not there, and why: name, shots, draws (how many of them) and reason.
    n_test : int
        Number of held-out rows, the same for all fits.
    """

    draws: pd.DataFrame
    skipped: pd.DataFrame
    n_test: int

    def summary(self) -> pd.DataFrame:
        """Return mean and standard deviation over the draws, of each metric and the seconds, by name and shots.

        The columns are pairs such as ("accuracy", "std"). The deviation is NaN where there is a single draw.
        """
        grouped = self.draws.groupby(["name", "shots"], sort=False)
        return grouped[[*self._metrics(), "seconds"]].agg(["mean", "std"])

    def _metrics(self) -> list[str]:
        """Those of ordered classes are there where the classes are."""
        return [*METRICS, *(name for name in ORDERED_METRICS if name in self.draws.columns)]

    def _repr_html_(self) -> str:
        return render_html(self.summary(), self.skipped)

    def __str__(self) -> str:
        counts = self.draws.groupby(["name", "shots"], sort=False).size()
        rows = []
        for (name, shots), row in zip(counts.index, self.summary().to_dict("records"), strict=True):
            cells = [_spread(row[column, "mean"], row[column, "std"]) for column in self._metrics()]
            rows.append([str(name), str(shots), str(counts[name, shots]), *cells, f"{row['seconds', 'mean']:.1f}"])
        lines = [
            f"{self.n_test} held-out rows, mean ± standard deviation over the draws",
            as_text(["name", "shots", "draws", *self._metrics(), "seconds"], rows, right=True),
        ]
        for one in self.skipped.to_dict("records"):
            times = f"{one['draws']} draw{'s' if one['draws'] > 1 else ''}"
            lines.append(f"left out: {one['name']} at {one['shots']} shots, {times}: {one['reason']}")
        return "\n".join(lines)


def learning_curve(
    clf: Any,
    X: Any,
    y: Any,
    *,
    shots: Sequence[int] = (0, 2, 4, 8, 16, 32),
    draws: int = 5,
    test_size: float = 0.5,
    random_state: Any = 0,
) -> LearningCurve:
    """Fit classifiers on more and more labelled rows, and measure each fit on the same held-out rows.

    A part of the rows is held out once, with the shares of the classes kept. From the others, each draw puts the rows
    of every class into an order of its own and takes the first ones, so the rows of a short draw are among those of a
    longer one. All classifiers see the same draws. A language model is asked nothing twice: all fits share its scores.

    Parameters
    ----------
    clf : estimator or mapping of str to estimator
        A classifier of texts, one class a text, or several under the names that the result uses. Clones of them are
        fitted.
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    y : list, array or Series of shape (n_texts,)
        The class of each row.
    shots : sequence of int
        Numbers of labelled rows per class. 0 is zero-shot, ``fit(None, classes)``, a single fit.
    draws : int
        How often the labelled rows are drawn.
    test_size : float or int
        Share or number of the rows that are held out.
    random_state : int, RandomState or None
        Seed of the held-out part and of the draws. What is random in a classifier has its own seed.

    Returns
    -------
    LearningCurve
        Its ``skipped`` says what could not be fitted and why: numbers of shots that a class has no rows for, zero-shot
        where labels are needed, or labels that are too few for a strategy.

    Raises
    ------
    InputError
        When the rows can't be split, or not a single fit was possible.
    UnsupportedError
        When texts may have several labels.
    NotInstalledError
        When pandas is not installed.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> from fewshot.datasets import load_tickets
    >>> from fewshot.evaluation import learning_curve
    >>> lm = FakeLM(lambda query: [float(word in query.prefix) for word in query.candidates])
    >>> clfs = {"zero": Classifier(lm, strategy=Prompting()), "two shown": Classifier(lm, strategy=Prompting(shots=2))}
    >>> curve = learning_curve(clfs, *load_tickets(), shots=[0, 2], draws=3)
    >>> curve.draws.groupby(["name", "shots"]).size().to_dict()
    {('two shown', 2): 3, ('zero', 0): 1, ('zero', 2): 3}
    >>> curve.skipped[["name", "shots", "draws"]].values.tolist()
    [['two shown', 0, 1]]
    """
    need_pandas()
    named = dict(clf) if isinstance(clf, Mapping) else {type(clf).__name__: clf}
    check_named(named, 1)
    sizes = _checked(shots)
    at_least("draws", draws, 1, whole=True)
    X, labels = take_labelled(X, y)
    rng = check_random_state(random_state)
    pool, test = _split(labels, test_size, rng)
    orders = [orders_of_classes(labels, rng, pool) for _ in range(draws)]
    counts = {name: len(rows) for name, rows in orders[0].items()}
    rarest = min(counts, key=lambda name: counts[name])
    held_out = (_taken(X, test), [labels[i] for i in test])
    curve = _Records()
    for name, one in _sharing_models(named).items():
        for size in sizes:
            if size > counts[rarest]:
                reason = f"the class {rarest!r} has {counts[rarest]} rows that are not held out"
                curve.skip(name, size, reason, draws)
                continue
            for draw, order in enumerate(orders if size else orders[:1]):
                train = in_turn(order, size)
                given = (_taken(X, train), [labels[i] for i in train]) if size else (None, list(counts))
                curve.measure(name, size, draw, clf=one, given=given, test=held_out)
    return curve.done(len(test))


class _Records:
    """What was measured and what was left out, as it comes in."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._skipped: dict[tuple[str, int, str], int] = {}

    def skip(self, name: str, shots: int, reason: str, draws: int = 1) -> None:
        key = (name, shots, reason)
        self._skipped[key] = self._skipped.get(key, 0) + draws

    def measure(self, name: str, shots: int, draw: int, *, clf: Any, given: Any, test: Any) -> None:
        if not shots and not isinstance(clf, Classifier):
            self.skip(name, shots, f"{type(clf).__name__} learns from labelled texts only")
            return
        started = time.perf_counter()
        try:
            found = predict(clone(clf).fit(*given), *test)
        except (ValueError, UnsupportedError) as error:  # too few labels for this estimator, or none
            self.skip(name, shots, f"{type(error).__name__}: {error}")
            return
        seconds = time.perf_counter() - started
        cells = compute_metrics(found)
        self._rows.append({"name": name, "shots": shots, "draw": draw, **cells, "seconds": seconds})

    def done(self, n_test: int) -> LearningCurve:
        if not self._rows:
            reasons = "\n".join(f"- {name} at {shots} shots: {reason}" for name, shots, reason in self._skipped)
            raise InputError(f"Not a single fit was possible:\n{reasons}")
        ordered = [name for name in ORDERED_METRICS if any(name in row for row in self._rows)]
        columns = ["name", "shots", "draw", *METRICS, *ordered, "seconds"]
        left_out = [(*key[:2], draws, key[2]) for key, draws in self._skipped.items()]
        return LearningCurve(
            make_frame({column: [row.get(column) for row in self._rows] for column in columns}),
            make_frame({c: [row[i] for row in left_out] for i, c in enumerate(("name", "shots", "draws", "reason"))}),
            n_test,
        )


def _checked(shots: Any) -> list[int]:
    sizes = list(shots) if isinstance(shots, Sequence | np.ndarray) and not isinstance(shots, str) else [shots]
    if not sizes or not all(isinstance(size, int | np.integer) and size >= 0 for size in sizes):
        raise ParameterError(f"shots must be integers of at least 0, such as [0, 2, 4, 8]. Got {shots!r}.")
    return sorted({int(size) for size in sizes})


def _split(labels: list[Any], test_size: float, rng: Any) -> tuple[list[int], list[int]]:
    try:
        pool, test = train_test_split(range(len(labels)), test_size=test_size, random_state=rng, stratify=labels)
    except ValueError as error:
        raise InputError(
            f"The rows can't be split with test_size={test_size!r}, since both parts need rows of each class: {error}"
        ) from error
    return pool, test


def _sharing_models(named: Mapping[str, Any]) -> dict[str, Any]:
    """Clones whose models are loaded once, and whose language models remember what they were asked."""
    loaded: dict[Any, Any] = {}
    clfs = {}
    for name, clf in named.items():
        clfs[name] = clone(clf)
        # a pipeline or a search may hold classifiers
        inner = {"": clf, **{f"{path}__": one for path, one in clf.get_params().items()}}
        for path, one in inner.items():
            if isinstance(one, Classifier):
                key = str(one.model) if isinstance(one.model, str | Path | None) else id(one.model)
                if key not in loaded:
                    model = load(one.model)
                    loaded[key] = RememberedLM(model) if is_language_model(model) else model
                clfs[name].set_params(**{f"{path}model": loaded[key]})
    return clfs


def _taken(X: Any, rows: Sequence[int] | IntArray) -> Any:
    if isinstance(X, list):
        return [X[i] for i in rows]
    return X.iloc[list(rows)] if hasattr(X, "iloc") else X[list(rows)]  # pandas, polars


def _spread(mean: float, std: float) -> str:
    if mean != mean:  # noqa: PLR0124
        return "-"
    return f"{mean:.3f}" if std != std else f"{mean:.3f} ± {std:.3f}"  # noqa: PLR0124
