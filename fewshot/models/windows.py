"""Windows: how a model reads texts that are longer than its context."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fewshot.checks import at_least, one_of
from fewshot.models.base import IntArray

__all__ = ["Windows", "cover_tokens"]


@dataclass(frozen=True)
class Windows:
    """Read a text that is longer than an encoder's window in several overlapping windows, cut between words.

    Parameters
    ----------
    stride : int, optional
        Number of tokens from the start of one window to the start of the next, at most a whole window. None: half a
        window.
    reduce : {"mean", "max"}
        How the vectors of the windows become one vector: their mean, or the maximum of each dimension. The result is
        scaled to the mean length of the windows' vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot import Windows
    >>> ends, text = np.arange(1, 26, 2), " ".join("abcdefghijklm")  # thirteen words of one token each
    >>> [text[start:stop] for start, stop in Windows(stride=4).cut(ends, text, size=6)]
    ['a b c d e f', ' e f g h i j', ' i j k l m']
    """

    stride: int | None = None
    reduce: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        one_of("reduce", self.reduce, ("mean", "max"))
        at_least("stride", self.stride, 1, optional=True, more=" token")

    def cut(self, ends: IntArray, text: str, size: int) -> list[tuple[int, int]]:
        """Cut a text into windows of at most ``size`` tokens, given where each of its tokens ends.

        Returns
        -------
        list of (start, stop)
            Character offsets. They lie between words, unless one word is longer than a window.
        """
        stride = min(self.stride or max(1, size // 2), size)
        between = [0, *(i + 1 for i, end in enumerate(ends[:-1]) if text[end].isspace()), len(ends)]
        windows, first = [], 0
        while True:
            last = _last_at_most(between, first + size, first)
            windows.append((int(ends[first - 1]) if first else 0, int(ends[last - 1])))
            if last == len(ends):
                return windows
            first = _last_at_most(between, min(first + stride, last), first)

    def join(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reduce the vectors of a text's windows, of shape (n_windows, dim), to one vector."""
        if len(vectors) == 1:
            return vectors[0]
        joined = vectors.mean(0) if self.reduce == "mean" else vectors.max(0)
        length = np.linalg.norm(joined)
        return joined * (np.linalg.norm(vectors, axis=1).mean() / length if length else 1.0)


def cover_tokens(n_tokens: int, size: int) -> list[tuple[slice, slice]]:
    """Cover tokens with windows of ``size``, each half a window after the one before; the last one ends with the text.

    Returns
    -------
    list of (window, own)
        The tokens that a window holds, and those of them that have more context on their nearer side there than in any
        other window, counted in the window. Of equals it is the earlier window. Each token is one window's own.

    Examples
    --------
    >>> from fewshot.models.windows import cover_tokens
    >>> cover_tokens(7, size=4)
    [(slice(0, 4, None), slice(0, 3, None)), (slice(2, 6, None), slice(1, 3, None)), ...]
    """
    last = max(0, n_tokens - size)
    starts = [*range(0, last, max(1, size // 2)), last]
    stops = [min(start + size, n_tokens) for start in starts]
    # of two windows, a token has as much context in the earlier one as long as it is no nearer to that one's end
    changes = [(stop + start + 1) // 2 for stop, start in zip(stops, starts[1:], strict=False)]
    owns = zip([0, *changes], [*changes, n_tokens], strict=True)
    return [
        (slice(start, stop), slice(first - start, end - start))
        for start, stop, (first, end) in zip(starts, stops, owns, strict=True)
    ]


def _last_at_most(places: Sequence[int], most: int, least: int) -> int:
    """The last of the sorted places that is at most ``most``; where none is beyond ``least``, ``most`` itself."""
    found = places[bisect.bisect_right(places, most) - 1]
    return found if found > least else most
