"""SequenceClassifier: a new classification layer on a pretrained body."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from fewshot.errors import ModelLoadError, UnsupportedError
from fewshot.models.base import FloatArray, IntArray, Query, kind_of
from fewshot.models.engine.padding import Padding, padded
from fewshot.models.engine.trial import try_forward
from fewshot.models.locks import lock_of
from fewshot.models.progress import show_progress
from fewshot.models.text.tokens import PlainTokenizer, Special

__all__ = ["SequenceClassifier"]


class SequenceClassifier:
    """A transformers ``...ForSequenceClassification`` around the body of a language model or an encoder.

    The given model, which has the body's weights, the tokenizer and the window, stays as it is. The new layer begins at
    random numbers.

    Attributes
    ----------
    model : PreTrainedModel
    fresh : tuple of str
        Names of the parameters that the body did not have.

    Raises
    ------
    UnsupportedError
        When transformers has no such class for this architecture.
    ModelLoadError
        When that class can't read what the tokenizer makes (BART's wants a token that ends the text).
    """

    def __init__(self, lm: Any, n_classes: int) -> None:
        from transformers import AutoModelForSequenceClassification

        body, tokenizer = _parts(lm)
        config = copy.deepcopy(body.config)
        config.num_labels = n_classes
        # what fills up a batch: some of these models find a text's last token by it
        config.pad_token_id = _padding(tokenizer) if config.pad_token_id is None else config.pad_token_id
        try:
            made: Any = AutoModelForSequenceClassification.from_config(config, dtype=body.dtype)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise UnsupportedError(f"transformers has no classification layer for {type(body).__name__}.") from error
        self.model = made
        own = made.base_model
        found = own.load_state_dict(body.state_dict(), strict=False)
        prefix = next(name for name, module in self.model.named_modules() if module is own)
        known = {f"{prefix}.{name}" for name, _ in own.named_parameters()} - {
            f"{prefix}.{name}" for name in found.missing_keys
        }
        self.fresh = tuple(name for name, _ in self.model.named_parameters() if name not in known)
        self.model.to(body.device).eval()
        self.name, self.limit, self.tokenizer = lm.name, int(lm.limit), tokenizer
        ids = torch.tensor(self.rows(["a few words"])[0], device=body.device)
        try_forward(repr(self), partial(self.model, input_ids=ids, attention_mask=torch.ones_like(ids)))

    def kept(self) -> dict[str, Any]:
        """All but what is made again when it is asked for."""
        return {name: value for name, value in vars(self).items() if name not in ("_reader", "padding")}

    def rows(self, texts: Sequence[str]) -> tuple[list[tuple[int, ...]], IntArray]:
        """The tokens of each text, cut to the window, and how many were cut."""
        plain, special = self._reader
        room = self.limit - len(special.before) - len(special.after)
        ids = plain.ids(texts)
        cut = np.array([max(0, len(own) - room) for own in ids], dtype=np.int64)
        return [(*special.before, *own[:room], *special.after) for own in ids], cut

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """For each text, the character offset at which each of its tokens ends."""
        return self._reader[0].token_ends(texts)

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Tokens of each query's prefix and suffix, special tokens included."""
        plain, special = self._reader
        extra = len(special.before) + len(special.after)
        return np.array([extra + len(own) for own in plain.ids([q.prefix + q.suffix for q in queries])], dtype=np.int64)

    @cached_property
    def _reader(self) -> tuple[PlainTokenizer, Special]:
        plain = PlainTokenizer(self.tokenizer)
        return plain, plain.special()

    @cached_property
    def padding(self) -> Padding:
        """Which rows may share a forward pass."""
        return Padding(self.model)

    def logits(self, rows: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Class scores of the rows, of shape (n_rows, n_classes), with gradient where one is asked for."""
        found: list[torch.Tensor] = [torch.empty(0)] * len(rows)

        def keep(batch: list[int], computed: list[torch.Tensor]) -> None:
            for i, one in zip(batch, computed, strict=True):
                found[i] = one

        lengths = [len(row) for row in rows]
        self.padding.run(
            lengths,
            max(map(len, rows)) * len(rows),
            lambda batch: list(self._padded([rows[i] for i in batch])),
            keep,
            lambda logits: logits.log_softmax(-1),
            check=not self.model.training,
        )
        return torch.stack(found)

    def _padded(self, rows: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Class scores of rows that are padded together."""
        ids, mask = padded(rows, int(self.model.config.pad_token_id), self.model.device)
        out: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return out.float()

    @torch.inference_mode()
    def scores(self, rows: Sequence[tuple[int, ...]]) -> FloatArray:
        """Class scores of any number of rows."""
        found = np.empty((len(rows), self.model.config.num_labels))
        with lock_of(self.model), show_progress(len(rows), "Scoring") as bar:
            for batch in self.padding.batches([len(row) for row in rows]):
                found[batch] = self.logits([rows[i] for i in batch]).double().cpu().numpy()
                bar.update(len(batch))
        return found

    def __sklearn_clone__(self) -> SequenceClassifier:
        """Models are shared between clones, never copied."""
        return self

    def __repr__(self) -> str:
        return f"SequenceClassifier({self.name!r})"


def _parts(lm: Any) -> tuple[Any, Any]:
    """The body and the tokenizer."""
    if kind_of(lm).auto is None:
        body = getattr(lm.model[0], "model", None)
        if body is None:
            raise UnsupportedError(f"{lm!r} is not built on a transformers model: it can't be fine-tuned.")
        return body, lm.model.tokenizer
    model = lm.model
    return getattr(model, model.base_model_prefix, model), lm.tokenizer


def _padding(tokenizer: Any) -> int:
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id):
        if token is not None:
            return int(token)
    raise ModelLoadError("The tokenizer has no token to fill up short texts with: set tokenizer.pad_token.")
