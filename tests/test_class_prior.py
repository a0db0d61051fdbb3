"""The shares of the classes that batch calibration puts back: given or counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV

from fewshot import Classifier, FakeLM, InputError, ParameterError, Prompting, Template, UnsupportedError
from fewshot.calibration import Batch
from fewshot.calibration.class_prior import count_shares
from fewshot.persistence.classes import rebuild

SOURCE = "{{ text }} Mood: {{ label }}"
TEXTS = ["a fun day", "so dull", "fun fun fun", "it rained", "quite dull and grey", "fun to see", "dull dull", "dull"]
MOODS = ["good", "bad", "good", "bad", "bad", "good", "bad", "bad"]
GIVEN = {"good": 0.2, "bad": 0.8}


def biased(query):
    """Favours "bad" by 2, and fun speaks for "good"."""
    return [-1.0, -3.0 + 1.3 * query.prefix.count("fun") - 0.4 * query.prefix.count("dull")]


def classifier(calibration, words=None):
    words = words or {"bad": "bad", "good": "good"}
    strategy = Prompting(calibration=calibration)
    return Classifier(FakeLM(biased), Template(SOURCE), words, strategy, random_state=0)


def odds(clf):
    found = clf.predict_log_proba(TEXTS)
    return found[:, 1] - found[:, 0]


GIVENS = [GIVEN, [0.8, 0.2], np.array([0.8, 0.2]), pd.Series(GIVEN)]


@pytest.mark.parametrize("given", GIVENS, ids=lambda given: type(given).__name__)
@pytest.mark.parametrize("transductive", [False, True])
def test_a_given_prior_shifts_the_log_odds_by_its_own(given, transductive):
    even = classifier(Batch(transductive=transductive)).fit(TEXTS)
    shifted = classifier(Batch(transductive=transductive, class_prior=given)).fit(TEXTS)
    np.testing.assert_allclose(odds(shifted) - odds(even), np.log(0.2 / 0.8), atol=1e-12)
    np.testing.assert_array_equal(shifted.strategy_.calibration_.class_prior_, [0.8, 0.2])


def test_without_one_nothing_is_as_much_as_multiplied_by_one():
    fitted = classifier("batch").fit(TEXTS).strategy_.calibration_
    scores = np.random.RandomState(0).randn(5, 2)
    assert fitted.transform_classes(scores) is scores
    assert sorted(vars(fitted)) == [
        *("class_prior", "log_prior_", "max_texts", "mean", "prior_strength", "strength_", "transductive"),
    ]


def test_an_equal_prior_changes_nothing():
    even, equal = classifier("batch").fit(TEXTS), classifier(Batch(class_prior=[0.5, 0.5])).fit(TEXTS)
    np.testing.assert_allclose(odds(equal), odds(even), atol=1e-12)


def test_counts():
    np.testing.assert_allclose(count_shares(np.array([0, 0, 0, 2]), 3, 2.0), np.array([11 / 3, 2 / 3, 5 / 3]) / 6)
    np.testing.assert_allclose(count_shares(np.array([0, 0, 0]), 2, 1e9), [0.5, 0.5], atol=1e-6)


def test_counted_with_labels_before_the_share_is_chosen():
    fitted = classifier(Batch(class_prior="estimated", prior_strength=2.0)).fit(TEXTS, MOODS)
    calibration = fitted.strategy_.calibration_
    np.testing.assert_allclose(calibration.class_prior_, [0.6, 0.4])
    losses = {}
    for share in np.linspace(0, 1, 11):
        calibration.strength_ = share
        losses[share] = log_loss(MOODS, fitted.predict_proba(TEXTS))
    again = classifier(Batch(class_prior="estimated", prior_strength=2.0)).fit(TEXTS, MOODS).strategy_.calibration_
    assert losses[again.strength_] == pytest.approx(min(losses.values()))


def test_counted_with_labels_when_transductive():
    fitted = classifier(Batch(transductive=True, class_prior="estimated", prior_strength=2.0)).fit(TEXTS, MOODS)
    wanted = odds(classifier(Batch(transductive=True)).fit(TEXTS)) + np.log(0.4 / 0.6)
    np.testing.assert_allclose(odds(fitted), wanted, atol=1e-12)


def test_counted_without_the_demonstrations():
    calibration = Batch(class_prior="estimated", prior_strength=2.0)
    fitted = classifier(calibration).set_params(strategy__shots=2).fit(TEXTS, MOODS)
    shown = [MOODS[i] for i in fitted.strategy_.demonstrations_]
    assert sorted(shown) == ["bad", "good"]
    np.testing.assert_allclose(fitted.strategy_.calibration_.class_prior_, [(4 + 1) / 8, (2 + 1) / 8])


@pytest.mark.parametrize("transductive", [False, True])
def test_without_labels_there_is_nothing_to_count(transductive):
    with pytest.raises(InputError, match=r"there are no labels: call fit\(X, y\), or give the shares"):
        classifier(Batch(transductive=transductive, class_prior="estimated")).fit(TEXTS)


def test_classes_with_several_words_and_numbers_as_names():
    words = {1: ["bad"], 0: ["good"]}
    even = classifier("batch", words).fit(TEXTS)
    shifted = classifier(Batch(class_prior={0: 0.2, 1: 0.8}), words).fit(TEXTS)
    place = shifted.classes_.tolist().index(0)
    difference = shifted.predict_log_proba(TEXTS) - even.predict_log_proba(TEXTS)
    np.testing.assert_allclose(difference[:, place] - difference[:, 1 - place], np.log(0.25), atol=1e-12)


def test_a_grid_search_finds_the_shares():
    search = GridSearchCV(
        classifier(Batch()),
        {"strategy__calibration__class_prior": [None, [0.01, 0.99], "estimated"]},
        scoring="neg_log_loss",
        cv=2,
        error_score="raise",
    ).fit(TEXTS * 2, MOODS * 2)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 3
    assert scores.argmin() == 1


@pytest.mark.parametrize("given", [GIVEN, [0.8, 0.2], np.array([0.8, 0.2]), "estimated"], ids=repr)
def test_it_is_kept_and_loaded(tmp_path, given):
    clf = classifier(Batch(class_prior=given)).fit(TEXTS, MOODS)
    again = Classifier.load(clf.save(tmp_path / "kept"), model=FakeLM(biased))
    np.testing.assert_array_equal(again.predict_proba(TEXTS), clf.predict_proba(TEXTS))
    np.testing.assert_array_equal(clone(again).fit(TEXTS, MOODS).predict_proba(TEXTS), clf.predict_proba(TEXTS))


def test_a_parameter_that_was_added_since_has_its_default():
    old = {"mean": "geometric", "max_texts": 500, "transductive": False, "log_prior_": np.zeros(2), "strength_": 1.0}
    made = rebuild("Batch", old)
    assert made.get_params() == Batch().get_params()
    scores = np.ones((1, 2))
    assert made.transform_classes(made.transform(scores)).tolist() == scores.tolist()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ([0.2, 0.3, 0.5], r"one share for each of the 2 classes \['bad', 'good'\], in this order. Got 3 shares"),
        ([1.2, -0.2], r"shares above 0: give a class that is rare a small share.* Got -0.2 for 'good'"),
        ([0.0, 1.0], r"shares above 0.* Got 0 for 'bad'"),
        ([float("nan"), 1.0], r"shares above 0.* Got nan for 'bad'"),
        ([8, 2], r"the sum 1: divide the shares, or the counts, by their sum. Got the sum 10"),
        ({"good": 0.2, "ham": 0.8}, r"may name the classes \['bad', 'good'\] only. Got a share for 'ham'"),
        ({"good": 1.0}, r"a share for each class. Got none for 'bad'"),
        ({"good": "much", "bad": 0.1}, r"must be a share for each class.* Got \['much', 0.1\]|\[0.1, 'much'\]"),
        ("estimate", r"'estimated' or None. Got 'estimate'"),
        (0.5, r"'estimated' or None. Got 0.5"),
        ([], r"'estimated' or None. Got \[\]"),
        ([[0.5, 0.5]], r"'estimated' or None. Got \[\[0.5, 0.5\]\]"),
    ],
    ids=repr,
)
def test_shares_that_can_not_be_meant(given, match):
    log = []
    clf = classifier(Batch(class_prior=given)).set_params(model=FakeLM(lambda query: log.append(query) or [0.0, 0.0]))
    with pytest.raises(ParameterError, match=match):
        clf.fit(TEXTS)
    assert not log


@pytest.mark.parametrize("strength", [0, -1, float("nan"), "many", None])
def test_a_strength_that_can_not_be_meant(strength):
    with pytest.raises(ParameterError, match="prior_strength must be greater than 0"):
        classifier(Batch(class_prior="estimated", prior_strength=strength)).fit(TEXTS)


def test_rows_with_their_own_choices_have_no_class_prior():
    template = Template("---\nchoices: options\n---\n{{ text }} {{ label }}")
    row = {"text": "It rained, so", "options": ["we got wet", "we sang"]}
    clf = Classifier(
        FakeLM(lambda query: [0.0, 0.0]), template, strategy=Prompting(calibration=Batch(class_prior=GIVEN))
    )
    with pytest.raises(UnsupportedError, match="each row brings its own choices"):
        clf.fit([row])


def test_used_alone_it_needs_the_classes():
    with pytest.raises(ParameterError, match=r"call take_classes\(classes\) before fit"):
        Batch(class_prior=GIVEN).fit(np.zeros((3, 2)))
