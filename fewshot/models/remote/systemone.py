"""The wire of System One: questions by name, ``POST /v1/systemone``. Its yes/no question is called noul."""

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

__all__ = ["SYSTEM_ONE", "SystemOne"]

_TYPES: dict[str, QuestionType] = {"noul": "yes_no", "choice": "choice", "score": "rating"}
_NAMES = {own: name for name, own in _TYPES.items()}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "validation_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class SystemOne:
    """Spells requests and responses as typesafe-sdk 0.7 and jevcompat's specification have them."""

    name = "systemone"
    path = "/systemone"
    names_questions = True
    most_questions = 64  # of transformers serve; the wire itself has no bound
    most_options = 255
    most_levels = 10

    def read_request(self, body: Any) -> Request:
        """Read a request; see `Wire`."""
        body = as_mapping(body, ())
        model, state, questions = read_model(body), required(body, "state"), required(body, "questions")
        if body.get("assets"):
            raise WireError(("assets",), "Images can't be read here: only text is.", "unsupported")
        questions = as_mapping(questions, ("questions",))
        refuse_count(len(questions), "questions", 1, len(questions), ("questions",))
        asked = tuple(self._read_question(name, question) for name, question in questions.items())
        return Request(model, as_text(state, ("state",)), asked)

    def _read_question(self, name: str, question: Any) -> Asked:
        at: Location = ("questions", name)
        question = as_mapping(question, at)
        if question.get("type") == "box":
            raise WireError((*at, "type"), "A box is of an image, and images can't be read here.", "unsupported")
        own = _TYPES[read_type(question, _TYPES, at)]
        only_keys(question, ("type", "instructions", "criteria"), at)
        instructions = _content(question.get("instructions"), (*at, "instructions")) or ""
        read = {"choice": self._read_choice, "rating": self._read_levels, "yes_no": self._read_criteria}[own]
        options = read(question, (*at, "criteria"))
        if own == "yes_no" and not instructions and not any(option.description for option in options):
            raise WireError(at, "Instructions or criteria must say what is asked.", "missing")
        return Asked(name, own, instructions, options)

    def _read_choice(self, question: Mapping[str, Any], at: Location) -> tuple[Option, ...]:
        criteria = as_mapping(required(question, "criteria", at[:-1]), at)
        refuse_count(len(criteria), "options", 2, self.most_options, at)
        return tuple(Option(value, _content(said, (*at, value))) for value, said in criteria.items())

    def _read_levels(self, question: Mapping[str, Any], at: Location) -> tuple[Option, ...]:
        levels = as_array(required(question, "criteria", at[:-1]), at)
        refuse_count(len(levels), "levels", 2, self.most_levels, at)
        return tuple(Option(i, label=as_text(level, (*at, i))) for i, level in enumerate(levels))

    def _read_criteria(self, question: Mapping[str, Any], at: Location) -> tuple[Option, ...]:
        criteria = as_mapping({} if question.get("criteria") is None else question["criteria"], at)
        only_keys(criteria, ("true", "false"), at)
        return tuple(
            Option(value, _content(criteria.get(name), (*at, name)))
            for value, name in ((False, "false"), (True, "true"))
        )

    def write_request(self, request: Request) -> dict[str, Any]:
        """Spell a request; see `Wire`."""
        questions: dict[str, Any] = {}
        for i, asked in enumerate(request.questions):
            name = asked.name
            if name is None or name in questions:
                raise WireError(("questions", i), f"Each question has a name of its own here. Got {name!r}.")
            questions[name] = self._write_question(asked, ("questions", name))
        return {"model": request.model, "state": request.state, "questions": questions}

    def _write_question(self, asked: Asked, at: Location) -> dict[str, Any]:
        written: dict[str, Any] = {"type": _NAMES[asked.type]}
        if asked.instructions:
            written["instructions"] = asked.instructions
        if asked.type == "rating":
            refuse_count(len(asked.options), "levels", 2, self.most_levels, at)
            return written | {"criteria": [_level(option) for option in asked.options]}
        if asked.type == "yes_no":
            said = {str(option.value).lower(): option.description for option in asked.options if option.description}
            return written | ({"criteria": said} if said else {})
        refuse_count(len(asked.options), "options", 2, self.most_options, at)
        criteria: dict[str, str | None] = {}
        for option in asked.options:
            if not isinstance(option.value, str) or option.value in criteria:
                raise WireError(at, f"Options are distinct strings on this wire. Got {option.value!r}.")
            criteria[option.value] = option.description
        return written | {"criteria": criteria}

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
        answers = {
            str(asked.name): _written(asked, own) | answer_extras(i, answered_by, masses)
            for i, (asked, own) in enumerate(zip(request.questions, probabilities, strict=True))
        }
        tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        return {"model": model, "answers": answers, "usage": tokens}

    def read_response(self, body: Any, request: Request) -> Answered:
        """Read a response; see `Wire`."""
        body = as_mapping(body, ())
        answers = as_mapping(required(body, "answers"), ("answers",))
        names = [str(asked.name) for asked in request.questions]
        said = [(("answers", name), required(answers, name, ("answers",))) for name in names]
        return read_answers(request, body, said, _read_answer)

    def write_error(self, status: int, error: WireError | str) -> dict[str, Any]:
        """Spell an error; see `Wire`."""
        if isinstance(error, WireError):
            return {"detail": [{"loc": ["body", *error.location], "msg": error.message, "type": error.kind}]}
        kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"detail": {"error_type": kind, "message": error}}


def _content(value: Any, at: Location) -> str | None:
    return None if value is None else as_text(value, at)


def _level(option: Option) -> str:
    return f"{option.label}: {option.description}" if option.description else str(option.label)


def _written(asked: Asked, probabilities: FloatArray) -> dict[str, Any]:
    if asked.type == "yes_no":
        return {"type": "noul", "noul": float(probabilities[1])}
    if asked.type == "choice":
        return {
            "type": "choice",
            "choice": asked.options[int(np.argmax(probabilities))].value,
            "confidence": choice_confidence(probabilities),
            "probabilities": {str(o.value): float(p) for o, p in zip(asked.options, probabilities, strict=True)},
        }
    return {
        "type": "score",
        "score": expected_level(probabilities),
        "confidence": rating_confidence(probabilities),
        "legend": {str(option.value): _level(option) for option in asked.options},
        "probabilities": {str(i): float(p) for i, p in enumerate(probabilities)},
    }


def _read_answer(asked: Asked, answer: Mapping[str, Any], at: Location) -> FloatArray:
    kind = required(answer, "type", at)
    if kind != _NAMES[asked.type]:
        raise WireError((*at, "type"), f"The question is of type {_NAMES[asked.type]}, the answer of type {kind!r}.")
    if asked.type == "yes_no":
        said = check_distribution([required(answer, "noul", at)], (*at, "noul"), summed=False)[0]
        return np.array([1 - said, said])
    at = (*at, "probabilities")
    said = as_mapping(required(answer, "probabilities", at[:-1]), at)
    keys = [str(option.value) for option in asked.options]
    check_options(keys, list(said), at)
    return check_distribution([said[key] for key in keys], at)


SYSTEM_ONE = SystemOne()
