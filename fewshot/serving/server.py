"""Running: the application on an address, until a signal comes or a block ends."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from fewshot.errors import InputError

__all__ = ["running", "serve"]

_KEEP_ALIVE = 30  # seconds that a connection may be silent


def serve(app: Any, host: str = "127.0.0.1", port: int = 8000, *, ready: Callable[[str], None] | None = None) -> None:
    """Answer requests until the process gets SIGTERM or Ctrl-C.

    Then no new connections are accepted, and the accepted requests are answered before the function returns.

    Parameters
    ----------
    app : ASGI application
        For example, the result of `application`.
    host : str
        The address to listen on. The default accepts only connections from this machine.
    port : int
        0 means any free port.
    ready : callable, optional
        Called with the address as soon as connections are accepted.

    Raises
    ------
    InputError
        When the address can't be used.
    """
    with _listening(host, port) as sock:
        if ready is not None:
            ready(_address(sock))
        before = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGTERM, signal.SIGINT)}
        try:  # uvicorn has its own handlers meanwhile, and hands a signal on when all is answered
            uvicorn.Server(_config(app)).run(sockets=[sock])
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


@contextmanager
def running(app: Any, port: int = 0) -> Iterator[str]:
    """Answer requests from this machine in a thread while a ``with`` block runs, for notebooks and tests.

    Parameters
    ----------
    app : ASGI application
        For example, the result of `application`.
    port : int
        0 means any free port.

    Yields
    ------
    str
        The address, such as ``http://127.0.0.1:8000``.

    Raises
    ------
    InputError
        When the port can't be used.

    Examples
    --------
    >>> import json
    >>> from urllib.request import urlopen
    >>> from fewshot import FakeLM
    >>> from fewshot.serving import application, running
    >>> app = application({"hints": FakeLM(lambda query: [0.0 for _ in query.candidates])})
    >>> with running(app) as url, urlopen(f"{url}/health") as answer:
    ...     json.load(answer)["status"]
    'ok'
    """
    with _listening("127.0.0.1", port) as sock:
        server = uvicorn.Server(_config(app))
        thread = threading.Thread(target=server.run, args=([sock],), name="fewshot-serve", daemon=True)
        thread.start()
        try:
            yield _address(sock)
        finally:
            server.should_exit = True
            thread.join()


def _config(app: Any) -> uvicorn.Config:
    """One process that says nothing but warnings, and waits for what it has accepted."""
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
    )


def _listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on."""
    try:
        (family, _, _, _, where), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(where[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The server can't listen at {host}:{port}: {reason}. Give another host or port.") from error


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
