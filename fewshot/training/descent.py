"""Gradient descent: AdamW, its learning rate, the clipping of gradients and the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch

from fewshot.models.progress import show_progress

__all__ = ["Descent", "rate_share"]

#: AdamW's weight decay, as a share of the learning rate.
_WEIGHT_DECAY = 0.01
#: The norm to which longer gradients are clipped.
_MAX_NORM = 1.0


def rate_share(step: int, steps: int, warm: float = 0.1) -> float:
    """The share of the learning rate that a step takes: it rises over the first steps, and falls linearly to 0."""
    rising = max(1, round(warm * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising))


class Descent:
    """AdamW over a number of steps.

    Parameters
    ----------
    parameters : iterable of Parameter
        What is trained.
    steps : int
    learning_rate : float
        The highest; it rises over the first steps and falls linearly to 0.
    title : str
        What the progress bar is called.
    warm : float
        Share of the steps over which the learning rate rises.
    betas : (float, float)
        Of AdamW.
    decays_all : bool
        Whether biases and norms decay as matrices do.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        steps: int,
        learning_rate: float,
        *,
        title: str,
        warm: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        decays_all: bool = False,
    ) -> None:
        self.parameters = list(parameters)
        self.steps, self.learning_rate, self.title, self.warm = steps, learning_rate, title, warm
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1 or decays_all], "weight_decay": _WEIGHT_DECAY},
            {"params": [p for p in self.parameters if p.ndim <= 1 and not decays_all], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.learning_rate * rate_share(step, self.steps, self.warm)

    @contextmanager
    def shown(self, done: int = 0) -> Iterator[None]:
        """Show a progress bar, of which some steps are done."""
        with show_progress(self.steps, self.title) as self._bar:
            self._bar.update(done)
            yield

    def take(self, step: int, gradients: Callable[[int], float]) -> float:
        """Take a step, counted from 0, and return the loss before it.

        ``gradients`` calls ``clear()``, computes the gradients of the step, and returns its loss.
        """
        rate = self.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = gradients(step)
        torch.nn.utils.clip_grad_norm_(self.parameters, _MAX_NORM)
        self.optimizer.step()
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update()
        return loss

    def clear(self) -> None:
        """Drop the gradients of the step before, or of an attempt that ran out of memory."""
        self.optimizer.zero_grad()
