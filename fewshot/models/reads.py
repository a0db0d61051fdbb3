"""Reads: which log-probabilities a batch of queries needs, from which positions of which distinct inputs.

Scoring is book-keeping around a forward pass: many candidates read the same input (all one-token label words read one
position), so inputs are collected once, run in any order, and every number finds its way back to its candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewshot.models.base import Scores

if TYPE_CHECKING:
    import torch

__all__ = ["Reads"]

Row = tuple[int, ...]


class Reads:
    """Collects distinct input rows and the (row, position, token) reads of each candidate of each query."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._index: dict[Row, int] = {}
        self._asked: dict[int, list[tuple[int, int, int, bool]]] = {}  # row -> (position, token, candidate, first)
        self._n_tokens: list[int] = []
        self._starts: list[int] = []  # where each query's candidates begin
        self._sums: list[float] = []
        self._mass: list[float] = []

    def open(self) -> None:
        """Begin a query; the candidates that follow are its own."""
        self._starts.append(len(self._n_tokens))
        self._mass.append(0.0)

    def row(self, ids: Row) -> int:
        """The number of this input row, which is run once however often it is asked for."""
        if ids not in self._index:
            self._index[ids] = len(self.rows)
            self.rows.append(ids)
        return self._index[ids]

    def ask(self, reads: Sequence[tuple[int, int, int]], first: bool) -> None:
        """Ask for one candidate: (row, position, token) of each token; ``first`` counts it in the label mass."""
        candidate = len(self._n_tokens)
        self._n_tokens.append(len(reads))
        self._sums.append(0.0)
        for i, (row, position, token) in enumerate(reads):
            self._asked.setdefault(row, []).append((position, token, candidate, first and i == 0))

    def positions(self, batch: Sequence[int]) -> list[int]:
        """All positions that any of these rows is read at."""
        return sorted({position for row in batch for position, *_ in self._asked[row]})

    def answer(self, batch: Sequence[int], positions: Sequence[int], logits: torch.Tensor) -> None:
        """Take the reads of these rows from their logits, of shape (batch, positions, vocabulary)."""
        column = {position: i for i, position in enumerate(positions)}
        asked = [
            (b, column[p], token, c, first) for b, row in enumerate(batch) for p, token, c, first in self._asked[row]
        ]
        rows, columns, tokens = (list(part) for part in list(zip(*asked, strict=True))[:3])
        spots = list(dict.fromkeys(zip(rows, columns, strict=True)))
        where = {spot: i for i, spot in enumerate(spots)}
        # The normaliser is exact over the whole vocabulary, in float32, and only where something is read.
        normalised = logits[[r for r, _ in spots], [c for _, c in spots]].float().log_softmax(-1)
        which = [where[spot] for spot in zip(rows, columns, strict=True)]
        values = normalised[which, tokens].double().cpu().numpy()
        for (_, _, _, candidate, first), value in zip(asked, values, strict=True):
            self._sums[candidate] += float(value)
            if first:
                self._mass[self._query_of(candidate)] += float(np.exp(value))

    def _query_of(self, candidate: int) -> int:
        return int(np.searchsorted(self._starts, candidate, side="right")) - 1

    def scores(self) -> list[Scores]:
        """The finished scores, one a query."""
        bounds = [*self._starts, len(self._n_tokens)]
        return [
            Scores(
                np.array(self._sums[start:stop], dtype=np.float64),
                np.array(self._n_tokens[start:stop], dtype=np.int64),
                mass,
            )
            for start, stop, mass in zip(bounds, bounds[1:], self._mass, strict=False)
        ]
