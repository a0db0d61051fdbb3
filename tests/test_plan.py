"""Plans: every distinct prefix token once, every node sees exactly its ancestors, and the cache is one path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.models.engine.trie import build_trie, make_plan

sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple), min_size=1, max_size=25)


def prefixes(rows) -> set[tuple[int, ...]]:
    return {row[: i + 1] for row in rows for i in range(len(row))}


def words(trie) -> list[tuple[int, ...]]:
    """The prefix that each node stands for, found from depth and order alone."""
    stack: list[int] = []
    found = []
    for token, depth in zip(trie.tokens, trie.depth, strict=True):
        stack[depth:] = [int(token)]
        found.append(tuple(stack))
    return found


@given(sequences)
def test_the_trie_has_one_node_for_each_distinct_prefix(rows):
    trie = build_trie(rows)
    spelled = words(trie)
    assert len(spelled) == len(set(spelled))
    assert set(spelled) == prefixes(rows)
    for row, path in zip(rows, trie.paths, strict=True):
        assert [spelled[node] for node in path] == [row[: i + 1] for i in range(len(row))]
    for node, word in enumerate(spelled):
        below = [other for other, longer in enumerate(spelled) if longer[: len(word)] == word]
        assert below == list(range(node, trie.end[node]))


@given(sequences, st.integers(2, 12), st.integers(1, 6), st.sampled_from([0, 3, 10**6]), st.randoms())
def test_steps_cover_every_node_and_each_sees_exactly_its_ancestors(rows, budget, max_reads, step_cost, random):
    trie = build_trie(rows)
    wanted = np.array([random.random() < 0.5 for _ in range(len(trie))])
    plan = make_plan(trie, wanted, budget=budget, max_reads=max_reads, step_cost=step_cost)
    spelled = words(trie)
    held: list[int] = []
    read: list[int] = []
    for step in plan.steps:
        assert len(step.nodes) <= budget
        assert len(step.read) <= max(max_reads, 1)
        held = held[: len(step.cached)]
        assert held == step.cached.tolist(), "the cache does not hold the path that the step was promised"
        keys = [*step.cached, *step.nodes]
        for row, node in zip(step.mask(trie), step.nodes, strict=True):
            seen = [spelled[key] for key, sees in zip(keys, row, strict=True) if sees]
            assert sorted(seen, key=len) == [spelled[node][: i + 1] for i in range(len(spelled[node]))]
        read += step.nodes[step.read].tolist()
        if step.keep:
            held = [*held, *step.nodes.tolist()]
    assert sorted(read) == np.flatnonzero(wanted).tolist()
    computed = [node for step in plan.steps for node in step.nodes]
    assert set(computed) == set(range(len(trie)))
    if step_cost == 0:
        assert plan.n_computed == len(trie), "a node was computed twice though repeating never pays"


@given(sequences, st.integers(1, 5))
def test_a_sliding_window_hides_all_but_the_last_ancestors(rows, window):
    trie = build_trie(rows)
    (step, *_) = make_plan(trie, np.ones(len(trie), dtype=bool), budget=10**6).steps
    full, cut = step.mask(trie), step.mask(trie, window)
    depth = trie.depth[step.nodes]
    assert (cut == (full & (depth[:, None] - depth[None, :] < window))).all()


def shown(rows, **options) -> list[str]:
    trie = build_trie(rows)
    leaves = np.zeros(len(trie), dtype=bool)
    leaves[[path[-1] for path in trie.paths]] = True
    return [str(step) for step in make_plan(trie, leaves, **options).steps]


def test_a_few_plans_by_eye():
    # two prompts that share nothing go into one pack
    assert shown([(1, 2), (3, 4)], budget=8) == ["[] 0 1* 2 3*"]
    # and into two where one has no room
    assert shown([(1, 2), (3, 4)], budget=3) == ["[] 0 1*", "[] 2 3*"]
    # a long shared beginning is computed once and kept; what branches off is packed over it
    demonstrations = tuple(range(100, 106))
    texts = [(*demonstrations, 1, 2), (*demonstrations, 3, 4), (*demonstrations, 5, 6)]
    assert shown(texts, budget=6, step_cost=4) == ["[] 0 1 2 3 4 5 keep", "[0 1 2 3 4 5] 6 7* 8 9* 10 11*"]
    # a short one is repeated in each pack, since another forward pass would cost more
    begin = [(9, 1, 2), (9, 3, 4), (9, 5, 6), (9, 7, 8)]
    assert shown(begin, budget=5, step_cost=4) == ["[] 0 1 2* 3 4*", "[] 0 5 6* 7 8*"]
    # labels that begin alike share their first token, below their text
    assert shown([(1, 2, 7), (1, 2, 7, 8), (1, 2, 9)], budget=8) == ["[] 0 1 2* 3* 4*"]


def test_a_prompt_longer_than_a_step_is_computed_in_pieces():
    steps = shown([tuple(range(10)), (*range(9), 77)], budget=4, step_cost=0)
    assert steps == [
        "[] 0 1 2 3 keep",
        "[0 1 2 3] 4 5 6 7 keep",
        "[0 1 2 3 4 5 6 7] 8 keep",
        "[0 1 2 3 4 5 6 7 8] 9* 10*",
    ]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_an_empty_batch_and_single_tokens(n):
    assert make_plan(build_trie([]), np.zeros(0, dtype=bool)).steps == []
    trie = build_trie([(i,) for i in range(n)])
    plan = make_plan(trie, np.ones(n, dtype=bool))
    assert plan.n_computed == n == plan.capacity
