"""Models that show a vector of every token of a text: the protocols, and what those of this library share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import numpy as np

from fewshot.models.base import Float32Array, FloatArray, IntArray

__all__ = ["Pairs", "ReadsTokens", "TokenVectors", "Tokens", "is_pairs", "is_tokens", "word_vectors"]


@dataclass(frozen=True, slots=True, eq=False)
class TokenVectors:
    """The tokens of one text: where each stands, and what a model makes of it there.

    Parameters
    ----------
    starts, ends : int64 ndarray of shape (n_tokens,)
        Character offsets in the text as it was given. They are equal for a token that stands for blanks alone. Tokens
        that share a character overlap.
    vectors : float32 ndarray of shape (n_tokens, dim)

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.models.tokens import TokenVectors
    >>> text, found = "in Rome", TokenVectors(np.array([0, 3]), np.array([2, 7]), np.zeros((2, 4), dtype=np.float32))
    >>> [text[start:end] for start, end in zip(found.starts, found.ends)]
    ['in', 'Rome']
    """

    starts: IntArray
    ends: IntArray
    vectors: Float32Array


class Tokens(Protocol):
    """A model that shows a vector of every token of a text."""

    def token_vectors(self, texts: Sequence[str], layer: int | None = None) -> list[TokenVectors]:
        """For each text its tokens with their hidden states after this many layers; -1 is all of them, None half."""
        ...


class Pairs(Protocol):
    """A model that shows a vector of every token of a text as it reads it after a question."""

    def pair_vectors(
        self, questions: Sequence[str], texts: Sequence[str], layer: int | None = None
    ) -> list[TokenVectors]:
        """For each text its tokens with their hidden states, as the second of a pair."""
        ...


class ReadsTokens(ABC):
    """What the models that read tokens share: both ways to ask them, and what is said of these."""

    @abstractmethod
    def _read_tokens(
        self, texts: Sequence[str], layer: int | None, questions: Sequence[str] | None
    ) -> list[TokenVectors]:
        """Read each text, after its question where there are some."""

    def token_vectors(self, texts: Sequence[str], layer: int | None = None) -> list[TokenVectors]:
        """Return the tokens of each text, with their places and hidden states.

        A text longer than the model's window is read in windows that overlap by half. The vector of a token is from the
        window in which the token is farthest from both ends. The special tokens around a text are read, but not
        returned. A prompt of the model and its ``windows`` are not used. Equal texts are read once.

        Parameters
        ----------
        texts : sequence of str
        layer : int, optional
            The hidden states after this many layers; 0 means the embeddings, -1 the last layer. None: half of the
            layers.

        Returns
        -------
        list of TokenVectors

        Raises
        ------
        ParameterError
            When the model has no such layer.
        UnsupportedError
            When the model does not return hidden states of tokens.
        """
        return self._read_tokens(texts, layer, None)

    def pair_vectors(
        self, questions: Sequence[str], texts: Sequence[str], layer: int | None = None
    ) -> list[TokenVectors]:
        """Return the tokens of each text as `token_vectors` does, with the text read after a question, as a pair.

        The question is before every window of its text.

        Parameters
        ----------
        questions, texts : sequence of str
        layer : int, optional
            The hidden states after this many layers; 0 means the embeddings, -1 the last layer. None: half of the
            layers.

        Returns
        -------
        list of TokenVectors

        Raises
        ------
        ParameterError
            When the model has no such layer.
        InputError
            When a question fills more than half of what the model reads at once; the message has the question.
        UnsupportedError
            When the model does not return hidden states of tokens.
        """
        return self._read_tokens(texts, layer, questions)


def is_pairs(model: object) -> TypeGuard[Pairs]:
    """Whether the object reads a text after a question."""
    return callable(getattr(model, "pair_vectors", None))


def is_tokens(model: object) -> TypeGuard[Tokens]:
    """Whether the object shows a vector of every token."""
    return callable(getattr(model, "token_vectors", None))


def word_vectors(tokens: TokenVectors, words: Sequence[tuple[int, int]]) -> FloatArray:
    """The mean of the vectors of the tokens that overlap each part of their text; zeros where none does.

    Tokens stand in the order of the text, so that those of one part are neighbours.

    Parameters
    ----------
    tokens : TokenVectors
    words : sequence of (start, end)
        The bounds of each part, in characters.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.models.tokens import TokenVectors, word_vectors
    >>> tokens = TokenVectors(np.array([0, 2]), np.array([2, 4]), np.eye(2, dtype=np.float32))
    >>> word_vectors(tokens, [(0, 4), (2, 4), (5, 6)]).tolist()
    [[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]
    """
    starts, ends = np.array(words, dtype=np.int64).reshape(-1, 2).T
    first = np.searchsorted(tokens.ends, starts, side="right")
    after = np.maximum(np.searchsorted(tokens.starts, ends, side="left"), first)
    vectors = np.asarray(tokens.vectors, dtype=np.float64)
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors, axis=0)])
    return (sums[after] - sums[first]) / np.maximum(after - first, 1)[:, None]
