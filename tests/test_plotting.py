"""Plots: the numbers against plain loops, and what is refused."""

from __future__ import annotations

import itertools
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import ConfusionMatrixDisplay

from fewshot import Classifier, FakeLM, InputError, Prompting, Template, UnsupportedError
from fewshot.evaluation import calibration_error, compare, evaluate, learning_curve
from fewshot.evaluation.metrics import bin_confidences
from fewshot.evaluation.templates import TemplateRanking
from fewshot.plotting import CoverageDisplay, LearningCurveDisplay, PriorDisplay, ReliabilityDisplay, TemplateDisplay
from fewshot.plotting.axes import compute_wilson_intervals
from tests.contract import EXPECTED, NEW, data, keyword_lm
from tests.drawn import _no_figure_stays_open, simulated  # noqa: F401 - a fixture

mpl.use("Agg")


@pytest.fixture(scope="module")
def clf():
    return Classifier(keyword_lm(), strategy=Prompting()).fit(*data(3))


def texts_of(artists):
    return [one.get_text() for one in artists]


def legend_of(display):
    return texts_of(display.ax_.get_legend().get_texts())


# --- reliability --------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "bins"), [(400, 15), (7, 3), (4, 15), (5, 1)])
def test_the_bins_are_those_of_the_calibration_error(n, bins):
    proba, labels = simulated(n, 4)
    sure, right = proba.max(axis=1), proba.argmax(axis=1) == labels
    parts = [part for part in np.array_split(np.argsort(sure, kind="stable"), bins) if len(part)]
    confidence, accuracy, counts = bin_confidences(sure, right, bins)
    assert counts.tolist() == [len(part) for part in parts]
    np.testing.assert_allclose(confidence, [sure[part].mean() for part in parts])
    np.testing.assert_allclose(accuracy, [right[part].mean() for part in parts])
    display = ReliabilityDisplay.from_predictions(labels, proba, classes=range(4), bins=bins)
    np.testing.assert_array_equal(display.confidence, confidence)
    assert display.calibration_error == pytest.approx(calibration_error(sure, right, bins))


def test_reliability_of_a_classifier_is_that_of_its_probabilities(clf):
    display = ReliabilityDisplay.from_estimator(clf, NEW, EXPECTED, bins=3)
    again = ReliabilityDisplay.from_predictions(EXPECTED, clf.predict_proba(NEW), classes=clf.classes_, bins=3)
    np.testing.assert_allclose(display.confidence, again.confidence)
    np.testing.assert_array_equal(display.accuracy, again.accuracy)
    assert display.line_.get_xdata().tolist() == display.confidence.tolist()
    assert display.figure_ is display.ax_.figure
    number = f"ECE {display.calibration_error:.3f}, 3 bins of 2 texts"
    assert sorted(legend_of(display)) == [f"Classifier\n{number}", "right as often as it says"]
    assert number in legend_of(again)


def test_several_classifiers_share_axes(clf):
    display = ReliabilityDisplay.from_estimator(clf, NEW, EXPECTED, bins=2, name="one")
    low = display.ax_.get_xlim()[0]
    proba, labels = simulated(300, 3)
    other = ReliabilityDisplay.from_predictions(labels, proba, ax=display.ax_, name="two", bins=1)
    assert other.ax_ is display.ax_
    assert len(legend_of(other)) == 3  # one diagonal
    assert other.line_.get_color() != display.line_.get_color()
    assert other.line_.get_marker() != display.line_.get_marker()
    assert other.ax_.get_xlim()[0] <= low  # what was drawn first stays in sight
    assert "two\nECE" in legend_of(other)[-1]
    assert ", 1 bin of 300 texts" in legend_of(other)[-1]
    assert other.plot(name="three") is other
    assert "three\nECE" in legend_of(other)[-1]
    assert other.plot(color="k").line_.get_color() == "k"


def test_intervals_are_those_of_wilson():
    from scipy.stats import binomtest

    low, high = compute_wilson_intervals(np.array([0.0, 0.3, 1.0]), np.array([7, 10, 4]))
    for i, (hits, n) in enumerate([(0, 7), (3, 10), (4, 4)]):
        interval = binomtest(hits, n).proportion_ci(0.95, "wilson")
        assert (low[i], high[i]) == pytest.approx((interval.low, interval.high), abs=1e-12)


# --- coverage -----------------------------------------------------------------------------------


def test_coverage_against_a_loop():
    proba, labels = simulated(50, 3)
    display = CoverageDisplay.from_predictions(labels, proba)
    order = np.argsort(-proba.max(axis=1))
    right = proba.argmax(axis=1)[order] == labels[order]
    for i in range(50):
        assert display.coverage[i] == pytest.approx((i + 1) / 50)
        assert display.accuracy[i] == pytest.approx(right[: i + 1].mean())


def test_texts_with_equal_probabilities_have_no_order():
    labels = np.array(["a", "b", "b", "a", "b"])
    proba = np.array([[0.7, 0.3], [0.7, 0.3], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    for order in itertools.permutations(range(5)):
        display = CoverageDisplay.from_predictions(labels[list(order)], proba[list(order)])
        np.testing.assert_allclose(display.accuracy, [1, (1 + 2 / 3) / 2, (1 + 4 / 3) / 3, 3 / 4, 4 / 5])
        mpl.pyplot.close("all")


def test_the_accuracy_at_full_coverage_is_marked(clf):
    display = CoverageDisplay.from_estimator(clf, NEW, EXPECTED, name="mine")
    score = clf.score(NEW, EXPECTED)
    assert display.accuracy[-1] == pytest.approx(score)
    assert display.line_.get_markevery() == [-1]
    assert legend_of(display) == [f"mine: {score:.3f} on all texts"]
    other = CoverageDisplay.from_estimator(clf, NEW, EXPECTED, ax=display.ax_)
    assert legend_of(other)[1].startswith("Classifier: ")
    assert other.line_.get_color() != display.line_.get_color()


class Cautious(ClassifierMixin, BaseEstimator):
    """Says "b" wherever that has a fair chance, so its answer is not always the most probable class."""

    classes_ = np.array(["a", "b"])

    def predict_proba(self, X):
        return np.array([[1 - float(text), float(text)] for text in X])

    def predict(self, X):
        return self.classes_[(self.predict_proba(X)[:, 1] > 0.25).astype(int)]


def test_the_answers_are_those_of_the_classifier():
    display = CoverageDisplay.from_estimator(Cautious(), ["0.9", "0.3", "0.1"], ["b", "b", "a"])
    assert display.accuracy.tolist() == [1.0, 1.0, 1.0]


# --- learning curves ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def curve():
    X, y = data(3)
    clfs = {
        "zero": Classifier(keyword_lm(), strategy=Prompting()),
        "shown": Classifier(keyword_lm(), strategy=Prompting(shots=3), random_state=0),
    }
    return learning_curve(clfs, X * 2, y * 2, shots=[0, 1, 3], draws=3)


def test_a_curve_is_the_mean_and_its_band_the_spread(curve):
    display = LearningCurveDisplay.from_results(curve, metric="log loss")
    assert legend_of(display) == ["zero", "shown"]
    assert display.ax_.get_legend().get_title().get_text() == "mean ± standard deviation of 3 draws"
    for line, band, name in zip(display.lines_, display.ax_.collections, ["zero", "shown"], strict=True):
        own = curve.draws[curve.draws["name"] == name]
        shots = sorted(set(own["shots"]))
        values = [own.loc[own["shots"] == n, "log loss"].to_numpy() for n in shots]
        assert line.get_xdata().tolist() == shots
        np.testing.assert_allclose(line.get_ydata(), [one.mean() for one in values])
        corners = band.get_paths()[0].vertices
        for n, one in zip(shots, values, strict=True):
            spread = one.std(ddof=1) if len(one) > 1 else 0.0
            ends = corners[corners[:, 0] == n, 1]
            assert (ends.min(), ends.max()) == pytest.approx((max(0, one.mean() - spread), one.mean() + spread))
    assert display.ax_.get_ylabel() == "log loss (lower is better)"


def test_every_tick_is_a_number_of_shots_that_was_used(curve):
    display = LearningCurveDisplay.from_results(curve)
    assert display.ax_.get_xticks().tolist() == [0, 1, 3]
    assert texts_of(display.ax_.get_xticklabels()) == ["0", "1", "3"]
    assert not len(display.ax_.get_xticks(minor=True))
    place = display.ax_.transData.transform
    left, middle, right = (place((n, 0))[0] for n in (0, 1, 3))
    assert (right - middle) / (middle - left) == pytest.approx(np.log2(3), rel=0.01)  # logarithmic beyond the first


def test_a_share_above_one_is_not_drawn():
    draws = pd.DataFrame({"name": "a", "shots": [2, 2], "accuracy": [0.8, 1.0]})
    display = LearningCurveDisplay.from_results(draws)
    assert display.ax_.collections[0].get_paths()[0].vertices[:, 1].max() == 1.0


def test_several_results_in_one_frame_or_axes(curve):
    renamed = curve.draws.assign(name=[f"{name} again" for name in curve.draws["name"]])
    together = LearningCurveDisplay.from_results(pd.concat([curve.draws, renamed]))
    assert len(together.lines_) == 4
    first = LearningCurveDisplay.from_results(curve)
    second = LearningCurveDisplay.from_results(renamed, ax=first.ax_)
    assert len({line.get_color() for line in [*first.lines_, *second.lines_]}) == 4


def test_bad_learning_curves(curve):
    with pytest.raises(InputError, match=r"must be what learning_curve returns.*Got the columns \['shots'\]"):
        LearningCurveDisplay.from_results(curve.draws[["shots"]])
    with pytest.raises(InputError, match="Got list"):
        LearningCurveDisplay.from_results([1])
    with pytest.raises(InputError, match=r"metric must be one of 'accuracy', .*'seconds'\. Got 'draw'"):
        LearningCurveDisplay.from_results(curve, metric="draw")
    with pytest.raises(InputError, match="no log loss in the results"):
        LearningCurveDisplay.from_results(curve.draws.assign(**{"log loss": np.nan}), metric="log loss")


# --- the label prior ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def biased():
    lm = FakeLM(lambda query: [3.0, 3.0 * ("fun" in query.prefix), 0.0])
    words = {"bad": "bad", "good": "good", "so so": "so so"}
    template = "{{ text }} It was {{ label }}"
    return {
        name: Classifier(lm, template, words, Prompting(calibration=calibration)).fit(["fun", "dull"])
        for name, calibration in [("as it is", None), ("calibrated", "contextual")]
    }


X, Y = ["fun", "dull", "fun fun", "grey"], ["good", "bad", "good", "so so"]


def test_what_is_said_of_all_texts_together(biased):
    display = PriorDisplay.from_estimators(biased, X, Y)
    assert display.classes == ["bad", "good", "so so"]
    assert display.shares.tolist() == [0.25, 0.5, 0.25]
    assert [bar.get_width() for bar in display.bars_] == [0.25, 0.5, 0.25]
    for name, line in zip(biased, display.lines_, strict=True):
        mean = biased[name].predict_proba(X).mean(axis=0)
        np.testing.assert_allclose(display.means[name], mean)
        np.testing.assert_allclose(line.get_xdata(), mean)
        assert display.distances[name] == pytest.approx(np.abs(mean - display.shares).sum() / 2)
    assert display.distances["calibrated"] < display.distances["as it is"]
    percent = f"{100 * display.distances['as it is']:.0f}"
    assert legend_of(display)[:2] == ["share of the texts", f"as it is: {percent} % of the probability misplaced"]


def test_the_same_from_probabilities_and_from_evaluations(biased):
    display = PriorDisplay.from_estimators(biased, X, Y)
    probas = {name: one.predict_proba(X) for name, one in biased.items()}
    results = {name: evaluate(one, X, Y, n_bootstrap=5) for name, one in biased.items()}
    for again in (PriorDisplay.from_predictions(Y, probas), PriorDisplay.from_results(results)):
        assert again.classes == display.classes
        np.testing.assert_array_equal(again.shares, display.shares)
        for name in biased:
            np.testing.assert_allclose(again.means[name], display.means[name])


class Turned(Cautious):
    classes_ = np.array(["b", "a"])


def test_columns_in_another_order():
    display = PriorDisplay.from_estimators({"one": Cautious(), "other": Turned()}, ["0.9", "0.3"], ["b", "a"])
    np.testing.assert_allclose(display.means["one"], [0.4, 0.6])
    np.testing.assert_allclose(display.means["other"], [0.6, 0.4])


def test_bad_priors(biased, clf):
    with pytest.raises(InputError, match=r"different classes: the first \['bad', 'good', 'so so'\], 'other'"):
        PriorDisplay.from_estimators({**biased, "other": Cautious2()}, X, Y)
    with pytest.raises(InputError, match="mapping of names to classifiers"):
        PriorDisplay.from_estimators(clf, X, Y)
    for method in (lambda: PriorDisplay.from_predictions(Y, []), lambda: PriorDisplay.from_results({})):
        with pytest.raises(InputError, match="Give a mapping of names"):
            method()
    results = {name: evaluate(one, X[:n], Y[:n], n_bootstrap=5) for n, (name, one) in enumerate(biased.items(), 3)}
    with pytest.raises(InputError, match="'calibrated' is of other rows or classes"):
        PriorDisplay.from_results(results)
    with pytest.raises(InputError, match="'bare' has no probabilities"):
        PriorDisplay.from_results({"bare": evaluate(Bare(), ["0.9"], ["b"], n_bootstrap=5)})


class Cautious2(Cautious):
    classes_ = np.array(["bad", "good", "so so", "superb"])

    def predict_proba(self, X):
        return np.full((len(X), 4), 0.25)


class Bare(Cautious):
    predict_proba = property()

    def predict(self, X):
        return np.array(["b" for _ in X])


# --- templates ----------------------------------------------------------------------------------

RANKING = TemplateRanking(
    "log loss",
    (Template("{{ text }} It was {{ label }}", name="it_was"), Template("Review: {{ text }}\nSentiment: {{ label }}")),
    (0.3, 0.5),
    (0.0, 0.1),
)


def test_templates_with_the_error_of_their_difference():
    display = TemplateDisplay.from_results(RANKING)
    assert texts_of(display.ax_.get_yticklabels()) == ["it_was", "Review: {{ text }} Sentiment:\n{{ label }}"]
    points, _, (bars,) = display.container_
    assert points.get_xdata().tolist() == [0.3, 0.5]
    np.testing.assert_allclose([bar[:, 0] for bar in bars.get_segments()], [[0.3, 0.3], [0.4, 0.6]])
    assert display.ax_.get_ylim()[0] > display.ax_.get_ylim()[1]  # the best at the top
    assert display.ax_.get_xlabel() == "log loss (lower is better)"
    assert legend_of(display) == ["standard error of the difference from the best"]


def test_templates_as_compared_classifiers(biased):
    comparison = compare(biased, X, Y, n_bootstrap=20)
    display = TemplateDisplay.from_results(comparison)
    assert display.names == comparison.values.index.tolist()
    np.testing.assert_array_equal(display.values, comparison.values["value"])
    np.testing.assert_array_equal(display.low, comparison.values["low"])
    assert display.ax_.get_xlabel() == "accuracy (higher is better)"
    assert legend_of(display) == ["95 % intervals"]


def test_templates_without_bars():
    display = TemplateDisplay(["a", "b"], np.array([0.3, 0.1]), "mutual information").plot()
    assert display.container_.lines[2] == ()
    assert display.ax_.get_legend() is None
    assert display.ax_.get_xlabel() == "mutual information (higher is better)"
    with pytest.raises(InputError, match=r"what select_template or compare returns\. Got dict"):
        TemplateDisplay.from_results({})


# --- the confusion matrix, by scikit-learn --------------------------------------------------------


def test_the_confusion_matrix_of_scikit_learn(clf):
    display = ConfusionMatrixDisplay.from_estimator(clf, NEW, EXPECTED, xticks_rotation=35)
    assert display.confusion_matrix.sum() == len(NEW)
    assert np.diag(display.confusion_matrix).sum() == pytest.approx(clf.score(NEW, EXPECTED) * len(NEW))
    assert texts_of(display.ax_.get_xticklabels()) == clf.classes_.tolist()


# --- what all share -----------------------------------------------------------------------------


def test_bad_probabilities(clf):
    with pytest.raises(InputError, match=r"must be an array of shape \(2, 2\).*Got \(2, 3\): pass classes="):
        ReliabilityDisplay.from_predictions(["a", "b"], np.full((2, 3), 1 / 3))
    with pytest.raises(InputError, match=r"classes \['a', 'b', 'c'\]\. Got \(1, 3\)\.$"):
        CoverageDisplay.from_predictions(["a", "b"], np.full((1, 3), 1 / 3), classes=["a", "b", "c"])
    with pytest.raises(InputError, match=r"must sum to 1\. Those of row 1 sum to 3"):
        CoverageDisplay.from_predictions(["a", "b"], [[0.5, 0.5], [1.0, 2.0]])
    with pytest.raises(InputError, match="does not know"):
        CoverageDisplay.from_predictions(["a", "c"], [[0.5, 0.5], [0.5, 0.5]], classes=["a", "b"])
    with pytest.raises(InputError, match="bins must be an integer"):
        ReliabilityDisplay.from_estimator(clf, NEW, EXPECTED, bins=0)
    with pytest.raises(UnsupportedError, match="Bare has no predict_proba, and the plot is of probabilities"):
        ReliabilityDisplay.from_estimator(Bare(), ["x"], ["b"])
    with pytest.raises(UnsupportedError, match="must be a classifier of texts"):
        CoverageDisplay.from_estimator("clf", NEW, EXPECTED)


def test_without_matplotlib(clf, biased, curve, monkeypatch):
    results = {name: evaluate(one, X, Y, n_bootstrap=5) for name, one in biased.items()}
    proba = clf.predict_proba(NEW)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for call in (
        lambda: ReliabilityDisplay.from_estimator(clf, NEW, EXPECTED),
        lambda: ReliabilityDisplay.from_predictions(EXPECTED, proba),
        lambda: CoverageDisplay.from_estimator(clf, NEW, EXPECTED),
        lambda: CoverageDisplay.from_predictions(EXPECTED, proba),
        lambda: LearningCurveDisplay.from_results(curve),
        lambda: PriorDisplay.from_estimators(biased, X, Y),
        lambda: PriorDisplay.from_predictions(EXPECTED, {"a": proba}),
        lambda: PriorDisplay.from_results(results),
        lambda: TemplateDisplay.from_results(RANKING),
        lambda: TemplateDisplay(["a"], np.zeros(1), "log loss").plot(),
    ):
        with pytest.raises(ImportError, match=r"drawn by matplotlib, which .* pip install 'fewshot\[plot\]'"):
            call()
