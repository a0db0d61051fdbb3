"""The gallery: templates by name, stored as files ``templates/<task>/<name>.jinja``, and label sets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from markupsafe import Markup

from fewshot.errors import ParameterError, TemplateError
from fewshot.tables import as_html, as_text
from fewshot.task.label_sets import LabelSet, get_label_set, list_label_sets
from fewshot.task.packaged import find_templates
from fewshot.task.question import Question
from fewshot.task.template import Template

__all__ = ["LabelSet", "get", "get_label_set", "list_label_sets", "names", "table", "template_of"]

_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?|(?:\.\./)+[\w./-]*")
_SHOWN = 6  # classes of one template in a table


class Row(NamedTuple):
    """One template in a table."""

    name: str
    fields: str
    classes: str
    description: str


@dataclass(frozen=True, repr=False)
class Table:
    """Templates side by side: plain text when printed, an HTML table in a notebook."""

    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return as_text(Row._fields, self.rows, rule=True)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(Row._fields, [[Markup("<code>{}</code>").format(row.name), *row[1:]] for row in self.rows])


def names(task: str | None = None) -> list[str]:
    """Return the names of all templates, or of those for one task.

    Examples
    --------
    >>> from fewshot import gallery
    >>> gallery.names("sst2")
    ['sst2/it_was', 'sst2/review']
    """
    paths = sorted(find_templates().glob("*/*.jinja"))
    found = [path.relative_to(find_templates()).with_suffix("").as_posix() for path in paths]
    return [name for name in found if task is None or name.partition("/")[0] == task]


@lru_cache(maxsize=256)
def get(name: str) -> Template:
    """Return the template of that name.

    Raises
    ------
    ParameterError
        When the name is not text.
    TemplateError
        When there is none; the message suggests similar names.

    Examples
    --------
    >>> from fewshot import gallery
    >>> gallery.get("sst2/it_was").render("A joy to watch.", "great")
    'A joy to watch. It was great.'
    """
    if not isinstance(name, str):
        raise ParameterError(f"The name of a template must be text, such as 'sst2/it_was'. Got {name!r:.80}.")
    if name not in names():  # a listing, not a path: a name can't climb out of the gallery
        raise TemplateError(f"There is no template {name!r} in the gallery; {_near(name, names())}. {_cure(name)}")
    return Template.from_file(find_templates() / f"{name}.jinja", name=name)


def template_of(template: Any, kind: str = "causal") -> Template:
    """Make a template from its source, a gallery name or a question; return a template unchanged.

    Raises
    ------
    ParameterError
        When the argument is none of these.
    TemplateError
        When there is no template of that name, or the source does not parse.
    """
    if isinstance(template, Template):
        return template
    if isinstance(template, Question):
        return template.template(kind)
    if isinstance(template, str):
        return get(template) if _NAME.fullmatch(template) else Template(template)
    raise ParameterError(
        "template must be the text of a template, a name from the gallery, a Template or a question. Got "
        f"{type(template).__name__}: {template!r:.80}. For a file: Template.from_file(path)."
    )


def table(task: str | None = None) -> Table:
    """Return a table of all templates, or of those for one task: names, fields, classes and descriptions.

    A template without label words of its own is for any classes. A template with choices takes them from each row.

    Raises
    ------
    TemplateError
        When there is no such task; the message suggests similar names.

    Examples
    --------
    >>> from fewshot import gallery
    >>> [row.name for row in gallery.table("subj")]
    ['subj/input_type', 'subj/this_is']
    >>> print(gallery.table("subj"))  # doctest: +ELLIPSIS
    name             fields  classes                description
    ---------------  ------  ---------------------  ---...
    subj/input_type  text    objective, subjective  Whether a sentence states an opinion or a fact, for causal ...
    subj/this_is     text    objective, subjective  Whether a sentence states an opinion or a fact, for masked ...
    """
    found = names(task)
    if not found:
        raise TemplateError(f"There is no task {task!r} in the gallery; {_near(str(task), _tasks())}.")
    return Table(tuple(_row(get(name)) for name in found))


def _row(template: Template) -> Row:
    classes = [str(one) for one in template.words or ("any",)]
    if template.choices is not None:
        classes = [f"each row's {name}" for name in template.choice_fields]
    shown = classes if len(classes) <= _SHOWN else [*classes[:_SHOWN], f"… ({len(classes)})"]
    description = str(template.metadata.get("description", ""))
    return Row(str(template.name), ", ".join(template.fields), ", ".join(shown), description)


def _tasks() -> list[str]:
    return sorted({name.partition("/")[0] for name in names()})


def _cure(name: str) -> str:
    if name.endswith(".jinja"):
        return f"If it is a file, read it: Template.from_file({name!r})."
    return "If it is the text of a template, write {{ label }} where the label word goes."


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"near it: {', '.join(close)}" if close else f"its tasks: {', '.join(_tasks())}"
