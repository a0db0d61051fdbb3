"""Where the tokens of a text stand in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewshot.models.base import IntArray
from fewshot.models.text.tokens import strip_blanks

__all__ = ["find_bounds"]

_BLANK = "▁"  # as SentencePiece writes it


def find_bounds(text: str, encoding: Any) -> tuple[IntArray, IntArray]:
    """The character offsets at which each token of an encoded text begins and ends, each of shape (n_tokens,).

    They are those of the backend, but for blanks: it lets a token begin with the blank before its word
    (transformers#18111), and says that a blank which it put before a text is the text's first character.
    """
    bounds = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    for bound, token in zip(bounds, encoding.tokens, strict=True):
        start, end = bound
        part = text[start:end]
        if token.strip(_BLANK) or _BLANK in part:
            bound[0] = end - len(strip_blanks(part))
        else:
            bound[1] = start
    return bounds[:, 0].copy(), bounds[:, 1].copy()
