"""In which order demonstrations are shown: the least biased of several."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot import InputError
from fewshot.demonstrations import least_biased, orders


@given(n_items=st.integers(0, 6), n_orders=st.integers(1, 30), seed=st.integers(0, 99))
def test_orders_are_distinct_and_begin_with_the_given_one(n_items, n_orders, seed):
    found = orders(n_items, n_orders, np.random.RandomState(seed))
    assert found[0].tolist() == list(range(n_items))
    assert len(found) == len({tuple(order.tolist()) for order in found}) == min(n_orders, math.factorial(n_items))
    assert all(order.dtype == np.int64 and sorted(order) == list(range(n_items)) for order in found)
    again = orders(n_items, n_orders, np.random.RandomState(seed))
    assert [order.tolist() for order in again] == [order.tolist() for order in found]


def test_orders_of_many_items_are_drawn():
    draws = [orders(40, 3, np.random.RandomState(seed)) for seed in range(2)]
    assert [len(found) for found in draws] == [3, 3]
    assert draws[0][1].tolist() != draws[1][1].tolist()
    with pytest.raises(InputError, match=r"n_orders must be at least 1\. Got 0"):
        orders(3, 0, np.random.RandomState(0))


def test_the_least_biased_order_by_hand():
    sure, unsure = [0.9, 0.1], [0.6, 0.4]
    mirrored_sure, mirrored_unsure = sure[::-1], unsure[::-1]
    one_sided = [sure, sure, sure, sure]  # GlobalE 0
    leaning = [unsure, unsure, unsure, mirrored_unsure]  # 0.56
    even = [sure, sure, mirrored_sure, mirrored_sure]  # 0.69, LocalE 0.33
    even_unsure = [unsure, mirrored_unsure, mirrored_sure, sure]  # 0.69, LocalE 0.50
    assert least_biased(np.log([one_sided, leaning, even])) == 2
    assert least_biased(np.log([one_sided, leaning])) == 1
    assert least_biased(np.log([even, leaning, even_unsure])) == 2
    assert least_biased(np.log([even_unsure, even])) == 0
    assert least_biased(np.log([leaning, even, even])) == 1  # of equals the first


def test_three_to_one_is_as_even_as_one_to_three():
    to_first = [[0.8, 0.2]] * 3 + [[0.2, 0.8]]
    assert least_biased(np.log([to_first, [row[::-1] for row in to_first]])) == 0
    assert least_biased(np.log([[row[::-1] for row in to_first], to_first])) == 0


def entropy(shares):
    return -sum(p * math.log(p) for p in shares if p)


@given(raw=st.lists(st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=3), min_size=4, max_size=4), min_size=1))
def test_the_least_biased_order_is_as_defined(raw):
    chances = [[[p / sum(text) for p in text] for text in order] for order in raw]
    global_e, local_e = [], []
    for order in chances:
        answers = Counter(text.index(max(text)) for text in order)
        global_e.append(round(entropy([answers[k] / 4 for k in range(3)]), 9))
        local_e.append(round(sum(map(entropy, order)) / 4, 9))
    keys = list(zip(global_e, local_e, strict=True))
    assert least_biased(np.log(chances)) == keys.index(max(keys))


def test_an_impossible_class_counts_as_probability_zero():
    with np.errstate(divide="ignore"):
        scores = np.log([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    assert least_biased(scores) == 1


@pytest.mark.parametrize("shape", [(2, 3), (0, 2, 2), (2, 0, 2)])
def test_scores_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"n_orders, n_texts, n_classes\), none of them 0. Got \("):
        least_biased(np.zeros(shape))
