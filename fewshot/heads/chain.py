"""Tags of words as linear chains: exact probabilities, of many texts at once.

A tagging of a text has the product of the weights of its tags and of the weights of each tag after the one before.
The first tag, 0, stands before and after every text. Sums over all taggings take one pass over the words in each
direction: Rabiner (1989), "A Tutorial on Hidden Markov Models". All texts take a step together, in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot.models.base import FloatArray, IntArray

__all__ = ["Chains", "Posterior", "Runs"]

#: Log-weights of transitions beyond these are as good as certain, and nothing that follows leaves the range of floats.
_MOST = 300.0


@dataclass(frozen=True, eq=False)
class Runs:
    """How runs of words with one tag come about, each of shape (n_words, n_tags).

    A run from the word i to the word j has the probability ``begins[i] * stays[i] * ... * stays[j - 1] * ends[j]``.
    """

    begins: FloatArray  # probability that the word has the tag, and the one before it has not
    stays: FloatArray  # probability that the next word has the tag, given that the word has it
    ends: FloatArray  # the same of not


@dataclass(frozen=True, eq=False)
class Posterior:
    """What `Chains.infer` finds. Rows are words, and messages are scaled so that their products are probabilities."""

    log_normalizer: float  # log of the summed weights of all taggings, over all texts
    transitions: FloatArray  # weights of the second tag after the first
    before: FloatArray  # of the tags of the word before, as the words up to it have them
    onward: FloatArray  # of the tags of the word, as it and the words after it have them
    forward: FloatArray
    backward: FloatArray
    after: FloatArray  # of the tags of the word after
    last: IntArray  # the row of the last word of each text

    @property
    def words(self) -> FloatArray:
        """The probability of each tag of each word."""
        return self.forward * self.backward

    @property
    def counts(self) -> FloatArray:
        """How often the second tag is expected after the first, summed over the texts, with their starts and ends."""
        return self.transitions * (self.before.T @ self.onward + self.forward[self.last].T @ self.after[self.last])

    @property
    def runs(self) -> Runs:
        """How runs of words with one tag come about."""
        same = np.diag(self.transitions)
        others = self.transitions - np.diag(same)
        return Runs(
            (self.before @ others) * self.onward,
            same * self.after / self.backward,
            (self.after @ others.T) / self.backward,
        )


class Chains:
    """The texts whose words are the rows of an array, one text after the other.

    Parameters
    ----------
    lengths : sequence of int
        Number of words of each text.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.heads.chain import Chains
    >>> emissions = np.log([[1, 2], [1, 1], [1, 2]])
    >>> alike = np.log([[1, 1], [1, 3]])
    >>> Chains([3]).infer(emissions, alike).words.round(2).tolist()
    [[0.17, 0.83], [0.16, 0.84], [0.17, 0.83]]
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        sizes = np.asarray(lengths, dtype=np.int64)
        firsts = np.cumsum(sizes) - sizes
        order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
        sizes, firsts = sizes[order], firsts[order]
        self._last = firsts + sizes - 1
        #: How many texts have a word at each step. The longest text comes first, so these are the first ones.
        self._counts = [int(np.count_nonzero(sizes > step)) for step in range(sizes.max(initial=0))]
        steps = [firsts[:count] + step for step, count in enumerate(self._counts)]
        #: The rows step by step, so that those of one step lie side by side, and where each row is among them.
        self._rows = np.concatenate([np.zeros(0, dtype=np.int64), *steps])
        self._places = np.argsort(self._rows)

    def infer(self, emissions: FloatArray, transitions: FloatArray) -> Posterior:
        """Sum over all taggings of each text.

        Parameters
        ----------
        emissions : array of shape (n_words, n_tags)
            Log-weights of the tags of each word.
        transitions : array of shape (n_tags, n_tags)
            Log-weights of the second tag after the first; beyond 300 they count as 300.
        """
        emissions = emissions[self._rows]
        highest = emissions.max(axis=1, keepdims=True)
        own = np.exp(emissions - highest)
        weights = np.exp(np.clip(transitions, -_MOST, _MOST))
        before, forward, backward, onward, after = (np.zeros(own.shape) for _ in range(5))
        scale = np.ones((len(own), 1))
        message = np.zeros((len(self._last), own.shape[1]))
        message[:, 0] = 1.0
        starts = (np.cumsum(self._counts) - self._counts).tolist()
        for start, count in zip(starts, self._counts, strict=True):
            rows = slice(start, start + count)
            before[rows] = message[:count]
            np.multiply(message[:count] @ weights, own[rows], out=forward[rows])
            forward[rows].sum(axis=1, keepdims=True, out=scale[rows])
            forward[rows] /= scale[rows]
            message = forward[rows]
        last = self._places[self._last]
        ending = forward[last] @ weights[:, 0]
        after[last, 0] = 1.0 / ending
        own /= scale
        for step in reversed(range(len(starts))):
            rows = slice(starts[step], starts[step] + self._counts[step])
            backward[rows] = after[rows] @ weights.T
            onward[rows] = own[rows] * backward[rows]
            if step:
                after[starts[step - 1] : starts[step - 1] + self._counts[step]] = onward[rows]
        total = float(np.log(scale).sum() + highest.sum() + np.log(ending).sum())
        before, onward, forward, backward, after = (
            one[self._places] for one in (before, onward, forward, backward, after)
        )
        return Posterior(total, weights, before, onward, forward, backward, after, self._last)

    def count(self, tags: FloatArray) -> FloatArray:
        """Return how often the second tag comes after the first inside a text, where each word has a 1 for its tag."""
        inside = np.ones((len(tags), 1))
        inside[self._last] = 0.0
        return (inside[:-1] * tags[:-1]).T @ tags[1:]
