"""Readings of a text: from what a model says of the tags of its words to spans, each with its exact probability.

A reading gives every word one tag, and a span is a maximal run of words of one type: the words before and after it are
of another type or of none. Its probability is that of all readings that have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fewshot.checks import at_least, between
from fewshot.heads.chain import Chains, Runs
from fewshot.models.base import FloatArray

__all__ = ["LEAST", "ChainReading", "Found", "Reading", "read_chains"]

#: The threshold where none is given; settled by benchmarks/settle/tagging.py.
LEAST = 0.25
#: First word, the word after the last one, the number of the type from 0 on, and the probability.
Found = tuple[int, int, int, float]


class Reading(Protocol):
    """What a strategy says of the spans of one text."""

    @property
    def n_types(self) -> int:
        """Number of types."""

    def find(self, threshold: float | None = None, max_words: int | None = None) -> list[Found]:
        """The spans in their order, none of which overlap. Without a threshold the strategy knows best."""


@dataclass(frozen=True, eq=False)
class ChainReading:
    """The readings of a text whose tags are a linear chain; see `read_chains`.

    Parameters
    ----------
    probabilities : array of shape (n_words, 1 + n_types)
        Of the tags of each word. The first is None: the word is in no span.
    runs : Runs
        How runs of words of a type come about; None is not among their columns.
    """

    probabilities: FloatArray
    runs: Runs

    @property
    def n_types(self) -> int:
        """Number of types."""
        return self.probabilities.shape[1] - 1

    def find(self, threshold: float | None = None, max_words: int | None = None) -> list[Found]:
        """Return the spans of the text in their order, none of which overlap.

        They are those whose probability is at least the threshold. Two that no reading has both, as they overlap or as
        they are of one type and touch, are resolved by the higher probability, then by the earlier first word, the
        fewer words and the first type.

        Parameters
        ----------
        threshold : float, optional
            Above 0 and at most 1. None: 0.25, for the F1 of spans. The F1 is highest where a span is found from half of
            that F1 on: Lipton, Elkan and Naryanaswamy (2014), "Optimal Thresholding of Classifiers to Maximize F1
            Measure".
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
        """
        at_least("max_words", max_words, 1, whole=True, optional=True)
        if threshold is None:
            threshold = LEAST
        between("threshold", threshold, 0, 1, with_high=True)
        return sorted(_resolve(self._likely(threshold, max_words)))

    def log_probabilities(self, max_words: int | None = None, least: float = -np.inf) -> Iterator[FloatArray]:
        """Yield those of the spans of one word, of two and so on, each of shape (n_first_words, n_types).

        It ends where all longer ones are below ``least``: a run of words is no more probable than what it begins with.
        """
        n_words = len(self.probabilities)
        begins, stays, ends = _logs(self.runs)
        run = begins
        for length in range(1, (n_words if max_words is None else min(max_words, n_words)) + 1):
            if length > 1:
                run = run[:-1] + stays[length - 2 : -1]
            if not (run >= least).any():
                return
            yield run + ends[length - 1 :]

    def _likely(self, threshold: float, max_words: int | None) -> list[Found]:
        """All spans whose probability is at least the threshold."""
        spans: list[Found] = []
        least = np.log(threshold) - 1e-9  # rounding must hide none
        for length, logs in enumerate(self.log_probabilities(max_words, least), start=1):
            found = np.exp(np.minimum(logs, 0.0))
            first, one = np.nonzero(found >= threshold)
            columns = (first.tolist(), (first + length).tolist(), one.tolist(), found[first, one].tolist())
            spans += zip(*columns, strict=True)
        return spans


def read_chains(emissions: Sequence[FloatArray], transitions: FloatArray) -> list[ChainReading]:
    """Return the readings of texts whose tags are linear chains.

    Parameters
    ----------
    emissions : sequence of array of shape (n_words, 1 + n_types)
        For each text the log-weights of the tags of its words. The first is None.
    transitions : array of shape (1 + n_types, 1 + n_types)
        Log-weights of the second tag after the first. None stands before and after each text.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.heads.readings import read_chains
    >>> ada_lovelace_wrote = np.log([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    >>> (reading,) = read_chains([ada_lovelace_wrote], np.zeros((2, 2)))
    >>> [(first, after, type_, round(p, 3)) for first, after, type_, p in reading.find(0.3)]
    [(0, 1, 0, 0.4)]
    >>> (reading,) = read_chains([ada_lovelace_wrote], np.log([[1, 1], [1, 4]]))  # a name goes on
    >>> [(first, after, type_, round(p, 3)) for first, after, type_, p in reading.find(0.3)]
    [(0, 2, 0, 0.531)]
    """
    lengths = [len(own) for own in emissions]
    cuts = np.cumsum(lengths)[:-1]
    chains, rows = Chains(lengths), np.concatenate([np.zeros((0, len(transitions))), *emissions])
    found = chains.infer(rows, transitions)
    runs = found.runs
    parts = [np.split(part, cuts) for part in (found.words, runs.begins[:, 1:], runs.stays[:, 1:], runs.ends[:, 1:])]
    readings = [ChainReading(words, Runs(*own)) for words, *own in zip(*parts, strict=True)]
    return readings[: len(lengths)]  # NumPy splits at no place into one part


def _logs(runs: Runs) -> tuple[FloatArray, FloatArray, FloatArray]:
    with np.errstate(divide="ignore"):
        return np.log(runs.begins), np.log(runs.stays), np.log(runs.ends)


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
