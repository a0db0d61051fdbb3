"""How servers of language models are asked for log-probabilities of token ids, and for a continuation of ids."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fewshot.models.remote.contents import (
    Location,
    WireError,
    as_array,
    as_count,
    as_mapping,
    required,
    shown,
)
from fewshot.models.remote.wire import Usage

__all__ = ["DIALECTS", "Dialect", "Said", "TokenError", "Until", "Written"]

Ids = tuple[int, ...]

_FORCING = 1000.0  # no logit of a model is as far above another
_IMPOSSIBLE = -9999.0  # how vLLM writes the logarithm of 0, which JSON does not have
_ABOVE_ZERO = 1e-3  # what rounding may make of the logarithm of 1
#: Whatever the server's own settings are: the distribution of the model as it is.
_PLAIN = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


class TokenError(WireError):
    """An answer lacks the log-probability of a token that was asked for."""

    def __init__(self, token: int, location: Location, message: str) -> None:
        super().__init__(location, message)
        self.token = token

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.token, self.location, self.message)


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says: the log-probability of each token that was asked for, who answered, and what it took."""

    logprobs: dict[int, float]
    version: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Written:
    """A continuation as token ids, who wrote it, and what it took."""

    ids: Ids
    version: str
    usage: Usage


class Until(NamedTuple):
    """Where an answer ends at the latest: after so many tokens, at one of some tokens, with one of some texts."""

    n: int
    ends: Sequence[int]
    stop: Sequence[str]


class Dialect(ABC):
    """How one kind of server is spoken to."""

    name: str
    path: str  # of the route that scores, after the server's root
    path_on: str  # of the route that writes
    most_tokens: int  # whose log-probabilities one request gives

    @abstractmethod
    def ask(self, model: str, prompt: Ids, tokens: Ids) -> dict[str, Any]:
        """The body that asks for the log-probability of each token right after the prompt."""

    @abstractmethod
    def read(self, body: Any, prompt: Ids, tokens: Ids) -> Said:
        """What the answer to it says.

        Raises
        ------
        TokenError
            When it lacks one of the tokens.
        WireError
            When it is no such answer, or one to another prompt.
        """

    @abstractmethod
    def ask_on(self, model: str, prompt: Ids, until: Until) -> dict[str, Any]:
        """The body that asks for the most probable continuation."""

    @abstractmethod
    def read_on(self, body: Any, prompt: Ids) -> Written:
        """The continuation that the answer to it holds."""


class _OpenAI(Dialect):
    """What the servers share that speak OpenAI's older completions."""

    path = path_on = "/v1/completions"

    def _choice(self, body: Any, prompt: Ids) -> tuple[dict[str, Any], str, Usage]:
        said = as_mapping(body, ())
        choices = as_array(required(said, "choices"), ("choices",))
        if len(choices) != 1:
            raise WireError(("choices",), f"There must be exactly one choice. Got {len(choices)}.")
        choice = dict(as_mapping(choices[0], ("choices", 0)))
        return choice, str(said.get("model")), _usage(required(said, "usage"), prompt, "usage")

    def _logprobs(self, choice: dict[str, Any]) -> dict[str, Any]:
        where = ("choices", 0, "logprobs")
        return dict(as_mapping(required(choice, "logprobs", where[:2]), where))


class LlamaCpp(_OpenAI):
    """llama-server: a token is forced by a bias, and its log-probability is the model's own, before the bias."""

    name, path_on, most_tokens = "llama.cpp", "/completion", 1

    def ask(self, model: str, prompt: Ids, tokens: Ids) -> dict[str, Any]:
        """Force the one token."""
        (token,) = tokens
        said = {"model": model, "prompt": list(prompt), "max_tokens": 1, "logprobs": 1, "cache_prompt": True}
        return {**said, **_PLAIN, "temperature": 0.0, "repeat_penalty": 1.0, "logit_bias": [[token, _FORCING]]}

    def read(self, body: Any, prompt: Ids, tokens: Ids) -> Said:
        """The log-probability of the token that was forced."""
        (token,) = tokens
        choice, version, usage = self._choice(body, prompt)
        content = self._content(choice)
        where: Location = ("choices", 0, "logprobs", "content")
        if len(content) != 1:
            raise TokenError(token, where, f"One token was asked for. Got {len(content)}.")
        if content[0].get("id") != token:
            raise TokenError(
                token, where, f"Token {token} was forced, and {shown(content[0].get('id'))} came back instead."
            )
        return Said({token: _logprob(content[0].get("logprob"), token, where)}, version, usage)

    def _content(self, choice: dict[str, Any]) -> list[dict[str, Any]]:
        where: Location = ("choices", 0, "logprobs", "content")
        content = as_array(required(self._logprobs(choice), "content", where[:3]), where)
        return [dict(as_mapping(one, where)) for one in content]

    def ask_on(self, model: str, prompt: Ids, until: Until) -> dict[str, Any]:
        """The server itself knows which tokens end an answer."""
        said = {"model": model, "prompt": list(prompt), "n_predict": until.n, "stop": list(until.stop)}
        plain = {**_PLAIN, "temperature": 0.0, "repeat_penalty": 1.0}
        return {**said, **plain, "return_tokens": True, "cache_prompt": True}

    def read_on(self, body: Any, prompt: Ids) -> Written:
        """llama-server's own route tells all ids; its completions leave out those that are no whole character."""
        said = as_mapping(body, ())
        ids = as_array(required(said, "tokens"), ("tokens",))
        read = {"prompt_tokens": required(said, "tokens_evaluated"), "completion_tokens": len(ids)}
        usage = _usage(read, prompt, "tokens_evaluated")
        return Written(tuple(as_count(one, ("tokens",)) for one in ids), str(said.get("model")), usage)


class VLLM(_OpenAI):
    """vLLM: a request names up to 128 tokens, ``logprob_token_ids``, and gets the log-probability of each."""

    name, most_tokens = "vllm", 128

    def ask(self, model: str, prompt: Ids, tokens: Ids) -> dict[str, Any]:
        """Name the tokens; which one is sampled does not matter."""
        return {**self._body(model, prompt, 1), **_PLAIN, "logprobs": 1, "logprob_token_ids": list(tokens)}

    def _body(self, model: str, prompt: Ids, n: int) -> dict[str, Any]:
        said = {"model": model, "prompt": list(prompt), "max_tokens": n, "repetition_penalty": 1.0}
        return {**said, "return_tokens_as_token_ids": True, "return_token_ids": True}

    def read(self, body: Any, prompt: Ids, tokens: Ids) -> Said:
        """Tokens are keys such as "token_id:42", since different tokens may have one text."""
        choice, version, usage = self._choice(body, prompt)
        self._check_prompt(choice, prompt)
        where: Location = ("choices", 0, "logprobs", "top_logprobs")
        top = as_array(required(self._logprobs(choice), "top_logprobs", where[:3]), where)
        if len(top) != 1:
            raise WireError(where, f"One token was asked for. Got {len(top)}.")
        named = as_mapping(top[0], (*where, 0))
        found = {token: _logprob(named.get(f"token_id:{token}"), token, (*where, 0)) for token in tokens}
        return Said(found, version, usage)

    def _check_prompt(self, choice: dict[str, Any], prompt: Ids) -> None:
        read = choice.get("prompt_token_ids")
        if read is not None and read != list(prompt):
            raise WireError(("choices", 0, "prompt_token_ids"), "The server read other ids than it was sent.")

    def ask_on(self, model: str, prompt: Ids, until: Until) -> dict[str, Any]:
        """Go on greedily."""
        ends = {"stop_token_ids": list(until.ends), "stop": list(until.stop)}
        return {**self._body(model, prompt, until.n), "temperature": 0.0, **ends}

    def read_on(self, body: Any, prompt: Ids) -> Written:
        """The ids stand beside the text."""
        choice, version, usage = self._choice(body, prompt)
        self._check_prompt(choice, prompt)
        where: Location = ("choices", 0, "token_ids")
        ids = as_array(required(choice, "token_ids", where[:2]), where)
        return Written(tuple(as_count(one, where) for one in ids), version, usage)


class SGLang(Dialect):
    """SGLang's own route: a request names tokens, ``token_ids_logprob``, and gets the log-probability of each."""

    name, path, path_on, most_tokens = "sglang", "/generate", "/generate", 128

    def ask(self, model: str, prompt: Ids, tokens: Ids) -> dict[str, Any]:
        """Name the tokens; which one is sampled does not matter."""
        plain = {**_PLAIN, "repetition_penalty": 1.0, "max_new_tokens": 1}
        named = {"return_logprob": True, "logprob_start_len": -1, "token_ids_logprob": list(tokens)}
        return {"input_ids": list(prompt), "sampling_params": plain, **named}

    def read(self, body: Any, prompt: Ids, tokens: Ids) -> Said:
        """Each token stands as a triple: log-probability, id, text."""
        said, version, usage = self._meta(body, prompt)
        where: Location = ("meta_info", "output_token_ids_logprobs")
        steps = as_array(required(said, "output_token_ids_logprobs", where[:1]), where)
        if len(steps) != 1:
            raise WireError(where, f"One token was asked for. Got {len(steps)}.")
        triples = [as_array(triple, (*where, 0)) for triple in as_array(steps[0], (*where, 0))]
        named = {triple[1]: triple[0] for triple in triples if len(triple) >= 2 and isinstance(triple[1], int)}
        return Said({t: _logprob(named.get(t), t, (*where, 0)) for t in tokens}, version, usage)

    def _meta(self, body: Any, prompt: Ids) -> tuple[dict[str, Any], str, Usage]:
        said = dict(as_mapping(required(as_mapping(body, ()), "meta_info"), ("meta_info",)))
        return said, str(said.get("weight_version") or "unnamed"), _usage(said, prompt, "meta_info")

    def ask_on(self, model: str, prompt: Ids, until: Until) -> dict[str, Any]:
        """Go on greedily."""
        ends = {"stop_token_ids": list(until.ends), "stop": list(until.stop)}
        return {"input_ids": list(prompt), "sampling_params": {"temperature": 0.0, "max_new_tokens": until.n, **ends}}

    def read_on(self, body: Any, prompt: Ids) -> Written:
        """The ids stand beside the text."""
        _, version, usage = self._meta(body, prompt)
        ids = as_array(required(as_mapping(body, ()), "output_ids"), ("output_ids",))
        return Written(tuple(as_count(one, ("output_ids",)) for one in ids), version, usage)


DIALECTS: dict[str, Dialect] = {one.name: one for one in (LlamaCpp(), VLLM(), SGLang())}


def _usage(said: Any, prompt: Ids, name: str) -> Usage:
    """What a request took; another number of prompt tokens means that the ids were not taken as they are."""
    usage = as_mapping(said, (name,))
    n_read = as_count(required(usage, "prompt_tokens", (name,)), (name, "prompt_tokens"))
    if n_read != len(prompt):
        raise WireError(
            (name, "prompt_tokens"), f"The server was sent {len(prompt)} token ids, and read {n_read} tokens."
        )
    return Usage(n_read, as_count(usage.get("completion_tokens", 0), (name, "completion_tokens")))


def _logprob(value: Any, token: int, where: Location) -> float:
    """The logarithm of a probability; the floor that a server writes for 0 is -inf."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise TokenError(token, where, f"The log-probability of token {token} is missing. Got {shown(value)}.")
    if value > _ABOVE_ZERO:
        raise TokenError(token, where, f"The log-probability of token {token} is {value}: it is 0 at most.")
    return -math.inf if value <= _IMPOSSIBLE else min(float(value), 0.0)
