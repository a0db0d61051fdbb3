"""A question on the wire becomes a task of the house, whose classes are the numbers of its options."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fewshot.errors import VerbalizerError
from fewshot.models.base import kind_of
from fewshot.models.remote.wire import Asked, WireError
from fewshot.task.task import Task
from fewshot.task.template import Template
from fewshot.task.verbalizer import Verbalizer

__all__ = ["task_of"]


def task_of(asked: Asked, model: Any) -> Task:
    """The task that a question is for a model, with classes from 0 in the order of its options.

    Raises
    ------
    WireError
        When two options are the same in words.
    """
    words = [_word(asked, option) for option in asked.options]
    reads = kind_of(model).reads
    said = json.dumps(asked.instructions, ensure_ascii=False)
    if reads == "prompt":
        source = f"{{{{ text | shorten }}}}\n\n{{{{ {said} }}}}\n{{% for option in labels %}}- {{{{ option }}}}\n{{% endfor %}}Answer: {{{{ label }}}}"
    else:
        source = f"{{{{ text | shorten }}}}\n\n{{{{ {said} }}}} {{{{ label }}}}"
        words = [w if o.description is None else f"{w}: {o.description}" for w, o in zip(words, asked.options)]
    template = Template(source)
    try:
        verbalizer = Verbalizer(dict(enumerate(words)))
    except VerbalizerError as error:
        raise WireError(("questions", asked.name or ""), f"Options must differ in words. {error}") from error
    return Task(template, verbalizer, np.arange(len(words)))


def _word(asked: Asked, option: Any) -> str:
    if asked.type == "rating":
        return option.label
    return option.value if isinstance(option.value, str) else str(option.value).lower()
