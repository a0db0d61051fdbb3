"""Which rows may share a forward pass: found out by comparing, since no config says it.

A model whose layers mix positions without regard to the mask (FNet, ConvBERT), or whose positions depend on the width
of the batch (XLNet from its end, RoPE that scales with the length), gives a row other numbers beside a longer one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from fewshot.errors import UnsupportedError
from fewshot.models.base import IntArray
from fewshot.models.engine.rounding import Rounding, same_logprobs

__all__ = ["Padding", "Way", "batches", "is_out_of_memory", "padded", "scale_vectors"]

#: Tokens per padded batch: enough to fill the hardware, and less where memory is short.
TOKEN_BUDGET = 8192
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

Way = Literal["padded", "equal lengths", "one by one"]
_NEXT: dict[Way, Way] = {"padded": "equal lengths", "equal lengths": "one by one"}


def batches(lengths: Sequence[int] | IntArray, budget: int = TOKEN_BUDGET) -> Iterator[list[int]]:
    """Group items of like length, longest first, so that each padded batch stays within the token budget."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        yield [int(i) for i in order[start : start + size]]
        start += size


def padded(rows: Sequence[Sequence[int]], padding: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask of rows that are filled up on the right, on a device."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), padding, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids.to(device), mask.to(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)


def scale_vectors(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors brought to numbers of about 1, so that they can be compared as log-probabilities are."""
    lengths = vectors.float().norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return vectors.float() * (math.sqrt(vectors.shape[-1]) / lengths)


def _last(
    compute: Callable[[list[int]], list[torch.Tensor]],
    batch: list[int],
    logprobs: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """What is compared of a batch's last row, computed alone."""
    return logprobs(compute(batch[-1:])[0])


class Padding:
    """Rows in padded batches; where a row then depends on its neighbours only those of equal length; else one by one.

    The widest batch and the most padding so far are compared with one of their rows alone, by what rounding makes of
    the model that computes them.
    """

    def __init__(self, model: Any) -> None:
        self._rounding = Rounding(model)
        self.way: Way = "padded"  # which has stood every comparison so far
        self._width = self._most = 0  # of what was compared: the widest batch, and the most padding of a row

    def batches(self, lengths: Sequence[int] | IntArray, budget: int = TOKEN_BUDGET) -> Iterator[list[int]]:
        """Group rows of like length, longest first, so that each batch stays within the token budget."""
        for batch in batches(lengths, budget):
            way = self.way
            groups: dict[int, list[int]] = {}
            for i in batch:
                alike = {"padded": 0, "equal lengths": int(lengths[i]), "one by one": i}[way]
                groups.setdefault(alike, []).append(i)
            yield from groups.values()

    def run(
        self,
        lengths: Sequence[int],
        budget: int,
        compute: Callable[[list[int]], list[torch.Tensor]],
        receive: Callable[[list[int], list[torch.Tensor]], None],
        logprobs: Callable[[torch.Tensor], torch.Tensor],
        *,
        check: bool = True,
    ) -> None:
        """Compute all rows, in batches that no row notices.

        Parameters
        ----------
        lengths : sequence of int
            Of each row.
        budget : int
            The most tokens of a batch.
        compute : callable
            What is wanted of each of these rows, computed together.
        receive : callable
            Takes rows and what was computed of them.
        logprobs : callable
            The log-probabilities that are compared.
        check : bool
            Whether to compare; where a model drops units at random nothing can be compared.
        """
        left = list(range(len(lengths)))
        while left:
            done: list[int] = []
            for part in self.batches([lengths[i] for i in left], budget):
                batch = [left[i] for i in part]
                found = self._together(batch, lengths, compute, logprobs if check else None)
                if found is None:
                    break
                receive(batch, found)
                done += batch
            left = sorted(set(left) - set(done))

    def _together(
        self,
        batch: list[int],
        lengths: Sequence[int],
        compute: Callable[[list[int]], list[torch.Tensor]],
        logprobs: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> list[torch.Tensor] | None:
        """What is wanted of each row of a batch; None where this way proves wrong, and the next one is to be gone."""
        way = self.way
        width, least = max(lengths[i] for i in batch), min(lengths[i] for i in batch)
        new = len(batch) > 1 and (width > self._width or width - least > self._most)
        try:
            found = compute(batch)
        except (RuntimeError, ValueError) as error:
            if len(batch) == 1 or is_out_of_memory(error):
                raise
            with torch.no_grad():
                compute(batch[-1:])  # what can't be computed alone either is an error of its own
            self._go_on(way)
            return None
        if not new or logprobs is None:
            return found
        with torch.no_grad():
            (alone,) = compute(batch[-1:])  # batches are sorted: the shortest row
            expected = logprobs(alone)
            again = partial(_last, compute, batch, logprobs)
            same = self._rounding.same(logprobs(found[-1].detach()), expected, again)
            if not same and not same_logprobs(again(), expected, alone.dtype):
                raise UnsupportedError(
                    "This model gives other numbers when the same forward pass is repeated. It draws at random: look "
                    "for a seed in its config (hash_seed of a Reformer), or for a layer that does not heed eval()."
                )
        if not same:
            self._go_on(way)
            return None
        self._width, self._most = max(width, self._width), max(width - least, self._most)
        return found

    def _go_on(self, way: Way) -> None:
        if self.way == way:  # another thread may have found it out meanwhile
            self.way, self._width, self._most = _NEXT[way], 0, 0
