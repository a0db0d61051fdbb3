"""Best-first search of many queries at once: the most probable candidates of each, without scoring all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.models.base import IntArray
from fewshot.models.engine.frontier import Frontier, Node
from fewshot.models.engine.packed import PackedForward
from fewshot.models.engine.proof import Watched
from fewshot.models.engine.split import compute_normaliser
from fewshot.models.engine.trie import build_trie, count_common, make_plan
from fewshot.models.ranking import Ranked
from fewshot.models.text.tokens import Joined

__all__ = ["Searches"]

#: Tokens that go through the model in one pass: with fewer it costs nearly as much, and more are looked at in vain.
#: benchmarks/settle/best_first.py compares them, and `SHARE`, on SmolLM2-135M.
WORTH_A_PASS = 32
#: One of so many tokens of a pass is the most probable that is known to be worth it; the others follow these.
SHARE = 2
#: Tokens of one query in one pass at least.
LEAST = 2
#: The most beginnings of candidates that are looked at, which bounds the cache: a search that would go on scores all.
MOST = 1024

Row = tuple[int, ...]
Look = tuple[int, Node]  # the number of a query in its group, and where it is looked at


class Searches:
    """Searches for the most probable candidates of queries, whose prompts lie in one cache.

    Parameters
    ----------
    packed : PackedForward
    vocabulary : int
        How many tokens the model knows.
    group : int
        The most tokens of different prompts that lie in the cache together.
    pack : int
        The most tokens that go through the model at once.
    """

    def __init__(self, packed: PackedForward, vocabulary: int, *, group: int, pack: int) -> None:
        self.packed, self.vocabulary, self.group, self.pack = packed, vocabulary, group, pack
        self.n_looked = 0  # at so many beginnings of candidates, for whoever wants to know
        self.watched: dict[int, Watched] = {}  # the longest row, and the one furthest behind its own beginning
        self._most = [0, 0]

    def run(self, asked: Sequence[Joined], k: int) -> Iterator[tuple[int, Ranked | None]]:
        """Yield the number of a query, and its best candidates; None where all candidates are better scored."""
        order = sorted(range(len(asked)), key=lambda i: asked[i].common)
        # the last token of each prompt is its own, since what follows is read there
        first, last = asked[order[0]].common, asked[order[-1]].common
        shared = min(count_common(first, last), min(len(one.common) for one in asked) - 1)
        for members in self._groups(asked, order, shared):
            frontiers = [Frontier(asked[i].rests, k) for i in members]
            self._search([asked[i].common for i in members], frontiers, shared)
            for i, frontier in zip(members, frontiers, strict=True):
                self.n_looked += frontier.n_taken
                yield i, frontier.ranked() if frontier.is_done and not frontier.is_broken else None

    def _groups(self, asked: Sequence[Joined], order: list[int], shared: int) -> Iterator[list[int]]:
        """Runs of queries whose prompts, and what is looked at behind them, fit into the cache together."""
        members: list[int] = []
        size = 0
        for i in order:
            common = asked[i].common
            new = len(common) - (count_common(asked[members[-1]].common, common) if members else shared) + WORTH_A_PASS
            if members and size + new > self.group:
                yield members
                members, size, new = [], 0, len(common) - shared + WORTH_A_PASS
            members.append(i)
            size += new
        yield members

    def _search(self, prompts: list[Row], frontiers: list[Frontier], shared: int) -> None:
        """Run the searches of a group, whose prompts' first ``shared`` tokens are the same, to their ends."""
        tree = _Tree(self.packed, prompts[0][:shared], self.pack)
        hidden, places = tree.add_prompts([prompt[shared:] for prompt in prompts])
        looks: list[Look] = [(i, node) for i, frontier in enumerate(frontiers) for node in frontier.take(1)]
        while looks:
            self._watch([(*prompts[i], *frontiers[i].tokens(node)) for i, node in looks], places, hidden)
            self._receive(frontiers, looks, places, hidden)
            active = [i for i, one in enumerate(frontiers) if not one.is_broken and one.n_taken <= MOST]
            taken = _next(frontiers, [i for i in active if not frontiers[i].is_done])
            looks, above = _look_ahead(frontiers, taken, len(tree.depth))
            if looks:
                hidden, places = tree.add([frontiers[i].tokens(node)[-1] for i, node in looks], above)

    def _receive(self, frontiers: list[Frontier], looks: list[Look], places: IntArray, hidden: torch.Tensor) -> None:
        """Read what may follow each node from its hidden state; the normaliser is exact, in float32."""
        for rows, logits in self.packed.split.blocks(hidden, self.vocabulary):
            asked = [frontiers[i].following(node) for i, node in looks[rows]]
            sizes = list(map(len, asked))
            which = np.repeat(np.arange(len(asked)), sizes).tolist()
            read = logits[which, list(itertools.chain(*asked))].float()
            values = (read - compute_normaliser(logits)[which]).double().cpu().numpy()
            parts = np.split(values, np.cumsum(sizes)[:-1])
            for (i, node), place, part in zip(looks[rows], places[rows].tolist(), parts, strict=True):
                frontiers[i].receive(node, place, part)

    def _watch(self, rows: list[Row], places: IntArray, hidden: torch.Tensor) -> None:
        """Keep the states of the rows that strain the packed path most."""
        lengths = np.array(list(map(len, rows)))
        behind = places - (lengths - 1)
        for at, measured, known in ((0, lengths, self._most[0]), (1, behind, self._most[1])):
            j = int(measured.argmax())
            if measured[j] > known:
                self._most[at] = int(measured[j])
                self.watched[at] = Watched(rows[j], int(behind[j]), hidden[j : j + 1])


class _Tree:
    """Tokens that lie in the cache behind one another, each of which sees those that lead to it."""

    def __init__(self, packed: PackedForward, shared: Row, pack: int) -> None:
        self.packed, self.shared, self.pack = packed, shared, pack
        self.depth: IntArray = np.arange(len(shared), dtype=np.int64)
        self._paths: dict[int, IntArray] = {}  # of each place that may be gone on from, those that lead to it

    def add_prompts(self, prompts: list[Row]) -> tuple[torch.Tensor, IntArray]:
        """Compute prompts, behind what they share; return the hidden states and places of their last tokens."""
        start, trie = len(self.shared), build_trie(prompts)
        self._make_room(len(trie) + WORTH_A_PASS)
        if start:
            path = build_trie([self.shared])
            list(self.packed.run(make_plan(path, np.zeros(start, dtype=bool), budget=self.pack, step_cost=0)))
        last = np.array([path[-1] for path in trie.paths])
        found: dict[int, torch.Tensor] = {}
        for nodes in np.split(np.arange(len(trie)), np.arange(self.pack, len(trie), self.pack)):
            before = np.arange(nodes[-1] + 1)
            own = (before <= nodes[:, None]) & (nodes[:, None] < trie.end[before])
            seen = np.concatenate([np.ones((len(nodes), start), dtype=bool), own], axis=1)
            hidden = self._compute(trie.tokens[nodes], start + trie.depth[nodes], seen)
            found |= {int(node): hidden[node - nodes[0]] for node in np.intersect1d(nodes, last)}
        self._paths = {start + int(path[-1]): start + path for path in trie.paths}
        return torch.stack([found[int(node)] for node in last]), start + last

    def add(self, tokens: list[int], above: list[int]) -> tuple[torch.Tensor, IntArray]:
        """Compute tokens, each behind a place, even one of these; return their hidden states and places."""
        n, stop = len(self.depth), len(self.depth) + len(tokens)
        self._make_room(len(tokens))
        seen = np.zeros((len(tokens), stop), dtype=bool)
        seen[:, : len(self.shared)] = True
        for i, place in enumerate(above):
            self._paths[n + i] = np.append(self._paths[place], n + i)
            seen[i, self._paths[n + i]] = True
        ids = np.array(tokens, dtype=np.int64)
        parts = [slice(i, min(i + self.pack, len(ids))) for i in range(0, len(ids), self.pack)]
        depth = np.array([len(self.shared) + len(self._paths[n + i]) - 1 for i in range(len(tokens))])
        states = [self._compute(ids[part], depth[part], seen[part, : n + part.stop]) for part in parts]
        return torch.cat(states), np.arange(n, stop)

    def _compute(self, tokens: IntArray, depth: IntArray, seen: NDArray[np.bool_]) -> torch.Tensor:
        start = len(self.depth)
        self.depth = np.concatenate([self.depth, depth])

        def within(window: int | None) -> NDArray[np.bool_]:
            return seen if window is None else seen & (depth[:, None] - self.depth[None, :] < window)

        return self.packed.forward(tokens, depth, start, within)

    def _make_room(self, n: int) -> None:
        """For so many more tokens; a cache that must grow, which copies it, grows by a quarter at least."""
        wanted = len(self.depth) + n
        if wanted > self.packed.capacity:
            self.packed.reserve(max(wanted, self.packed.capacity * 5 // 4))


def _next(frontiers: list[Frontier], active: list[int]) -> list[Look]:
    """Where the active searches are looked at in the next pass."""
    width = max(LEAST, WORTH_A_PASS // SHARE // max(1, len(active)))
    return [(i, node) for i in active for node in frontiers[i].take(width)]


def _look_ahead(frontiers: list[Frontier], taken: list[Look], start: int) -> tuple[list[Look], list[int]]:
    """What a pass looks at, which may have room for what follows the most probable nodes, and the place above each."""
    looks: list[Look] = []
    above: list[int] = []
    room = WORTH_A_PASS - len(taken)
    for i, node in sorted(taken, key=lambda look: look[1].cost):
        ahead = frontiers[i].ahead(node, room)
        room -= len(ahead)
        above += [node.above, *range(start + len(looks), start + len(looks) + len(ahead))]
        looks += [(i, one) for one in (node, *ahead)]
    return looks, above
