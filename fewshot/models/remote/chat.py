"""ChatLM: the model behind a chat API, whose label words are scored where each is one likely token."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from fewshot.checks import at_least
from fewshot.errors import ServerError, UnsupportedError
from fewshot.models.base import SCORING_VERSION, Query, Turn
from fewshot.models.remote.chat_wire import Told, as_scores, read_chat, write_chat
from fewshot.models.remote.contents import WireError
from fewshot.models.remote.endpoint import Endpoint, check_address
from fewshot.models.remote.server import Answers, Estimate, ServerLM, short_hash
from fewshot.models.text.chat import alternating

__all__ = ["ChatLM"]

_ROUTE = "/chat/completions"
_PROBE = (Turn("user", "Say A."),)
_SHOWN = 8  # tokens in a message


class ChatLM(ServerLM):
    """A language model behind an OpenAI-compatible chat API, such as OpenAI's, Ollama's or llama-server's.

    The server returns the most probable first tokens of its answer. A label word has a score if the whole word is one
    of these tokens, with or without a blank before it. Any other label word is an error, and its score is never
    guessed. To avoid this, use the template "generic/letters", whose answers are single letters. `CompletionsLM` can
    score any label word, on servers that support it.

    Parameters
    ----------
    url : str
        The address of the server, such as "http://localhost:11434/v1", or the full address of the route, which ends in
        ``/chat/completions``.
    model : str
        The name of the model on the server.
    top_logprobs : int
        How many tokens are requested. OpenAI and Ollama return 20 at most, llama-server any number.
    chat_template_kwargs : mapping, optional
        Arguments for the server's chat template, such as ``{"enable_thinking": False}``. Not all servers accept them.
    key_env : str, optional
        The name of the environment variable with the key. The key is sent only to ``url``; see `DecisionsLM`.
    server : str, optional
        The name of the server in the fingerprint. None: a hash of the address.
    concurrency : int
        The most requests at the same time.
    timeout : float
        Seconds to wait for a connection, and between two parts of an answer.
    retries : int
        How often a failed request is sent again; see `DecisionsLM`.
    prices : mapping, optional
        The price of a million tokens, such as ``{"input": 0.1, "output": 0.4}``, for ``usage.cost``.

    Attributes
    ----------
    fingerprint : str
        The server, the model, and the version of the model that answered last. If nothing was asked yet, a short
        request is sent.
    usage : Spent
        Requests, tokens and cost so far.
    version : str or None
        The name of the model in the last response.

    Raises
    ------
    ParameterError
        When a parameter has a value that is not allowed, such as an address with a password.
    ServerError
        When the server refuses a request, gives no usable answer, or does not return a label word among its tokens.
        Scores that arrived before are kept, and the next call does not ask for them again.
    UnsupportedError
        When text follows the hole, or two label words differ only by blanks.

    Notes
    -----
    **The server applies its chat template to the texts, and may read control tokens in them.** An untrusted text with
    ``<|im_end|>`` may then end its own turn; this library can't prevent that. `CompletionsLM` sends token ids, so it
    does not have this problem. The window of the server is not known, so no text is shortened.

    The score of a word is the total probability of its spellings among the returned tokens. A spelling that is less
    probable than all returned tokens is not counted, for example the word with a blank before it.

    Examples
    --------
    >>> from fewshot import Classifier, load
    >>> lm = load("http://127.0.0.1:11434/v1", model="qwen3:8b", api="chat")
    >>> lm
    ChatLM('qwen3:8b')
    >>> clf = Classifier(lm, "generic/letters").fit(None, ["billing", "bug report", "praise"])  # doctest: +SKIP
    >>> clf.predict(["I was charged twice."])  # doctest: +SKIP
    array(['billing'], dtype=object)
    """

    kind = "causal"

    def __init__(
        self,
        url: str,
        model: str,
        *,
        top_logprobs: int = 20,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        key_env: str | None = None,
        server: str | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 5,
        prices: Mapping[str, float] | None = None,
    ) -> None:
        at_least("top_logprobs", top_logprobs, 1, whole=True)
        check_address(url, key_env)
        super().__init__(model, server=server, concurrency=concurrency, prices=prices)
        self.top_logprobs, self.chat_template_kwargs = int(top_logprobs), dict(chat_template_kwargs or {})
        route = url.rstrip("/").removesuffix(_ROUTE) + _ROUTE
        self.endpoint = Endpoint(route, key_env, timeout, retries, concurrency)

    @property
    def fingerprint(self) -> str:
        """The server, the model, and the version of the model that answered last."""
        if self.version is None:
            self._told(_PROBE, threading.Event())
        server = self._place(self.endpoint.url)
        said = short_hash(repr(sorted(self.chat_template_kwargs.items())))
        return f"chat:{server}:{self.model_name}:{self.version}:{said}:{SCORING_VERSION}"

    def planned(self, queries: Sequence[Query], max_new_tokens: int | None = None) -> Estimate:
        """Return how many requests these queries need; only the server can count their tokens."""
        return Estimate(len({_turns(query, repr(self)) for query in queries}), None, None)

    def _ask_all(self, queries: list[Query], answers: Answers) -> None:
        alike: dict[tuple[Turn, ...], list[Query]] = {}  # that differ in their label words alone
        for query in queries:
            alike.setdefault(_turns(query, repr(self)), []).append(query)

        def ask(turns: tuple[Turn, ...], stopped: threading.Event) -> None:
            told = self._told(turns, stopped)
            for query in alike[turns]:
                scores = as_scores(query, told)
                if isinstance(scores, str):
                    raise ServerError(self._unscored(scores, told))
                answers.take({query: scores})

        self._work(ask, list(alike), "Asking")

    def _told(self, turns: tuple[Turn, ...], stopped: threading.Event) -> Told:
        body = write_chat(self.model_name, turns, self.top_logprobs, self.chat_template_kwargs)
        answer = self.endpoint.post(body, stopped)
        try:
            told = read_chat(answer)
        except WireError as error:
            raise ServerError(f"{self!r} at {self.endpoint.url} gave no usable answer. {error}") from None
        self._count(told.usage)
        self._see(told.version)
        return told

    def _unscored(self, word: str, told: Told) -> str:
        named = ", ".join(repr(text) for text, _ in told.tokens[:_SHOWN])
        more = ", ..." if len(told.tokens) > _SHOWN else ""
        return (
            f"{self!r} gives no log-probability of the label word {word!r}: it is none of the {len(told.tokens)} most "
            f"probable first tokens that the server names ({named}{more}), and {self.top_logprobs} were asked for. Use "
            "template='generic/letters', where the answer to any class is one letter; top_logprobs= asks for more "
            "tokens, where the server has them; CompletionsLM scores any word on llama-server, vLLM and SGLang."
        )

    def _leave(self) -> None:
        self.endpoint.leave()

    def __repr__(self) -> str:
        return f"ChatLM({self.model_name!r})"


def _turns(query: Query, shown: str) -> tuple[Turn, ...]:
    """The messages that ask a query, checked for what no list of first tokens can say."""
    words = [word.strip() for word in query.candidates]
    if query.suffix.strip():
        raise UnsupportedError(
            f"{shown} scores the first token of an answer, and the text {query.suffix!r:.60} follows the hole: end the "
            "template with {{ label }}."
        )
    if len(set(words)) < len(words):
        raise UnsupportedError(f"{shown} takes label words that differ in more than blanks. Got {query.candidates}.")
    return tuple(alternating(query.context, query.prefix))
