"""Seq2SeqLM: exact log-likelihoods of candidates under an encoder-decoder language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import torch

from fewshot.checks import one_of
from fewshot.errors import ModelLoadError
from fewshot.models.base import Query
from fewshot.models.engine.padding import Padding
from fewshot.models.engine.reads import Look, Reads
from fewshot.models.engine.split import Split, Whole, take_apart, wrap_encoded
from fewshot.models.engine.trial import draw_samples, try_later_tokens
from fewshot.models.locks import alone
from fewshot.models.progress import show_progress
from fewshot.models.reading import ReadingModel
from fewshot.models.recipe import Recipe
from fewshot.models.text.stops import cut_at_stop
from fewshot.models.text.tokens import check_tokens, is_open_ended

__all__ = ["Seq2SeqLM"]

Hole = Literal["auto", "output", "sentinel"]
Output = tuple[tuple[int, ...], list[tuple[int, ...]]]  # what stands before the candidates, and their tokens


class Seq2SeqLM(ReadingModel):
    r"""An encoder-decoder language model, such as T5.

    The hole is either the decoder's output or a sentinel in the encoder's input:

    - ``"output"``: the encoder reads everything before the hole, and the score is
      :math:`\log P(\text{candidate, suffix} \mid \text{context, prefix})`. Instruction-tuned models were trained so.
    - ``"sentinel"``: the encoder reads the prompt with ``<extra_id_0>`` in the hole, and the score is the
      log-probability of the candidate after ``<extra_id_0>`` in the output. T5 was pretrained so (Raffel et al. 2020).

    If the tokens of one candidate begin another candidate, all candidates are scored with a terminator (the end of the
    text, or ``<extra_id_1>``).

    Parameters
    ----------
    model : PreTrainedModel
        An encoder-decoder of transformers with a language-model head.
    tokenizer : PreTrainedTokenizerBase
    hole : {"auto", "output", "sentinel"}
        "auto": "output" if there is only whitespace after the hole, else "sentinel".
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

    kind = "seq2seq"

    def __init__(self, model: Any, tokenizer: Any, *, hole: Hole = "auto", recipe: Recipe | None = None) -> None:
        super().__init__(model, tokenizer, recipe=recipe)
        one_of("hole", hole, ("auto", "output", "sentinel"))
        self.hole: Hole = hole
        self.variant = f"hole={hole}"
        if hole == "sentinel":
            self._sentinels()
        self._try()

    def _try(self) -> None:
        """Refuse what could not be scored."""
        if self._named("decoder_start_token_id") is None:
            raise ModelLoadError(
                f"{self!r} names no token that its decoder begins with: set model.config.decoder_start_token_id (for a "
                "T5 that is its pad_token_id)."
            )
        if self._end is None:
            raise ModelLoadError(f"{self!r} names no token that ends a text: set tokenizer.eos_token.")
        rows = draw_samples(self.model, self.tokenizer)
        rows[:, : len(self._opening)] = torch.tensor(self._opening)  # a decoder that hides its own start looks ahead
        try_later_tokens(
            repr(self),
            lambda row: self.model(**self._sample_given(row)),
            rows,
            "So its decoder gives no probability of a text. Where its start is the padding token, which some decoders "
            "(T5Gemma) hide from themselves, set model.config.decoder_start_token_id to the token it was trained with.",
        )

    def _sample_given(self, written: torch.Tensor) -> dict[str, Any]:
        """What the decoder is given with a sample of what the encoder reads."""
        with torch.no_grad():
            states = self.model.get_encoder()(**self._sample).last_hidden_state
        return _given(self._sample["input_ids"], self._sample["attention_mask"], states, written)

    def _named(self, name: str) -> int | None:
        """A token that the model's config names, or that for generating."""
        configs = (self.model.config, getattr(self.model, "generation_config", None))
        found = (getattr(config, name, None) for config in configs)
        return next((int(token) for token in found if isinstance(token, int)), None)

    @property
    def _sample(self) -> dict[str, Any]:
        rows = draw_samples(self.model, self.tokenizer)
        return {"input_ids": rows[:1], "attention_mask": torch.ones_like(rows[:1])}

    def _sentinels(self) -> tuple[int, int | None]:
        vocabulary = self.tokenizer.get_vocab()
        if "<extra_id_0>" not in vocabulary:
            raise ModelLoadError(
                f"{self!r} has no sentinel <extra_id_0>: end the template with the hole, or use hole='output'."
            )
        return vocabulary["<extra_id_0>"], vocabulary.get("<extra_id_1>", self._end)

    @property
    def _end(self) -> int | None:
        ends = (self.tokenizer.eos_token_id, self.tokenizer.sep_token_id, self._named("eos_token_id"))
        return next((int(token) for token in ends if token is not None), None)

    @cached_property
    def _opening(self) -> tuple[int, ...]:
        """What the decoder writes before a text: its start, and what the tokenizer puts before a text (BART).

        A target is the tokenizer's own text, shifted behind the start; what is the start already is not repeated.
        """
        start, forced = self._named("decoder_start_token_id"), self._named("forced_bos_token_id")
        assert start is not None
        before = self._special.before if forced is None else (forced,)
        return (start, *(token for token in before if token != start))

    @property
    def limit(self) -> int:
        """The most tokens that the encoder reads at once; models with relative positions have no limit of their own."""
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

    def _outputs(self, queries: Sequence[Query]) -> list[Output]:
        """What the decoder has written before each query's candidates, and the candidates' tokens."""
        asked = {(query.candidates, query.suffix): query for query in queries}
        known = {key: self._output(query) for key, query in asked.items()}
        return [known[query.candidates, query.suffix] for query in queries]

    def _output(self, query: Query) -> Output:
        lead: tuple[int, ...] = ()
        end = self._end
        if self._uses_sentinel(query):
            mark, end = self._sentinels()
            lead, words = (mark,), self.plain.inner_ids([word.strip() for word in query.candidates])
        else:
            words = self.plain.ids([(word + query.suffix).strip() for word in query.candidates])
        tokens = [tuple(word) for word in words]
        if is_open_ended(tokens):
            assert end is not None
            tokens = [(*word, end) for word in tokens]
        check_tokens(query.candidates, tokens)
        return lead, tokens

    def plan(self, queries: Sequence[Query], reads: Reads) -> None:
        """Ask for every token of every candidate, as the decoder writes it."""
        for i, (lead, words) in enumerate(self._outputs(queries)):
            # the query's number keeps rows of different texts apart; it is taken off before decoding
            reads.continuations((i, *self._opening, *lead), words)

    def n_inputs(self, queries: Sequence[Query]) -> list[int]:
        """Return how many tokens the encoder reads and the decoder writes for each query."""
        return [len(a) + b for a, b in zip(self._inputs(queries), super().n_inputs(queries), strict=True)]

    def run_for(self, queries: Sequence[Query], reads: Reads, budget: int) -> None:
        """Encode each text once, and run the decoder for all its candidates."""
        inputs = self._inputs(queries)
        spots = reads.settle_rows()
        budget = min(budget, self._taken.room)
        by_text: dict[int, list[int]] = {}
        for number, row in enumerate(reads.rows):
            by_text.setdefault(row[0], []).append(number)

        def encode(texts: list[int]) -> list[torch.Tensor]:
            ids, attended = self._pad([inputs[i] for i in texts])
            states = self.model.get_encoder()(input_ids=ids, attention_mask=attended).last_hidden_state
            numbers = [number for i in texts for number in by_text[i]]
            owners = [j for j, i in enumerate(texts) for _ in by_text[i]]
            found: dict[int, torch.Tensor] = {}

            def decode(part: list[int]) -> list[torch.Tensor]:
                batch, which = [numbers[i] for i in part], [owners[i] for i in part]
                at = [spots[n] % reads.width - 1 for n in batch]
                written = self._pad([reads.rows[n][1:] for n in batch])[0]
                return self._states(reads, at, **_given(ids[which], attended[which], states[which], written))

            def keep(part: list[int], computed: list[torch.Tensor]) -> None:
                found.update(zip([numbers[i] for i in part], computed, strict=True))

            lengths = [len(reads.rows[n]) + ids.shape[1] for n in numbers]
            self._written.run(lengths, budget, decode, keep, self._compared(reads), check=not self.model.training)
            return [torch.cat([found[n] for n in by_text[i]]) for i in texts]

        def receive(texts: list[int], found: list[torch.Tensor]) -> None:
            self._receive(reads, [spots[n] for i in texts for n in by_text[i]], found)

        lengths = [len(row) for row in inputs]
        self.padding.run(lengths, budget, encode, receive, self._compared(reads), check=not self.model.training)

    @cached_property
    def _written(self) -> Padding:
        """Which of a decoder's rows may go together; `padding` is that of the texts that the encoder reads."""
        return Padding(self.model)

    def plan_looks(self, queries: Sequence[Query], looks: Look) -> None:
        """Ask for the first place of every hole, as the decoder writes it."""
        for i, (lead, _) in enumerate(self._outputs(queries)):
            row = (i, *self._opening, *lead)
            looks.look(row, len(row) - 1)

    @cached_property
    def _taken(self) -> Split | Whole:
        """The decoder taken apart into body and head where that gives the model's own numbers."""
        return take_apart(self.model, self._sample_given(self._sample["input_ids"]))

    def _sizes(self, queries: Sequence[Query]) -> list[int]:
        """Tokens that the encoder reads, or the decoder writes with the longest candidate, whichever are more."""
        inputs, outputs = self._inputs(queries), self._outputs(queries)
        written = [len(self._opening) + len(lead) + max(map(len, words)) for lead, words in outputs]
        return [max(len(a), b) for a, b in zip(inputs, written, strict=True)]

    @alone
    @torch.inference_mode()
    def generate(self, queries: Sequence[Query], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Answer each prompt greedily, to the end of the text, a stop text or ``max_new_tokens`` tokens."""
        inputs = self._inputs(queries)
        answers = [""] * len(inputs)

        def compute(batch: list[int]) -> list[torch.Tensor]:
            ids, mask = self._pad([inputs[i] for i in batch])
            new = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                stopping_criteria=self._stopping(stop, 1),
            )
            return list(torch.nn.functional.pad(new, (0, 1 + max_new_tokens - new.shape[1]), value=self.padding_token))

        def receive(batch: list[int], found: list[torch.Tensor]) -> None:
            texts = self.tokenizer.batch_decode(torch.stack(found), skip_special_tokens=True)
            for i, text in zip(batch, texts, strict=True):
                answers[i] = cut_at_stop(text, stop)
            bar.update(len(batch))

        lengths = [len(row) + max_new_tokens for row in inputs]
        with show_progress(len(inputs), "Generating") as bar:
            self._generated.run(lengths, self.budget, compute, receive, lambda tokens: tokens.float())
        return answers


def _given(ids: torch.Tensor, attended: torch.Tensor, states: torch.Tensor, written: torch.Tensor) -> dict[str, Any]:
    """What a decoder is given: what was read, what the encoder made of it, and what is written."""
    # the tokens are not read again, but FSMT hides later tokens from earlier ones only where it is given them
    read = {"input_ids": ids, "attention_mask": attended, "encoder_outputs": wrap_encoded(states)}
    return {**read, "decoder_input_ids": written, "use_cache": False}
