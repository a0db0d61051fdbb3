"""What a server does when it is asked badly, too much or too long, when clients hang up, and when it is told to end."""

from __future__ import annotations

import gc
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fewshot import Classifier, FakeLM
from fewshot.errors import InputError
from fewshot.serving import answerers, application, memory, running
from tests.contract import HashEncoder
from tests.served import QUESTIONS, about, ask, hashed, send

ASKED = {"model": "lm", "state": "a text", "questions": QUESTIONS}
PREDICATE = {"model": "lm", "input": "x", "questions": [{"type": "predicate", "instructions": "Is it?"}]}


class Gated(FakeLM):
    """A model that waits for a gate, and counts what it is asked."""

    def __init__(self, f=hashed):
        super().__init__(f)
        self.gate, self.calls = threading.Event(), []

    def loglikelihoods(self, queries):
        self.calls.append({query.prefix.partition("\n")[0] for query in queries})
        assert self.gate.wait(20)
        return super().loglikelihoods(queries)


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def connected(url):
    host, _, port = urlsplit(url).netloc.partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def raw(body, path="/v1/systemone", length=None):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


@pytest.fixture(scope="module")
def url():
    with running(application({"lm": FakeLM(about, limit=200)}, max_bytes=20_000, read_seconds=0.3)) as address:
        yield address


TWICE = b'{"model": "lm", "model": "lm", "state": "x", "questions": {}}'
ONE = {"type": "choice", "instructions": "?", "criteria": {"a": None, "b": None}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b"[]", "must be an object"),
        (b"null", "must be an object"),
        (TWICE, "stands twice"),
        (b'{"model": NaN}', "NaN"),
        ({**ASKED, "questions": {"q": {**ONE, "criteria": {"a": None, "b\n- a": None}}}}, "line break"),
        ({**ASKED, "questions": {"q": {**ONE, "criteria": {"a": None, " ": None}}}}, "blank"),
        ({**ASKED, "questions": {"q": {"type": "score", "instructions": "?", "criteria": ["a", "a"]}}}, "twice"),
        ({**ASKED, "questions": {f"q{i}": {"type": "noul", "instructions": "?"} for i in range(401)}}, "at most 400"),
    ],
)
def test_a_broken_request_is_refused_in_the_form_of_the_wire(url, body, said):
    status, _, found = send(url, "/v1/systemone", body)
    assert (status, found["detail"][0]["loc"][0]) == (422, "body")
    assert said in found["detail"][0]["msg"]


def test_the_body_tells_the_wire_and_the_path_does_where_there_is_none(url):
    assert "answers" in send(url, "/v1/systemone", PREDICATE)[2]
    assert isinstance(send(url, "/v1/decisions", ASKED)[2]["answers"], dict)
    assert send(url, "/v1/decisions", b"{")[2]["error"]["type"] == "invalid_request_error"
    status, _, found = send(url, "/v1/nothing")
    assert (status, found["detail"]["error_type"]) == (404, "not_found_error")
    status, headers, found = send(url, "/v1/decisions")
    assert (status, headers["allow"]) == (405, "POST")
    assert found["error"]["message"] == "Method Not Allowed"


def test_what_is_too_long_is_refused_and_nothing_is_cut(url):
    status, _, found = send(url, "/v1/systemone", {**ASKED, "state": "x" * 20_000})
    assert (status, found["detail"]["error_type"]) == (413, "request_too_large")
    with closing(connected(url)) as client:  # without a length, in chunks
        client.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"5000\r\n" + b"x" * 0x5000 + b"\r\n")
        assert b" 413 " in client.recv(1000)
    status, _, found = send(url, "/v1/systemone", {**ASKED, "state": "word " * 300})
    assert status == 413
    assert (
        "tokens longer than the model can read beside the question; it reads 200 in all" in found["detail"]["message"]
    )
    criteria = dict.fromkeys(f"the option of number {i}" for i in range(100))
    status, _, found = send(url, "/v1/systemone", {**ASKED, "questions": {"q": {**ONE, "criteria": criteria}}})
    assert status == 413
    fits = {**ASKED, "state": "word " * 100}
    assert send(url, "/v1/systemone", fits)[0] == 200


def test_a_fitted_classifier_refuses_what_it_would_cut():
    class Narrow(HashEncoder):
        limit = 20

        def lengths(self, queries):
            return FakeLM(about).lengths(queries) + 2

        def token_ends(self, texts):
            return FakeLM(about).token_ends(texts)

    clf = Classifier(Narrow()).fit(None, ["a", "b"])
    with running(application({"fitted": clf, "zero": Narrow()})) as url:
        for name in ("fitted", "zero"):
            body = {"model": name, "state": "word " * 30, "questions": {"q": ONE}}
            assert send(url, "/v1/systemone", body)[0] == 413
            assert send(url, "/v1/systemone", {**body, "state": "word"})[0] == 200


def test_a_body_that_does_not_come_is_not_waited_for(url):
    with closing(connected(url)) as client:
        client.sendall(raw(b'{"model"', length=500))
        assert b" 408 " in client.recv(1000)


def test_a_model_that_fails_is_not_the_clients_fault_and_disturbs_no_other(caplog):
    def failing(query):
        if "boom" in query.prefix:
            raise RuntimeError("a secret of the server")
        return [float("nan") if "nan" in query.prefix else 0.0 for _ in query.candidates]

    lm = Gated(failing)
    with running(application({"lm": lm})) as url, ThreadPoolExecutor(5) as pool:
        states = ["fine", "boom", "nan", "fine too"]
        first = pool.submit(send, url, "/v1/systemone", {**ASKED, "state": "first"})
        until(lambda: lm.calls)
        asked = [pool.submit(send, url, "/v1/systemone", {**ASKED, "state": state}) for state in states]
        until(lambda: send(url, "/health")[2]["waiting"] == 5)
        lm.gate.set()
        found = [one.result() for one in asked]
    assert [status for status, _, _ in found] == [200, 500, 500, 200]
    assert first.result()[0] == 200
    assert found[1][2]["detail"] == {
        "error_type": "api_error",
        "message": "The model failed. The server's log says how.",
    }
    assert "a secret of the server" in caplog.text


def test_a_full_queue_says_when_to_ask_again():
    lm = Gated()
    with running(application({"lm": lm}, max_waiting=3)) as url, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(send, url, "/v1/systemone", ASKED) for _ in range(3)]
        until(lambda: send(url, "/health")[2]["waiting"] == 3)
        for path, body in (("/v1/systemone", ASKED), ("/v1/decisions", PREDICATE)):
            status, headers, found = send(url, path, body)
            assert status == 503
            assert int(headers["retry-after"]) >= 1
            assert "no more may" in json.dumps(found)
        lm.gate.set()
        assert [one.result()[0] for one in asked] == [200] * 3
        assert send(url, "/v1/systemone", ASKED)[0] == 200


def test_who_hangs_up_is_not_computed_for():
    lm = Gated()
    with running(application({"lm": lm})) as url, ThreadPoolExecutor(2) as pool:
        first = pool.submit(send, url, "/v1/systemone", ASKED)
        until(lambda: lm.calls)
        gone = connected(url)
        gone.sendall(raw(json.dumps({**ASKED, "state": "gone"}).encode()))
        until(lambda: send(url, "/health")[2]["waiting"] == 2)
        gone.close()
        until(lambda: send(url, "/health")[2]["waiting"] == 1)
        with closing(connected(url)) as half:  # hangs up in the middle of its body
            half.sendall(raw(b'{"model"', length=500))
        lm.gate.set()
        assert first.result()[0] == 200
        assert send(url, "/v1/systemone", {**ASKED, "state": "after"})[0] == 200
    assert lm.calls == [{"Text: a text"}, {"Text: after"}]


def test_what_was_accepted_is_answered_before_the_server_ends():
    lm, before = Gated(), set(threading.enumerate())
    with ThreadPoolExecutor(8) as pool:
        with running(application({"lm": lm})) as url:
            asked = [pool.submit(ask, url, f"text {i}") for i in range(8)]
            until(lambda: send(url, "/health")[2]["waiting"] == 8)
            threading.Timer(0.1, lm.gate.set).start()
        assert all(len(one.result()["answers"]) == 3 for one in asked)
        with pytest.raises(OSError, match="refused"):
            send(url, "/health")
    assert set(threading.enumerate()) <= before


def test_memory_stays_where_it_is(monkeypatch):
    """Requests of ever new questions, some broken: what is remembered of them is bounded."""
    monkeypatch.setattr(answerers, "_KEPT", 4)
    with running(application({"lm": FakeLM(hashed)})) as url:

        def objects_after(numbers):
            for i in numbers:
                asked = {**ASKED, "state": f"state {i}", "questions": {"q": {**ONE, "instructions": f"{i % 20}?"}}}
                assert send(url, "/v1/systemone", b"{" if i % 10 == 0 else asked)[0] == (422 if i % 10 == 0 else 200)
            gc.collect()
            return len(gc.get_objects())

        before = objects_after(range(40))
        assert objects_after(range(200)) - before < 200  # less than one for each request


@pytest.mark.parametrize(("seconds", "times"), [(0.0, 5), (600.0, 0)])
def test_freed_memory_is_given_back_now_and_then(monkeypatch, seconds, times):
    given_back = []
    monkeypatch.setattr(memory, "_SECONDS", seconds)
    monkeypatch.setattr(memory, "give_back", lambda: given_back.append(threading.current_thread().name))
    with running(application({"lm": FakeLM(hashed)})) as url:
        for i in range(5):
            ask(url, f"text {i}")
    assert given_back[:5] == ["fewshot-serve-model"] * times


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others give it back by themselves")
def test_what_is_given_back_is_not_resident_any_more():
    def resident():
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    blocks = [bytearray(2000) for _ in range(50_000)]
    kept = blocks[::100]  # glibc alone gives back only what lies behind the last of them
    del blocks
    before = resident()
    memory.give_back()
    assert resident() < before - 50
    assert len(kept) == 500


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_ends_it_cleanly():
    code = (
        "import time\n"
        "from fewshot import FakeLM\n"
        "from fewshot.serving import application, serve\n"
        "def slow(query):\n"
        "    time.sleep(0.2)\n"
        "    return [0.0 for _ in query.candidates]\n"
        "serve(application({'lm': FakeLM(slow)}), port=0, ready=lambda url: print(url, flush=True))\n"
        "print('ended')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, url, "x")
            until(lambda: send(url, "/health")[2]["waiting"] == 1)
            process.send_signal(signal.SIGTERM)
            assert len(asked.result()["answers"]) == 3
        assert process.wait(60) == 0
        assert process.stdout.read() == "ended\n"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_command_runs_until_ctrl_c(tmp_path):
    folder = Classifier("embedded:masked").fit(None, ["sport", "music"]).save(tmp_path / "topics")
    command = [sys.executable, "-m", "fewshot", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        url = first.split()[1].removesuffix("/v1/systemone,")
        question = {"topic": {"type": "choice", "instructions": "?", "criteria": {"music": None, "sport": None}}}
        answer = ask(url, "They won the match.", question, model="topics")["answers"]["topic"]
        assert answer["x_answered_by"] == "fitted"
        assert [one["name"] for one in send(url, "/v1/models")[2]["models"]] == ["topics"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()


def test_a_port_that_is_taken_is_named():
    with running(application({"lm": FakeLM(hashed)})) as url:
        port = urlsplit(url).port
        with (
            pytest.raises(InputError, match=rf"The server can't listen at 127.0.0.1:{port}"),
            running(application({"lm": FakeLM(hashed)}), port=port),
        ):
            pass


def test_an_application_that_ended_may_be_run_again():
    app, before, found = application({"lm": FakeLM(about)}), set(threading.enumerate()), []
    for _ in range(2):
        with running(app) as url:
            found.append(ask(url, "a low one", model="lm")["answers"])
    assert found[0] == found[1]
    assert not [thread for thread in {*threading.enumerate()} - before if thread.name == "fewshot-serve-model"]
