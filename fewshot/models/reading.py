"""ReadingModel: a local model that shows its distribution and hidden state at the hole, and scores with gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from fewshot.checks import one_of
from fewshot.models.base import Float32Array, IntArray, Query, Reading, Scores, scored_once
from fewshot.models.engine.padding import Padding, scale_vectors
from fewshot.models.engine.reads import Look, Reads
from fewshot.models.engine.split import Split, Whole, take_apart
from fewshot.models.engine.trial import draw_samples
from fewshot.models.local import LocalModel, cut_into_chunks
from fewshot.models.locks import alone
from fewshot.models.naming import name_in_errors
from fewshot.models.text.stops import make_is_done
from fewshot.models.text.tokens import Special

__all__ = ["ReadingModel"]


class ReadingModel(LocalModel):
    """A local model that also shows what it thinks at the hole (see `fewshot.models.base.Reader`).

    Its scores can be had as tensors with gradients: the same reads of the same rows, one input row after the other.
    """

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of each token; empty for control tokens, and for pieces that only go on with a word (``##ing``).

        Where tokens say that a word begins, their text begins with a blank, and that of other tokens does not.
        """
        tokenizer = self.tokenizer
        size = int(self.model.config.get_text_config().vocab_size)
        tokens = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
        special = {*tokenizer.all_special_tokens, *self.plain.controls}
        texts = tokenizer.batch_decode([[i] for i in range(len(tokens))])
        # decoding a lone token strips the blank that SentencePiece writes as a low line
        texts = [
            f" {text.lstrip()}" if t and t.startswith("▁") else text for t, text in zip(tokens, texts, strict=True)
        ]
        alone = [t is not None and t not in special and not t.startswith("##") for t in tokens]
        known = tuple(text if fits else "" for text, fits in zip(texts, alone, strict=True))
        return known + ("",) * (size - len(known))  # some models have more rows than tokens

    @alone
    def read(self, queries: Sequence[Query], what: Reading) -> Float32Array:
        """Return the model's output at the first token of each query's hole.

        Parameters
        ----------
        queries : sequence of Query
            Their candidates are used only to find the first token of the hole.
        what : {"vocabulary", "hidden"}

        Returns
        -------
        float32 ndarray of shape (n_queries, n_tokens) or (n_queries, dim)
            Log-probabilities in the order of `vocabulary`, or hidden states of the last layer.
        """
        one_of("what", what, ("vocabulary", "hidden"))

        def look(distinct: Sequence[Query]) -> Float32Array:
            return np.concatenate([self._look(chunk, what) for chunk in cut_into_chunks(distinct)])

        with name_in_errors(self, queries):
            return np.stack(scored_once(look, queries))

    def _look(self, queries: Sequence[Query], what: Reading) -> Float32Array:
        looks = Look(what)
        self.plan_looks(queries, looks)
        self._compute(queries, looks)
        return looks.result()

    def _score(self, queries: Sequence[Query]) -> list[Scores]:
        reads = Reads()
        self.plan(queries, reads)
        self._compute(queries, reads)
        return reads.scores()

    @torch.inference_mode()
    def _compute(self, queries: Sequence[Query], reads: Reads) -> None:
        self.within_memory(partial(self.run_for, queries, reads))

    @abstractmethod
    def plan(self, queries: Sequence[Query], reads: Reads) -> None:
        """Ask for every token of every candidate."""

    @abstractmethod
    def plan_looks(self, queries: Sequence[Query], looks: Look) -> None:
        """Ask for the first place of every hole."""

    def run_for(self, queries: Sequence[Query], reads: Reads, budget: int) -> None:
        """Run the model for everything that was planned for these queries."""
        self.run_rows(reads, budget)

    def run_rows(self, reads: Reads, budget: int) -> None:
        """Run the distinct input rows in batches, and pass the output at each planned place to ``reads``."""
        spots = reads.settle_rows()

        def compute(batch: list[int]) -> list[torch.Tensor]:
            ids, attended = self._pad([reads.rows[i] for i in batch])
            at = [spots[i] % reads.width for i in batch]
            return self._states(reads, at, input_ids=ids, attention_mask=attended)

        def receive(batch: list[int], found: list[torch.Tensor]) -> None:
            self._receive(reads, [spots[i] for i in batch], found)

        lengths, budget = [len(row) for row in reads.rows], min(budget, self._taken.room)
        self.padding.run(lengths, budget, compute, receive, self._compared(reads), check=not self.model.training)

    def _states(self, reads: Reads, positions: list[IntArray], **inputs: Any) -> list[torch.Tensor]:
        """What is read at these positions of each row of the inputs."""
        hidden = isinstance(reads, Look) and reads.what == "hidden"
        compute = self._taken.hidden if hidden else self._taken.states
        sizes = list(map(len, positions))
        which = np.repeat(np.arange(len(sizes)), sizes)
        return list(torch.split(compute(which.tolist(), np.concatenate(positions).tolist(), **inputs), sizes))

    def _receive(self, reads: Reads, spots: list[IntArray], found: list[torch.Tensor]) -> None:
        blocks = partial(self._taken.blocks, vocabulary=self._vocabulary)
        reads.receive(np.concatenate(spots), torch.cat(found), blocks)

    def _compared(self, reads: Reads) -> Callable[[torch.Tensor], torch.Tensor]:
        """What is compared of what is read, of two ways to compute it."""
        if isinstance(reads, Look) and reads.what == "hidden":
            return scale_vectors
        return lambda states: self._taken.logits(states).float().log_softmax(-1)

    @alone
    def differentiable(self, queries: Sequence[Query]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-likelihoods with gradients, and numbers of tokens, both of shape (n_queries, n_candidates).

        They follow the definition of `loglikelihoods`, computed row by row. Every query has the same candidates.
        """
        reads = TensorReads()
        with name_in_errors(self, queries):
            self.plan(queries, reads)
            self.run_for(queries, reads, self.budget)
        logprobs, n_tokens = reads.tensors()
        shape = (len(queries), -1)
        return logprobs.reshape(shape), torch.from_numpy(n_tokens).to(logprobs.device).reshape(shape)

    def n_inputs(self, queries: Sequence[Query]) -> list[int]:
        """Return the number of input tokens of each query, over all rows that its candidates need."""
        sizes = []
        for query in queries:
            reads = Reads()
            self.plan([query], reads)
            sizes.append(sum(map(len, reads.rows)))
        return sizes

    @cached_property
    def _taken(self) -> Split | Whole:
        """The model taken apart into body and head where that gives its own numbers."""
        return take_apart(self.model, self._sample)

    @property
    def comes_apart(self) -> bool:
        """Whether body and output layer, run one after the other, give the same numbers as the model."""
        return isinstance(self._taken, Split)

    @property
    def _sample(self) -> dict[str, Any]:
        """A short input such as scoring gives the model, to try it with."""
        return {"input_ids": draw_samples(self.model, self.tokenizer)[:1]}

    @cached_property
    def _special(self) -> Special:
        return self.plain.special()

    @cached_property
    def _generated(self) -> Padding:
        """Which prompts may be answered together; `padding` is for scoring."""
        return Padding(self.model)

    def _stopping(self, stop: Sequence[str], first: int) -> list[Callable[..., torch.Tensor]]:
        """What says to ``generate`` of transformers which answers, from their first token on, hold a stop text."""
        is_done = make_is_done(self.tokenizer, stop)
        if is_done is None:
            return []
        return [lambda ids, *_, **__: torch.tensor([is_done(row[first:].tolist()) for row in ids], device=ids.device)]

    @property
    def _vocabulary(self) -> int:
        return int(self.model.config.get_text_config().vocab_size)


class TensorReads(Reads):
    """Keeps what is read as tensors, so that a gradient finds its way back."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[tuple[IntArray, torch.Tensor]] = []

    def answer(self, spots: IntArray, logits: torch.Tensor) -> None:
        """Keep the log-probabilities with their gradients."""
        self._kept.append(self._read(spots, logits))

    def tensors(self) -> tuple[torch.Tensor, IntArray]:
        """The log-probability of each candidate of each query in turn, and its number of tokens."""
        total = self._kept[0][1].new_zeros(len(self._n_tokens))
        for reads, values in self._kept:
            total = total.index_add(0, torch.from_numpy(self._table[reads, 3]).to(total.device), values)
        return total, np.array(self._n_tokens, dtype=np.int64)
