"""What templates run in: a Jinja2 environment of named filters and tests, which bounds what one rendering makes.

A template may come from a stranger's folder, and a row from anywhere. So every operation that makes text or walks
through a list is charged to a meter of its rendering, before it is done wherever its size can be told before. What a
template may hold at all is checked when it is made (see ``allowed``); what is here are the bounds while it runs.
"""

from __future__ import annotations

import datetime
import itertools
import numbers
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

from jinja2 import StrictUndefined, Undefined, pass_context
from jinja2.nativetypes import NativeEnvironment
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fewshot.checks import is_missing
from fewshot.errors import TemplateError

__all__ = ["LOOP", "METER", "MOST_RANGE", "Environment", "Meter", "measure", "text_of"]

METER = "the meter of a rendering"  # among its variables, under no name that a template could write
MOST_CHARACTERS = 20_000_000
MOST_STEPS = 1_000_000
MOST_RANGE = 1_000
_ITEM = 16  # characters that an item of a list counts as
_LOOP = "index index0 revindex revindex0 first last length depth depth0 previtem nextitem cycle changed"
LOOP = frozenset(_LOOP.split())  # what a loop knows
_DATE = frozenset({"year", "month", "day", "hour", "minute", "second", "microsecond"})
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9A-Fa-f]+>")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_MOST_BITS = 2_048  # of a whole number


class Meter:
    """Counts what one rendering does, and ends it where that is too much."""

    __slots__ = ("_characters", "_steps")

    def __init__(self) -> None:
        self._characters = self._steps = 0

    @property
    def left(self) -> int:
        """Characters that may still be made."""
        return MOST_CHARACTERS - self._characters

    def take(self, characters: int) -> None:
        """Charge text that is made or looked through."""
        self._characters += characters
        if self._characters > MOST_CHARACTERS:
            raise TemplateError(f"it makes or reads more than {MOST_CHARACTERS:,} characters")

    def walk(self, steps: int) -> None:
        """Charge passes of a loop."""
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise TemplateError(f"its loops take more than {MOST_STEPS:,} steps")


class Environment(ImmutableSandboxedEnvironment, NativeEnvironment):
    """Sandboxed and strict, and with native output, so that pieces come out as they are."""

    intercepted_binops = frozenset(_OPERATORS)

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, optimized=False)
        self.globals.clear()  # so every name is a field
        self.places: tuple[Any, ...] = ()

    @staticmethod
    def concat(parts: Iterable[Any]) -> str:
        """What a captured block holds, as text."""
        return "".join(str(part) for part in parts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic of numbers, and joining of texts and of lists."""
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return left + right  # says which
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return joined_texts(context, [left, right])
        if operator == "+" and isinstance(left, list) and isinstance(right, list):
            context.parent[METER].take(_ITEM * (len(left) + len(right)))
            return left + right
        for one in (left, right):
            if not isinstance(one, numbers.Number):
                hint = "; a field's name has no hyphen" if operator == "-" else "; texts are joined with ~"
                raise TypeError(f"'{operator}' takes numbers, and got a {type(one).__name__}{hint}")
            if isinstance(one, int) and one.bit_length() > _MOST_BITS:
                raise TypeError(f"'{operator}' got a number of {one.bit_length()} bits")
        return _OPERATORS[operator](left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An item of a mapping, a part of a date, or what a loop knows."""
        if isinstance(obj, Mapping):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if isinstance(obj, LoopContext) and attribute in LOOP:
            return getattr(obj, attribute)
        if isinstance(obj, datetime.date | datetime.time) and attribute in _DATE and hasattr(obj, attribute):
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item of a mapping or a list."""
        if isinstance(argument, str) and not isinstance(obj, Mapping):
            return self.getattr(obj, argument)
        if isinstance(argument, str | int | slice) and not isinstance(obj, type | LoopContext):
            try:
                return obj[argument]
            except (TypeError, LookupError, AttributeError):
                pass
        return self.undefined(obj=obj, name=argument)

    def is_safe_callable(self, obj: Any) -> bool:
        """Only ``loop.cycle`` and ``loop.changed`` are left as calls."""
        return isinstance(getattr(obj, "__self__", None), LoopContext)


def measure(value: Any, most: int = MOST_CHARACTERS, *, shown: bool = False) -> int:
    """How much there is to walk through: characters, and items of lists and mappings within each other.

    What is to be shown holds nothing that is undefined.
    """
    if isinstance(value, str):
        return len(value)
    total, waiting = 0, [value]
    while waiting and total <= most:
        one = waiting.pop()
        if isinstance(one, str | bytes):
            total += len(one)
        elif isinstance(one, list | tuple | set | frozenset | dict):
            total += _ITEM * len(one)
            if total <= most:
                waiting.extend(itertools.chain(one, one.values()) if isinstance(one, dict) else one)
        else:
            total += 1
            if shown and isinstance(one, Undefined):
                str(one)  # says which
    return total


def text_of(context: Context, value: Any) -> str:
    """The text of a value; none of a thing that would show its address, and none that is too long."""
    meter = context.parent[METER]
    if isinstance(value, Undefined):
        return str(value)  # says which
    if not isinstance(value, str):
        if is_missing(value):
            raise TemplateError(
                f"{value!r} says that a value is missing: fill it, drop the row, or ask with {{% if %}}"
            )
        meter.take(measure(value, meter.left, shown=True))
        kind = type(value)
        bare = all(getattr(kind, name) is getattr(object, name) for name in ("__str__", "__repr__"))
        text = None if isinstance(value, Iterator) or callable(value) or bare else str(value)
        if text is None or _ADDRESS.search(text):
            raise TemplateError(f"a {kind.__name__} has no text of its own: give the row a text instead")
        value = text
    meter.take(len(value))
    return str(value)


def joined_texts(context: Context, values: Iterable[Any], between: str = "") -> str:
    """The texts of values with something between them."""
    texts = [text_of(context, value) for value in values]
    context.parent[METER].take(sum(map(len, texts)) + len(between) * max(len(texts) - 1, 0))
    return between.join(texts)


def take_items(context: Context, value: Any) -> Any:
    """What a loop goes through: the value itself where it has a length."""
    if isinstance(value, Undefined):
        return iter(value)  # says which
    if isinstance(value, Iterator):
        raise TemplateError(f"a {type(value).__name__} gives its items only once: give the row a list instead")
    if isinstance(value, Sized):
        return value
    return list(itertools.islice(value, MOST_STEPS + 1))


@pass_context
def charge_loop(context: Context, value: Any, each: int) -> Any:
    """What a loop goes through, charged; ``each`` is how much one pass does."""
    items = take_items(context, value)
    context.parent[METER].walk(len(items) * each)
    return items
