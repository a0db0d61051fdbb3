"""Several labels a row: indicator matrices in and out, names from columns or words, zero-shot too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from fewshot import (
    Channel,
    Classifier,
    Embedding,
    FewshotWarning,
    InputError,
    Prompting,
    Readout,
    UnsupportedError,
    Verbalizer,
)
from tests.contract import ABOUT, TEXTS, HashEncoder, keyword_lm

NAMES = ["praise", "billing", "bug report"]  # not sorted, as a user's columns may be
PARTS = [(text, {name}) for name, group in TEXTS.items() for text in group]
X = [text for text, _ in PARTS] + [f"{a} and {b}" for (a, _), (b, _) in zip(PARTS, PARTS[4:], strict=False)]
Y = pd.DataFrame({name: [int(any(hint in text.lower() for hint in ABOUT[name])) for text in X] for name in NAMES})
WORDS = {name: name for name in NAMES}


def classifier(head=None, **params):
    return Classifier(HashEncoder(), strategy=Embedding(head), random_state=0, **params)


HEADS = [None, LogisticRegression(C=100), KNeighborsClassifier(1), LinearSVC()]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
class TestFitted:
    def test_predictions_are_indicators_in_the_columns_of_y(self, head):
        clf = classifier(head).fit(X, Y)
        assert clf.multi_label_
        assert clf.classes_.tolist() == NAMES
        predicted = clf.predict(X)
        assert predicted.shape == Y.shape
        assert set(np.unique(predicted)) == {0, 1}
        assert f1_score(Y, predicted, average="macro") > 0.9
        assert clf.score(X, Y) > 0.8

    def test_the_numbers_agree(self, head):
        clf = classifier(head).fit(X, Y)
        odds, proba = clf.decision_function(X), clf.predict_proba(X)
        assert np.allclose(proba, 1 / (1 + np.exp(-odds)))
        assert np.allclose(np.log(proba), clf.predict_log_proba(X))
        assert ((proba > 0.5) == clf.predict(X)).all()
        assert ((proba >= 0) & (proba <= 1)).all()

    def test_the_order_of_columns_does_not_matter(self, head):
        one, other = classifier(head).fit(X, Y), classifier(head).fit(X, Y[sorted(NAMES)])
        assert np.allclose(one.predict_proba(X), other.predict_proba(X)[:, [sorted(NAMES).index(n) for n in NAMES]])

    def test_an_array_has_the_sorted_classes_of_the_verbalizer(self, head):
        named = classifier(head).fit(X, Y)
        for matrix in (Y[sorted(NAMES)].to_numpy(), csr_matrix(Y[sorted(NAMES)].to_numpy())):
            clf = classifier(head, verbalizer=WORDS).fit(X, matrix)
            assert clf.classes_.tolist() == sorted(NAMES)
            assert np.allclose(clf.predict_proba(X)[:, [sorted(NAMES).index(n) for n in NAMES]], named.predict_proba(X))

    @pytest.mark.parametrize("value", [0, 1])
    def test_a_label_of_every_row_is_expected_of_every_text_and_one_of_none_of_none(self, head, value):
        clf = classifier(head).fit(X, Y.assign(praise=value))
        proba = clf.predict_proba(X)
        assert np.isfinite(clf.decision_function(X)).all()
        assert (clf.predict(X)[:, 0] == value).all()
        share = (value * len(X) + 0.5) / (len(X) + 1)  # half a row more of either kind
        assert proba[:, 0].mean() == pytest.approx(share)
        other = classifier(head).fit(X, Y[NAMES[1:]]).predict_proba(X)
        assert np.allclose(proba[:, 1:], other)

    def test_a_single_label_with_a_contrast(self, head):
        clf = classifier(head).fit(X, Y.assign(praise=0, billing=0))
        assert f1_score(Y["bug report"], clf.predict(X)[:, 2]) > 0.8

    def test_fitting_twice_is_the_same(self, head):
        clf = classifier(head).fit(X, Y)
        first = clf.predict_proba(X)
        assert (clone(clf).fit(X, Y).predict_proba(X) == first).all()


def test_bool_matrices_and_polars():
    import polars

    expected = classifier().fit(X, Y).predict_proba(X)
    assert (classifier().fit(X, Y.astype(bool)).predict_proba(X) == expected).all()
    assert (classifier().fit(X, polars.DataFrame(Y.to_dict("list"))).predict_proba(X) == expected).all()


def test_scikit_learn_validates_it():
    matrix = Y[sorted(NAMES)].to_numpy()
    clf = classifier(verbalizer=WORDS)
    assert cross_val_predict(clf, X, matrix, cv=3).shape == matrix.shape
    assert np.mean(cross_val_score(clf, X, matrix, cv=3, scoring="f1_macro")) > 0.5


class TestZeroShot:
    clf = classifier(verbalizer=Verbalizer(WORDS, multi_label=True))

    @pytest.mark.parametrize("rows", [None, X])
    def test_the_nearest_label_is_predicted_and_the_others_ranked(self, rows):
        clf = clone(self.clf).fit(rows)
        assert clf.multi_label_
        single = classifier(verbalizer=WORDS).fit(None)
        assert (clf.predict(X).sum(axis=1) == 1).all()
        assert (clf.predict(X).argmax(axis=1) == single.predict_proba(X).argmax(axis=1)).all()
        odds, proba = clf.decision_function(X), single.predict_proba(X)
        assert (odds.argsort(axis=1)[:, -1] == proba.argsort(axis=1)[:, -1]).all()

    def test_names_instead_of_rows(self):
        clf = Classifier(HashEncoder(), verbalizer=Verbalizer(["a good thing", "a bad thing"], multi_label=True))
        assert clf.fit(None, ["bad", "good"]).predict(X).shape == (len(X), 2)

    def test_an_empty_frame_with_named_columns(self):
        clf = classifier().fit(None, pd.DataFrame(columns=NAMES, dtype=int))
        assert clf.classes_.tolist() == NAMES
        assert clf.predict(X).shape == (len(X), 3)

    def test_two_equally_near_labels(self):
        clf = Classifier(HashEncoder(), verbalizer=Verbalizer({"a": "same", "b": "SAME"}, multi_label=True))
        with pytest.warns(FewshotWarning, match="alike.*'a' and 'b'"):
            clf.fit()
        assert np.allclose(clf.decision_function(X), 0)
        assert np.allclose(clf.predict_proba(X), 0.5)


class TestBadInput:
    def test_cells_that_are_no_indicators(self):
        with pytest.raises(InputError, match=r"y\[2, 1\] is .*3"):
            classifier(verbalizer=WORDS).fit(X[:3], np.array([[0, 1, 0], [1, 0, 0], [0, 3, 0]]))
        with pytest.raises(InputError, match=r"y\[0, 0\] is .*nan"):
            classifier(verbalizer=WORDS).fit(X[:1], np.array([[np.nan, 1, 0]]))

    def test_another_length(self):
        with pytest.raises(InputError, match=f"X has {len(X)} rows and y has {len(X) - 1}"):
            classifier().fit(X, Y[:-1])

    def test_columns_and_words_that_do_not_fit(self):
        with pytest.raises(InputError, match="y has 2 columns and there are 3 classes"):
            classifier(verbalizer=WORDS).fit(X, Y[NAMES[:2]])
        with pytest.raises(InputError, match="y has 3 columns and there are 2 classes"):
            classifier().fit(X, Y.set_axis(["a", "a", "b"], axis=1))
        with pytest.raises(InputError, match="DataFrame whose columns are the classes"):
            Classifier(keyword_lm()).fit(X, Y.to_numpy())
        with pytest.raises(
            InputError, match=r"y has 3 columns, and the list has words for 2.*in the order of the columns"
        ):
            classifier(verbalizer=NAMES[:2]).fit(X, Y.to_numpy())

    def test_nothing_to_learn(self):
        with pytest.raises(InputError, match="nothing to learn"):
            classifier().fit(X, Y * 0)

    def test_one_label_a_row_where_several_were_announced(self):
        with pytest.raises(InputError, match="indicator matrix"):
            TestZeroShot.clf.fit(X, ["praise"] * len(X))

    def test_strategies_that_know_one_class_a_text(self):
        for strategy in (Readout("labels"), Channel()):
            with pytest.raises(UnsupportedError, match=f"{type(strategy).__name__} gives each text one class"):
                Classifier(keyword_lm(), "{{ label }} {{ text }}", strategy=strategy).fit(X, Y)
        template = "{{ text }} {{ candidate }}? {{ label }}"
        for strategy in (Prompting(), None):
            assert Classifier(keyword_lm(), template, strategy=strategy).fit(X, Y).predict_proba(X).shape == Y.shape

    def test_weights_for_a_head_a_label(self):
        weights = np.full(len(X), 2)
        assert classifier().fit(X, Y, sample_weight=weights).multi_label_
        with pytest.raises(UnsupportedError, match="no sample_weight a label"):
            classifier(LogisticRegression()).fit(X, Y, sample_weight=weights)


class TestWithoutNames:
    """An encoder learns the columns of a matrix that nobody named."""

    def test_it_is_the_same_as_names_that_do_not_count(self):
        clf = classifier().fit(X, Y.to_numpy())
        assert clf.classes_.tolist() == [0, 1, 2]
        named = Classifier(HashEncoder(), strategy=Embedding(label_prior=0.0)).fit(X, Y)
        assert np.allclose(clf.predict_proba(X), named.predict_proba(X))

    @pytest.mark.parametrize("words", [NAMES, np.array(NAMES), Verbalizer(NAMES)], ids=["list", "array", "Verbalizer"])
    @pytest.mark.parametrize("matrix", [Y.to_numpy(), Y.to_numpy().tolist(), csr_matrix(Y.to_numpy())])
    def test_a_list_of_words_names_the_columns_in_their_order(self, words, matrix):
        clf = classifier(verbalizer=words).fit(X, matrix)
        assert clf.classes_.tolist() == NAMES
        assert np.allclose(clf.predict_proba(X), classifier().fit(X, Y).predict_proba(X))


@pytest.mark.parametrize(
    "head",
    [MultiOutputClassifier(LogisticRegression(C=100)), ClassifierChain(LogisticRegression(C=100), order=[0, 1, 2])],
)
class TestHeadsOfSeveralLabels:
    def test_they_are_fitted_as_they_are(self, head):
        clf = classifier(head).fit(X, Y)
        assert type(clf.strategy_.head_) is type(head)
        alone = clone(head).fit(HashEncoder().encode(X), Y[sorted(NAMES)].to_numpy())
        assert np.array_equal(
            clf.predict(X)[:, [NAMES.index(name) for name in sorted(NAMES)]], alone.predict(HashEncoder().encode(X))
        )

    def test_one_class_a_row_is_not_for_them(self, head):
        with pytest.raises(UnsupportedError, match=r"several labels a row.*give the classifier inside it, LogisticReg"):
            classifier(head).fit(X[:8], ["praise", "billing"] * 4)
