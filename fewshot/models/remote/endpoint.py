"""One address that takes JSON: tries again where that helps, and keeps a key from everybody else."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from fewshot.checks import above, at_least
from fewshot.errors import ParameterError, ServerError
from fewshot.extras import need
from fewshot.models.locks import lock_of
from fewshot.models.remote.contents import WireError, read_json

__all__ = ["AbsentError", "Endpoint", "check_address"]

_ABSENT = frozenset({404, 405})  # there is nothing at that address
_AGAIN = frozenset({408, 409, 429})  # and all from 500: the same request may be answered later
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*", re.ASCII)
_KEY = re.compile(r"[\x21-\x7e]+")
_SHORTEST_WAIT, _LONGEST_WAIT = 0.5, 60.0  # seconds between two tries
_SHOWN = 300  # characters of what a server says
_RANDOM = random.SystemRandom()  # no generator that somebody has seeded


class AbsentError(ServerError):
    """A server has nothing at an address."""


class Endpoint:
    """Where requests go, and how.

    Parameters
    ----------
    url : str
        The whole address.
    key_env : str or None
        The environment variable that holds the key. It is read for each request, and never kept.
    timeout : float
        Seconds to wait for a connection, and between two parts of an answer.
    retries : int
        How often a request is sent again.
    connections : int
        Most connections at once.
    """

    def __init__(self, url: str, key_env: str | None, timeout: float, retries: int, connections: int) -> None:
        check_address(url, key_env)
        at_least("retries", retries, 0, whole=True)
        above("timeout", timeout, 0)
        self.url, self.key_env, self.timeout = url, key_env, timeout
        self.retries, self.connections = retries, connections
        self._client: tuple[int, Any] | None = None

    def post(self, body: Mapping[str, Any], stopped: threading.Event) -> Any:
        """Send a body, and return the parsed answer.

        Raises
        ------
        ServerError
            When the server refuses, redirects, or gives no answer after all tries, or when ``stopped`` is set between.
        """
        return self._asked(json.dumps(body, allow_nan=False).encode("ascii"), stopped)

    def get(self) -> Any:
        """Read what is at the address, parsed.

        Raises
        ------
        AbsentError
            When there is nothing.
        ServerError
            When the server refuses, redirects, or gives no answer after all tries.
        """
        return self._asked(None, threading.Event())

    def _asked(self, content: bytes | None, stopped: threading.Event) -> Any:
        tried = 0
        while True:
            tried += 1
            answer = self._send(content)
            if isinstance(answer, _Answer):
                return answer.body
            if tried > self.retries or answer.wait > _LONGEST_WAIT or stopped.is_set():
                raise ServerError(self._last_words(answer, tried))
            wait = max(answer.wait, _RANDOM.uniform(0.5, 1) * min(_SHORTEST_WAIT * 2 ** (tried - 1), _LONGEST_WAIT))
            if stopped.wait(wait):
                raise ServerError(self._last_words(answer, tried))

    def _last_words(self, failure: _Failure, tried: int) -> str:
        said = f"{self.url} gave no answer, tried {tried} time{'s' * (tried > 1)}: {failure.reason}"
        if failure.wait > _LONGEST_WAIT:
            said += f" It asks to wait {failure.wait:.0f} seconds: try again then."
        return said

    def _send(self, content: bytes | None) -> _Answer | _Failure:
        """Send once. No error of the HTTP library goes on from here: it holds the request, and so the key."""
        import httpx2

        key = self._key()
        headers = {"Content-Type": "application/json", **({} if key is None else {"Authorization": f"Bearer {key}"})}
        response, problem = None, ""
        try:
            method = "GET" if content is None else "POST"
            response = self._connected().request(method, self.url, content=content, headers=headers)
        except httpx2.RequestError as error:
            problem = f"{type(error).__name__}: {error}".rstrip(": ")
        if response is None:
            return _Failure(_hidden(problem, key))
        if response.is_success:
            try:
                return _Answer(read_json(response.content))
            except WireError as error:  # it was cut short, or a proxy answered
                return _Failure(_hidden(error.message, key))
        said = _hidden(_words_of(response), key)
        if response.status_code in _AGAIN or response.status_code >= 500:
            return _Failure(f"{response.status_code} {said}", _wait_of(response.headers.get("retry-after")))
        raise (AbsentError if response.status_code in _ABSENT else ServerError)(self._refusal(response, said))

    def _refusal(self, response: Any, said: str) -> str:
        if response.is_redirect or 300 <= response.status_code < 400:
            host = urlsplit(response.headers.get("location", "")).hostname
            return (
                f"{self.url} redirects{f' to {host}' if host else ''}, and no redirect is followed: the key and the "
                "text would go there. Give the new address if you trust it."
            )
        hint = " Set key_env to the environment variable with the key." if self.key_env is None else ""
        return f"{self.url} refuses: {response.status_code} {said}{hint * (response.status_code in (401, 403))}"

    def _key(self) -> str | None:
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise ParameterError(f"The environment variable {self.key_env}, which key_env names, is not set.")
        if _KEY.fullmatch(key) is None:
            raise ParameterError(
                f"The environment variable {self.key_env} holds what no key can be: blanks or no ASCII."
            )
        return key

    def _connected(self) -> Any:
        """The client with its open connections; a forked process makes its own."""
        with lock_of(self):
            if self._client is None or self._client[0] != os.getpid():
                self._client = (os.getpid(), self._connect())
            return self._client[1]

    def leave(self) -> None:
        """Leave the open connections to who is still at work on them: the next request opens another."""
        with lock_of(self):
            self._client = None

    def _connect(self) -> Any:
        httpx2 = need("httpx2", "Asking a server needs")
        local = _is_local(urlsplit(self.url).hostname or "")  # then no proxy is asked, which would see the key
        limits = httpx2.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)
        client = httpx2.Client(timeout=self.timeout, limits=limits, follow_redirects=False, trust_env=not local)
        weakref.finalize(self, client.close)
        return client

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_client": None}


class _Answer:
    """What was answered."""

    def __init__(self, body: Any) -> None:
        self.body = body


class _Failure:
    """Why there is no answer, and how many seconds the server asks to wait."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        self.reason, self.wait = reason, wait


def check_address(url: Any, key_env: str | None = None) -> None:
    """Refuse an address that is none, that holds a secret, or over which a key would travel in the open."""
    if key_env is not None and (not isinstance(key_env, str) or _VARIABLE.fullmatch(key_env) is None):
        raise ParameterError(
            "key_env must be the name of an environment variable, in capitals, such as 'JEV_API_KEY': never the key "
            "itself, which is read from there for each request."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except (ValueError, TypeError, AttributeError):
        raise ParameterError("The address is none: it looks like 'https://host/v1'.") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ParameterError(
            "The address has a user, a password, a query or a fragment, where secrets would be kept and shown: leave "
            "them out, and name the environment variable with the key, key_env='NAME'."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ParameterError(f"The address must look like 'https://host/v1'. Got {url!r:.200}.")
    if key_env is not None and parts.scheme == "http" and not _is_local(parts.hostname):
        raise ParameterError(
            f"The key would travel to {parts.hostname} in the open: use https, or leave key_env out where the server "
            "needs no key."
        )


def _is_local(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _words_of(response: Any) -> str:
    """What a server says went wrong, in either wire's form or as it stands."""
    text = response.text.strip()
    try:
        body = read_json(response.content)
    except WireError:
        return text[:_SHOWN] or response.reason_phrase
    found = body.get("detail", body.get("error", body)) if isinstance(body, Mapping) else body
    if isinstance(found, list) and found and isinstance(found[0], Mapping):
        place = ".".join(map(str, found[0].get("loc", ()))) if isinstance(found[0].get("loc"), list) else ""
        found = f"{place}: {found[0].get('msg')}".removeprefix(": ")
    if isinstance(found, Mapping) and isinstance(found.get("message"), str):
        found = found["message"]
    return (found if isinstance(found, str) else text)[:_SHOWN]


def _wait_of(said: str | None) -> float:
    """The seconds of a Retry-After, which are a number or a date."""
    if said is None:
        return 0.0
    try:
        return max(0.0, float(said)) if re.fullmatch(r"[\d.]+", said) else _until(said)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _until(date: str) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())


def _hidden(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text
