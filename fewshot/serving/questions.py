"""A question on the wire becomes one of the house."""

from __future__ import annotations

from typing import Any

from fewshot.models.remote.wire import Asked, Option
from fewshot.task.question import Choice, Question, Rating, YesNo

__all__ = ["classes_of", "question_of"]

#: What is asked where a question has criteria only, as System One allows.
_UNASKED = {"choice": "Which of them is it?", "rating": "Which level is it?", "yes_no": "Is it so?"}


def question_of(asked: Asked) -> Question:
    """The question that a model is asked, zero-shot.

    Raises
    ------
    ParameterError
        When an option is blank, is there twice, or has a line break, with which it could pass for another one.
    """
    instructions = asked.instructions if asked.instructions.strip() else _UNASKED[asked.type]
    names, descriptions = classes_of(asked), [option.description for option in asked.options]
    if asked.type == "yes_no":
        return YesNo(instructions, false=descriptions[0], true=descriptions[1])
    options = dict(zip(names, descriptions, strict=True))
    made = Choice if asked.type == "choice" else Rating
    return made(instructions, options if len(options) == len(names) else names)


def classes_of(asked: Asked) -> list[Any]:
    """What the options are called as classes of the question, in their order."""
    if asked.type == "rating":
        return [option.label for option in asked.options]
    if asked.type == "yes_no":
        return [option.value for option in asked.options]
    texts = {option.value for option in asked.options if isinstance(option.value, str)}
    return [_name(option, texts) for option in asked.options]


def _name(option: Option, texts: set[str]) -> str:
    """The text of a value; True beside the text "true" is "True"."""
    if isinstance(option.value, str):
        return option.value
    name = str(option.value).lower()
    return str(option.value) if name in texts else name
