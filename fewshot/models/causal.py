"""CausalLM: exact log-likelihoods of candidates under a decoder-only language model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fewshot.errors import ModelLoadError
from fewshot.models.base import IntArray, Kind, Query, Scores, scored_once
from fewshot.models.loading import Recipe
from fewshot.models.local import LocalModel, asked_of, batches, progress
from fewshot.models.reads import Reads
from fewshot.models.tokens import Chat, Head, Joined, join

__all__ = ["CausalLM"]


class CausalLM(LocalModel):
    r"""A GPT-like language model.

    The score of a candidate is the exact log-probability of its tokens and of the template's text after the hole,
    given everything before:

    .. math:: \sum_{t > k} \log P(x_t \mid x_{<t}), \qquad x = \mathrm{tokens}(\text{prefix + candidate + suffix})

    where k is the first token at which any candidate's joined tokenisation leaves the prefix's own. Where one
    candidate's tokens begin another's, all are scored with their terminator (a line break, or a chat model's end of
    turn), so that "1" can't win merely by being a part of "12".

    Parameters
    ----------
    model : PreTrainedModel
        A ``...ForCausalLM`` of transformers.
    tokenizer : PreTrainedTokenizerBase
    chat : bool, optional
        Whether to use the tokenizer's chat template: the instruction becomes the system turn, demonstrations become
        turns, everything before the hole is the user's turn and the assistant's turn begins at the hole. None: if the
        tokenizer has one.
    chat_template_kwargs : mapping, optional
        Passed on to the chat template, such as ``{"enable_thinking": False}``.
    recipe : Recipe, optional
        How `load` made it.

    Raises
    ------
    ModelLoadError
        When ``chat`` is True and the tokenizer has no chat template.

    Examples
    --------
    >>> from fewshot import Classifier, load
    >>> lm = load("HuggingFaceTB/SmolLM2-360M")  # doctest: +SKIP
    >>> Classifier(lm).fit(None, ["billing", "bug report"]).predict(["Charged twice!"])  # doctest: +SKIP
    array(['billing'], dtype=object)
    """

    kind: Kind = "causal"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        chat: bool | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(model, tokenizer, recipe=recipe)
        has_template = bool(tokenizer.chat_template)
        if chat and not has_template:
            raise ModelLoadError(f"{self!r} was asked to chat, and its tokenizer has no chat template.")
        self.chat = has_template if chat is None else chat
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self.variant = f"chat={self.chat}{sorted(self.chat_template_kwargs.items())}"

    @cached_property
    def _chat(self) -> Chat:
        return Chat(self.plain, self.chat_template_kwargs)

    @cached_property
    def _start(self) -> tuple[int, ...]:
        """What begins a text, as the tokenizer was saved."""
        return self.plain.special().before

    def _head(self, query: Query) -> Head:
        if self.chat:
            return self._chat.head(query.context, query.prefix)
        text = "".join(turn.text for turn in query.context) + query.prefix
        return Head(self._start, text, False, "\n")

    def _joined(self, queries: Sequence[Query]) -> list[Joined]:
        joined = join(self.plain, [(self._head(query), query) for query in queries])
        return [one if one.common else Joined(self._anything(), one.rests) for one in joined]

    def _anything(self) -> tuple[int, ...]:
        """What an unconditional probability conditions on: the token that begins, or else ends, a text."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return (int(token),)
        raise ValueError("nothing stands before the hole, and the model has no token that begins a text: add some text")

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Score every candidate; see the class for the exact definition."""
        with asked_of(self, queries):
            return scored_once(self._score, queries)

    @torch.inference_mode()
    def _score(self, queries: Sequence[Query]) -> list[Scores]:
        reads = Reads()
        for joined in self._joined(queries):
            firsts = set()
            reads.open()
            for rest in joined.rests:
                row = reads.row((*joined.common, *rest[:-1]))
                start = len(joined.common) - 1
                reads.ask([(row, start + i, token) for i, token in enumerate(rest)], first=rest[0] not in firsts)
                firsts.add(rest[0])
        with progress(len(reads.rows), "Scoring") as bar:
            for batch in batches([len(row) for row in reads.rows]):
                ids, mask = self._pad([reads.rows[i] for i in batch])
                positions = reads.positions(batch)
                logits = self._logits(ids, mask, positions)
                reads.answer(batch, positions, logits)
                bar.update(len(batch))
        return reads.scores()

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, positions: list[int]) -> torch.Tensor:
        """Logits at these positions, of shape (batch, positions, vocabulary)."""
        at = torch.tensor(positions, device=ids.device)
        if self._keeps:
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask, logits_to_keep=at).logits
            return logits
        return self.model(input_ids=ids, attention_mask=mask).logits[:, at]  # type: ignore[no-any-return]

    @cached_property
    def _keeps(self) -> bool:
        """Whether the model can apply its head at chosen positions only."""
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Tokens of each query with its longest candidate, special tokens included."""
        with asked_of(self, queries):
            joined = self._joined(queries)
        return np.array([len(one.common) + max(map(len, one.rests)) for one in joined], dtype=np.int64)

    @torch.inference_mode()
    def generate(self, queries: Sequence[Query], max_new_tokens: int) -> list[str]:
        """Continue each prefix greedily; the answer ends with the turn, the text, or ``max_new_tokens``."""
        prompts = []
        for query in queries:
            head = self._head(query)
            text = head.text if self.chat else head.text.rstrip(" ")  # a blank before a word belongs to the word
            own = (self.plain.inner_ids if head.inner else self.plain.ids)([text])[0]
            prompts.append((*head.ids, *own) or self._anything())
        answers = [""] * len(prompts)
        padding = self.tokenizer.pad_token_id
        padding = self.tokenizer.eos_token_id if padding is None else padding
        with progress(len(prompts), "Generating") as bar:
            for batch in batches([len(row) + max_new_tokens for row in prompts]):
                width = max(len(prompts[i]) for i in batch)
                flipped, mask = self._pad([prompts[i][::-1] for i in batch], padding or 0)
                new = self.model.generate(
                    input_ids=flipped.flip(1),
                    attention_mask=mask.flip(1),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    pad_token_id=padding or 0,
                )[:, width:]
                for i, text in zip(batch, self.tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                    answers[i] = text
                bar.update(len(batch))
        return answers
