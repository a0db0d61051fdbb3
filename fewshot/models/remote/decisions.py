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
    """A server of typed decisions, with System One's or OpenAI's request format.

    In a request, the fields of a row are the state; the instruction and the frame around the hole are the instructions;
    the label words are the options. The label words no and yes become a yes/no question, and "word: what it means"
    becomes an option with a description. Queries about the same state go into one request. The score of a candidate is
    the logarithm of its probability among the options.

    Parameters
    ----------
    url : str
        The address of the server, such as "https://host/v1", or the full address of the route, which ends in
        ``systemone`` or ``decisions``. The ending does not choose the format; ``api`` does.
    model : str
        The name of the model on the server. With a name that always means the newest version, such as "jev-latest",
        results can change.
    api : {"systemone", "openai"}
        The format of requests (the wire): questions by name ("systemone": TypeSafe and most servers), or questions in a
        list ("openai").
    key_env : str, optional
        The name of the environment variable with the key. The key is read for each request and sent only to ``url``. It
        is never in a message, log, pickle or kept folder. Over http, it is sent only to this machine.
    server : str, optional
        The name of the server in the fingerprint. With a name, a kept classifier still works if the address changes.
        None: a hash of the address.
    concurrency : int
        The most requests at the same time.
    timeout : float
        Seconds to wait for a connection, and between two parts of an answer.
    retries : int
        How often a request is sent again after a broken connection, a timeout, or a status of 408, 409, 429, or 500 and
        above. The wait is the one in the server's Retry-After header, up to a minute.
    prices : mapping, optional
        The price of a million tokens, such as ``{"input": 0.042, "output": 0.0}``, for ``usage.cost``.

    Attributes
    ----------
    fingerprint : str
        The wire, the server, the model, and the version of the model that answered last. If nothing was asked yet, a
        short request is sent.
    usage : Spent
        Requests, tokens and cost so far.
    version : str or None
        The name of the model in the last response.

    Raises
    ------
    ParameterError
        When a parameter has a value that is not allowed, such as an address with a password.
    ServerError
        When the server refuses a request or gives no usable answer. Scores that arrived before are kept, and the next
        call does not ask for them again.

    Notes
    -----
    A server that rounds its probabilities may return 0 for an improbable option. Such a 0 becomes at most half a
    rounding step, and a warning says so once. If the name of the model in the responses changes, a warning gives both
    names. Redirects are not followed.

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
        """The wire, the server, the model, and the version of the model that answered last."""
        if self.version is None:
            self.loglikelihoods([_PROBE])
        server = self._place(self.endpoint.url)
        return f"decisions:{self.api}:{server}:{self.model_name}:{self.version}:{SCORING_VERSION}"

    def _ask_all(self, queries: list[Query], answers: Answers) -> None:
        batches = plan(queries, self.model_name, self._wire, repr(self))
        self._work(lambda batch, stopped: answers.take(self._ask(batch, stopped)), batches, "Asking")

    def planned(self, queries: Sequence[Query], max_new_tokens: int | None = None) -> Estimate:
        """Return how many requests these queries need; only the server can count their tokens."""
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
