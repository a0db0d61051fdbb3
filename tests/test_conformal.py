"""Conformal sets against their definition and their promise, and thresholds against trying every one."""

from __future__ import annotations

import pickle
from fractions import Fraction
from math import ceil

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from fewshot import Classifier, Embedding, FakeLM, InputError, UnsupportedError
from fewshot.conformal import ConformalClassifier, fit_threshold, predict_or_none
from fewshot.datasets import load_tickets
from tests.contract import HashEncoder, keyword_lm

TEXTS, LABELS = load_tickets()
METHODS = ("lac", "aps")
every_method = pytest.mark.parametrize("method", METHODS)


class Recorded(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose probabilities stand in the text itself: "0.2 0.8"."""

    def __init__(self, classes=("a", "b", "c")):
        self.classes = classes

    @property
    def classes_(self):
        return np.array(self.classes)

    def fit(self, X, y):
        raise AssertionError("a frozen classifier is not fitted")

    def predict_proba(self, X):
        return np.array([[float(number) for number in text.split()] for text in X])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def written(proba):
    return [" ".join(repr(float(number)) for number in row) for row in proba]


def simulated(n, n_classes=3, seed=0, sharpness=2.0):
    """Exchangeable rows: the label is drawn from a distribution of which the classifier sees an overconfident one."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(n_classes, 0.5), n)
    names = np.array(list("abcdefgh")[:n_classes])
    labels = names[(true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)]
    shown = (true + 0.01) ** sharpness
    return shown / shown.sum(axis=1, keepdims=True), labels.tolist()


def frozen(n_classes=3):
    return FrozenEstimator(Recorded(tuple("abcdefgh"[:n_classes])))


def against(row, column, method):
    """What speaks against a class, word for word as the papers say it; for rows without equal probabilities."""
    return 1 - row[column] if method == "lac" else sum(p for p in row if p > row[column])


def tfidf():
    return make_pipeline(TfidfVectorizer(), LogisticRegression(C=10))


class TestDefinition:
    @every_method
    @pytest.mark.parametrize("n", [9, 10, 19, 29, 57, 99])
    @pytest.mark.parametrize("alpha", ["0.1", "0.11", "0.29", "0.7", "0.95"])
    def test_the_quantile_is_that_of_exact_arithmetic(self, n, alpha, method):
        proba, labels = simulated(n, seed=n)
        conformal = ConformalClassifier(frozen(), float(alpha), method=method).fit(written(proba), labels)
        scores = sorted(against(row, "abc".index(label), method) for row, label in zip(proba, labels, strict=True))
        rank = ceil((n + 1) * (1 - Fraction(alpha)))
        assert conformal.quantile_ == pytest.approx(scores[rank - 1], abs=1e-12)
        assert conformal.n_calibration_ == n

    @pytest.mark.parametrize("n", [48, 97, 102, 106])
    def test_the_fewest_rows_that_alpha_allows_are_enough(self, n):
        """Where 1 / alpha is a little above n + 1 in floating point."""
        proba, labels = simulated(n)
        conformal = ConformalClassifier(frozen(), 1 / (n + 1)).fit(written(proba), labels)
        assert conformal.quantile_ == max(against(r, "abc".index(c), "lac") for r, c in zip(proba, labels, strict=True))

    @every_method
    def test_a_set_holds_the_classes_with_no_more_against_them(self, method):
        proba, labels = simulated(300, 5)
        conformal = ConformalClassifier(frozen(5), 0.2, method=method).fit(written(proba[:200]), labels[:200])
        wanted = [[against(row, c, method) <= conformal.quantile_ + 1e-12 for c in range(5)] for row in proba[200:]]
        sets = conformal.predict_set(written(proba[200:]))
        assert sets.dtype == bool
        assert sets.tolist() == wanted

    def test_adaptive_sets_are_never_empty_and_the_others_may_be(self):
        proba, labels = simulated(400, 2, sharpness=1.0)
        easy = [(row, label) for row, label in zip(proba, labels, strict=True) if row.max() > 0.8]
        texts, names = written([row for row, _ in easy]), [label for _, label in easy]
        sizes = {
            method: ConformalClassifier(frozen(2), 0.2, method=method)
            .fit(texts, names)
            .predict_set(["0.51 0.49"])
            .sum()
            for method in METHODS
        }
        assert sizes == {"lac": 0, "aps": 1}

    def test_sets_are_nested_in_alpha(self):
        proba, labels = simulated(300)
        texts = written(proba)
        wide, narrow = (ConformalClassifier(frozen(), a).fit(texts, labels).predict_set(texts) for a in (0.05, 0.3))
        assert (narrow <= wide).all()
        assert narrow.sum() < wide.sum()

    @every_method
    @pytest.mark.parametrize("alpha", [0.1, 0.3])
    def test_the_coverage_is_what_is_promised(self, method, alpha):
        """The mean of 200 draws of 99 calibration rows and 400 new ones; its standard error is about 0.003."""
        covered = []
        for seed in range(200):
            proba, labels = simulated(499, 4, seed)
            texts = written(proba)
            conformal = ConformalClassifier(frozen(4), alpha, method=method).fit(texts[:99], labels[:99])
            where = ["abcd".index(label) for label in labels[99:]]
            covered.append(conformal.predict_set(texts[99:])[np.arange(400), where].mean())
        error = np.std(covered) / np.sqrt(len(covered))
        assert np.mean(covered) == pytest.approx(1 - alpha, abs=4 * error)
        assert error < 0.005


class TestTheSplit:
    def test_one_part_fits_and_the_other_calibrates(self):
        conformal = ConformalClassifier(tfidf(), calibration_size=60, random_state=0).fit(TEXTS, LABELS)
        assert conformal.n_calibration_ == 60
        assert conformal.classes_.tolist() == sorted(set(LABELS))
        sets = conformal.predict_set(TEXTS)
        assert sets.shape == (len(TEXTS), 6)
        assert sets[np.arange(len(TEXTS)), np.searchsorted(conformal.classes_, LABELS)].mean() > 0.85
        assert np.array_equal(conformal.predict(TEXTS), conformal.classifier_.predict(TEXTS))
        assert np.array_equal(conformal.predict_proba(TEXTS), conformal.classifier_.predict_proba(TEXTS))

    def test_it_keeps_the_shares_of_the_classes(self):
        seen = []

        class Spy(Recorded):
            def fit(self, X, y):
                seen.append([y.count(name) for name in self.classes])
                return self

        for seed in range(5):
            conformal = ConformalClassifier(Spy(), random_state=seed)
            conformal.fit(["0.5 0.3 0.2"] * 60, ["a"] * 40 + ["b"] * 12 + ["c"] * 8)
        assert seen == [[20, 6, 4]] * 5

    def test_more_classes_than_calibration_rows(self):
        conformal = ConformalClassifier(tfidf(), alpha=0.25, calibration_size=4, random_state=0).fit(TEXTS, LABELS)
        assert conformal.n_calibration_ == 4

    def test_a_class_of_one_row_does_not_stop_it(self):
        names = [*LABELS, "billing"]
        rare = 0
        for seed in range(8):
            conformal = ConformalClassifier(tfidf(), random_state=seed)
            try:
                conformal.fit([*TEXTS, "a rare bird"], [*names[:-1], "rare"])
                rare += "rare" in conformal.classes_
            except InputError as error:
                assert "does not know ['rare'], the label of 1 rows" in str(error)  # noqa: PT017
        assert 0 < rare < 8

    def test_the_seed_decides(self):
        conformal = ConformalClassifier(tfidf(), random_state=3)
        first, second = (clone(conformal).fit(TEXTS, LABELS) for _ in range(2))
        other = clone(conformal).set_params(random_state=4).fit(TEXTS, LABELS)
        assert first.quantile_ == second.quantile_ != other.quantile_
        assert not hasattr(conformal, "classifier_")
        assert not hasattr(first.classifier[-1], "classes_")

    def test_it_is_an_estimator_like_others(self):
        conformal = ConformalClassifier(tfidf(), random_state=0)
        telling = [f"{text} {label}" for text, label in zip(TEXTS, LABELS, strict=True)]
        assert cross_val_score(conformal, telling, LABELS, cv=3).mean() > 0.8
        assert clone(conformal.set_params(alpha=0.2, classifier__logisticregression__C=1)).alpha == 0.2
        conformal.fit(TEXTS, LABELS)
        again = pickle.loads(pickle.dumps(conformal))
        assert np.array_equal(again.predict_set(TEXTS), conformal.predict_set(TEXTS))

    def test_a_failed_fit_leaves_the_previous_state(self):
        conformal = ConformalClassifier(tfidf(), random_state=0).fit(TEXTS, LABELS)
        before = conformal.predict_set(TEXTS)
        with pytest.raises(InputError):
            conformal.fit(TEXTS, LABELS[:-1])
        assert np.array_equal(conformal.predict_set(TEXTS), before)


class TestClassifiers:
    def test_a_zero_shot_classifier_calibrates_on_all_rows_and_survives_a_clone(self):
        clf = Classifier(keyword_lm()).fit(None, sorted(set(LABELS)))
        conformal = clone(ConformalClassifier(FrozenEstimator(clf))).fit(TEXTS, LABELS)
        assert conformal.n_calibration_ == len(TEXTS)
        assert np.array_equal(conformal.predict(TEXTS), clf.predict(TEXTS))
        where = [conformal.classes_.tolist().index(label) for label in LABELS]
        assert conformal.predict_set(TEXTS)[np.arange(len(TEXTS)), where].mean() >= 0.9

    @pytest.mark.parametrize("make", [list, tuple, np.array, pd.Series, iter], ids=lambda make: make.__name__)
    def test_any_container_of_texts(self, make):
        wanted = ConformalClassifier(tfidf(), random_state=0).fit(TEXTS, LABELS)
        got = ConformalClassifier(tfidf(), random_state=0).fit(make(TEXTS), pd.Series(LABELS, index=TEXTS))
        assert got.quantile_ == wanted.quantile_

    @pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
    def test_a_frame_stays_one_for_a_pipeline_that_picks_columns(self, frame):
        X = frame({"title": [text[:20] for text in TEXTS], "body": TEXTS})
        columns = ColumnTransformer([(name, CountVectorizer(), name) for name in ("title", "body")])
        conformal = ConformalClassifier(make_pipeline(columns, LogisticRegression()), random_state=0).fit(X, LABELS)
        assert conformal.predict_set(X).shape == (len(TEXTS), 6)

    @pytest.mark.parametrize("as_frame", [True, False])
    def test_rows_of_fields(self, as_frame):
        lm = FakeLM(lambda query: [query.prefix.count("fun"), query.prefix.count("dull")])
        rows = [{"title": "fun", "body": "fun"}, {"title": "so", "body": "dull"}] * 10
        X = pd.DataFrame(rows) if as_frame else rows
        clf = Classifier(lm, "{{ title }} {{ body }} {{ label }}", {1: "good", 0: "poor"}).fit()
        conformal = ConformalClassifier(FrozenEstimator(clf)).fit(X, [0, 1] * 10)
        assert conformal.classes_.tolist() == [0, 1]
        assert conformal.predict_set(X).shape == (20, 2)

    def test_integer_classes(self):
        names = sorted(set(LABELS))
        numbers = np.array([names.index(label) for label in LABELS])
        by_name = ConformalClassifier(tfidf(), random_state=0).fit(TEXTS, LABELS)
        by_number = ConformalClassifier(tfidf(), random_state=0).fit(TEXTS, numbers)
        assert by_number.classes_.tolist() == list(range(6))
        assert np.array_equal(by_number.predict_set(TEXTS), by_name.predict_set(TEXTS))


class TestBadInput:
    @pytest.mark.parametrize("alpha", [0, 1, -0.1, 10, float("nan")])
    def test_alpha(self, alpha):
        with pytest.raises(InputError, match="alpha must be above 0 and below 1"):
            ConformalClassifier(tfidf(), alpha).fit(TEXTS, LABELS)

    def test_method(self):
        with pytest.raises(InputError, match=r"method must be 'lac', 'aps' or 'ordinal-aps'. Got 'raps'"):
            ConformalClassifier(tfidf(), method="raps").fit(TEXTS, LABELS)

    def test_too_few_calibration_rows(self):
        texts, labels = ["0.5 0.3 0.2"] * 9, ["a"] * 9
        ConformalClassifier(frozen(), 0.1).fit(texts, labels)
        with pytest.raises(InputError, match=r"alpha=0.1 needs at least 9 calibration rows. Got 8: give more"):
            ConformalClassifier(frozen(), 0.1).fit(texts[:8], labels[:8])
        with pytest.raises(InputError, match=r"alpha=0.05 needs at least 19 .* Got 5: .*larger calibration_size"):
            ConformalClassifier(tfidf(), 0.05).fit(texts, labels)

    @pytest.mark.parametrize("size", [0, 1.0, 240, -3, 1.5, "half", None])
    def test_calibration_size(self, size):
        with pytest.raises(InputError, match="calibration_size must be a share of the rows, above 0"):
            ConformalClassifier(tfidf(), calibration_size=size).fit(TEXTS, LABELS)

    def test_a_label_that_the_classifier_does_not_know(self):
        with pytest.raises(InputError, match=r"does not know \['d'\], the label of 2 rows. It knows \['a', 'b', 'c'\]"):
            ConformalClassifier(frozen()).fit(["0.5 0.3 0.2"] * 20, ["a"] * 18 + ["d"] * 2)

    def test_several_labels_a_text(self):
        matrix = np.eye(6, dtype=int)[[sorted(set(LABELS)).index(label) for label in LABELS]]
        with pytest.raises(UnsupportedError, match="y must be one class a text here"):
            ConformalClassifier(tfidf()).fit(TEXTS, matrix)
        named = pd.DataFrame(matrix, columns=sorted(set(LABELS)))
        ours = Classifier(HashEncoder(), strategy=Embedding()).fit(TEXTS, named)
        theirs = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression())).fit(TEXTS, matrix)
        for clf in (ours, theirs):
            with pytest.raises(UnsupportedError, match="a text has one class: use one classifier a label"):
                ConformalClassifier(FrozenEstimator(clf)).fit(TEXTS, LABELS)
            with pytest.raises(UnsupportedError, match="a text has one class"):
                fit_threshold(clf, TEXTS, LABELS)

    @pytest.mark.parametrize("bad", [make_pipeline(TfidfVectorizer(), LinearSVC()), Classifier, "MiniLM", None])
    def test_a_classifier_without_probabilities(self, bad):
        with pytest.raises(UnsupportedError, match="classifier must be an estimator with predict_proba"):
            ConformalClassifier(bad).fit(TEXTS, LABELS)
        with pytest.raises(UnsupportedError, match="CalibratedClassifierCV"):
            fit_threshold(bad, TEXTS, LABELS)

    def test_not_fitted(self):
        for use in ("predict", "predict_proba", "predict_set"):
            with pytest.raises(NotFittedError):
                getattr(ConformalClassifier(tfidf()), use)(TEXTS)
        with pytest.raises(NotFittedError):
            ConformalClassifier(FrozenEstimator(tfidf())).fit(TEXTS, LABELS)

    @pytest.mark.parametrize(
        ("X", "y", "match"),
        [
            ("one text", ["a"], "X must be a list of texts"),
            ([], [], "X is empty"),
            (TEXTS, LABELS[:5], "X has 240 rows and y has 5"),
            (TEXTS, [None, *LABELS[1:]], r"y\[0\] is None"),
            (np.zeros((240, 2)), LABELS, "X must be one-dimensional"),
        ],
    )
    def test_rows_and_labels(self, X, y, match):
        with pytest.raises(InputError, match=match):
            ConformalClassifier(tfidf()).fit(X, y)
        with pytest.raises(InputError, match=match):
            fit_threshold(frozen(), X, y)


class TestThreshold:
    def brute_force(self, proba, labels, precision):
        """The lowest top probability whose rows, and those above them, are right often enough."""
        tops, answers = proba.max(axis=1), [list("abc")[i] for i in proba.argmax(axis=1)]
        for threshold in sorted(set(tops)):
            right = [a == y for a, y, top in zip(answers, labels, tops, strict=True) if top >= threshold]
            if Fraction(sum(right), len(right)) >= Fraction(precision):
                return threshold
        return None

    @pytest.mark.parametrize("precision", ["0.5", "0.8", "0.9", "0.95"])
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("digits", [1, 15], ids=["ties", "no ties"])
    def test_it_is_the_lowest_that_reaches_the_precision(self, precision, seed, digits):
        proba, labels = simulated(80, seed=seed)
        proba = proba.round(digits)
        proba[:, 0] = (1 - proba[:, 1:].sum(axis=1)).round(digits)
        labels = ["none" if i % 7 == 0 else label for i, label in enumerate(labels)]
        wanted = self.brute_force(proba, labels, precision)
        if wanted is None:
            with pytest.raises(InputError, match=f"No threshold reaches precision {precision}"):
                fit_threshold(frozen(), written(proba), labels, float(precision))
            return
        got = fit_threshold(frozen(), written(proba), labels, float(precision))
        assert got == wanted
        answers = predict_or_none(frozen(), written(proba), got)
        answered = answers != "none"
        assert (answers == labels)[answered].mean() >= float(precision)
        assert np.array_equal(answered, proba.max(axis=1) >= got)

    def test_unreachable(self):
        texts = ["0.9 0.1 0.0", "0.8 0.2 0.0", "0.7 0.3 0.0", "0.6 0.4 0.0"]
        with pytest.raises(
            InputError,
            match=r"No threshold reaches precision 0.95 on these 4 rows. The best is 0.667, at 0.700, with 3 answered",
        ):
            fit_threshold(frozen(), texts, ["none", "a", "a", "b"])

    def test_the_lowest_precision_answers_everything(self):
        proba, labels = simulated(50)
        assert fit_threshold(frozen(), written(proba), labels, 0.01) == proba.max(axis=1).min()

    def test_integer_classes(self):
        clf = Recorded((0, 1))
        texts = ["0.9 0.1", "0.2 0.8", "0.6 0.4"]
        threshold = fit_threshold(clf, texts, np.array([0, 1, -1]), 1.0, none_label=-1)
        assert threshold == 0.8
        answers = predict_or_none(clf, texts, threshold, none_label=-1)
        assert answers.tolist() == [0, 1, -1]
        assert answers.dtype.kind == "i"
        with pytest.raises(InputError, match=r"of the type of the classes \[0, 1\], such as -1 beside integers"):
            predict_or_none(clf, texts, threshold)

    def test_a_long_none_label_is_not_cut(self):
        answers = predict_or_none(frozen(), ["0.4 0.3 0.3"], 0.5, none_label="none of these")
        assert answers.tolist() == ["none of these"]

    def test_bad_input(self):
        texts, labels = ["0.5 0.3 0.2"] * 3, ["a", "a", "b"]
        for precision in (0, 1.1, 95):
            with pytest.raises(InputError, match="precision must be above 0 and at most 1"):
                fit_threshold(frozen(), texts, labels, precision)
        with pytest.raises(InputError, match=r"does not know \['nnoe'\], the label of 1 rows"):
            fit_threshold(frozen(), texts, ["a", "a", "nnoe"])
        with pytest.raises(InputError, match="none_label must not be a class"):
            fit_threshold(frozen(), texts, labels, none_label="a")
        with pytest.raises(InputError, match="none_label must not be a class"):
            predict_or_none(frozen(), texts, 0.5, none_label="b")
