"""The protocol of models that show a vector of every token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from fewshot.models.base import Float32Array, IntArray

__all__ = ["TokenVectors", "Tokens", "is_tokens"]


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
        """For each text its tokens with their hidden states after this many layers; None is half of them."""
        ...


def is_tokens(model: object) -> TypeGuard[Tokens]:
    """Whether the object shows a vector of every token."""
    return callable(getattr(model, "token_vectors", None))
