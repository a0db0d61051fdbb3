"""Spelling features of words: what each of them says, and that they are always as many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.task.spelling import FEATURES, spell


def named(words, position):
    """The features of one word that are not 0."""
    found = dict(zip(FEATURES, spell(words)[position], strict=True))
    return {name: value for name, value in found.items() if value}


def test_the_names_are_distinct():
    assert len(set(FEATURES)) == len(FEATURES) == 36


def test_a_word_and_its_neighbours():
    assert named(["We", "saw", "IBM", "(", "x2"], 2) == {
        "capital": 1,
        "all capitals": 1,
        "at most 3 characters": 1,
        "capital inside the sentence": 1,
        "share of capitals in the text": 0.5,
        "left: small": 1,
        "right: sign": 1,
        "right: quote or bracket": 1,
    }


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("Ada", {"capital"}),
        ("É", {"capital", "one capital letter"}),
        ("NATO", {"capital", "all capitals"}),
        ("iPhone", {"mixed case"}),
        ("McDonald", {"capital", "mixed case"}),
        ("met", {"small"}),
        ("42", {"no letters", "number", "share of digits"}),
        ("4S", {"share of digits", "letters and digits"}),
        (",", {"no letters", "sign"}),
        ("U.S.", {"capital", "all capitals", "sign inside"}),
        ("t-shirt", {"small", "sign inside"}),
        ("https://t.co/x", {"small", "sign inside", "url"}),
        ("東京", set()),
        ("", {"no letters", "sign"}),
    ],
)
def test_what_is_said_of_a_word(word, wanted):
    own = FEATURES[: FEATURES.index("at most 1 characters")]
    assert named([word], 0).keys() & set(own) == wanted


@pytest.mark.parametrize(
    ("length", "name"),
    [(1, "at most 1 characters"), (3, "at most 3 characters"), (6, "at most 6 characters"), (11, "longer")],
)
def test_each_word_is_of_one_length_class(length, name):
    classes = [feature for feature in FEATURES if feature.startswith("at most") or feature == "longer"]
    assert named(["a" * length], 0).keys() & set(classes) == {name}


@pytest.mark.parametrize("words", [["@ada"], ["@", "ada"]])
def test_a_mention_is_one_word_or_two(words):
    assert "mention" in named(words, -1)
    assert "hashtag" in named([word.replace("@", "#") for word in words], -1)
    assert "mention" not in named(["ada"], 0)


def test_a_sentence_begins_at_the_start_and_after_its_end():
    words = ["It", "rained", ".", "Then", "Ada", "left"]
    assert ["first in the sentence" in named(words, i) for i in range(6)] == [True, False, False, True, False, False]
    assert "capital inside the sentence" in named(words, 4)
    assert "capital inside the sentence" not in named(words, 3)


def test_the_bounds_of_a_text_are_seen():
    assert {"left: none", "right: none"} <= named(["one"], 0).keys()
    assert not {"left: none", "right: none"} & named(["a", "b", "c"], 1).keys()
    assert spell([]) == []


@given(st.lists(st.text()))
def test_whatever_the_words_there_is_a_value_from_0_to_1_for_each(words):
    found = spell(words)
    assert len(found) == len(words)
    assert all(len(row) == len(FEATURES) and all(0 <= value <= 1 for value in row) for row in found)
