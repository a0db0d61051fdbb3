"""The filters, tests and methods that a template may use, each charged to the meter of its rendering."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import pass_context
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.runtime import Context, Undefined
from jinja2.tests import TESTS as JINJA_TESTS

from fewshot.errors import TemplateError
from fewshot.task.sandbox.environment import (
    METER,
    MOST_RANGE,
    Environment,
    charge_loop,
    joined_texts,
    measure,
    take_items,
    text_of,
)

__all__ = [
    "AS_TEXT",
    "CALLED",
    "FILTERS",
    "JOINED",
    "LISTS",
    "LOOPED",
    "MADE",
    "MAPPED",
    "METHODS",
    "RANGE",
    "SLICED",
    "TESTS",
    "WEIGHED",
    "check_format",
    "equip",
]

# What a template's own operations are turned into: filters under names that no template could write.
AS_TEXT, CALLED, JOINED, LOOPED = "as text", "a method", "joined by ~", "looped over"
MADE, RANGE, SLICED, WEIGHED = "a list made", "a short range", "a slice", "compared"

_PLAIN = """
abs capitalize dictsort first float int items last list lower map max min reject rejectattr reverse select selectattr
sort string title trim truncate unique upper urlencode wordcount
"""  # Jinja2's own, whose result is never much longer than what goes in
_SHALLOW = {"count": len, "d": JINJA_FILTERS["default"], "default": JINJA_FILTERS["default"], "length": len}
_TESTS = """
boolean defined divisibleby eq equalto == even false float ge >= gt > greaterthan in integer iterable le <= lower lt <
lessthan mapping ne != none number odd sameas sequence string true undefined upper
"""
#: Filters that make several items of a text or a list, which have no text before they are joined.
LISTS = frozenset({"map", "select", "selectattr", "reject", "rejectattr", "unique", "items"})
_FORMAT = re.compile(r"%(?:\(\w+\))?[-+ #0]{0,3}\d{0,2}(?:\.\d{0,2})?[sdifeEgGxXo]|%%")
_MOST_INDENT = 100
_MOST_DIGITS = 20

_NAMES = """
capitalize casefold count endswith find index isalnum isalpha isdigit islower isnumeric isspace istitle isupper lower
lstrip partition removeprefix removesuffix rfind rindex rpartition rsplit rstrip split splitlines startswith strip
swapcase title upper
"""
_TEXT_METHODS = frozenset(_NAMES.split())
_OWN_METHODS = frozenset({"join", "replace"})
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})
METHODS = _TEXT_METHODS | _OWN_METHODS | _MAPPING_METHODS


class Several(list[Any]):
    """Items that a filter made."""

    def __str__(self) -> str:
        raise TemplateError("a list that a filter made has no text of its own: join it, | join(', ')")


def equip(env: Environment, **more: Callable[..., Any]) -> Environment:
    """Give an environment its filters and tests, and no others."""
    env.filters = {**FILTERS, **_PRIVATE, **more}
    env.tests = dict(TESTS)
    return env


def check_format(text: Any) -> None:
    """Refuse what the filter `format` does not fill: all but plain places of at most 99 characters."""
    if not isinstance(text, str) or "%" in _FORMAT.sub("", text):
        raise TemplateError(
            "'format' fills a text with places such as %s, %d, %.2f and %(name)s, of two digits at most"
        )


def _measured(own: Any, shallow: bool = False) -> Callable[..., Any]:
    """A filter or test of Jinja2, charged with what goes in and what comes out, a list where it was a generator."""
    passing = getattr(getattr(own, "jinja_pass_arg", None), "name", None)

    @pass_context
    def measured(context: Context, value: Any, /, *args: Any, **kwargs: Any) -> Any:
        meter = context.parent[METER]
        for one in () if shallow else (value, *args, *kwargs.values()):
            meter.take(measure(one, meter.left))
        passed = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        first = () if passing is None else (passed[passing],)
        made = own(*first, value, *args, **kwargs)
        if isinstance(made, Iterator):
            made = Several(made)
        if made is not value and not shallow:
            meter.take(measure(made, meter.left))
        return str(made) if isinstance(made, str) else made

    return measured


@pass_context
def _join(context: Context, value: Any, /, d: str = "", attribute: int | str | None = None) -> str:
    items = take_items(context, value)
    if attribute is not None:
        items = context.environment.call_filter("map", items, kwargs={"attribute": attribute}, context=context)
    return joined_texts(context, items, text_of(context, d))


@pass_context
def _replace(context: Context, value: Any, /, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = (text_of(context, one) for one in (value, old, new))
    found = text.count(old) if count is None or count < 0 else min(count, text.count(old))
    context.parent[METER].take(max(found * (len(new) - len(old)), 0))
    return text.replace(old, new, -1 if count is None else count)


@pass_context
def _indent(context: Context, value: Any, /, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = text_of(context, value)
    if (len(width) if isinstance(width, str) else abs(width)) > _MOST_INDENT:
        raise TemplateError(f"'indent' takes a width of {_MOST_INDENT} at most")
    context.parent[METER].take(_MOST_INDENT * len(text.splitlines()))
    return str(JINJA_FILTERS["indent"](text, width, first, blank))


@pass_context
def _round(context: Context, value: Any, /, precision: int = 0, method: Any = "common") -> Any:
    if not isinstance(precision, int) or abs(precision) > _MOST_DIGITS:
        raise TemplateError(f"'round' takes a precision of {_MOST_DIGITS} at most")
    return JINJA_FILTERS["round"](value, precision, method)


@pass_context
def _sum(context: Context, value: Any, /, attribute: int | str | None = None) -> Any:
    items = take_items(context, value)
    context.parent[METER].take(len(items))
    return JINJA_FILTERS["sum"](context.environment, items, attribute)


@pass_context
def _format(context: Context, value: Any, /, *args: Any, **kwargs: Any) -> str:
    check_format(value)
    named = {name: _filling(context, one) for name, one in kwargs.items()}
    return text_of(context, str(value) % (named or tuple(_filling(context, one) for one in args)))


def _filling(context: Context, value: Any) -> Any:
    return value if isinstance(value, int | float) else text_of(context, value)


@pass_context
def _tojson(context: Context, value: Any, /, indent: int | None = None) -> str:
    if indent is not None and not (isinstance(indent, int) and 0 <= indent <= 8):
        raise TemplateError("'tojson' takes an indent of 8 at most")
    meter = context.parent[METER]
    meter.take(2 * measure(value, meter.left))
    return str(JINJA_FILTERS["tojson"](context.eval_ctx, value, indent))


@pass_context
def _escape(context: Context, value: Any, /) -> str:
    return str(JINJA_FILTERS["escape"](text_of(context, value)))


@pass_context
def _made(context: Context, value: Any, /) -> Any:
    meter = context.parent[METER]
    meter.take(measure(value, meter.left))
    return value


@pass_context
def _compared(context: Context, value: Any, /) -> Any:
    meter = context.parent[METER]
    meter.take(measure(value, meter.left) // 16)
    return value


@pass_context
def _short_range(context: Context, *args: Any) -> list[int]:
    numbers = range(*args)
    if len(numbers) > MOST_RANGE:
        raise TemplateError(f"a range has {MOST_RANGE:,} numbers at most")
    return list(numbers)


@pass_context
def _sliced(context: Context, value: Any, /, *bounds: Any) -> Any:
    made = value[slice(*bounds)]
    if not isinstance(value, Undefined) and made is not value:
        meter = context.parent[METER]
        meter.take(measure(made, meter.left))
    return made


@pass_context
def _called(context: Context, value: Any, /, method: str, *args: Any, **kwargs: Any) -> Any:
    """A method of a text or a mapping, by its name."""
    if isinstance(value, Undefined):
        return str(value)  # says which
    if isinstance(value, str) and method in _OWN_METHODS:
        return _join(context, args[0] if args else "", value) if method == "join" else _replace(context, value, *args)
    if isinstance(value, str) and method in _TEXT_METHODS:
        return _measured(getattr(str, method))(context, str(value), *args, **kwargs)
    if isinstance(value, Mapping) and method in _MAPPING_METHODS:
        if method == "get":
            return value.get(*args, **kwargs)
        return _measured(_listed)(context, value, method)
    raise TypeError(f"a {type(value).__name__} has no method {method!r}")


def _listed(value: Mapping[Any, Any], method: str) -> list[Any]:
    return list(getattr(value, method)())


FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _measured(JINJA_FILTERS[name]) for name in _PLAIN.split()},
    **{name: _measured(own, shallow=True) for name, own in _SHALLOW.items()},
    "e": _escape,
    "escape": _escape,
    "forceescape": _escape,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "safe": pass_context(text_of),
    "sum": _sum,
    "tojson": _tojson,
}
#: Those that `map` may apply.
MAPPED = frozenset(FILTERS) - {"format", "map"}
TESTS: dict[str, Callable[..., Any]] = {
    name: _measured(JINJA_TESTS[name], shallow=name in ("defined", "undefined", "none")) for name in _TESTS.split()
}
_PRIVATE = {
    AS_TEXT: pass_context(text_of),
    CALLED: _called,
    JOINED: pass_context(joined_texts),
    LOOPED: charge_loop,
    MADE: _made,
    RANGE: _short_range,
    SLICED: _sliced,
    WEIGHED: _compared,
}
