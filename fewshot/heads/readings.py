"""Readings of a text: from the tag probabilities of its words to spans, each with its exact probability.

Words are independent given the text. So a reading, which gives every word one tag, has the product of their
probabilities, and a span is a maximal run of words of one type. The probability that a reading has a certain span is
that all its words are of the type and that the word before it and the one after it are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fewshot.checks import at_least, between
from fewshot.models.base import FloatArray

__all__ = ["Found", "Reading", "WordReading", "find_spans", "span_log_probabilities"]

#: First word, the word after the last one, the number of the type from 0 on, and the probability.
Found = tuple[int, int, int, float]


class Reading(Protocol):
    """What a strategy says of the spans of one text."""

    @property
    def n_types(self) -> int:
        """Number of types."""

    def find(self, threshold: float | None = None, max_words: int | None = None) -> list[Found]:
        """The spans in their order, none of which overlap; see `find_spans`."""


@dataclass(frozen=True)
class WordReading:
    """The readings of a text whose words are independent.

    Parameters
    ----------
    probabilities : array of shape (n_words, 1 + n_types)
        Of the tags of each word. The first is None.
    """

    probabilities: FloatArray

    @property
    def n_types(self) -> int:
        """Number of types."""
        return self.probabilities.shape[1] - 1

    def find(self, threshold: float | None = None, max_words: int | None = None) -> list[Found]:
        """The spans in their order, none of which overlap; see `find_spans`."""
        return find_spans(self.probabilities, threshold, max_words)


def find_spans(probabilities: FloatArray, threshold: float | None = None, max_words: int | None = None) -> list[Found]:
    """Return the spans of a text in their order, none of which overlap.

    Without a threshold they are the maximal runs of words with the same most probable tag; of equally probable tags the
    first one counts. With a threshold they are those whose probability is at least it. Two that no reading has both, as
    they overlap or as they are of one type and touch, are resolved by the higher probability, then by the earlier
    first word, the fewer words and the first type.

    Parameters
    ----------
    probabilities : array of shape (n_words, 1 + n_types)
        Of the tags of each word. The first is None: the word is in no span.
    threshold : float, optional
        Above 0 and at most 1.
    max_words : int, optional
        A longer span is left out.

    Returns
    -------
    list of (first_word, last_word_exclusive, type_index, probability)
        The types count from 0.

    Raises
    ------
    ParameterError
        When the threshold is not above 0 and at most 1, or max_words is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.heads.readings import find_spans
    >>> ada_lovelace_wrote = np.array([[0.2, 0.8], [0.1, 0.9], [0.9, 0.1]])
    >>> [(first, last, type_, round(p, 3)) for first, last, type_, p in find_spans(ada_lovelace_wrote)]
    [(0, 2, 0, 0.648)]
    """
    at_least("max_words", max_words, 1, whole=True, optional=True)
    if threshold is None:
        spans = _most_probable_runs(probabilities, max_words)
    else:
        between("threshold", threshold, 0, 1, with_high=True)
        spans = _resolve(_likely_spans(probabilities, threshold, max_words))
    return sorted(spans)


def span_log_probabilities(
    probabilities: FloatArray, max_words: int | None = None, least: float = -np.inf
) -> Iterator[FloatArray]:
    """Yield the log-probabilities of the spans of one word, of two and so on, each of shape (n_first_words, n_types).

    It ends where all longer ones are below ``least``: a run of words is no more probable than what it begins with.
    """
    n_words = len(probabilities)
    inside, outside = _logs(probabilities)
    run = np.zeros((n_words, inside.shape[1]))
    for length in range(1, (n_words if max_words is None else min(max_words, n_words)) + 1):
        n_first = n_words - length + 1
        run = run[:n_first] + inside[length - 1 :]
        if not (run >= least).any():
            return
        yield run + outside[:n_first] + outside[length + 1 :]


def _logs(probabilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log-probabilities that each word is of a type, and that it is not: there with a word before and after the text.

    These are of no type.
    """
    p = np.asarray(probabilities, dtype=np.float64)[:, 1:]
    with np.errstate(divide="ignore"):
        inside, outside = np.log(p), np.log1p(-np.minimum(p, 1.0))
    return inside, np.pad(outside, ((1, 1), (0, 0)))


def _most_probable_runs(probabilities: FloatArray, max_words: int | None) -> list[Found]:
    """The maximal runs of the most probable tags."""
    tags = np.asarray(probabilities).argmax(axis=1)
    bounds = np.flatnonzero(np.diff(tags, prepend=-1, append=-1))
    inside, outside = _logs(probabilities)
    spans = []
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        one = int(tags[first]) - 1
        if one >= 0 and (max_words is None or last - first <= max_words):
            log = inside[first:last, one].sum() + outside[first, one] + outside[last + 1, one]
            spans.append((first, last, one, float(np.exp(log))))
    return spans


def _likely_spans(probabilities: FloatArray, threshold: float, max_words: int | None) -> list[Found]:
    """All spans whose probability is at least the threshold."""
    spans: list[Found] = []
    for length, logs in enumerate(span_log_probabilities(probabilities, max_words, np.log(threshold)), start=1):
        found = np.exp(logs)
        first, one = np.nonzero(found >= threshold)
        columns = (first.tolist(), (first + length).tolist(), one.tolist(), found[first, one].tolist())
        spans += zip(*columns, strict=True)
    return spans


def _resolve(spans: list[Found]) -> list[Found]:
    """Of spans that no reading has both, the more probable one."""
    kept: list[Found] = []
    taken: set[tuple[int, int | None]] = set()  # words in a span, and those beside it with its type
    for span in sorted(spans, key=lambda span: (-span[3], *span[:3])):
        first, last, one, _ = span
        words = range(first, last)
        if not any((word, None) in taken or (word, one) in taken for word in words):
            kept.append(span)
            taken.update((word, None) for word in words)
            taken.update({(first - 1, one), (last, one)})
    return kept
