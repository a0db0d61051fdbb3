"""What may fill the hole, as a row brings it: which fields say so, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from fewshot.checks import is_blank
from fewshot.errors import InputError, TemplateError
from fewshot.inputs import Row
from fewshot.task.parsing import CHOICE, HOLE, LABELS

__all__ = ["as_tuple", "check_choices", "texts_of"]


def check_choices(metadata: Mapping[str, Any]) -> None:
    """Refuse choices of a front matter that are no field or list of at least two, or do not go with other keys."""
    names, form = metadata.get("choices"), metadata.get("choice")
    if names is None:
        if form is not None:
            raise TemplateError("'choice' says how a choice is written, and no 'choices' say which fields have them.")
        return
    named = isinstance(names, str) or (isinstance(names, list) and len(names) > 1)
    right = named and all(isinstance(name, str) and name.strip(" 0123456789") for name in as_tuple(names))
    if not right or len(set(as_tuple(names))) < len(as_tuple(names)):
        raise TemplateError(
            f"'choices' must be a list of at least two fields, [choice1, choice2], or one field that holds a list of "
            f"texts. Got {names}."
        )
    for key in ("words", "descriptions", "answers"):
        if metadata.get(key) is not None:
            raise TemplateError(f"A template has fixed label words or choices of each row: give {key!r} or 'choices'.")
    if {HOLE, LABELS} & set(as_tuple(names)):
        raise TemplateError(f"'choices' names the hole or the list of label words, {names!r}: rename the field.")
    if form is not None and (not isinstance(form, str) or CHOICE not in form):
        raise TemplateError(f"'choice' must be text such as '{{{{ choice | lower }}}}'. Got {form!r}.")


def as_tuple(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """One field or several as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names or ())


def texts_of(row: Row, names: str | tuple[str, ...]) -> tuple[str, ...]:
    """A row's choices, without those that are absent at the end.

    Raises
    ------
    TemplateError
        When the row lacks a field.
    InputError
        When it has no choice, or one that is not text.
    """
    fields = list(as_tuple(names))
    if not isinstance(row, Mapping):
        raise TemplateError(
            f"the choices stand in the field{'s' if len(fields) > 1 else ''} {', '.join(map(repr, fields))}, and the "
            f"row is one {'text' if isinstance(row, str) else type(row).__name__}: pass a DataFrame or mappings"
        )
    for name in fields:
        if name not in row:
            raise TemplateError(
                f"the row has no field {name!r} for a choice, it has {list(row)}: use template.rename, or set it to "
                "None where a row has fewer choices"
            )
    values = [row[name] for name in fields]
    if isinstance(names, str):
        no_list = isinstance(values[0], str | bytes | Mapping | Set) or not hasattr(values[0], "__len__")
        if no_list or not hasattr(values[0], "__iter__"):  # a set has no order, and an iterator ends
            raise InputError(f"the field {names!r} must be a list of texts. Got {values[0]!r:.60}")
        values = list(values[0])
    while values and is_blank(values[-1]):
        values.pop()
    if not values:
        raise InputError(f"the row has no choice: its field{'s' if len(fields) > 1 else ''} {fields} hold no text")
    for i, value in enumerate(values):
        if is_blank(value):
            raise InputError(
                f"choice {i} is {value!r}, and later ones are there: only at the end may choices be absent"
            )
        if not isinstance(value, str):
            raise InputError(f"choice {i} must be text. Got {type(value).__name__}: {value!r:.60}")
    return tuple(str(value) for value in values)
