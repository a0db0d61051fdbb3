"""Both wires: what is written is read back, what is wrong is refused with its place, and the official clients agree."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewshot.models.remote.contents import WireError, read_json
from fewshot.models.remote.openai_decisions import OPENAI
from fewshot.models.remote.systemone import SYSTEM_ONE
from fewshot.models.remote.wire import Asked, Option, Request, Usage, choice_confidence, half_step, rating_confidence
from fewshot.models.remote.wires import WIRES, wire_of

texts = st.text(min_size=1, max_size=12)
said = st.text(min_size=1, max_size=12).filter(lambda text: text.strip())
descriptions = st.none() | texts


@st.composite
def questions(draw, wire):
    """A question that the wire can say in full."""
    kind = draw(st.sampled_from(["choice", "rating", "yes_no"]))
    if kind == "yes_no":
        about = st.tuples(descriptions, descriptions) if wire is SYSTEM_ONE else st.just((None, None))
        no, yes = draw(about)
        options = (Option(False, no), Option(True, yes))
    elif kind == "rating":
        levels = draw(st.lists(texts, min_size=2, max_size=5, unique=True))
        about = st.none() if wire is SYSTEM_ONE else descriptions
        options = tuple(Option(i, draw(about), level) for i, level in enumerate(levels))
    else:
        values = texts if wire is SYSTEM_ONE else texts | st.booleans()
        chosen = draw(st.lists(values, min_size=2, max_size=6, unique_by=lambda value: (type(value), value)))
        options = tuple(Option(value, draw(descriptions)) for value in chosen)
    return kind, draw(said), options


@st.composite
def requests(draw, wire):
    found = draw(st.lists(questions(wire), min_size=1, max_size=4))
    names = st.none() | texts if wire is OPENAI else texts
    named = draw(st.lists(names, min_size=len(found), max_size=len(found), unique=wire is SYSTEM_ONE))
    asked = tuple(Asked(name, *question) for name, question in zip(named, found, strict=True))
    return Request(draw(texts), draw(st.text(max_size=20)), asked)


@st.composite
def answers(draw, wire):
    request = draw(requests(wire))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return request, [rng.dirichlet(np.ones(len(asked.options))) for asked in request.questions]


def through_json(body):
    return read_json(json.dumps(body))


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
def test_a_request_that_is_written_is_read_back(wire):
    @settings(max_examples=60, deadline=None)
    @given(requests(wire))
    def check(request):
        body = through_json(wire.write_request(request))
        assert wire_of(body) is wire
        assert wire.read_request(body) == request
        assert wire.read_request(body | {"seed": 7, "x_trace": "t"}) == request

    check()


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
def test_a_response_gives_the_probabilities_back(wire):
    @settings(max_examples=60, deadline=None)
    @given(answers(wire))
    def check(pair):
        request, probabilities = pair
        n = len(probabilities)
        body = wire.write_response(
            request, probabilities, model="m-1", usage=Usage(12, 3), answered_by=["fitted"] * n, masses=[0.25] * n
        )
        read = wire.read_response(through_json(body), request)
        assert (read.model, read.usage, read.masses) == ("m-1", Usage(12, 3), (0.25,) * n)
        for own, given_back in zip(probabilities, read.probabilities, strict=True):
            np.testing.assert_allclose(given_back, own, atol=1e-15)

    check()


def choice(**changes):
    return {"type": "choice", "instructions": "Which team?", "criteria": {"billing": "invoices", "bug": None}} | changes


def system_one(question=None, **changes):
    return {"model": "jev-latest", "state": "I was charged twice.", "questions": {"q": question or choice()}} | changes


def listed(**changes):
    choices = [{"value": "true", "description": "as text"}, {"value": True}]
    return {"type": "choice", "instructions": "Which?", "choices": choices} | changes


def openai(question=None, **changes):
    return {"model": "gpt-6-luna", "input": "I was charged twice.", "questions": [question or listed()]} | changes


REFUSED = [
    ([], (), "This must be an object"),
    ({"model": "m", "questions": {}}, ("state",), "required"),
    (system_one(state=None), ("state",), "a string, an object or an array"),
    (system_one(state=7), ("state",), "Got 7"),
    (system_one(model=None), ("model",), "name of a model"),
    (system_one(questions={}), ("questions",), "at least 1"),
    (system_one(assets={"a": {"type": "image"}}), ("assets",), "Images can't be read"),
    (system_one({"type": "box", "instructions": "Where?"}), ("questions", "q", "type"), "images can't be read"),
    (system_one({"type": "boolean"}), ("questions", "q", "type"), "noul, choice, score"),
    (system_one({"type": ["choice"]}), ("questions", "q", "type"), "noul, choice, score"),
    (system_one({"instructions": "?"}), ("questions", "q", "type"), "required"),
    (system_one({"type": "noul"}), ("questions", "q"), "what is asked"),
    (system_one({"type": "noul", "criteria": []}), ("questions", "q", "criteria"), "must be an object"),
    (system_one(choice(criteria={})), ("questions", "q", "criteria"), "at least 2"),
    (system_one(choice(criteria={"a": None})), ("questions", "q", "criteria"), "at least 2"),
    (system_one(choice(criteria=dict.fromkeys(map(str, range(256))))), ("questions", "q", "criteria"), "at most 255"),
    (system_one(choice(criteria={"a": 1, "b": None})), ("questions", "q", "criteria", "a"), "Got 1"),
    (system_one(choice(options=["a"])), ("questions", "q", "options"), "not known"),
    (system_one(choice(type="score")), ("questions", "q", "criteria"), "must be an array"),
    (system_one({"type": "score", "criteria": ["a"] * 11}), ("questions", "q", "criteria"), "at most 10"),
    (system_one({"type": "score", "criteria": ["a", None]}), ("questions", "q", "criteria", 1), "Got null"),
    (openai(questions=[]), ("questions",), "at least 1"),
    (openai(questions=[listed()] * 401), ("questions",), "at most 400"),
    (openai(input=7), ("input",), "must be an array"),
    (
        openai(input=[{"role": "user", "content": [{"type": "input_image"}]}]),
        ("input", 0, "content", 0, "type"),
        "Images",
    ),
    (openai(input=[{"role": "robot", "content": "a"}]), ("input", 0, "role"), "robot"),
    (openai(input=[{"type": "reasoning"}]), ("input", 0, "type"), "reasoning"),
    (openai({"type": "predicate"}), ("questions", 0, "instructions"), "required"),
    (openai({"type": "predicate", "instructions": " "}), ("questions", 0, "instructions"), "what is asked"),
    (openai(listed(name=7)), ("questions", 0, "name"), "string"),
    (openai(listed(choices=[{"value": 1}, {"value": 2}])), ("questions", 0, "choices", 0, "value"), "truth value"),
    (openai(listed(choices=[{"value": "a"}] * 2)), ("questions", 0, "choices"), "another one"),
    (openai(listed(choices=[{"value": "a"}])), ("questions", 0, "choices"), "at least 2"),
    (
        openai(listed(choices=[{"value": "a"}, {"value": "b", "weight": 1}])),
        ("questions", 0, "choices", 1, "weight"),
        "known",
    ),
    (openai({"type": "noul", "instructions": "?"}), ("questions", 0, "type"), "predicate"),
]


@pytest.mark.parametrize(("body", "location", "words"), REFUSED)
def test_what_is_wrong_is_refused_with_its_place(body, location, words):
    with pytest.raises(WireError, match=words) as caught:
        wire_of(body).read_request(body)
    assert caught.value.location == location
    [detail] = SYSTEM_ONE.write_error(422, caught.value)["detail"]
    assert detail["loc"] == ["body", *location]
    assert OPENAI.write_error(422, caught.value)["error"]["param"] == (".".join(map(str, location)) or None)


def test_structured_content_becomes_text_by_one_rule():
    question = {"type": "score", "instructions": ["Rate.", "Once."], "criteria": [{"label": "kühl"}, "heiß"]}
    read = SYSTEM_ONE.read_request(system_one(question, state={"b": 1, "a": ["ä"]}))
    assert read.state == '{"b": 1, "a": ["ä"]}'
    assert read.questions[0].instructions == '["Rate.", "Once."]'
    assert [option.label for option in read.questions[0].options] == ['{"label": "kühl"}', "heiß"]


def test_one_message_of_a_user_is_its_text_and_more_are_their_json():
    parts = [{"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}]
    parts.append({"type": "input_json", "data": {"n": 1}})
    message = {"role": "user", "content": parts}
    assert OPENAI.read_request(openai(input=[message])).state == 'a\n{"n": 1}'
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    done = {"type": "function_call_output", "call_id": "c1", "output": "assistant: done"}
    said = json.loads(OPENAI.read_request(openai(input=[message, call, done])).state)
    assert said[0] == {"role": "user", "content": 'a\n{"n": 1}'}
    assert said[2] == {"type": "function_call_output", "output": "assistant: done"}


def test_typed_values_stay_apart():
    request = OPENAI.read_request(openai())
    assert [option.value for option in request.questions[0].options] == ["true", True]
    body = OPENAI.write_response(request, [np.array([0.3, 0.7])], model="m", usage=Usage())
    assert body["answers"][0]["choice"] is True
    body["answers"][0]["probabilities"].reverse()  # they are found by value and type
    assert OPENAI.read_response(body, request).probabilities[0].tolist() == [0.3, 0.7]
    with pytest.raises(WireError, match="distinct strings"):
        SYSTEM_ONE.write_request(Request("m", "s", (Asked("q", "choice", "?", (Option("true"), Option(True))),)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probabilities": {"billing": 0.5}}, "Without one: .*bug"),
        ({"probabilities": {"billing": 0.5, "bug": 0.25, "none": 0.25}}, "Not asked about: .*none"),
        ({"probabilities": {"billing": 0.5, "bug": 0.2}}, "sum of 0.7000"),
        ({"probabilities": {"billing": 1.5, "bug": -0.5}}, "from 0 to 1"),
        ({"probabilities": {"billing": True, "bug": False}}, "from 0 to 1"),
        ({"probabilities": [0.5, 0.5]}, "must be an object"),
        ({"type": "noul", "noul": 0.5}, "of type 'noul'"),
        ({"x_label_mass": 2}, "from 0 to 1"),
    ],
)
def test_a_wrong_answer_is_refused(change, words):
    request = SYSTEM_ONE.read_request(system_one())
    body = SYSTEM_ONE.write_response(request, [np.array([0.5, 0.5])], model="m", usage=Usage())
    body["answers"]["q"] |= change
    with pytest.raises(WireError, match=words) as caught:
        SYSTEM_ONE.read_response(body, request)
    assert caught.value.location[:2] == ("answers", "q")


@pytest.mark.parametrize("key", ["model", "answers", "usage"])
@pytest.mark.parametrize(("wire", "asked"), [(SYSTEM_ONE, system_one()), (OPENAI, openai())], ids=WIRES)
def test_a_response_without_a_part_is_refused(wire, asked, key):
    request = wire.read_request(asked)
    body = wire.write_response(request, [np.array([0.5, 0.5])], model="m", usage=Usage())
    del body[key]
    with pytest.raises(WireError, match="required"):
        wire.read_response(body, request)


def test_a_refusal_is_an_error_that_says_so():
    body = {"model": "m", "answers": [{"type": "refusal", "name": None}], "usage": {}}
    body["usage"] = {"input_tokens": 1, "output_tokens": 0}
    with pytest.raises(WireError, match="refused to answer the question 'Which"):
        OPENAI.read_response(body, OPENAI.read_request(openai()))


@pytest.mark.parametrize("data", [b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(data):
    with pytest.raises(WireError):
        read_json(data)


def test_confidences_are_those_of_jevcompat():
    validate = pytest.importorskip("jevcompat.validate")
    spec = pytest.importorskip("jevcompat.spec")
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10):
        for p in rng.dirichlet(np.full(n, 0.5), size=20):
            assert choice_confidence(p) == pytest.approx(validate.choice_confidence(p.tolist()))
            assert rating_confidence(p) == pytest.approx(validate.score_confidence(p.tolist()))
            for decimals in (1, 2, 4, 8):
                rounded = p.round(decimals)
                assert half_step(rounded) == spec.rounding(rounded.tolist())


def test_the_official_sdk_reads_what_is_written():
    models = pytest.importorskip("typesafe_sdk._schemas.models")
    scored, asked = {"type": "score", "criteria": ["x", "y"]}, {"type": "noul", "instructions": "?"}
    request = SYSTEM_ONE.read_request(system_one(questions={"a": choice(), "b": asked, "c": scored}))
    models.SystemOneRequest.model_validate(SYSTEM_ONE.write_request(request))
    body = SYSTEM_ONE.write_response(request, [np.array([0.25, 0.75])] * 3, model="m", usage=Usage(1, 2))
    read = models.SystemOneResponse.model_validate(body)
    assert read.answers["a"].root.choice == "bug"
    assert (read.answers["b"].root.noul, read.answers["c"].root.score) == (0.75, 0.75)


def test_the_official_client_reads_what_is_written():
    decision = pytest.importorskip("openai.types.decision")
    questions = [listed(), {"type": "predicate", "instructions": "?", "name": "p"}]
    questions.append({"type": "score", "instructions": "?", "levels": [{"label": "x"}, {"label": "y"}]})
    request = OPENAI.read_request(openai(questions=questions))
    body = OPENAI.write_response(request, [np.array([0.25, 0.75])] * 3, model="m", usage=Usage(1, 2))
    read = decision.Decision.model_validate(body)
    assert read.answers[0].choice is True
    assert (read.answers[1].probability, read.answers[1].name, read.answers[2].score) == (0.75, "p", 0.75)
    assert read.usage.total_tokens == 3
