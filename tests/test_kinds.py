"""A kind of model is a row of data, which everything else reads."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from fewshot import Classifier, FakeLM, InputError, gallery
from fewshot.models import kinds
from fewshot.models.base import Query, kind_of
from fewshot.models.kinds import KINDS, kind_named, kind_of_own, trains
from tests.contract import keyword_lm


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_row_agrees_with_its_class_and_the_gallery(kind):
    made = kind.load_class()
    assert made.kind == kind.name
    asked = {p.name for p in inspect.signature(made).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert kind.remote or asked - {"recipe"} == set(kind.options)
    templates = {kind.generic, kind.generic_labels or kind.generic}
    assert templates <= ({""} if kind.reads == "question" else set(gallery.names()))
    assert trains(object.__new__(made), "head") == ("head" in kind.trains)


def test_a_model_without_a_kind_is_causal_and_one_that_scores_nothing_an_encoder():
    class Own:
        fingerprint = "own"

        def loglikelihoods(self, queries):
            return []

    class Vectors:
        fingerprint = "own"

        def encode(self, texts):
            return []

    assert kind_of(Own()) is kind_named("causal")
    assert kind_of(Vectors()) is kind_named("encoder")
    assert kind_of_own(Own()) is None


@pytest.mark.parametrize("name", ["decoder", None, ["causal"]])
def test_an_unknown_kind_is_refused_with_those_there_are(name):
    lm = keyword_lm(kind=name)
    message = r"kind of FakeLM\(.*\) must be one of 'masked', 'causal', .*, 'decision' or 'extractive'. Got "
    with pytest.raises(InputError, match=message):
        Classifier(lm).fit(None, ["good", "bad"])


def test_a_new_kind_is_a_new_row(monkeypatch):
    row = replace(kind_named("entailment"), name="judge", generic="generic/encoder")
    monkeypatch.setattr(kinds, "KINDS", (*KINDS, row))
    seen: list[Query] = []
    lm = FakeLM(lambda query: seen.append(query) or [0.0] * len(query.candidates), kind="judge")
    clf = Classifier(lm).fit(None, ["good", "bad"])
    clf.predict(["a text"])
    assert clf.template_.name == "generic/encoder"
    assert [turn.role for turn in seen[-1].context] == ["premise"]
