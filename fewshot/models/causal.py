"""CausalLM: exact log-likelihoods of candidates under a decoder-only language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import torch

from fewshot.errors import FewshotWarning, warn
from fewshot.models.base import Query, scored_once
from fewshot.models.engine.best_first import Searches
from fewshot.models.engine.greedy import decode
from fewshot.models.engine.packed import PackedForward, self_check
from fewshot.models.engine.proof import Proof
from fewshot.models.engine.reads import Look, Reads
from fewshot.models.engine.trial import draw_samples, try_later_tokens
from fewshot.models.engine.trie import build_trie, make_plan
from fewshot.models.local import cut_into_chunks
from fewshot.models.locks import alone
from fewshot.models.naming import name_in_errors
from fewshot.models.progress import show_progress
from fewshot.models.ranking import Ranked, check_k, rank_all
from fewshot.models.reading import ReadingModel
from fewshot.models.recipe import Recipe
from fewshot.models.text.continued import Continued
from fewshot.models.text.stops import cut_at_stop, make_is_done
from fewshot.models.text.tokens import Joined

__all__ = ["CausalLM"]

_LOOKS_AHEAD = (
    "So it gives no probability of a text that goes on. If it was trained as a decoder, set is_decoder=True in its "
    "config; a model that fills masks is loaded as its ...ForMaskedLM."
)


class CausalLM(ReadingModel):
    r"""A causal language model, such as GPT, which predicts each token from those before it.

    The score of a candidate is the exact log-probability of its tokens and of the template's text after the hole, given
    everything before the hole:

    .. math:: \sum_{t > k} \log P(x_t \mid x_{<t}), \qquad x = \mathrm{tokens}(\text{prefix + candidate + suffix})

    The tokens of the prefix alone and of the prefix joined with any candidate are the same up to token k. If the tokens
    of one candidate begin another candidate, all candidates are scored with a terminator (a line break, or a chat
    model's end of turn). Otherwise "1" would always be more probable than "12".

    Parameters
    ----------
    model : PreTrainedModel
        A ``...ForCausalLM`` of transformers.
    tokenizer : PreTrainedTokenizerBase
    chat : bool, optional
        Whether to use the tokenizer's chat template. Then the instruction is the system turn, demonstrations are turns,
        everything before the hole is the user's turn, and the assistant's turn begins at the hole. None: use it if the
        tokenizer has one.
    chat_template_kwargs : mapping, optional
        Passed to the chat template, such as ``{"enable_thinking": False}``.
    recipe : Recipe, optional
        How `load` made the model.

    Raises
    ------
    ModelLoadError
        When ``chat`` is True and the tokenizer has no chat template, or when the model is not causal: a later token
        changes the logits of an earlier one.

    Examples
    --------
    >>> from fewshot import Classifier, load
    >>> lm = load("embedded:causal")
    >>> Classifier(lm).fit(None, ["billing", "bug report"]).predict(["Charged twice!"]).tolist()
    ['billing']
    """

    kind = "causal"

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
        rows = draw_samples(self.model, tokenizer)
        try_later_tokens(repr(self), lambda row: self.model(input_ids=row), rows, _LOOKS_AHEAD)
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self._settle_chat(chat)

    def with_chat(self, chat: bool) -> Self:
        """Return a model with the same weights that is asked with the tokenizer's chat template, or without it.

        Raises
        ------
        ModelLoadError
            When ``chat`` is True and the tokenizer has no chat template.
        """
        if chat == self.chat:
            return self
        recipe = self.recipe and replace(self.recipe, kwargs={**self.recipe.kwargs, "chat": chat})
        other = self.around(self.model, recipe)
        other._settle_chat(chat)  # noqa: SLF001 - of this class
        return other

    def _settle_chat(self, chat: bool | None) -> None:
        made = Continued(self.tokenizer, self.plain, chat, self.chat_template_kwargs, repr(self))
        self.chat, self.variant = made.chat, made.variant

    @cached_property
    def _continued(self) -> Continued:
        return Continued(self.tokenizer, self.plain, self.chat, self.chat_template_kwargs, repr(self))

    def _joined(self, queries: Sequence[Query]) -> list[Joined]:
        return self._continued.joined(queries)

    def _forget(self) -> None:
        if isinstance(self.__dict__.get("_packed"), PackedForward):
            self.__dict__["_packed"].forget()

    def plan(self, queries: Sequence[Query], reads: Reads) -> None:
        """Ask for every token of every candidate."""
        for joined in self._joined(queries):
            reads.continuations(joined.common, joined.rests)

    def plan_looks(self, queries: Sequence[Query], looks: Look) -> None:
        """Ask for the first place of every hole."""
        for joined in self._joined(queries):
            looks.look(joined.common, len(joined.common) - 1)

    @torch.inference_mode()
    def _compute(self, queries: Sequence[Query], reads: Reads) -> None:
        self.within_memory(partial(self._run, reads))

    def _run(self, reads: Reads, budget: int) -> None:
        """Compute what the reads ask for: every distinct prefix token once, or, where a model can't, row by row."""
        if self._packed is None or not self._run_packed(self._packed, reads, budget):
            self.run_rows(reads, budget)

    def _run_packed(self, packed: PackedForward, reads: Reads, budget: int) -> bool:
        """Whether the packed engine served, and agreed on the rows that strain it most so far."""
        trie = build_trie(reads.rows)
        wanted = np.zeros(len(trie), dtype=bool)
        wanted[reads.settle(trie.paths)] = True
        plan = make_plan(trie, wanted, budget=min(budget, self._pack_tokens))
        watched = self._proof.strained(plan)
        states: dict[int, torch.Tensor] = {}
        for nodes, hidden in packed.run(plan):
            reads.receive(nodes, hidden, partial(packed.split.blocks, vocabulary=self._vocabulary))
            for i in np.flatnonzero(np.isin(nodes, list(watched))).tolist():
                states[int(nodes[i])] = hidden[i : i + 1]
        error = self._proof.error([reads.rows[i] for i in watched.values()], [states[node] for node in watched])
        if error is not None:
            self._fall_back(error)
        return error is None

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
        self._fall_back(error)
        return None

    @cached_property
    def _proof(self) -> Proof:
        assert self._packed is not None
        return Proof(self.model, self._packed.split)

    def _fall_back(self, error: str) -> None:
        """From now on score row by row."""
        self.__dict__["_packed"] = None
        warn(
            f"{self!r} can't share prefixes between prompts ({error}): it is scored row by row, with equal results.",
            FewshotWarning,
        )

    def _sizes(self, queries: Sequence[Query]) -> list[int]:
        return self._continued.sizes(queries)

    @alone
    @torch.inference_mode()
    def most_probable(self, queries: Sequence[Query], k: int) -> list[Ranked]:
        """Find the ``k`` most probable candidates of each query without scoring all candidates.

        The scores are those of `loglikelihoods`. The method is best-first search: the log-probability of a candidate
        only falls along its tokens. All candidates are scored if the search would look at most of them, or if the model
        can't share prefixes between prompts.

        Raises
        ------
        ParameterError
            When ``k`` is less than 1.
        UnsupportedError
            When the model's scores are NaN, or all candidates have probability 0.

        Examples
        --------
        >>> from fewshot import Query, load
        >>> lm = load("embedded:causal")
        >>> (ranked,) = lm.most_probable([Query("The capital of France is", (" Rome", " Paris", " Berlin"))], 1)
        >>> ranked.indices.tolist()
        [1]
        """
        check_k(k)
        with name_in_errors(self, queries), show_progress(len(set(queries)), "Searching") as bar:

            def find(distinct: Sequence[Query]) -> list[Ranked]:
                found = []
                for chunk in cut_into_chunks(distinct):
                    found += self._found(chunk, k)
                    bar.update(len(chunk))
                return found

            return scored_once(find, queries)

    def _found(self, queries: Sequence[Query], k: int) -> list[Ranked]:
        """The best candidates of queries that are few enough to be planned at once."""
        found = self._searched(self._packed, self._joined(queries), k) if self._packed else {}
        left = [i for i in range(len(queries)) if i not in found]
        if left:
            asked = [queries[i] for i in left]
            found |= zip(left, rank_all(self, asked, self._score(asked), k), strict=True)
        return [found[i] for i in range(len(queries))]

    def _searched(self, packed: PackedForward, asked: Sequence[Joined], k: int) -> dict[int, Ranked]:
        """What best-first search finds; nothing where the packed engine disagrees on the rows that strain it most."""

        def search(budget: int) -> tuple[dict[int, Ranked | None], Searches]:
            group = min(4 * self._pack_tokens, max(budget, 256))
            searches = Searches(packed, self._vocabulary, group=group, pack=min(budget, self._pack_tokens))
            return dict(searches.run(asked, k)), searches

        found, searches = self.within_memory(search)
        error = self._proof.search_error(searches.watched.values())
        if error is not None:
            self._fall_back(error)
            return {}
        return {i: one for i, one in found.items() if one is not None and np.isfinite(one.logprobs[0])}

    @alone
    @torch.inference_mode()
    def generate(self, queries: Sequence[Query], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Continue each prefix greedily, to the end of the turn or text, a stop text or ``max_new_tokens`` tokens."""
        prompts = [self._continued.prompt(query) for query in queries]
        answers = self._continued_packed(self._packed, prompts, max_new_tokens, stop) if self._packed else None
        if answers is None:
            answers = self._continued_rows(prompts, max_new_tokens, stop)
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [cut_at_stop(str(text), stop) for text in texts]

    def _continued_packed(
        self, packed: PackedForward, prompts: list[tuple[int, ...]], max_new_tokens: int, stop: Sequence[str]
    ) -> list[list[int]] | None:
        """Answers of the packed engine; None where it disagrees on the answers that strain it most so far."""
        answers: list[list[int]] = [[] for _ in prompts]
        pack, is_done = self._pack_tokens, make_is_done(self.tokenizer, stop)
        group = min(4 * pack, max(self.budget, 256))
        with show_progress(len(prompts), "Generating") as bar:
            for i, answer in decode(
                packed, prompts, max_new_tokens, self._ends, group=group, pack=pack, is_done=is_done
            ):
                answers[i] = answer
                bar.update()
        error = self._proof.answer_error(prompts, answers, packed.capacity)
        if error is None:
            return answers
        self._fall_back(error)
        return None

    def _continued_rows(
        self, prompts: list[tuple[int, ...]], max_new_tokens: int, stop: Sequence[str]
    ) -> list[list[int]]:
        answers: list[list[int]] = [[] for _ in prompts]
        padding = min((end for end in self._ends if end < self._vocabulary), default=0)

        def compute(batch: list[int]) -> list[torch.Tensor]:
            width = max(len(prompts[i]) for i in batch)
            flipped, mask = self._pad([prompts[i][::-1] for i in batch])
            new = self.model.generate(
                input_ids=flipped.flip(1),
                attention_mask=mask.flip(1),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=padding,
                stopping_criteria=self._stopping(stop, width),
            )[:, width:]
            return list(torch.nn.functional.pad(new, (0, max_new_tokens - new.shape[1]), value=padding))

        def receive(batch: list[int], found: list[torch.Tensor]) -> None:
            for i, row in zip(batch, found, strict=True):
                tokens = row.tolist()
                answers[i] = tokens[: next((j for j, token in enumerate(tokens) if token in self._ends), len(tokens))]
            bar.update(len(batch))

        lengths = [len(row) + max_new_tokens for row in prompts]
        with show_progress(len(prompts), "Generating") as bar:
            self._generated.run(lengths, self.budget, compute, receive, lambda tokens: tokens.float())
        return answers

    @property
    def _ends(self) -> set[int]:
        """Tokens that end an answer."""
        config = getattr(self.model, "generation_config", None)
        stated = getattr(config, "eos_token_id", None)
        ends = [stated] if isinstance(stated, int) else list(stated or ())
        return {int(end) for end in (*ends, self.tokenizer.eos_token_id) if end is not None}
