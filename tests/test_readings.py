"""Chains of tags and their readings, against the enumeration of all taggings of short texts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fewshot.errors import ParameterError
from fewshot.heads.chain import Chains
from fewshot.heads.readings import LEAST, read_chains

SHAPES = [(1, 1), (3, 1), (4, 2), (6, 2), (4, 3)]
CASES = [(*shape, seed) for shape in SHAPES for seed in range(40)]


def weights(n: int, types: int, seed: int = 0):
    """Log-weights of tags, and of tags after tags."""
    rng = np.random.RandomState(seed)
    return rng.randn(n, 1 + types) * 2, rng.randn(1 + types, 1 + types) * 2


def independent(probabilities):
    """The reading of a text whose words have these tag probabilities, whatever their neighbours have."""
    probabilities = np.asarray(probabilities, dtype=float)
    with np.errstate(divide="ignore"):
        return read_chains([np.log(probabilities)], np.zeros((probabilities.shape[1],) * 2))[0]


def runs(tags):
    """The spans of one tagging."""
    position = 0
    for tag, group in itertools.groupby(tags):
        length = len(list(group))
        if tag:
            yield position, position + length, tag - 1
        position += length


def taggings(emissions, transitions):
    """All taggings of a text, with their weights. Tag 0 stands before and after it."""
    n, tags = emissions.shape
    for tagging in itertools.product(range(tags), repeat=n):
        own = sum(emissions[word, tag] for word, tag in enumerate(tagging))
        between = sum(transitions[pair] for pair in itertools.pairwise((0, *tagging, 0)))
        yield tagging, math.exp(own + between)


def spans_by_enumeration(emissions, transitions):
    """The probability of every span, summed over all taggings."""
    found, total = {}, 0.0
    for tagging, weight in taggings(emissions, transitions):
        total += weight
        for span in runs(tagging):
            found[span] = found.get(span, 0.0) + weight
    return {span: weight / total for span, weight in found.items()}


def compatible(one, other):
    """Whether a reading has both spans."""
    (a, b, s), (c, d, t) = one[:3], other[:3]
    return b < c or d < a or (s != t and (b == c or d == a))


@pytest.mark.parametrize("case", CASES)
def test_words_counts_and_the_normalizer_are_those_of_all_taggings(case):
    emissions, transitions = weights(*case)
    words, counts, total = np.zeros(emissions.shape), np.zeros(transitions.shape), 0.0
    for tagging, weight in taggings(emissions, transitions):
        total += weight
        words[range(len(words)), tagging] += weight
        for pair in itertools.pairwise((0, *tagging, 0)):
            counts[pair] += weight
    found = Chains([len(words)]).infer(emissions, transitions)
    np.testing.assert_allclose(found.words, words / total, atol=1e-12)
    np.testing.assert_allclose(found.counts, counts / total, atol=1e-12)
    assert found.log_normalizer == pytest.approx(math.log(total), abs=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_probabilities_of_spans_are_those_of_all_taggings(case):
    emissions, transitions = weights(*case)
    (reading,) = read_chains([emissions], transitions)
    logs, wanted = list(reading.log_probabilities()), spans_by_enumeration(emissions, transitions)
    for (first, after, one), probability in wanted.items():
        assert np.exp(logs[after - first - 1][first, one]) == pytest.approx(probability, rel=1e-9)
    assert sum(own.size for own in logs) == len(wanted)


@pytest.mark.parametrize("max_words", [None, 1, 2])
@pytest.mark.parametrize("threshold", [1e-9, 0.05, None, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_more_probable_of_exclusive_spans_stays(shape, threshold, max_words):
    emissions, transitions = weights(shape[0], shape[1], seed=3)
    wanted = []
    for span, probability in sorted(spans_by_enumeration(emissions, transitions).items(), key=lambda item: -item[1]):
        short = max_words is None or span[1] - span[0] <= max_words
        likely = probability >= (LEAST if threshold is None else threshold)
        if likely and short and all(compatible(span, one) for one in wanted):
            wanted.append(span)
    (reading,) = read_chains([emissions], transitions)
    assert [span[:3] for span in reading.find(threshold, max_words)] == sorted(wanted)


def test_texts_of_all_lengths_are_read_as_each_by_itself():
    lengths = [3, 0, 5, 1, 5, 0, 2]
    emissions, transitions = weights(sum(lengths), 3)
    parts = np.split(emissions, np.cumsum(lengths)[:-1])
    readings = read_chains(parts, transitions)
    assert [len(reading.probabilities) for reading in readings] == lengths
    for reading, part in zip(readings, parts, strict=True):
        (alone,) = read_chains([part], transitions)
        np.testing.assert_allclose(reading.probabilities, alone.probabilities, atol=1e-12)
        assert [span[:3] for span in reading.find()] == [span[:3] for span in alone.find()]
    together = Chains(lengths).infer(emissions, transitions).log_normalizer
    separate = [Chains([len(part)]).infer(part, transitions).log_normalizer for part in parts]
    assert together == pytest.approx(sum(separate))
    assert read_chains([], transitions) == []


def test_tags_are_counted_inside_texts():
    tags = np.eye(3)[[1, 1, 2, 0, 1, 1]]
    assert Chains([3, 0, 3]).count(tags).tolist() == [[0, 1, 0], [0, 2, 1], [0, 0, 0]]


def test_without_transitions_words_are_independent():
    p = np.random.RandomState(0).dirichlet(np.ones(4), size=30)
    reading = independent(p)
    np.testing.assert_allclose(reading.probabilities, p, atol=1e-12)
    for first, after, one, found in reading.find(1e-9, max_words=2):
        beside = [1 - p[word, 1 + one] for word in (first - 1, after) if 0 <= word < 30]
        assert found == pytest.approx(p[first:after, 1 + one].prod() * np.prod(beside))


def test_lengths_that_can_not_be_probable_are_not_computed():
    reading = independent(np.random.RandomState(0).dirichlet(np.ones(4), size=400))
    some, whole = list(reading.log_probabilities(least=np.log(0.05))), list(reading.log_probabilities())
    assert len(some) < 30
    for own, other in zip(some, whole, strict=False):
        np.testing.assert_array_equal(own, other)
    assert max(np.exp(own).max() for own in whole[len(some) :]) < 0.05


def test_a_words_exclusive_spans_and_none_add_to_one():
    emissions, transitions = weights(30, 4)
    (reading,) = read_chains([emissions], transitions)
    spans = [np.exp(logs) for logs in reading.log_probabilities()]
    for word in range(30):
        covering = sum(
            spans[last - first - 1][first].sum() for first in range(word + 1) for last in range(word + 1, 31)
        )
        assert covering + reading.probabilities[word, 0] == pytest.approx(1, abs=1e-12)


def test_touching_spans_of_one_type_are_exclusive_and_those_of_two_types_are_not():
    one = [[0.5, 0.5], [0.5, 0.5]]
    assert len(independent(one).find(0.25)) == 1
    two = [[0.1, 0.9, 0.0], [0.1, 0.0, 0.9]]
    assert [span[:3] for span in independent(two).find(0.5)] == [(0, 1, 0), (1, 2, 1)]


def test_certain_words_and_no_words():
    sure = independent([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    assert sure.find() == sure.find(1.0) == [(1, 3, 0, 1.0)]
    assert sure.find(max_words=1) == sure.find(0.5, max_words=1) == []
    nothing = independent(np.empty((0, 3)))
    assert nothing.n_types == 2
    assert nothing.find() == nothing.find(0.5) == []


def test_a_long_run_keeps_its_probability():
    ((first, last, one, probability),) = independent(np.tile([1e-5, 1 - 1e-5], (5000, 1))).find()
    assert (first, last, one) == (0, 5000, 0)
    assert probability == pytest.approx((1 - 1e-5) ** 5000, rel=1e-9)


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_weights_beyond_all_measure_are_still_numbers(size):
    emissions, transitions = weights(50, 3)
    with np.errstate(all="raise", under="ignore", divide="ignore"):
        (reading,) = read_chains([emissions * size], transitions * size)
        assert np.isfinite(reading.probabilities).all()
        assert all(0 <= found[3] <= 1 for found in reading.find())
    np.testing.assert_allclose(reading.probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("given", [{"threshold": 1.5}, {"threshold": 0.0}, {"max_words": 0}])
def test_parameters_out_of_range_are_refused(given):
    with pytest.raises(ParameterError, match=next(iter(given))):
        independent([[0.5, 0.5]]).find(**given)
