"""The protocol of models that find answers in texts, and how spans of a text are scored by its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fewshot.errors import UnsupportedError
from fewshot.models.base import FloatArray, IntArray, is_extractive

__all__ = ["AnswerScores", "Extractive", "Places", "refuse_extractive", "score_places"]

#: The start and the end of each span of a text, in characters.
Places = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class AnswerScores:
    """How well spans of a text answer a question: log-weights without a common normaliser.

    Parameters
    ----------
    scores : float64 ndarray of shape (n_places,)
        Of each span that was asked for; -inf of one that the model's tokens do not spell.
    none : float
        Of the text holding no answer.
    """

    scores: FloatArray
    none: float


class Extractive(Protocol):
    """A model that finds the answers to questions in texts."""

    @property
    def fingerprint(self) -> str:
        """A string that changes whenever a score could."""
        ...

    def answer_scores(
        self, questions: Sequence[str], contexts: Sequence[str], places: Sequence[Places]
    ) -> list[AnswerScores]:
        """For each question the scores of these spans of its context."""
        ...


def refuse_extractive(model: object, door: str) -> None:
    """Refuse a model that finds answers, where classes are asked for.

    Raises
    ------
    UnsupportedError
        When the model is one.
    """
    if is_extractive(model):
        raise UnsupportedError(
            f"{door} needs a language model or an encoder. {model!r} was trained to find the answers to questions in "
            "texts, and knows no classes: use Extractor."
        )


def score_places(
    bounds: tuple[IntArray, IntArray], places: IntArray, windows: Sequence[slice], logits: Sequence[FloatArray]
) -> FloatArray:
    """Score spans of a text that was read in windows: the logit to begin there and that to end there.

    Each has the largest score of the windows that hold it whole, as in the evaluation of SQuAD by transformers
    (``run_qa.py``). Of several tokens that share a character, as parts of one, the largest logit counts.

    Parameters
    ----------
    bounds : pair of int64 ndarray of shape (n_tokens,)
        Where each token of the text starts and ends; one that stands for a blank ends where it starts.
    places : int64 ndarray of shape (n_places, 2)
        Where each span starts and ends.
    windows : sequence of slice
        The tokens that each window holds.
    logits : sequence of float64 ndarray of shape (2, n_tokens)
        Of the tokens of each window, to begin an answer and to end one.

    Returns
    -------
    float64 ndarray of shape (n_places,)
        -inf where no token starts where the span does or none ends where it does, or no window holds both.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.models.answering import score_places
    >>> bounds = np.array([0, 3, 6]), np.array([2, 6, 9])  # in Ven ice
    >>> logits = [np.array([[0.0, 2.0, 5.0], [1.0, 5.0, 3.0]])]
    >>> score_places(bounds, np.array([[0, 2], [3, 9], [4, 9]]), [slice(0, 3)], logits)
    array([ 1.,  5., -inf])
    """
    starts, ends = bounds
    size = int(max(ends.max(initial=0), places.max(initial=0))) + 1
    best = np.full(len(places), -np.inf)
    for window, (begin, end) in zip(windows, logits, strict=True):
        seen = ends[window] > starts[window]
        opens = _largest_at(starts[window][seen], begin[seen], size)
        closes = _largest_at(ends[window][seen], end[seen], size)
        best = np.maximum(best, opens[places[:, 0]] + closes[places[:, 1]])
    return best


def _largest_at(characters: IntArray, values: FloatArray, size: int) -> FloatArray:
    """For each character the largest of its values, -inf where it has none."""
    found = np.full(size, -np.inf)
    np.maximum.at(found, characters, values)
    return found
