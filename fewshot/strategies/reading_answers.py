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
    """Find answers with a model that was trained for question answering, for example on SQuAD.

    The probabilities are a softmax over the scores of all spans that may be an answer (``candidate_spans``) and, if
    ``none`` allows it, of no answer. One softmax covers all windows of a text. Spans of equal text are one answer.

    Parameters
    ----------
    none : {"auto", True, False}
        Whether a text may hold no answer. "auto": yes, unless all examples of ``fit`` have an answer. Without examples,
        yes. This is also safe for a model that was trained only on texts with an answer, such as SQuAD 1.1: it gives no
        answer a probability near 0.

    Attributes
    ----------
    model_ : ExtractiveModel
        The model that was given.
    none_ : bool
        Whether a text may hold no answer.
    max_words_ : int or None
        The most words of an answer.
    offset_ : float
        What is added to the score of no answer. It is 0 unless there are examples with an answer and examples without
        one.

    Notes
    -----
    The offset is the intercept of a logistic regression on the examples. With it, the expected number of examples
    without an answer equals the true number. One further example of each kind, with even odds, keeps the offset finite.

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
        """Store the model, and fit the offset of no answer if the examples allow it.

        Parameters
        ----------
        task : ExtractTask
            The answered questions, or none. Only whether a question has an answer is learnt.
        model : ExtractiveModel
        random_state : object
            Not used: nothing is random.

        Raises
        ------
        UnsupportedError
            When the model was not trained to find answers.
        ParameterError
            When ``none`` is not "auto", True or False.
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
        """Return one reading for each question: how probable its answers are."""
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
