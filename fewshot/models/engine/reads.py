"""Reads: which log-probabilities a batch of queries needs, from which positions of which distinct inputs.

Scoring is book-keeping around a forward pass: many candidates read the same input (all one-token label words read one
position), so inputs are collected once, run in any order, and every number finds its way back to its candidate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fewshot.models.base import FloatArray, IntArray, Reading, Scores
from fewshot.models.engine.split import compute_normaliser

if TYPE_CHECKING:
    import torch

__all__ = ["Look", "Reads"]

Row = tuple[int, ...]
Blocks = Callable[["torch.Tensor"], Iterable[tuple[slice, "torch.Tensor"]]]


class Reads:
    """Collects distinct input rows and the (row, position, token) reads of each candidate of each query."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._index: dict[Row, int] = {}
        self._asked: list[tuple[int, int, int, int, bool]] = []  # row, position, token, candidate, first
        self._n_tokens: list[int] = []
        self._starts: list[int] = []  # where each query's candidates begin

    def query(self) -> None:
        """Begin a query; the candidates that follow are its own."""
        self._starts.append(len(self._n_tokens))
        self._firsts: set[int] = set()

    def row(self, ids: Row) -> int:
        """The number of this input row, which is run once however often it is asked for."""
        if ids not in self._index:
            self._index[ids] = len(self.rows)
            self.rows.append(ids)
        return self._index[ids]

    def candidate(self, reads: Sequence[tuple[int, int, int]]) -> None:
        """Ask for one candidate: the (row, position, token) of each of its tokens."""
        candidate = len(self._n_tokens)
        self._n_tokens.append(len(reads))
        new = reads[0][2] not in self._firsts  # distinct first tokens make up the label mass
        self._firsts.add(reads[0][2])
        self._asked += [(*read, candidate, new and i == 0) for i, read in enumerate(reads)]

    def continuations(self, common: Row, rests: Sequence[Row]) -> None:
        """Ask for a query whose candidates continue a common beginning, token by token.

        A candidate's last token is read and never needs to be an input.
        """
        self.query()
        for rest in rests:
            row = self.row((*common, *rest[:-1]))
            self.candidate([(row, len(common) - 1 + i, token) for i, token in enumerate(rest)])

    def settle(self, paths: Sequence[IntArray] | None = None) -> IntArray:
        """Close the list, and return the numbers of the places that are read, sorted, each once.

        The paths number the positions of each row. Without them rows lie one after the other: ``spot // width`` is the
        row and ``spot % width`` the position, where ``width`` is that of the longest row.
        """
        table = np.array(self._asked, dtype=np.int64).reshape(-1, 5)
        self.width = max(map(len, self.rows), default=1)
        if paths is None:
            spots = table[:, 0] * self.width + table[:, 1]
        else:
            starts = np.cumsum([0, *map(len, paths)])
            flat = np.concatenate(paths) if len(paths) else np.empty(0, dtype=np.int64)
            spots = flat[starts[table[:, 0]] + table[:, 1]]
        order = np.argsort(spots, kind="stable")
        self._spots, self._table = spots[order], table[order]
        self._values = np.full(len(order), np.nan)
        return np.unique(spots)

    def settle_rows(self) -> list[IntArray]:
        """Close the list, and return the places that are read in each row; ``spot % width`` is the position."""
        spots = self.settle()
        return np.split(spots, np.searchsorted(spots, self.width * np.arange(1, len(self.rows))))

    def receive(self, spots: IntArray, hidden: torch.Tensor, blocks: Blocks) -> None:
        """Take what is read at these places from their hidden states; ``blocks`` applies the head, part by part."""
        for block, logits in blocks(hidden):
            self.answer(spots[block], logits)

    def answer(self, spots: IntArray, logits: torch.Tensor) -> None:
        """Take what is read at these places from their logits, of shape (n_spots, vocabulary).

        The normaliser is exact over the whole vocabulary, in float32.
        """
        reads, values = self._read(spots, logits)
        self._values[reads] = values.double().cpu().numpy()

    def _read(self, spots: IntArray, logits: torch.Tensor) -> tuple[IntArray, torch.Tensor]:
        """The reads at these places, and their log-probabilities."""
        reads, which = self._at(spots)
        asked = logits[which.tolist(), self._table[reads, 2].tolist()].float()
        return reads, asked - compute_normaliser(logits)[which.tolist()]

    def _at(self, spots: IntArray) -> tuple[IntArray, IntArray]:
        """The reads at these places, and the place of each."""
        starts = np.searchsorted(self._spots, spots, side="left")
        stops = np.searchsorted(self._spots, spots, side="right")
        reads = np.concatenate([np.arange(a, b) for a, b in zip(starts, stops, strict=True)])
        return reads, np.repeat(np.arange(len(spots)), stops - starts)

    def scores(self) -> list[Scores]:
        """The finished scores, one a query."""
        n = len(self._n_tokens)
        candidates, first = self._table[:, 3], self._table[:, 4].astype(bool)
        sums: FloatArray = np.bincount(candidates, weights=self._values, minlength=n).astype(np.float64)
        firsts = np.bincount(candidates[first], weights=np.exp(self._values[first]), minlength=n)
        n_tokens = np.array(self._n_tokens, dtype=np.int64)
        return [
            Scores(sums[start:stop], n_tokens[start:stop], float(firsts[start:stop].sum()))
            for start, stop in itertools.pairwise([*self._starts, n])
        ]


class Look(Reads):
    """Collects one place a query, and what the model thinks there: of the whole vocabulary, or its hidden state."""

    def __init__(self, what: Reading) -> None:
        super().__init__()
        self.what = what
        self._seen: dict[int, NDArray[np.float32]] = {}

    def look(self, ids: Row, position: int) -> None:
        """Ask for the next query's place."""
        self.query()
        self.candidate([(self.row(ids), position, 0)])

    def receive(self, spots: IntArray, hidden: torch.Tensor, blocks: Blocks) -> None:
        """Keep the hidden states, or apply the head."""
        if self.what == "hidden":
            self._keep(spots, hidden)
        else:
            super().receive(spots, hidden, blocks)

    def answer(self, spots: IntArray, logits: torch.Tensor) -> None:
        """Keep the log-probabilities of the vocabulary."""
        self._keep(spots, logits.float().log_softmax(-1))

    def _keep(self, spots: IntArray, values: torch.Tensor) -> None:
        reads, which = self._at(spots)
        table = values.float().cpu().numpy()
        for query, place in zip(self._table[reads, 3].tolist(), which.tolist(), strict=True):
            self._seen[query] = table[place]

    def result(self) -> NDArray[np.float32]:
        """What was seen, one row a query."""
        return np.stack([self._seen[i] for i in range(len(self._seen))])
