"""A row of weight 2 is the row twice, and one of weight 0 is no row: in the heads, their folds, tuning and Auto."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data

from fewshot import (
    Auto,
    Classifier,
    Contrastive,
    Embedding,
    FineTuning,
    LabelPriorLogisticRegression,
    Readout,
    load,
)
from fewshot.heads.counting import merge_equal
from tests.conftest import language_model, sentence_model
from tests.contract import NEW, TEXTS, HashEncoder, data, keyword_lm, letters
from tests.test_head import blobs

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]

X, Y = data(3)
X, Y = [*X, *(f"{text} today" for text in X)], [*Y, *Y]
COUNTS = np.random.RandomState(3).randint(0, 4, size=len(X))
NAMES = {name: name for name in TEXTS}


def repeated(counts, *columns):
    return [[value for value, n in zip(column, counts, strict=True) for _ in range(n)] for column in columns]


class TestDistinct:
    def test_the_first_of_equal_ones_and_their_sum(self):
        rows, weights = merge_equal(list("abcab"), np.array([0.0, 1, 0, 2, 3]))
        assert rows.tolist() == [1, 3]
        assert weights.tolist() == [4.0, 2.0]

    def test_nothing_to_say_where_all_differ(self):
        rows, weights = merge_equal(list("abc"))
        assert rows.tolist() == [0, 1, 2]
        assert weights is None


class TestHead:
    @pytest.mark.parametrize(
        "settings", [{}, {"average": False}, {"tau": 2.0, "C": 1.0}, {"class_weight": "balanced"}, {"tau": 0.0}]
    )
    @pytest.mark.parametrize("several", [False, True])
    def test_a_weight_is_a_number_of_rows(self, settings, several):
        X, y, prior = blobs(n=40, dim=5 if several else 60, noise=2.0)
        counts = np.random.RandomState(1).randint(0, 4, size=40)
        if several:
            y = ((X @ prior.T) > 1.0).astype(int)
        weighted = LabelPriorLogisticRegression(**settings).fit(X, y, prior=prior, sample_weight=counts)
        rows = np.repeat(np.arange(40), counts)
        again = LabelPriorLogisticRegression(**settings).fit(X[rows], y[rows], prior=prior)
        assert weighted.cv_log_loss_ == pytest.approx(again.cv_log_loss_, rel=1e-12)
        np.testing.assert_allclose(weighted.coef_, again.coef_, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(weighted.intercept_, again.intercept_, rtol=1e-9, atol=1e-12)
        plain = LabelPriorLogisticRegression(**settings).fit(X, y, prior=prior)
        assert np.abs(plain.coef_ - again.coef_).max() > 0.005

    def test_scikit_learn_finds_them_equal(self):
        check_sample_weight_equivalence_on_dense_data("LabelPriorLogisticRegression", LabelPriorLogisticRegression())

    def test_copies_are_never_on_both_sides_of_a_fold(self):
        X, y, prior = blobs(n=12)
        thrice = LabelPriorLogisticRegression().fit(np.repeat(X, 3, 0), np.repeat(y, 3), prior=prior)
        once = LabelPriorLogisticRegression().fit(X, y, prior=prior, sample_weight=np.full(12, 3.0))
        assert thrice.cv_log_loss_ == once.cv_log_loss_
        few = LabelPriorLogisticRegression().fit(np.repeat(X[:3], 3, 0), np.repeat(y[:3], 3), prior=prior)
        assert not few.cv_log_loss_  # of one text a class nothing can be held out, however often it stands there

    @pytest.mark.parametrize("names", [True, False])
    def test_a_class_of_no_weight_is_a_class_without_rows(self, names):
        X, y, prior = blobs(n=30)
        prior = prior if names else None
        weight = (y != 1).astype(float)
        head = LabelPriorLogisticRegression(tau=2.0 if names else 0.0, C=1.0).fit(X, y, prior, sample_weight=weight)
        assert head.classes_.tolist() == [0, 1, 2]
        kept = LabelPriorLogisticRegression(tau=2.0 if names else 0.0, C=1.0).fit(
            X[y != 1], y[y != 1], None if prior is None else prior[[0, 2]]
        )
        np.testing.assert_allclose(head.coef_[[0, 2]], kept.coef_, atol=1e-12)
        np.testing.assert_allclose(head.intercept_[[0, 2]], kept.intercept_, atol=1e-12)
        if names:  # which speaks by its name, at the mean intercept
            np.testing.assert_array_equal(head.coef_[1], 2.0 * prior[1])
            assert head.intercept_[1] == pytest.approx(kept.intercept_.mean())
        else:
            assert (head.predict_proba(X)[:, 1] < 1e-6).all()

    def test_classes_that_the_rows_lack_stand_at_the_mean_intercept(self):
        X, y, prior = blobs(n=60, classes=4)
        X, y = X[(y != 2) & ((y != 0) | (np.arange(60) < 12))], y[(y != 2) & ((y != 0) | (np.arange(60) < 12))]
        head = LabelPriorLogisticRegression(tau=3.0, C=1.0).fit(X, y, prior, classes=range(4))
        seen = LabelPriorLogisticRegression(tau=3.0, C=1.0).fit(X, y, prior[[0, 1, 3]])
        np.testing.assert_allclose(head.intercept_[[0, 1, 3]], seen.intercept_)
        assert np.ptp(seen.intercept_) > 0.1
        assert head.intercept_[2] == pytest.approx(seen.intercept_.mean())
        np.testing.assert_array_equal(head.coef_[2], 3.0 * prior[2])

    def test_a_label_of_all_rows_or_of_none_is_as_frequent_as_they_say(self):
        X, y, prior = blobs(n=30)
        targets = np.stack([np.ones(30), y == 1, np.zeros(30)], axis=1).astype(int)
        weights = np.random.RandomState(0).randint(1, 4, size=30)
        head = LabelPriorLogisticRegression(tau=1.0, C=1.0).fit(X, targets, prior, weights)
        means = np.average(head.predict_proba(X), axis=0, weights=weights)
        total = weights.sum()
        assert means[[0, 2]] == pytest.approx([(total + 0.5) / (total + 1), 0.5 / (total + 1)])
        np.testing.assert_array_equal(head.coef_[[0, 2]], prior[[0, 2]])


def tiny(strategy):
    return Classifier(load(sentence_model()), strategy=strategy, random_state=0)


CASES = {
    "default head": lambda: Classifier(HashEncoder(), strategy=Embedding(), random_state=0),
    "Auto": lambda: Classifier(HashEncoder(), random_state=0),
    "foreign head": lambda: Classifier(HashEncoder(), strategy=Embedding(LogisticRegression(tol=1e-12, max_iter=5000))),
    "tuned": lambda: tiny(Embedding(tuning=Contrastive(steps=3))),
    "tuned in small steps": lambda: tiny(Embedding(tuning=Contrastive(steps=3, batch_size=8))),
    "readout": lambda: Classifier(keyword_lm(hidden=letters), strategy=Readout(), random_state=0),
    "fine-tuning": lambda: Classifier(
        language_model("bert"),
        "{{ text }} It was {{ label }}.",
        strategy=FineTuning(steps=2, calibration=None, class_weight="balanced"),
        random_state=0,
    ),
    "new layer": lambda: tiny(FineTuning("head", steps=2)),
}


@pytest.mark.parametrize("name", CASES)
class TestClassifier:
    def test_a_weight_is_a_number_of_rows(self, name):
        weighted = CASES[name]().fit(X, Y, sample_weight=COUNTS).predict_log_proba(NEW)
        again = CASES[name]().fit(*repeated(COUNTS, X, Y)).predict_log_proba(NEW)
        np.testing.assert_allclose(weighted, again, atol=1e-4)
        plain = CASES[name]().fit(X, Y).predict_log_proba(NEW)
        assert np.abs(plain - again).max() > 2e-3

    def test_a_class_of_no_weight_is_as_if_its_rows_were_not_there(self, name):
        weight = np.array([float(own != "bug report") for own in Y])
        clf = CASES[name]().fit(X, Y, sample_weight=weight)
        assert clf.classes_.tolist() == sorted(TEXTS)
        less = CASES[name]().set_params(verbalizer=NAMES)
        less.fit(*zip(*[pair for pair in zip(X, Y, strict=True) if pair[1] != "bug report"], strict=True))
        np.testing.assert_allclose(clf.predict_proba(NEW), less.predict_proba(NEW), atol=1e-6)


def test_auto_compares_on_distinct_rows():
    clf = Classifier(HashEncoder(), strategy=Auto(), random_state=0).fit([*X, *X[:5]], [*Y, *Y[:5]])
    assert clf.report_.rows.tolist() == list(range(len(X)))
