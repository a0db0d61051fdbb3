"""What every room asks of a value alike."""

from __future__ import annotations

import numbers
import os
from collections.abc import Hashable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.errors import InputError, ParameterError

__all__ = [
    "above",
    "as_numbers",
    "at_least",
    "between",
    "check_path",
    "check_seed",
    "check_texts",
    "is_blank",
    "is_missing",
    "one_of",
]

#: pandas' own, known by name so that pandas need not be there.
_NAMES = ("NAType", "NaTType")


def is_missing(value: Any) -> bool:
    """Whether a value says that there is none.

    None, NaN of any type, NaT, pandas' NA, numpy's masked value, and a null of pyarrow.

    Examples
    --------
    >>> import numpy as np
    >>> [is_missing(value) for value in (None, np.float32("nan"), np.datetime64("NaT"), np.ma.masked, "", 0)]
    [True, True, True, True, False, False]
    """
    if value is None or value is np.ma.masked or type(value).__name__ in _NAMES:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()  # a signalling one can't be compared
    if isinstance(value, numbers.Number | np.generic):
        return bool(value != value)  # noqa: PLR0124 - only what is no number differs from itself
    return getattr(value, "is_valid", True) is False  # a scalar of pyarrow


def is_blank(value: object) -> bool:
    """Whether a value is missing, or a text of blanks."""
    return not value.strip() if isinstance(value, str) else is_missing(value)


def one_of(name: str, value: Any, allowed: Sequence[Any], more: str = "") -> None:
    """Refuse a parameter that is none of the allowed values; the message says ``more`` after them."""
    if not (isinstance(value, Hashable) and value in allowed):
        *others, last = map(repr, allowed)
        raise _error(name, f"{'one of ' * (len(others) > 2)}{', '.join(others)} or {last}{more}", value)


def at_least(
    name: str, value: Any, minimum: float, *, whole: bool = False, optional: bool = False, more: str = ""
) -> None:
    """Refuse a parameter that is no number of at least the minimum, nor None where it is optional.

    Numpy's numbers are numbers. Truth values and NaN are none.

    Parameters
    ----------
    name : str
    value : object
        What was given.
    minimum : float
    whole : bool, default=False
        Only integers will do.
    optional : bool, default=False
        None will do.
    more : str, default=""
        What the message adds to the bound.
    """
    if not ((optional and value is None) or (_is_number(value, whole) and value >= minimum)):
        raise _error(name, f"{'an integer of ' * whole}at least {minimum}{more}{', or None' * optional}", value)


def above(name: str, value: Any, minimum: float, *, optional: bool = False) -> None:
    """Refuse a parameter that is no number greater than the minimum, nor None where it is optional."""
    if not ((optional and value is None) or (_is_number(value) and value > minimum)):
        raise _error(name, f"greater than {minimum}{', or None' * optional}", value)


def between(name: str, value: Any, low: float, high: float, *, with_high: bool = False, more: str = "") -> None:
    """Refuse a parameter that is no number above ``low`` and below ``high``, or at most ``high``.

    Parameters
    ----------
    name : str
    value : object
        What was given.
    low, high : float
    with_high : bool, default=False
        ``high`` itself will do.
    more : str, default=""
        What the message adds to the bounds.
    """
    if not (_is_number(value) and (low < value < high or (with_high and value == high))):
        raise _error(name, f"above {low} and {'at most' if with_high else 'below'} {high}{more}", value)


def check_path(name: str, value: Any) -> None:
    """Refuse what is no path: a text or a Path is one."""
    if not isinstance(value, str | os.PathLike):
        raise _error(name, "a path, as a text or a Path", value)


def check_seed(value: Any) -> None:
    """Refuse a random_state that numpy can't draw with."""
    is_seed = _is_number(value, whole=True) and 0 <= value < 2**32
    if not (is_seed or value is None or value is np.random or isinstance(value, np.random.RandomState)):
        raise _error("random_state", "an integer from 0 to 2**32 - 1, a numpy.random.RandomState or None", value)


def check_texts(texts: Any) -> None:
    """Refuse what is no list of texts, such as one text, which is a sequence of characters."""
    if isinstance(texts, str):
        raise InputError(f"texts must be a list of texts. Got one text: wrap it in a list, [{texts!r:.60}].")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{i}] must be text. Got {type(text).__name__}: {text!r:.60}.")


def as_numbers(name: str, value: Any) -> NDArray[np.float64]:
    """Return numbers as an array; refuse what holds something else."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers, as a list or an array. Got {value!r:.80}.") from error


def _is_number(value: Any, whole: bool = False) -> bool:
    return isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)


def _error(name: str, allowed: str, value: Any) -> ParameterError:
    return ParameterError(f"{name} must be {allowed}. Got {value!r}.")
