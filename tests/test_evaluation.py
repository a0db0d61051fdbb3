"""Metrics against scikit-learn, intervals against plain loops and their promise, and what can't be evaluated."""

from __future__ import annotations

import json
import sys
import time
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from fewshot import Classifier, Embedding, FakeLM, InputError, Prompting, UnsupportedError
from fewshot.evaluation import Comparison, Evaluation, calibration_error, compare, evaluate, learning_curve
from fewshot.evaluation import metrics as metrics_module
from tests.contract import HashEncoder, keyword_lm, keyword_scores
from tests.recorded import (
    LABELS,
    METRICS,
    TEXTS,
    Plain,
    Recorded,
    binned,
    frames_equal,
    reference,
    simulated,
    tfidf,
    written,
)

pytestmark = pytest.mark.long


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


class TestBadInput:
    def test_a_label_that_the_classifier_does_not_know(self):
        with pytest.raises(InputError, match=r"does not know \['d'\], the label of 2 rows. It knows \['a', 'b', 'c'\]"):
            evaluate(Recorded(), ["0.5 0.3 0.2"] * 4, ["a", "d", "b", "d"])

    def test_several_labels_a_text(self):
        matrix = np.eye(6, dtype=int)[[sorted(set(LABELS)).index(label) for label in LABELS]]
        with pytest.raises(UnsupportedError, match="y must be one class a text here"):
            compare({"a": tfidf(), "b": tfidf()}, TEXTS, matrix)
        named = pd.DataFrame(matrix, columns=sorted(set(LABELS)))
        ours = Classifier(HashEncoder(), strategy=Embedding()).fit(TEXTS, named)
        theirs = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression())).fit(TEXTS, matrix)
        svm = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LinearSVC())).fit(TEXTS, matrix)
        for clf in (ours, theirs, svm):
            with pytest.raises(
                UnsupportedError, match="one class: give evaluate an indicator matrix as y, or take each"
            ):
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
