"""Spans of word probabilities, against all readings of short texts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fewshot.errors import ParameterError
from fewshot.heads.readings import find_spans, span_log_probabilities

SHAPES = [(1, 1), (3, 1), (4, 2), (6, 2), (4, 3)]


def words(n: int, types: int, seed: int = 0):
    return np.random.RandomState(seed).dirichlet(np.ones(1 + types), size=n)


def runs(tags):
    """The spans of one reading."""
    position = 0
    for tag, group in itertools.groupby(tags):
        length = len(list(group))
        if tag:
            yield position, position + length, tag - 1
        position += length


def by_enumeration(probabilities):
    """The probability of every span, summed over all readings."""
    n, tags = probabilities.shape
    found, total = {}, 0.0
    for reading in itertools.product(range(tags), repeat=n):
        p = math.prod(probabilities[word, tag] for word, tag in enumerate(reading))
        total += p
        for span in runs(reading):
            found[span] = found.get(span, 0.0) + p
    assert total == pytest.approx(1, abs=1e-12)
    return found


def compatible(one, other):
    """Whether a reading has both spans."""
    (a, b, s), (c, d, t) = one[:3], other[:3]
    return b < c or d < a or (s != t and (b == c or d == a))


@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_are_those_of_all_readings(shape):
    p = words(*shape)
    logs, wanted = list(span_log_probabilities(p)), by_enumeration(p)
    for (first, last, one), probability in wanted.items():
        assert np.exp(logs[last - first - 1][first, one]) == pytest.approx(probability, abs=1e-12)
    assert sum(np.isfinite(own).sum() for own in logs) == len(wanted)


def test_lengths_that_can_not_be_probable_are_not_computed():
    p = words(400, 3)
    some = list(span_log_probabilities(p, least=np.log(0.05)))
    assert len(some) < 30
    for own, whole in zip(some, span_log_probabilities(p), strict=False):
        np.testing.assert_array_equal(own, whole)
    assert max(np.exp(own).max() for own in list(span_log_probabilities(p))[len(some) :]) < 0.05


def test_a_words_exclusive_spans_and_none_add_to_one():
    p = words(30, 4)
    spans = [np.exp(logs) for logs in span_log_probabilities(p)]
    for word in range(30):
        covering = sum(
            spans[last - first - 1][first].sum() for first in range(word + 1) for last in range(word + 1, 31)
        )
        assert covering + p[word, 0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_without_a_threshold_it_is_the_most_probable_reading(shape, seed):
    p = words(shape[0], shape[1], seed)
    readings = itertools.product(range(p.shape[1]), repeat=len(p))
    best = max(readings, key=lambda reading: math.prod(p[word, tag] for word, tag in enumerate(reading)))
    found, known = find_spans(p), by_enumeration(p)
    assert [span[:3] for span in found] == list(runs(best))
    for *span, probability in found:
        assert probability == pytest.approx(known[tuple(span)], abs=1e-12)


@pytest.mark.parametrize("max_words", [None, 1, 2])
@pytest.mark.parametrize("threshold", [1e-9, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_with_a_threshold_the_more_probable_of_exclusive_spans_stays(shape, threshold, max_words):
    p = words(shape[0], shape[1], seed=3)
    wanted = []
    for span, probability in sorted(by_enumeration(p).items(), key=lambda item: -item[1]):
        short = max_words is None or span[1] - span[0] <= max_words
        if probability >= threshold and short and all(compatible(span, one) for one in wanted):
            wanted.append(span)
    assert [span[:3] for span in find_spans(p, threshold, max_words)] == sorted(wanted)


def test_ties_go_to_none_then_to_the_first_type():
    assert find_spans(np.array([[0.4, 0.4, 0.2]])) == []
    assert find_spans(np.array([[0.2, 0.4, 0.4]]))[0] == pytest.approx((0, 1, 0, 0.4))
    assert find_spans(np.array([[0.0, 0.5, 0.5]]), 0.5)[0] == pytest.approx((0, 1, 0, 0.5))
    # both words, or the first alone: as probable, and the shorter one stays
    assert [span[:3] for span in find_spans(np.array([[0.0, 1.0], [0.5, 0.5]]), 0.5)] == [(0, 1, 0)]


def test_touching_spans_of_one_type_are_exclusive_and_those_of_two_types_are_not():
    one = np.array([[0.5, 0.5], [0.5, 0.5]])
    assert len(find_spans(one, 0.25)) == 1
    two = np.array([[0.1, 0.9, 0.0], [0.1, 0.0, 0.9]])
    assert [span[:3] for span in find_spans(two, 0.5)] == [(0, 1, 0), (1, 2, 1)]


def test_certain_words_and_no_words():
    sure = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    assert find_spans(sure) == find_spans(sure, 1.0) == [(1, 3, 0, 1.0)]
    assert find_spans(sure, max_words=1) == find_spans(sure, 0.5, max_words=1) == []
    assert find_spans(np.empty((0, 3))) == find_spans(np.empty((0, 3)), 0.5) == []


def test_a_long_run_keeps_its_probability():
    p = np.tile([1e-3, 0.999], (2000, 1))
    ((first, last, one, probability),) = find_spans(p)
    assert (first, last, one) == (0, 2000, 0)
    assert probability == pytest.approx(0.999**2000, rel=1e-9)


@pytest.mark.parametrize("given", [{"threshold": 1.5}, {"threshold": 0.0}, {"max_words": 0}])
def test_parameters_out_of_range_are_refused(given):
    with pytest.raises(ParameterError, match=next(iter(given))):
        find_spans(words(2, 1), **given)
