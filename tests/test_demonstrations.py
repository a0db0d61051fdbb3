"""Which rows become demonstrations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewshot import Classifier, InputError, Prompting, ShortenedWarning
from fewshot.demonstrations import select
from tests.contract import data, keyword_lm

SELECTIONS = ["stratified", "random", "first"]
UNEVEN = ["a"] * 20 + ["b"] * 5 + ["c"] * 2


def chosen(selection, y, shots, seed=0):
    return select(selection, y, shots, np.random.RandomState(seed))


@settings(deadline=None, derandomize=True)
@given(
    y=st.lists(st.sampled_from("abcd"), max_size=30),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    selection=st.sampled_from(SELECTIONS),
)
def test_rows_are_distinct_and_in_range(y, share, seed, selection):
    shots = round(share * len(y))
    rows = chosen(selection, y, shots, seed)
    assert rows.dtype == np.int64
    assert rows.shape == (shots,)
    assert set(rows.tolist()) <= set(range(len(y)))
    assert len(set(rows.tolist())) == shots


@settings(deadline=None, derandomize=True)
@given(y=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_stratified_classes_differ_by_one_unless_they_run_out(y, share, seed):
    available, shots = Counter(y), round(share * len(y))
    counts = Counter(y[i] for i in chosen("stratified", y, shots, seed))
    most = max(counts.values(), default=0)
    assert all(counts[name] in (most, most - 1) or counts[name] == n for name, n in available.items())


@pytest.mark.parametrize(
    ("shots", "counts"), [(3, [1, 1, 1]), (6, [2, 2, 2]), (9, [2, 3, 4]), (12, [2, 5, 5]), (27, [2, 5, 20])]
)
def test_stratified_is_balanced_over_uneven_classes(shots, counts):
    drawn = Counter(UNEVEN[i] for i in chosen("stratified", UNEVEN, shots))
    assert sorted(drawn.values()) == counts


@pytest.mark.parametrize("seed", range(5))
def test_stratified_takes_the_classes_in_turn(seed):
    names = [UNEVEN[i] for i in chosen("stratified", UNEVEN, 6, seed)]
    assert len(set(names[:3])) == 3
    assert names[:3] == names[3:]


def test_stratified_order_of_classes_and_rows_is_drawn():
    draws = [chosen("stratified", UNEVEN, 3, seed) for seed in range(40)]
    assert {UNEVEN[rows[-1]] for rows in draws} == {"a", "b", "c"}  # no class is always nearest to the text
    assert len({int(i) for rows in draws for i in rows if UNEVEN[i] == "a"}) > 5


def test_stratified_does_not_depend_on_what_the_classes_are_called():
    renamed = [{"a": 0, "b": 1, "c": 2}[name] for name in UNEVEN]
    np.testing.assert_array_equal(chosen("stratified", UNEVEN, 8), chosen("stratified", renamed, 8))


def test_random_is_a_plain_sample():
    drawn = Counter(UNEVEN[i] for seed in range(200) for i in chosen("random", UNEVEN, 3, seed))
    assert drawn["a"] / 600 == pytest.approx(20 / 27, abs=0.06)
    assert drawn["c"] / 600 == pytest.approx(2 / 27, abs=0.04)


def test_first_keeps_the_users_order():
    assert chosen("first", UNEVEN, 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_one_seed_gives_one_choice(selection):
    np.testing.assert_array_equal(chosen(selection, UNEVEN, 7, seed=3), chosen(selection, UNEVEN, 7, seed=3))


@pytest.mark.parametrize("selection", ["stratified", "random"])
def test_another_seed_gives_another_choice(selection):
    assert chosen(selection, UNEVEN, 7, seed=3).tolist() != chosen(selection, UNEVEN, 7, seed=4).tolist()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_more_shots_than_rows_are_refused(selection):
    with pytest.raises(InputError, match="shots=28 demonstrations were asked for, and there are 27 labelled rows"):
        chosen(selection, UNEVEN, 28)
    assert sorted(chosen(selection, UNEVEN, 27)) == list(range(27))


def test_an_unknown_selection_is_refused():
    with pytest.raises(ValueError, match=r"'stratified', 'random' or 'first'\. Got 'nearest'"):
        chosen("nearest", UNEVEN, 2)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_demonstration_is_the_template_filled_with_its_own_class(selection):
    X, y = data(3)
    strategy = Prompting(shots=5, selection=selection)
    clf = Classifier(keyword_lm(), "{{ text }} => {{ label }}", strategy=strategy, random_state=0).fit(X, y)
    shown = [f"{X[i]} => {y[i]}" for i in clf.strategy_.demonstrations_]
    assert clf.preview(["new"])[0].text == "\n\n".join([*shown, "new => ___"])


def test_in_a_narrow_window_the_demonstrations_nearest_to_the_text_stay():
    strategy = Prompting(shots=3, selection="first")
    clf = Classifier(keyword_lm(limit=9), "{{ text }} => {{ label }}", strategy=strategy)
    clf.fit(["one", "two", "three"], ["a", "b", "a"])
    assert clf.preview(["new"])[0].text == "two => b\n\nthree => a\n\nnew => ___"
    with pytest.warns(ShortenedWarning, match="1 of 1 rows show fewer than 3 demonstrations"):
        clf.predict(["new"])
