"""The training loop of fine-tuning.

The loop is plain, not transformers' Trainer. The loss is on class scores, which a template and a verbalizer make. A
step is cut into parts by tokens. The result depends on the seed alone. In the Trainer each of these is a subclass or a
callback, and together they are longer than this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fewshot.errors import UnsupportedError
from fewshot.models.base import IntArray
from fewshot.models.dtypes import autocast
from fewshot.models.local import batches, compute_within_memory
from fewshot.training.copies import as_for_training
from fewshot.training.descent import Descent
from fewshot.training.examples import Examples

__all__ = ["GPU_PART_TOKENS", "PART_TOKENS", "Pace", "TrainingStep", "endless", "train"]

#: Tokens of a part of a step. Texts of like length are in one part. Smaller parts hold less padding and need less
#: memory. Each part adds up the gradient of all word embeddings once more.
PART_TOKENS, GPU_PART_TOKENS = 1024, 4096


@dataclass(frozen=True)
class Pace:
    """How long and how fast."""

    steps: int  # at the most
    batch_size: int
    learning_rate: float  # the highest; it rises over the first tenth of the steps and falls linearly to 0
    patience: int = 3  # measurements without a lower held-out loss after which training stops
    measurements: int = 10  # how often the held-out loss is measured, evenly over the steps


@dataclass(frozen=True)
class TrainingStep:
    """What was measured after some step: mean losses in nats a text."""

    step: int
    loss: float  # on the examples trained on, since the measurement before
    held_out_loss: float  # NaN where nothing is held out


def train(
    model: Any,
    scores: Callable[[IntArray], torch.Tensor],
    examples: Examples,
    pace: Pace,
    *,
    rng: np.random.RandomState,
    held_out: IntArray,
    dtype: torch.dtype,
    dropout: bool = False,
) -> list[TrainingStep]:
    """Train the parameters of a model that ask for gradients, on cross-entropy.

    Parameters
    ----------
    model : PreTrainedModel
        Changed in place. With held-out examples it ends as it was when their loss was lowest.
    scores : callable
        Class scores of some examples, of shape (n, n_classes), with gradients.
    examples : Examples
    pace : Pace
    rng : RandomState
        Draws the order of the examples, anew in every pass.
    held_out : ndarray of int
        Examples that are not trained on and say when to stop.
    dtype : torch.dtype
        The type of the model that was given: 16 bits are trained in bfloat16, with the weights in float32.
    dropout : bool
        Whether the model drops units, as torch's generator says.

    Raises
    ------
    UnsupportedError
        When the loss is not a number any more.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    descent = Descent(trained, pace.steps, pace.learning_rate, title="Fine-tuning")
    seen = np.setdiff1d(np.arange(len(examples.sizes)), held_out)
    order = endless(seen, rng)
    every = max(1, math.ceil(pace.steps / pace.measurements))
    history: list[TrainingStep] = []
    best, best_loss, worse, losses = None, math.inf, 0, []
    part_tokens = PART_TOKENS if model.device.type == "cpu" else GPU_PART_TOKENS

    def computed(rows: IntArray) -> torch.Tensor:
        with autocast(model.device, dtype):
            return scores(rows).float()

    def loss_of(rows: IntArray, *, backward: bool) -> float:
        nonlocal part_tokens

        def whole(tokens: int) -> float:
            model.train(dropout and backward)
            descent.clear()
            return _loss(computed, examples, rows, tokens, backward=backward)

        loss, part_tokens = compute_within_memory(whole, part_tokens, "Training", model.device)
        return loss

    def gradients(step: int) -> float:
        rows = np.array([next(order) for _ in range(min(pace.batch_size, len(seen)))], dtype=np.int64)
        loss = loss_of(rows, backward=True)
        if not math.isfinite(loss):
            cure = "" if dtype == torch.float32 else ", or load the model with dtype='float32'"
            raise UnsupportedError(
                f"The loss became {loss} in step {step + 1} of {pace.steps}, at the learning rate "
                f"{descent.rate(step):.2g}. Lower learning_rate{cure}."
            )
        return loss

    with as_for_training(model, dtype), descent.shown():
        for step in range(pace.steps):
            losses.append(descent.take(step, gradients))
            done = step + 1
            if done % every and done < pace.steps:
                continue
            held = math.nan
            if len(held_out):
                with torch.no_grad():
                    held = loss_of(held_out, backward=False)
                if held < best_loss:
                    best = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
                    best_loss, worse = held, 0
                else:
                    worse += 1
            history.append(TrainingStep(done, float(np.mean(losses)), held))
            losses = []
            if worse >= pace.patience:
                break
    model.eval()
    if best is not None:
        model.load_state_dict(best, strict=False)
    return history


def _loss(
    scores: Callable[[IntArray], torch.Tensor],
    examples: Examples,
    rows: IntArray,
    part_tokens: int,
    *,
    backward: bool,
) -> float:
    """Weighted mean cross-entropy of some examples, in parts of so many tokens; backward, with its gradients."""
    total, whole = 0.0, float(examples.weights[rows].sum())
    for part in batches(examples.sizes[rows].tolist(), part_tokens):
        own = rows[part]
        logs = functional.log_softmax(scores(own), dim=-1)
        wanted = torch.from_numpy(examples.targets[own] * examples.weights[own, None] / whole)
        loss = -(wanted.to(logs) * logs).sum()
        if backward:
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def endless(rows: IntArray, rng: np.random.RandomState) -> Iterator[int]:
    """The rows in a new random order in every pass, for ever."""
    while True:
        yield from rng.permutation(rows)
