"""The wire of OpenAI's Decisions: questions in a list, ``POST /v1/decisions``. Its yes/no question is a predicate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fewshot.models.base import FloatArray
from fewshot.models.remote.contents import (
    Location,
    WireError,
    as_array,
    as_mapping,
    as_text,
    only_keys,
    refuse_count,
    required,
)
from fewshot.models.remote.wire import (
    Answered,
    Asked,
    Option,
    QuestionType,
    Request,
    Usage,
    answer_extras,
    check_distribution,
    check_options,
    choice_confidence,
    expected_level,
    rating_confidence,
    read_answers,
    read_model,
    read_type,
)

__all__ = ["OPENAI", "OpenAIDecisions"]

_TYPES: dict[str, QuestionType] = {"predicate": "yes_no", "choice": "choice", "score": "rating"}
_NAMES = {own: name for name, own in _TYPES.items()}
_PARTS = {"input_text": "text", "output_text": "text", "input_json": "data", "refusal": "refusal"}
_CACHED = "prompt_cache_breakpoint"  # a remark of the caller to OpenAI's cache, which no answer depends on
#: The fields of an item that say something, in the order in which they are shown.
_ITEMS = {
    "message": ("role", "content"),
    "function_call": ("type", "name", "arguments"),
    "function_call_output": ("type", "output"),
    "custom_tool_call": ("type", "name", "input"),
    "custom_tool_call_output": ("type", "output"),
}
_ERRORS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class OpenAIDecisions:
    """Spells requests and responses as openai 3.57 has them."""

    name = "openai"
    path = "/decisions"
    names_questions = False
    most_questions = 400
    most_options = 255
    most_levels = 255  # the wire names no bound of its own

    def read_request(self, body: Any) -> Request:
        """Read a request; see `Wire`."""
        body = as_mapping(body, ())
        model, said, questions = read_model(body), required(body, "input"), required(body, "questions")
        questions = as_array(questions, ("questions",))
        refuse_count(len(questions), "questions", 1, self.most_questions, ("questions",))
        asked = tuple(self._read_question(question, ("questions", i)) for i, question in enumerate(questions))
        return Request(model, _state(said), asked)

    def _read_question(self, question: Any, at: Location) -> Asked:
        question = as_mapping(question, at)
        own = _TYPES[read_type(question, _TYPES, at)]
        name = question.get("name")
        if name is not None and not isinstance(name, str):
            raise WireError((*at, "name"), "The name of a question is a string.", "string_type")
        listed = {"choice": "choices", "rating": "levels", "yes_no": ""}[own]
        only_keys(question, tuple(filter(None, ("type", "name", "instructions", listed))), at)
        instructions = _content(required(question, "instructions", at), (*at, "instructions"))
        if not instructions.strip():
            raise WireError((*at, "instructions"), "Instructions must say what is asked.", "too_short")
        if own == "yes_no":
            return Asked(name, own, instructions, (Option(False), Option(True)))
        place = (*at, listed)
        entries = as_array(required(question, listed, at), place)
        return Asked(name, own, instructions, self._read_options(own, entries, place))

    def _read_options(self, own: QuestionType, entries: list[Any], at: Location) -> tuple[Option, ...]:
        key, what, most = (
            ("value", "choices", self.most_options) if own == "choice" else ("label", "levels", self.most_levels)
        )
        refuse_count(len(entries), what, 2, most, at)
        found = []
        for i, listed in enumerate(entries):
            place = (*at, i)
            entry = as_mapping(listed, place)
            only_keys(entry, (key, "description"), place)
            value, description = required(entry, key, place), entry.get("description")
            if not isinstance(value, str | bool if own == "choice" else str):
                raise WireError(
                    (*place, key), f"This must be a string{' or a truth value' * (own == 'choice')}.", "string_type"
                )
            if description is not None and not isinstance(description, str):
                raise WireError((*place, "description"), "This must be a string.", "string_type")
            found.append(Option(value, description) if own == "choice" else Option(i, description, value))
        said = [(type(one.value), one.value) for one in found]
        if len(set(said)) < len(said):
            raise WireError(at, "Each choice is another one.")
        return tuple(found)

    def write_request(self, request: Request) -> dict[str, Any]:
        """Spell a request; see `Wire`."""
        refuse_count(len(request.questions), "questions", 1, self.most_questions, ("questions",))
        questions = [self._write_question(asked, ("questions", i)) for i, asked in enumerate(request.questions)]
        return {"model": request.model, "input": request.state, "questions": questions}

    def _write_question(self, asked: Asked, at: Location) -> dict[str, Any]:
        if not asked.instructions.strip():
            raise WireError((*at, "instructions"), "Instructions must say what is asked on this wire.", "too_short")
        written: dict[str, Any] = {"type": _NAMES[asked.type], "instructions": _instructions(asked)}
        if asked.name is not None:
            written["name"] = asked.name
        if asked.type == "yes_no":
            return written
        if asked.type == "choice":
            refuse_count(len(asked.options), "choices", 2, self.most_options, at)
            return written | {"choices": [_described({"value": one.value}, one) for one in asked.options]}
        refuse_count(len(asked.options), "levels", 2, self.most_levels, at)
        return written | {"levels": [_described({"label": one.label}, one) for one in asked.options]}

    def write_response(
        self,
        request: Request,
        probabilities: Sequence[FloatArray],
        *,
        model: str,
        usage: Usage,
        answered_by: Sequence[str] = (),
        masses: Sequence[float] = (),
    ) -> dict[str, Any]:
        """Spell a response; see `Wire`."""
        answers = [
            _written(asked, own) | answer_extras(i, answered_by, masses)
            for i, (asked, own) in enumerate(zip(request.questions, probabilities, strict=True))
        ]
        tokens = {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
        return {"model": model, "answers": answers, "usage": tokens}

    def read_response(self, body: Any, request: Request) -> Answered:
        """Read a response; see `Wire`."""
        body = as_mapping(body, ())
        answers = as_array(required(body, "answers"), ("answers",))
        if len(answers) != len(request.questions):
            raise WireError(
                ("answers",), f"{len(request.questions)} questions have as many answers. Got {len(answers)}."
            )
        return read_answers(request, body, [(("answers", i), one) for i, one in enumerate(answers)], _read_answer)

    def write_error(self, status: int, error: WireError | str) -> dict[str, Any]:
        """Spell an error; see `Wire`."""
        kind = _ERRORS.get(status, "server_error" if status >= 500 else "invalid_request_error")
        if isinstance(error, WireError):
            where = ".".join(map(str, error.location))
            return {"error": {"message": error.message, "type": kind, "param": where or None, "code": error.kind}}
        return {"error": {"message": error, "type": kind, "param": None, "code": None}}


def _state(said: Any) -> str:
    """What the questions are about: one user's message is its text, anything longer the JSON of its items."""
    if isinstance(said, str):
        return said
    items = [_item(item, ("input", i)) for i, item in enumerate(as_array(said, ("input",)))]
    refuse_count(len(items), "items", 1, len(items), ("input",))
    first = items[0]
    if len(items) == 1 and first.get("role") == "user":
        return str(first["content"])
    return as_text(items, ("input",))


def _item(item: Any, at: Location) -> dict[str, Any]:
    """An item of the input with its content as text, and without the numbers that tie calls to outputs."""
    item = as_mapping(item, at)
    kind = item.get("type", "message")
    if not isinstance(kind, str) or kind not in _ITEMS:
        raise WireError((*at, "type"), f"The type is one of {', '.join(_ITEMS)}. Got {kind!r}.", "union_tag_invalid")
    found: dict[str, Any] = {}
    for key in _ITEMS[kind]:
        value = required(item, key, at)
        if key == "role" and value not in ("user", "developer", "system", "assistant"):
            raise WireError((*at, key), f"The role is user, developer, system or assistant. Got {value!r}.")
        found[key] = _content(value, (*at, key))
    return found


def _content(value: Any, at: Location) -> str:
    """The text of a content: a string is itself, of parts each is a line."""
    if isinstance(value, str):
        return value
    return "\n".join(_part(part, (*at, i)) for i, part in enumerate(as_array(value, at)))


def _part(part: Any, at: Location) -> str:
    part = as_mapping(part, at)
    kind = required(part, "type", at)
    if kind == "input_image":
        raise WireError((*at, "type"), "Images can't be read here: only text is.", "unsupported")
    if not isinstance(kind, str) or kind not in _PARTS:
        raise WireError((*at, "type"), f"The type is one of {', '.join(_PARTS)}. Got {kind!r}.", "union_tag_invalid")
    key = _PARTS[kind]
    only_keys(part, ("type", key, _CACHED), at)
    value = required(part, key, at)
    if kind != "input_json" and not isinstance(value, str):
        raise WireError((*at, key), "This must be a string.", "string_type")
    return as_text(value, (*at, key))


def _instructions(asked: Asked) -> str:
    """The instructions; what yes and no mean stands among them, for this wire has no other place for it."""
    if asked.type != "yes_no":
        return asked.instructions
    said = [f"{one.value}: {one.description}" for one in reversed(asked.options) if one.description]
    return "\n".join([asked.instructions, *said])


def _described(written: dict[str, Any], option: Option) -> dict[str, Any]:
    return written | ({} if option.description is None else {"description": option.description})


def _written(asked: Asked, probabilities: FloatArray) -> dict[str, Any]:
    written: dict[str, Any] = {"type": _NAMES[asked.type], "name": asked.name}
    if asked.type == "yes_no":
        return written | {"probability": float(probabilities[1])}
    pairs = list(zip(asked.options, map(float, probabilities), strict=True))
    if asked.type == "choice":
        return written | {
            "choice": asked.options[int(np.argmax(probabilities))].value,
            "confidence": choice_confidence(probabilities),
            "probabilities": [{"value": one.value, "probability": p} for one, p in pairs],
        }
    return written | {
        "score": expected_level(probabilities),
        "confidence": rating_confidence(probabilities),
        "probabilities": [{"value": one.value, "label": one.label, "probability": p} for one, p in pairs],
    }


def _read_answer(asked: Asked, answer: Mapping[str, Any], at: Location) -> FloatArray:
    kind = required(answer, "type", at)
    if kind == "refusal":
        raise WireError(at, f"The model refused to answer the question {asked.instructions!r}.", "refusal")
    if kind != _NAMES[asked.type]:
        raise WireError((*at, "type"), f"The question is of type {_NAMES[asked.type]}, the answer of type {kind!r}.")
    if answer.get("name") != asked.name:
        raise WireError((*at, "name"), f"The question is named {asked.name!r}, the answer {answer.get('name')!r}.")
    if asked.type == "yes_no":
        said = check_distribution([required(answer, "probability", at)], (*at, "probability"), summed=False)[0]
        return np.array([1 - said, said])
    at = (*at, "probabilities")
    entries = [
        as_mapping(one, (*at, i)) for i, one in enumerate(as_array(required(answer, "probabilities", at[:-1]), at))
    ]
    values = [required(one, "value", (*at, i)) for i, one in enumerate(entries)]
    if not all(isinstance(value, str | bool | int) for value in values):
        raise WireError(at, "A value is a string, a truth value or a level's number.")
    check_options([option.value for option in asked.options], values, at)
    by_value = {(type(value), value): one for value, one in zip(values, entries, strict=True)}
    own = [by_value[type(option.value), option.value] for option in asked.options]
    return check_distribution([required(one, "probability", at) for one in own], at)


OPENAI = OpenAIDecisions()
