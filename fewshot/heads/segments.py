"""Readings of a text as sets of spans that do not overlap: from the log-odds of each span to exact probabilities.

The weight of a set of spans is the product of their odds, each against being of no type; the set without spans has
weight 1. So a reading's probability is its weight, divided by that of all sets together. This is a semi-Markov model
without transitions: Sarawagi and Cohen (2004), "Semi-Markov Conditional Random Fields for Information Extraction".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewshot.checks import at_least, between
from fewshot.errors import InputError
from fewshot.heads.readings import Found
from fewshot.models.base import FloatArray, IntArray

__all__ = ["SegmentReading"]

#: Log-odds beyond these are as good as certain. Sums of them stay far from what floating-point numbers can't hold.
_MOST = 700.0


@dataclass(frozen=True, eq=False)
class SegmentReading:
    """The readings of a text that are sets of spans, none of which overlap; two of one type may touch.

    Parameters
    ----------
    n_words : int
        Number of words of the text.
    first, after : array of shape (n_spans,)
        The first word of each span that can be, and the word after its last.
    log_odds : array of shape (n_spans, n_types)
        Of each type against None, as if there were no other span. Beyond 700 they count as 700.

    Raises
    ------
    InputError
        When a span is empty or goes beyond the text, or log-odds are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.heads.segments import SegmentReading
    >>> odds = np.array([[1.0], [4.0], [1.0]])  # of "New", "New York" and "York"
    >>> reading = SegmentReading(2, np.array([0, 0, 1]), np.array([1, 2, 2]), np.log(odds))
    >>> reading.probabilities.round(3).ravel().tolist()  # 4 ways without "New York", of weight 1, and one of weight 4
    [0.25, 0.5, 0.25]
    >>> [(first, after, type_, round(p, 3)) for first, after, type_, p in reading.find()]
    [(0, 2, 0, 0.5)]
    """

    n_words: int
    first: IntArray
    after: IntArray
    log_odds: FloatArray

    def __post_init__(self) -> None:
        if np.isnan(self.log_odds).any():
            raise InputError("The log-odds of a span are NaN: the strategy's scores lead to no number.")
        if ((self.first < 0) | (self.first >= self.after) | (self.after > self.n_words)).any():
            raise InputError(f"A span must have at least one of the {self.n_words} words, and no other.")

    @property
    def n_types(self) -> int:
        """Number of types."""
        return self.log_odds.shape[1]

    @functools.cached_property
    def probabilities(self) -> FloatArray:
        """The probability of each span with each type, of shape (n_spans, n_types): that of all sets with it."""
        odds = _bounded(self.log_odds)
        spans = np.logaddexp.reduce(odds, axis=1)  # a span of any type
        before = _sums(self.n_words, self.first, self.after, spans)
        behind = _sums(self.n_words, self.n_words - self.after, self.n_words - self.first, spans)[::-1]
        rest = before[self.first] + behind[self.after] - before[-1]
        return np.exp(np.minimum(odds + rest[:, None], 0.0))

    def find(self, threshold: float | None = None, max_words: int | None = None) -> list[Found]:
        """Return the spans of a text in their order, none of which overlap.

        Without a threshold they are those of the most probable set; of equally probable ones, that with fewer spans or,
        from the end of the text on, the longer ones. With a threshold they are the spans whose probability is at least
        it. Of two that overlap the more probable one stays, then the one with the earlier first word, the fewer words
        and the first type.

        Parameters
        ----------
        threshold : float, optional
            Above 0 and at most 1.
        max_words : int, optional
            Longer spans count as spans that can't be.

        Returns
        -------
        list of (first_word, last_word_exclusive, type_index, probability)
            The types count from 0.

        Raises
        ------
        ParameterError
            When the threshold is not above 0 and at most 1, or max_words is below 1.
        """
        at_least("max_words", max_words, 1, whole=True, optional=True)
        short = self.after - self.first <= (self.n_words if max_words is None else max_words)
        if not short.all():
            shorter = SegmentReading(self.n_words, self.first[short], self.after[short], self.log_odds[short])
            return shorter.find(threshold)
        if threshold is None:
            return self._most_probable()
        between("threshold", threshold, 0, 1, with_high=True)
        return self._likely(threshold)

    def _most_probable(self) -> list[Found]:
        """The set of the largest weight, by one pass that keeps the best set of the words up to each (Viterbi)."""
        best_type = self.log_odds.argmax(axis=1)
        weight = _bounded(self.log_odds.max(axis=1, initial=-np.inf))
        ends = _grouped(self.n_words, self.after)
        best, last = np.zeros(self.n_words + 1), np.full(self.n_words + 1, -1)
        for word in range(1, self.n_words + 1):
            best[word] = best[word - 1]
            own = ends[word]
            sums = best[self.first[own]] + weight[own]
            if sums.size and sums.max() > best[word]:
                last[word] = own[int(sums.argmax())]
                best[word] = sums.max()
        spans, word = [], self.n_words
        while word > 0:
            if last[word] < 0:
                word -= 1
                continue
            spans.append(self._found(int(last[word]), int(best_type[last[word]])))
            word = int(self.first[last[word]])
        return spans[::-1]

    def _likely(self, threshold: float) -> list[Found]:
        found = [self._found(*place) for place in np.argwhere(self.probabilities >= threshold).tolist()]
        kept: list[Found] = []
        taken = np.zeros(self.n_words, dtype=bool)
        for span in sorted(found, key=lambda span: (-span[3], *span[:3])):
            words = slice(span[0], span[1])
            if not taken[words].any():
                taken[words] = True
                kept.append(span)
        return sorted(kept)

    def _found(self, span: int, kind: int) -> Found:
        return int(self.first[span]), int(self.after[span]), kind, float(self.probabilities[span, kind])


def _bounded(log_odds: FloatArray) -> FloatArray:
    return np.clip(np.asarray(log_odds, dtype=np.float64), -_MOST, _MOST)


def _grouped(n_words: int, after: IntArray) -> list[NDArray[np.intp]]:
    """For each number of words the spans that end there."""
    order = np.argsort(after, kind="stable")
    return np.split(order, np.searchsorted(after[order], np.arange(1, n_words + 1)))


def _sums(n_words: int, first: IntArray, after: IntArray, spans: FloatArray) -> FloatArray:
    """Log of the weight of all sets among the first words of a text, for each number of words from 0 on."""
    ends = _grouped(n_words, after)
    sums = np.zeros(n_words + 1)
    for word in range(1, n_words + 1):
        own = ends[word]
        sums[word] = np.logaddexp.reduce(sums[first[own]] + spans[own], initial=sums[word - 1])
    return sums
