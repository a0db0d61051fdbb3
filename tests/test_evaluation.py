"""Metrics against scikit-learn, intervals against plain loops and their promise, comparisons, and learning curves."""

from __future__ import annotations

import json
import sys
import time
from itertools import chain

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from packaging.version import Version
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss, precision_recall_fscore_support
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from fewshot import Classifier, ConformalClassifier, Embedding, FakeLM, InputError, Prompting, UnsupportedError
from fewshot.datasets import load_tickets
from fewshot.evaluation import (
    Comparison,
    Evaluation,
    LearningCurve,
    calibration_error,
    compare,
    evaluate,
    learning_curve,
)
from fewshot.evaluation import metrics as metrics_module
from tests.contract import HashEncoder, keyword_lm, keyword_scores

pytestmark = pytest.mark.long

TEXTS, LABELS = load_tickets()
METRICS = ["accuracy", "macro-F1", "log loss", "Brier", "ECE"]


class Recorded(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose probabilities stand in the text itself: "0.2 0.8"."""

    def __init__(self, classes=("a", "b", "c"), part=0):
        self.classes = classes
        self.part = part

    @property
    def classes_(self):
        return np.array(self.classes)

    def predict_proba(self, X):
        return np.array([[float(number) for number in text.split("|")[self.part].split()] for text in X])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Plain(Recorded):
    """The same without probabilities."""

    predict_proba = property()

    def predict(self, X):
        return Recorded(self.classes, self.part).predict(X)


def written(*probas):
    return ["|".join(" ".join(repr(float(p)) for p in row) for row in rows) for rows in zip(*probas, strict=True)]


def simulated(n, n_classes=3, seed=0, sharpness=2.0):
    """Labels drawn from a distribution of which the classifier sees an overconfident one."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(n_classes, 0.7), n)
    labels = np.array(list("abcdefgh")[:n_classes])[(true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)]
    shown = (true + 0.01) ** sharpness
    return shown / shown.sum(axis=1, keepdims=True), labels.tolist()


def binned(confidence, right, bins=15):
    """The calibration error as benchmarks/against_setfit.py has it."""
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
    return sum(abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts) / len(right)


def reference(name, labels, proba, classes):
    """The metric by scikit-learn."""
    said = np.array(classes)[proba.argmax(axis=1)]
    if name == "accuracy":
        return accuracy_score(labels, said)
    if name == "macro-F1":
        return f1_score(labels, said, average="macro")
    if name == "log loss":
        return log_loss(labels, np.maximum(proba, 1e-9), labels=classes)
    if name == "Brier":
        if Version(sklearn.__version__) < Version("1.7"):  # it knew two classes only
            return ((proba - (np.array(labels)[:, None] == np.array(classes))) ** 2).sum(axis=1).mean()
        return brier_score_loss(labels, proba, labels=classes, scale_by_half=False)
    return binned(proba.max(axis=1), said == np.array(labels))


def tfidf():
    return make_pipeline(TfidfVectorizer(), LogisticRegression(C=10))


def frames_equal(one, other):
    for name, value in vars(one).items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, getattr(other, name), check_exact=True)
        else:
            assert value == getattr(other, name)


class TestMetrics:
    @pytest.mark.parametrize("n_classes", [2, 3, 6])
    @pytest.mark.parametrize("n", [7, 40, 501])
    def test_they_are_those_of_scikit_learn(self, n, n_classes):
        proba, labels = simulated(n, n_classes, seed=n)
        classes = list("abcdefgh")[:n_classes]
        result = evaluate(Recorded(tuple(classes)), written(proba), labels, n_bootstrap=5)
        assert result.metrics.index.tolist() == METRICS
        for name in METRICS:
            wanted = reference(name, labels, proba, classes)
            assert result.metrics.loc[name, "value"] == pytest.approx(wanted, abs=1e-12), name
        assert result.n == n

    def test_the_classes_are_those_of_scikit_learn(self):
        proba, labels = simulated(60, 4)
        proba[:, 3] = 0  # never predicted
        proba /= proba.sum(axis=1, keepdims=True)
        labels = ["a" if label == "c" else label for label in labels]  # never true
        result = evaluate(Recorded(tuple("abcd")), written(proba), labels, n_bootstrap=5).classes
        said = np.array(list("abcd"))[proba.argmax(axis=1)]
        wanted = precision_recall_fscore_support(labels, said, labels=list("abcd"), zero_division=0)
        for column, values in zip(["precision", "recall", "f1", "support"], wanted, strict=True):
            np.testing.assert_allclose(result[column], values, atol=1e-12)
        np.testing.assert_allclose(result["mean probability"], proba.mean(axis=0))

    def test_a_probability_of_zero_costs_a_finite_loss(self):
        result = evaluate(Recorded(("a", "b")), ["1 0", "1 0"], ["a", "b"], n_bootstrap=5)
        assert result.metrics.loc["log loss", "value"] == pytest.approx(-np.log(1e-9) / 2)

    @pytest.mark.parametrize("n", [1, 14, 15, 16, 100])
    @pytest.mark.parametrize("bins", [1, 2, 15])
    def test_calibration_error(self, n, bins):
        rng = np.random.default_rng(n)
        confidence, right = rng.uniform(0.3, 1, n).round(1), rng.random(n) < 0.6
        assert calibration_error(confidence, right, bins) == pytest.approx(binned(confidence, right, bins), abs=1e-12)

    def test_calibration_error_of_bad_input(self):
        for confidence, right in [([], []), ([0.5], [True, False]), ([[0.5]], [[True]])]:
            with pytest.raises(InputError, match=r"two arrays of one length\. Got shapes"):
                calibration_error(confidence, right)
        for bins in (0, 2.5):
            with pytest.raises(InputError, match="bins must be an integer of at least 1"):
                calibration_error([0.5], [True], bins)


class TestIntervals:
    def test_they_are_percentiles_of_a_plain_loop(self):
        """The same draws, each measured by scikit-learn; classes are missing in some of them."""
        proba, labels = simulated(12, 4, seed=3)
        classes = list("abcd")
        result = evaluate(Recorded(tuple(classes)), written(proba), labels, n_bootstrap=60, level=0.8, random_state=5)
        rng = np.random.RandomState(5)
        draws = [rng.randint(12, size=12) for _ in range(60)]
        assert any(len({labels[i] for i in rows}) < len(set(labels)) for rows in draws)
        for name in METRICS[:-1]:
            values = [reference(name, [labels[i] for i in rows], proba[rows], classes) for rows in draws]
            assert result.metrics.loc[name, ["low", "high"]].tolist() == pytest.approx(np.quantile(values, [0.1, 0.9]))

    def test_that_of_the_calibration_error_is_by_a_plain_loop(self):
        proba, labels = simulated(50, seed=3)
        result = evaluate(Recorded(), written(proba), labels, n_bootstrap=40, level=0.8, random_state=5)
        rng = np.random.RandomState(5)
        gaps = proba.max(axis=1) - (np.array(list("abc"))[proba.argmax(axis=1)] == np.array(labels))
        rank = np.argsort(np.argsort(proba.max(axis=1), kind="stable"))

        def sums(rows):
            return np.array([gaps[part].sum() for part in np.array_split(rows[np.argsort(rank[rows])], 15)]) / 50

        noise = [np.abs(sums(rng.randint(50, size=50)) - sums(np.arange(50))).sum() for _ in range(40)]
        value, low, high = result.metrics.loc["ECE"]
        radius = np.quantile(noise, 0.8)
        assert [low, high] == pytest.approx([max(0, value - radius), min(1, value + radius)])

    def test_the_size_of_the_blocks_changes_nothing(self, monkeypatch):
        proba, labels = simulated(30)
        wanted = evaluate(Recorded(), written(proba), labels, n_bootstrap=50)
        monkeypatch.setattr(metrics_module, "_CELLS", 70)
        got = evaluate(Recorded(), written(proba), labels, n_bootstrap=50)
        np.testing.assert_allclose(got.metrics.to_numpy(), wanted.metrics.to_numpy(), rtol=1e-12)

    def test_the_seed_decides(self):
        proba, labels = simulated(30)
        first, again, other = (
            evaluate(Recorded(), written(proba), labels, n_bootstrap=50, random_state=seed) for seed in (1, 1, 2)
        )
        frames_equal(first, again)
        assert not first.metrics.equals(other.metrics)

    def test_they_hold_the_truth_as_often_as_promised(self):
        """80 % intervals in 200 simulations; the truth is the mean of all of them. Those of ECE may be too wide."""
        proba, labels = zip(*(simulated(120, seed=seed) for seed in range(200)), strict=True)
        results = [
            evaluate(Recorded(), written(p), y, n_bootstrap=200, level=0.8).metrics
            for p, y in zip(proba, labels, strict=True)
        ]
        truth = evaluate(Recorded(), written(np.concatenate(proba)), list(chain(*labels)), n_bootstrap=1).metrics[
            "value"
        ]
        held = np.mean([(one["low"] <= truth) & (truth <= one["high"]) for one in results], axis=0)
        for name, share in zip(METRICS, held, strict=True):
            assert 0.7 < share < (1.01 if name == "ECE" else 0.9), name

    def test_a_thousand_resamples_of_two_thousand_rows_take_no_time(self):
        proba, labels = simulated(2000, 6)
        texts = written(proba)
        started = time.perf_counter()
        evaluate(Recorded(tuple("abcdef")), texts, labels)
        assert time.perf_counter() - started < 5  # under one second alone


class TestEvaluate:
    def test_a_classifier_is_asked_once_about_each_text(self):
        asked = []
        lm = FakeLM(lambda query: asked.append(query) or keyword_scores(query))
        clf = Classifier(lm, strategy=Prompting()).fit(None, sorted(set(LABELS)))
        result = evaluate(clf, TEXTS, LABELS, n_bootstrap=5)
        assert len(asked) == len(TEXTS)
        assert result.metrics.loc["accuracy", "value"] == clf.score(TEXTS, LABELS)

    def test_a_prediction_that_is_not_the_most_probable_class_counts_as_it_is(self):
        class Careful(Recorded):
            def predict(self, X):
                return np.where(self.predict_proba(X)[:, 0] > 0.8, "a", "b")

        result = evaluate(Careful(("a", "b")), ["0.7 0.3", "0.9 0.1"], ["b", "a"], n_bootstrap=5)
        assert result.metrics.loc["accuracy", "value"] == 1

    @pytest.mark.parametrize("svm", [make_pipeline(TfidfVectorizer(), LinearSVC()), Plain(tuple(sorted(set(LABELS))))])
    def test_without_probabilities(self, svm):
        texts = TEXTS
        if isinstance(svm, Plain):
            texts = written(np.eye(6)[[sorted(set(LABELS)).index(label) for label in LABELS]])
        else:
            svm.fit(TEXTS, LABELS)
        result = evaluate(svm, texts, LABELS, n_bootstrap=5)
        assert result.metrics.index.tolist() == ["accuracy", "macro-F1"]
        assert result.metrics["value"].tolist() == [1, 1]
        assert "mean probability" not in result.classes
        frames_equal(Evaluation.from_json(result.to_json()), result)

    def test_without_classes(self):
        class Rule:
            def predict(self, X):
                return ["long" if len(text) > 3 else "short" for text in X]

        result = evaluate(Rule(), ["a", "abcdef", "abcd"], ["short", "long", "odd"], n_bootstrap=5)
        assert result.classes.index.tolist() == ["long", "odd", "short"]
        assert result.classes["support"].tolist() == [1, 1, 1]

    @pytest.mark.parametrize("make", [list, tuple, np.array, pd.Series, iter], ids=lambda make: make.__name__)
    def test_any_container(self, make):
        proba, labels = simulated(30)
        wanted = evaluate(Recorded(), written(proba), labels, n_bootstrap=5)
        frames_equal(evaluate(Recorded(), make(written(proba)), make(labels), n_bootstrap=5), wanted)

    def test_it_prints(self):
        proba, labels = simulated(30)
        result = evaluate(Recorded(("a", "b", "<c>")), written(proba), ["<c>" if c == "c" else c for c in labels])
        lines = str(result).splitlines()
        assert lines[0] == "30 rows, 95 % intervals of 1000 resamples"
        assert lines[2].split() == ["metric", "value", "low", "high"]
        assert lines[3].split()[0] == "accuracy"
        assert lines[9].split()[:5] == ["class", "precision", "recall", "f1", "support"]
        assert lines[10].split()[4] == str(labels.count("a"))
        html = result._repr_html_()
        assert "accuracy" in html
        assert "&lt;c&gt;" in html
        assert "<c>" not in html

    @pytest.mark.parametrize("classes", [("a", "b", "c"), (10, 2, 3), (True, False)])
    def test_round_trip(self, classes):
        proba, labels = simulated(30, len(classes))
        named = [classes["abc".index(label)] for label in labels]
        result = evaluate(Recorded(classes), written(proba), named, n_bootstrap=20, level=0.9)
        again = Evaluation.from_json(result.to_json())
        frames_equal(again, result)
        assert again.classes.index.tolist() == list(classes)
        assert type(again.classes.index.tolist()[0]) is type(classes[0])
        assert again.to_json() == result.to_json()


class TestCompare:
    def pair(self, n=400, gain=0.0, seed=0):
        """Two classifiers that are right on mostly the same rows, the second more often by the gain."""
        rng = np.random.default_rng(seed)
        hard = rng.random(n)
        right = np.stack([hard + 0.05 * rng.standard_normal(n) < share for share in (0.7, 0.7 + gain)])
        proba = np.where(right, 0.8, 0.3)
        texts = written(*(np.stack([p, 1 - p], axis=1) for p in proba))
        return {"first": Recorded(("a", "b"), 0), "second": Recorded(("a", "b"), 1)}, texts, ["a"] * n

    @pytest.mark.parametrize("metric", METRICS[:-1])
    def test_a_difference_that_separate_intervals_hide(self, metric):
        result = compare(*self.pair(gain=0.05), metric=metric)
        (pair,) = result.pairs.to_dict("records")
        assert (pair["a"], pair["b"], pair["beats"]) == ("second", "first", True)
        assert 0 < pair["low"] < pair["difference"] < pair["high"]
        assert pair["better"] > 0.99
        values = result.values
        assert values.index.tolist() == ["second", "first"]
        assert values["low"].max() < values["high"].min()
        unit = "points" if metric in ("accuracy", "macro-F1") else f"of {metric}"
        statement = str(result).splitlines()[1]
        assert statement.startswith("second beats first by ")
        assert f" {unit} [" in statement

    def test_no_difference_is_not_called_one(self):
        """Of 100 pairs of equals, about one in twenty is called different, in either direction."""
        results = [compare(*self.pair(200, seed=seed), n_bootstrap=300) for seed in range(100)]
        assert sum(one.pairs["beats"].item() for one in results) <= 10
        quiet = next(one for one in results if not one.pairs["beats"].item())
        assert str(quiet).splitlines()[1].startswith("no difference shown between ")

    def test_a_classifier_does_not_beat_itself(self):
        proba, labels = simulated(50)
        clfs = {"one": Recorded(), "two": Recorded()}
        for metric in METRICS[:-1]:
            (pair,) = compare(clfs, written(proba), labels, metric=metric).pairs.to_dict("records")
            assert pair == {
                **{"a": "one", "b": "two", "difference": 0, "low": 0, "high": 0},
                **{"better": 0.5, "beats": False},
            }

    def test_rounding_is_no_difference(self):
        proba, labels = simulated(50)
        texts = written(proba, proba * (1 - 1e-13))
        result = compare({"one": Recorded(part=0), "two": Recorded(part=1)}, texts, labels, metric="log loss")
        assert not result.pairs["beats"].item()

    @pytest.mark.parametrize("metric", METRICS[:-1])
    def test_it_is_what_a_plain_loop_says(self, metric):
        first, labels = simulated(40, seed=1)
        second = simulated(40, seed=1, sharpness=0.5)[0][:, [1, 0, 2]]
        clfs = {"one": Recorded(part=0), "two": Recorded(part=1)}
        result = compare(clfs, written(first, second), labels, metric=metric, n_bootstrap=50, random_state=4)
        rng = np.random.RandomState(4)
        sign = 1 if metric in ("accuracy", "macro-F1") else -1
        gaps = []
        for _ in range(50):
            rows = rng.randint(40, size=40)
            one, two = (reference(metric, [labels[i] for i in rows], p[rows], list("abc")) for p in (first, second))
            gaps.append(sign * (one - two))
        (pair,) = result.pairs.to_dict("records")
        if pair["a"] == "two":
            gaps = [-gap for gap in gaps]
        assert [pair["low"], pair["high"]] == pytest.approx(np.quantile(gaps, [0.025, 0.975]))
        assert pair["better"] == pytest.approx(np.mean([(gap > 1e-12) + (abs(gap) <= 1e-12) / 2 for gap in gaps]))
        alone = evaluate(clfs["two"], written(first, second), labels, n_bootstrap=50, random_state=4)
        assert result.values.loc["two"].tolist() == pytest.approx(alone.metrics.loc[metric].tolist())

    def test_every_pair_best_first(self):
        proba, labels = simulated(90)
        parts = [proba[:, [1, 2, 0]], proba, np.full_like(proba, 1 / 3)]
        clfs = {name: Recorded(part=i) for i, name in enumerate(["worst", "best", "even"])}
        result = compare(clfs, written(*parts), labels, metric="log loss")
        assert result.pairs[["a", "b"]].to_numpy().tolist() == [["best", "even"], ["best", "worst"], ["even", "worst"]]
        assert len(str(result).splitlines()) == 4
        frames_equal(Comparison.from_json(result.to_json()), result)
        assert "worst" in result._repr_html_()

    def test_classifiers_of_different_classes(self):
        proba, labels = simulated(60, 2)
        wide = np.concatenate([np.zeros((60, 1)), proba], axis=1)
        clfs = {"two": Recorded(("a", "b"), 0), "three": Recorded(("z", "a", "b"), 1)}
        for metric in METRICS[:-1]:
            assert compare(clfs, written(proba, wide), labels, metric=metric).pairs["difference"].item() == 0

    def test_bad_input(self):
        clfs, texts, labels = self.pair(10)
        with pytest.raises(InputError, match=r"at least 2\. Got 1"):
            compare({"one": clfs["first"]}, texts, labels)
        with pytest.raises(InputError, match=r"at least 2\. Got list"):
            compare(list(clfs.values()), texts, labels)
        with pytest.raises(InputError, match=r"metric must be one of 'accuracy', .* Got 'ECE'"):
            compare(clfs, texts, labels, metric="ECE")
        with pytest.raises(InputError, match=r"name of a classifier must be a string\. Got 1"):
            compare({1: clfs["first"], 2: clfs["second"]}, texts, labels)
        with pytest.raises(UnsupportedError, match="'third' has no predict_proba, which 'Brier' needs"):
            compare({**clfs, "third": Plain(("a", "b"))}, texts, labels, metric="Brier")
        with pytest.raises(UnsupportedError, match=r"'third' must be a classifier of texts.* Got None"):
            compare({**clfs, "third": None}, texts, labels)
        compare({**clfs, "third": Plain(("a", "b"))}, texts, labels)


class Spy(Recorded):
    """Remembers what it was fitted on."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y):
        Spy.seen.append((list(X), list(y)))
        self.fitted_ = True
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes)), 1 / len(self.classes))


class TestLearningCurve:
    def test_draws_are_nested_balanced_and_apart_from_the_test_part(self):
        Spy.seen = []
        clf = Spy(tuple(sorted(set(LABELS))))
        curve = learning_curve(clf, TEXTS, LABELS, shots=[4, 1, 2], draws=3)
        assert curve.draws[["shots", "draw"]].to_numpy().tolist() == [[s, d] for s in (1, 2, 4) for d in range(3)]
        by = dict(zip([(s, d) for s in (1, 2, 4) for d in range(3)], Spy.seen, strict=True))
        for (size, draw), (texts, labels) in by.items():
            assert {name: labels.count(name) for name in set(LABELS)} == dict.fromkeys(LABELS, size)
            assert labels[:6] == sorted(set(LABELS))  # one of each class after the other
            assert texts == by[4, draw][0][: 6 * size]
            assert all(LABELS[TEXTS.index(t)] == label for t, label in zip(texts, labels, strict=True))
        assert len({tuple(by[4, draw][0]) for draw in range(3)}) == 3
        assert curve.n_test == 120
        assert len({text for texts, _ in Spy.seen for text in texts}) <= 120

    def test_a_language_model_scores_each_prompt_once(self):
        asked = []
        lm = FakeLM(lambda query: asked.append(query) or keyword_scores(query))
        clfs = {
            "zero": Classifier(lm, strategy=Prompting()),
            "calibrated": Classifier(lm, strategy=Prompting(calibration="learned")),
            "shown": Classifier(lm, strategy=Prompting(shots=2, selection="first")),
            "sets": ConformalClassifier(Classifier(lm, strategy=Prompting()), alpha=0.3, random_state=0),
        }
        curve = learning_curve(clfs, TEXTS, LABELS, shots=[0, 2, 4], draws=2)
        assert len(asked) == len(set(asked))
        plain = [query for query in asked if not query.context]
        assert len(plain) <= len(TEXTS)
        counts = curve.draws.groupby("name", sort=False).size().to_dict()
        assert counts == {"zero": 5, "calibrated": 4, "shown": 4, "sets": 4}
        zero = curve.draws[curve.draws.name == "zero"]
        assert zero["accuracy"].nunique() == 1  # it learns nothing from labels
        alone = learning_curve(clfs["shown"], TEXTS, LABELS, shots=[2], draws=2)
        shared = curve.draws[(curve.draws.name == "shown") & (curve.draws.shots == 2)]
        assert alone.draws["log loss"].tolist() == shared["log loss"].tolist()
        assert set(curve.skipped["shots"]) == {0}
        assert clfs["zero"].model is lm
        assert not hasattr(clfs["zero"], "model_")

    def test_the_fits_are_those_by_hand(self):
        """An encoder, all rows of the pool, and the same held-out part."""
        curve = learning_curve(
            Classifier(HashEncoder(), strategy=Embedding()), TEXTS, LABELS, shots=[0, 8], draws=1, random_state=3
        )
        rng = np.random.RandomState(3)
        from sklearn.model_selection import train_test_split

        pool, test = train_test_split(range(240), test_size=0.5, random_state=rng, stratify=LABELS)
        order = [rng.permutation([i for i in pool if LABELS[i] == name])[:8] for name in sorted(set(LABELS))]
        train = np.stack(order, axis=1).ravel()
        clf = Classifier(HashEncoder(), strategy=Embedding())
        held_out = [TEXTS[i] for i in test], [LABELS[i] for i in test]
        for shots, fitted in [
            (0, clf.fit(None, sorted(set(LABELS)))),
            (
                8,
                Classifier(HashEncoder(), strategy=Embedding()).fit(
                    [TEXTS[i] for i in train], [LABELS[i] for i in train]
                ),
            ),
        ]:
            row = curve.draws[curve.draws.shots == shots].iloc[0]
            wanted = evaluate(fitted, *held_out, n_bootstrap=1).metrics["value"]
            assert row[METRICS].tolist() == pytest.approx(wanted.tolist())

    def test_other_classifiers_have_no_zero_and_what_fails_is_told(self):
        clfs = {
            "tfidf": tfidf(),
            "folds": CalibratedClassifierCV(tfidf(), cv=3),
            "svm": make_pipeline(TfidfVectorizer(), LinearSVC()),
        }
        curve = learning_curve(clfs, TEXTS, LABELS, shots=(0, 2, 8, 20, 40), draws=2)
        found = curve.draws.groupby(["name", "shots"], sort=False).size().to_dict()
        fits = [*((name, size) for name in ("tfidf", "svm") for size in (2, 8, 20)), ("folds", 8), ("folds", 20)]
        assert found == dict.fromkeys(fits, 2)
        reasons = {
            (row["name"], row["shots"]): (row["draws"], row["reason"]) for row in curve.skipped.to_dict("records")
        }
        assert reasons["tfidf", 0] == (1, "Pipeline learns from labelled texts only")
        assert reasons["tfidf", 40] == (2, "the class 'billing' has 20 rows that are not held out")
        assert reasons["folds", 2][0] == 2
        assert reasons["folds", 2][1].startswith("ValueError: ")
        for name, _ in reasons:
            assert f"left out: {name} at" in str(curve)
        means = curve.summary()
        assert means["accuracy", "mean"]["tfidf"].is_monotonic_increasing
        assert curve.draws[curve.draws.name == "svm"]["log loss"].isna().all()
        frames_equal(LearningCurve.from_json(curve.to_json()), curve)

    def test_summary(self):
        curve = learning_curve(tfidf(), TEXTS, LABELS, shots=[2, 4], draws=4)
        summary = curve.summary()
        assert summary.index.tolist() == [("Pipeline", 2), ("Pipeline", 4)]
        values = curve.draws[curve.draws.shots == 4]["macro-F1"].to_numpy()
        assert summary.loc[("Pipeline", 4), ("macro-F1", "mean")] == pytest.approx(values.mean())
        assert summary.loc[("Pipeline", 4), ("macro-F1", "std")] == pytest.approx(values.std(ddof=1))
        lines = str(curve).splitlines()
        assert lines[1].split()[:4] == ["name", "shots", "draws", "accuracy"]
        assert lines[2].split()[:3] == ["Pipeline", "2", "4"]
        assert "±" in lines[2]
        assert "macro-F1" in curve._repr_html_()

    def test_the_seed_decides(self):
        first, again, other = (
            learning_curve(tfidf(), TEXTS, LABELS, shots=[2], draws=2, random_state=seed).draws.drop(columns="seconds")
            for seed in (0, 0, 1)
        )
        pd.testing.assert_frame_equal(first, again)
        assert not first.equals(other)

    def test_integer_classes_and_round_trip(self):
        numbers = [sorted(set(LABELS)).index(label) for label in LABELS]
        curve = learning_curve(tfidf(), TEXTS, np.array(numbers), shots=[2], draws=2)
        by_name = learning_curve(tfidf(), TEXTS, LABELS, shots=[2], draws=2)
        assert curve.draws["accuracy"].tolist() == by_name.draws["accuracy"].tolist()
        frames_equal(LearningCurve.from_json(curve.to_json()), curve)
        assert curve.skipped.columns.tolist() == ["name", "shots", "draws", "reason"]
        assert curve.skipped.empty

    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
    def test_a_frame_stays_one_for_a_pipeline_that_picks_columns(self, make):
        X = make({"title": [text[:20] for text in TEXTS], "body": TEXTS})
        columns = ColumnTransformer([(name, CountVectorizer(), name) for name in ("title", "body")])
        curve = learning_curve(make_pipeline(columns, LogisticRegression()), X, LABELS, shots=[4], draws=1)
        assert len(curve.draws) == 1

    def test_bad_input(self):
        for shots in ([], [-1], [1.5], "2", None, ["2"]):
            with pytest.raises(InputError, match="shots must be integers of at least 0"):
                learning_curve(tfidf(), TEXTS, LABELS, shots=shots)
        for draws in (0, 2.5, None):
            with pytest.raises(InputError, match="draws must be an integer of at least 1"):
                learning_curve(tfidf(), TEXTS, LABELS, draws=draws)
        for size in (0.0, 1.5, 240, 3):
            with pytest.raises(InputError, match=f"can't be split with test_size={size}"):
                learning_curve(tfidf(), TEXTS, LABELS, test_size=size)
        with pytest.raises(InputError, match="can't be split"):
            learning_curve(tfidf(), [*TEXTS, "odd"], [*LABELS, "odd"])
        with pytest.raises(InputError, match=r"at least 1\. Got 0"):
            learning_curve({}, TEXTS, LABELS)
        with pytest.raises(InputError, match=r"Not a single fit was possible:\n- Pipeline at 0 shots: Pipeline learns"):
            learning_curve(tfidf(), TEXTS, LABELS, shots=[0, 100])
        with pytest.raises(UnsupportedError, match="must be a classifier"):
            learning_curve(Classifier, TEXTS, LABELS)


class TestBadInput:
    def test_a_label_that_the_classifier_does_not_know(self):
        with pytest.raises(InputError, match=r"does not know \['d'\], the label of 2 rows. It knows \['a', 'b', 'c'\]"):
            evaluate(Recorded(), ["0.5 0.3 0.2"] * 4, ["a", "d", "b", "d"])

    def test_several_labels_a_text(self):
        matrix = np.eye(6, dtype=int)[[sorted(set(LABELS)).index(label) for label in LABELS]]
        with pytest.raises(UnsupportedError, match="y must be one class a text here"):
            evaluate(tfidf(), TEXTS, matrix)
        named = pd.DataFrame(matrix, columns=sorted(set(LABELS)))
        ours = Classifier(HashEncoder(), strategy=Embedding()).fit(TEXTS, named)
        theirs = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression())).fit(TEXTS, matrix)
        svm = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LinearSVC())).fit(TEXTS, matrix)
        for clf in (ours, theirs, svm):
            with pytest.raises(UnsupportedError, match="a text has one class: evaluate each label alone"):
                evaluate(clf, TEXTS, LABELS)

    @pytest.mark.parametrize("bad", [Classifier, "MiniLM", None])
    def test_no_classifier(self, bad):
        with pytest.raises(UnsupportedError, match="clf must be a classifier of texts"):
            evaluate(bad, TEXTS, LABELS)

    def test_not_fitted(self):
        for clf in (tfidf(), Classifier(keyword_lm())):
            with pytest.raises(NotFittedError):
                evaluate(clf, TEXTS, LABELS)

    def test_a_classifier_that_contradicts_itself(self):
        class Odd(Recorded):
            def predict(self, X):
                return np.array(["z"] * len(X))

        with pytest.raises(InputError, match=r"Odd predicts 'z', which is not among its classes"):
            evaluate(Odd(), ["0.5 0.3 0.2"], ["a"])
        with pytest.raises(InputError, match=r"must return an array of shape \(1, 2\), .* Got \(1, 3\)"):
            evaluate(Recorded(("a", "b")), ["0.5 0.3 0.2"], ["a"])

    def test_numbers(self):
        for n in (0, -1, 2.5):
            with pytest.raises(InputError, match="n_bootstrap must be an integer of at least 1"):
                evaluate(Recorded(), ["0.5 0.3 0.2"], ["a"], n_bootstrap=n)
        for level in (0, 1, 95):
            with pytest.raises(InputError, match="level must be above 0 and below 1"):
                evaluate(Recorded(), ["0.5 0.3 0.2"], ["a"], level=level)

    def test_rows(self):
        with pytest.raises(InputError, match="X is empty"):
            evaluate(Recorded(), [], [])
        with pytest.raises(InputError, match="X has 2 rows and y has 1"):
            evaluate(Recorded(), ["0.5 0.3 0.2"] * 2, ["a"])

    def test_json_of_something_else(self):
        proba, labels = simulated(10)
        text = evaluate(Recorded(), written(proba), labels, n_bootstrap=5).to_json()
        assert json.loads(text)["result"] == "Evaluation"
        with pytest.raises(InputError, match=r"that Comparison\.to_json\(\) wrote\. Got that of Evaluation"):
            Comparison.from_json(text)
        for other in ("", "[1, 2]", "{}", '{"result": "Evaluation"}', "no json", None):
            with pytest.raises(InputError, match=r"that Evaluation\.to_json\(\) wrote"):
                Evaluation.from_json(other)

    def test_without_pandas(self, monkeypatch):
        proba, labels = simulated(10)
        texts = written(proba)
        text = evaluate(Recorded(), texts, labels, n_bootstrap=5).to_json()
        monkeypatch.setitem(sys.modules, "pandas", None)
        for call in (
            lambda: evaluate(Recorded(), texts, labels),
            lambda: compare({"a": Recorded(), "b": Recorded()}, texts, labels),
            lambda: learning_curve(Recorded(), texts, labels),
            lambda: Evaluation.from_json(text),
        ):
            with pytest.raises(ImportError, match=r"pip install 'fewshot\[eval\]'"):
                call()
        assert 0 <= calibration_error([0.5], [True]) <= 1
