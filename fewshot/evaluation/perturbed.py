"""The same task put differently: options copied or dropped, another wording, another order of the list."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from fewshot.strategies.prompting import Prompting
from fewshot.task.meaning import describe
from fewshot.task.task import Task
from fewshot.task.template import Template

__all__ = ["relisted", "reworded", "with_copy", "without"]

_COPY = "{} (copy)"

Words = dict[Any, tuple[str, ...]]
Change = Callable[[Words], Words]


def relisted(strategy: Prompting, turn: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Prompting:
    """The same fitted strategy, whose prompts list the label words in another order."""
    other = copy(strategy)
    other.askings_ = [asking.relisted(turn) for asking in strategy.askings_]
    return other


def without(task: Task, name: Any) -> Task:
    """The task without a class."""
    return _each(task, lambda words: {own: group for own, group in words.items() if own != name})


def with_copy(task: Task, name: Any) -> tuple[Task, Any]:
    """The task with a class twice, the second time under another name; and that name."""
    classes = task.classes.tolist()
    names = (
        (f"{name} ({k})" for k in itertools.count(2)) if isinstance(name, str) else itertools.count(max(classes) + 1)
    )
    twin = next(own for own in names if own not in classes)

    def listed(words: Words) -> Words:
        found: Words = {}
        for own, group in words.items():
            found |= {own: group, twin: (_COPY.format(group[0]),)} if own == name else {own: group}
        return found

    return _each(task, listed, {twin: name}), twin


def reworded(task: Task, template: Template, model: Any) -> Task:
    """The task in another wording, with its own label words."""
    return describe(replace(task, template=template, others=()), None, model)


def _each(task: Task, change: Change, copies: Mapping[Any, Any] = MappingProxyType({})) -> Task:
    """The task with other label words in each of its wordings; what is a copy of a class means what that means."""
    first, *others = [_changed(one, change, copies) for one in task.wordings]
    return replace(first, others=tuple(others))


def _changed(task: Task, change: Change, copies: Mapping[Any, Any]) -> Task:
    given, template = task.verbalizer, task.template
    words = dict(zip(given.classes or (), given.words, strict=True))
    changed = change({name: words[name] for name in given.scale or words})
    if meant := template.descriptions:
        template = template.bind(changed, {name: meant.get(copies.get(name, name)) for name in changed})
    verbalizer = given.with_words(changed)
    return Task(template, verbalizer, np.array(verbalizer.classes))
