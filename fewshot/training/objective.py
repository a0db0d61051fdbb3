"""Pretraining objectives: the loss of a language model on blocks of tokens."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fewshot.models.base import IntArray, kind_of
from fewshot.models.dtypes import autocast, own_dtype
from fewshot.models.engine.split import Split
from fewshot.models.local import LocalModel
from fewshot.training.blocks import corrupt, to_blocks

__all__ = ["Objective"]

#: Memory of a training step, in scoring steps.
TRAINING = 4


class Objective:
    """What a model is asked of a text, and its loss: hidden words of a masked model, the next word of a causal one."""

    def __init__(self, lm: LocalModel, model: Any, sampled_words: int | None = None) -> None:
        self.lm, self.model, self.sampled_words = lm, model, sampled_words
        self.masked = kind_of(lm).pretraining == "masked"
        self.split = Split(model)
        self.ordinary = np.setdiff1d(
            np.arange(len(lm.tokenizer)), [*lm.tokenizer.all_special_ids, *lm.plain.controls.values()]
        )

    def blocks(self, texts: Sequence[str], size: int) -> IntArray:
        """The texts, packed."""
        special, end = self.lm.plain.special(), self.lm.tokenizer.eos_token_id
        after = special.after or (() if end is None else (end,))
        return to_blocks(self.lm.plain.ids(texts), special.before, after, min(size, self.lm.limit))

    def asked(self, blocks: IntArray, rng: np.random.Generator, rate: float) -> tuple[IntArray, NDArray[np.bool_]]:
        """The model's input, and the tokens to predict."""
        if self.masked:
            return corrupt(blocks, rng, rate, self.ordinary, int(self.lm.tokenizer.mask_token_id))
        chosen = np.ones(blocks.shape, dtype=bool)
        chosen[:, 0] = False
        return blocks, chosen

    def parts(self, blocks: IntArray, budget: int) -> list[slice]:
        """Runs of blocks that memory has room for."""
        size = max(1, budget // TRAINING // blocks.shape[1])
        return [slice(start, start + size) for start in range(0, len(blocks), size)]

    def loss(
        self, inputs: IntArray, blocks: IntArray, chosen: NDArray[np.bool_], rng: np.random.Generator | None = None
    ) -> torch.Tensor:
        """Summed cross-entropy of the chosen tokens; given ``rng``, the normaliser may be estimated."""
        device = self.lm.device
        targets = torch.from_numpy(blocks[chosen]).to(device)
        read = chosen if self.masked else np.roll(chosen, -1, axis=1)  # a causal model speaks one token ahead
        with autocast(device, own_dtype(self.lm.model)):
            hidden = self.split.body(input_ids=torch.from_numpy(inputs).to(device)).last_hidden_state
            hidden = hidden[torch.from_numpy(read).to(device)]
            if rng is None or self.sampled_words is None:
                return functional.cross_entropy(self.split.logits(hidden).float(), targets, reduction="sum")
            words, targets, weights = self._sample(targets, rng, self.sampled_words)
            with restrict_to_words(self.model.get_output_embeddings(), words):
                logits = self.split.logits(hidden).float()
        return functional.cross_entropy(logits + weights, targets, reduction="sum")

    def _sample(
        self, targets: torch.Tensor, rng: np.random.Generator, size: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Words for the normaliser, the targets as their indices, and the log-weight of each word."""
        asked, where = torch.unique(targets, return_inverse=True)
        others = np.setdiff1d(np.arange(self.model.get_output_embeddings().weight.shape[0]), asked.cpu().numpy())
        size = min(size, len(others))
        drawn = torch.from_numpy(rng.choice(others, size, replace=False)).to(targets.device)
        weights = torch.zeros(len(asked) + size, device=targets.device)
        weights[len(asked) :] = math.log(len(others) / size) if size else 0.0
        return torch.cat([asked, drawn]), where, weights

    @torch.no_grad()
    def mean_loss(self, blocks: IntArray, seed: Sequence[int]) -> float:
        """Mean loss over blocks, with BERT's own 15 % hidden, the same ones for the same seed."""
        inputs, chosen = self.asked(blocks, np.random.default_rng(seed), 0.15)
        losses = [
            self.loss(inputs[part], blocks[part], chosen[part]).item() for part in self.parts(blocks, self.lm.budget)
        ]
        return float(sum(losses) / chosen.sum())


@contextlib.contextmanager
def restrict_to_words(output: Any, words: torch.Tensor) -> Iterator[None]:
    """Let a model's output layer compute the logits of some words only."""

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        bias = getattr(output, "bias", None)
        return functional.linear(hidden, output.weight[words], None if bias is None else bias[words])

    output.forward = forward
    try:
        yield
    finally:
        del output.forward
