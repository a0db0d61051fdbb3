"""Class labels as plain data: what counts as text, what is no label, and which labels are hardly two."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from fewshot.checks import is_missing
from fewshot.errors import FewshotWarning, VerbalizerError, warn

__all__ = ["named_class", "plain_label", "warn_of_lookalikes"]


def plain_label(value: Any) -> Any:
    """The label as plain Python data, so that NumPy, JSON and a dict take it for the same.

    Text is text, also as a member of ``class Topic(str, Enum)``; numbers of arrays and tensors are numbers.

    Examples
    --------
    >>> import numpy as np
    >>> plain_label(np.str_("billing")), plain_label(np.int64(3)), plain_label(np.bool_(True))
    ('billing', 3, True)
    """
    if isinstance(value, str):
        return str.__str__(value)
    if value is np.ma.masked:
        return None
    if hasattr(value, "as_py"):  # a scalar of pyarrow
        return plain_label(value.as_py())
    if isinstance(value, np.datetime64 | np.timedelta64):  # in nanoseconds they would become integers
        value = value.astype(f"{value.dtype.kind}8[us]")
    if isinstance(value, np.generic):
        return value.item()
    if getattr(value, "shape", None) == ():  # one number of a tensor
        return plain_label(value.item() if hasattr(value, "item") else np.asarray(value)[()])
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value


def named_class(value: Any) -> Any:
    """A class that somebody named, as plain data.

    Raises
    ------
    VerbalizerError
        When it is missing, as NaN is: no row could be of it.
    """
    name = plain_label(value)
    if is_missing(name):
        raise VerbalizerError(f"A class can't be {value!r}, which marks what is missing: give it a name.")
    return name


def warn_of_lookalikes(classes: Iterable[Any]) -> None:
    """Warn where two classes differ only in what a reader hardly sees: case, blanks, or how Unicode writes a letter."""
    seen: dict[str, str] = {}
    names = [name for name in classes if isinstance(name, str)]
    pairs = [(seen.setdefault(_bare(name), name), name) for name in names]
    pairs = [(first, name) for first, name in pairs if first != name]
    if pairs:
        shown = ", ".join(f"{first!r} and {second!r}" for first, second in pairs[:5])
        warn(
            f"Some classes differ only in case, blanks or Unicode form, and count as two: {shown}. Make them equal if "
            "they are meant to be one class.",
            FewshotWarning,
        )


def _bare(name: str) -> str:
    """The name without what a reader hardly sees."""
    shown = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return " ".join(shown.split()).casefold()
