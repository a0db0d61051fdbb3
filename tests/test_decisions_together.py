"""Our client of typed decisions asks our own server, and our questions go over both wires."""

from __future__ import annotations

import numpy as np
import pytest

from fewshot import Choice, Classifier, FakeLM, Prompting, Rating, YesNo, load
from fewshot.models.remote.wire import Option
from fewshot.models.remote.wires import WIRES
from fewshot.serving import application, running
from tests.contract import NEW
from tests.peers import APIS, CLASSES, TEXTS, serving
from tests.served import ask, fitted, hashed

KEY = "s3cret"


@pytest.fixture(scope="module")
def clf():
    return fitted()


@pytest.fixture(scope="module")
def url(clf):
    lm = FakeLM(lambda query: [2.0 * query.prefix.lower().count(word.lower()) for word in query.candidates])
    with running(application({"tickets": clf, "lm": lm}, key=KEY)) as address:
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
    choice = Choice("Which colour?", {"green": None, "red": "as blood"})
    assert Classifier(lm, choice).fit().predict(["A red, red rose", "green"]).tolist() == ["red", "green"]


def test_a_model_answers_over_http_as_prompting_does_here():
    lm = FakeLM(hashed)
    here = {
        "team": Choice("Which team?", {"billing": "charges", "bug": None}),
        "angry": YesNo("Is the customer angry?"),
        "urgent": Rating("How urgent is it?", ["low", "medium", "high"]),
    }
    asked = {name: Classifier(lm, one, strategy=Prompting(orders=2, calibration=None)) for name, one in here.items()}
    with running(application({"lm": lm})) as address:
        found = ask(address, TEXTS[0])["answers"]
    for name, clf in asked.items():
        (p,) = clf.fit().predict_proba(TEXTS[:1])
        own = dict(zip(clf.classes_.tolist(), p, strict=True))
        over = found[name]
        theirs = [1 - over["noul"], over["noul"]] if name == "angry" else list(over["probabilities"].values())
        assert theirs == pytest.approx([own[answer] for answer in here[name].classes])


@APIS
def test_questions_go_over_the_wire_as_they_are(api):
    with serving() as peer:
        lm = load(peer.url, model="m", api=api)
        team = Choice("Which team?", {"billing": "charges, refunds", "bug report": None, "praise": None})
        assert Classifier(lm, team).fit().predict(TEXTS[:3]).tolist() == CLASSES
        urgent = YesNo("Is it urgent?", true="they shout")
        assert Classifier(lm, urgent).fit().predict(["Help!", "All is well."]).tolist() == [True, False]
        asked = [WIRES[api].read_request(body).questions[0] for body in peer.requests]
        described = Option("billing", "charges, refunds")
        assert (asked[0].instructions, asked[0].options[0]) == ("Which team?", described)
        assert asked[-1].type == "yes_no"
        assert asked[-1].instructions.startswith("Is it urgent?")
        Classifier(lm, Rating("How urgent?", ["low", "high"])).fit().predict(TEXTS[:1])
        words = {"billing": "charges, refunds", "praise": "they thank us"}
        assert Classifier(lm).fit(None, words).predict(TEXTS[:1]).tolist() == ["billing"]
        assert described in WIRES[api].read_request(peer.requests[-1]).questions[0].options
