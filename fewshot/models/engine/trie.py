"""From token sequences to packed steps that compute every distinct prefix token once. Pure NumPy.

All sequences of a batch form a *trie*: a node is a token in the light of everything before it, so two sequences share
nodes exactly as far as they begin alike (an instruction, demonstrations, one text's prompt, label words that begin
alike). Nodes are numbered in preorder, which makes every question about the trie one about intervals: node k is an
ancestor of node q exactly if ``k <= q < end[k]``.

A *plan* is a list of steps. Each step is one forward pass over a pack of nodes, which see the path that lies in the
cache already and, behind a block mask, their own ancestors in the pack. Long shared prefixes become steps of their own
whose keys and values stay in the cache while everything below them is computed, depth first, so the cache always holds
one path from the root and never a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewshot.models.base import IntArray

__all__ = ["Plan", "Step", "Trie", "build_trie", "count_common", "make_plan"]

#: What one more forward pass costs, in tokens: a prefix is cached only where repeating it in all packs costs more.
STEP_COST = 24


@dataclass(frozen=True)
class Trie:
    """The distinct prefixes of a batch of token sequences, in preorder."""

    tokens: IntArray  # of each node
    depth: IntArray  # its position in a sequence
    end: IntArray  # the number after the last node below it
    paths: list[IntArray]  # for each sequence, its nodes from the root

    def __len__(self) -> int:
        return len(self.tokens)

    def children(self, node: int) -> Iterator[int]:
        """The nodes right below a node; of -1, the roots."""
        child, stop = node + 1, int(self.end[node]) if node >= 0 else len(self)
        while child < stop:
            yield child
            child = int(self.end[child])


@dataclass(frozen=True)
class Step:
    """One forward pass."""

    cached: IntArray  # nodes whose keys and values lie in the cache before the step: one path from the root
    nodes: IntArray  # nodes that are computed
    keep: bool  # whether they, being the next piece of that path, stay in the cache for the steps below
    read: IntArray  # positions in ``nodes`` whose logits are read

    def mask(self, trie: Trie, window: int | None = None) -> NDArray[np.bool_]:
        """What each node may attend to, of shape (n_nodes, n_cached + n_nodes): its ancestors and itself.

        With a sliding window of w tokens, only the last w of them.
        """
        keys = np.concatenate([self.cached, self.nodes])
        seen: NDArray[np.bool_] = (keys[None, :] <= self.nodes[:, None]) & (
            self.nodes[:, None] < trie.end[keys][None, :]
        )
        if window is not None:
            seen &= trie.depth[self.nodes][:, None] - trie.depth[keys][None, :] < window
        return seen

    def __str__(self) -> str:
        read = set(self.read.tolist())
        nodes = " ".join(f"{node}{'*' if i in read else ''}" for i, node in enumerate(self.nodes))
        return f"[{' '.join(map(str, self.cached))}] {nodes}{' keep' if self.keep else ''}"


@dataclass(frozen=True)
class Plan:
    """A trie and the steps that compute it."""

    trie: Trie
    steps: list[Step]

    @property
    def n_computed(self) -> int:
        """Tokens that go through the model."""
        return sum(len(step.nodes) for step in self.steps)

    @property
    def capacity(self) -> int:
        """The most tokens that a step attends to."""
        return max((len(step.cached) + len(step.nodes) for step in self.steps), default=0)


def count_common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two rows begin with alike.

    Of the first and the last row in order, all between them begin so.
    """
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def build_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """Merge sequences into the trie of their prefixes.

    Examples
    --------
    >>> from fewshot.models.engine.trie import build_trie
    >>> trie = build_trie([(5, 6, 7), (5, 6, 8), (9,)])
    >>> trie.tokens.tolist(), trie.depth.tolist(), trie.end.tolist()
    ([5, 6, 7, 8, 9], [0, 1, 2, 2, 0], [4, 4, 3, 4, 5])
    >>> [path.tolist() for path in trie.paths]
    [[0, 1, 2], [0, 1, 3], [4]]
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    tokens: list[IntArray] = []
    depth: list[IntArray] = []
    paths: list[IntArray] = [np.empty(0, dtype=np.int64)] * len(sequences)
    before: IntArray = np.empty(0, dtype=np.int64)
    path: IntArray = before
    n = 0
    ends: list[tuple[IntArray, int]] = []  # nodes that a sequence leaves, and where the numbering stood then
    for i in order:
        sequence = np.asarray(sequences[i], dtype=np.int64)
        m = min(len(before), len(sequence))
        differs = np.flatnonzero(before[:m] != sequence[:m])
        common = int(differs[0]) if len(differs) else m
        new = len(sequence) - common
        ends.append((path[common:], n))
        path = np.concatenate([path[:common], np.arange(n, n + new)])
        tokens.append(sequence[common:])
        depth.append(np.arange(common, len(sequence)))
        n += new
        paths[i] = path
        before = sequence
    ends.append((path, n))
    end = np.empty(n, dtype=np.int64)
    for nodes, at in ends:
        end[nodes] = at
    return Trie(_joined(tokens), _joined(depth), end, paths)


def make_plan(
    trie: Trie, read: NDArray[np.bool_], *, budget: int = 512, max_reads: int = 4096, step_cost: int = STEP_COST
) -> Plan:
    """Cut a trie into packed steps under a token budget.

    Parameters
    ----------
    trie : Trie
    read : ndarray of shape (n_nodes,)
        Whose logits are wanted. A node that nothing below reads is still computed: leave it out of the sequences.
    budget : int
        The most tokens that one step computes. A pack's tokens are masked from one another, so much larger packs than
        the hardware needs only cost attention.
    max_reads : int
        The most nodes that one step reads, which bounds the block of logits.
    step_cost : int
        What a step costs beyond its tokens. A shared prefix is given a step, and kept in the cache, where repeating it
        in each pack below would cost more than that.
    """
    steps: list[Step] = []
    unread = read.copy()
    reads_before = np.concatenate([[0], np.cumsum(read)])
    nothing: IntArray = np.empty(0, dtype=np.int64)

    def emit(cached: IntArray, nodes: IntArray, keep: bool) -> None:
        wanted = np.flatnonzero(unread[nodes])
        unread[nodes] = False  # a prefix that several packs repeat is read in the first
        steps.append(Step(cached, nodes, keep, wanted))

    def descend(siblings: list[int], cached: IntArray, lead: IntArray) -> None:
        """Plan the subtrees of these siblings, below a cached path and a short path that each pack repeats."""
        n_lead_reads = int(unread[lead].sum())
        pack: list[IntArray] = []
        size = n_reads = 0
        large: list[int] = []
        for node in siblings:
            stop = int(trie.end[node])
            grow, reads = stop - node, int(reads_before[stop] - reads_before[node])
            if len(lead) + grow > budget or n_lead_reads + reads > max_reads:
                large.append(node)
                continue
            if pack and (len(lead) + size + grow > budget or n_lead_reads + n_reads + reads > max_reads):
                emit(cached, np.concatenate([lead, *pack]), False)
                pack, size, n_reads = [], 0, 0
            pack.append(np.arange(node, stop))
            size, n_reads = size + grow, n_reads + reads
        if pack:
            emit(cached, np.concatenate([lead, *pack]), False)
        for node in large:
            split(node, cached, lead)

    def split(node: int, cached: IntArray, lead: IntArray) -> None:
        """Plan one subtree that is too large for a pack: its unbranched beginning, then what branches off."""
        last = node
        while trie.end[last] > last + 1 and trie.end[last + 1] == trie.end[last]:
            last += 1
        chain = np.concatenate([lead, np.arange(node, last + 1)])
        below = int(trie.end[last]) - last - 1
        room = budget - len(chain)
        repeats = -(-below // room) - 1 if room > budget // 2 else below
        if below > 0 and len(chain) * repeats < step_cost:
            descend(list(trie.children(last)), cached, chain)
            return
        piece = min(budget, max_reads)
        for start in range(0, len(chain), piece):
            nodes = chain[start : start + piece]
            emit(cached, nodes, True)
            cached = np.concatenate([cached, nodes])
        descend(list(trie.children(last)), cached, nothing)

    descend(list(trie.children(-1)), nothing, nothing)
    return Plan(trie, steps)


def _joined(parts: list[IntArray]) -> IntArray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
