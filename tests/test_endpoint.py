"""Requests to a server: tried again where that helps, cancelled cleanly, and no key goes elsewhere."""

from __future__ import annotations

import logging
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from fewshot import (
    CachedLM,
    Classifier,
    DecisionsLM,
    ModelLoadError,
    ParameterError,
    ServerError,
    load,
)
from tests.peers import (
    APIS,
    CLASSES,
    TEXTS,
    answer,
    ask,
    half,
    hang_up,
    held,
    probabilities,
    serving,
    slow,
    states,
    status,
    truncated,
)

KEY = "jv-0123456789-secret"


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@APIS
@pytest.mark.parametrize(
    "fault",
    [hang_up, half, truncated, *(status(code) for code in (408, 409, 429, 500, 502, 503, 529)), slow(0.5)],
    ids=["hang up", "half", "truncated", "408", "409", "429", "500", "502", "503", "529", "slow"],
)
def test_what_may_be_better_later_is_asked_again(peer, api, fault):
    lm = load(peer.url, model="m", api=api, timeout=0.3, concurrency=2)
    peer.script = [fault, fault]
    queries = [ask(text, CLASSES) for text in TEXTS]
    for text, p in zip(TEXTS, probabilities(lm, queries), strict=True):
        np.testing.assert_allclose(p, peer.probabilities(text, CLASSES), atol=1e-12)
    assert len(peer.requests) == 6


@pytest.mark.parametrize("fault", [hang_up, truncated, status(503, {"detail": {"message": "too busy"}})])
def test_the_last_try_says_what_went_wrong(peer, fault):
    lm = load(peer.url, model="m", retries=2)
    peer.script = [fault] * 3
    with pytest.raises(ServerError, match=r"tried 3 times: (503 too busy|Remote|Read|The body is not JSON)"):
        lm.loglikelihoods([ask("a")])
    assert len(peer.requests) == 3


def test_nobody_at_the_address_is_an_error_with_the_address():
    with pytest.raises(ServerError, match=r"http://127.0.0.1:9/v1/systemone gave no answer, tried 1 time: Connect"):
        load("http://127.0.0.1:9/v1", model="m", retries=0).loglikelihoods([ask("a")])


@pytest.mark.parametrize("said", ["0.4", "date"])
def test_retry_after_is_waited_for(peer, said):
    lm = load(peer.url, model="m")
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 1.9))
    peer.script = [status(429, Retry_After=later if said == "date" else said)]
    start = time.monotonic()
    lm.loglikelihoods([ask("a")])
    assert 0.35 < time.monotonic() - start < 10


def test_a_long_wait_is_the_callers_to_decide(peer):
    peer.script = [status(429, Retry_After="3600")]
    with pytest.raises(ServerError, match="asks to wait 3600 seconds"):
        load(peer.url, model="m").loglikelihoods([ask("a")])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            status(404, {"detail": {"error_type": "not_found_error", "message": "no model m"}}),
            "refuses: 404 no model m",
        ),
        (status(422, {"detail": [{"loc": ["body", "state"], "msg": "too long"}]}), "422 body.state: too long"),
        (status(400, {"error": {"message": "bad input", "type": "x"}}), "400 bad input"),
        (status(413, b"<html>too large</html>"), "413 <html>too large"),
        (status(401, {"error": {"message": "no key"}}), "401 no key Set key_env"),
        (status(307, Location="http://127.0.0.2:1/v1"), "redirects to 127.0.0.2, and no redirect is followed"),
        (status(302, Location="/elsewhere"), "redirects, and no"),
    ],
)
def test_a_refusal_is_final_and_in_the_servers_words(peer, fault, words):
    peer.script = [fault]
    with pytest.raises(ServerError, match=re.escape(words)):
        load(peer.url, model="m").loglikelihoods([ask("a")])
    assert len(peer.requests) == 1


def test_requests_run_at_once_but_not_more_than_allowed(peer):
    peer.delay = 0.1
    load(peer.url, model="m", concurrency=3).loglikelihoods([ask(str(i)) for i in range(9)])
    assert 1 < peer.most_at_once <= 3
    assert len(set(states(peer))) == len(states(peer)) == 9


def test_many_threads_ask_one_model(peer):
    lm, found = load(peer.url, model="m"), {}
    expected = {text: peer.probabilities(text, CLASSES) for text in TEXTS}
    work = [threading.Thread(target=lambda t=t: found.update({t: probabilities(lm, [ask(t, CLASSES)])})) for t in TEXTS]
    for one in work:
        one.start()
    for one in work:
        one.join()
    for text in TEXTS:
        np.testing.assert_allclose(found[text][0], expected[text], atol=1e-12)
    assert lm.usage.requests == 4


def test_what_was_answered_before_an_error_is_not_asked_again(peer, tmp_path):
    lm = CachedLM(load(peer.url, model="m", concurrency=1, retries=0), tmp_path / "scores")
    n = len(peer.requests)
    peer.script = [answer, answer, status(500)]
    queries = [ask(str(i)) for i in range(4)]
    with pytest.raises(ServerError, match="500"):
        lm.loglikelihoods(queries)
    lm.loglikelihoods(queries)
    lm.loglikelihoods(queries)
    assert states(peer)[n:] == ["0", "1", "2", "2", "3"]


def test_ctrl_c_stops_at_once_and_keeps_what_was_answered(peer):
    lm, caller = load(peer.url, model="m", concurrency=2), threading.main_thread()
    gate = threading.Event()  # whoever waits for what is at work waits for ever
    peer.script = [answer] * 2 + [held(gate)] * 2

    def interrupt():
        while len(peer.requests) < 4:
            time.sleep(0.01)
        signal.pthread_kill(caller.ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
    threading.Thread(target=interrupt, daemon=True).start()
    queries = [ask(str(i)) for i in range(40)]
    try:
        with pytest.raises(KeyboardInterrupt):
            lm.loglikelihoods(queries)
    finally:
        signal.signal(signal.SIGINT, before)
    time.sleep(0.2)
    assert len(peer.requests) == 4  # nothing more was begun
    lm.loglikelihoods(queries)  # over new connections
    gate.set()
    asked = states(peer)
    assert [asked.count(state) for state in asked[:2]] == [1, 1]
    assert len(set(asked)) == 40


@APIS
def test_the_key_goes_to_its_server_and_nowhere_else(peer, api, monkeypatch, caplog, tmp_path, capfd):
    monkeypatch.setenv("OUR_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with serving() as other, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        lm = load(peer.url, model="m", api=api, key_env="OUR_KEY", retries=1)
        said = [repr(lm), lm.fingerprint, str(vars(lm)), str(vars(lm.endpoint))]
        echo = {"error": {"message": f"bad key {KEY}"}}
        faults = [status(401, echo), status(307, Location=f"{other.url}/x"), hang_up, status(500, echo), truncated]
        for fault in faults:
            peer.script = [fault, fault]
            with pytest.raises(ServerError) as caught:
                lm.loglikelihoods([ask("a")])
            said += [f"{error!r} {error} {vars(error)} {error.args}" for error in chain(caught.value)]
            peer.script = []
        clf = Classifier(lm).fit(None, CLASSES)
        clf.predict(TEXTS)
        clf.save(tmp_path / "kept")
        kept = [file.read_bytes() for file in (tmp_path / "kept").rglob("*") if file.is_file()]
        assert other.requests == []
    assert all(f"authorization: bearer {KEY}".lower() in raw.lower() for raw in peer.raw)
    assert all(KEY not in raw.partition("\n\n")[2] and KEY not in raw.partition("\n")[0] for raw in peer.raw)
    said += [str(one.message) for one in warned] + list(capfd.readouterr()) + [caplog.text]
    assert KEY not in "\n".join(said)
    assert KEY.encode() not in pickle.dumps((lm, clf)) + b"".join(kept)
    assert peer.url.encode().removeprefix(b"http://").removesuffix(b"/v1") not in b"".join(kept)


def test_the_key_is_read_when_it_is_needed(peer, monkeypatch):
    lm = load(peer.url, model="m", key_env="OUR_KEY")
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(ParameterError, match="The environment variable OUR_KEY, which key_env names, is not set"):
        lm.loglikelihoods([ask("a")])
    monkeypatch.setenv("OUR_KEY", f"{KEY}\r\nX-Other: 1")
    with pytest.raises(ParameterError, match="what no key can be") as caught:
        lm.loglikelihoods([ask("a")])
    assert KEY not in str(caught.value)
    monkeypatch.setenv("OUR_KEY", KEY)
    lm.loglikelihoods([ask("a")])
    assert len(peer.raw) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"key_env": KEY}, "never the key itself"),
        ({"key_env": "lower_case_key"}, "never the key itself"),
        ({"url": "http://somebody.example/v1", "key_env": "OUR_KEY"}, "in the open"),
        ({"url": f"https://me:{KEY}@somebody.example/v1"}, "has a user, a password"),
        ({"url": f"https://somebody.example/v1?key={KEY}"}, "a query"),
        ({"url": "https:///v1"}, "must look like"),
        ({"url": "https://somebody.example:port/v1"}, "is none"),
        ({"model": " "}, "the name that the server knows"),
        ({"api": "rest"}, "'systemone' or 'openai'"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"prices": {"input": 1}}, "prices"),
        ({"prices": {"input": 1, "output": -1}}, "prices"),
        ({"server": 7}, "server"),
    ],
)
def test_bad_parameters_are_refused_and_no_secret_is_quoted(given, words):
    given = {"url": "https://somebody.example/v1", "model": "m", **given}
    with pytest.raises(ParameterError, match=words) as caught:
        DecisionsLM(**given)
    assert KEY not in str(caught.value)
    assert "lower_case" not in str(caught.value)


def test_load_says_what_an_address_needs():
    with pytest.raises(ModelLoadError, match="name one"):
        load("http://127.0.0.1:1/v1")
    with pytest.raises(ModelLoadError, match="device would change nothing"):
        load("http://127.0.0.1:1/v1", model="m", device="cpu")
    with pytest.raises(ModelLoadError, match="is the model itself"):
        load("embedded:masked", model="m")


def test_an_address_of_a_route_is_taken_as_it_is(peer):
    load(f"{peer.url}/decisions/", model="m").loglikelihoods([ask("a")])
    load(peer.url, model="m").loglikelihoods([ask("a")])
    assert [raw.partition(" HTTP")[0] for raw in peer.raw] == ["POST /v1/decisions", "POST /v1/systemone"]
    assert all("state" in body for body in peer.requests)


def test_import_takes_no_library_of_http():
    code = "import sys, fewshot.models.remote.decisions; sys.exit(bool({'httpx2', 'torch'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
