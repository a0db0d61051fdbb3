"""DecisionsLM: a server of typed decisions as a language model."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fewshot.checks import at_least, one_of
from fewshot.errors import FewshotWarning, ParameterError, ServerError, warn
from fewshot.models.base import SCORING_VERSION, Query, Scores, Turn
from fewshot.models.locks import lock_of
from fewshot.models.remote.contents import WireError
from fewshot.models.remote.endpoint import Endpoint, check_address
from fewshot.models.remote.planning import Batch, as_scores, plan
from fewshot.models.remote.threads import work_through
from fewshot.models.remote.wire import Answered, Usage, Wire
from fewshot.models.remote.wires import WIRES

__all__ = ["DecisionsLM", "Spent"]

_PROBE = Query("Is this a text? ", ("No", "Yes"), "", (Turn("premise", "A text."),))


@dataclass(frozen=True)
class Spent:
    """What a server was asked so far, and what it cost."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None  # in the currency of the prices; None where there are none


class DecisionsLM:
    """A server of typed decisions, asked over System One's wire or OpenAI's.

    The fields of a row are the state, the frame around the hole and the instruction are the instructions, and the label
    words the options; no and yes are asked for as a yes/no question, and "word: what it means" is an option with a
    description. Queries about one state go into one request. The score of a candidate is the logarithm of the
    probability that the server gives it among the options.

    Parameters
    ----------
    url : str
        The address of the server, such as "https://host/v1"; or of the very route, where it ends in ``systemone`` or
        ``decisions``, whatever wire it speaks.
    model : str
        What the server calls the model. A name that moves, such as "jev-latest", makes results move with it.
    api : {"systemone", "openai"}
        The wire: questions by name, as TypeSafe and most servers have them, or in a list, as OpenAI has them.
    key_env : str, optional
        The name of the environment variable that holds the key. It is read for each request and sent to ``url`` alone:
        it is in no message, log, pickle or kept folder. Over http it is sent to this machine only.
    server : str, optional
        What the fingerprint calls the server, so that a kept classifier is found again behind another address. None:
        a hash of the address.
    concurrency : int
        Most requests at once.
    timeout : float
        Seconds to wait for a connection, and between two parts of an answer.
    retries : int
        How often a request is sent again that met a broken connection, a timeout, or a status of 408, 409, 429 or from
        500. What the server says in Retry-After is waited for, up to a minute.
    prices : mapping, optional
        What a million tokens cost, ``{"input": 0.042, "output": 0.0}``, for ``usage.cost``.

    Attributes
    ----------
    fingerprint : str
        The wire, the server, the model, and which version of it answered last. It takes a small question where nothing
        was asked yet.
    usage : Spent
        Requests, tokens and cost so far.
    version : str or None
        The name of the model that answered last.

    Raises
    ------
    ParameterError
        When a parameter is not what it may be; an address with a password is refused.
    ServerError
        When the server refuses or gives no usable answer. What it answered until then is kept, and is not asked again
        by the next call.

    Notes
    -----
    A server that rounds says 0 of what is only improbable. Such zeros become half a step at most, and a warning says
    so once. Where the model that answers changes its name, a warning has both names. Redirects are not followed.

    Examples
    --------
    >>> from fewshot import Classifier, load
    >>> lm = load("http://127.0.0.1:8000/v1", model="jev-latest")
    >>> lm
    DecisionsLM('jev-latest', api='systemone')
    >>> clf = Classifier(lm).fit(None, ["billing", "bug report", "praise"])  # doctest: +SKIP
    >>> clf.predict(["I was charged twice."])  # doctest: +SKIP
    array(['billing'], dtype=object)
    """

    kind = "decision"

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api: str = "systemone",
        key_env: str | None = None,
        server: str | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 5,
        prices: Mapping[str, float] | None = None,
    ) -> None:
        one_of("api", api, tuple(WIRES))
        at_least("concurrency", concurrency, 1, whole=True)
        check_address(url, key_env)
        if not isinstance(model, str) or not model.strip():
            raise ParameterError(f"model must be the name that the server knows. Got {model!r}.")
        if server is not None and not isinstance(server, str):
            raise ParameterError(f"server must be what the fingerprint calls the server, or None. Got {server!r}.")
        self.model_name, self.api, self.server, self.concurrency = model, api, server, concurrency
        self.prices = _checked_prices(prices)
        url = url.rstrip("/")
        whole = url.rpartition("/")[2] in ("systemone", "decisions")
        self.endpoint = Endpoint(url if whole else url + self._wire.path, key_env, timeout, retries, concurrency)
        self._spent = Spent()
        self._version: str | None = None  # the model that answered last
        self._warnings: list[str] = []  # of other threads, for the caller's
        self._rounds = False  # whether that was said
        self._left: dict[Query, Scores] = {}  # answers of calls that failed

    @property
    def _wire(self) -> Wire:
        return WIRES[self.api]

    @property
    def fingerprint(self) -> str:
        """The wire, the server, the model, and which version of it answered last."""
        if self._version is None:
            self.loglikelihoods([_PROBE])
        server = self.server or hashlib.blake2b(self.endpoint.url.encode(), digest_size=8).hexdigest()
        return f"decisions:{self.api}:{server}:{self.model_name}:{self._version}:{SCORING_VERSION}"

    @property
    def version(self) -> str | None:
        """The name of the model that answered last; None where nothing was asked yet."""
        return self._version

    @property
    def usage(self) -> Spent:
        """Requests, tokens and cost so far."""
        if self.prices is None:
            return self._spent
        cost = self._spent.input_tokens * self.prices["input"] + self._spent.output_tokens * self.prices["output"]
        return replace(self._spent, cost=cost / 1e6)

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Ask the server about all queries; each is asked once.

        Raises
        ------
        ServerError
            When the server refuses or gives no usable answer.
        UnsupportedError
            When a query has no state, or as many options as no request may have.
        """
        distinct = dict.fromkeys(queries)
        found = {query: self._left[query] for query in distinct if query in self._left}
        missing = [query for query in distinct if query not in found]
        try:
            batches = plan(missing, self.model_name, self._wire, repr(self))
            work_through(lambda batch, stopped: found.update(self._ask(batch, stopped)), batches, self.concurrency)
        except BaseException as error:
            self._left |= found.copy()
            if not isinstance(error, Exception):  # Ctrl-C, which does not wait for what is at work
                self.endpoint.leave()
            raise
        finally:
            self._warn()
        for query in distinct:
            self._left.pop(query, None)
        return [found[query] for query in queries]

    def _ask(self, batch: Batch, stopped: threading.Event) -> dict[Query, Scores]:
        try:
            body = self.endpoint.post(self._wire.write_request(batch.request), stopped)
            answered = self._wire.read_response(body, batch.request)
        except WireError as error:
            raise ServerError(f"{self!r} at {self.endpoint.url} gave no usable answer. {error}") from None
        self._note(answered)
        return as_scores(batch, answered)

    def _note(self, answered: Answered) -> None:
        """Count what a request took, and see who answered it and how exactly."""
        zeros = any(step and not p.all() for p, step in zip(answered.probabilities, answered.rounding, strict=True))
        with lock_of(self):
            now, usage = self._spent, answered.usage
            total = Usage(now.input_tokens, now.output_tokens) + usage
            self._spent = Spent(now.requests + 1, total.input_tokens, total.output_tokens)
            if self._version is not None and self._version != answered.model:
                self._warnings.append(
                    f"{self!r} is now answered by {answered.model!r}, and was by {self._version!r}: what was fitted or "
                    "calibrated on the one need not hold for the other. Fit again, or ask for a version by its name."
                )
                self._left.clear()
            self._version = answered.model
            if zeros and not self._rounds:
                self._rounds = True
                self._warnings.append(
                    f"{self!r} rounds its probabilities: a 0 is taken for half a step at most, and the rest is divided "
                    "so that the sum is 1."
                )

    def _warn(self) -> None:
        with lock_of(self):
            said, self._warnings = self._warnings, []
        for message in said:
            warn(message, FewshotWarning)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_left": {}, "_warnings": [], "_spent": Spent()}

    def __sklearn_clone__(self) -> DecisionsLM:
        """Models are shared between clones, never copied."""
        return self

    def __repr__(self) -> str:
        return f"DecisionsLM({self.model_name!r}, api={self.api!r})"


def _checked_prices(prices: Any) -> dict[str, float] | None:
    if prices is None:
        return None
    if not isinstance(prices, Mapping) or set(prices) != {"input", "output"}:
        raise ParameterError(f"prices must be of a million tokens each, {{'input': .., 'output': ..}}. Got {prices!r}.")
    for name, price in prices.items():
        at_least(f"prices[{name!r}]", price, 0)
    return {name: float(price) for name, price in prices.items()}
