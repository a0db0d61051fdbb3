"""Which requests ask a list of queries, and what scores their answers are. Nothing here sends anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot.errors import UnsupportedError
from fewshot.models.base import FloatArray, Query, Scores
from fewshot.models.remote.wire import Answered, Asked, Option, Request, Wire

__all__ = ["Batch", "as_scores", "floored", "plan", "sendable"]

_UNSAID = "Which of the options fits best?"  # where a template says nothing around its hole
_BLANK = "___"


@dataclass(frozen=True)
class Batch:
    """One request, and the queries that its questions are."""

    request: Request
    queries: tuple[Query, ...]


def plan(queries: Sequence[Query], model: str, wire: Wire, shown: str) -> list[Batch]:
    """Put the queries about one state into one request, as far as the wire takes as many questions.

    Raises
    ------
    UnsupportedError
        When a query has no state, or more or less options than the wire takes; ``shown`` is what the message calls the
        model.
    """
    by_state: dict[str, list[Query]] = {}
    for query in queries:
        by_state.setdefault(_state(query, shown), []).append(query)
    return [
        _batch(state, tuple(own[start : start + wire.most_questions]), model, wire, shown)
        for state, own in by_state.items()
        for start in range(0, len(own), wire.most_questions)
    ]


def _batch(state: str, queries: tuple[Query, ...], model: str, wire: Wire, shown: str) -> Batch:
    named = wire.names_questions
    asked = tuple(_asked(f"q{i}" if named else None, query, wire, shown) for i, query in enumerate(queries))
    return Batch(Request(model, state, asked), queries)


def _state(query: Query, shown: str) -> str:
    state = [turn.text for turn in query.context if turn.role == "premise"]
    if not state:
        raise UnsupportedError(
            f"{shown} decides about a state: a query for it has a turn of the role premise "
            "(template.query(..., kind='decision') makes it)."
        )
    return sendable("".join(state))


def _asked(name: str | None, query: Query, wire: Wire, shown: str) -> Asked:
    options = _options([sendable(word.strip()) for word in query.candidates])
    if not 2 <= len(options) <= wire.most_options:
        raise UnsupportedError(
            f"{shown} takes 2 to {wire.most_options} options a question. Got {len(options)}: "
            f"{', '.join(map(repr, query.candidates[:3]))}{' and more' * (len(options) > 3)}."
        )
    said = _instructions(query)
    if set(answers := _answers(options)) == {False, True}:
        by_answer = {answer: option.description for answer, option in zip(answers, options, strict=True)}
        return Asked(name, "yes_no", said, tuple(Option(answer, by_answer[answer]) for answer in (False, True)))
    values = [option.value for option in options]
    if "" in values or len(set(values)) < len(values):
        raise UnsupportedError(f"{shown} takes options that differ and are not blank. Got {query.candidates}.")
    return Asked(name, "choice", said, options)


def _options(words: Sequence[str]) -> tuple[Option, ...]:
    """A word as an option; what stands behind a colon is its description."""
    parts = [word.partition(": ") for word in words]
    if len({name for name, _, _ in parts}) < len(words) or not all(name.strip() for name, _, _ in parts):
        return tuple(map(Option, words))
    return tuple(Option(name, said or None) for name, _, said in parts)


def _answers(options: Sequence[Option]) -> list[bool]:
    """For options that are no and yes, what each means; none for others."""
    means = {"no": False, "yes": True}
    words = [str(option.value).casefold() for option in options]
    return [means[word] for word in words] if sorted(words) == ["no", "yes"] else []


def _instructions(query: Query) -> str:
    """What is asked: the turns before, and the frame, with a blank for the hole where text follows it."""
    turns = [turn.text.strip() for turn in query.context if turn.role != "premise"]
    after = query.suffix.rstrip()
    frame = query.prefix + _BLANK + after if after else query.prefix
    said = "\n\n".join(filter(None, [*turns, frame.strip()]))
    return sendable(said) or _UNSAID


def sendable(text: str) -> str:
    """The text with lone surrogates replaced, which no JSON may have."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_scores(batch: Batch, answered: Answered) -> dict[Query, Scores]:
    """The scores of each query of a request."""
    found = {}
    each = (batch.queries, batch.request.questions, answered.probabilities, answered.rounding, answered.masses)
    for query, asked, said, step, mass in zip(*each, strict=True):
        p = floored(said, step)
        if asked.type == "yes_no":
            words = [word.strip().partition(": ")[0].casefold() for word in query.candidates]
            p = p[[int(word == "yes") for word in words]]
        with np.errstate(divide="ignore"):
            found[query] = Scores(np.log(p), np.ones(len(p), dtype=np.int64), mass)
    return found


def floored(probabilities: FloatArray, step: float) -> FloatArray:
    """Probabilities without the zeros that rounding made, and with a sum of 1.

    Half a step is what a value that was rounded to 0 may have been. The zeros of one answer share what the others leave
    and one such half, so that many of them together do not outweigh what the model said.

    Examples
    --------
    >>> floored(np.array([1.0, 0.0]), 0.005).round(4).tolist()
    [0.995, 0.005]
    """
    zeros = probabilities == 0
    if step and zeros.any():
        left = max(0.0, 1 - float(probabilities.sum())) + step
        probabilities = np.where(zeros, min(step, left / int(zeros.sum())), probabilities)
    return probabilities / probabilities.sum()
