"""A language model taken apart: its head is applied only where a probability is read.

A vocabulary is a hundred times wider than a hidden state, so logits at every position are most of the memory and much
of the time of a plain forward pass.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions as Output

from fewshot.errors import UnsupportedError
from fewshot.models.base import BLOCK_BYTES
from fewshot.models.engine.layers import with_hidden_states
from fewshot.models.engine.rounding import same_logprobs

__all__ = ["Split", "Whole", "compute_normaliser", "count_block_rows", "take_apart", "wrap_encoded"]

logger = logging.getLogger(__name__)


def count_block_rows(vocabulary: int) -> int:
    """How many positions' logits fit into one block."""
    return max(1, BLOCK_BYTES // (4 * vocabulary))


#: Numbers of a block that a processor keeps at hand while it goes over them three times.
_CACHED = 2**18


def compute_normaliser(logits: torch.Tensor) -> torch.Tensor:
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

    def forward(
        self,
        *args: Any,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Output:
        """Return the embeddings, in an output that has every field a head may ask for."""
        states = inputs_embeds if decoder_inputs_embeds is None else decoder_inputs_embeds
        output = Output(last_hidden_state=states)
        output.router_logits = output.decoder_hidden_states = output.decoder_attentions = None
        output.encoder_last_hidden_state = output.encoder_hidden_states = output.encoder_attentions = None
        return output


def wrap_encoded(states: torch.Tensor) -> BaseModelOutput:
    """What an encoder said, in an output that has every field a decoder may ask for."""
    output = BaseModelOutput(last_hidden_state=states)
    output.router_logits = output.router_probs = None
    return output


class Split:
    """A model taken apart into its body and everything that it does after its body.

    The second part is the model itself, sharing its weights, with a body that passes through: so whatever an
    architecture does to its logits (a transform, a bias, a scale, a soft cap) is done by its own code.

    An encoder-decoder's body is its decoder where that stands beside the encoder (T5), else all of it but the head,
    which takes the encoder's output (BART).

    Raises
    ------
    UnsupportedError
        When there is no such submodule.
    """

    room = 2**31  # tokens of a batch: only the logits that are read are computed

    def __init__(self, model: Any) -> None:
        self._two = bool(getattr(model.config, "is_encoder_decoder", False))
        parts = model._modules  # noqa: SLF001 - a shallow copy shares this table, so it needs one of its own
        name = "decoder" if self._two and "decoder" in parts else model.base_model_prefix
        if name not in parts:
            raise UnsupportedError(f"{type(model).__name__} has no body {name!r} to take apart.")
        self.body = parts[name]
        self._decoder = self._two and name == "decoder"
        self._rest = copy.copy(model)
        self._rest._modules = {**parts, name: _PassThrough()}  # noqa: SLF001
        self._embeds = "decoder_inputs_embeds" if self._two else "inputs_embeds"

    def states(self, which: Sequence[int], positions: Sequence[int], **inputs: Any) -> torch.Tensor:
        """Hidden states of these positions of these rows, of shape (n, dim)."""
        if self._decoder:
            inputs = {
                "input_ids": inputs["decoder_input_ids"],
                "encoder_hidden_states": inputs["encoder_outputs"][0],
                "encoder_attention_mask": inputs["attention_mask"],
                "use_cache": False,
            }
        return self.body(**inputs).last_hidden_state[list(which), list(positions)]

    hidden = states

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Apply the head to hidden states of shape (n, dim)."""
        # a head that is called without its body asks for the encoder's output, and does nothing with it
        given = {"encoder_outputs": wrap_encoded(states[None, :1])} if self._two else {}
        return self._rest(**{self._embeds: states[None]}, **given).logits[0]

    def blocks(self, states: torch.Tensor, vocabulary: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Apply the head block by block, so that no block of logits exceeds `BLOCK_BYTES`."""
        size = count_block_rows(vocabulary)
        for start in range(0, len(states), size):
            rows = slice(start, start + size)
            yield rows, self.logits(states[rows])


class Whole:
    """A model whose head can't be told from its body: its logits are computed at every position, or where asked."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._two = bool(getattr(model.config, "is_encoder_decoder", False))
        self._picks = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.room = 4 * count_block_rows(int(getattr(model.config.get_text_config(), "vocab_size", 0) or 2**15))

    def states(self, which: Sequence[int], positions: Sequence[int], **inputs: Any) -> torch.Tensor:
        """Logits at these positions of these rows, of shape (n, vocabulary)."""
        if self._picks:
            kept, where = np.unique(np.asarray(positions), return_inverse=True)
            at = torch.from_numpy(kept).to(self.model.device)
            inputs, positions = {**inputs, "logits_to_keep": at}, where.tolist()
        return self.model(**inputs).logits[list(which), list(positions)]

    def hidden(self, which: Sequence[int], positions: Sequence[int], **inputs: Any) -> torch.Tensor:
        """Hidden states of the last layer, of shape (n, dim)."""
        out = with_hidden_states(self.model, **inputs)
        layers = getattr(out, "decoder_hidden_states" if self._two else "hidden_states", None)
        if not layers:
            raise UnsupportedError(f"{type(self.model).__name__} does not show its hidden states.")
        return layers[-1][list(which), list(positions)]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """They are what `states` gave."""
        return states

    def blocks(self, states: torch.Tensor, vocabulary: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """All of them at once, since they are computed already."""
        yield slice(None), states


@torch.no_grad()
def take_apart(model: Any, inputs: Mapping[str, Any]) -> Split | Whole:
    """A model taken apart, if the parts agree with the whole on this input of one row; else the whole."""
    whole = Whole(model)
    n = inputs["decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"].shape[1]
    at = ([0] * n, list(range(n)))
    try:
        split = Split(model)
        found = split.logits(split.states(*at, **inputs))
    except Exception as reason:  # whatever a strange body or head raises, the whole model still serves
        logger.info("%s is not taken apart: %s", type(model).__name__, reason)
        return whole
    expected = whole.states(*at, **inputs)
    same = found.shape == expected.shape and same_logprobs(
        found.float().log_softmax(-1), expected.float().log_softmax(-1), found.dtype
    )
    return split if same else whole
