"""Blocks of tokens to pretrain on: how texts are packed, held out and hidden. Pure planning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fewshot.models.base import IntArray

__all__ = ["corrupt", "hold_out", "to_blocks"]

_MOST_HELD_OUT = 1000  # texts: the loss on 50,000 tokens is known to about 0.02


def hold_out(n: int, share: float, seed: int) -> tuple[IntArray, IntArray]:
    """Split the indices of n texts, in random order, into those held out (at least 1, at most 1,000) and the others."""
    order = np.random.default_rng(seed).permutation(n)
    size = min(max(1, round(share * n)), _MOST_HELD_OUT, n - 1)
    return order[:size], order[size:]


def to_blocks(streams: Sequence[Sequence[int]], before: Sequence[int], after: Sequence[int], size: int) -> IntArray:
    """Pack token sequences, each ended by ``after``, into blocks of one size that begin with ``before``.

    The last block begins early enough to be full, so that nothing is padded and nothing is lost; where there is less
    than one block, the block is shorter.

    Returns
    -------
    ndarray of shape (n_blocks, size)
    """
    flat = np.concatenate([np.array([*ids, *after], dtype=np.int64) for ids in streams])
    width = min(size - len(before), len(flat))
    starts = np.minimum(np.arange(0, len(flat), width), len(flat) - width)
    body = flat[starts[:, None] + np.arange(width)]
    return np.concatenate([np.tile(np.array(before, dtype=np.int64), (len(body), 1)), body], axis=1)


def corrupt(
    blocks: IntArray, rng: np.random.Generator, rate: float, ordinary: IntArray, mask: int
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Hide a share of the ordinary tokens: 80 % become the mask, 10 % a random ordinary token, 10 % stay.

    The scheme is BERT's (Devlin et al. 2019).

    Parameters
    ----------
    blocks : ndarray of shape (n_blocks, size)
    rng : Generator
    rate : float
        The share.
    ordinary : ndarray of int
        Tokens that are not special.
    mask : int
        The mask token.

    Returns
    -------
    inputs : ndarray of shape (n_blocks, size)
    chosen : boolean ndarray of the same shape
        Where a prediction is asked for; at least once.
    """
    free = np.isin(blocks, ordinary)
    chosen = free & (rng.random(blocks.shape) < rate)
    if not chosen.any():  # a very small batch
        chosen.flat[rng.choice(np.flatnonzero(free))] = True
    fate = rng.random(blocks.shape)
    inputs = np.where(chosen & (fate < 0.8), mask, blocks)
    swapped = chosen & (fate >= 0.9)
    inputs[swapped] = rng.choice(ordinary, int(swapped.sum()))
    return inputs, chosen
