"""A language model behind an address: exact in every dialect; and where something goes wrong, nothing lost or wrong."""

from __future__ import annotations

import copy
import json
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fewshot import (
    Classifier,
    CompletionsLM,
    FewshotWarning,
    InputError,
    ModelLoadError,
    ParameterError,
    Prompting,
    Query,
    Readout,
    ServerError,
    UnsupportedError,
    load,
)
from fewshot.models.remote import endpoint
from tests.conftest import language_model, tokenizer
from tests.lm_peers import CLASSES, DIALECTS, QUERIES, TEXTS, LMPeer, agree, asking, scores, serving_lm
from tests.peers import answer, changed, half, hang_up, slow, status, truncated

#: Random weights expect no label word.
pytestmark = pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning", "ignore:.*name no class")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(endpoint, "_SHORTEST_WAIT", 0.001)


@pytest.fixture
def peer():
    with serving_lm(LMPeer()) as found:
        yield found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["gpt2-chat", "gpt2", "llama"])
def test_scores_are_those_of_the_same_weights_here(dialect, name):
    ours = language_model(name)
    with serving_lm(LMPeer(dialect, name)) as peer:
        lm = asking(peer)
        assert (lm.chat, lm.limit, lm.kind, lm.version) == (ours.chat, 256, "causal", "tiny")
        for one, other in zip(lm.loglikelihoods(QUERIES), ours.loglikelihoods(QUERIES), strict=True):
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
            assert one.n_tokens.tolist() == other.n_tokens.tolist()
            assert one.mass == pytest.approx(other.mass, abs=1e-6)
        assert lm.lengths(QUERIES).tolist() == ours.lengths(QUERIES).tolist()
        assert [ends.tolist() for ends in lm.token_ends(TEXTS)] == [ends.tolist() for ends in ours.token_ends(TEXTS)]
        assert lm.generate(QUERIES, 6) == ours.generate(QUERIES, 6)
        plain = lm.with_chat(False)
        agree(scores(plain), scores(ours.with_chat(False)))
        assert plain.usage == lm.usage


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_server_is_told_the_stop_texts(dialect):
    with serving_lm(LMPeer(dialect)) as peer:
        lm, ours = asking(peer), language_model("gpt2-chat")
        whole = ours.generate(QUERIES, 6)
        stop = next(
            text[i] for text in whole for i in range(1, 9) if text[i : i + 1].isascii() and text[i : i + 1].isalpha()
        )
        assert lm.generate(QUERIES, 6, stop=[stop]) == ours.generate(QUERIES, 6, stop=[stop]) != whole
        assert any(json.dumps([stop])[1:-1] in raw for raw in peer.raw)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_classifier_answers_as_it_does_here(dialect):
    with serving_lm(LMPeer(dialect)) as peer:
        lm, ours = asking(peer), language_model("gpt2-chat")
        for strategy in (Prompting(), Prompting(shots=2, calibration="contextual"), Prompting(read="generate")):
            here, there = (
                Classifier(model, strategy=strategy, random_state=0).fit(TEXTS * 2, CLASSES * 2) for model in (ours, lm)
            )
            np.testing.assert_allclose(there.predict_proba(TEXTS), here.predict_proba(TEXTS), atol=1e-4)


def test_nodes_are_asked_for_where_tokens_can_be_named_and_edges_where_one_is_forced():
    n = {}
    for dialect in DIALECTS:
        with serving_lm(LMPeer(dialect)) as peer:
            lm = asking(peer, concurrency=1)
            _ = lm.fingerprint
            before = lm.usage
            lm.loglikelihoods(QUERIES[:1])
            n[dialect] = lm.usage.requests - before.requests
    assert n["vllm"] == n["sglang"] < n["llama.cpp"]


def test_no_text_is_sent(peer):
    lm = asking(peer)
    lm.loglikelihoods([Query("A secret word: ", ("billing", "praise"))])
    lm.generate([Query("A secret word: ", ())], 2)
    assert not any("secret" in raw for raw in peer.raw)


@pytest.mark.parametrize(
    "fault",
    [hang_up, half, truncated, *(status(code) for code in (408, 409, 429, 500, 503)), slow(0.8)],
    ids=["hang up", "half", "truncated", "408", "409", "429", "500", "503", "slow"],
)
def test_what_may_be_better_later_is_asked_again(peer, fault):
    lm = asking(peer, timeout=0.5)
    _ = lm.fingerprint
    peer.script = [fault, fault]
    agree(scores(lm), scores(peer.lm))


def test_retry_after_is_waited_for(peer):
    lm = asking(peer)
    _ = lm.fingerprint
    peer.script = [status(429, {"error": {"message": "slow down"}}, Retry_After="0.3")]
    began = time.monotonic()
    agree(scores(lm, QUERIES[:1]), scores(peer.lm, QUERIES[:1]))
    assert time.monotonic() - began > 0.3


def test_a_refusal_is_said_at_once_in_the_servers_words(peer):
    lm = asking(peer)
    _ = lm.fingerprint
    peer.script = [status(400, {"error": {"message": "exceeds the available context size"}})]
    with pytest.raises(ServerError, match="refuses: 400 exceeds the available context size"):
        lm.loglikelihoods(QUERIES)


def test_what_was_answered_before_a_failure_is_not_asked_again(peer):
    lm = asking(peer, concurrency=1, retries=0)
    _ = lm.fingerprint
    start, whole = len(peer.requests), 0
    agree(scores(asking(peer)), scores(peer.lm))
    whole = len(peer.requests) - start - 4  # the probe's
    start = len(peer.requests)
    peer.script = [answer] * 5 + [status(500)]
    with pytest.raises(ServerError, match="tried 1 time: 500"):
        lm.loglikelihoods(QUERIES)
    agree(scores(lm), scores(peer.lm))
    assert len(peer.requests) - start == whole + 1


def test_generated_answers_before_a_failure_are_not_asked_for_again(peer):
    lm = asking(peer, concurrency=1, retries=0)
    _ = lm.fingerprint
    start = len(peer.requests)
    peer.script = [answer, status(500)]
    with pytest.raises(ServerError):
        lm.generate(QUERIES, 3)
    assert lm.generate(QUERIES, 3) == peer.lm.generate(QUERIES, 3)
    assert len(peer.requests) - start == len(QUERIES) + 1


def other_token(body):
    body["choices"][0]["logprobs"]["content"][0]["id"] += 1


@pytest.mark.parametrize(
    ("dialect", "change", "words"),
    [
        (
            "llama.cpp",
            other_token,
            r"label word '.*was forced, and \d+ came back instead.*or template='generic/letters'",
        ),
        ("llama.cpp", lambda b: b["choices"][0]["logprobs"]["content"][0].pop("logprob"), "label word .* is missing"),
        ("llama.cpp", lambda b: b["choices"][0]["logprobs"]["content"][0].update(logprob=0.5), "it is 0 at most"),
        ("llama.cpp", lambda b: b["choices"][0]["logprobs"]["content"].clear(), "One token was asked for. Got 0"),
        ("llama.cpp", lambda b: b["choices"][0].update(logprobs=None), "no usable answer.*This must be an object"),
        ("llama.cpp", lambda b: b["usage"].update(prompt_tokens=3), r"sent \d+ token ids, and read 3 tokens"),
        ("llama.cpp", lambda b: b.pop("usage"), "usage: This field is required"),
        ("llama.cpp", lambda b: b["choices"].append({}), "There must be exactly one choice. Got 2"),
        ("vllm", lambda b: b["choices"][0]["logprobs"]["top_logprobs"][0].clear(), "label word .* is missing"),
        ("vllm", lambda b: b["choices"][0]["logprobs"]["top_logprobs"].clear(), "One token was asked for. Got 0"),
        ("vllm", lambda b: b["choices"][0].update(prompt_token_ids=[1]), "read other ids than it was sent"),
        ("sglang", lambda b: b["meta_info"]["output_token_ids_logprobs"][0].clear(), "label word .* is missing"),
        ("sglang", lambda b: b["meta_info"]["output_token_ids_logprobs"].clear(), "One token was asked for. Got 0"),
        ("sglang", lambda b: b.pop("meta_info"), "meta_info: This field is required"),
    ],
)
def test_a_wrong_answer_is_never_used_and_named(dialect, change, words):
    with serving_lm(LMPeer(dialect)) as peer:
        lm = asking(peer)
        _ = lm.fingerprint
        peer.script = [changed(change)]
        with pytest.raises(ServerError, match=words):
            lm.loglikelihoods([Query("Is it ", ("billing", "praise"))])
        agree(scores(lm), scores(peer.lm))


def test_the_floor_that_a_server_writes_for_zero_is_minus_infinity():
    def impossible(body):
        for top in body["choices"][0]["logprobs"]["top_logprobs"]:
            top.update(dict.fromkeys(list(top)[-1:], -9999.0))

    with serving_lm(LMPeer("vllm")) as peer:
        lm = asking(peer, concurrency=1)
        _ = lm.fingerprint
        peer.script = [changed(impossible)]
        [found] = scores(lm, [Query("", ("a", "b"))])
        assert np.isneginf(found).tolist() == [False, True]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_probe_refuses_a_server_that_does_not_take_ids(dialect):
    peer = LMPeer(dialect)
    peer.forgets_ids = True
    with serving_lm(peer), pytest.raises(ServerError, match=rf"as '{dialect}' is.*sent \d+ token ids, and read"):
        asking(peer).loglikelihoods(QUERIES)


def test_the_probe_refuses_probabilities_after_the_bias(peer):
    peer.biased = True
    with pytest.raises(ServerError, match=r"4 different tokens have a probability of 4 together.*post_sampling_probs"):
        _ = asking(peer).limit
    assert not peer.lm.loglikelihoods(QUERIES)[0].logprobs.max() > -0.01


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_probe_refuses_another_tokenizer(dialect):
    peer = LMPeer(dialect)
    peer.tokens = tokenizer("SentencePiece BPE")
    with serving_lm(peer), pytest.raises(ServerError, match=r"the server's tokenizer is another one.*Give tokenizer="):
        asking(peer).loglikelihoods(QUERIES)


def test_the_probe_refuses_other_control_tokens(peer):
    peer.tokens = copy.deepcopy(peer.lm.tokenizer)
    peer.tokens.add_tokens(["<|new|>"])
    state = peer.tokens.backend_tokenizer.to_str().replace("<|im_start|>", "<|im_begin|>")
    peer.tokens._tokenizer = type(peer.tokens.backend_tokenizer).from_str(state)
    with pytest.raises(ServerError, match=r"'<\|im_start\|>' is token \d+ in the local tokenizer, and \["):
        asking(peer).loglikelihoods(QUERIES)


def test_a_server_without_tokenize_is_believed_by_its_count(peer):
    peer.absent = {"/tokenize", "/props"}
    lm = asking(peer)
    agree(scores(lm), scores(peer.lm))
    assert lm.limit == peer.lm.tokenizer.model_max_length


def test_a_server_that_makes_other_tokens_of_the_same_text_is_taken_at_its_word(peer):
    """llama.cpp splits some texts otherwise; what ids mean is what counts."""
    own = peer.says

    def by_bytes(path, asked):
        if path != "/tokenize" or "answer" not in asked["content"]:
            return own(path, asked)
        letters = [peer.lm.tokenizer(c, add_special_tokens=False).input_ids for c in asked["content"]]
        return {"tokens": [token for ids in letters for token in ids]}

    peer.says = by_bytes
    agree(scores(asking(peer)), scores(peer.lm))


@pytest.mark.parametrize("owner", ["library", "llama.cpp"])
def test_a_server_of_no_known_kind_is_refused_unless_it_is_named(owner):
    peer = LMPeer()
    peer.absent = {"/v1/models"} if owner == "llama.cpp" else set()
    with serving_lm(peer):
        own = peer.says
        peer.says = lambda path, asked: (
            {"data": [{"id": "x", "owned_by": owner}]} if path == "/v1/models" and not peer.absent else own(path, asked)
        )
        with pytest.raises(ServerError, match=r"says (library|nothing) of who owns.*api='llama.cpp'"):
            asking(peer).loglikelihoods(QUERIES)
        agree(scores(asking(peer, api="llama.cpp")), scores(peer.lm))


def test_another_model_behind_the_name_is_asked_all_again_and_warns(peer):
    """No score is of two models."""
    lm = asking(peer, concurrency=1)
    before = lm.fingerprint

    def becomes(handler, asked):
        peer.model, peer.shift = "tiny-2", 1.0
        answer(handler, asked)

    peer.script = [answer] * 4 + [becomes]
    with pytest.warns(FewshotWarning, match="now answered by 'tiny-2', and was by 'tiny'") as caught:
        found = lm.loglikelihoods(QUERIES)
    assert len([one for one in caught if "now answered" in str(one.message)]) == 1
    for one, other in zip(found, peer.lm.loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs - other.n_tokens, atol=1e-4)
    assert lm.fingerprint != before
    assert lm.version == "tiny-2"


@pytest.mark.filterwarnings("ignore:.*now answered by")
def test_two_models_behind_one_address_are_refused(peer):
    def alternate(body):
        body["model"] = f"tiny-{len(peer.requests) % 2}"

    peer.script = [changed(alternate)] * 200
    with pytest.raises(ServerError, match="answered by one model and then by another"):
        asking(peer).loglikelihoods(QUERIES)


def test_generated_texts_are_of_one_model_too(peer):
    lm = asking(peer, concurrency=1)
    _ = lm.fingerprint
    peer.script = [answer, changed(lambda body: setattr(peer, "model", "tiny-2") or body.update(model="tiny-2"))]
    start = len(peer.requests)
    with pytest.warns(FewshotWarning, match="now answered by 'tiny-2'"):
        assert lm.generate(QUERIES, 3) == peer.lm.generate(QUERIES, 3)
    assert len(peer.requests) - start == 2 + 4 + len(QUERIES)  # until it is seen, the probe, and all again


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"tokenizer": 5}, ModelLoadError, "tokenizer must be a folder.*Got int"),
        ({"tokenizer": "no/such-folder"}, ModelLoadError, "The tokenizer 'no/such-folder' can't be loaded"),
        ({"tokenizer": "no-such.gguf"}, ModelLoadError, "There is no file 'no-such.gguf'"),
        ({"api": "openai-chat"}, ParameterError, "api must be"),
        ({"concurrency": 0}, ParameterError, "concurrency"),
        ({"retries": -1}, ParameterError, "retries"),
        ({"model": " "}, ParameterError, "the name that the server knows"),
        ({"key_env": "my key"}, ParameterError, "never the key itself"),
        ({"url": "https://a:b@host/v1"}, ParameterError, "where secrets would be kept"),
        ({"prices": {"input": 1}}, ParameterError, "prices"),
        ({"tokenizer": "gpt2", "chat": True}, ModelLoadError, "no chat template"),
    ],
)
def test_bad_parameters_are_refused_by_name(given, error, words):
    made = {"url": "http://127.0.0.1:9/v1", "model": "m", "tokenizer": "gpt2-chat"} | given
    if made["tokenizer"] in ("gpt2", "gpt2-chat"):
        made["tokenizer"] = language_model(made["tokenizer"]).tokenizer
    with pytest.raises(error, match=words):
        CompletionsLM(**made)


def test_load_says_what_lacks(peer):
    with pytest.raises(ModelLoadError, match="is sent token ids: give tokenizer="):
        load(peer.url, model="tiny", api="vllm")
    with pytest.raises(ModelLoadError, match="device would change nothing"):
        asking(peer, device="cpu")
    with pytest.raises(InputError, match=r"CompletionsLM\('tiny'.*same tokens"):
        asking(peer).loglikelihoods([Query("It is ", ("a", "a"))])
    with pytest.raises(UnsupportedError, match="does not show its hidden"):
        Classifier(asking(peer), strategy=Readout("hidden")).fit(TEXTS * 2, CLASSES * 2)


def test_a_tokenizer_comes_from_a_folder(peer, tmp_path):
    peer.lm.tokenizer.save_pretrained(tmp_path)
    agree(scores(load(peer.url, model="tiny", tokenizer=tmp_path)), scores(peer.lm))


@pytest.mark.parametrize("ending", ["", "/v1", "/v1/", "/v1/completions"])
def test_the_address_may_end_in_whatever_way(peer, ending):
    lm = load(peer.url.removesuffix("/v1") + ending, model="tiny", tokenizer=peer.lm.tokenizer)
    agree(scores(lm, QUERIES[:1]), scores(peer.lm, QUERIES[:1]))
    assert set(peer.paths) == {"/v1/models", "/tokenize", "/v1/completions", "/props"}


def test_copies_and_pickles_go_on_without_key_or_connection(peer, monkeypatch):
    monkeypatch.setenv("LM_KEY", "sk-0123456789")
    lm = asking(peer, key_env="LM_KEY")
    lm.loglikelihoods(QUERIES)
    assert "Bearer sk-0123456789" in peer.raw[-1]
    data = pickle.dumps(lm)
    assert b"sk-0123456789" not in data
    for twin in (copy.deepcopy(lm), pickle.loads(data)):
        assert twin.fingerprint == lm.fingerprint
        assert twin.usage.requests == 0
        agree(scores(twin), scores(peer.lm))
    assert "sk-" not in repr(lm) + lm.fingerprint


def test_a_kept_classifier_is_given_its_server_again(peer, tmp_path):
    clf = Classifier(asking(peer, server="ours"), strategy=Prompting(shots=2), random_state=0).fit(
        TEXTS * 2, CLASSES * 2
    )
    clf.save(tmp_path / "kept")
    kept = "".join(path.read_text(errors="replace") for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert "127.0.0.1" not in kept
    n = len(peer.paths)
    with pytest.raises(UnsupportedError, match=r"answers behind an address, which is not kept.*Give it"):
        Classifier.load(tmp_path / "kept")
    assert len(peer.paths) == n
    with serving_lm(LMPeer()) as moved:
        again = Classifier.load(tmp_path / "kept", model=asking(moved, server="ours"))
        np.testing.assert_allclose(again.predict_proba(TEXTS), clf.predict_proba(TEXTS), atol=1e-9)


INTERRUPTED = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
sys.path.insert(0, {root!r})
from fewshot import Query, load
from tests.lm_peers import LMPeer, serving_lm
from tests.peers import slow
with serving_lm(LMPeer()) as peer:
    lm = load(peer.url, model="tiny", tokenizer=peer.lm.tokenizer, concurrency=2)
    _ = lm.limit
    queries = [Query(f"Text {{i}}: ", ("a", "b")) for i in range(40)]
    peer.script = [slow(0.05)] * 20 + [slow(30)] * 60
    threading.Thread(target=lambda: (time.sleep(3), print("late", flush=True)), daemon=True).start()
    print("begin", flush=True)
    try:
        lm.loglikelihoods(queries)
    except KeyboardInterrupt:
        n = len(peer.requests)
        peer.script = []
        lm.loglikelihoods(queries)
        print("kept", n + 80 - len(peer.requests) >= 15, flush=True)
"""


def test_ctrl_c_stops_at_once_and_keeps_what_was_answered():
    from tests.test_house import ROOT

    command = [sys.executable, "-c", INTERRUPTED.format(root=str(ROOT))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "begin\n":
            assert process.poll() is None
        time.sleep(2.0)
        process.send_signal(signal.SIGINT)
        try:
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "kept True" in out
