"""A page of this machine: its files and its calls behind a token in the address, and nothing from outside."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fewshot.errors import FewshotError
from fewshot.models.remote.contents import WireError, read_json

__all__ = ["Page", "page_application"]

logger = logging.getLogger(__name__)

_MOST_BYTES = 2**22  # of what a page sends
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    # only what this server has; a row's text could not run or load anything, were it ever taken for markup
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'",
    "referrer-policy": "no-referrer",  # the address holds the token
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}

Call = Callable[[dict[str, Any]], Any]


class Page:
    """The application of a page, and the path that it is under.

    Attributes
    ----------
    app : Starlette
    path : str
        ``/TOKEN/``, which follows the address of the server.
    """

    def __init__(self, app: Starlette, path: str) -> None:
        self.app, self.path = app, path


def page_application(name: str, calls: Mapping[str, Call], *, token: str | None = None) -> Page:
    """Make the application of a page from files in ``static/`` and functions that its script calls.

    Parameters
    ----------
    name : str
        Of the page: it is made of ``NAME.html``, ``NAME.js``, ``NAME.css`` and what all pages share.
    calls : mapping of str to callable
        What ``POST call/NAME`` with a JSON object does. It is given that object and returns what JSON can hold. It runs
        in a thread of its own, several at once. A `FewshotError` becomes an answer with its message.
    token : str, optional
        What stands in the address. None: 128 bits drawn by chance.

    Returns
    -------
    Page
    """
    said = secrets.token_urlsafe(16) if token is None else token

    async def called(request: Request) -> Response:
        call = calls.get(request.path_params["name"])
        if call is None:
            raise HTTPException(404, "There is no such call.")
        return await _answer(call, request)

    routes = [Route(f"/{file}", _served(file)) for file in ("page.css", "page.js", f"{name}.css", f"{name}.js")]
    routes += [Route("/", _served(f"{name}.html")), Route("/call/{name}", called, methods=["POST"])]
    app = Starlette(
        routes=[Mount(f"/{said}", routes=routes)],
        # another site's name that leads to this machine is no way in
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]), Middleware(_Headers)],
        exception_handlers={HTTPException: _refused},
    )
    return Page(app, f"/{said}/")


async def _answer(call: Call, request: Request) -> Response:
    """What a call returns, or why it can't."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "Send JSON.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, "That is too much at once.")
    try:
        said = read_json(bytes(body))
    except WireError as error:
        raise HTTPException(400, str(error)) from error
    if not isinstance(said, dict):
        raise HTTPException(400, "Send a JSON object.")
    try:
        found = json.dumps(await asyncio.to_thread(call, said), allow_nan=False)  # ASCII: a text may be half a pair
        return Response(found, media_type="application/json")
    except FewshotError as error:
        raise HTTPException(422, str(error)) from error
    except Exception as error:
        logger.exception("A call of the page failed")
        raise HTTPException(500, "That failed. The terminal says how.") from error


def _served(file: str) -> Callable[[Request], Response]:
    content = (files("fewshot.pages") / "static" / file).read_bytes()
    media = _TYPES[file.rpartition(".")[2]]
    return lambda _: Response(content, media_type=f"{media}; charset=utf-8")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


class _Headers:
    """Every answer has the headers of a page that trusts nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(key.encode(), value.encode()) for key, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        await self.app(scope, receive, sent if scope["type"] == "http" else send)
