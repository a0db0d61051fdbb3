"""Connection: the routes of one server, and what the probe found of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fewshot.errors import ServerError
from fewshot.models.locks import lock_of
from fewshot.models.remote.completion_wire import TokenError
from fewshot.models.remote.contents import WireError
from fewshot.models.remote.endpoint import Endpoint, check_address
from fewshot.models.remote.probe import Probed

__all__ = ["Connection"]

T = TypeVar("T")


class Connection:
    """Where the routes of a server of language models are.

    Parameters
    ----------
    url : str
        The address, with or without ``/v1`` and ``/completions`` at its end.
    key_env : str or None
        The environment variable that holds the key.
    timeout : float
        Seconds to wait for a connection, and between two parts of an answer.
    retries : int
        How often a request is sent again.
    connections : int
        Most connections at once.
    """

    def __init__(self, url: str, key_env: str | None, timeout: float, retries: int, connections: int) -> None:
        check_address(url, key_env)
        self.root = url.rstrip("/").removesuffix("/completions").removesuffix("/v1").rstrip("/")
        self._sent = (key_env, timeout, retries, connections)
        self._endpoints: dict[str, Endpoint] = {}
        self.probed: Probed | None = None
        self.at("/v1/models")  # which checks the numbers

    def at(self, path: str) -> Endpoint:
        """The endpoint of a path after the server's root."""
        with lock_of(self):
            if path not in self._endpoints:
                self._endpoints[path] = Endpoint(self.root + path, *self._sent)
            return self._endpoints[path]

    def ask(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T], stopped: threading.Event) -> T:
        """Send a body to a path, and return what ``read`` makes of the answer.

        Raises
        ------
        ServerError
            When the server refuses, or its answer can't be read.
        TokenError
            When the answer lacks a token.
        """
        answer = self.at(path).post(body, stopped)
        try:
            return read(answer)
        except TokenError:
            raise
        except WireError as error:
            raise ServerError(f"{self.root}{path} gave no usable answer. {error}") from None

    def leave(self) -> None:
        """Leave the open connections to who is still at work on them."""
        with lock_of(self):
            for endpoint in self._endpoints.values():
                endpoint.leave()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_endpoints": {}}
