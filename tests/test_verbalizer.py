"""Verbalizers: every aggregation is its formula, and no answer is ever guessed at."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.base import clone

from fewshot import Verbalizer, VerbalizerError
from fewshot.task.verbalizer import as_verbalizer

GROUPS = {"a": ["x", "two words", "ö"], "b": "öö!", "c": ["\ud800", "yes"]}
N_BYTES = [1, 9, 2, 5, 1, 3]


def by_formula(logprobs, n_tokens, word_aggregation, token_aggregation):
    divisors = {"sum": [1] * 6, "mean": n_tokens, "per-byte": N_BYTES}[token_aggregation]
    values = [logprob / divisor for logprob, divisor in zip(logprobs, divisors, strict=True)]
    classes = [values[:3], values[3:4], values[4:]]
    if word_aggregation == "mean":
        return [sum(group) / len(group) for group in classes]
    if word_aggregation == "max":
        return [max(group) for group in classes]
    return [math.log(sum(math.exp(value) for value in group)) for group in classes]


@pytest.mark.parametrize("token_aggregation", ["sum", "mean", "per-byte"])
@pytest.mark.parametrize("word_aggregation", ["mean", "max", "logsumexp"])
def test_aggregation_is_its_formula(word_aggregation, token_aggregation):
    verbalizer = Verbalizer(GROUPS, word_aggregation=word_aggregation, token_aggregation=token_aggregation)
    rng = np.random.default_rng(0)
    logprobs, n_tokens = -rng.exponential(5, (20, 6)), rng.integers(1, 5, (20, 6))
    scores = verbalizer.aggregate(logprobs, n_tokens)
    expected = [
        by_formula(row, counts, word_aggregation, token_aggregation)
        for row, counts in zip(logprobs.tolist(), n_tokens.tolist(), strict=True)
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


def test_the_defaults_are_the_mean_over_words_and_the_sum_over_tokens():
    logprobs, n_tokens = np.array([[-1.0, -2.0, -6.0, -4.0, -8.0, -2.0]]), np.full((1, 6), 3)
    np.testing.assert_allclose(Verbalizer(GROUPS).aggregate(logprobs, n_tokens), [[-3.0, -4.0, -5.0]])


@pytest.mark.parametrize("word_aggregation", ["mean", "max", "logsumexp"])
def test_impossible_words_do_not_break_aggregation(word_aggregation):
    verbalizer = Verbalizer({"a": ["x", "y"], "b": "z"}, word_aggregation=word_aggregation)
    scores = verbalizer.aggregate(np.array([[-np.inf, -np.inf, -1.0]]), np.ones((1, 3)))
    assert scores.tolist() == [[-np.inf, -1.0]]


# forms


def test_a_mapping_is_sorted_by_class():
    verbalizer = Verbalizer({"pos": ("good", "great"), "neg": "bad"})
    assert verbalizer.classes == ("neg", "pos")
    assert verbalizer.words == (("bad",), ("good", "great"))
    assert verbalizer.candidates == ("bad", "good", "great")
    assert verbalizer.labels == ("bad", "good")
    assert Verbalizer({10: "b", 9: "a"}).classes == (9, 10)


def test_a_list_is_in_the_order_of_the_sorted_classes():
    verbalizer = Verbalizer(["bad", ["good", "great"]], word_aggregation="max", token_aggregation="mean")
    assert verbalizer.classes is None
    for classes in (["pos", "neg"], [1, 0], (False, True)):
        bound = verbalizer.bind(classes)
        assert bound.classes == tuple(sorted(classes))
        assert bound.words == (("bad",), ("good", "great"))
        assert (bound.word_aggregation, bound.token_aggregation) == ("max", "mean")
    assert verbalizer.classes is None


def test_a_word_given_twice_counts_once():
    assert Verbalizer({"a": ["x", "y", "x"]}).candidates == ("x", "y")


def test_bind_keeps_a_verbalizer_that_names_every_class():
    verbalizer = Verbalizer({"a": "x", "b": "y", "c": "z"})
    assert verbalizer.bind(["c", "a"]) is verbalizer


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"a": "x", "b": ["y", "x"]}, "classes 'a' and 'b' share the label word 'x'"),
        (["x", "x"], "classes 'number 0' and 'number 1' share the label word 'x'"),
        ({"a": "x", "b": " \n"}, r"class 'b' must be text that is not blank. Got ' \\n'"),
        ({"a": "x", "b": ["y", ""]}, "class 'b' must be text that is not blank. Got ''"),
        ({"a": "x", "b": []}, "class 'b' has no label words"),
        ({"a": "x", "b": 3}, "class 'b' must be text that is not blank. Got 3"),
        ({"a": "x", "b": [None]}, "class 'b' must be text that is not blank. Got None"),
        ({"a": "x", "b": b"y"}, "class 'b' must be text"),
        (["x", True], "class 'number 1' must be text that is not blank. Got True"),
        ({"a": "x", 1: "y"}, "must be of one type, so that they can be sorted"),
        ("good", "must be a mapping of classes to words, or a list.*Got 'good'"),
        ({"x", "y"}, "must be a mapping of classes to words, or a list"),
        (None, "must be a mapping of classes to words, or a list.*Got None"),
    ],
)
def test_bad_words_are_refused(words, message):
    with pytest.raises(VerbalizerError, match=message):
        Verbalizer(words)


@pytest.mark.parametrize("option", ["word_aggregation", "token_aggregation"])
def test_an_unknown_aggregation_is_refused(option):
    with pytest.raises(VerbalizerError, match=rf"{option} must be one of .*'mean'.* Got 'median'\."):
        Verbalizer(["a", "b"], **{option: "median"})


def test_bind_refuses_classes_that_do_not_fit():
    with pytest.raises(VerbalizerError, match=r"words for 2 classes \(x, y\), and 3 classes: \[0, 1, 2\]"):
        Verbalizer(["x", "y"]).bind([2, 0, 1])
    with pytest.raises(VerbalizerError, match=r"class 'c' has no label words. There are words for \['a', 'b'\]"):
        Verbalizer({"a": "x", "b": "y"}).bind(["a", "c"])
    with pytest.raises(VerbalizerError, match="must be of one type"):
        Verbalizer(["x", "y"]).bind(["a", 1])


def test_class_names_are_the_words_when_none_are_given():
    verbalizer = as_verbalizer(None, ["very_negative", "_", np.str_("ok")])
    assert dict(zip(verbalizer.classes, verbalizer.labels, strict=True)) == {
        "very_negative": "very negative",
        "_": "_",
        "ok": "ok",
    }
    with pytest.raises(VerbalizerError, match="share the label word 'a b'"):
        as_verbalizer(None, ["a_b", "a b"])


@pytest.mark.parametrize("classes", [[0, 1], np.array([0, 1]), [True, False], [1.5, 2.5], ["a", 1]])
def test_classes_that_are_no_names_need_words(classes):
    with pytest.raises(VerbalizerError, match=r"is not a name that a model could know.*sorted-class order"):
        as_verbalizer(None, classes)


def test_words_become_a_bound_verbalizer():
    assert as_verbalizer(["bad", "good"], np.array([1, 0])).classes == (0, 1)
    assert as_verbalizer({"a": "x", "b": "y"}, ["b", "a"]).classes == ("a", "b")
    verbalizer = Verbalizer({"a": "x", "b": "y"}, word_aggregation="max")
    assert as_verbalizer(verbalizer, ["a", "b"]) is verbalizer
    assert as_verbalizer(Verbalizer(["x", "y"]), ["p", "q"]).classes == ("p", "q")
    with pytest.raises(VerbalizerError, match="class 'c' has no label words"):
        as_verbalizer(verbalizer, ["a", "c"])


# answers

VERBALIZERS = {
    "chinese": Verbalizer({"positive": "正面", "negative": "负面"}),
    "spam": Verbalizer({"ham": ["ham", "normal"], "spam": "spam"}),
    "not spam": Verbalizer({"ham": "not spam", "spam": "spam"}),
    "digits": Verbalizer({"one": "1", "twelve": "12", "minus": "-1"}),
    "yes": Verbalizer({"same": "Yes", "other": "No"}),
    "negative": Verbalizer({"neg": "negative", "very": "very negative", "ok": "OK"}),
    "case": Verbalizer({"upper": "A", "lower": "a", "b": " b "}),
    "german": Verbalizer({"road": "Straße", "way": "Weg"}),
    "smileys": Verbalizer({"sad": ":(", "happy": ":)"}),
}
# where a number is a part of another
NUMBERS = """\
.1
is .1
is <1
<1
is >1
>= 1
is ≥1
~1
≈1
±1
+1
1+
$1
€1
1%
1 %
1-2
1–2
1/12
12:1
1.0
#1
100%
is -1.5
−1
x²
1,12
"""
# a name with a value, a list, a doubt
DOUBTS = """\
spam: false
Spam: 0%
Spam: 0
Spam, 0%
spam = no
{"spam": 0.1}
'spam': 0
spam: true
Options: spam
The options are: spam
Choices = spam
Labels: spam
Possible classes: spam
I doubt it is spam
It is unlikely that it is spam
Hardly anyone would say it is spam
It is wrong to say it is spam
Nobody says it is spam
The opposite is spam
maybe it is spam
Unsure whether it is spam
I wonder if this is spam
Anything but this is spam
label != spam
!spam
¬spam
≠ spam
It may be that this is: spam
Spam. That would be wrong
label <> spam
nicht: spam
不是：spam
Das ist falsch, kein: spam
anti-spam
spam? Possibly: spam
"""
ANSWERS = [
    # the word itself, in any dress
    ("spam", "spam", "spam"),
    ("spam", "Spam", "spam"),
    ("spam", "SPAM.", "spam"),
    ("spam", " \n\t spam\n", "spam"),
    ("spam", '"spam"', "spam"),
    ("spam", "“Spam”", "spam"),
    ("spam", "'spam'.", "spam"),
    ("spam", "**Spam**", "spam"),
    ("spam", "`spam`", "spam"),
    ("spam", "- spam", "spam"),
    ("spam", "[spam]", "spam"),
    ("spam", "normal", "ham"),
    ("case", "b", "b"),
    # set off at the beginning, or after a lead-in
    ("spam", "Spam. It offers a prize.", "spam"),
    ("spam", "Spam, since it offers a prize", "spam"),
    ("spam", "The answer is spam.", "spam"),
    ("spam", "The answer is: **spam**", "spam"),
    ("spam", "Category: spam", "spam"),
    ("spam", "Category:spam", "spam"),
    ("spam", "label = spam", "spam"),
    ("spam", "message -> spam", "spam"),
    ("spam", "Such messages are spam", "spam"),
    ("spam", "spam, spam, spam", "spam"),
    ("spam", "ham. So it is normal.", "ham"),
    ("spam", "spam\nham", "spam"),
    # something else
    ("spam", "", None),
    ("spam", " \n ", None),
    ("spam", "junk", None),
    ("spam", "I cannot say", None),
    ("spam", "Let me think about spam filters", None),
    ("spam", "spam filters are a topic", None),
    ("spam", "Here is my answer:\nspam", None),
    ("spam", "spam?! or so?", None),
    ("spam", "Spam? I doubt it.", None),
    ("spam", "is it spam? maybe", None),
    # two classes
    ("spam", "spam or ham", None),
    ("spam", "spam, not ham", None),
    ("spam", "Ham. Spam would offer a prize.", None),
    ("spam", "It is normal: spam", None),
    # denied
    ("spam", "not spam", None),
    ("spam", "Not spam.", None),
    ("spam", "It is not spam", None),
    ("spam", "It isn't: spam", None),
    ("spam", "I don't think this is spam", None),
    ("spam", "I don’t think this is spam", None),
    ("spam", "I can't say that it is spam", None),
    ("spam", "It cannot be that this is spam", None),
    ("spam", "Nor would I say the answer is spam", None),
    ("spam", "No: spam", None),
    ("spam", "Spam: no", None),
    ("spam", "Spam? No.", None),
    ("spam", "non-spam", None),
    ("spam", "This is never spam", None),
    # inside other words
    ("spam", "spammy", None),
    ("spam", "antispam", None),
    ("spam", "Hamburg", None),
    ("spam", "The answer is spamming", None),
    ("spam", "spam's", None),
    ("spam", "ham_1", None),
    ("spam", "spam.The", None),
    # thinking aloud
    ("spam", "<think>ham, surely</think>spam", "spam"),
    ("spam", "\n<think>\nIt is ham.\nNo.\n</think>\n\nThe answer is spam", "spam"),
    ("spam", "<think></think>", None),
    ("spam", "<think>So the answer is spam", None),
    ("spam", "<think>\nspam", None),
    # a label that denies another
    ("not spam", "not spam", "ham"),
    ("not spam", "It is: not spam.", "ham"),
    ("not spam", "Not spam, I think", "ham"),
    ("not spam", "spam", "spam"),
    ("not spam", "not  spam", None),
    ("not spam", "spam, not spam", None),
    ("not spam", "It is not really spam", None),
    ("yes", "Yes", "same"),
    ("yes", "No", "other"),
    ("yes", "No, they do not say the same.", "other"),
    ("yes", "Yes, they do not differ.", None),
    ("yes", "yes and no", None),
    ("yes", "They do not: no", None),
    ("yes", "Nothing", None),
    # a label inside another
    ("negative", "negative", "neg"),
    ("negative", "Very negative!", "very"),
    ("negative", "It is very negative", "very"),
    ("negative", "It is quite negative", None),
    ("negative", "very negative, negative", None),
    ("negative", "ok.", "ok"),
    # numbers
    ("digits", "1", "one"),
    ("digits", "12", "twelve"),
    ("digits", "-1", "minus"),
    ("digits", "Answer: 12.", "twelve"),
    ("digits", "1.", "one"),
    ("digits", "123", None),
    ("digits", "2", None),
    ("digits", "-12", None),
    ("digits", "1.5", None),
    ("digits", "1,000", None),
    ("digits", "3:1", None),
    ("digits", "1/3", None),
    ("digits", "1 2", None),
    ("digits", "1 12", None),
    ("digits", "1st", None),
    ("digits", "1 star", None),
    *[("digits", answer, None) for answer in NUMBERS.splitlines()],
    ("digits", "-> 1", "one"),
    ("digits", "=1", "one"),
    ("digits", "Answer:12", "twelve"),
    ("digits", "１", "one"),
    ("digits", "**1**", "one"),
    ("digits", "(1) because", "one"),
    *[("spam", answer, None) for answer in DOUBTS.splitlines()],
    # other scripts' marks, and what can't be seen
    ("spam", "spam。", "spam"),
    ("spam", "答案：spam", "spam"),
    ("spam", "ｓｐａｍ！", "spam"),
    ("spam", "«spam»", "spam"),
    ("spam", "„spam“", "spam"),
    ("spam", "「spam」", "spam"),
    ("spam", "¡spam!", "spam"),
    ("spam", "\u200bspam\ufeff", "spam"),
    ("spam", "sp\u00adam", "spam"),
    ("spam", "\u00a0spam\u00a0.", "spam"),
    ("spam", "<thinking>ham</thinking>spam", "spam"),
    ("spam", '{"label": "spam"}', "spam"),
    ("spam", "spam。它很像广告", "spam"),
    ("spam", "❌ spam", None),
    ("spam", "100% spam", None),
    ("chinese", "正面。", "positive"),
    ("chinese", "答案：正面", "positive"),
    ("chinese", "《正面》", "positive"),
    ("chinese", "不是正面", None),
    ("chinese", "不：正面", None),
    ("chinese", "正面，负面", None),
    # one word, up to case, for two classes
    ("case", "a", None),
    ("case", "A", None),
    ("german", "STRASSE", "road"),
    # punctuation is all there is
    ("smileys", ":(", "sad"),
    ("smileys", ":)", "happy"),
    ("smileys", "well :) this is", None),
    ("smileys", "...", None),
]


@pytest.mark.parametrize(("name", "answer", "expected"), ANSWERS, ids=[f"{n}: {a!r}" for n, a, _ in ANSWERS])
def test_an_answer_names_one_class_or_none(name, answer, expected):
    assert VERBALIZERS[name].parse(answer) == expected


fragments = st.sampled_from(
    ["The answer is ", "not ", "no", ": ", ". ", "\n", "<think>", "</think>", "= ", "x", "-> ", "\0"]
)
answers = st.text(st.characters(), max_size=20) | st.lists(fragments, max_size=6).map("".join)


@pytest.mark.parametrize("name", ["spam", "digits", "smileys"])
@given(answer=answers)
def test_an_answer_without_a_label_word_names_no_class(name, answer):
    verbalizer = VERBALIZERS[name]
    assume(not any(word.casefold() in answer.casefold() for word in verbalizer.candidates))
    assert verbalizer.parse(answer) is None


@given(
    word=st.sampled_from(["ham", "normal", "spam"]),
    before=st.sampled_from(["", " ", '"', "**", "The answer is ", "Category: ", "<think>ham or spam</think>\n"]),
    after=st.sampled_from(["", ".", '"', "**", "\n\nThat is ham or spam.", "!"]),
    dress=st.sampled_from([str, str.upper, str.title]),
)
def test_a_plain_answer_names_its_class(word, before, after, dress):
    owner = "spam" if word == "spam" else "ham"
    assert VERBALIZERS["spam"].parse(before + dress(word) + after) == owner


@given(
    st.permutations(["ham", "spam", "x"]), st.lists(fragments.filter(lambda f: f not in ("\n", "</think>")), max_size=4)
)
def test_an_answer_that_mentions_two_classes_names_none(words, glue):
    parts = itertools.chain.from_iterable(itertools.zip_longest(words, glue, fillvalue=""))
    assert VERBALIZERS["spam"].parse(" ".join(parts)) is None


def test_parsing_needs_classes():
    with pytest.raises(VerbalizerError, match="bind the verbalizer"):
        Verbalizer(["x", "y"]).parse("x")
    assert Verbalizer(["x", "y"]).bind([7, 3]).parse("y") == 7


# identity


def test_repr_shows_the_words():
    assert repr(Verbalizer({"b": ["x", "y"], "a": "z"})) == "Verbalizer({'a': 'z', 'b': ['x', 'y']})"
    assert repr(Verbalizer(["x", "y"])) == "Verbalizer({0: 'x', 1: 'y'})"


def test_verbalizers_are_equal_when_they_score_alike():
    verbalizer = Verbalizer({"a": "x", "b": "y"})
    twin = Verbalizer({"b": ["y"], "a": ["x"]})
    assert verbalizer == twin == pickle.loads(pickle.dumps(verbalizer)) == Verbalizer(["x", "y"]).bind(["a", "b"])
    assert len({verbalizer, twin}) == 1
    others = [
        Verbalizer({"a": "x", "c": "y"}),
        Verbalizer({"a": "x", "b": "z"}),
        Verbalizer({"a": "x", "b": "y"}, word_aggregation="max"),
        Verbalizer({"a": "x", "b": "y"}, token_aggregation="mean"),
        Verbalizer(["x", "y"]),
        "x",
    ]
    assert all(verbalizer != other for other in others)


def test_clone_shares_the_verbalizer():
    verbalizer = Verbalizer(["x", "y"])
    assert clone(verbalizer) is verbalizer
