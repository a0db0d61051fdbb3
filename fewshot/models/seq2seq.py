"""Seq2SeqLM: exact log-likelihoods of candidates under an encoder-decoder language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch

from fewshot.errors import ModelLoadError
from fewshot.models.base import Float32Array, IntArray, Kind, Query, Reading, Scores
from fewshot.models.heads import Split
from fewshot.models.local import asked_of, batches, progress
from fewshot.models.locks import alone
from fewshot.models.reading import ReadingModel
from fewshot.models.reads import Look, Reads
from fewshot.models.recipe import Recipe
from fewshot.models.tokens import Special, check_tokens, open_ended

__all__ = ["Seq2SeqLM"]

Hole = Literal["auto", "output", "sentinel"]


class Seq2SeqLM(ReadingModel):
    r"""A T5-like language model.

    The hole is either the decoder's output or a sentinel in the encoder's input:

    - ``"output"``: the encoder reads everything before the hole, and the score is
      :math:`\log P(\text{candidate, suffix} \mid \text{context, prefix})`, as instruction-tuned models were trained.
    - ``"sentinel"``: the encoder reads the prompt with ``<extra_id_0>`` in the hole, and the score is the
      log-probability of the candidate after ``<extra_id_0>`` in the output, as T5 was pretrained (Raffel et al. 2020).

    Where one candidate's tokens begin another's, all are scored with their terminator (end of text, ``<extra_id_1>``).

    Parameters
    ----------
    model : PreTrainedModel
        An encoder-decoder of transformers with a language-model head.
    tokenizer : PreTrainedTokenizerBase
    hole : {"auto", "output", "sentinel"}
        "auto": the output when nothing but blanks stands after the hole, else a sentinel.
    recipe : Recipe, optional
        How `load` made it.

    Raises
    ------
    ModelLoadError
        When ``hole`` is "sentinel" and the tokenizer has no ``<extra_id_0>``.

    Examples
    --------
    >>> from fewshot import Classifier
    >>> clf = Classifier("google/flan-t5-base")  # doctest: +SKIP
    >>> clf.fit(None, ["billing", "bug report"]).predict(["Charged twice!"])  # doctest: +SKIP
    array(['billing'], dtype=object)
    """

    kind: Kind = "seq2seq"

    def __init__(self, model: Any, tokenizer: Any, *, hole: Hole = "auto", recipe: Recipe | None = None) -> None:
        super().__init__(model, tokenizer, recipe=recipe)
        if hole not in ("auto", "output", "sentinel"):
            raise ValueError(f"hole must be 'auto', 'output' or 'sentinel'. Got {hole!r}.")
        self.hole: Hole = hole
        self.variant = f"hole={hole}"
        if hole == "sentinel":
            self._sentinels()

    def _sentinels(self) -> tuple[int, int]:
        vocabulary = self.tokenizer.get_vocab()
        if "<extra_id_0>" not in vocabulary:
            raise ModelLoadError(
                f"{self!r} has no sentinel <extra_id_0>: end the template with the hole, or use hole='output'."
            )
        return vocabulary["<extra_id_0>"], vocabulary.get("<extra_id_1>", self._end)

    @cached_property
    def _special(self) -> Special:
        return self.plain.special()

    @property
    def _end(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def limit(self) -> int:
        """The most tokens that the encoder reads at once; relative positions set no limit of their own."""
        return min(super().limit, 4096)

    def _uses_sentinel(self, query: Query) -> bool:
        return self.hole == "sentinel" or (self.hole == "auto" and bool(query.suffix.strip()))

    def _inputs(self, queries: Sequence[Query]) -> list[tuple[int, ...]]:
        """What the encoder reads for each query."""
        befores = ["".join(turn.text for turn in q.context) + q.prefix for q in queries]
        sentinel = [self._uses_sentinel(query) for query in queries]
        # a blank before the hole is the decoder's business when the hole is the output
        lead = self.plain.ids([b if s else b.rstrip() for b, s in zip(befores, sentinel, strict=True)])
        rest = self.plain.inner_ids([query.suffix if s else "" for query, s in zip(queries, sentinel, strict=True)])
        mark = self._sentinels()[0] if any(sentinel) else 0
        return [
            (*self._special.before, *a, *([mark] if s else []), *b, *self._special.after)
            for a, b, s in zip(lead, rest, sentinel, strict=True)
        ]

    def _outputs(self, queries: Sequence[Query]) -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
        """What the decoder has written before each query's candidates, and the candidates' tokens."""
        outputs: list[tuple[tuple[int, ...], list[tuple[int, ...]]]] = []
        known: dict[tuple[tuple[str, ...], str], tuple[tuple[int, ...], list[tuple[int, ...]]]] = {}
        lead: tuple[int, ...]
        for query in queries:
            asked = (query.candidates, query.suffix)
            if asked in known:
                outputs.append(known[asked])
                continue
            if self._uses_sentinel(query):
                mark, end = self._sentinels()
                lead, words = (mark,), self.plain.inner_ids([word.strip() for word in query.candidates])
            else:
                lead, end = (), self._end
                words = self.plain.ids([(word + query.suffix).strip() for word in query.candidates])
            tokens = [tuple(word) for word in words]
            if open_ended(tokens):
                tokens = [(*word, end) for word in tokens]
            check_tokens(query.candidates, tokens)
            known[asked] = (lead, tokens)
            outputs.append(known[asked])
        return outputs

    def _score(self, queries: Sequence[Query]) -> list[Scores]:
        reads = Reads()
        self.plan(queries, reads)
        with torch.inference_mode():
            self.within_memory(partial(self._run, reads, self._inputs(queries)))
        return reads.scores()

    def plan(self, queries: Sequence[Query], reads: Reads) -> None:
        """Ask for every token of every candidate, as the decoder writes it."""
        start = int(self.model.config.decoder_start_token_id)
        for i, (lead, words) in enumerate(self._outputs(queries)):
            # the query's number keeps rows of different texts apart; it is taken off before decoding
            reads.continuations((i, start, *lead), words)

    def run_for(self, queries: Sequence[Query], reads: Reads, budget: int) -> None:
        """Compute what was planned for these queries."""
        self._run(reads, self._inputs(queries), budget)

    def n_inputs(self, queries: Sequence[Query]) -> list[int]:
        """How many tokens the encoder reads and the decoder writes for each query."""
        return [len(a) + b for a, b in zip(self._inputs(queries), super().n_inputs(queries), strict=True)]

    def _run(self, reads: Reads, inputs: list[tuple[int, ...]], budget: int) -> None:
        """Encode each text once, and decode all its candidates on it."""
        spots = reads.settle()
        rows, positions = np.divmod(spots, reads.width)
        padding = self.tokenizer.pad_token_id or 0
        by_text: dict[int, list[int]] = {}
        for number, row in enumerate(reads.rows):
            by_text.setdefault(row[0], []).append(number)
        for texts in batches([len(inputs[i]) for i in range(len(inputs))], budget):
            ids, attended = self._pad([inputs[i] for i in texts], padding)
            states = self.model.get_encoder()(input_ids=ids, attention_mask=attended).last_hidden_state
            numbers = [number for i in texts for number in by_text[i]]
            for part in batches([len(reads.rows[n]) + ids.shape[1] for n in numbers], budget):
                batch = [numbers[i] for i in part]
                which = torch.tensor([texts.index(reads.rows[n][0]) for n in batch], device=states.device)
                written, _ = self._pad([reads.rows[n][1:] for n in batch], padding)
                inside = np.isin(rows, batch)
                place = {row: i for i, row in enumerate(batch)}
                hidden = self._split.body(
                    input_ids=written,
                    encoder_hidden_states=states[which],
                    encoder_attention_mask=attended[which],
                    use_cache=False,
                ).last_hidden_state
                wanted = hidden[[place[int(row)] for row in rows[inside]], (positions[inside] - 1).tolist()]
                blocks = partial(self._split.blocks, vocabulary=self._vocabulary, encoder_outputs=(states[:1],))
                reads.receive(spots[inside], wanted, blocks)

    def _look(self, queries: Sequence[Query], what: Reading) -> Float32Array:
        start = int(self.model.config.decoder_start_token_id)
        looks = Look(what)
        for i, (lead, _) in enumerate(self._outputs(queries)):
            looks.look((i, start, *lead), 1 + len(lead))
        with torch.inference_mode():
            self.within_memory(partial(self._run, looks, self._inputs(queries)))
        return looks.result()

    @cached_property
    def _split(self) -> Split:
        return Split(self.model, "decoder")

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Tokens that the encoder reads, or the decoder writes with the longest candidate, whichever are more."""
        with asked_of(self, queries):
            inputs, outputs = self._inputs(queries), self._outputs(queries)
        written = [1 + len(lead) + max(map(len, words)) for lead, words in outputs]
        return np.array([max(len(a), b) for a, b in zip(inputs, written, strict=True)], dtype=np.int64)

    @alone
    @torch.inference_mode()
    def generate(self, queries: Sequence[Query], max_new_tokens: int) -> list[str]:
        """Answer each prompt greedily, in at most ``max_new_tokens`` tokens."""
        inputs = self._inputs(queries)
        answers = [""] * len(inputs)
        with progress(len(inputs), "Generating") as bar:
            for batch in batches([len(row) + max_new_tokens for row in inputs]):
                ids, mask = self._pad([inputs[i] for i in batch], self.tokenizer.pad_token_id or 0)
                new = self.model.generate(
                    input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False
                )
                for i, text in zip(batch, self.tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                    answers[i] = text
                bar.update(len(batch))
        return answers
