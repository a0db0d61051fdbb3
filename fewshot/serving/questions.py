"""A question on the wire becomes a task of the house, zero-shot."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewshot.errors import ParameterError
from fewshot.models.base import kind_of
from fewshot.models.remote.wire import Asked, Option
from fewshot.task.task import Task
from fewshot.task.template import Template
from fewshot.task.verbalizer import Verbalizer

__all__ = ["task_of"]

#: What is asked where a question has criteria only, as System One allows.
_UNASKED = {"choice": "Which of them is it?", "rating": "Which level is it?", "yes_no": "Is it so?"}
_PROMPT = """Text: {{ text | shorten }}
Question: {{ <asked> }}
Options:
{% for option in labels %}- {{ option }}{{ <said>[option] }}
{% endfor %}Answer: {{ label }}"""
_FRAME = "{{ text | shorten }}\n\n{{ <asked> }} {{ label }}"


def task_of(asked: Asked, model: Any) -> tuple[Task, list[int]]:
    """The question as a task for a model, and the column of each option.

    The text stands first, so that several questions about it share it, and the options last. The options of a choice
    are listed by name, so that no answer depends on the order in which they were given; levels from the lowest on.

    Raises
    ------
    ParameterError
        When an option is blank, is there twice, or has a line break, with which it could pass for another one.
    """
    words, reads = _words(asked), kind_of(model).reads
    order = sorted(words) if asked.type == "choice" else words
    said = {word: _meaning(option) for word, option in zip(words, asked.options, strict=True)}
    if reads != "prompt":
        order = [word + said[word] for word in order]
    source = _PROMPT if reads == "prompt" else _FRAME
    instructions = asked.instructions if asked.instructions.strip() else _UNASKED[asked.type]
    source = source.replace("<asked>", _literal(instructions)).replace("<said>", _literal(said))
    names = sorted(words) if asked.type == "choice" else words
    task = Task(Template(source, name="the question"), Verbalizer(dict(enumerate(order))), np.arange(len(order)))
    return task, [names.index(word) for word in words]


def _words(asked: Asked) -> list[str]:
    """The options in words, each of one line and unlike the others."""
    texts = {option.value for option in asked.options if isinstance(option.value, str)}
    words = [_word(asked, option, texts) for option in asked.options]
    for word in words:
        if not word.strip():
            raise ParameterError(f"The option {word!r} is blank: name it.")
        if word.splitlines() != [word]:
            raise ParameterError(
                f"The option {word!r:.80} has a line break, with which it could pass for another one: name it in one "
                "line."
            )
        if words.count(word) > 1:
            raise ParameterError(f"The option {word!r:.80} is there twice: give each a name of its own.")
    return words


def _word(asked: Asked, option: Option, texts: set[str]) -> str:
    if asked.type == "rating":
        return str(option.label)
    if asked.type == "yes_no":
        return "Yes" if option.value else "No"
    if isinstance(option.value, str):
        return option.value
    word = str(option.value).lower()
    return str(option.value) if word in texts else word  # True beside the text "true"


def _meaning(option: Option) -> str:
    """What an option means, behind its name in one line."""
    return f": {' '.join(option.description.split())}" if option.description else ""


def _literal(value: Any) -> str:
    """A value as Jinja2 writes it: text of others is data there, whatever it holds."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(own)}" for name, own in value.items()) + "}"
    escaped = value.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{escaped}"'
