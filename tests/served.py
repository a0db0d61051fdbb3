"""Models that are served in tests, and a client of the standard library, which hides nothing of an answer."""

from __future__ import annotations

import http.client
import json
import zlib
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from fewshot import Classifier, FakeLM, Prompting
from tests.contract import data

QUESTIONS: dict[str, Any] = {
    "team": {"type": "choice", "instructions": "Which team?", "criteria": {"billing": "charges", "bug": None}},
    "angry": {"type": "noul", "instructions": "Is the customer angry?"},
    "urgent": {"type": "score", "instructions": "How urgent is it?", "criteria": ["low", "medium", "high"]},
}
CLASSES = {"praise": None, "billing": "whatever this says", "bug report": None}


def hashed(query) -> list[float]:
    """Scores that depend on every character of what is asked."""
    said = "".join(turn.text for turn in query.context) + query.prefix
    return [-(zlib.crc32(f"{said}{word}".encode("utf-8", "surrogatepass")) % 1000) / 250 for word in query.candidates]


def about(query) -> list[float]:
    """A word that occurs in the text wins."""
    text = query.prefix.partition("Question:")[0]
    return [2.0 * text.count(word) for word in query.candidates]


def fitted() -> Classifier:
    """A few-shot classifier of three classes."""
    lm = FakeLM(lambda query: [query.prefix.count(word[:4]) - 0.5 * len(word) for word in query.candidates])
    return Classifier(lm, strategy=Prompting(shots=3, calibration="contextual"), random_state=0).fit(*data(3))


def send(url: str, path: str, body: Any = None, *, headers: Any = None, timeout: float = 20.0):
    """Status, headers in lower case and the JSON of an answer."""
    payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)) as connection:
        connection.request("GET" if body is None else "POST", path, payload, headers or {})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, json.loads(answer.read())


def ask(url: str, state: Any, questions: Any = None, *, model: str = "jev-latest"):
    """The body of an answer in System One's form, which must be one."""
    status, _, body = send(url, "/v1/systemone", {"model": model, "state": state, "questions": questions or QUESTIONS})
    assert status == 200, body
    return body
