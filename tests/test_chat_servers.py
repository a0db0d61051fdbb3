"""ChatLM against scripted chat APIs and a real llama-server.

The bodies of OPENAI and OLLAMA have the form that the documentation of each has (2026-11), and were not recorded live.
"""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest

from fewshot import (
    CachedLM,
    ChatLM,
    Classifier,
    FakeLM,
    ModelLoadError,
    ParameterError,
    Prompting,
    Query,
    ServerError,
    UnsupportedError,
    estimate,
    load,
)
from fewshot.models.base import Turn
from fewshot.models.remote import endpoint
from tests import ggufs
from tests.conftest import language_model, tokenizer
from tests.llama_servers import WHY_NOT, start
from tests.lm_peers import CLASSES, TEXTS, LMPeer
from tests.peers import serving, status

#: Random weights expect no letter.
pytestmark = pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")

QUERIES = [
    Query("Is it good? ", ("A", "B")),
    Query("Is it good? ", ("B", "C", "A")),
    Query("now? ", ("A", "B"), "", (Turn("system", "Be brief."), Turn("user", "then? "), Turn("assistant", "A\n\n"))),
]


def entry(token, logprob):
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def openai(*top, sampled="C"):
    """An answer of OpenAI's chat completions, from its reference."""
    content = [{**entry(sampled, -3.1), "top_logprobs": [entry(*one) for one in top]}]
    message = {"role": "assistant", "content": sampled, "refusal": None, "annotations": []}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": content, "refusal": None},
        "finish_reason": "length",
    }
    usage = {"prompt_tokens": 19, "completion_tokens": 1, "total_tokens": 20}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1741570283, "model": "gpt-4o-2024-08-06"}
    return {**head, "choices": [choice], "usage": usage, "service_tier": "default", "system_fingerprint": "fp_1"}


def ollama(*top):
    """An answer of Ollama's OpenAI-compatible route, from its documentation and source."""
    content = [{**entry(top[0][0], top[0][1]), "top_logprobs": [entry(*one) for one in top]}]
    choice = {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "length"}
    head = {
        "id": "chatcmpl-2",
        "object": "chat.completion",
        "created": 1,
        "model": "qwen3:8b",
        "system_fingerprint": "fp_ollama",
    }
    return {
        **head,
        "choices": [{**choice, "logprobs": {"content": content}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1},
    }


class ChatPeer(LMPeer):
    """A chat API around a tiny model; the answers have the documented form."""

    def body(self, asked):
        self.last = asked
        ids = self.lm.tokenizer.apply_chat_template(asked["messages"], add_generation_prompt=True, return_dict=False)
        logprobs = self.logprobs(list(ids))
        best = logprobs.topk(min(asked["top_logprobs"], len(logprobs))).indices.tolist()
        body = openai(*((self.lm.tokenizer.decode([i]), float(logprobs[i])) for i in best))
        return {**body, "model": self.model}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(endpoint, "_SHORTEST_WAIT", 0.001)


@pytest.fixture
def peer():
    with serving(ChatPeer()) as found:
        yield found


def chat(peer, **given):
    return load(peer.url, model="tiny", api="chat", **{"top_logprobs": 5000, **given})


def says(peer, body):
    """Have the peer send a body to whatever is asked."""
    peer.body = lambda asked: body


def by_hand(model, query):
    """The probability of each word after the chat format that is made here, whatever blank stands before it."""
    ids = model._continued.prompt(query)
    p = LMPeer.logprobs(peer_of(model), list(ids)).exp()
    texts = [model.tokenizer.decode([i]) for i in range(len(p))]
    return [sum(float(p[i]) for i, text in enumerate(texts) if text in (word, f" {word}")) for word in query.candidates]


def peer_of(model):
    made = LMPeer()
    made.lm = model
    return made


def test_scores_are_those_of_the_servers_own_distribution(peer):
    model = language_model("gpt2-chat")
    for query, scores in zip(QUERIES, chat(peer).loglikelihoods(QUERIES), strict=True):
        wanted = by_hand(model, query)
        np.testing.assert_allclose(np.exp(scores.logprobs), wanted, rtol=1e-5)
        assert scores.mass == pytest.approx(sum(wanted), rel=1e-5)
        assert scores.n_tokens.tolist() == [1] * len(query.candidates)
    assert len(peer.requests) == 2  # two queries differ in their words alone


def test_what_is_sent(peer):
    lm = chat(peer, chat_template_kwargs={"enable_thinking": False}, top_logprobs=5000)
    lm.loglikelihoods(QUERIES[2:])
    assert peer.last == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "then?"},
            {"role": "assistant", "content": "A"},
            {"role": "user", "content": "now?"},
        ],
        "max_tokens": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "logprobs": True,
        "top_logprobs": 5000,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert "POST /v1/chat/completions" in peer.raw[-1]
    assert chat(peer).endpoint.url == ChatLM(f"{peer.url}/chat/completions/", "tiny").endpoint.url


@pytest.mark.parametrize("form", [openai, ollama])
def test_answers_of_the_documented_form(peer, form):
    says(peer, form(("A", math.log(0.5)), ("B", math.log(0.2)), (" A", math.log(0.1)), ("a", math.log(0.1))))
    lm = chat(peer, prices={"input": 1e6, "output": 0})
    [scores] = lm.loglikelihoods(QUERIES[:1])
    np.testing.assert_allclose(np.exp(scores.logprobs), [0.6, 0.2])
    assert scores.mass == pytest.approx(0.8)
    assert lm.version in ("gpt-4o-2024-08-06", "qwen3:8b")
    assert (lm.usage.requests, lm.usage.output_tokens) == (1, 1)
    assert lm.usage.cost == lm.usage.input_tokens > 0


def test_a_label_outside_the_tokens_that_are_named_is_an_error(peer):
    lm = chat(peer, top_logprobs=2)
    for top in (
        [("A", -0.2), ("The", -3.0)],
        [("A", -0.1), ("B", -9999.0)],
        [("A", -0.2), ("b", -2.0)],
        [("A", -0.2), ("Bo", -2.0)],
    ):
        says(peer, openai(*top))
        said = r"label word 'B': it is none of the 2 most .*\('A', .* and 2 were asked for.*generic/letters"
        with pytest.raises(ServerError, match=said):
            lm.loglikelihoods(QUERIES[:1])
    long = Query("Which? ", ("billing problem", "praise"))
    with pytest.raises(ServerError, match="label word 'billing problem'"):
        lm.loglikelihoods([long])


def test_what_was_answered_before_a_failure_is_kept(peer):
    lm = chat(peer, concurrency=1, top_logprobs=5000)
    with pytest.raises(ServerError, match="label word 'no such token'"):
        lm.loglikelihoods([*QUERIES, Query("Else? ", ("no such token", "A"))])
    asked = len(peer.requests)
    lm.loglikelihoods(QUERIES)
    assert len(peer.requests) == asked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body["choices"][0].update(logprobs=None), "does not give top_logprobs"),
        (lambda body: body["choices"][0].pop("logprobs"), "does not give top_logprobs"),
        (lambda body: body["choices"][0]["logprobs"].update(content=[]), "does not give top_logprobs"),
        (
            lambda body: body["choices"][0]["logprobs"]["content"][0].update(top_logprobs=[]),
            "does not give top_logprobs",
        ),
        (
            lambda body: body["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0].update(logprob=0.5),
            "no distribution",
        ),
        (
            lambda body: body["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0].update(logprob=None),
            "of 'A' is missing",
        ),
        (
            lambda body: body["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0].pop("token"),
            "field is required",
        ),
        (lambda body: body["choices"][0]["logprobs"]["content"].append({}), "One token was asked for. Got 2"),
        (lambda body: body["choices"].append({}), "There must be exactly one choice"),
        (lambda body: body.pop("choices"), "choices: This field is required"),
        (lambda body: body["usage"].update(prompt_tokens=-1), "usage.prompt_tokens"),
    ],
)
def test_an_answer_without_what_was_asked_is_refused_in_words(peer, change, words):
    body = copy.deepcopy(openai(("A", -0.2), ("B", -2.0)))
    change(body)
    says(peer, body)
    with pytest.raises(ServerError, match=f"gave no usable answer.*{words}"):
        chat(peer).loglikelihoods(QUERIES[:1])


def test_failures_that_pass_are_tried_again_and_others_are_said(peer):
    peer.script += [status(429, {}), status(500, {})]
    chat(peer).loglikelihoods(QUERIES[:1])
    assert len(peer.requests) == 3
    peer.script.append(status(400, {"error": {"message": "top_logprobs must be at most 20"}}))
    with pytest.raises(ServerError, match="400 top_logprobs must be at most 20"):
        chat(peer).loglikelihoods(QUERIES[:1])


def test_another_model_behind_the_name_is_warned_of(peer):
    lm = chat(peer)
    before = lm.fingerprint
    peer.model = "another"
    with pytest.warns(UserWarning, match="is now answered by 'another', and was by 'tiny'"):
        lm.loglikelihoods(QUERIES[:1])
    assert lm.fingerprint != before


def test_what_it_refuses(peer):
    lm = chat(peer)
    with pytest.raises(UnsupportedError, match="follows the hole"):
        lm.loglikelihoods([Query("It is ", ("A", "B"), " now.")])
    with pytest.raises(UnsupportedError, match="differ in more than blanks"):
        lm.loglikelihoods([Query("It is ", ("A", " A"))])
    with pytest.raises(ParameterError, match="top_logprobs"):
        chat(peer, top_logprobs=0)
    with pytest.raises(ModelLoadError, match="tokenizer"):
        chat(peer, tokenizer="embedded:causal")
    with pytest.raises(ModelLoadError, match="name one"):
        load(peer.url, api="chat")
    with pytest.raises(UnsupportedError, match="can't generate"):
        Classifier(lm, "generic/letters", strategy=Prompting(read="generate")).fit(None, CLASSES)
    assert not peer.requests


@pytest.mark.parametrize("params", [{}, {"shots": 2}, {"orders": 2, "calibration": "contextual"}], ids=str)
def test_a_classifier_end_to_end_kept_and_estimated(peer, tmp_path, params):
    lm = chat(peer, server="here")
    clf = Classifier(lm, "generic/letters", strategy=Prompting(**params), random_state=0).fit(TEXTS * 2, CLASSES * 2)
    model = language_model("gpt2-chat")
    here = FakeLM(lambda query: np.log(by_hand(model, query)))
    same = Classifier(here, "generic/letters", strategy=Prompting(**params), random_state=0)
    found = clf.predict_proba(TEXTS)
    np.testing.assert_allclose(found, same.fit(TEXTS * 2, CLASSES * 2).predict_proba(TEXTS), atol=1e-5)
    before = lm.usage.requests
    assert estimate(clf, TEXTS).requests == 3 * params.get("orders", 1)
    assert lm.usage.requests == before
    clf.save(tmp_path / "kept")
    assert peer.url not in "".join(path.read_text(errors="replace") for path in (tmp_path / "kept").rglob("*.json"))
    again = Classifier.load(tmp_path / "kept", model=chat(peer, server="here"))
    np.testing.assert_array_equal(again.predict_proba(TEXTS), found)
    cached = CachedLM(lm, tmp_path / "scores")
    for _ in range(2):
        cached.loglikelihoods(QUERIES)
    assert lm.usage.requests == before + 2
    assert repr(pickle.loads(pickle.dumps(lm))) == "ChatLM('tiny')"


def test_lone_surrogates_are_sent_as_what_json_has(peer):
    chat(peer).loglikelihoods([Query("a \ud800 b ", ("A", "B"))])
    assert peer.last["messages"][0]["content"] == "a \ufffd b"
    assert json.loads(json.dumps(peer.last)) == peer.last


@pytest.mark.parametrize("tokens", ["byte-level BPE, chat"])
def test_a_real_llama_server(tokens, tmp_path):
    pytest.importorskip("xllamacpp", reason=WHY_NOT)
    pytest.importorskip("gguf", reason="the gguf extra is not installed")
    from fewshot import CausalLM

    server = start(ggufs.write(tmp_path / "tiny.gguf", tokens=tokens))
    kwargs = {"chat_template_kwargs": {"enable_thinking": False}}
    lm = load(server.listening_address, model="tiny", api="chat", top_logprobs=5000, **kwargs)
    model = CausalLM(ggufs.tiny("llama", tokens), tokenizer(tokens), **kwargs)
    assert model.chat
    for query, scores in zip(QUERIES, lm.loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(scores.logprobs, np.log(by_hand(model, query)), atol=1e-3)
    clf = Classifier(lm, "generic/letters", strategy=Prompting(shots=1, orders=2), random_state=0)
    assert np.isfinite(clf.fit(TEXTS, CLASSES).predict_log_proba(TEXTS)).all()
    with pytest.raises(ServerError, match="label word 'no such word'"):
        lm.loglikelihoods([Query("Is it? ", ("A", "no such word"))])
