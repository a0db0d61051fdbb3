"""Where the words of a text begin and end, in scripts with blanks and without."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.task.words import split_words


def words_of(text):
    return [text[start:end] for start, end in split_words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n\u3000\u00a0", []),
        ("She lives in London.", ["She", "lives", "in", "London", "."]),
        ("London's don\u2019t", ["London", "'", "s", "don", "\u2019", "t"]),
        ("@user_1 #tag 3.5% A-b", ["@", "user_1", "#", "tag", "3", ".", "5", "%", "A", "-", "b"]),
        ("...", [".", ".", "."]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("iPhoneを買う", ["iPhone", "を", "買", "う"]),
        ("\U00020b9f\u91ce", ["\U00020b9f", "\u91ce"]),
        ("か\u3099き", ["か\u3099", "き"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("한국어 사람", ["한국어", "사람"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("cafe\u0301s e\u0301", ["cafe\u0301s", "e\u0301"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("co\u00adop", ["co\u00adop"]),
        ("co\u00ad op", ["co", "\u00ad", "op"]),
        ("\u2764\ufe0f love", ["\u2764\ufe0f", "love"]),
        ("\u0301a", ["\u0301", "a"]),
        ("a\ud800b", ["a", "\ud800", "b"]),
    ],
)
def test_the_words_of(text, words):
    assert words_of(text) == words


@given(st.text(st.characters(codec=None)))
def test_every_sign_but_blanks_is_in_one_word(text):
    bounds = split_words(text)
    assert [i for start, end in bounds for i in range(start, end)] == [i for i, c in enumerate(text) if not c.isspace()]
    assert all(start < end for start, end in bounds)


@given(st.text(st.sampled_from("aB1_é\u0301\u093e.'- \u200d日ไ")))
def test_a_word_begins_where_a_letter_follows_none(text):
    """Told letter by letter: a mark never begins a word, and two letters of a spaced script are never parted."""
    starts = {start for start, _ in split_words(text)}
    for i, (before, sign) in enumerate(pairwise(text), 1):
        if unicodedata.category(sign)[0] == "M" and not before.isspace():
            assert i not in starts
        if {before, sign} <= set("aB1_é"):
            assert i not in starts
        if sign in ".'-日ไ":
            assert i in starts
