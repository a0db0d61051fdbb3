"""Frontier: how far the search for one query's most probable candidates has come. Here is no torch.

The log-probability of a candidate only falls along its tokens. So that of what several candidates begin with bounds
them all, and whoever always goes on with the most probable beginning finds the most probable candidate first, without
having looked at most of the others (best-first search; Hart, Nilsson and Raphael, 1968, without an estimate of what is
still to come). For the spans of a text: Castel, Ram, Efrat and Levy, "How Optimal is Greedy Decoding for Extractive
Question Answering?" (2022).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fewshot.models.base import FloatArray
from fewshot.models.ranking import Ranked

__all__ = ["Frontier", "Node"]


class Node(NamedTuple):
    """What some candidates begin with. Of two nodes the more probable one is the smaller."""

    cost: float  # minus its log-probability; NaN where it is looked at ahead
    first: int  # in sorted order these candidates stand side by side
    after: int
    depth: int  # how many tokens it is
    above: int  # where the node before its last token lies in the cache


class Frontier:
    """Says which beginnings of candidates are to be looked at next, and is told what may follow them.

    Parameters
    ----------
    rests : sequence of tuple of int
        The tokens of each candidate; no two are the same.
    k : int
        How many of the most probable ones are wanted.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.models.engine.frontier import Frontier
    >>> frontier = Frontier([(7, 1), (7, 2), (8, 1)], k=1)
    >>> (root,) = frontier.take(1)
    >>> frontier.following(root)
    [7, 8]
    >>> frontier.receive(root, 0, np.log([0.75, 0.25]))
    >>> (node,) = frontier.take(1)
    >>> frontier.tokens(node), frontier.following(node)
    ((7,), [1, 2])
    >>> frontier.receive(node, 1, np.log([0.5, 0.5]))
    >>> frontier.is_done, frontier.ranked().indices.tolist()  # nothing behind 8 can have more than 0.25
    (True, [0])
    """

    def __init__(self, rests: Sequence[tuple[int, ...]], k: int) -> None:
        self._order = sorted(range(len(rests)), key=rests.__getitem__)
        self._rests = [rests[i] for i in self._order]
        self._k = min(k, len(rests))
        self._open = [Node(0.0, 0, len(rests), 0, -1)]
        self._best: list[tuple[float, int]] = []  # log-probability and minus the number; the worst comes first
        self._beaten: list[float] = []  # log-probabilities of those that were looked at and are not among the best
        #: What is known of nodes that were looked at ahead, by their first candidate and depth.
        self._ahead: dict[tuple[int, int], tuple[int, FloatArray]] = {}
        self.n_taken = 0
        self.is_broken = False  # whether a log-probability was no number

    @property
    def is_done(self) -> bool:
        """Whether no other candidate can be among the best; one as probable as the worst of them could."""
        if len(self._best) < self._k:
            return False
        return not self._open or -self._open[0].cost < self._best[0][0]

    def take(self, n: int) -> list[Node]:
        """The most probable beginnings, at most ``n``, which can still lead to one of the best.

        Those that were looked at ahead are gone through on the way.
        """
        taken: list[Node] = []
        while self._open and len(taken) < n and not (self.is_done or self.is_broken):
            node = heapq.heappop(self._open)
            known = self._ahead.pop((node.first, node.depth), None)
            if known is None:
                taken.append(node)
            else:
                self.receive(node, *known)
        self.n_taken += len(taken)
        return taken

    def ahead(self, node: Node, n: int) -> list[Node]:
        """The nodes that follow one, at most ``n``, as far as its candidates have one way to go on beside their end.

        They may be looked at before it is known whether they are worth it: what several passes would take, one does.
        """
        found: list[Node] = []
        while len(found) < n:
            runs = [(first + self._ends(first, node.depth + 1), after) for first, after in self._runs(node)]
            longer = [(first, after) for first, after in runs if first < after]
            if len(longer) != 1:
                break
            node = Node(np.nan, *longer[0], node.depth + 1, -1)
            found.append(node)
        self.n_taken += len(found)
        return found

    def tokens(self, node: Node) -> tuple[int, ...]:
        """What its candidates begin with."""
        return self._rests[node.first][: node.depth]

    def following(self, node: Node) -> list[int]:
        """The different tokens that its candidates go on with, in order."""
        return [self._rests[first][node.depth] for first, _ in self._runs(node)]

    def receive(self, node: Node, place: int, logprobs: FloatArray) -> None:
        """Take the log-probabilities of the tokens that follow a node, which lies at this place in the cache."""
        if np.isnan(node.cost):
            self._ahead[node.first, node.depth] = place, logprobs
            return
        self.is_broken |= bool(np.isnan(logprobs).any())
        for (first, after), logprob in zip(self._runs(node), logprobs.tolist(), strict=True):
            total, depth = logprob - node.cost, node.depth + 1
            ended = self._ends(first, depth)
            if ended:
                self._finish(total, self._order[first])
            if first + ended < after:
                heapq.heappush(self._open, Node(-total, first + ended, after, depth, place))

    def ranked(self) -> Ranked:
        """The best, and what all others can have together."""
        best = sorted(self._best, reverse=True)
        others = np.array([*self._beaten, *(-node.cost for node in self._open)])
        return Ranked(
            np.array([-minus for _, minus in best], dtype=np.int64),
            np.array([logprob for logprob, _ in best]),
            float(np.logaddexp.reduce(others, initial=-np.inf)),
        )

    def _runs(self, node: Node) -> list[tuple[int, int]]:
        """The candidates of a node that go on with the same token, as runs in sorted order."""
        groups = itertools.groupby(range(node.first, node.after), key=lambda i: self._rests[i][node.depth])
        starts = [next(members) for _, members in groups]
        return list(itertools.pairwise([*starts, node.after]))

    def _ends(self, first: int, depth: int) -> bool:
        """Whether a candidate has no more tokens: in sorted order it is the first of those that it begins."""
        return len(self._rests[first]) == depth

    def _finish(self, logprob: float, number: int) -> None:
        heapq.heappush(self._best, (logprob, -number))
        if len(self._best) > self._k:
            self._beaten.append(heapq.heappop(self._best)[0])
