"""How good predicted spans are: precision, recall and F1 with their intervals, and a table of the types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.errors import InputError
from fewshot.evaluation.metrics import compute_percentiles, draw_resamples
from fewshot.evaluation.predictions import check_resampling
from fewshot.evaluation.tables import Result, make_frame, make_intervals, need_pandas, printed
from fewshot.models.base import FloatArray, IntArray
from fewshot.task.span_counts import compute_ratios, count_spans, entity_f1
from fewshot.task.spans import Span, read_spans

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SpanEvaluation", "drop_labels", "entity_f1", "evaluate_spans"]

Rows = Sequence[Sequence[Span]]
_RATIOS = ("precision", "recall", "f1")


@dataclass(frozen=True, eq=False)
class SpanEvaluation(Result):
    """The metrics of predicted spans; prints as a table.

    Attributes
    ----------
    metrics : DataFrame
        Precision, recall and f1 of spans with their labels, and of their boundaries alone, each with its value and the
        ends of its interval, low and high.
    types : DataFrame
        A row for each label: precision, recall, f1 and support (the number of true spans with this label).
    n : int
        Number of texts.
    n_bootstrap : int
        Number of resamples.
    level : float
        Confidence level of the intervals.
    """

    metrics: pd.DataFrame
    types: pd.DataFrame
    n: int
    n_bootstrap: int
    level: float

    def __str__(self) -> str:
        tables = [printed(self.metrics, ["metric", "value", "low", "high"])]
        if len(self.types):
            tables.append(printed(self.types, ["type", *self.types.columns]))
        said = f"{self.n} texts, {100 * self.level:g} % intervals of {self.n_bootstrap} resamples"
        return "\n\n".join([said, *tables])


def evaluate_spans(
    true: Any,
    predicted: Any,
    texts: Any = None,
    *,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int = 0,
) -> SpanEvaluation:
    """Compare predicted spans with true ones.

    Parameters
    ----------
    true, predicted : list of list of Span
        The spans of each text. If ``texts`` is given, in any form that a tagger takes as y.
    texts : list of str or list of list of str, optional
        The texts, or their tokens.
    n_bootstrap : int
        Number of resamples of the texts for the intervals.
    level : float
        Confidence level of the intervals, above 0 and below 1.
    random_state : int
        Seed of the resamples, which are the same for all metrics.

    Returns
    -------
    SpanEvaluation

    Raises
    ------
    InputError
        When there are no texts, ``true`` and ``predicted`` have different lengths, or an element is not a span.
    NotInstalledError
        When pandas is not installed.

    Notes
    -----
    A span is right if its boundaries and its label are right. Spans are counted over all texts together, also texts
    without spans, as in the shared task CoNLL-2003 (Tjong Kim Sang and De Meulder 2003) and in seqeval. The boundary
    metrics ignore labels: if they are much higher, most errors are wrong types. A ratio of 0 to 0 is 0.

    The intervals are percentiles over resamples of the texts. They show how much the value would vary with other texts.

    Examples
    --------
    >>> from fewshot import Span
    >>> true = [[Span(0, 4, "city")], [Span(0, 3, "person")]]
    >>> result = evaluate_spans(true, [[Span(0, 4, "city")], [Span(0, 3, "city")]], n_bootstrap=200)
    >>> result.metrics["value"].to_dict()
    {'precision': 0.5, 'recall': 0.5, 'f1': 0.5, 'boundary precision': 1.0, 'boundary recall': 1.0, 'boundary f1': 1.0}
    >>> result.types["support"].to_dict()
    {'city': 1, 'person': 1}
    """
    need_pandas()
    check_resampling(n_bootstrap, level)
    there, said = _take_spans("true", true, texts), _take_spans("predicted", predicted, texts)
    if len(there) != len(said):
        raise InputError(f"true has {len(there)} rows and predicted has {len(said)}: they must be of one length.")
    counts = {"": count_spans(there, said), "boundary ": count_spans(drop_labels(there), drop_labels(said))}
    table = _make_metrics(counts, n_bootstrap, level, random_state)
    return SpanEvaluation(table, _by_type(there, said), len(there), int(n_bootstrap), float(level))


def _take_spans(name: str, rows: Any, texts: Any) -> Rows:
    if texts is not None:
        return read_spans(texts, rows).spans
    listed: list[list[Any]] = [list(row) for row in rows]
    if not listed:
        raise InputError(f"{name} is empty: give the spans of at least one text.")
    for i, row in enumerate(listed):
        other = next((span for span in row if not isinstance(span, Span)), None)
        if other is not None:
            raise InputError(f"{name}[{i}] has {other!r:.60}, which is no Span: give the texts, too, or make it one.")
    return listed


def drop_labels(rows: Rows) -> Rows:
    """The boundaries of spans: the same with one label for all."""
    return [[replace(span, label=None) for span in row] for row in rows]


def _make_metrics(
    counts: dict[str, list[tuple[int, int, int]]], n_bootstrap: int, level: float, random_state: int
) -> pd.DataFrame:
    """The ratios of each kind of counts, which are of each text, with their intervals."""
    names: list[str] = []
    values: list[float] = []
    ends: list[tuple[float, float]] = []
    for kind, each in counts.items():
        of_texts = np.array(each)
        names += [kind + ratio for ratio in _RATIOS]
        values += compute_ratios(*of_texts.sum(axis=0).tolist())
        blocks = draw_resamples(len(of_texts), n_bootstrap, random_state)
        drawn = np.concatenate([_compute_ratios_of_each(drawn @ of_texts) for drawn in blocks], axis=1)
        ends += [compute_percentiles(resampled, level) for resampled in drawn]
    return make_intervals("metric", names, values, ends)


def _compute_ratios_of_each(totals: IntArray) -> FloatArray:
    """Precision, recall and F1, of shape (3, n_resamples)."""
    return np.array([compute_ratios(*row) for row in totals.tolist()]).T


def _by_type(true: Rows, predicted: Rows) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {"type": [], **{ratio: [] for ratio in _RATIOS}, "support": []}
    for label in sorted({span.label for rows in (true, predicted) for row in rows for span in row}, key=str):
        own = [[[span for span in row if span.label == label] for row in rows] for rows in (true, predicted)]
        right, said, there = np.sum(count_spans(*own), axis=0).tolist()
        for name, value in zip(columns, (label, *compute_ratios(right, said, there), there), strict=True):
            columns[name].append(value)
    return make_frame(columns, "type")
