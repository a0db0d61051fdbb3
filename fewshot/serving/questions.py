"""A question on the wire becomes one of the house, and a zero-shot task."""

from __future__ import annotations

from typing import Any

from fewshot.classifier import Classifier
from fewshot.models.remote.wire import Asked, Option
from fewshot.task.question import Choice, Question, Rating, YesNo
from fewshot.task.resolve import resolve
from fewshot.task.task import Task

__all__ = ["columns_of", "named", "question_of", "task_of"]

#: What is asked where a question has criteria only, as System One allows.
_UNASKED = {"choice": "Which of them is it?", "rating": "Which level is it?", "yes_no": "Is it so?"}


def question_of(asked: Asked) -> Question:
    """The question, with its options in words.

    Raises
    ------
    ParameterError
        When an option is blank, is there twice, or has a line break, with which it could pass for another one.
    """
    instructions = asked.instructions if asked.instructions.strip() else _UNASKED[asked.type]
    described = [(name, option.description) for name, option in zip(named(asked), asked.options, strict=True)]
    if asked.type == "yes_no":
        said = dict(described)
        return YesNo(instructions, true=said[True], false=said[False])
    names = [name for name, _ in described]
    made = Choice if asked.type == "choice" else Rating
    return made(instructions, dict(described) if len(set(names)) == len(names) else names)


def named(asked: Asked) -> list[Any]:
    """What the options are called as classes; those of a yes/no question are truth values."""
    if asked.type == "rating":
        return [option.label for option in asked.options]
    if asked.type == "yes_no":
        return [option.value for option in asked.options]
    texts = {option.value for option in asked.options if isinstance(option.value, str)}
    return [_in_words(option, texts) for option in asked.options]


def _in_words(option: Option, texts: set[str]) -> str:
    """The text of a value; True beside the text "true" is written as "True"."""
    if isinstance(option.value, str):
        return option.value
    word = str(option.value).lower()
    return str(option.value) if word in texts else word


def task_of(asked: Asked, model: Any) -> tuple[Task, list[int]]:
    """The question as a task for a model, and the column of each option.

    Raises
    ------
    FewshotError
        When it can't be asked.
    """
    task = resolve(Classifier(model, question_of(asked)), None, None).task
    return task, columns_of(asked, task.classes.tolist())


def columns_of(asked: Asked, classes: list[Any]) -> list[int]:
    """The column of each option among the classes."""
    return [classes.index(name) for name in named(asked)]
