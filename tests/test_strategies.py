"""What all strategies share: a fit that refuses what the class can't do, and attributes that say what it can."""

from __future__ import annotations

import inspect
from importlib import import_module

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV

import fewshot
from fewshot import Classifier, Distillation, Embedding, InputError, Prompting, UnsupportedError
from fewshot.strategies import STRATEGIES
from fewshot.strategies.base import Strategy
from tests.contract import HashEncoder, keyword_lm

TEXTS, LABELS = ["good one", "a bad one", "very good", "so bad"], ["good", "bad", "good", "bad"]
TEMPLATE, OTHER = "{{ text }} {{ label }}", "So: {{ text }} {{ label }}"


class Share(Strategy):
    """Says of every text how often each class was seen."""

    def __init__(self, smoothing=1.0):
        self.smoothing = smoothing

    def _fit(self, task, model, X, y, *, sample_weight, random_state):
        counts = np.bincount(task.index(y or ()), minlength=len(task.classes)) + self.smoothing
        self.shares_ = np.log(counts / counts.sum())

    def log_scores(self, X):
        return np.tile(self.shares_, (len(X), 1))


class Duck(BaseEstimator):
    """A strategy by what it does, and no subclass."""

    def fit(self, task, model, X=None, y=None, *, sample_weight=None, random_state=None):
        self.n_ = len(task.classes)
        return self

    def log_scores(self, X):
        return np.full((len(X), self.n_), -np.log(self.n_))


def test_a_strategy_is_two_methods():
    clf = Classifier(keyword_lm(), TEMPLATE, strategy=Share()).fit([*TEXTS, "good"], [*LABELS, "good"])
    np.testing.assert_allclose(clf.predict_proba(["x"]), [[3 / 7, 4 / 7]])
    assert clone(Share(2.0)).get_params() == {"smoothing": 2.0}
    grid = GridSearchCV(Classifier(keyword_lm(), TEMPLATE, strategy=Share()), {"strategy__smoothing": [0.5, 2.0]}, cv=2)
    assert grid.fit(TEXTS, LABELS).best_params_ == {"strategy__smoothing": 0.5}


@pytest.mark.parametrize(
    ("template", "y", "weights", "message"),
    [
        (TEMPLATE, LABELS, np.ones(4), r"Share can't use sample_weight"),
        (TEMPLATE, np.eye(2, dtype=int)[[0, 1, 0, 1]], None, r"Share gives each text one class"),
        (
            [TEMPLATE, "So: {{ text }} {{ label }}"],
            LABELS,
            None,
            r"Share asks in one wording, and there are 2 templates",
        ),
    ],
    ids=["weights", "several labels", "wordings"],
)
def test_what_a_strategy_does_not_say_it_can_is_refused(template, y, weights, message):
    clf = Classifier(keyword_lm(), template, {"bad": "bad", "good": "good"}, strategy=Share())
    with pytest.raises(UnsupportedError, match=message):
        clf.fit(TEXTS, y, sample_weight=weights)


def test_what_it_says_it_can_is_not():
    class Weighed(Share):
        takes_weights = takes_multi_label = takes_wordings = True

    clf = Classifier(keyword_lm(), [TEMPLATE, OTHER], strategy=Weighed()).fit(TEXTS, LABELS, sample_weight=[1, 2, 1, 1])
    assert clf.predict_proba(["x"]).tolist() == [[0.5, 0.5]]


def test_the_kind_of_model_is_refused_in_its_name():
    class Reads(Share):
        needs_encoder = True

    class Asks(Share):
        needs_language_model = True

    with pytest.raises(UnsupportedError, match=r"Reads needs an encoder\. .* is a language model: use Prompting\(\)"):
        Classifier(keyword_lm(), TEMPLATE, strategy=Reads()).fit(TEXTS, LABELS)
    with pytest.raises(UnsupportedError, match=r"Asks needs a language model\. .* is an encoder: use Embedding\(\)"):
        Classifier(HashEncoder(), strategy=Asks()).fit(TEXTS, LABELS)


def test_rows_without_a_label_are_for_those_that_take_them():
    with pytest.raises(InputError, match="this strategy uses labelled rows only"):
        Classifier(keyword_lm(), TEMPLATE, strategy=Share()).fit(TEXTS, ["good", "bad", None, None])
    assert [name for name in STRATEGIES if getattr(getattr(fewshot, name), "takes_unlabelled", False)] == [
        "Distillation"
    ]


def test_a_strategy_that_is_no_subclass_refuses_for_itself():
    rows = np.eye(2, dtype=int)[[0, 1, 0, 1]]
    for y, weights in ((LABELS, None), (LABELS, np.ones(4)), (rows, None)):
        clf = Classifier(keyword_lm(), TEMPLATE, {"bad": "bad", "good": "good"}, strategy=Duck())
        assert clf.fit(TEXTS, y, sample_weight=weights).predict_proba(["x"]).shape == (1, 2)
    taught = Classifier(keyword_lm(), TEMPLATE, strategy=Distillation(Prompting(), Duck()))
    assert taught.fit([*TEXTS, "x"], [*LABELS, None]).predict_proba(["x"]).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "Contrastive"])
def test_the_fit_of_all_is_one(name):
    cls = getattr(import_module(STRATEGIES[name]), name)
    assert issubclass(cls, Strategy)
    assert cls.fit is Strategy.fit
    assert inspect.signature(cls._fit) == inspect.signature(Strategy._fit)


def test_what_one_can_is_no_parameter():
    assert not {name for name in vars(Strategy) if name.startswith(("takes_", "needs_"))} & set(
        Embedding().get_params()
    )
