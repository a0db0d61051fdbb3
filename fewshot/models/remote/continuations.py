"""Which requests ask a server for the log-probabilities of candidates. Nothing here sends anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewshot.models.base import Scores
from fewshot.models.text.tokens import Joined

__all__ = ["Ask", "Awaited", "Found", "Ids", "as_scores", "group", "nodes_of", "plan"]

Ids = tuple[int, ...]
Found = dict[Ids, dict[int, float]]  # by beginning and token

#: Requests that one connection sends one after another, where their prompts begin alike.
_RUN = 16


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: the log-probability of each of these tokens right after these ids."""

    prompt: Ids
    tokens: Ids

    @property
    def n_tokens(self) -> int:
        """Tokens that are sent."""
        return len(self.prompt)


def nodes_of(joined: Joined) -> dict[Ids, dict[int, None]]:
    """The trie of a query's candidates: for each beginning, the tokens that are asked for after it.

    Examples
    --------
    >>> nodes_of(Joined((1, 2), ((5,), (5, 6), (7, 8))))
    {(1, 2): {5: None, 7: None}, (1, 2, 5): {6: None}, (1, 2, 7): {8: None}}
    """
    nodes: dict[Ids, dict[int, None]] = {}
    for rest in joined.rests:
        for i, token in enumerate(rest):
            nodes.setdefault((*joined.common, *rest[:i]), {})[token] = None
    return nodes


def plan(asked: Iterable[Joined], most: int, known: Mapping[Ids, Mapping[int, float]] | None = None) -> list[Ask]:
    """The requests for the candidates of several queries.

    Every beginning is a node of one trie, whichever queries need it, and each of its tokens is asked for once. The
    requests are sorted by their ids: those that begin alike follow one another, the shorter first, so that the server
    finds what they share in its cache.

    Parameters
    ----------
    asked : iterable of Joined
        The tokens of each query's candidates.
    most : int
        How many tokens one request may name: 1 where a token is forced, which makes a request of each edge of the trie.
    known : mapping, optional
        Log-probabilities that are there already, by beginning and token.

    Examples
    --------
    >>> both = [Joined((1, 2), ((5,), (5, 6))), Joined((1, 2, 5), ((6,), (7,)))]
    >>> [(ask.prompt, ask.tokens) for ask in plan(both, most=128)]
    [((1, 2), (5,)), ((1, 2, 5), (6, 7))]
    >>> len(plan(both, most=1))
    3
    """
    nodes: dict[Ids, dict[int, None]] = {}
    for one in asked:
        for prompt, tokens in nodes_of(one).items():
            nodes.setdefault(prompt, {}).update(tokens)
    asks = []
    for prompt in sorted(nodes):
        there = (known or {}).get(prompt, {})
        new = [token for token in nodes[prompt] if token not in there]
        asks += [Ask(prompt, tuple(new[i : i + most])) for i in range(0, len(new), most)]
    return asks


def group(asks: Sequence[Ask], n_threads: int) -> list[list[Ask]]:
    """Runs of requests that one thread sends one after another: their prompts begin with that of the first.

    A slot of the server that has read the first prompt goes on from there. Where that makes fewer runs than there are
    threads, every request is a run of its own.

    Examples
    --------
    >>> asks = plan([Joined((1, 2), ((5,), (5, 6))), Joined((3,), ((4,), (5,)))], most=1)
    >>> [[ask.prompt for ask in run] for run in group(asks, 2)]
    [[(1, 2), (1, 2, 5)], [(3,), (3,)]]
    >>> len(group(asks, 4))
    4
    """
    runs: list[list[Ask]] = []
    for ask in asks:
        first = runs[-1][0].prompt if runs else ()
        if runs and len(runs[-1]) < _RUN and ask.prompt[: len(first)] == first:
            runs[-1].append(ask)
        else:
            runs.append([ask])
    return runs if len(runs) >= n_threads else [[ask] for ask in asks]


class Awaited:
    """What is still missing of some queries, and which of them an answer finishes.

    Parameters
    ----------
    joined : mapping
        The tokens of each query's candidates.
    found : dict
        Log-probabilities that are there already, by beginning and token; answers are put into it.

    Examples
    --------
    >>> awaited = Awaited({"a query": Joined((1,), ((5,), (6,)))}, {})
    >>> awaited.receive((1,), {5: -1.0})
    {}
    >>> awaited.receive((1,), {6: -2.0})["a query"].logprobs
    array([-1., -2.])
    """

    def __init__(self, joined: Mapping[Any, Joined], found: Found) -> None:
        self.joined, self.found = joined, found
        self._missing: dict[Any, int] = {}
        self._waiting: dict[tuple[Ids, int], list[Any]] = {}
        for query, one in joined.items():
            edges = [(prompt, token) for prompt, tokens in nodes_of(one).items() for token in tokens]
            new = [edge for edge in edges if edge[1] not in found.get(edge[0], {})]
            self._missing[query] = len(new)
            for edge in new:
                self._waiting.setdefault(edge, []).append(query)

    def ready(self) -> dict[Any, Scores]:
        """The scores of queries that are not waited for."""
        return {query: as_scores(self.joined[query], self.found) for query, n in self._missing.items() if n == 0}

    def receive(self, prompt: Ids, logprobs: Mapping[int, float]) -> dict[Any, Scores]:
        """Take an answer, and return the scores of the queries that it finishes; one thread at a time."""
        self.found.setdefault(prompt, {}).update(logprobs)
        done = {}
        for query in (query for token in logprobs for query in self._waiting.pop((prompt, token), ())):
            self._missing[query] -= 1
            if self._missing[query] == 0:
                done[query] = as_scores(self.joined[query], self.found)
        return done


def as_scores(joined: Joined, found: Mapping[Ids, Mapping[int, float]]) -> Scores:
    """The scores of a query, whose every node is found: sums over the tokens of each candidate."""
    sums = [sum(found[(*joined.common, *rest[:i])][token] for i, token in enumerate(rest)) for rest in joined.rests]
    firsts = {rest[0] for rest in joined.rests}
    mass = float(sum(np.exp(found[joined.common][token]) for token in sorted(firsts)))
    n_tokens = [len(rest) for rest in joined.rests]
    return Scores(np.array(sums, dtype=np.float64), np.array(n_tokens, dtype=np.int64), mass)
