"""A server that does as it is told, for tests of what asks one: scripted answers, and every request that came."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from fewshot.models.base import FloatArray, Query, Turn
from fewshot.models.remote.wire import Usage
from fewshot.models.remote.wires import wire_of

APIS = pytest.mark.parametrize("api", ["systemone", "openai"])
CLASSES = ["billing", "bug report", "praise"]
TEXTS = ["I was charged twice.", "It crashes.", "I love it.", "charged, charged, and a crash"]
HINTS = {"billing": "charge", "bug report": "crash", "praise": "love", "Yes": "!", "True": "!", True: "!"}


class Peer:
    """A scripted server. ``script`` holds what happens to the next requests, one each; then it answers rightly."""

    def __init__(self) -> None:
        self.script: list[Callable[[Any, Any], None]] = []
        self.requests: list[Any] = []  # parsed bodies
        self.raw: list[str] = []  # request line, headers and body as they came
        self.model, self.decimals, self.mass = "jev-1.13.0", None, None
        self.delay = 0.0
        self.at_once, self.most_at_once = 0, 0
        self.lock = threading.Lock()
        self.url = ""

    def probabilities(self, state: str, values: list[Any]) -> FloatArray:
        """As many points as a hint's word stands in the state."""
        points = np.array([3.0 * state.lower().count(HINTS.get(value, "nothing")) for value in values])
        p = np.exp(points) / np.exp(points).sum()
        return p if self.decimals is None else p.round(self.decimals)

    def body(self, asked: Any) -> dict[str, Any]:
        wire = wire_of(asked)
        request = wire.read_request(asked)
        p = [self.probabilities(request.state, [option.value for option in one.options]) for one in request.questions]
        masses = [] if self.mass is None else [self.mass] * len(p)
        usage = Usage(10 * len(p), len(p))
        return wire.write_response(request, p, model=self.model, usage=usage, masses=masses)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    peer: Peer

    def do_POST(self) -> None:
        peer = self.peer
        data = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(data)
        with peer.lock:
            peer.requests.append(asked)
            peer.raw.append(f"{self.requestline}\n{self.headers}\n{data.decode()}")
            step = peer.script.pop(0) if peer.script else answer
            peer.at_once += 1
            peer.most_at_once = max(peer.most_at_once, peer.at_once)
        try:
            time.sleep(peer.delay)
            step(self, asked)
        finally:
            with peer.lock:
                peer.at_once -= 1

    do_GET = do_POST

    def send(self, status: int, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def answer(handler: Any, asked: Any) -> None:
    """Answer rightly."""
    handler.send(200, handler.peer.body(asked))


def status(code: int, body: Any = None, **headers: str) -> Callable[[Any, Any], None]:
    """Answer with a status."""
    return lambda handler, asked: handler.send(code, {} if body is None else body, **headers)


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any, Any], None]:
    """Answer with a body that was changed."""

    def step(handler: Any, asked: Any) -> None:
        body = handler.peer.body(asked)
        change(body)
        handler.send(200, body)

    return step


def hang_up(handler: Any, asked: Any) -> None:
    """Close the connection without a word."""
    handler.close_connection = True


def half(handler: Any, asked: Any) -> None:
    """Promise a body, and close the connection in its middle."""
    data = json.dumps(handler.peer.body(asked)).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def truncated(handler: Any, asked: Any) -> None:
    """Send half of the JSON as if it were whole."""
    data = json.dumps(handler.peer.body(asked)).encode()
    handler.send(200, data[: len(data) // 2])


def slow(seconds: float) -> Callable[[Any, Any], None]:
    """Answer late."""

    def step(handler: Any, asked: Any) -> None:
        time.sleep(seconds)
        with contextlib.suppress(OSError):  # who asked does not wait any more
            answer(handler, asked)

    return step


def held(gate: threading.Event) -> Callable[[Any, Any], None]:
    """Answer once a gate is open."""

    def step(handler: Any, asked: Any) -> None:
        gate.wait()
        with contextlib.suppress(OSError):
            answer(handler, asked)

    return step


@contextlib.contextmanager
def serving(peer: Any = None, handler: type[BaseHTTPRequestHandler] = _Handler) -> Iterator[Any]:
    """A peer on loopback."""
    peer = peer or Peer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"peer": peer}))
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    peer.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(state: str, candidates: Sequence[str] = ("billing", "praise"), question: str = "Which? ") -> Query:
    """A query about a state."""
    return Query(question, tuple(candidates), "", (Turn("premise", state),))


def probabilities(lm: Any, queries: Sequence[Query]) -> list[FloatArray]:
    """What a model says of each query."""
    return [np.exp(scores.logprobs) for scores in lm.loglikelihoods(queries)]


def states(peer: Peer) -> list[str]:
    """What the requests were about, in the order in which they came."""
    return [body.get("state", body.get("input")) for body in peer.requests]
