"""How a chat API is asked for the most probable first tokens of an answer. Nothing here sends anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewshot.models.base import Query, Scores, Turn
from fewshot.models.remote.contents import (
    Location,
    WireError,
    as_array,
    as_count,
    as_mapping,
    as_name,
    required,
    shown,
)
from fewshot.models.remote.planning import sendable
from fewshot.models.remote.wire import Usage

__all__ = ["Told", "as_scores", "read_chat", "write_chat"]

_IMPOSSIBLE = -9999.0  # how a server writes a logarithm that it does not know, or that of 0
_ABOVE_ONE = 0.01  # what rounding may add to a sum of probabilities
_LOGPROBS: Location = ("choices", 0, "logprobs")


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says: the most probable first tokens with their log-probabilities, who answered, what it took."""

    tokens: tuple[tuple[str, float], ...]
    version: str
    usage: Usage


def write_chat(model: str, turns: Sequence[Turn], top: int, template_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The body that asks for the most probable first tokens of the answer, of the distribution as it is."""
    messages = [{"role": turn.role, "content": sendable(turn.text.strip())} for turn in turns]
    body = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0.0, "top_p": 1.0}
    more = {"chat_template_kwargs": dict(template_kwargs)} if template_kwargs else {}
    return {**body, "logprobs": True, "top_logprobs": top, **more}


def read_chat(body: Any) -> Told:
    """What the answer says.

    Raises
    ------
    WireError
        When it is no such answer, has no ``top_logprobs``, or has probabilities that sum to more than 1.
    """
    said = as_mapping(body, ())
    choices = as_array(required(said, "choices"), ("choices",))
    if len(choices) != 1:
        raise WireError(("choices",), f"There must be exactly one choice. Got {len(choices)}.")
    logprobs = as_mapping(choices[0], _LOGPROBS[:2]).get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content else None
    top = first.get("top_logprobs") if isinstance(first, Mapping) else None
    if not isinstance(top, list) or not top:
        raise WireError(
            _LOGPROBS,
            "The log-probabilities of the first token are missing: the server, or this model of it, does not give "
            "top_logprobs, or its answer is empty. Without them no label word has a score.",
        )
    if len(content or ()) != 1:  # which might leave out the first: llama-server does so with parts of characters
        raise WireError((*_LOGPROBS, "content"), f"One token was asked for. Got {len(content or ())}.")
    where = (*_LOGPROBS, "content", 0, "top_logprobs")
    tokens = tuple(_token(one, where) for one in top)
    total = sum(math.exp(logprob) for _, logprob in tokens)
    if total > 1 + _ABOVE_ONE:
        raise WireError(where, f"The tokens have a probability of {total:.3g} together, so they are no distribution.")
    usage = as_mapping(said.get("usage") or {}, ("usage",))
    counts = [as_count(usage.get(key, 0), ("usage", key)) for key in ("prompt_tokens", "completion_tokens")]
    return Told(tokens, str(said.get("model")), Usage(*counts))


def _token(value: Any, where: Location) -> tuple[str, float]:
    one = as_mapping(value, where)
    text, logprob = as_name(required(one, "token", where), "The text of a token", where), one.get("logprob")
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or math.isnan(logprob):
        raise WireError(where, f"The log-probability of {text!r} is missing. Got {shown(logprob)}.")
    return text, float(logprob)


def as_scores(query: Query, told: Told) -> Scores | str:
    """The scores of a query; or the first label word that is none of the tokens.

    Tokens that spell one word, with and without the blank before it, are added.

    Examples
    --------
    >>> told = Told((("A", np.log(0.5)), (" A", np.log(0.25)), ("B", np.log(0.125))), "", Usage())
    >>> np.exp(as_scores(Query("Which?", ("A", "B")), told).logprobs).round(3).tolist()
    [0.75, 0.125]
    >>> as_scores(Query("Which?", ("A", "C")), told)
    'C'
    """
    found = []
    for word in query.candidates:
        own = [p for text, p in told.tokens if text.removeprefix(" ") == word.strip() and p > _IMPOSSIBLE]
        if not own:
            return word
        found.append(min(float(np.logaddexp.reduce(own)), 0.0))
    logprobs = np.array(found, dtype=np.float64)
    return Scores(logprobs, np.ones(len(found), dtype=np.int64), float(np.exp(logprobs).sum()))
