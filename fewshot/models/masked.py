"""MaskedLM: log-likelihoods of candidates in a cloze, under a BERT-like masked language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, Literal

import torch

from fewshot.checks import one_of
from fewshot.errors import ModelLoadError
from fewshot.models.base import Query
from fewshot.models.engine.reads import Look, Reads
from fewshot.models.engine.split import Split
from fewshot.models.engine.trial import draw_samples, try_forward
from fewshot.models.locks import alone
from fewshot.models.reading import ReadingModel
from fewshot.models.recipe import Recipe
from fewshot.models.text.tokens import check_tokens
from fewshot.models.token_vectors import TokenReader
from fewshot.models.tokens import ReadsTokens, TokenVectors

__all__ = ["MaskedLM"]

Variant = Literal["left-to-right", "independent"]
Cloze = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # tokens before the hole, in it, after it


class MaskedLM(ReadsTokens, ReadingModel):
    r"""A masked language model, such as BERT.

    The hole becomes as many mask tokens as the candidate has. The score of a one-token candidate is its
    log-probability at the mask. For a candidate of n tokens there are two definitions:

    - ``"left-to-right"``: :math:`\sum_i \log P(w_i \mid w_{<i}, [MASK]^{n-i+1})`, each token given the tokens before
      it, while the token itself and all later ones are masked (PLL-word-l2r of Kauf and Ivanova 2023, "A Better Way to
      Do Masked Language Model Scoring"). It is a proper joint probability, and needs n forward passes.
    - ``"independent"``: :math:`\sum_i \log P(w_i \mid [MASK]^n)`, all tokens at once (the independent prediction of
      Jiang et al. 2020, "X-FACTR"). It needs one forward pass for all candidates of n tokens.

    A prompt is one segment without a separator inside, so all its token types are 0, even if a template joins two
    texts: BERT was trained with type 1 only after a separator.

    Parameters
    ----------
    model : PreTrainedModel
        A ``...ForMaskedLM`` of transformers.
    tokenizer : PreTrainedTokenizerBase
        Must have a mask token.
    variant : {"left-to-right", "independent"}
        The definition for candidates of several tokens.
    recipe : Recipe, optional
        How `load` made it.

    Raises
    ------
    ModelLoadError
        When the tokenizer has no mask token.

    Examples
    --------
    >>> from fewshot import Classifier
    >>> clf = Classifier("FacebookAI/roberta-base", template="sst2/it_was").fit()  # doctest: +SKIP
    >>> clf.predict(["A joy to watch."])  # doctest: +SKIP
    array(['positive'], dtype=object)
    """

    kind = "masked"

    def __init__(
        self, model: Any, tokenizer: Any, *, variant: Variant = "left-to-right", recipe: Recipe | None = None
    ) -> None:
        super().__init__(model, tokenizer, recipe=recipe)
        if tokenizer.mask_token_id is None:
            raise ModelLoadError(f"{self!r} can't fill a hole: its tokenizer has no mask token.")
        one_of("variant", variant, ("left-to-right", "independent"))
        self.variant: Variant = variant
        ids = self._sample["input_ids"]
        logits = try_forward(repr(self), partial(self.model, input_ids=ids, attention_mask=torch.ones_like(ids)))
        if logits.shape[:-1] != ids.shape:
            raise ModelLoadError(
                f"{self!r} can't be used: it gives logits of shape {tuple(logits.shape)} for a row of {ids.shape[1]} "
                "tokens, and not one distribution a token."
            )

    @property
    def _sample(self) -> dict[str, Any]:
        """A short cloze."""
        special, (first, _) = self._special, draw_samples(self.model, self.tokenizer).tolist()
        row = (*special.before, *first, int(self.tokenizer.mask_token_id), *special.after)
        return {"input_ids": torch.tensor([row], device=self.device)}

    def _clozes(self, queries: Sequence[Query]) -> list[list[Cloze]]:
        """The tokens of every candidate where it stands.

        The candidate's own tokens begin where any candidate leaves the prefix's tokenisation, and end with the last
        token that holds one of its characters; so a blank before the hole goes where the tokenizer puts it.
        """
        plain, texts = self.plain, []
        windows = []
        for query in queries:
            before = "".join(turn.text for turn in query.context) + query.prefix
            # only what stands near the hole is tokenised with each candidate
            start = plain.late_cut(before)
            stop = plain.early_cut(query.suffix)
            near, tail = before[start:], query.suffix[:stop]
            windows.append((before, near, query))
            texts += [before, before[:start], near, query.suffix, tail, query.suffix[stop:]]
            texts += [near + word + tail for word in query.candidates]
        encoded = iter(plain.encodings(texts))
        clozes = []
        for before, near, query in windows:
            lead = near
            alone, stem, head, suffix, tail, far = (next(encoded).ids for _ in range(6))
            wholes = [next(encoded) for _ in query.candidates]
            if stem + head != alone or tail + far != suffix:
                lead, stem, head, far = before, [], alone, []
                wholes = plain.encodings([before + word + query.suffix for word in query.candidates])
            k = 0
            while k < len(head) and all(k < len(e.ids) and e.ids[k] == head[k] for e in wholes):
                k += 1
            own = []
            for word, e in zip(query.candidates, wholes, strict=True):
                limit = len(lead) + len(word)
                end = next((i for i in range(k, len(e.ids)) if e.offsets[i][0] >= limit), len(e.ids))
                own.append((tuple(stem + e.ids[:k]), tuple(e.ids[k:end]), tuple(e.ids[end:] + far)))
            check_tokens(query.candidates, [word for _, word, _ in own])
            clozes.append(own)
        return clozes

    def plan(self, queries: Sequence[Query], reads: Reads) -> None:
        """Ask for every token of every candidate."""
        mask, special = int(self.tokenizer.mask_token_id), self._special
        for clozes in self._clozes(queries):
            reads.query()
            for before, word, after in clozes:
                start = len(special.before) + len(before)
                asked = []
                for i, token in enumerate(word):
                    known = word[:i] if self.variant == "left-to-right" else ()
                    hole = (*known, *[mask] * (len(word) - len(known)))
                    row = reads.row((*special.before, *before, *hole, *after, *special.after))
                    asked.append((row, start + i, token))
                reads.candidate(asked)

    def plan_looks(self, queries: Sequence[Query], looks: Look) -> None:
        """Ask for the first place of every hole."""
        mask, special = int(self.tokenizer.mask_token_id), self._special
        for clozes in self._clozes(queries):
            before, _, after = clozes[0]
            looks.look((*special.before, *before, mask, *after, *special.after), len(special.before) + len(before))

    @alone
    def _read_tokens(
        self, texts: Sequence[str], layer: int | None, questions: Sequence[str] | None
    ) -> list[TokenVectors]:
        return self.token_reader.read(texts, layer, self.limit, self.within_memory, questions)

    @cached_property
    def token_reader(self) -> TokenReader:
        """What reads the tokens of texts, with their hidden states."""
        body = self._taken.body if isinstance(self._taken, Split) else self.model
        return TokenReader(repr(self), body, self.plain, self._taken.room)

    def _sizes(self, queries: Sequence[Query]) -> list[int]:
        extra = len(self._special.before) + len(self._special.after)
        return [extra + max(sum(map(len, parts)) for parts in own) for own in self._clozes(queries)]
