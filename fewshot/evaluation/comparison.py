"""compare: whether one classifier, tagger, extractor or writer is better, on the same rows drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.checks import one_of
from fewshot.errors import UnsupportedError
from fewshot.evaluation.answers import ANSWER_METRICS, resample_extractors
from fewshot.evaluation.doors import door_of_all
from fewshot.evaluation.metrics import (
    HIGHER_IS_BETTER,
    METRICS,
    ORDERED_METRICS,
    WITHOUT_PROBABILITIES,
    bootstrap,
    compute_metrics,
    compute_percentiles,
)
from fewshot.evaluation.predictions import check_named, check_resampling, predict
from fewshot.evaluation.tables import Result, make_frame, make_intervals, need_pandas
from fewshot.evaluation.taggers import SPAN_METRICS, resample_taggers
from fewshot.evaluation.writing import resample_writers
from fewshot.inputs import take_labelled
from fewshot.models.base import FloatArray
from fewshot.task.scale import levels_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare"]

_MEASURES = {**METRICS, **ORDERED_METRICS}
_COMPARED = [name for name in _MEASURES if name != "ECE"]  # which is no mean over rows, and biased upwards
_SHARES = ("accuracy", "macro-F1", *SPAN_METRICS, *ANSWER_METRICS)  # whose differences are said in points
_ROUNDING = 1e-9  # equal probabilities, computed in two ways, differ by less


@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """The comparison of classifiers, taggers, extractors or writers; prints as statements.

    Attributes
    ----------
    values : DataFrame
        A row for each estimator, best first: its value, and the ends of its interval, low and high.
    pairs : DataFrame
        A row for each pair a and b, where a has the better value. "difference": how much better a is; it is positive
        even if a lower value is better. "low" and "high": the ends of its interval. "better": the share of resamples in
        which a is better; a tie counts half. "beats": whether the whole interval is above 0.
    metric : str
        The metric of the comparison.
    n : int
        Number of rows.
    n_bootstrap : int
        Number of resamples.
    level : float
        Confidence level of the intervals.
    """

    values: pd.DataFrame
    pairs: pd.DataFrame
    metric: str
    n: int
    n_bootstrap: int
    level: float

    def __str__(self) -> str:
        head = (
            f"{self.metric} on {self.n} rows, {100 * self.level:g} % intervals of {self.n_bootstrap} paired resamples"
        )
        return "\n".join([head, *(self._statement(pair) for pair in self.pairs.to_dict("records"))])

    def _statement(self, pair: Mapping[Any, Any]) -> str:
        points = self.metric in _SHARES
        difference, low, high = (
            f"{100 * pair[name]:.1f}" if points else f"{pair[name]:.3f}" for name in ("difference", "low", "high")
        )
        by = f"{difference} {'points' if points else 'of ' + self.metric} [{low}, {high}]"
        if pair["beats"]:
            return f"{pair['a']} beats {pair['b']} by {by}"
        return f"no difference shown between {pair['a']} and {pair['b']}: {by}"


def compare(
    clfs: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    metric: str | None = None,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int = 0,
) -> Comparison:
    """Compare fitted classifiers, taggers, extractors or writers on the same rows, on which they were not fitted.

    All are measured on the same resamples of the rows. So the difficulty of a row, which is the same for all, cancels
    in the differences, and the intervals of the differences can show an advantage that separate intervals do not show.

    Parameters
    ----------
    clfs : mapping of str to estimator
        Names, which the result uses, and at least two fitted estimators: text classifiers that give each text one
        class, or only taggers, extractors or writers.
    X, y
        As for `evaluate`.
    metric : str, optional
        The metric. Classifiers: "accuracy", "macro-F1", "log loss" or "Brier"; for ordered classes also "quadratic
        kappa", "level MAE", "expected level MAE" or "RPS". A classifier that does not know the order, such as one of
        scikit-learn, takes it from one that does. Taggers: "entity F1", "boundary F1", "precision" or "recall".
        Extractors: "answer F1" or "exact match". Writers: "chrF" or "BLEU". None: the first metric of the kind.
    n_bootstrap, level, random_state
        As for `evaluate`.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        When there are fewer than two estimators, or a classifier does not know a label.
    UnsupportedError
        When texts may have several labels, the metric needs probabilities that a classifier does not have, the metric
        is for ordered classes and these are not ordered, or the estimators are not all of one kind.
    NotInstalledError
        When pandas is not installed, or sacrebleu for writers.

    Notes
    -----
    Each interval is for one pair. Among many pairs of equally good classifiers, one in twenty counts as a win at level
    0.95. As in `evaluate`, the rows are drawn again, but the classifiers are not fitted again.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM
    >>> from fewshot.evaluation import compare
    >>> words = {"good": "good", "poor": "poor"}
    >>> knows = FakeLM(lambda query: [query.prefix.count("fun"), query.prefix.count("dull")])
    >>> guesses = FakeLM(lambda query: [1.0, 0.0])
    >>> template = "{{ text }} It was {{ label }}"
    >>> clfs = {name: Classifier(lm, template, words).fit() for name, lm in [("b", guesses), ("a", knows)]}
    >>> print(compare(clfs, ["fun", "dull"] * 50, ["good", "poor"] * 50))
    accuracy on 100 rows, 95 % intervals of 1000 paired resamples
    a beats b by 50.0 points [41.0, 60.0]
    """
    need_pandas()
    check_named(clfs, 2)
    check_resampling(n_bootstrap, level)
    usual, resample = _DOORS[door_of_all(clfs)]
    metric = usual if metric is None else metric
    values, resampled, n = resample(clfs, X, y, metric=metric, n_bootstrap=n_bootstrap, random_state=random_state)
    sign = 1 if metric in HIGHER_IS_BETTER else -1
    order = np.argsort(-sign * values, kind="stable").tolist()
    names = list(clfs)
    pairs: dict[str, list[Any]] = {name: [] for name in ("a", "b", "difference", "low", "high", "better", "beats")}
    for a, b in combinations(order, 2):
        gaps = sign * (resampled[a] - resampled[b])
        low, high = compute_percentiles(gaps, level)
        share = float((gaps > _ROUNDING).mean() + (np.abs(gaps) <= _ROUNDING).mean() / 2)
        row = (names[a], names[b], float(sign * (values[a] - values[b])), low, high, share, low > _ROUNDING)
        for column, cell in zip(pairs.values(), row, strict=True):
            column.append(cell)
    ends = [compute_percentiles(resampled[i], level) for i in order]
    table = make_intervals("name", [names[i] for i in order], values[order].tolist(), ends)
    return Comparison(table, make_frame(pairs), metric, n, int(n_bootstrap), float(level))


def _resample(
    clfs: Mapping[str, Any], X: Any, y: Any, *, metric: str, n_bootstrap: int, random_state: int
) -> tuple[FloatArray, FloatArray, int]:
    """The metric of each classifier, the same under resamples of the rows, and the number of rows."""
    one_of("metric", metric, tuple(_COMPARED))
    if metric not in WITHOUT_PROBABILITIES:
        for name, clf in clfs.items():
            if not hasattr(clf, "predict_proba"):
                raise UnsupportedError(
                    f"The classifier {name!r} has no predict_proba, which {metric!r} needs: compare by 'accuracy'."
                )
    X, labels = take_labelled(X, y)
    found = [predict(clf, X, labels) for clf in clfs.values()]
    if metric in ORDERED_METRICS:
        scale = next((one.scale for one in found if one.scale is not None), None)
        found = [one.on(scale) for one in found]
        for one in found:
            levels_of(one.scale, one.classes)  # raises where there is no scale
    values = np.array([compute_metrics(one)[metric] for one in found])
    return values, bootstrap(found, _MEASURES[metric], n_bootstrap, random_state), len(labels)


#: Of each door what its estimators are compared by unless said otherwise, and what resamples them.
_DOORS = {
    "classes": ("accuracy", _resample),
    "spans": ("entity F1", resample_taggers),
    "answers": ("answer F1", resample_extractors),
    "texts": ("chrF", resample_writers),
}
