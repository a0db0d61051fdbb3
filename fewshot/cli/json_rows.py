"""JSON Lines and JSON arrays to rows and back: strict JSON, in which nothing is taken for something else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from fewshot.errors import InputError

__all__ = ["as_json", "is_lines", "parse_array", "parse_lines"]

_DEEPEST = 100  # what is read must also be written, wherever Python stands then
_BLOCK = 1 << 20  # characters of an array that are read at once
_BLANKS = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _Refused(ValueError):
    """JSON that Python would take and that says nothing certain."""


def parse_lines(lines: Iterable[str], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of JSON Lines, and the line of each; blank lines are no rows."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{name!r}, line {number}"
            yield number, _object(_parsed(line.rstrip("\r\n"), where), where)


def is_lines(text: TextIO, name: str) -> bool:
    """Whether what is called a JSON array is JSON Lines instead.

    Raises
    ------
    InputError
        When it is one value of JSON that is no array.
    """
    line = next((line for line in text if line.strip()), "")
    if not line or line.lstrip().startswith("["):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        found = _parsed(line + text.read(), repr(name))
        raise InputError(f"{name!r} must hold an array of objects. Got {_kind(found)}.") from None
    return True


def parse_array(text: TextIO, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON array, of which a block is read at a time; they have no lines, which 0 stands for."""
    for i, row in enumerate(_Elements(text, name)):
        yield 0, _object(row, f"{name!r}, row {i}")


class _Elements:
    """The elements of an array of JSON, one after the other."""

    def __init__(self, text: TextIO, name: str) -> None:
        self._text, self._name = text, name
        self._buffer, self._at, self._line, self._ended = "", 0, 1, False

    def __iter__(self) -> Iterator[Any]:
        if not self._next_character():
            return
        self._at += 1  # the bracket that opens it
        if self._next_character() == "]":
            self._at += 1
        else:
            yield self._element()
            while (mark := self._next_character()) == ",":
                self._at += 1
                self._next_character()
                yield self._element()
            if mark != "]":
                raise self._refused("Expecting ',' delimiter", self._at)
            self._at += 1
        if self._next_character():
            raise self._refused("Extra data", self._at)

    def _next_character(self) -> str:
        """The next character that is no blank, where reading goes on; "" at the end."""
        while True:
            found = _BLANKS.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if self._ended:
                return ""
            self._read_more()

    def _element(self) -> Any:
        while True:
            try:
                found, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if self._ended:
                    raise self._refused(error.msg, error.pos) from error
            except (RecursionError, ValueError) as error:
                raise _as_input_error(error, repr(self._name)) from error
            else:
                if end < len(self._buffer) or self._ended:  # else there may be more of it
                    source, self._at = self._buffer[self._at : end], end
                    return _checked(found, source, repr(self._name))
            self._read_more()

    def _read_more(self) -> None:
        """Read on, twice as much as is there already."""
        rest = self._buffer[self._at :]
        more = self._text.read(max(_BLOCK, len(rest)))
        self._line += self._buffer.count("\n", 0, self._at)
        self._buffer, self._at, self._ended = rest + more, 0, not more

    def _refused(self, what: str, position: int) -> InputError:
        line = self._line + self._buffer.count("\n", 0, position)
        return InputError(f"{self._name!r}{f', line {line}' if line > 1 else ''}: not JSON: {what}.")


def _object(found: Any, where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InputError(f'{where}: a row must be an object, such as {{"text": "..."}}. Got {_kind(found)}.')
    return found


def _kind(found: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    return kinds.get(type(found), "a number")


def _parsed(source: str, where: str) -> Any:
    try:
        return _checked(_DECODER.decode(source), source, where)
    except json.JSONDecodeError as error:
        at = f", line {error.lineno}" if error.lineno > 1 else ""
        raise InputError(f"{where}{at}: not JSON: {error.msg}.") from error
    except InputError:
        raise
    except (RecursionError, ValueError) as error:
        raise _as_input_error(error, where) from error


def _checked(found: Any, source: str, where: str) -> Any:
    """A value that can be written again, of which this is the source."""
    try:
        if source.count("[") + source.count("{") > _DEEPEST and _depth(found) > _DEEPEST:
            raise RecursionError
        if _SURROGATE.search(source):
            json.dumps(found, ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError) as error:
        raise _as_input_error(error, where) from error
    return found


def _as_input_error(error: Exception, where: str) -> InputError:
    """What a value is refused for."""
    if isinstance(error, RecursionError):
        return InputError(f"{where}: nested too deep to be read.")
    if isinstance(error, UnicodeEncodeError):
        half = repr(error.object[error.start])
        return InputError(f"{where}: half a character, {half} without its other half, which is no text.")
    # ours, and that of numbers with too many digits
    return InputError(f"{where}: {error if isinstance(error, _Refused) else 'a number has too many digits'}.")


def _depth(value: Any) -> int:
    """How deep lists and objects lie in one another; level by level, since a function that calls itself has a limit."""
    depth, level = 0, [value]
    while level := [own for own in level if isinstance(own, list | dict)]:
        depth += 1
        level = [one for own in level for one in (own.values() if isinstance(own, dict) else own)]
    return depth


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Refused(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice in an object")
    return found


def _constant(name: str) -> Any:
    raise _Refused(f"not JSON: {name}. Write null for a number that is missing")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Refused(f"the number {digits:.40} is larger than any that is kept")
    return number


#: Strict JSON; what Python would take besides is refused.
_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_constant, parse_float=_finite)


def as_json(row: Any) -> str:
    """One line of strict JSON; what JSON does not know is written as text, and what is no number as null."""
    try:
        return json.dumps(row, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(row), ensure_ascii=False, default=str, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(own) for key, own in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_without_nan(own) for own in value]
    return value
