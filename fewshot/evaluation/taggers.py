"""What fitted taggers find in annotated texts: measured, and under resamples that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fewshot.checks import one_of
from fewshot.errors import InputError
from fewshot.evaluation.metrics import draw_resamples
from fewshot.evaluation.spans import SpanEvaluation, drop_labels, evaluate_spans
from fewshot.models.base import FloatArray, IntArray
from fewshot.task.span_counts import compute_ratios, count_spans
from fewshot.task.spans import Span, read_spans

__all__ = ["SPAN_METRICS", "evaluate_tagger", "measure_spans", "resample_taggers"]

Spans = list[list[Span]]
Counts = list[tuple[int, int, int]]

#: By their names, which of the ratios of counts they are, and whether labels count.
_METRICS = {"entity F1": (2, True), "boundary F1": (2, False), "precision": (0, True), "recall": (1, True)}
SPAN_METRICS = tuple(_METRICS)


def evaluate_tagger(tagger: Any, X: Any, y: Any, **resampling: Any) -> SpanEvaluation:
    """Measure a fitted tagger on annotated texts; see `evaluate`."""
    annotated = read_spans(X, y)
    true = [list(own) for own in annotated.spans]
    return evaluate_spans(true, _find(tagger, X, len(true), type(tagger).__name__), **resampling)


def measure_spans(true: Spans, found: Spans) -> dict[str, float]:
    """The value of every metric of `SPAN_METRICS`."""
    return {name: _ratio(np.sum(_count(name, true, found), axis=0), name) for name in SPAN_METRICS}


def resample_taggers(
    taggers: Mapping[str, Any], X: Any, y: Any, *, metric: str, n_bootstrap: int, random_state: int
) -> tuple[FloatArray, FloatArray, int]:
    """The metric of each tagger, the same under resamples of the texts, and the number of texts.

    The second is of shape (n_taggers, n_bootstrap): all taggers have the same resamples.

    Parameters
    ----------
    taggers : mapping of str to estimator
    X, y
        As for `Tagger.fit`.
    metric : str
        One of `SPAN_METRICS`.
    n_bootstrap : int
    random_state : int
    """
    one_of("metric", metric, SPAN_METRICS)
    annotated = read_spans(X, y)
    true = [list(own) for own in annotated.spans]
    counts = [
        np.array(_count(metric, true, _find(tagger, X, len(true), repr(name)))) for name, tagger in taggers.items()
    ]
    values = np.array([_ratio(own.sum(axis=0), metric) for own in counts])
    blocks = draw_resamples(len(true), n_bootstrap, random_state)
    resampled = np.concatenate(
        [[[_ratio(row, metric) for row in drawn @ own] for own in counts] for drawn in blocks], axis=1
    )
    return values, resampled, len(true)


def _find(tagger: Any, X: Any, n_texts: int, name: str) -> Spans:
    """What a tagger predicts, checked: it may be of another maker."""
    found = [list(row) for row in tagger.predict_spans(X)]
    if len(found) != n_texts:
        raise InputError(f"{name} predicts the spans of {len(found)} texts. It was given {n_texts}.")
    for i, row in enumerate(found):
        for span in row:
            if not isinstance(span, Span):
                raise InputError(f"{name} must predict lists of fewshot.Span. Got {span!r:.60} in text {i}.")
    return found


def _count(metric: str, true: Spans, found: Spans) -> Counts:
    _, labelled = _METRICS[metric]
    return count_spans(true, found) if labelled else count_spans(drop_labels(true), drop_labels(found))


def _ratio(totals: IntArray, metric: str) -> float:
    return compute_ratios(*totals.tolist())[_METRICS[metric][0]]
