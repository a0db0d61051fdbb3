"""Typed decisions over HTTP, asked by the clients and suites that others have written."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jevbench
import numpy as np
import openai
import pytest
import typesafe_sdk
from jevcompat import runner
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from fewshot import Classifier, ConformalClassifier, FakeLM
from fewshot.errors import ParameterError, UnsupportedError
from fewshot.serving import application, running
from tests.contract import EXPECTED, NEW, HashEncoder
from tests.served import CLASSES, QUESTIONS, about, ask, fitted, hashed, send

KEY = "s3cret"


@pytest.fixture(scope="module")
def clf():
    return fitted()


@pytest.fixture(scope="module")
def url(clf):
    with running(application({"tickets": clf, "lm": FakeLM(hashed)})) as address:
        yield address


@pytest.fixture(scope="module")
def locked():
    with running(application({"lm": FakeLM(about)}, key=KEY)) as address:
        yield address


def counts(report):
    summary = report.summary()
    failed = [one.id for one in report.results if one.status == "fail"]
    return report.verdict, failed, summary["MUST"]["passed"], summary["SHOULD"]["passed"]


def test_it_conforms_to_system_one(url):
    assert counts(runner.run(url)) == ("conformant", [], 32, 12)


def test_with_a_key_it_conforms_as_well(locked):
    report = runner.run(locked, key=KEY)
    assert counts(report) == ("conformant", [], 32, 14)
    assert {one.id for one in report.results if one.status == "skip"} == {"auth.ignored-when-off", "errors.shape"}


def test_the_client_of_openai_reads_every_answer(locked):
    client = openai.OpenAI(base_url=f"{locked}/v1", api_key=KEY, max_retries=0)
    levels: Any = [{"label": "low"}, {"label": "medium"}, {"label": "high", "description": "today"}]
    found = client.decisions.create(
        model="gpt-6-luna",
        input="It is true that this is a high bill.",
        questions=[
            {"type": "predicate", "instructions": "The customer pays.", "name": "pays"},
            {"type": "choice", "instructions": "Is it so?", "choices": [{"value": True}, {"value": "false"}]},
            {"type": "score", "instructions": "How urgent?", "levels": levels},
        ],
    )
    pays, so, urgent = found.answers
    assert (found.model, pays.type, pays.name, so.name) == ("lm", "predicate", "pays", None)
    assert 0 <= pays.probability <= 1
    assert so.choice is True
    assert [one.value for one in so.probabilities] == [True, "false"]
    assert [one.label for one in urgent.probabilities] == ["low", "medium", "high"]
    assert urgent.score > 1.5
    assert found.usage.input_tokens > 0
    assert [one.id for one in client.models.list()] == ["lm"]


def test_the_client_of_typesafe_reads_every_answer(locked):
    with typesafe_sdk.TypeSafeClient(api_key=KEY, base_url=locked) as client:
        found = client.system_one(
            state="A high bill for billing.",
            questions={
                "team": typesafe_sdk.Choice(instructions="Which team?", criteria={"billing": None, "bug": "crashes"}),
                "paid": typesafe_sdk.Noul(instructions="Was it paid?"),
                "urgent": typesafe_sdk.Score(instructions="How urgent?", criteria=["low", "high"]),
            },
        )
    assert found.choices["team"].choice == "billing"
    assert found.nouls["paid"].noul == pytest.approx(0.5)
    assert found.scores["urgent"].score > 0.5


def test_a_wrong_key_is_refused_in_the_form_of_the_wire(locked):
    body = {"model": "lm", "input": "x", "questions": [{"type": "predicate", "instructions": "Is it?"}]}
    for path in ("/v1/models", "/v1/systemone"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
            status, found, said = send(locked, path, None if path == "/v1/models" else body, headers=headers)
            assert (status, found["www-authenticate"]) == (401, "Bearer")
            assert said["detail"]["error_type"] == "authentication_error"
    with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer"):
        openai.OpenAI(base_url=f"{locked}/v1", api_key="wrong").decisions.create(**body)
    assert send(locked, "/health")[2] == {"status": "ok", "waiting": 0}


def test_the_suite_of_jevbench_runs_without_errors(url):
    model = jevbench.systemone(f"{url}/v1/systemone", "lm", api_key_env=None)
    report = jevbench.evaluate(model, suite="examples", cache=None, bootstrap=1)
    assert not report.errors
    model.client.close()


def test_a_fitted_classifier_answers_under_its_name(url, clf):
    question = {"topic": {"type": "choice", "instructions": "What is it about?", "criteria": CLASSES}}
    for text, expected in zip(NEW, clf.predict_proba(NEW), strict=True):
        body = ask(url, text, question, model="tickets")
        answer = body["answers"]["topic"]
        assert (body["model"], answer["x_answered_by"]) == ("tickets", "fitted")
        wanted = dict(zip(clf.classes_.tolist(), expected, strict=True))
        assert list(answer["probabilities"]) == list(CLASSES)
        assert answer["probabilities"] == pytest.approx(wanted)
    levels = {"how": {"type": "score", "instructions": "?", "criteria": list(CLASSES)}}
    assert ask(url, NEW[0], levels, model="tickets")["answers"]["how"]["x_answered_by"] == "fitted"


@pytest.mark.parametrize(
    "options", [["billing", "bug report"], ["billing", "bug report", "Praise"], [*CLASSES, "more"]]
)
def test_other_options_are_answered_by_the_language_model_and_it_says_so(url, options):
    questions = {"own": {"type": "choice", "criteria": CLASSES}, "odd": {"type": "choice", "criteria": {}}}
    questions["odd"]["criteria"] = dict.fromkeys(options)
    answers = ask(url, "A refund.", questions, model="tickets")["answers"]
    assert [answers[name]["x_answered_by"] for name in ("own", "odd")] == ["fitted", "zero-shot"]
    assert ask(url, "A refund.", questions, model="nobody")["model"] == "lm"


def test_a_search_around_a_classifier_answers_by_itself(clf):
    search = GridSearchCV(clf, {"strategy__shots": [2, 3]}, cv=2).fit(NEW * 2, EXPECTED * 2)
    with running(application({"tickets": search})) as url:
        question = {"topic": {"type": "choice", "instructions": "?", "criteria": CLASSES}}
        for text, expected in zip(NEW, search.predict_proba(NEW), strict=True):
            found = ask(url, text, question, model="tickets")["answers"]["topic"]["probabilities"]
            np.testing.assert_allclose([found[name] for name in search.classes_], expected, atol=1e-12)


def test_where_nobody_can_answer_it_is_said_in_the_form_of_the_wire(clf):
    with running(application({"tickets": ConformalClassifier(clf).fit(NEW * 6, EXPECTED * 6)})) as url:
        status, _, said = send(url, "/v1/systemone", {"model": "tickets", "state": "x", "questions": QUESTIONS})
        assert (status, said["detail"][0]["loc"]) == (422, ["body", "questions", "team"])
        assert "the options of this question are not its classes" in said["detail"][0]["msg"]
        question = [{"type": "choice", "instructions": "?", "choices": [{"value": "a"}, {"value": "b"}]}]
        status, _, said = send(url, "/v1/decisions", {"model": "other", "input": "x", "questions": question})
        assert (status, said["error"]["param"]) == (422, "model")
        assert "Ask 'tickets'" in said["error"]["message"]
        fine = {"topic": {"type": "choice", "instructions": "?", "criteria": CLASSES}}
        assert ask(url, "x", fine, model="tickets")["answers"]["topic"]["x_answered_by"] == "fitted"


def test_true_is_not_the_text_true():
    lm = FakeLM(about)
    truth = Classifier(lm, "{{ text }} {{ label }}", {False: "no", True: "yes"}).fit()
    with running(application({"truth": truth})) as url:
        found = ask(url, "yes", {"is": {"type": "noul", "instructions": "Is it?"}}, model="truth")["answers"]["is"]
        assert (found["x_answered_by"], found["noul"] > 0.8) == ("fitted", True)
        text = {"is": {"type": "choice", "instructions": "?", "criteria": {"true": None, "false": None}}}
        assert send(url, "/v1/systemone", {"model": "truth", "state": "x", "questions": text})[0] == 422


def test_a_classifier_of_several_fields_reads_an_object():
    lm = FakeLM(about)
    clf = Classifier(lm, "{{ title }}: {{ body }} {{ label }}").fit(None, ["fun", "dull"])
    question = {"is": {"type": "choice", "instructions": "?", "criteria": {"dull": None, "fun": None}}}
    with running(application({"films": clf})) as url:
        found = ask(url, {"title": "fun", "body": "fun", "year": 1999}, question, model="films")["answers"]["is"]
        assert found["choice"] == "fun"
        status, _, said = send(url, "/v1/systemone", {"model": "films", "state": "fun", "questions": question})
        assert status == 422
        assert "an object with the fields title, body" in said["detail"][0]["msg"]


def test_an_encoder_answers_zero_shot():
    with running(application({"default": HashEncoder()})) as url:
        first, again = (ask(url, text)["answers"] for text in ("the billing charges", "low"))
        assert first["team"]["choice"] == "billing"
        assert again["urgent"]["probabilities"]["0"] > again["urgent"]["probabilities"]["2"]
        assert first["angry"]["x_answered_by"] == "zero-shot"


def test_requests_that_wait_are_asked_in_one_call_and_answered_as_one_by_one(clf):
    calls, gate = [], threading.Event()

    class Slow(FakeLM):
        def loglikelihoods(self, queries):
            calls.append(len(queries))
            gate.wait(20)
            return super().loglikelihoods(queries)

    states = [f"text {i}, {'angry' * (i % 3)}" for i in range(64)]
    with running(application({"lm": Slow(hashed), "tickets": clf})) as url, ThreadPoolExecutor(64) as pool:
        asked = [pool.submit(ask, url, state) for state in states]
        while send(url, "/health")[2]["waiting"] < 64:
            pass
        gate.set()
        together = [one.result()["answers"] for one in asked]
        assert len(calls) <= 3
        assert together == [ask(url, state)["answers"] for state in states]


def test_the_engine_gives_the_same_answers_together_and_alone(bpe):
    states = [f"The {word} was late again." for word in ("parcel", "invoice", "train", "answer")]
    with running(application({"lm": bpe})) as url, ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda state: ask(url, state), states))
        for one, state in zip(together, states, strict=True):
            alone = ask(url, state)
            assert one["usage"] == alone["usage"]
            for name in ("team", "urgent"):
                found, wanted = (list(body["answers"][name]["probabilities"].values()) for body in (one, alone))
                np.testing.assert_allclose(found, wanted, atol=1e-5)
            assert 0 < one["answers"]["team"]["x_label_mass"] < 1


@pytest.fixture
def bpe():
    from tests.conftest import language_model

    return language_model("gpt2")


def test_what_can_not_be_served_is_refused():
    with pytest.raises(ParameterError, match="nothing to serve"):
        application({})
    with pytest.raises(ParameterError, match="key is blank"):
        application({"lm": FakeLM(hashed)}, key=" ")
    with pytest.raises(ParameterError, match="max_waiting must be an integer of at least 1"):
        application({"lm": FakeLM(hashed)}, max_waiting=0)
    several = Classifier(HashEncoder()).fit(["a", "b"], np.array([[1, 0], [0, 1]]))
    with pytest.raises(UnsupportedError, match="several labels a text"):
        application({"several": several})
    rows = Classifier(FakeLM(about), "generic/choices").fit(None, [0, 1])
    with pytest.raises(UnsupportedError, match="takes its choices from each row"):
        application({"rows": rows})


def test_the_answer_is_json_whatever_the_options_are_called(url):
    odd = {"\ud800": None, "🙂": None, "a\tb": None}
    status, found, body = send(
        url, "/v1/systemone", {"model": "lm", "state": "\udfff", "questions": {"": {"type": "choice", "criteria": odd}}}
    )
    assert (status, found["content-type"]) == (200, "application/json")
    assert list(body["answers"][""]["probabilities"]) == list(odd)
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize(
    ("served", "error", "message"),
    [
        (HashEncoder(), ParameterError, r"a mapping of names to classifiers and models, .*\. Got HashEncoder"),
        (
            {"lm": "embedded:masked"},
            ParameterError,
            r"'lm' must be .*'embedded:masked'.*load\(name",
        ),
        ({"tickets": Classifier(HashEncoder())}, NotFittedError, "This Classifier instance is not fitted yet"),
        ({"tickets": ConformalClassifier(Classifier(HashEncoder()))}, NotFittedError, "is not fitted yet"),
    ],
)
def test_what_can_not_be_served_is_named(served, error, message):
    with pytest.raises(error, match=message):
        application(served)
