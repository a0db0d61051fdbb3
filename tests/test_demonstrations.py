"""Which rows become demonstrations."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fewshot import Classifier, InputError, Prompting, ShortenedWarning, UnsupportedError
from fewshot.demonstrations import MMR, First, Nearest, Random, Stratified, as_selector, select, similar
from tests.contract import NEW, HashEncoder, data, keyword_lm

SELECTIONS = ["stratified", "random", "first"]
UNEVEN = ["a"] * 20 + ["b"] * 5 + ["c"] * 2
DRAWN = [Random, Stratified, First]
SELECTORS = [
    *(drawn(order) for drawn in DRAWN for order in ("as is", "interleaved")),
    *(
        similar(shared=shared, order=order)
        for similar in (Nearest, MMR)
        for shared in (False, True)
        for order in ("as is", "common first", "interleaved", "nearest last")
    ),
    Nearest(per_class=True),
    MMR(balance=0.2),
]


def chosen(selection, y, shots, seed=0):
    return select(selection, y, shots, np.random.RandomState(seed))


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


class Letters:
    """An encoder that counts letters, so that many texts are equally similar, and some are like nothing at all."""

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked.extend(texts)
        return np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float32)


def fitted(selector, texts, y, shots, seed=0, encoder=None):
    return clone(selector).fit(texts, y, shots, np.random.RandomState(seed), encoder or Letters())


def listed(chosen):
    return [rows.tolist() for rows in chosen]


def cosine(text, other):
    u, v = ([one.count(letter) for letter in "abc"] for one in (text, other))
    lengths = math.hypot(*u) * math.hypot(*v)
    return round(sum(a * b for a, b in zip(u, v, strict=True)) / lengths, 6) if lengths else 0.0


def neighbours(text, texts):
    """Rows that are not the text itself, the most similar first."""
    rows = [i for i, row in enumerate(texts) if row.strip() != text.strip()]
    return sorted(rows, key=lambda i: (-cosine(text, texts[i]), i))


def brute_nearest(text, texts, y, shots):
    return neighbours(text, texts)[:shots]


def brute_per_class(text, texts, y, shots):
    by_class = {}
    for i in neighbours(text, texts):
        by_class.setdefault(y[i], []).append(i)
    chosen = []
    while any(by_class.values()) and len(chosen) < shots:
        a_round = [rows.pop(0) for rows in by_class.values() if rows]
        chosen += sorted(a_round, key=lambda i: (-cosine(text, texts[i]), i))
    return chosen[:shots]


def brute_mmr(text, texts, y, shots, balance=0.5):
    left, chosen = neighbours(text, texts), []
    while left and len(chosen) < shots:

        def gain(i):
            alike = max((cosine(texts[i], texts[j]) for j in chosen), default=0.0)
            return balance * cosine(text, texts[i]) - (1 - balance) * alike

        chosen.append(max(left, key=gain) if chosen else left[0])
        left.remove(chosen[-1])
    return chosen


def brute_place(texts, shots, by_length=False):
    """Where each row stands in the fixed order."""
    counts = Counter(i for text in texts for i in neighbours(text, texts)[:shots])
    weight = [counts[i] * (len(text) if by_length else 1) for i, text in enumerate(texts)]
    fixed = sorted(range(len(texts)), key=lambda i: (-weight[i], i))
    return {row: place for place, row in enumerate(fixed)}


letters = st.text("abc ", max_size=5)
cases = st.lists(st.tuples(letters, st.sampled_from("xyz")), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("selector", "brute"),
    [
        (Nearest(), brute_nearest),
        (Nearest(per_class=True), brute_per_class),
        (MMR(), brute_mmr),
        (MMR(balance=0.2), lambda *args: brute_mmr(*args, balance=0.2)),  # type: ignore[misc]
        (MMR(balance=0), lambda *args: brute_mmr(*args, balance=0)),  # type: ignore[misc]
        (MMR(balance=1), brute_nearest),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
@given(rows=cases, new=st.lists(letters, max_size=4), share=st.floats(0, 1))
def test_what_is_chosen_and_its_order_are_as_defined(selector, brute, rows, new, share):
    texts, y = zip(*rows, strict=True)
    shots = max(1, round(share * len(rows)))
    asked = [*new, *texts]
    expected = [brute(text, texts, y, shots) for text in asked]
    nearest_last = [
        sorted(chosen, key=lambda i: (-cosine(text, texts[i]), i))[::-1]
        for text, chosen in zip(asked, expected, strict=True)
    ]
    assert listed(fitted(selector, texts, y, shots).select(asked)) == nearest_last
    place = brute_place(texts, shots)
    fixed = fitted(clone(selector).set_params(order="as is"), texts, y, shots)
    assert listed(fixed.select(asked)) == [sorted(chosen, key=place.get) for chosen in expected]
    place = brute_place(texts, shots, by_length=True)
    common = fitted(clone(selector).set_params(order="common first"), texts, y, shots)
    assert listed(common.select(asked)) == [[*sorted(rows[:-1], key=place.get), *rows[-1:]] for rows in nearest_last]
    apart = fitted(clone(selector).set_params(order="interleaved"), texts, y, shots)
    assert listed(map(np.sort, apart.select(asked))) == [sorted(chosen) for chosen in expected]


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
@given(rows=cases, new=st.lists(letters, max_size=3), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_text_is_never_its_own_demonstration(selector, rows, new, share, seed):
    texts, y = zip(*rows, strict=True)
    shots = max(1, round(share * len(rows)))
    found = fitted(selector, texts, y, shots, seed)
    asked = [*new, *texts, *(f"\n{text} " for text in texts)]
    for text, chosen in zip(asked, found.select(asked), strict=True):
        others = [i for i, row in enumerate(texts) if row.strip() != text.strip()]
        assert chosen.dtype == np.int64
        assert set(chosen.tolist()) <= set(others)
        assert len(set(chosen.tolist())) == len(chosen)
        if found.shared:  # the others keep their places
            assert chosen.tolist() == [i for i in found.rows_.tolist() if i in others]
        else:  # another row takes its place
            assert len(chosen) == min(shots, len(others))
    if found.shared:
        assert found.rows_.shape == (shots,)


@pytest.mark.parametrize("order", ["interleaved", "as is"])
@given(y=st.lists(st.sampled_from("wxyz"), min_size=1, max_size=7))
def test_interleaved_keeps_a_class_apart_wherever_any_order_does(y, order):
    rows = fitted(First(order), [str(i) for i in range(len(y))], y, len(y)).rows_.tolist()
    for name in y:
        own = [i for i in rows if y[i] == name]
        assert own == sorted(own)  # the user's order within a class
    if order == "as is":
        assert rows == sorted(rows)
        return
    possible = any(all(a != b for a, b in pairwise(p)) for p in set(permutations(y)))
    names = [y[i] for i in rows]
    assert all(a != b for a, b in pairwise(names)) == possible


def test_interleaved_takes_classes_of_one_size_in_turn():
    y = ["x"] * 3 + ["y"] * 3 + ["z"] * 3
    rows = fitted(First("interleaved"), [str(i) for i in range(9)], y, 9).rows_
    assert [y[i] for i in rows] == ["x", "y", "z"] * 3
    assert rows.tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]


def test_a_block_that_can_not_be_avoided_stands_far_from_the_text():
    rows = fitted(First("interleaved"), list("pqrst"), ["x", "x", "x", "x", "y"], 5).rows_
    assert rows.tolist() == [0, 1, 2, 4, 3]


def test_drawn_selectors_choose_what_select_chooses():
    texts = [str(i) for i in range(len(UNEVEN))]
    for drawn, name in zip(DRAWN, ["random", "stratified", "first"], strict=True):
        np.testing.assert_array_equal(fitted(drawn(), texts, UNEVEN, 7, seed=3).rows_, chosen(name, UNEVEN, 7, seed=3))


def test_each_class_is_shown_as_often_as_possible():
    texts, y = data(3)
    for rows in fitted(Nearest(per_class=True), texts, y, 6, encoder=HashEncoder()).select(NEW):
        assert Counter(y[i] for i in rows) == dict.fromkeys(set(y), 2)
    for rows in fitted(Nearest(per_class=True), texts, y, 12, encoder=HashEncoder()).select(NEW):
        assert sorted(rows) == list(range(12))  # a class with too few rows leaves its places to the others


def test_the_nearest_row_stands_next_to_the_text():
    found = fitted(Nearest(), ["ab", "abb", "c", "a"], "xxyx", 3)
    assert listed(found.select(["aa", "bbb", "a "])) == [[1, 0, 3], [2, 0, 1], [2, 1, 0]]


def test_mmr_leaves_out_what_says_the_same_again():
    texts = ["aab", "aaabb", "ac"]
    assert listed(fitted(Nearest(), texts, "xxy", 2).select(["aaaabc"])) == [[1, 0]]
    assert listed(fitted(MMR(balance=0.3), texts, "xxy", 2).select(["aaaabc"])) == [[2, 0]]


@pytest.mark.parametrize("similar", [Nearest, MMR])
def test_shared_rows_are_those_around_the_mean_of_the_labelled_texts(similar):
    texts, y = ["a", "ab", "b", "c", "abab", "aab"], "xyxyxy"
    units = np.array([[t.count(k) for k in "abc"] for t in texts], dtype=float)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    closeness = units @ units.mean(axis=0)
    found = fitted(similar(shared=True), texts, y, 3)
    assert found.rows_[-1] in np.flatnonzero(np.isclose(closeness, closeness.max()))
    assert np.all(np.diff(closeness[found.rows_]) >= -1e-6)
    if similar is Nearest:
        assert sorted(closeness[found.rows_]) == pytest.approx(sorted(closeness)[-3:])
    assert listed(found.select(["cc", "new"])) == [found.rows_.tolist()] * 2


def items_to_compute(chosen):
    """How many demonstrations a model reads that computes common beginnings once."""
    return len({tuple(rows[:k]) for rows in chosen for k in range(1, len(rows) + 1)})


@pytest.mark.parametrize("similar", [Nearest, MMR])
def test_a_fixed_order_shares_more_than_nearest_last(similar):
    texts, y = data(3)
    asked = [*NEW, *texts]
    read = {}
    for order in ("as is", "common first", "nearest last"):
        rows = fitted(similar(order=order), texts, y, 5, encoder=HashEncoder()).select(asked)
        read[order] = items_to_compute(listed(rows))
    assert max(read["as is"], read["common first"]) < read["nearest last"]


def test_common_first_leaves_the_nearest_row_last_and_begins_with_what_saves_most():
    texts = ["aaaa", "ab", "abb", "bbb", "c"]
    rows = listed(fitted(Nearest(order="common first"), texts, "xyxyx", 3).select(["a", "b", "aab", "abbb"]))
    # neighbours of 4, 4, 4, 3 and 0 rows, times the lengths: 16, 8, 12, 9 and 0
    assert rows == [[2, 1, 0], [2, 1, 3], [0, 2, 1], [3, 1, 2]]


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_the_choice_depends_on_the_seed_and_the_text_alone(selector):
    texts, y = data(3)
    found = fitted(selector, texts, y, 4, seed=1, encoder=HashEncoder())
    together = listed(found.select(NEW))
    assert listed(fitted(selector, texts, y, 4, seed=1, encoder=HashEncoder()).select(NEW)) == together
    assert [found.select([text])[0].tolist() for text in NEW] == together
    assert listed(found.select(NEW[::-1])) == together[::-1]
    assert listed(pickle.loads(pickle.dumps(found)).select(NEW)) == together
    assert found.select([]) == []


@pytest.mark.parametrize("block", [1, 30, 2**22])
def test_blocks_of_any_size_give_the_same(block, monkeypatch):
    texts, y = data(3)
    whole = listed(fitted(Nearest(order="as is"), texts, y, 4, encoder=HashEncoder()).select(NEW))
    monkeypatch.setattr(similar, "_BLOCK", block)
    found = fitted(Nearest(order="as is"), texts, y, 4, encoder=HashEncoder())
    assert listed(found.select(NEW)) == whole
    held = [one.base.size for one in found._similarities(found._vectors)]
    assert max(held) <= max(block, len(texts))


def test_equal_texts_are_encoded_once():
    encoder = Letters()
    found = fitted(Nearest(), ["a", "b", "a", "c"], "xyxy", 2, encoder=encoder)
    assert encoder.asked == ["a", "b", "c"]
    found.select(["ab", "ab", "bc", "ab"])
    assert encoder.asked == ["a", "b", "c", "ab", "bc"]
    fitted(Random(), ["a", "b"], "xy", 1, encoder=encoder).select(["ab"])
    assert len(encoder.asked) == 5


def test_what_a_selector_is_can_be_asked():
    assert all(one.shared and not one.needs_encoder for one in (Random(), Stratified(), First()))
    assert all(one.needs_encoder and not one.shared for one in (Nearest(), MMR()))
    assert Nearest(shared=True).shared


@pytest.mark.parametrize(
    ("name", "kind"),
    [("stratified", Stratified), ("random", Random), ("first", First), ("nearest", Nearest), ("mmr", MMR)],
)
def test_a_selector_has_a_name(name, kind):
    assert type(as_selector(name)) is kind
    assert as_selector(name).get_params() == kind().get_params()
    assert as_selector(name, order="interleaved").order == "interleaved"


def test_a_selector_is_copied():
    mine = MMR(balance=0.7)
    copied = as_selector(mine, order="as is")
    assert (copied.balance, copied.order, mine.order) == (0.7, "as is", "nearest last")
    assert as_selector(mine) is not mine
    assert as_selector(mine).get_params() == mine.get_params()


@pytest.mark.parametrize("wrong", ["nearst", None, Nearest, 3])
def test_what_is_no_selector_is_refused(wrong):
    with pytest.raises(InputError, match=r"'stratified', 'random', 'first', 'nearest', 'mmr', or an object such as"):
        as_selector(wrong)


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_bad_input_is_refused_by_every_selector(selector):
    with pytest.raises(InputError, match="shots=3 demonstrations were asked for, and there are 2 labelled rows"):
        fitted(selector, ["a", "b"], "xy", 3)
    with pytest.raises(InputError, match=r"shots must be at least 1.*Got 0"):
        fitted(selector, ["a", "b"], "xy", 0)
    with pytest.raises(InputError, match="Got 2 texts and 3 classes"):
        fitted(selector, ["a", "b"], "xyx", 1)
    with pytest.raises(InputError, match=r"'interleaved' or 'nearest last'\. Got 'sorted'"):
        fitted(clone(selector).set_params(order="sorted"), ["a", "b"], "xy", 1)
    with pytest.raises(NotFittedError):
        clone(selector).select(["a"])


@pytest.mark.parametrize("order", ["nearest last", "common first"])
@pytest.mark.parametrize("drawn", DRAWN)
def test_rows_drawn_without_looking_have_no_nearest(drawn, order):
    with pytest.raises(InputError, match=rf"does not compare texts: order='{order}' is for Nearest\(\) and MMR"):
        fitted(drawn(order), ["a", "b"], "xy", 1)


@pytest.mark.parametrize("balance", [-0.1, 1.5, float("nan")])
def test_a_balance_outside_of_its_range_is_refused(balance):
    with pytest.raises(InputError, match=f"balance must be between 0 .* and 1 .*Got {balance}"):
        fitted(MMR(balance), ["a", "b"], "xy", 1)


@pytest.mark.parametrize("similar", [Nearest, MMR])
def test_a_missing_or_broken_encoder_is_named(similar):
    with pytest.raises(InputError, match="compares texts by their embeddings, and got no encoder"):
        similar().fit(["a", "b"], "xy", 1, np.random.RandomState(0))

    class Broken:
        def encode(self, texts):
            return np.full((len(texts), 2), np.nan)

    with pytest.raises(UnsupportedError, match=r"Broken object .* gave NaN or infinite vectors"):
        fitted(similar(), ["a", "b"], "xy", 1, encoder=Broken())
