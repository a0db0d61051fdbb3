"""How far two computations of a model's numbers may differ: by what rounding makes of this model, and no further.

In types of 16 bits that is a question of the model: a rounding at its input moves the log-probabilities of one with 30
layers by tenths of a nat, and those of one with two by hundredths. So it is measured, without a copy of the weights in
a wider type: the same forward pass again, with each number of its embeddings moved by one rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["Rounding", "same_logprobs"]

#: By how many nats two computations of one log-probability may differ, where it is not measured.
_TOLERANCES = {torch.float32: 5e-4, torch.float64: 1e-6, torch.float16: 0.05}
_TOLERANCE_OF_OTHERS = 0.3
#: Times that a row is computed again, and how many times as far as these another computation may lie. On SmolLM2 in
#: bfloat16 packed forward passes lie at up to 1.5 times, and those with a wrong mask or position at 3 to 45.
_TIMES, _FACTOR = 4, 3.0


def same_logprobs(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether two computations in a type give the same log-probabilities, up to rounding."""
    allowed = _TOLERANCES.get(dtype, _TOLERANCE_OF_OTHERS)
    return bool(torch.isclose(a.double(), b.double(), atol=allowed, rtol=1e-5, equal_nan=True).all())


class Rounding:
    """What rounding makes of the numbers of a model.

    Parameters
    ----------
    model : Module
        Of any kind; one without a table of embeddings, and one of 32 bits, is judged by fixed tolerances.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._least: float | None = None  # of what was measured so far

    def same(self, found: torch.Tensor, expected: torch.Tensor, again: Callable[[], torch.Tensor]) -> bool:
        """Whether numbers that were computed in another way lie as near as rounding explains.

        ``again`` computes the expected ones once more, by the model's own forward pass.
        """
        if not self.is_measured(expected):
            return same_logprobs(found, expected, self._dtype(expected))
        moved = _root_mean_square(found, expected)
        if self._least is not None and moved <= _FACTOR * self._least:
            return True
        return moved <= self.bound(expected, again)

    def is_measured(self, expected: torch.Tensor) -> bool:
        """Whether these numbers are rounded so coarsely that what it makes of them is measured."""
        return self._dtype(expected).itemsize <= 2 and any(self._tables())

    def bound(self, expected: torch.Tensor, again: Callable[[], torch.Tensor]) -> float:
        """The root mean square by which another computation of these numbers may differ."""
        squares = []
        for seed in range(_TIMES):
            with self._otherwise(seed):
                squares.append(_root_mean_square(again(), expected) ** 2)
        noise = float(sum(squares) / _TIMES) ** 0.5
        self._least = noise if self._least is None else min(noise, self._least)
        return _FACTOR * noise

    def _dtype(self, computed: torch.Tensor) -> torch.dtype:
        """The coarser of the weights' type and that of what was computed."""
        own = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        return min(next(own, computed.dtype), computed.dtype, key=lambda dtype: dtype.itemsize)

    def _tables(self) -> Iterator[torch.nn.Embedding]:
        return (module for module in self.model.modules() if isinstance(module, torch.nn.Embedding))

    @contextmanager
    def _otherwise(self, seed: int) -> Iterator[None]:
        """Move what each table of embeddings gives by one rounding, up or down, in this thread."""
        drawn = torch.Generator().manual_seed(seed)
        thread = threading.get_ident()

        def move(module: torch.nn.Module, given: Any, states: torch.Tensor) -> torch.Tensor | None:
            if threading.get_ident() != thread or not states.is_floating_point():
                return None
            signs = torch.randint(0, 2, states.shape, generator=drawn).to(states.device) * 2 - 1
            return (states.float() * (1 + signs * torch.finfo(states.dtype).eps / 2)).to(states.dtype)

        handles = [table.register_forward_hook(move) for table in self._tables()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _root_mean_square(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of the differences; infinite where only one is a number."""
    apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a.double() - b.double()).abs())
    return float(torch.where(apart.isfinite(), apart, torch.inf).square().mean().sqrt())
