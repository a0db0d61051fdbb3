"""Whether values are of the types that a class declares, as far as it does: what a file says is checked before use."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from fewshot.errors import InputError

__all__ = ["check_types"]

_SIMPLE: dict[Any, Any] = {
    bool: bool | np.bool_,
    float: int | float | np.integer | np.floating,
    int: int | np.integer,
    str: str,
}


def check_types(cls: type, attributes: Mapping[str, Any]) -> None:
    """Refuse attributes that are not as a dataclass's fields or an estimator's parameters say, or are NaN."""
    declared = is_dataclass(cls) or issubclass(cls, tuple) or hasattr(cls, "get_params")
    hints = _hints(cls) if declared else {}  # elsewhere an attribute may be more than the argument of its name
    for name, value in attributes.items():
        if isinstance(value, float | np.floating) and math.isnan(value) and not is_dataclass(cls):
            raise InputError(f"{cls.__name__} has the attribute {name}=nan, with which nothing can be predicted")
        if name in hints and not _fits(value, hints[name]):
            said = inspect.formatannotation(hints[name]).replace("typing.", "")
            raise InputError(f"{cls.__name__} has the attribute {name} of {said}. Got {value!r:.80}")


@cache
def _hints(cls: type) -> dict[str, Any]:
    declares = cls if is_dataclass(cls) or issubclass(cls, tuple) else cls.__init__
    try:
        return {name: hint for name, hint in get_type_hints(declares).items() if name != "return"}
    except (NameError, TypeError):  # one that is imported for type checkers only, or a foreign class without any
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value may be what an annotation says; what has no plain meaning here may be anything."""
    kind = get_origin(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if kind is Literal:
        return any(isinstance(value, type(one)) and value == one for one in get_args(hint))
    if hint in (None, NoneType):
        return value is None
    if hint is Any:
        return True
    if hint in _SIMPLE:
        return isinstance(value, _SIMPLE[hint]) and (hint is bool or not isinstance(value, bool))
    if kind is np.ndarray:
        return isinstance(value, np.ndarray)
    if kind is tuple:
        return isinstance(value, tuple | list) and _all_fit(value, get_args(hint))
    if isinstance(kind, type):
        if issubclass(kind, Sequence) and isinstance(value, list | tuple):
            return all(_fits(own, get_args(hint)[0]) for own in value)
        return isinstance(value, kind | np.ndarray if issubclass(kind, Sequence) else kind)
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        return isinstance(value, hint)
    return True


def _all_fit(values: Any, hints: tuple[Any, ...]) -> bool:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return all(_fits(value, hints[0]) for value in values)
    return len(values) == len(hints) and all(map(_fits, values, hints))
