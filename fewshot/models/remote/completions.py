"""CompletionsLM: the model that runs on a server, with exact log-probabilities of candidates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, Self

import numpy as np

from fewshot.checks import at_least, one_of
from fewshot.errors import ServerError
from fewshot.models.base import SCORING_VERSION, IntArray, Query
from fewshot.models.locks import lock_of
from fewshot.models.naming import name_in_errors
from fewshot.models.remote.canaries import CANARIES
from fewshot.models.remote.completion_wire import DIALECTS, Dialect, Said, TokenError, Until, Written
from fewshot.models.remote.connection import Connection
from fewshot.models.remote.continuations import Ask, Awaited, Found, Ids, group, plan
from fewshot.models.remote.probe import Probed, probe
from fewshot.models.remote.rehearsal import rehearsal_at_work
from fewshot.models.remote.server import Answers, Estimate, ServerLM, short_hash
from fewshot.models.text.continued import Continued
from fewshot.models.text.stops import cut_at_stop
from fewshot.models.text.tokens import Joined, PlainTokenizer, as_text
from fewshot.models.tokenizer import load_tokenizer

__all__ = ["APIS", "CompletionsLM"]

APIS = ("completions", *DIALECTS)
_Stop = tuple[str, ...]
_RESTARTS = 2  # of a call while another model comes to answer
_CURE = "Choose another label word, or template='generic/letters', where the answer to any class is one letter."


class _ChangedError(Exception):
    """Another model answers than the one that answered before."""


class CompletionsLM(ServerLM):
    """A language model on llama-server, vLLM or SGLang, with exact log-probabilities for all label words.

    The scores are those of `CausalLM` with the same weights. This class renders the template, applies the chat template
    and makes the tokens. The server is asked only for the log-probability of token ids after other token ids. vLLM and
    SGLang get one request for each beginning that candidates share. llama-server gets one request for each token: a
    logit bias forces the token, and its log-probability is read before the bias. No text is sent, so no part of a text
    can become a control token.

    Parameters
    ----------
    url : str
        The address of the server, such as "http://localhost:8000/v1".
    model : str
        The name of the model on the server.
    tokenizer : str, Path or PreTrainedTokenizerBase
        The model's own tokenizer: a folder, a name on the hub, or the GGUF file on the server. No weights are read.
    api : {"completions", "llama.cpp", "vllm", "sglang"}
        Which server it is. "completions": the server's responses tell.
    chat : bool, optional
        Whether to use the tokenizer's chat template, as in `CausalLM`. None: use it if there is one.
    chat_template_kwargs : mapping, optional
        Passed to the chat template, such as ``{"enable_thinking": False}``.
    key_env : str, optional
        The name of the environment variable with the key. The key is sent only to ``url``; see `DecisionsLM`.
    server : str, optional
        The name of the server in the fingerprint. With a name, a kept classifier still works if the address changes.
        None: a hash of the address.
    concurrency : int
        The most requests at the same time.
    timeout : float
        Seconds to wait for a connection, and between two parts of an answer.
    retries : int
        How often a failed request is sent again; see `DecisionsLM`.
    prices : mapping, optional
        The price of a million tokens, such as ``{"input": 0.1, "output": 0.4}``, for ``usage.cost`` and `estimate`.

    Attributes
    ----------
    fingerprint : str
        The server, the model, the tokenizer with its chat template, and the version that the server reports. usage :
        Spent Requests, tokens and cost so far.
    version : str or None
        What the last response says of the model and its version.
    limit : int
        The most tokens that the server reads at once.

    Raises
    ------
    ModelLoadError
        When the tokenizer can't be loaded, or ``chat`` is True and it has no chat template.
    ParameterError
        When a parameter has a value that is not allowed, such as an address with a password.
    ServerError
        When the server refuses a request or gives no usable answer. Also at first use, if the server can't give such
        log-probabilities or has another tokenizer. Scores that arrived before are kept, and the next call does not ask
        for them again.

    Notes
    -----
    At first use, a few requests test the server: whether it accepts token ids, whether its probabilities are a
    distribution before any bias, and whether its tokenizer agrees with the local one. In every response, the number of
    tokens read and the returned token are checked. If the server changes its model, a warning says so, and the queries
    that the former model answered are asked again.

    Examples
    --------
    >>> from fewshot import Classifier, load
    >>> lm = load("http://127.0.0.1:8080/v1", model="smollm2", tokenizer="embedded:causal")
    >>> lm
    CompletionsLM('smollm2', api='completions')
    >>> clf = Classifier(lm).fit(None, ["billing", "bug report", "praise"])  # doctest: +SKIP
    >>> clf.predict(["I was charged twice."])  # doctest: +SKIP
    array(['billing'], dtype=object)
    """

    kind = "causal"

    def __init__(
        self,
        url: str,
        model: str,
        tokenizer: Any,
        *,
        api: str = "completions",
        chat: bool | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        key_env: str | None = None,
        server: str | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 5,
        prices: Mapping[str, float] | None = None,
    ) -> None:
        one_of("api", api, APIS)
        super().__init__(model, server=server, concurrency=concurrency, prices=prices)
        self.api, self.connection = api, Connection(url, key_env, timeout, retries, concurrency)
        self.tokenizer = load_tokenizer(tokenizer)
        self.plain = PlainTokenizer(self.tokenizer)
        self._continued = Continued(self.tokenizer, self.plain, chat, chat_template_kwargs, repr(self))
        self._found: Found = {}  # what was answered in calls that failed
        self._texts: dict[tuple[Query, int, _Stop], str] = {}

    @property
    def chat(self) -> bool:
        """Whether the tokenizer's chat template is used."""
        return self._continued.chat

    def with_chat(self, chat: bool) -> Self:
        """Return the same model, asked with the tokenizer's chat template or without it.

        Raises
        ------
        ModelLoadError
            When ``chat`` is True and the tokenizer has no chat template.
        """
        if chat == self.chat:
            return self
        other = copy(self)
        kwargs = self._continued.chat_template_kwargs
        other._continued = Continued(self.tokenizer, self.plain, chat, kwargs, repr(self))  # noqa: SLF001 - of this class
        return other

    def _leave(self) -> None:
        self.connection.leave()

    @property
    def _server(self) -> Probed:
        """What the probe found, at first use and whenever another model answers."""
        with lock_of(self.connection):
            if self.connection.probed is None:
                found = probe(self.connection.at, self.model_name, self.api, self.plain, repr(self))
                for usage in found.usage:
                    self._count(usage)
                self._see(found.version)
                self.connection.probed = found
            return self.connection.probed

    @property
    def dialect(self) -> Dialect:
        """How this kind of server is asked for log-probabilities."""
        return self._server.dialect

    @property
    def limit(self) -> int:
        """The most tokens that the server reads at once; the tokenizer's limit if the server does not report one."""
        found = self._server.limit
        return int(self.tokenizer.model_max_length) if found is None else found

    @property
    def fingerprint(self) -> str:
        """The server, the model, the tokenizer with its chat template, and the version that the server reports."""
        dialect, build = self.dialect.name, self._server.build
        said = f"{self.version}|{build}|{self._continued.variant}|{SCORING_VERSION}|{self._vocabulary}"
        server = self._place(self.connection.root)
        return f"completions:{dialect}:{server}:{self.model_name}:{short_hash(said)}"

    @cached_property
    def _vocabulary(self) -> str:
        return short_hash(as_text(self.tokenizer) + repr(self.tokenizer.chat_template))

    def canaries(self) -> list[float]:
        """Return a few fixed log-probabilities, which show whether the server's weights are the same as before.

        Raises
        ------
        ServerError
            As `loglikelihoods` does.
        """
        return [float(value) for scores in self._received(CANARIES, None) for value in scores.logprobs]

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Return the number of tokens of each query with its longest candidate, special tokens included."""
        with name_in_errors(self, queries):
            return np.array(self._continued.sizes(queries), dtype=np.int64)

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """Return, for each text, the character offset at which each of its tokens ends."""
        return self.plain.token_ends(texts)

    def planned(self, queries: Sequence[Query], max_new_tokens: int | None = None) -> Estimate:
        """Estimate the cost of these queries without asking; for generated text, an upper bound."""
        if max_new_tokens is not None:
            prompts = [self._continued.prompt(query) for query in queries]
            return self._priced(len(prompts), sum(map(len, prompts)), len(prompts) * max_new_tokens)
        with name_in_errors(self, queries):
            asks = plan(self._continued.joined(queries), self.dialect.most_tokens, self._found)
        return self._priced(len(asks), sum(ask.n_tokens for ask in asks), len(asks))

    def _ask_all(self, queries: list[Query], answers: Answers) -> None:
        with name_in_errors(self, queries):
            joined = dict(zip(queries, self._continued.joined(queries), strict=True))

        def drop() -> None:
            self._found = {}
            answers.drop()

        self._restarting(lambda probed: self._ask_for(joined, answers, probed), drop)

    def _restarting(self, ask: Callable[[Probed], None], drop: Callable[[], None]) -> None:
        """Ask, and again from the beginning where another model came to answer: no score is of two models."""
        for _ in range(_RESTARTS + 1):
            probed = self._server
            try:
                ask(probed)
            except _ChangedError:
                with lock_of(self.connection):
                    if self.connection.probed is probed:  # which another thread may have replaced
                        self.connection.probed = None
                drop()
            else:
                return
        raise ServerError(f"{self!r} is answered by one model and then by another: give the address of one server.")

    def _ask_for(self, joined: Mapping[Query, Joined], answers: Answers, probed: Probed) -> None:
        """Ask for what is not known, and hand on each query whose last answer has come."""
        awaited = Awaited(
            {query: one for query, one in joined.items() if query not in answers.found},
            {prompt: dict(said) for prompt, said in self._found.items()},
        )
        answers.take(awaited.ready())
        asks = plan(awaited.joined.values(), probed.dialect.most_tokens, awaited.found)

        def run(asks: list[Ask], stopped: threading.Event) -> None:
            for ask in asks:
                if not stopped.is_set():
                    logprobs = self._asked(ask, probed, stopped)
                    with lock_of(awaited):
                        done = awaited.receive(ask.prompt, logprobs)
                    answers.take(done)

        try:
            self._work(run, group(asks, self.concurrency), "Asking")
        except BaseException as error:
            with lock_of(awaited):
                self._found = {prompt: dict(said) for prompt, said in awaited.found.items()}
            if isinstance(error, TokenError):
                raise self._unscored(error, joined) from None
            raise
        self._found = {}

    def _asked(self, ask: Ask, probed: Probed, stopped: threading.Event) -> dict[int, float]:
        """The log-probability of each token of a request."""
        dialect = probed.dialect
        body = dialect.ask(self.model_name, ask.prompt, ask.tokens)
        said = self.connection.ask(
            dialect.path, body, lambda answer: dialect.read(answer, ask.prompt, ask.tokens), stopped
        )
        self._noted(said, probed)
        return said.logprobs

    def _noted(self, said: Said | Written, probed: Probed) -> None:
        self._count(said.usage)
        if said.version != probed.version:
            raise _ChangedError

    def _unscored(self, error: TokenError, joined: Mapping[Query, Joined]) -> ServerError:
        """Name the label word whose token was not scored."""
        pairs = (pair for query, one in joined.items() for pair in zip(query.candidates, one.rests, strict=True))
        word = next(word for word, rest in pairs if error.token in rest)
        return ServerError(f"{self!r} gives no log-probability of the label word {word!r}: {error} {_CURE}")

    def generate(self, queries: Sequence[Query], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Continue each prefix greedily, to the end of the turn or text, a stop text or ``max_new_tokens`` tokens.

        The stop texts are sent to the server, so that it stops there. Parts of them in its answer are removed here.

        Raises
        ------
        ServerError
            When the server refuses a request or gives no usable answer.
        """
        at_least("max_new_tokens", max_new_tokens, 1, whole=True)
        rehearsal = rehearsal_at_work()
        if rehearsal is not None:
            return rehearsal.texts(self, queries, max_new_tokens)
        prompts = {query: self._continued.prompt(query) for query in dict.fromkeys(queries)}
        texts, asked = self._texts, (max_new_tokens, tuple(stop))

        def run(probed: Probed) -> None:
            def work(query: Query, stopped: threading.Event) -> None:
                texts[query, *asked] = self._continuation(prompts[query], asked, probed, stopped)

            self._work(work, [query for query in prompts if (query, *asked) not in texts], "Generating")

        try:
            self._restarting(run, texts.clear)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C
                self._leave()
            raise
        finally:
            self._warn()
        written = [cut_at_stop(texts[query, *asked], stop) for query in queries]
        self._texts = {}
        return written

    def _continuation(self, prompt: Ids, asked: tuple[int, _Stop], probed: Probed, stopped: threading.Event) -> str:
        dialect, ends, (n, stop) = probed.dialect, self._continued.ends, asked
        body = dialect.ask_on(self.model_name, prompt, Until(n, sorted(ends), stop))
        written = self.connection.ask(dialect.path_on, body, lambda answer: dialect.read_on(answer, prompt), stopped)
        self._noted(written, probed)
        own = written.ids[: next((i for i, token in enumerate(written.ids) if token in ends), len(written.ids))]
        return str(self.tokenizer.decode(list(own), skip_special_tokens=True))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_found": {}, "_texts": {}}

    def __repr__(self) -> str:
        return f"CompletionsLM({self.model_name!r}, api={self.api!r})"
