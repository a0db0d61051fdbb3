"""Labels of every make: enumerations, tensors, columns, dates; and those that are no labels, or hardly two."""

from __future__ import annotations

import datetime
import enum
import logging

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression

from fewshot import (
    Auto,
    Classifier,
    Distillation,
    Embedding,
    FewshotError,
    FewshotWarning,
    InputError,
    LabelPriorLogisticRegression,
    Prompting,
    Verbalizer,
    VerbalizerError,
)
from fewshot.task.resolve import _say_once
from tests.contract import EXPECTED, NEW, HashEncoder, data, keyword_lm

X, Y = data(3)
NAMES = ["billing", "bug report", "praise"]
NUMBERS = [NAMES.index(name) for name in Y]
FAST = Embedding(LabelPriorLogisticRegression(tau=5.0, C=10.0))


class Topic(str, enum.Enum):  # noqa: UP042 - StrEnum prints its value, and is not what people have
    PRAISE = "praise"
    BILLING = "billing"
    BUG = "bug report"


class Plain(enum.Enum):
    A = "a"
    B = "b"


def encoder(strategy=FAST, **params):
    return Classifier(HashEncoder(), strategy=strategy, random_state=0, **params)


class TestTextIsText:
    """A member of ``class Topic(str, Enum)`` is its value: classes, predictions and the keys of words."""

    @pytest.mark.parametrize(
        "make", [list, lambda y: np.array(y, dtype=object), pd.Series], ids=["list", "array", "Series"]
    )
    def test_as_labels(self, make):
        clf = encoder().fit(X, make([Topic(name) for name in Y]))
        assert clf.classes_.tolist() == NAMES
        assert set(map(type, clf.predict(NEW).tolist())) == {str}
        assert (clf.predict(NEW) == encoder().fit(X, Y).predict(NEW)).all()
        assert clf.predict(NEW)[0] == Topic.BILLING
        assert clf.class_counts_.tolist() == [Y.count(name) for name in NAMES]
        assert clf.score(NEW, make([Topic(name) for name in EXPECTED])) == clf.score(NEW, EXPECTED) > 0.7

    @pytest.mark.parametrize("words", [None, {topic: topic for topic in Topic}, {t: [t, f"{t.value}!"] for t in Topic}])
    def test_as_classes_and_words_of_a_language_model(self, words):
        clf = Classifier(keyword_lm(), verbalizer=words, strategy=Prompting()).fit(None, list(Topic))
        assert clf.classes_.tolist() == NAMES
        assert all(type(word) is str for word in clf.verbalizer_.candidates)
        assert clf.predict(NEW).tolist() == EXPECTED
        assert Classifier(keyword_lm(), strategy=Prompting(shots=3)).fit(
            X, [Topic(name) for name in Y]
        ).n_texts_ == len(X)

    def test_as_texts(self):
        clf = Classifier(keyword_lm(), strategy=Prompting()).fit(None, NAMES)
        assert clf.preview([Topic.BUG])[0].text == clf.preview(["bug report"])[0].text

    def test_members_without_an_order_are_refused_with_a_cure(self):
        with pytest.raises(InputError, match=r"can't be sorted.*of an Enum pass the values"):
            encoder().fit(["x", "y"], [Plain.A, Plain.B])


class TestNumbersAreNumbers:
    @pytest.mark.parametrize(
        "make",
        [
            list, np.array, torch.tensor, pd.Series, pl.Series, tuple,
            lambda y: np.array(y, dtype=np.uint8), lambda y: pd.Series(y, dtype="Int64"),
            lambda y: [np.int64(v) for v in y], lambda y: pd.Series(y, dtype="category"),
        ],
        ids=["list", "array", "torch", "pandas", "polars", "tuple", "uint8", "Int64", "scalars", "category"],
    )  # fmt: skip
    def test_an_encoder_needs_no_names(self, make):
        clf = encoder().fit(X, make(NUMBERS))
        assert clf.classes_.tolist() == [0, 1, 2]
        expected = encoder().fit(X, NUMBERS).predict_proba(NEW)
        assert np.array_equal(clf.predict_proba(NEW), expected)

    def test_they_are_learnt_without_the_prior_of_names(self):
        clf = encoder(Embedding()).fit(X, NUMBERS)
        plain = encoder(Embedding(label_prior=0.0)).fit(X, Y)
        assert np.array_equal(clf.predict_proba(NEW), plain.predict_proba(NEW))
        assert clf.strategy_.prototypes_ is None
        assert not clf.verbalizer_.named
        assert np.abs(clf.predict_proba(NEW) - encoder(Embedding()).fit(X, Y).predict_proba(NEW)).max() > 0.01

    @pytest.mark.parametrize(
        "classes",
        [
            [False, True], [0, 1], [-3, 7], [0.0, 1.0], [10**20, 10**21],
            [datetime.date(2025, 1, 1), datetime.date(2026, 1, 1)],
            [np.datetime64("2025-01-01", "ns"), np.datetime64("2026-01-01", "ns")],
        ],
        ids=["bool", "int", "negative", "whole floats", "large", "dates", "datetime64"],
    )  # fmt: skip
    def test_whatever_can_be_sorted_is_a_class(self, classes):
        y = [classes[i == 0] for i in NUMBERS]
        clf = encoder().fit(X, y)
        assert len(clf.classes_) == 2
        assert clf.classes_[0] < clf.classes_[1]
        assert clf.score(X, y) == 1.0

    def test_a_language_model_goes_on_refusing(self):
        for strategy in (None, Prompting(), Auto()):
            with pytest.raises(VerbalizerError, match=r"class 0 \(int\) is not a name that a model could know"):
                Classifier(keyword_lm(), strategy=strategy).fit(X, NUMBERS)
        with pytest.raises(VerbalizerError, match=r"class 0 \(int\) is not a name"):
            encoder().fit(None, [0, 1])

    def test_a_scale_is_not_a_class(self):
        with pytest.raises(InputError, match=r"y holds 0\.5.*numbers on a scale are for regression"):
            encoder().fit(X, [i / 2 for i in NUMBERS])
        clf = encoder(verbalizer={0.0: "bad", 0.5: "fair", 1.0: "good"}).fit(X, [i / 2 for i in NUMBERS])
        assert clf.classes_.tolist() == [0.0, 0.5, 1.0]
        with pytest.raises(InputError, match=r"The classes are \[0\.0, 0\.5, 1\.0\], and y\[0\] is '"):
            clf.score(X, Y)

    def test_one_sentence_says_so_once(self, caplog):
        _say_once.cache_clear()
        with caplog.at_level(logging.WARNING, logger="fewshot"):
            for _ in range(3):
                encoder().fit(X, NUMBERS)
            encoder().fit(X, Y)
        (record,) = caplog.records
        assert record.getMessage().startswith(
            "The classes [0, 1, 2] have no names, so they are learnt from the labelled"
        )

    def test_the_report_and_the_explanation_show_no_names(self):
        clf = Classifier(HashEncoder(), random_state=0).fit(X, NUMBERS)
        assert "the classes have no names" in str(clf.report_)
        shown = clf.explain(NEW[0])
        assert all(line.similarity is None for line in shown.classes)
        assert "~" not in shown.questions[0].prompt.text

    def test_a_foreign_head_never_asks_for_words(self):
        named = encoder(Embedding(LogisticRegression())).fit(X, Y)
        numbered = encoder(Embedding(LogisticRegression())).fit(X, NUMBERS)
        assert np.array_equal(named.predict_proba(NEW), numbered.predict_proba(NEW))

    def test_a_kept_one_comes_back(self, tmp_path):
        clf = encoder(Embedding()).fit(X, NUMBERS)
        again = Classifier.load(clf.save(tmp_path / "kept"), model=HashEncoder())
        assert np.array_equal(again.predict_proba(NEW), clf.predict_proba(NEW))
        assert repr(again.verbalizer_) == "Unnamed([0, 1, 2])"

    def test_unlabelled_rows_among_numbers(self):
        y = [None if i % 4 == 0 else label for i, label in enumerate(NUMBERS)]
        for unlabelled in (y, [-1 if label is None else label for label in y]):
            clf = encoder(Distillation(FAST, FAST)).fit(X, unlabelled)
            assert clf.classes_.tolist() == [0, 1, 2]
            assert clf.strategy_.soft_labels_.shape == (y.count(None), 3)


class TestAListOfWords:
    """A list is matched by class where some rows lack one, as the folds of a wrapper do."""

    def test_numbers_are_places_in_it(self):
        some = [i for i, label in enumerate(NUMBERS) if label != 1]
        clf = encoder(verbalizer=NAMES).fit([X[i] for i in some], [NUMBERS[i] for i in some])
        assert clf.classes_.tolist() == [0, 1, 2]
        named = encoder(verbalizer={name: name for name in NAMES}).fit([X[i] for i in some], [Y[i] for i in some])
        assert np.array_equal(clf.predict_proba(NEW), named.predict_proba(NEW))

    def test_names_are_matched_by_name(self):
        words = Verbalizer(["praise", "billing", "bug report"])
        for classes in (NAMES, NAMES[1:], ["billing"]):
            assert words.bind(classes).words == (("billing",), ("bug report",), ("praise",))
        assert Verbalizer([["bad", "awful"], "good"]).bind([False]).classes == (False, True)
        assert Verbalizer(["x", "y"]).bind(["b", "a"]).labels == ("x", "y")  # else in sorted order, as ever

    def test_what_can_not_be_matched_is_refused_with_the_mapping_as_a_cure(self):
        for classes in (["a", "b"], [1, 7], [-1, 0], [False, True]):
            with pytest.raises(VerbalizerError, match=r"3 classes.*and 2 classes.*a mapping \{class: label word\}"):
                Verbalizer(["x", "y", "z"]).bind(classes)


class TestOneColumn:
    @pytest.mark.parametrize(
        "make",
        [
            lambda y: np.array(y)[:, None],
            lambda y: pd.DataFrame({"label": y}),
            lambda y: pl.DataFrame({"label": y}),
        ],
        ids=["array", "pandas", "polars"],
    )
    @pytest.mark.parametrize("y", [Y, NUMBERS], ids=["names", "numbers"])
    def test_it_is_one_class_a_row(self, make, y):
        with pytest.warns(DataConversionWarning, match=rf"of shape \({len(X)}, 1\).*the class of each row"):
            clf = encoder().fit(X, make(y))
        assert np.array_equal(clf.predict_proba(NEW), encoder().fit(X, y).predict_proba(NEW))

    def test_texts_in_one_column(self):
        clf = encoder().fit(np.array(X, dtype=object)[:, None], Y)
        assert np.array_equal(clf.predict_proba(NEW), encoder().fit(X, Y).predict_proba(NEW))
        with pytest.raises(InputError, match=r"one-dimensional, a text per row. Got shape \(6, 2\)"):
            encoder().fit(np.array(X).reshape(6, 2), Y[:6])


@pytest.mark.parametrize("make", [encoder, lambda: Classifier(keyword_lm())], ids=["encoder", "language model"])
class TestWhatIsNoLabel:
    @pytest.mark.parametrize(
        ("y", "message"),
        [
            ([b"a", b"b"], r"y\[0\] is bytes: b'a'\. Decode the labels first"),
            (["spam", "spam\0"], r"y\[1\] is 'spam\\x00': arrays drop a NUL"),
            ([("a",), ("b",)], r"y\[0\] must be one class\. Got \('a',\).*MultiLabelBinarizer"),
            ([frozenset("a"), frozenset("b")], r"y\[0\] must be one class"),
            ([np.array([1]), np.array([2, 3])], r"y\[0\] must be one class"),
            (np.ma.array([0, 1], mask=[0, 1]), r"y\[1\] is None"),
            (np.array(["2025-01-01", "NaT"], dtype="datetime64[ns]"), r"y\[1\] is None"),
            ([1j, 2j], r"can't be sorted"),
        ],
        ids=["bytes", "NUL", "tuples", "sets", "arrays", "masked", "NaT", "complex"],
    )  # fmt: skip
    def test_it_is_named(self, make, y, message):
        with pytest.raises(FewshotError, match=message):
            make().fit(["text a", "text b"], y)

    @pytest.mark.parametrize("key", [float("nan"), np.float32("nan"), None, pd.NaT, pd.NA])
    def test_nothing_is_no_class(self, make, key):
        with pytest.raises(VerbalizerError, match="marks what is missing: give it a name"):
            make().set_params(verbalizer={key: "x", 1.0: "y"}).fit(None)


@pytest.mark.parametrize(
    "twins",
    [
        ("Spam", "spam"), ("spam", "spam "), ("a b", "a  b"),
        ("caf\u00e9", "cafe\u0301"), ("\ufeffspam", "spam"), ("\uff21", "a"),
    ],
    ids=["case", "blank", "inner blanks", "Unicode form", "byte order mark", "width"],
)  # fmt: skip
def test_classes_that_hardly_differ_are_pointed_out(twins):
    first, second = sorted(twins)
    with pytest.warns(FewshotWarning, match="differ only in case, blanks or Unicode form") as caught:
        clf = encoder(verbalizer={"other": "o", twins[0]: "x", twins[1]: "y"}).fit()
    assert f"{first!r} and {second!r}" in str(caught[0].message)
    assert len(clf.classes_) == 3
