"""Tell the template of a task what its classes mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fewshot.errors import FewshotWarning, InputError, TemplateError, warn
from fewshot.inputs import as_labels
from fewshot.models.base import kind_of
from fewshot.task.descriptions import take_descriptions
from fewshot.task.question import check_name
from fewshot.task.source import abridge
from fewshot.task.task import Task
from fewshot.task.template import Template

__all__ = ["describe", "named_with_descriptions", "with_meanings"]


def named_with_descriptions(y: Mapping[Any, Any]) -> tuple[list[Any], dict[Any, str]]:
    """The names of classes that were given with descriptions, and the descriptions there are."""
    names = as_labels(list(y))
    for name in names:
        if isinstance(name, str):
            check_name(name, "class")
    return names, take_descriptions(dict(zip(names, y.values(), strict=True)), "The descriptions in y", InputError)


def with_meanings(template: Template, candidates: Sequence[str], model: Any) -> tuple[str, ...]:
    """What fills the hole: the label words; in a hypothesis and for a server each with what it means."""
    return tuple(candidates if kind_of(model).reads == "prompt" else map(template.described, candidates))


def describe(task: Task, said: Mapping[Any, str] | None, model: Any) -> Task:
    """The task in a template that knows what its classes, and with them their label words, mean.

    Parameters
    ----------
    task : Task
    said : mapping or None
        The descriptions of the classes; None: those of the template.
    model : LanguageModel or Encoder
        What must be able to read them.

    Raises
    ------
    TemplateError
        When it reads no more of them than the template shows, and that shows none.
    """
    template, verbalizer = task.template, task.verbalizer
    descriptions = said or template.descriptions
    if verbalizer.per_row or not descriptions:
        return task
    alone = ("prompt", "state") if task.multi_label else ("prompt",)  # what has no place for them but the template
    if kind_of(model).reads in alone and not template.shows_descriptions:
        raise TemplateError(
            f"There are descriptions of the classes, and {template} shows none to {model!r}: list them in it, "
            "'{% for option in labels %}- {{ option }}: {{ descriptions[option] }} ...', or ask with "
            "Choice(instructions, options). An encoder reads them without that."
        )
    names = list(verbalizer.classes or ())
    known = {**{str(name): name for name in names}, **dict(zip(names, names, strict=True))}
    unknown = [name for name in descriptions if name not in known]
    if unknown:
        warn(
            f"{template} describes {abridge(unknown[0])}, which is no class: the classes are {names}. Call it as the "
            "class is called.",
            FewshotWarning,
        )
    words = dict(zip(names, verbalizer.words, strict=True))
    words = {name: words[name] for name in verbalizer.scale or names}
    own = {known[name]: text for name, text in descriptions.items() if name in known}
    return replace(task, template=template.bind(words, own))
