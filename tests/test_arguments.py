"""Arguments that would be ignored, or would make nonsense, are refused with the cure."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from fewshot import (
    AutomaticVerbalizer,
    CachedLM,
    Choices,
    Classifier,
    FakeLM,
    Prompting,
    Template,
    Verbalizer,
    Windows,
    calibration_error,
    embedded,
    lint,
    load,
    predict_or_none,
    select_template,
)
from fewshot.calibration import PMI, BestOf
from fewshot.errors import FewshotError, InputError, ModelLoadError, ParameterError, UnsupportedError
from fewshot.models.base import Scores
from fewshot.pages.label_page import open_session
from tests.conftest import pair
from tests.contract import HashEncoder, keyword_lm

CLASSES = ["billing", "praise"]


class TestLoad:
    @pytest.mark.parametrize("option", [{"device": "cpu"}, {"dtype": "float32"}, {"revision": "x"}, {"windows": 5}])
    @pytest.mark.parametrize(
        "model", [FakeLM(lambda query: [0.0] * len(query.candidates)), HashEncoder()], ids=["lm", "encoder"]
    )
    def test_a_model_that_is_there_takes_no_options(self, model, option):
        with pytest.raises(ModelLoadError, match=f"is a model already, so that {next(iter(option))} would change no"):
            load(model, **option)

    def test_a_pair_takes_those_of_our_class(self):
        assert load(pair("gpt2-chat"), chat=False).chat is False
        with pytest.raises(ModelLoadError, match="is loaded already, so that device would change nothing"):
            load(pair("bert"), device="cpu")
        with pytest.raises(ModelLoadError, match="MaskedLM takes no option 'chat'; of its own it takes: variant"):
            load(pair("bert"), chat=True)
        with pytest.raises(ModelLoadError, match="MaskedLM takes no option 'windows'"):
            load("embedded:masked", windows=Windows())

    @pytest.mark.parametrize("bad", [{"windows": 5}, {"cache_bytes": "x"}, {"cache_bytes": -1}, {"cache_bytes": True}])
    def test_options_of_an_encoder_are_checked(self, mini, bad):
        with pytest.raises(ModelLoadError, match=f"{next(iter(bad))} must be "):
            load(copy.copy(mini.model), **bad)


@pytest.mark.parametrize("most", [-1, 0, 2.5, True, "10"])
def test_the_most_tokens_of_demonstrations(most):
    with pytest.raises(ValueError, match="max_shot_tokens must be an integer of at least 1"):
        Classifier(keyword_lm(), strategy=Prompting(1, max_shot_tokens=most)).fit(["a", "b"], CLASSES)


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.1, float("inf"), True, "0.5", None])
def test_a_threshold_is_a_probability(threshold):
    clf = Classifier(keyword_lm()).fit(None, CLASSES)
    with pytest.raises(InputError, match="threshold must be a probability from 0 to 1"):
        predict_or_none(clf, ["a"], threshold)


@pytest.mark.parametrize("odd", [5.0, -0.1, float("nan")])
def test_a_confidence_is_a_probability(odd):
    with pytest.raises(InputError, match="confidence must be probabilities from 0 to 1"):
        calibration_error([0.5, odd], [True, False])
    with pytest.raises(InputError, match=r"confidence must be numbers, .*\. Got \['a'\]"):
        calibration_error(["a"], [True])
    with pytest.raises(InputError, match="right must be true or false"):
        calibration_error([0.5, 0.5], [1, 0.5])


@pytest.mark.parametrize("options", [{"a", "b"}, frozenset("ab"), iter(["a", "b"]), {"a": 1, "b": 2}, "ab"], ids=type)
def test_choices_have_an_order(options):
    clf = Classifier(keyword_lm(), "---\nchoices: options\n---\n{{ q }} {{ label }}", Choices(n_choices=2))
    with pytest.raises(InputError, match="the field 'options' must be a list of texts"):
        clf.fit(None, [0, 1]).predict([{"q": "?", "options": options}])


class OwnLM:
    """A model of a user's own that gives what it is told."""

    fingerprint = "own"

    def __init__(self, scores):
        self.scores = scores

    def loglikelihoods(self, queries):
        return self.scores * len(queries)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (Scores(np.zeros(2), np.array([1, 0])), "says that 'praise' has 0 tokens"),
        (Scores(np.zeros(3), np.ones(3, dtype=int)), r"gave scores of shape \(3,\) for 2 candidates"),
        (Scores(np.zeros(2), np.ones(1, dtype=int)), r"gave scores of shape \(1,\) and \(2,\) for 2 candidates"),
        (Scores(np.array([0.0, np.nan]), np.ones(2, dtype=int)), "gave NaN or infinite scores"),
        (Scores(np.full(2, -np.inf), np.ones(2, dtype=int)), "gave NaN or infinite scores"),
    ],
)
def test_an_own_model_says_what_a_score_is(scores, message):
    with pytest.raises(UnsupportedError, match=message):
        Classifier(OwnLM([scores]), "{{ text }} {{ label }}").fit(None, CLASSES).predict(["a"])


def test_an_own_model_answers_every_query():
    with pytest.raises(UnsupportedError, match="gave 0 scores for 3 queries"):
        Classifier(OwnLM([]), "{{ text }} {{ label }}").fit(None, CLASSES).predict(["a"])


@pytest.mark.parametrize("path", [None, 3])
def test_a_path_is_text_or_a_path(path):
    for name, call in {
        "path": lambda: CachedLM(keyword_lm(), path),
        "folder": lambda: embedded.export(path),
    }.items():
        with pytest.raises(ParameterError, match=rf"{name} must be a path, as a text or a Path\. Got {path}"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load().encode("abc"), r"Got one text: wrap it in a list, \['abc'\]"),
        (lambda: load().encode(["abc", None]), r"texts\[1\] must be text\. Got NoneType: None"),
        (
            lambda: select_template("{{ text }} {{ label }}", ["a", "b"], [0, 1]),
            r"templates must be a list of templates",
        ),
        (lambda: open_session(["a"], "ab", "labels.csv", None), r"classes must be a list of names\. Got one text"),
        (lambda: FakeLM(3), r"f must be a function of a query, .*\. Got 3"),
        (lambda: Verbalizer({"a": "b", "c": "d"}, ordered="no"), r"ordered must be True or False\. Got 'no'"),
        (lambda: lint(Template("{{ text }} {{ label }}"), 3), "An object of type int is not a model"),
    ],
)
def test_one_of_another_type_is_named(call, message):
    with pytest.raises(FewshotError, match=message):
        call()


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (Prompting(orders="every"), r"orders must be an integer of at least 1, or 'all'\. Got 'every'"),
        (Prompting(read="generate", max_new_tokens="8"), r"max_new_tokens must be an integer of at least 1\. Got '8'"),
        (Prompting(calibration=BestOf("batch")), r"max_texts must be an integer of at least 1, or None\. Got 'batch'"),
        (Prompting(calibration=PMI(3)), r"premise of PMI must be text, such as 'Sentiment: ', or None\. Got 3"),
    ],
)
def test_what_prompting_can_not_do_is_named(strategy, message):
    with pytest.raises(ParameterError, match=message):
        Classifier(keyword_lm(), strategy=strategy).fit(["a", "b"], ["x", "y"])


def test_a_class_is_no_verbalizer():
    with pytest.raises(FewshotError, match=r"Label words must be a mapping .*AutomaticVerbalizer"):
        Classifier(keyword_lm(), verbalizer=AutomaticVerbalizer).fit(["a", "b"], ["x", "y"])


class TestScore:
    Y = pd.DataFrame({"a": [1, 0, 1], "b": [1, 1, 0]})
    X = ("one", "two", "three")

    def test_columns_are_matched_by_name(self):
        clf = Classifier(HashEncoder()).fit(self.X, self.Y)
        assert (
            clf.score(self.X, self.Y[["b", "a"]]) == clf.score(self.X, self.Y) == clf.score(self.X, self.Y.to_numpy())
        )
        swapped = self.Y.set_axis(["b", "a"], axis=1)
        assert clf.score(self.X, swapped) == clf.score(self.X, swapped[["a", "b"]].to_numpy())

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (["a", "b", "a"], r"gives a text several labels: y must be an indicator matrix, as in fit"),
            (np.ones((3, 3), dtype=int), r"y has 3 columns, and the classifier has 2 labels, \['a', 'b'\]"),
            (Y.set_axis(["a", "c"], axis=1), r"The columns of y are \['a', 'c'\], and the labels .* name them alike"),
        ],
    )
    def test_other_columns_are_refused(self, y, message):
        with pytest.raises(InputError, match=message):
            Classifier(HashEncoder()).fit(self.X, self.Y).score(self.X, y)

    def test_an_indicator_matrix_is_no_class(self):
        with pytest.raises(InputError, match="gives a text one class: y must be the class of each text, as in fit"):
            Classifier(HashEncoder()).fit(self.X, ["a", "b", "a"]).score(self.X, self.Y)
