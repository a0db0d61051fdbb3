"""How much each field keeps where not all fit, and where a text is cut for it. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fewshot.models.base import IntArray

__all__ = ["Cut", "kept_tokens", "shortened"]


def kept_tokens(sizes: Sequence[int], weights: Sequence[float], fewest: Sequence[int], room: int) -> list[int]:
    """Share room between fields: how many of its tokens each one keeps.

    A field is as heavy as its tokens times its weight. The heaviest gives first, token by token: of fields alike the
    longest, until it is as long as the next; one of weight 2 until it is half as long as those of weight 1. So more
    room never takes a token from anyone.

    Parameters
    ----------
    sizes : sequence of int
        Tokens of each field.
    weights : sequence of float
        Above 0; only their ratios matter.
    fewest : sequence of int
        Tokens of each field that it gives last, when no other field has more than these.
    room : int
        Tokens that all fields together may keep.

    Examples
    --------
    >>> from fewshot.task.shortening import kept_tokens
    >>> kept_tokens([100, 12, 30], [1, 1, 1], [1, 1, 1], 60)
    [24, 12, 24]
    >>> kept_tokens([100, 100], [2, 1], [1, 1], 60)
    [20, 40]
    >>> kept_tokens([100, 3], [1, 50], [1, 1], 60)
    [59, 1]
    """
    shares = np.array(weights, dtype=np.float64) / max(weights)
    heavy = []
    for size, share, first in zip(sizes, shares, fewest, strict=True):
        own = share * np.arange(1, size + 1)
        own[:first] = -1.0
        heavy.append(own)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    lightest = np.argsort(np.concatenate(heavy), kind="stable")[: max(room, 0)]
    return [int(n) for n in np.bincount(owner[lightest], minlength=len(sizes))]


class Cut(NamedTuple):
    """What is left of a text, what was taken from it, and how many tokens that were."""

    left: str
    lost: str
    n_tokens: int


def shortened(
    texts: Sequence[str],
    ends: Sequence[ArrayLike],
    weights: Sequence[float],
    sides: Sequence[str],
    excess: int,
) -> list[Cut]:
    """Take so many tokens from these texts, or all that they have.

    Parameters
    ----------
    texts : sequence of str
    ends : sequence of array-like
        For each text, the offsets at which its tokens end.
    weights : sequence of float
        For each text, its share of what is taken.
    sides : sequence of {"right", "left"}
        For each text, the side that is cut away.
    excess : int
        Number of tokens to take.
    """
    own = [_own_ends(text, found) for text, found in zip(texts, ends, strict=True)]
    sizes = [len(found) for found in own]
    least = [_fewest(*one) for one in zip(texts, own, sides, strict=True)]
    keep = kept_tokens(sizes, weights, least, sum(sizes) - excess)
    return [_cut(*one) for one in zip(texts, own, keep, sides, strict=True)]


def _own_ends(text: str, ends: ArrayLike) -> IntArray:
    """The ends of the tokens that a cut can take; a text that yields none counts as one."""
    found: IntArray = np.maximum.accumulate(np.asarray(ends, dtype=np.int64))
    found = found[found > 0]  # a token that a tokenizer puts before the text holds none of it
    return found if len(found) else np.array([len(text)], dtype=np.int64)


def _fewest(text: str, ends: IntArray, side: str) -> int:
    """The fewest tokens that keep something to read: one character that is not blank; 0 in a blank text."""
    if not text.strip():
        return 0
    if side == "right":
        first = len(text) - len(text.lstrip())
        at = min(int(np.searchsorted(ends, first, side="right")), len(ends) - 1)
        return int(np.searchsorted(ends, ends[at], side="right"))
    last = len(text.rstrip()) - 1
    return len(ends) - int(np.searchsorted(ends, last, side="right"))


def _cut(text: str, ends: IntArray, keep: int, side: str) -> Cut:
    """Keep at most so many tokens of a text; those of one character, which end at one offset, go together."""
    n = len(ends)
    if keep >= n:
        return Cut(text, "", 0)
    if side == "right":
        keep = int(np.searchsorted(ends, ends[keep]))
        at = int(ends[keep - 1]) if keep else 0
        return Cut(text[:at], text[at:], n - keep)
    taken = int(np.searchsorted(ends, ends[n - keep - 1], side="right"))
    at = int(ends[taken - 1]) if taken < n else len(text)
    return Cut(text[at:], text[:at], taken)
