"""How good predicted answers are: exact matches and the F1 of words, as SQuAD's script has them, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.checks import one_of
from fewshot.errors import InputError
from fewshot.evaluation.metrics import compute_percentiles, draw_resamples
from fewshot.evaluation.predictions import check_resampling
from fewshot.evaluation.tables import Result, make_intervals, need_pandas, printed
from fewshot.models.base import FloatArray
from fewshot.task.answer_rows import read_answers, read_questions
from fewshot.task.answer_scores import answer_f1, exact_match, score_answers, take_texts
from fewshot.task.extracts import Answer, take_right

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ANSWER_METRICS",
    "AnswerEvaluation",
    "answer_f1",
    "evaluate_answers",
    "evaluate_extractor",
    "exact_match",
    "measure_answers",
    "predict_answers",
    "resample_extractors",
]

#: The metrics by their names in `compare`, and the columns of `score_answers`.
_COLUMNS = {"answer F1": 1, "exact match": 0}
ANSWER_METRICS = tuple(_COLUMNS)


@dataclass(frozen=True, eq=False)
class AnswerEvaluation(Result):
    """The metrics of predicted answers; prints as a table.

    Attributes
    ----------
    metrics : DataFrame
        Exact match and F1 of all questions; if there are questions with and without an answer, also of each kind. Each
        metric has its value and the ends of its interval, low and high. A question without an answer is right if no
        answer is predicted, so exact match and F1 are equal for these questions.
    n : int
        Number of questions.
    n_answerable : int
        Number of questions with an answer.
    n_bootstrap : int
        Number of resamples.
    level : float
        Confidence level of the intervals.
    """

    metrics: pd.DataFrame
    n: int
    n_answerable: int
    n_bootstrap: int
    level: float

    def __str__(self) -> str:
        said = f"{self.n} questions, {self.n_answerable} of them with an answer, {100 * self.level:g} % intervals"
        table = printed(self.metrics, ["metric", "value", "low", "high"])
        return f"{said} of {self.n_bootstrap} resamples\n\n{table}"


def evaluate_answers(
    true: Sequence[Any],
    predicted: Sequence[Any],
    *,
    language: str = "en",
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int = 0,
) -> AnswerEvaluation:
    """Compare predicted answers with the right ones.

    Parameters
    ----------
    true : sequence
        The right answers to each question: a text, a list of texts, an `Answer` or ``{"text": [...]}``; "" or an empty
        list for no answer.
    predicted : sequence of str or Answer
    language : str
        As for `exact_match`.
    n_bootstrap : int
        Number of resamples of the questions for the intervals.
    level : float
        Confidence level of the intervals, above 0 and below 1.
    random_state : int
        Seed of the resamples, which are the same for all metrics.

    Returns
    -------
    AnswerEvaluation

    Raises
    ------
    InputError
        When there are no questions, ``true`` and ``predicted`` have different lengths, or an element is not an answer.
    NotInstalledError
        When pandas is not installed.

    Notes
    -----
    The metrics are those of the script of SQuAD 2.0 (Rajpurkar et al. 2018), from 0 to 1. The intervals are percentiles
    over resamples of the questions. They show how much the value would vary with other questions.

    Examples
    --------
    >>> from fewshot.evaluation import evaluate_answers
    >>> result = evaluate_answers([["Paris"], ["in 1912", "1912"], []], ["Paris", "May 1912", ""], n_bootstrap=200)
    >>> result.metrics["value"].round(2).to_dict()
    {'exact match': 0.67, 'f1': 0.89, 'answerable exact match': 0.5, 'answerable f1': 0.83, 'unanswerable right': 1.0}
    """
    need_pandas()
    check_resampling(n_bootstrap, level)
    scores = score_answers(true, predicted, language)
    has = np.array([any(texts) for texts in map(take_texts, true)])
    columns = {"exact match": scores[:, 0], "f1": scores[:, 1]}
    if has.any() and not has.all():
        columns |= {f"answerable {name}": column[has] for name, column in columns.items()}
        columns["unanswerable right"] = scores[~has, 0]
    ends = [compute_percentiles(_resample(own, n_bootstrap, random_state), level) for own in columns.values()]
    table = make_intervals("metric", list(columns), [float(values.mean()) for values in columns.values()], ends)
    return AnswerEvaluation(table, len(scores), int(has.sum()), int(n_bootstrap), float(level))


def evaluate_extractor(extractor: Any, X: Any, y: Any, **resampling: Any) -> AnswerEvaluation:
    """Measure a fitted extractor on answered questions; see `evaluate`."""
    true = _right(extractor, X, y)
    return evaluate_answers(true, predict_answers(extractor, X, len(true), type(extractor).__name__), **resampling)


def measure_answers(true: Sequence[Any], predicted: Sequence[Any]) -> dict[str, float]:
    """The value of every metric of `ANSWER_METRICS`."""
    means = score_answers(true, predicted).mean(axis=0)
    return {name: float(means[column]) for name, column in _COLUMNS.items()}


def resample_extractors(
    extractors: Mapping[str, Any], X: Any, y: Any, *, metric: str, n_bootstrap: int, random_state: int
) -> tuple[FloatArray, FloatArray, int]:
    """The metric of each extractor, the same under resamples of the questions, and the number of questions.

    The second is of shape (n_extractors, n_bootstrap): all extractors have the same resamples.

    Parameters
    ----------
    extractors : mapping of str to estimator
    X, y
        As for `Extractor.fit`.
    metric : str
        One of `ANSWER_METRICS`.
    n_bootstrap : int
    random_state : int
    """
    one_of("metric", metric, ANSWER_METRICS)
    each = []
    for name, extractor in extractors.items():
        true = _right(extractor, X, y)
        each.append(score_answers(true, predict_answers(extractor, X, len(true), repr(name)))[:, _COLUMNS[metric]])
    scores = np.stack(each)
    return scores.mean(axis=1), _resample(scores, n_bootstrap, random_state), scores.shape[1]


def _right(extractor: Any, X: Any, y: Any) -> list[list[str]]:
    """The texts of the right answers to the questions that an extractor is asked."""
    asked = read_questions(X, getattr(extractor, "question", None))
    return take_right(asked, read_answers(asked, y, X))


def predict_answers(extractor: Any, X: Any, n_questions: int, name: str) -> list[Answer]:
    """What an extractor predicts, checked: it may be of another maker."""
    found = list(extractor.predict(X))
    if len(found) != n_questions:
        raise InputError(f"{name} predicts the answers to {len(found)} questions. It was given {n_questions}.")
    for i, one in enumerate(found):
        if not isinstance(one, Answer):
            raise InputError(f"{name} must predict fewshot.Answer. Got {one!r:.60} for question {i}.")
    return found


def _resample(scores: FloatArray, n_bootstrap: int, random_state: int) -> FloatArray:
    """The means of the last axis under resamples of it, which take its place."""
    n = scores.shape[-1]
    return np.concatenate([scores @ drawn.T for drawn in draw_resamples(n, n_bootstrap, random_state)], axis=-1) / n
