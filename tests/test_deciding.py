"""act: the action with the lowest expected cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from fewshot import Classifier, FakeLM, ParameterError, Prompting, UnsupportedError, act

COSTS = {"bad": {"bad": 0.0, "good": 10.0, "escalate": 1.0}, "good": {"bad": 2.0, "good": 0.0, "escalate": 1.0}}


class Fixed:
    """A classifier that says what it was made with."""

    def __init__(self, proba, classes=("bad", "good")):
        self.proba, self.classes_ = np.array(proba), np.array(classes)

    def predict_proba(self, X):
        return self.proba


def test_the_action_of_lowest_expected_cost_by_hand():
    proba = [[1.0, 0.0], [0.05, 0.95], [0.3, 0.7], [0.6, 0.4]]
    found = act(Fixed(proba), ["text"] * 4, COSTS)
    by_hand = [{a: sum(p[i] * COSTS[c][a] for i, c in enumerate(COSTS)) for a in COSTS["bad"]} for p in proba]
    assert found.names == ["bad", "good", "escalate"]
    assert found.actions.tolist() == ["bad", "good", "escalate", "bad"]
    for i, row in enumerate(by_hand):
        assert found.actions[i] == min(row, key=row.get)
        np.testing.assert_allclose(found.expected[i], list(row.values()))
        assert found.costs[i] == found.expected[i].min()


def test_a_frame_is_read_by_its_names():
    frame = pd.DataFrame(COSTS).T.loc[["good", "bad"], ["escalate", "good", "bad"]]
    proba = [[0.3, 0.7], [0.9, 0.1]]
    one, other = act(Fixed(proba), ["a", "b"], frame), act(Fixed(proba), ["a", "b"], COSTS)
    assert one.names == ["escalate", "good", "bad"]
    assert one.actions.tolist() == other.actions.tolist()
    np.testing.assert_allclose(one.costs, other.costs)


@pytest.mark.parametrize("p", [0.5, 0.1, 1 / 3])
def test_the_first_of_equal_actions_is_taken(p):
    ties = {"bad": {"a": 0.1, "b": 0.3, "c": 0.3}, "good": {"a": 0.3 + 0.2 * p / (1 - p), "b": 0.3, "c": 0.3}}
    found = act(Fixed([[p, 1 - p]]), ["text"], ties)
    assert found.actions.tolist() == ["a"]  # all are 0.3, up to rounding
    turned = {name: dict(reversed(row.items())) for name, row in ties.items()}
    assert act(Fixed([[p, 1 - p]]), ["text"], turned).actions.tolist() == ["c"]


def test_gains_are_negative_costs_and_actions_may_be_of_any_type():
    costs = {False: {0: 0, "wait": -1}, True: {0: -5, "wait": -1}}
    found = act(Fixed([[0.9, 0.1], [0.1, 0.9]], [False, True]), ["a", "b"], costs)
    assert found.actions.tolist() == ["wait", 0]
    np.testing.assert_allclose(found.costs, [-1.0, -4.5])


def test_any_classifier_with_probabilities_decides():
    texts, labels = ["bad day", "good day", "bad film", "good film"], ["bad", "good", "bad", "good"]
    foreign = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, labels)
    costs = {name: {**row, "escalate": 0.9} for name, row in COSTS.items()}
    assert act(foreign, ["so bad", "day"], costs).actions.tolist() == ["bad", "escalate"]
    with pytest.raises(UnsupportedError, match="predict_proba"):
        act(make_pipeline(CountVectorizer(), LinearSVC()).fit(texts, labels), texts, COSTS)


def test_a_classifier_of_two_classes_goes_into_scikit_learns_threshold():
    lm = FakeLM(lambda query: [float("dull" in query.prefix), 0.4])
    words = {"bad": "bad", "good": "good"}
    clf = Classifier(lm, "{{ text }} It was {{ label }}", words, Prompting())
    texts, labels = ["dull", "fun"] * 10, ["bad", "good"] * 10
    tuned = TunedThresholdClassifierCV(clf, scoring="balanced_accuracy", cv=2, thresholds=20).fit(texts, labels)
    assert tuned.predict(["fun", "dull"]).tolist() == ["good", "bad"]


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"bad": COSTS["bad"]}, "costs has no row for the class 'good'"),
        ({**COSTS, "fine": COSTS["good"]}, "costs has a row 'fine', which is no class"),
        ({"bad": {"a": 1}, "good": {"b": 1}}, "the same actions for each class"),
        ({"bad": {}, "good": {}}, "costs has no action"),
        ({"bad": {"a": 1}, "good": {"a": np.nan}}, "The cost of 'a' where 'good' is true must be a finite number"),
        ({"bad": {"a": 1}, "good": {"a": np.inf}}, "Got inf"),
        ({"bad": {"a": 1}, "good": {"a": None}}, "Got None"),
        ({"bad": {"a": 1}, "good": {"a": "1"}}, "Got '1'"),
        ({"bad": {"a": 1}, "good": {"a": True}}, "Got True"),
        (pd.DataFrame({"a": [1, 1, 1]}, index=["bad", "good", "bad"]), "a class or an action twice"),
        ([[0, 1], [1, 0]], "costs must be a DataFrame"),
        ({"bad": 1, "good": 2}, "costs must be a DataFrame"),
        (None, "costs must be a DataFrame"),
    ],
)
def test_costs_that_say_too_little_are_refused(costs, message):
    with pytest.raises(ParameterError, match=message):
        act(Fixed([[0.5, 0.5]]), ["text"], costs)
