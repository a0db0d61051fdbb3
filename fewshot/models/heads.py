"""A language model taken apart: its head is applied only where a probability is read.

A vocabulary is a hundred times wider than a hidden state, so logits at every position are most of the memory and much
of the time of a plain forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions as Output

from fewshot.errors import UnsupportedError

__all__ = ["BLOCK_BYTES", "Split", "block_rows", "normaliser"]

#: The largest block of (positions x vocabulary) logits, in bytes of float32.
BLOCK_BYTES = 64 * 2**20


def block_rows(vocabulary: int) -> int:
    """How many positions' logits fit into one block."""
    return max(1, BLOCK_BYTES // (4 * vocabulary))


#: Numbers of a block that a processor keeps at hand while it goes over them three times.
_CACHED = 2**18


def normaliser(logits: torch.Tensor) -> torch.Tensor:
    """The logarithm of the sum of exponentials of each row, in float32.

    A few rows at a time where memory is further away than arithmetic: half of a processor's time, else, goes into
    fetching what was just written.
    """
    if logits.device.type != "cpu":
        return logits.float().logsumexp(-1)
    rows = max(1, _CACHED // max(1, logits.shape[-1]))
    return torch.cat([part.float().logsumexp(-1) for part in torch.split(logits, rows)])


class _PassThrough(torch.nn.Module):
    """Stands where the body was: what goes in as embeddings comes out as the last hidden state."""

    @property
    def decoder(self) -> _PassThrough:
        """Itself, for heads that call their body's decoder (OPT)."""
        return self

    def forward(self, *args: Any, inputs_embeds: torch.Tensor, **kwargs: Any) -> Output:
        """Return the embeddings, in an output that has every field a head may ask for."""
        output = Output(last_hidden_state=inputs_embeds)
        output.router_logits = None
        return output


class Split:
    """A model taken apart into its body and everything that it does after its body.

    The second part is the model itself, sharing its weights, with a body that passes through: so whatever an
    architecture does to its logits (a transform, a bias, a scale, a soft cap) is done by its own code.

    Parameters
    ----------
    model : PreTrainedModel
        With a language-model head.
    body : str, optional
        Name of the submodule; None is the model's own ``base_model_prefix``.

    Raises
    ------
    UnsupportedError
        When there is no such submodule.
    """

    def __init__(self, model: Any, body: str | None = None) -> None:
        name = body or model.base_model_prefix
        if name not in model._modules:
            raise UnsupportedError(f"{type(model).__name__} has no body {name!r} to take apart.")
        self.body = model._modules[name]
        self._rest = copy.copy(model)
        self._rest._modules = {**model._modules, name: _PassThrough()}
        self._embeds = "decoder_inputs_embeds" if name == "decoder" else "inputs_embeds"

    def logits(self, hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Apply the head to hidden states of shape (n, dim)."""
        out: torch.Tensor = self._rest(**{self._embeds: hidden[None]}, **kwargs).logits[0]
        return out

    def blocks(self, hidden: torch.Tensor, vocabulary: int, **kwargs: Any) -> Iterator[tuple[slice, torch.Tensor]]:
        """Apply the head block by block, so that no block of logits exceeds `BLOCK_BYTES`."""
        size = block_rows(vocabulary)
        for start in range(0, len(hidden), size):
            rows = slice(start, start + size)
            yield rows, self.logits(hidden[rows], **kwargs)
