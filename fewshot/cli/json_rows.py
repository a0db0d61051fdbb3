"""JSON Lines and JSON arrays to rows and back: strict JSON, in which nothing is taken for something else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from fewshot.errors import InputError

__all__ = ["as_json", "parse_array", "parse_lines"]

_DEEPEST = 100  # what is read must also be written, wherever Python stands then
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _Refused(ValueError):
    """JSON that Python would take and that says nothing certain."""


def parse_lines(source: str, name: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The objects of JSON Lines, and the line of each; blank lines are no rows."""
    rows, lines = [], []
    for number, line in enumerate(re.split("\r\n|\n|\r", source), 1):
        if line.strip():
            rows.append(_object(_parsed(line, f"{name!r}, line {number}"), f"{name!r}, line {number}"))
            lines.append(number)
    return rows, lines


def parse_array(source: str, name: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The objects of a JSON array, or of JSON Lines that are called so, and the lines of the latter."""
    if not source.strip():
        return [], []
    if not source.lstrip().startswith("["):
        first = next(line for line in re.split("\r\n|\n|\r", source) if line.strip())
        try:
            json.loads(first)
        except (ValueError, RecursionError):
            found = _parsed(source, repr(name))
            raise InputError(f"{name!r} must hold an array of objects. Got {_kind(found)}.") from None
        return parse_lines(source, name)
    found = _parsed(source, repr(name))
    return [_object(row, f"{name!r}, row {i}") for i, row in enumerate(found)], []


def _object(found: Any, where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InputError(f'{where}: a row must be an object, such as {{"text": "..."}}. Got {_kind(found)}.')
    return found


def _kind(found: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    return kinds.get(type(found), "a number")


def _parsed(source: str, where: str) -> Any:
    try:
        found = json.loads(source, object_pairs_hook=_distinct, parse_constant=_constant, parse_float=_finite)
        if source.count("[") + source.count("{") > _DEEPEST and _depth(found) > _DEEPEST:
            raise RecursionError
        if _SURROGATE.search(source):
            json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        at = f", line {error.lineno}" if error.lineno > 1 else ""
        raise InputError(f"{where}{at}: not JSON: {error.msg}.") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deep to be read.") from error
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: half a character, {error.object[error.start]!r} without its other half, which is no text."
        ) from error
    except ValueError as error:  # ours, and that of numbers with too many digits
        raise InputError(
            f"{where}: {error if isinstance(error, _Refused) else 'a number has too many digits'}."
        ) from error
    return found


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
