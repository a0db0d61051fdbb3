"""The application: both wires of typed decisions over HTTP, as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from fewshot.checks import above, at_least
from fewshot.errors import FewshotError, ParameterError, PromptTooLongError
from fewshot.models.remote.contents import Location, WireError, read_json, refuse_count
from fewshot.models.remote.openai_decisions import OPENAI
from fewshot.models.remote.systemone import SYSTEM_ONE
from fewshot.models.remote.wire import Request as WireRequest
from fewshot.models.remote.wire import Usage, Wire
from fewshot.models.remote.wires import wire_of
from fewshot.serving.answerers import Answer
from fewshot.serving.batching import Work
from fewshot.serving.service import Service

__all__ = ["application"]

logger = logging.getLogger(__name__)

_MOST_QUESTIONS = 400  # in a request
_HUNG_UP = 499  # nobody reads it: the client is gone


def application(
    served: Mapping[str, Any],
    *,
    key: str | None = None,
    max_waiting: int = 256,
    max_bytes: int = 2**20,
    read_seconds: float = 30.0,
) -> Starlette:
    """Make the application that answers typed decisions, for uvicorn or as a part of your own application.

    Parameters
    ----------
    served : mapping of str to Classifier or model
        Classifiers and models, by the name that requests use. A fitted classifier answers questions whose options are
        its classes. A language model or an encoder answers any question zero-shot. The first model also answers
        requests with an unknown name, and questions that the classifier of a name can't answer.
    key : str, optional
        The key that requests must send as ``Authorization: Bearer KEY``. None: all requests are answered.
    max_waiting : int
        The most requests that may wait or be in progress. Further requests get status 503 and Retry-After.
    max_bytes : int
        The largest body of a request. A larger one gets status 413.
    read_seconds : float
        How many seconds the body of a request may take to arrive. A slower one gets status 408.

    Returns
    -------
    Starlette
        It has the routes ``POST /v1/systemone`` and ``POST /v1/decisions``, which recognise the wire by the body, ``GET
        /v1/models`` and ``GET /health``.

    Raises
    ------
    ParameterError
        When ``served`` is empty, the key is blank, or a limit is not a number of at least 1.
    UnsupportedError
        When a classifier may give a text several labels, or takes its choices from each row.

    Examples
    --------
    >>> from fewshot import FakeLM
    >>> from fewshot.serving import application
    >>> app = application({"hints": FakeLM(lambda query: [0.0 for _ in query.candidates])})
    >>> [route.path for route in app.routes]
    ['/v1/systemone', '/v1/decisions', '/v1/models', '/health']
    """
    at_least("max_waiting", max_waiting, 1, whole=True)
    at_least("max_bytes", max_bytes, 1, whole=True)
    above("read_seconds", read_seconds, 0)
    if key is not None and not key.strip():
        raise ParameterError("The key is blank: give one that nobody guesses, or None to answer everyone.")
    doors = _Doors(Service(served, max_waiting), key, max_bytes, read_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(doors.service.close)

    routes = [
        Route("/v1/systemone", doors.decide, methods=["POST"]),
        Route("/v1/decisions", doors.decide, methods=["POST"]),
        Route("/v1/models", doors.models, methods=["GET"]),
        Route("/health", doors.health, methods=["GET"]),
    ]
    handlers: Any = {HTTPException: _http_error, WireError: _wire_error, ClientDisconnect: _hung_up}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


class _Doors:
    """What is behind each path."""

    def __init__(self, service: Service, key: str | None, max_bytes: int, read_seconds: float) -> None:
        self.service = service
        self._key = None if key is None else key.encode()
        self._max_bytes, self._read_seconds = max_bytes, read_seconds

    async def decide(self, request: Request) -> Response:
        """Answer the questions of one request, in the wire that its body speaks."""
        self._check_key(request)
        self._check_room()
        body = read_json(await self._body(request))
        wire = request.state.wire = wire_of(body)
        try:
            return _json(await self._answered(wire, wire.read_request(body), request))
        except (HTTPException, WireError, ClientDisconnect):
            raise
        except Exception as error:
            logger.exception("A request could not be answered")
            raise HTTPException(500, "The model failed. The server's log says how.") from error

    async def models(self, request: Request) -> Response:
        """List what is served, as either wire lists it."""
        self._check_key(request)
        said = self.service.descriptions.items()
        own = [{"name": name, "description": what, "release_date": "1970-01-01"} for name, what in said]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "fewshot"} for name, _ in said]
        return _json({"object": "list", "data": data, "models": own})

    async def health(self, request: Request) -> Response:
        """Say that requests are answered, and how many are waiting or at work."""
        return _json({"status": "ok", "waiting": self.service.waiting})

    def _check_key(self, request: Request) -> None:
        if self._key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._key):
            raise HTTPException(
                401, "The key is missing or wrong: send Authorization: Bearer KEY.", {"WWW-Authenticate": "Bearer"}
            )

    def _check_room(self) -> None:
        if self.service.is_full:
            raise HTTPException(
                503,
                f"{self.service.waiting} requests are waiting, and no more may: ask again later.",
                {"Retry-After": str(self.service.seconds_to_wait)},
            )

    async def _body(self, request: Request) -> bytes:
        """The body, read while it is no larger and no slower than it may be."""
        large = HTTPException(413, f"The body has more than {self._max_bytes:,} bytes, which is the most that is read.")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise large
        found = bytearray()
        try:
            async with asyncio.timeout(self._read_seconds):
                async for chunk in request.stream():
                    found += chunk
                    if len(found) > self._max_bytes:
                        raise large
        except TimeoutError as error:
            raise HTTPException(408, f"The body did not come within {self._read_seconds:g} seconds.") from error
        return bytes(found)

    async def _answered(self, wire: Wire, asked: WireRequest, request: Request) -> dict[str, Any]:
        """The response to a request that was read."""
        at = [("questions", str(one.name) if wire.names_questions else i) for i, one in enumerate(asked.questions)]
        refuse_count(len(asked.questions), "questions", 1, _MOST_QUESTIONS, ("questions",))
        name, work = self.service.assign(asked, at)
        self._check_room()  # others may have come while the body did
        with self.service.place():
            answers = await self._waited(work, request)
        found = []
        for where, answer in zip(at, answers, strict=True):
            if not isinstance(answer, Answer):
                raise _refusal(where, answer)
            found.append(answer)
        return wire.write_response(
            asked,
            [answer.probabilities for answer in found],
            model=name,
            usage=Usage(sum(answer.n_tokens for answer in found)),
            answered_by=[answerer.by for answerer, _ in work],
            masses=[answer.mass for answer in found],
        )

    async def _waited(self, work: Work, request: Request) -> Sequence[Answer | FewshotError]:
        """The answers, unless the client hangs up, which takes the request out of the queue."""
        answers = asyncio.ensure_future(self.service.answers(work))
        gone = asyncio.ensure_future(_hang_up(request))
        try:
            await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                answers.cancel()
                await asyncio.wait({answers})  # then it is out of the queue
                raise ClientDisconnect
            return answers.result()
        finally:
            gone.cancel()
            answers.cancel()


async def _hang_up(request: Request) -> None:
    """Return when the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal(where: Location, error: FewshotError) -> Exception:
    """What a question that can't be answered makes of its request."""
    if isinstance(error, PromptTooLongError):
        return HTTPException(413, str(error))
    if isinstance(error, WireError):
        return WireError(where, error.message)
    # what is no ValueError is not the question's fault: a model gave scores that are no numbers
    return WireError(where, str(error)) if isinstance(error, ValueError) else error


def _wire_of_errors(request: Request) -> Wire:
    """The wire that the body speaks, or, before it is read, the one of the path."""
    of_path = OPENAI if request.url.path.endswith("/decisions") else SYSTEM_ONE
    return getattr(request.state, "wire", of_path)


async def _http_error(request: Request, error: HTTPException) -> Response:
    said = _wire_of_errors(request).write_error(error.status_code, error.detail)
    return _json(said, error.status_code, error.headers)


async def _wire_error(request: Request, error: WireError) -> Response:
    return _json(_wire_of_errors(request).write_error(422, error), 422)


async def _hung_up(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=_HUNG_UP)


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII: half a surrogate pair in an option's name goes back as it came."""
    text = json.dumps(body, allow_nan=False, separators=(",", ":"))
    return Response(text, status, dict(headers or {}), "application/json")
