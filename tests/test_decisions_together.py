"""Our client of typed decisions asks our own server, and our questions go over both wires."""

from __future__ import annotations

import numpy as np
import pytest

from fewshot import Classifier, FakeLM, Prompting, load
from fewshot.models.remote.wire import Option
from fewshot.models.remote.wires import WIRES
from tests.contract import NEW, data
from tests.peers import CLASSES, TEXTS, serving

served = pytest.importorskip("fewshot.serving")
question = pytest.importorskip("fewshot.task.question")

APIS = pytest.mark.parametrize("api", ["systemone", "openai"])
KEY = "s3cret"


@pytest.fixture(scope="module")
def clf():
    lm = FakeLM(lambda query: [query.prefix.count(word[:4]) - 0.5 * len(word) for word in query.candidates])
    return Classifier(lm, strategy=Prompting(shots=3, calibration="contextual"), random_state=0).fit(*data(3))


@pytest.fixture(scope="module")
def url(clf):
    lm = FakeLM(lambda query: [2.0 * query.prefix.lower().count(word.lower()) for word in query.candidates])
    with served.running(served.application({"tickets": clf, "lm": lm}, key=KEY)) as address:
        yield f"{address}/v1"


@APIS
def test_a_classifier_that_is_served_answers_as_it_does_here(url, clf, api, monkeypatch):
    monkeypatch.setenv("OUR_KEY", KEY)
    lm = load(url, model="tickets", api=api, key_env="OUR_KEY")
    there = Classifier(lm).fit(None, clf.classes_.tolist())
    np.testing.assert_allclose(there.predict_proba(NEW), clf.predict_proba(NEW), atol=1e-12)
    assert there.predict(NEW).tolist() == clf.predict(NEW).tolist()
    assert lm.version == "tickets"


@APIS
def test_a_language_model_that_is_served_answers_questions(url, api, monkeypatch):
    monkeypatch.setenv("OUR_KEY", KEY)
    lm = load(url, model="lm", api=api, key_env="OUR_KEY")
    choice = question.Choice("Which colour?", {"green": None, "red": "as blood"})
    assert Classifier(lm, choice).fit().predict(["A red, red rose", "green"]).tolist() == ["red", "green"]


@APIS
def test_questions_go_over_the_wire_as_they_are(api):
    with serving() as peer:
        lm = load(peer.url, model="m", api=api)
        team = question.Choice("Which team?", {"billing": "charges, refunds", "bug report": None, "praise": None})
        assert Classifier(lm, team).fit().predict(TEXTS[:3]).tolist() == CLASSES
        urgent = question.YesNo("Is it urgent?", true="they shout")
        assert Classifier(lm, urgent).fit().predict(["Help!", "All is well."]).tolist() == [True, False]
        asked = [WIRES[api].read_request(body).questions[0] for body in peer.requests]
        described = Option("billing", "charges, refunds")
        assert (asked[0].instructions, asked[0].options[0]) == ("Which team?", described)
        assert asked[-1].type == "yes_no"
        assert asked[-1].instructions.startswith("Is it urgent?")
        Classifier(lm, question.Rating("How urgent?", ["low", "high"])).fit().predict(TEXTS[:1])
        words = {"billing": "charges, refunds", "praise": "they thank us"}
        assert Classifier(lm).fit(None, words).predict(TEXTS[:1]).tolist() == ["billing"]
        assert described in WIRES[api].read_request(peer.requests[-1]).questions[0].options
