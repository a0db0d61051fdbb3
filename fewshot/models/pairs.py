"""Pairs of texts as a model reads them: in one row, with the special tokens and token types it was trained with."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from fewshot.models.local import TorchModel
from fewshot.models.text.tokens import PairFrame, Typed

__all__ = ["PairModel", "knows_types"]


def knows_types(model: Any, tokenizer: Any, frame: PairFrame) -> bool:
    """Whether tokenizer and model both know of token types, and of as many as a pair has."""
    known = "token_type_ids" in inspect.signature(model.forward).parameters
    size = getattr(model.config, "type_vocab_size", None)
    enough = not isinstance(size, int) or size > max(frame.join([0], [0])[1])
    return known and enough and "token_type_ids" in tokenizer.model_input_names


class PairModel(TorchModel):
    """A torch model that reads pairs of texts."""

    @cached_property
    def frame(self) -> PairFrame:
        """What stands around and between the texts of a pair."""
        return self.plain.pair_frame()

    @cached_property
    def has_types(self) -> bool:
        """Whether tokenizer and model both know of token types, and of as many as a pair has."""
        return knows_types(self.model, self.tokenizer, self.frame)

    def run_pairs(self, pairs: Sequence[Typed]) -> Any:
        """Return the model's output for some pairs, padded to one batch."""
        ids, mask = self._pad([ids for ids, _ in pairs])
        types = {"token_type_ids": self._pad([types for _, types in pairs], 0)[0]} if self.has_types else {}
        return self.model(input_ids=ids, attention_mask=mask, **types)
