"""What every room asks of a value alike."""

from __future__ import annotations

import numbers
from decimal import Decimal
from typing import Any

import numpy as np

__all__ = ["is_missing"]

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
