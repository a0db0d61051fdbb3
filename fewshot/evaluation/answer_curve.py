"""The learning curve of extractors: by answered questions, on questions about held-out texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sklearn.base import clone
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils import check_random_state

from fewshot.errors import InputError
from fewshot.evaluation.answers import ANSWER_METRICS, measure_answers, predict_answers
from fewshot.evaluation.records import LearningCurve, Records, fit_each
from fewshot.inputs import as_rows
from fewshot.models.base import IntArray
from fewshot.task.answer_rows import read_answers, read_questions
from fewshot.task.extracts import Answer, take_right

__all__ = ["draw_answer_curve"]

#: Rows, and the places of the right answers to each.
Given = tuple[list[Any], list[list[tuple[int, int]]]]


def draw_answer_curve(
    extractors: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    shots: Sequence[int],
    draws: int,
    test_size: float,
    random_state: Any,
) -> LearningCurve:
    """Fit extractors on answered questions, and measure each fit on the same held-out ones; see `learning_curve`.

    Parameters
    ----------
    extractors : mapping of str to estimator
    X, y
        As for `Extractor.fit`.
    shots : sequence of int
        Answered questions.
    draws : int
    test_size : float or int
        Of the texts.
    random_state : int, RandomState or None
    """
    asked = read_questions(X, getattr(next(iter(extractors.values())), "question", None))
    rows, golds = as_rows(X), read_answers(asked, y, X)
    rng = check_random_state(random_state)
    split = GroupShuffleSplit(1, test_size=test_size, random_state=rng)
    try:
        ((pool, test),) = split.split(rows, groups=[one.context for one in asked])
    except ValueError as error:
        raise InputError(f"The texts can't be split with test_size={test_size!r}: {error}") from error
    orders = [rng.permutation(pool) for _ in range(draws)]
    right = take_right([asked[i] for i in test], [golds[i] for i in test])
    held_out = [rows[i] for i in test]

    def give(size: int, draw: int) -> Given | tuple[()]:
        return _take(rows, golds, orders[draw][:size]) if size else ()

    def refuse(extractor: Any, size: int) -> str | None:
        few = f"there are {len(pool)} questions about texts that are not held out"
        return few if size > len(pool) else None

    def find(extractor: Any, given: Given | tuple[()]) -> list[Answer]:
        fitted = clone(extractor).fit(*given)
        return predict_answers(fitted, held_out, len(held_out), type(extractor).__name__)

    curve, measure = Records(ANSWER_METRICS), partial(measure_answers, right)
    fit_each(curve, extractors, shots, draws, refuse=refuse, give=give, predict=find, measure=measure)
    return curve.done(len(test))


def _take(rows: Sequence[Any], golds: Sequence[Sequence[tuple[int, int]]], taken: IntArray) -> Given:
    return [rows[i] for i in taken], [list(golds[i]) for i in taken]
