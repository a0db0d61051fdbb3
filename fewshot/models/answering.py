"""The protocol of models that find answers in texts, and how the spans of a text are scored by its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fewshot.errors import UnsupportedError
from fewshot.models.base import FloatArray, IntArray, is_extractive

__all__ = ["AnswerScores", "Extractive", "TokenEdges", "Words", "refuse_extractive", "score_spans"]

#: The start and the end of each word of a text, in characters.
Words = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class AnswerScores:
    """How well each span of a text answers a question.

    Parameters
    ----------
    places : int64 ndarray of shape (n_spans, 2)
        Where each span starts and ends in the text, in characters, in ascending order.
    scores : float64 ndarray of shape (n_spans,)
        The higher, the more probable: log-weights without a common normaliser.
    none : float
        The same of the text holding no answer.
    """

    places: IntArray
    scores: FloatArray
    none: float


class Extractive(Protocol):
    """A model that finds the answers to questions in texts."""

    @property
    def fingerprint(self) -> str:
        """A string that changes whenever a score could."""
        ...

    def answer_scores(
        self, questions: Sequence[str], contexts: Sequence[str], words: Sequence[Words], max_words: int | None = None
    ) -> list[AnswerScores]:
        """For each question the scores of the spans of its context, of at most so many of its words."""
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


class TokenEdges:
    """Which tokens of a text begin a word, and which end one.

    A token that stands for a blank, or lies inside a word, does neither.

    Parameters
    ----------
    starts, ends : int64 ndarray of shape (n_tokens,)
        Where each token stands in the text.
    words : sequence of (start, end)
    """

    def __init__(self, starts: IntArray, ends: IntArray, words: Words) -> None:
        self.starts, self.ends = starts, ends
        opening = {start: i for i, (start, _) in enumerate(words)}
        closing = {end: i for i, (_, end) in enumerate(words)}
        seen = ends > starts
        #: The number of the word that each token begins, or ends; -1 where it does not.
        self.opens = np.where(seen, [opening.get(int(place), -1) for place in starts], -1).astype(np.int64)
        self.closes = np.where(seen, [closing.get(int(place), -1) for place in ends], -1).astype(np.int64)

    def spans(self, window: slice, max_words: int | None) -> tuple[IntArray, IntArray]:
        """The first and the last token of each span of whole words in a window of the text."""
        first = np.flatnonzero(self.opens[window] >= 0) + window.start
        last = np.flatnonzero(self.closes[window] >= 0) + window.start
        length = self.closes[last][None] - self.opens[first][:, None] + 1
        fine = (length >= 1) & (last[None] >= first[:, None])
        if max_words is not None:
            fine &= length <= max_words
        rows, columns = np.nonzero(fine)
        return first[rows], last[columns]


def score_spans(
    edges: TokenEdges, windows: Sequence[slice], logits: Sequence[FloatArray], max_words: int | None
) -> tuple[IntArray, FloatArray]:
    """Score the spans of a text that was read in windows: the logit of its start and that of its end.

    Each span has the largest score of the windows that hold it whole, as in the evaluation of SQuAD by transformers
    (``run_qa.py``). Where several tokens share a character, as parts of one, it has the largest of these as well.

    Parameters
    ----------
    edges : TokenEdges
    windows : sequence of slice
        The tokens that each window holds.
    logits : sequence of float64 ndarray of shape (2, n_tokens)
        Of each window's tokens, to begin an answer and to end one.
    max_words : int or None

    Returns
    -------
    places : int64 ndarray of shape (n_spans, 2)
        Distinct, in ascending order.
    scores : float64 ndarray of shape (n_spans,)

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.models.answering import TokenEdges, score_spans
    >>> edges = TokenEdges(np.array([0, 3, 6]), np.array([2, 6, 9]), [(0, 2), (3, 9)])  # in Ven ice
    >>> logits = [np.array([[0.0, 2.0, 5.0], [1.0, 5.0, 3.0]])]
    >>> places, scores = score_spans(edges, [slice(0, 3)], logits, max_words=None)
    >>> list(zip(places.tolist(), scores.tolist()))
    [([0, 2], 1.0), ([0, 9], 3.0), ([3, 9], 5.0)]
    """
    places, scores = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    for window, own in zip(windows, logits, strict=True):
        first, last = edges.spans(window, max_words)
        places.append(np.stack([edges.starts[first], edges.ends[last]], axis=1))
        scores.append(own[0, first - window.start] + own[1, last - window.start])
    distinct, which = np.unique(np.concatenate(places), axis=0, return_inverse=True)
    best = np.full(len(distinct), -np.inf)
    np.maximum.at(best, which.reshape(-1), np.concatenate(scores))
    return distinct, best
