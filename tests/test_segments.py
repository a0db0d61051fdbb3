"""Readings as sets of spans: equal to the sum over all sets, whatever the odds."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from fewshot import InputError, ParameterError
from fewshot.heads.segments import SegmentReading


def drawn(rng):
    """A small text with some of its spans, and odds that are moderate, large or tied."""
    n_words, n_types = rng.randint(1, 6), rng.randint(1, 4)
    places = [(i, j) for i in range(n_words) for j in range(i + 1, n_words + 1)]
    kept = rng.permutation(len(places))[: rng.randint(1, min(len(places), 7) + 1)]
    bounds = np.array([places[i] for i in kept])
    scale = rng.choice([0.5, 3.0, 30.0])
    odds = rng.normal(0, scale, (len(bounds), n_types))
    return SegmentReading(n_words, bounds[:, 0], bounds[:, 1], odds.round(int(rng.randint(0, 3))))


def all_sets(reading):
    """Every set of spans with types, none of which overlap, with the log of its weight; written apart from the code."""
    spans = [
        (int(a), int(b), t, float(reading.log_odds[k, t]))
        for k, (a, b) in enumerate(zip(reading.first, reading.after, strict=True))
        for t in range(reading.n_types)
    ]

    def grow(chosen, rest):
        yield chosen
        for k, span in enumerate(rest):
            if all(span[1] <= other[0] or other[1] <= span[0] for other in chosen):
                yield from grow([*chosen, span], rest[k + 1 :])

    return [(sorted(own), sum(span[3] for span in own)) for own in grow([], spans)]


def test_probabilities_are_those_of_the_enumeration():
    rng = np.random.RandomState(0)
    for _ in range(300):
        reading = drawn(rng)
        sets = all_sets(reading)
        logs = np.array([weight for _, weight in sets])
        shares = np.exp(logs - logs.max())
        shares /= shares.sum()
        for k, t in itertools.product(range(len(reading.first)), range(reading.n_types)):
            place = (reading.first[k], reading.after[k], t)
            wanted = sum(p for p, (own, _) in zip(shares, sets, strict=True) if place in [one[:3] for one in own])
            assert reading.probabilities[k, t] == pytest.approx(wanted, abs=1e-9)


def test_the_set_that_is_found_has_the_largest_weight():
    rng = np.random.RandomState(1)
    for _ in range(300):
        reading = drawn(rng)
        sets = all_sets(reading)
        found = reading.find()
        weights = {tuple(one[:3] for one in own): weight for own, weight in sets}
        assert weights[tuple(one[:3] for one in found)] == pytest.approx(max(weights.values()), abs=1e-9)
        for first, after, kind, probability in found:
            (k,) = np.flatnonzero((reading.first == first) & (reading.after == after))
            assert probability == reading.probabilities[k, kind]


def test_a_threshold_takes_the_most_probable_first():
    rng = np.random.RandomState(2)
    for _ in range(200):
        reading = drawn(rng)
        threshold = rng.uniform(0.05, 0.9)
        found = reading.find(threshold)
        for one, other in itertools.pairwise(found):
            assert one[1] <= other[0]
        words = {word for first, after, _, _ in found for word in range(first, after)}
        for k, t in np.argwhere(reading.probabilities >= threshold):
            place = (reading.first[k], reading.after[k], t)
            if place in [one[:3] for one in found]:
                continue
            own = set(range(reading.first[k], reading.after[k]))
            above = [one for one in found if own & set(range(one[0], one[1]))]
            assert own & words
            assert max(one[3] for one in above) >= reading.probabilities[k, t]
        assert all(one[3] >= threshold for one in found)


def test_spans_of_more_words_count_as_none():
    rng = np.random.RandomState(3)
    for _ in range(100):
        reading = drawn(rng)
        short = reading.after - reading.first <= 2
        alone = SegmentReading(reading.n_words, reading.first[short], reading.after[short], reading.log_odds[short])
        assert reading.find(None, 2) == alone.find()
        assert reading.find(0.3, 2) == alone.find(0.3)


def test_two_of_one_type_may_touch():
    reading = SegmentReading(2, np.array([0, 1]), np.array([1, 2]), np.array([[3.0], [3.0]]))
    assert [one[:3] for one in reading.find()] == [(0, 1, 0), (1, 2, 0)]
    assert [one[:3] for one in reading.find(0.5)] == [(0, 1, 0), (1, 2, 0)]


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_long_text_and_certain_odds_stay_numbers(sign):
    n = 4000
    first = np.repeat(np.arange(n), 8)
    after = np.minimum(first + np.tile(np.arange(1, 9), n), n)
    odds = np.where(np.arange(len(first)) % 3 == 0, np.inf, 5.0)[:, None] * sign
    reading = SegmentReading(n, first, after, odds)
    started = time.perf_counter()
    chances = reading.probabilities
    assert np.isfinite(chances).all()
    assert chances.max() <= 1
    if sign < 0:
        assert chances[::3].max() < 1e-300
        assert reading.find() == []
    else:
        covering = np.zeros(n + 1)
        np.add.at(covering, first, chances[:, 0])
        np.add.at(covering, after, -chances[:, 0])
        assert np.cumsum(covering)[:-1] == pytest.approx(1)  # every word is in a span, since all are likely
        assert sum(after - first for first, after, _, _ in reading.find()) == n
    assert time.perf_counter() - started < 5


def test_no_candidates_no_spans():
    empty = np.zeros(0, dtype=np.int64)
    for n_words in (0, 3):
        reading = SegmentReading(n_words, empty, empty, np.zeros((0, 2)))
        assert (reading.n_types, reading.find(), reading.find(0.5), reading.find(None, 1)) == (2, [], [], [])
        assert reading.probabilities.shape == (0, 2)


@pytest.mark.parametrize(
    ("bounds", "odds", "match"),
    [((0, 1), np.nan, "NaN"), ((1, 1), 0.0, "at least one"), ((0, 3), 0.0, "no other"), ((-1, 1), 0.0, "no other")],
)
def test_what_is_no_reading(bounds, odds, match):
    with pytest.raises(InputError, match=match):
        SegmentReading(2, np.array(bounds[:1]), np.array(bounds[1:]), np.array([[odds]]))


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.1}, {"max_words": 0}])
def test_what_is_no_parameter(wrong):
    reading = SegmentReading(1, np.array([0]), np.array([1]), np.array([[0.0]]))
    with pytest.raises(ParameterError):
        reading.find(**wrong)
