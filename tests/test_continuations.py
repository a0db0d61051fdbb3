"""Which requests ask for log-probabilities: each token of each beginning once, beginnings side by side."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.models.remote.continuations import Awaited, as_scores, group, nodes_of, plan
from fewshot.models.text.tokens import Joined

ids = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)
asked = st.builds(Joined, ids, st.lists(ids, min_size=1, max_size=5, unique=True).map(tuple))


def said(prompt, token):
    """A log-probability that depends on all that comes before."""
    return -float(hash((prompt, token)) % 1000) / 100


def by_hand(one):
    """The scores of a query, one candidate after another."""
    sums = []
    for rest in one.rests:
        whole = (*one.common, *rest)
        sums.append(sum(said(whole[:i], whole[i]) for i in range(len(one.common), len(whole))))
    return sums


@given(st.lists(asked, max_size=6), st.sampled_from([1, 2, 128]))
def test_every_edge_is_asked_for_once(queries, most):
    asks = plan(queries, most)
    edges = [(ask.prompt, token) for ask in asks for token in ask.tokens]
    wanted = {(p, t) for one in queries for p, tokens in nodes_of(one).items() for t in tokens}
    assert len(edges) == len(set(edges))
    assert set(edges) == wanted
    assert all(1 <= len(ask.tokens) <= most for ask in asks)


@given(st.lists(asked, max_size=6), st.integers(1, 8))
def test_runs_are_the_requests_in_their_order_and_begin_alike(queries, n_threads):
    asks = plan(queries, 1)
    runs = group(asks, n_threads)
    assert [ask for run in runs for ask in run] == asks
    for run in runs:
        assert all(ask.prompt[: len(run[0].prompt)] == run[0].prompt for ask in run)
    assert [ask.prompt for ask in asks] == sorted(ask.prompt for ask in asks)


@given(st.lists(asked, max_size=6, unique=True), st.sampled_from([1, 3, 128]), st.randoms())
def test_scores_are_those_of_one_candidate_after_another_in_whatever_order_answers_come(queries, most, random):
    awaited = Awaited({one: one for one in queries}, {})
    asks = plan(queries, most)
    random.shuffle(asks)
    done = {}
    for ask in asks:
        new = awaited.receive(ask.prompt, {token: said(ask.prompt, token) for token in ask.tokens})
        assert not new.keys() & done.keys()
        done |= new
    assert done.keys() == set(queries)
    for one, scores in done.items():
        np.testing.assert_allclose(scores.logprobs, by_hand(one))
        assert scores.n_tokens.tolist() == [len(rest) for rest in one.rests]
        firsts = {rest[0] for rest in one.rests}
        assert scores.mass == pytest.approx(sum(np.exp(said(one.common, token)) for token in firsts))


def test_what_is_known_is_not_asked_for_and_a_query_that_lacks_nothing_is_ready():
    one, other = Joined((1,), ((2,), (3,))), Joined((1,), ((2,), (4,)))
    known = {(1,): {2: -1.0, 3: -2.0}}
    assert [(ask.prompt, ask.tokens) for ask in plan([one, other], 128, known)] == [((1,), (4,))]
    awaited = Awaited({"one": one, "other": other}, known)
    assert list(awaited.ready()) == ["one"]
    assert list(awaited.receive((1,), {4: -3.0})) == ["other"]


def test_an_answer_that_nobody_waits_for_finishes_nothing():
    awaited = Awaited({"one": Joined((1,), ((2,), (3,)))}, {})
    for _ in range(2):
        assert awaited.receive((1,), {2: -1.0}) == {}
    assert list(awaited.receive((1,), {3: -1.0})) == ["one"]


def test_few_runs_are_split_so_that_every_thread_has_work():
    labels = Joined((1, 2), tuple((i,) for i in range(10, 40)))
    assert [len(run) for run in group(plan([labels], 1), 2)] == [16, 14]
    assert len(group(plan([labels], 1), 8)) == 30
    assert group([], 4) == []


def test_a_node_with_more_tokens_than_a_request_takes_is_several_requests():
    labels = Joined((1, 2), tuple((i,) for i in range(300)))
    assert [len(ask.tokens) for ask in plan([labels], 128)] == [128, 128, 44]


def test_an_impossible_candidate_is_minus_infinity():
    one = Joined((1,), ((2,), (3, 4)))
    scores = as_scores(one, {(1,): {2: -1.0, 3: -np.inf}, (1, 3): {4: -1.0}})
    assert scores.logprobs.tolist() == [-1.0, -np.inf]
    assert scores.mass == pytest.approx(np.exp(-1))


def test_sums_do_not_depend_on_how_paths_are_shared():
    words = [tuple(word) for word in itertools.product((1, 2), repeat=3)]
    one = Joined((0,), tuple(words))
    found = {p: {t: said(p, t) for t in tokens} for p, tokens in nodes_of(one).items()}
    np.testing.assert_allclose(as_scores(one, found).logprobs, by_hand(one))
