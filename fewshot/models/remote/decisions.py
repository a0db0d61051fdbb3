"""DecisionsLM: a server of typed decisions as a language model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from fewshot.checks import one_of
from fewshot.errors import ServerError
from fewshot.models.base import SCORING_VERSION, Query, Scores, Turn
from fewshot.models.locks import lock_of
from fewshot.models.remote.contents import WireError
from fewshot.models.remote.endpoint import Endpoint, check_address
from fewshot.models.remote.planning import Batch, as_scores, plan
from fewshot.models.remote.server import Answers, Estimate, ServerLM
from fewshot.models.remote.wire import Answered, Wire
from fewshot.models.remote.wires import WIRES

__all__ = ["DecisionsLM"]

_PROBE = Query("Is this a text? ", ("No", "Yes"), "", (Turn("premise", "A text."),))


class DecisionsLM(ServerLM):
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
        check_address(url, key_env)
        super().__init__(model, server=server, concurrency=concurrency, prices=prices)
        self.api = api
        url = url.rstrip("/")
        whole = url.rpartition("/")[2] in ("systemone", "decisions")
        self.endpoint = Endpoint(url if whole else url + self._wire.path, key_env, timeout, retries, concurrency)
        self._rounds = False  # whether that was said

    @property
    def _wire(self) -> Wire:
        return WIRES[self.api]

    @property
    def fingerprint(self) -> str:
        """The wire, the server, the model, and which version of it answered last."""
        if self.version is None:
            self.loglikelihoods([_PROBE])
        server = self._place(self.endpoint.url)
        return f"decisions:{self.api}:{server}:{self.model_name}:{self.version}:{SCORING_VERSION}"

    def _ask_all(self, queries: list[Query], answers: Answers) -> None:
        batches = plan(queries, self.model_name, self._wire, repr(self))
        self._work(lambda batch, stopped: answers.take(self._ask(batch, stopped)), batches, "Asking")

    def planned(self, queries: Sequence[Query], max_new_tokens: int | None = None) -> Estimate:
        """The requests that these queries take; how many tokens they are, the server alone knows."""
        return Estimate(len(plan(queries, self.model_name, self._wire, repr(self))), None, None)

    def _leave(self) -> None:
        self.endpoint.leave()

    def _ask(self, batch: Batch, stopped: threading.Event) -> dict[Query, Scores]:
        try:
            body = self.endpoint.post(self._wire.write_request(batch.request), stopped)
            answered = self._wire.read_response(body, batch.request)
        except WireError as error:
            raise ServerError(f"{self!r} at {self.endpoint.url} gave no usable answer. {error}") from None
        self._count(answered.usage)
        self._see(answered.model)
        self._note_rounding(answered)
        return as_scores(batch, answered)

    def _note_rounding(self, answered: Answered) -> None:
        zeros = any(step and not p.all() for p, step in zip(answered.probabilities, answered.rounding, strict=True))
        with lock_of(self._account):
            if zeros and not self._rounds:
                self._rounds = True
                self._account.warnings.append(
                    f"{self!r} rounds its probabilities: a 0 is taken for half a step at most, and the rest is divided "
                    "so that the sum is 1."
                )

    def __repr__(self) -> str:
        return f"DecisionsLM({self.model_name!r}, api={self.api!r})"
