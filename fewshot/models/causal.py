"""CausalLM: exact log-likelihoods of candidates under a decoder-only language model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from fewshot.errors import FewshotWarning, ModelLoadError, warn
from fewshot.models.base import Float32Array, IntArray, Kind, Query, Reading, Scores
from fewshot.models.chat import Chat
from fewshot.models.decoding import decode
from fewshot.models.local import asked_of, batches, chunks, progress
from fewshot.models.locks import alone
from fewshot.models.packed import PackedForward, self_check
from fewshot.models.plan import build_trie, make_plan
from fewshot.models.reading import ReadingModel
from fewshot.models.reads import Look, Reads
from fewshot.models.recipe import Recipe
from fewshot.models.tokens import Head, Joined, join

__all__ = ["CausalLM"]

_KEPT_TOKENS = 512  # queries whose tokens are kept for a second look


class CausalLM(ReadingModel):
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
    def _tokens(self) -> dict[Query, Joined]:
        """The tokens of the queries that were seen last."""
        return {}

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
        """The tokens of each query's candidates; those of the last queries are kept, since lengths precede scores."""
        known = self._tokens  # never changed, only replaced: any thread may look while another tokenises
        new = [query for query in dict.fromkeys(queries) if query not in known]
        joined = join(self.plain, [(self._head(query), query) for query in new])
        found = {query: known[query] for query in queries if query in known}
        for query, one in zip(new, joined, strict=True):
            found[query] = one if one.common else Joined(self._anything(), one.rests)
        others = {query: one for query, one in known.items() if query not in found}
        self._tokens = dict(list({**others, **found}.items())[-_KEPT_TOKENS:])
        return [found[query] for query in queries]

    def _forget(self) -> None:
        if isinstance(self.__dict__.get("_packed"), PackedForward):
            self.__dict__["_packed"].forget()

    def _anything(self) -> tuple[int, ...]:
        """What an unconditional probability conditions on: the token that begins, or else ends, a text."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return (int(token),)
        raise ValueError("nothing stands before the hole, and the model has no token that begins a text: add some text")

    def _score(self, queries: Sequence[Query]) -> list[Scores]:
        reads = Reads()
        self.plan(queries, reads)
        self.within_memory(partial(self._run, reads))
        return reads.scores()

    def plan(self, queries: Sequence[Query], reads: Reads) -> None:
        """Ask for every token of every candidate."""
        for joined in self._joined(queries):
            reads.continuations(joined.common, joined.rests)

    @torch.inference_mode()
    def _run(self, reads: Reads, budget: int) -> None:
        """Compute what the reads ask for: every distinct prefix token once, or, where a model can't, row by row."""
        if self._packed is None:
            self._run_padded(reads, budget)
            return
        trie = build_trie(reads.rows)
        wanted = np.zeros(len(trie), dtype=bool)
        wanted[reads.settle(trie.paths)] = True
        for nodes, hidden in self._packed.run(make_plan(trie, wanted, budget=min(budget, self._pack_tokens))):
            reads.receive(nodes, hidden, partial(self._packed.split.blocks, vocabulary=self._vocabulary))

    def _run_padded(self, reads: Reads, budget: int) -> None:
        spots = reads.settle()
        rows, positions = np.divmod(spots, reads.width)
        for batch in batches([len(row) for row in reads.rows], budget):
            ids, mask = self._pad([reads.rows[i] for i in batch])
            inside = np.isin(rows, batch)
            at = np.unique(positions[inside])
            values = self._at(ids, mask, at, hidden=isinstance(reads, Look) and reads.what == "hidden")
            place = {row: i for i, row in enumerate(batch)}
            which = [place[int(row)] for row in rows[inside]]
            wanted = values[which, np.searchsorted(at, positions[inside]).tolist()]
            reads.receive(spots[inside], wanted, lambda logits: [(slice(None), logits)])

    def _look(self, queries: Sequence[Query], what: Reading) -> Float32Array:
        looks = Look(what)
        for joined in self._joined(queries):
            looks.look(joined.common, len(joined.common) - 1)
        self.within_memory(partial(self._run, looks))
        return looks.result()

    def _at(self, ids: torch.Tensor, mask: torch.Tensor, positions: IntArray, *, hidden: bool) -> torch.Tensor:
        """Logits or hidden states at these positions, of shape (batch, positions, vocabulary or dim)."""
        at = torch.from_numpy(positions).to(ids.device)
        if hidden:
            return self.model(  # type: ignore[no-any-return]
                input_ids=ids, attention_mask=mask, output_hidden_states=True
            ).hidden_states[-1][:, at]
        if "logits_to_keep" in inspect.signature(self.model.forward).parameters:
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask, logits_to_keep=at).logits
            return logits
        return self.model(input_ids=ids, attention_mask=mask).logits[:, at]  # type: ignore[no-any-return]

    @property
    def _pack_tokens(self) -> int:
        """Enough tokens to keep the hardware busy; more would only be masked from one another."""
        return 512 if self.device.type == "cpu" else 4096

    @cached_property
    def _packed(self) -> PackedForward | None:
        """The packed engine, if it agrees with the model's own forward pass on this architecture."""
        try:
            packed = PackedForward(self.model)
            error = self_check(self.model, packed)
        except Exception as reason:  # whatever a strange cache or mask raises, the plain path still serves
            error = f"{type(reason).__name__}: {reason}"
        else:
            if error is None:
                return packed
        warn(
            f"{self!r} can't share prefixes between prompts ({error}): it is scored row by row, with equal results.",
            FewshotWarning,
        )
        return None

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Tokens of each query with its longest candidate, special tokens included."""
        with asked_of(self, queries):
            sizes = [
                len(one.common) + max(map(len, one.rests)) for chunk in chunks(queries) for one in self._joined(chunk)
            ]
        return np.array(sizes, dtype=np.int64)

    @alone
    def generate(self, queries: Sequence[Query], max_new_tokens: int) -> list[str]:
        """Continue each prefix greedily; the answer ends with the turn, the text, or ``max_new_tokens``."""
        prompts = []
        for query in queries:
            head = self._head(query)
            text = head.text if self.chat else head.text.rstrip(" ")  # a blank before a word belongs to the word
            own = (self.plain.inner_ids if head.inner else self.plain.ids)([text])[0]
            prompts.append((*head.ids, *own) or self._anything())
        answers = self._continued(prompts, max_new_tokens)
        return [str(text) for text in self.tokenizer.batch_decode(answers, skip_special_tokens=True)]

    @torch.inference_mode()
    def _continued(self, prompts: list[tuple[int, ...]], max_new_tokens: int) -> list[list[int]]:
        answers: list[list[int]] = [[] for _ in prompts]
        with progress(len(prompts), "Generating") as bar:
            if self._packed is not None:
                group = min(4 * self._pack_tokens, max(self.budget, 256))
                for i, answer in decode(
                    self._packed, prompts, max_new_tokens, self._ends, group=group, pack=self._pack_tokens
                ):
                    answers[i] = answer
                    bar.update()
                return answers
            for batch in batches([len(row) + max_new_tokens for row in prompts], self.budget):
                width = max(len(prompts[i]) for i in batch)
                flipped, mask = self._pad([prompts[i][::-1] for i in batch])
                new = self.model.generate(
                    input_ids=flipped.flip(1),
                    attention_mask=mask.flip(1),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    pad_token_id=next(iter(self._ends), 0),
                )[:, width:].tolist()
                for i, row in zip(batch, new, strict=True):
                    stop = next((j for j, token in enumerate(row) if token in self._ends), len(row))
                    answers[i] = row[:stop]
                bar.update(len(batch))
        return answers

    @property
    def _ends(self) -> set[int]:
        """Tokens that end an answer."""
        config = getattr(self.model, "generation_config", None)
        stated = getattr(config, "eos_token_id", None)
        ends = [stated] if isinstance(stated, int) else list(stated or ())
        return {int(end) for end in (*ends, self.tokenizer.eos_token_id) if end is not None}
