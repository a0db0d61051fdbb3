"""Arguments that would be ignored, or would make nonsense, are refused with the cure."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from fewshot import Choices, Classifier, FakeLM, Prompting, Windows, calibration_error, load, predict_or_none
from fewshot.errors import InputError, ModelLoadError, UnsupportedError
from fewshot.models.base import Scores
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
