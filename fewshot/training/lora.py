"""LoRA, and the other sets of parameters that can be trained: all, or the biases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fewshot.checks import above, at_least

__all__ = ["LoRA", "Parameters"]


@dataclass(frozen=True)
class LoRA:
    """Train a low-rank update of each weight matrix instead of the matrix itself.

    Hu et al. (2021), "LoRA: Low-Rank Adaptation of Large Language Models". The frozen weights are shared with the given
    model. After training, the updates are added to the weights, so that prediction takes no more time than before.

    Parameters
    ----------
    rank : int
        The rank of an update: the number of columns of its two factors.
    alpha : int
        The update is multiplied by ``alpha / rank``.
    targets : str or tuple of str
        Names of the modules to update, as peft reads them. "all-linear" means every linear layer of the body.

    Examples
    --------
    >>> from fewshot import FineTuning, LoRA
    >>> FineTuning(parameters=LoRA(rank=4)).parameters
    LoRA(rank=4, alpha=16, targets='all-linear')
    """

    rank: int = 8
    alpha: int = 16
    targets: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        at_least("rank", self.rank, 1, whole=True)
        above("alpha", self.alpha, 0)


Parameters = Literal["all", "bias"] | LoRA
