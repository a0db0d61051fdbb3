"""The learning curve of taggers: by mentions of each type, on held-out texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from fewshot.errors import InputError
from fewshot.evaluation.records import LearningCurve, Records, fit_each
from fewshot.evaluation.supports import draw_support
from fewshot.evaluation.taggers import SPAN_METRICS, measure_spans
from fewshot.task.spans import Annotated, Span, read_spans

__all__ = ["draw_span_curve"]

#: Texts, or lists of tokens, and the spans of each.
Given = tuple[list[Any], list[list[Span]]]


def draw_span_curve(
    taggers: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    shots: Sequence[int],
    draws: int,
    test_size: float,
    random_state: Any,
) -> LearningCurve:
    """Fit taggers on supports, and measure each fit on the same held-out texts; see `learning_curve`.

    Parameters
    ----------
    taggers : mapping of str to estimator
    X, y
        As for `Tagger.fit`.
    shots : sequence of int
        Mentions of each type.
    draws : int
    test_size : float or int
    random_state : int, RandomState or None
    """
    annotated = read_spans(X, y)
    rng = check_random_state(random_state)
    try:
        pool, test = train_test_split(range(len(annotated.texts)), test_size=test_size, random_state=rng)
    except ValueError as error:
        raise InputError(f"The texts can't be split with test_size={test_size!r}: {error}") from error
    mentions = [[span.label for span in annotated.spans[i]] for i in pool]
    counts = Counter(label for own in mentions for label in own)
    if not counts:
        raise InputError(f"None of the {len(pool)} texts that are not held out has a span: annotate more of them.")
    most = max(counts.values())
    seeds = rng.randint(2**31 - 1, size=draws).tolist()  # one order a draw, whatever the shots
    held_out = _take(annotated, test)

    def give(size: int, draw: int) -> tuple[Any, Any]:
        if not size:
            return None, sorted(counts)
        return _take(annotated, [pool[i] for i in draw_support(mentions, size, seeds[draw])])

    def refuse(tagger: Any, size: int) -> str | None:
        few = f"no type has more than {most} mentions in the texts that are not held out"
        return few if size > most else None

    def find(tagger: Any, given: tuple[Any, Any]) -> list[list[Span]]:
        found: list[list[Span]] = clone(tagger).fit(*given).predict_spans(held_out[0])
        return found

    curve, measure = Records(SPAN_METRICS), partial(measure_spans, held_out[1])
    fit_each(curve, taggers, shots, draws, refuse=refuse, give=give, predict=find, measure=measure)
    return curve.done(len(test))


def _take(annotated: Annotated, rows: Sequence[int]) -> Given:
    """Some of the texts; lists of tokens where there were such."""
    X = [
        [annotated.texts[i][start:end] for start, end in annotated.words[i]]
        if annotated.tokenised
        else annotated.texts[i]
        for i in rows
    ]
    return X, [list(annotated.spans[i]) for i in rows]
