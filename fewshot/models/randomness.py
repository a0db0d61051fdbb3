"""Random numbers of torch: from a seed, in one thread at a time. Torch's own generator is left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from fewshot.models.locks import lock_of

__all__ = ["Draws", "seeded"]


class Draws:
    """What torch draws from one seed, in as many turns as it takes; its own generator is left as it was.

    torch has one generator for the whole process, so that only one thread at a time has a turn.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._states: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Go on where the last turn stopped."""
        with lock_of(torch), torch.random.fork_rng():
            torch.manual_seed(self._seed)
            if self._states is not None:
                torch.set_rng_state(self._states[0])
                torch.cuda.set_rng_state_all(self._states[1])
            try:
                yield
            finally:
                self._states = torch.get_rng_state(), torch.cuda.get_rng_state_all()


def seeded(seed: int) -> contextlib.AbstractContextManager[None]:
    """Draw what torch draws from this seed, and leave its own generator as it was."""
    return Draws(seed).turn()
