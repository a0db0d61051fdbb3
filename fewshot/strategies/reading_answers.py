"""Answers from a model that was trained to find them: it reads, and there is next to nothing to learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logsumexp
from sklearn.base import BaseEstimator

from fewshot.checks import one_of
from fewshot.errors import UnsupportedError
from fewshot.heads.answers import AnswerReading, Place, read_scores
from fewshot.models.answering import AnswerScores
from fewshot.models.base import FloatArray, is_extractive, kind_of
from fewshot.task.answer_candidates import candidate_spans
from fewshot.task.extracts import Asked, ExtractTask

__all__ = ["ReadAnswers"]


class ReadAnswers(BaseEstimator):  # type: ignore[misc]
    """Find answers by a model that was trained to, such as one of SQuAD.

    The probability of a span is its share of the exponentials of the scores of all spans that may be an answer
    (``candidate_spans``) and, where it is asked for, of no answer: one normaliser for all windows of a text. Spans of
    equal text are one answer.

    Parameters
    ----------
    none : {"auto", True, False}
        Whether a text may hold no answer. "auto": unless it is fitted on examples that all have one. Without examples
        it may: a model that has never seen such texts, as one of SQuAD 1.1, has learnt that no answer begins at the
        token that stands for it, and so gives it next to no probability.

    Attributes
    ----------
    model_ : ExtractiveModel
        The model that was given.
    none_ : bool
        Whether a text may hold no answer.
    max_words_ : int or None
        The most words of an answer.
    offset_ : float
        What is added to the score of no answer. 0, unless examples with and without an answer were given.

    Notes
    -----
    The offset is a logistic regression of one intercept on the examples: it makes as many probable to have no answer
    as have none, with one example more of either kind, which are as probable as not.

    Examples
    --------
    >>> from fewshot import Extractor, ReadAnswers
    >>> extractor = Extractor("deepset/roberta-base-squad2", strategy=ReadAnswers(none=False))
    >>> rows = [{"question": "Where does Ada live?", "context": "Ada lives in Paris."}]
    >>> extractor.fit().predict(rows)[0].text  # doctest: +SKIP
    'Paris'
    """

    def __init__(self, *, none: Literal["auto"] | bool = "auto") -> None:
        self.none = none

    def fit_answers(self, task: ExtractTask, model: Any, *, random_state: Any = None) -> Self:
        """Get ready to read with a model.

        Parameters
        ----------
        task : ExtractTask
            Of its answers only counts whether there are any.
        model : ExtractiveModel
        random_state : object
            Nothing is drawn.

        Raises
        ------
        UnsupportedError
            When the model was not trained to find answers.
        ParameterError
            When ``none`` is neither "auto" nor a truth value.
        InputError
            When the model can't read a question or its text; the message names the row.
        """
        one_of("none", self.none, ("auto", True, False))
        if not is_extractive(model):
            raise UnsupportedError(
                f"ReadAnswers needs a model that was trained to find answers, a ...ForQuestionAnswering. {model!r} "
                f"({kind_of(model)}) was not."
            )
        self.model_, self.max_words_ = model, task.max_words
        empty = np.array([not places for places in task.golds], dtype=bool)
        self.none_ = bool(empty.any() or not len(empty)) if self.none == "auto" else bool(self.none)
        self.offset_ = 0.0
        if self.none_ and empty.any() and not empty.all():
            log_odds = [one.none - float(logsumexp([-np.inf, *one.scores])) for one in self._score(task.asked)[1]]
            self.offset_ = _fit_offset(np.array(log_odds), empty)
        return self

    def answer_readings(self, asked: Sequence[Asked]) -> list[AnswerReading]:
        """Return what it says of the answers to each question."""
        offset = self.offset_ if self.none_ else -np.inf
        places, scores = self._score(asked)
        return [
            read_scores(one.context, own, found.scores, found.none + offset)
            for one, own, found in zip(asked, places, scores, strict=True)
        ]

    def _score(self, asked: Sequence[Asked]) -> tuple[list[list[Place]], list[AnswerScores]]:
        """The spans that may answer each question, and their scores."""
        contexts = [one.context for one in asked]
        places = [candidate_spans(one, self.max_words_ or len(one)) for one in contexts]
        return places, self.model_.answer_scores([one.question for one in asked], contexts, places)


def _fit_offset(log_odds: FloatArray, empty: NDArray[np.bool_]) -> float:
    """What is to be added to the log-odds of no answer, given which examples have none."""
    known = np.isfinite(log_odds)  # a text without a span has no answer whatever is added
    margins, wanted = np.append(log_odds[known], [0.0, 0.0]), float(empty[known].sum()) + 1.0
    most = float(np.abs(margins).max() + np.log(len(margins)))
    return float(brentq(lambda offset: expit(margins + offset).sum() - wanted, -most, most))
