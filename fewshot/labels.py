"""Class labels as plain data: what counts as text, what is no label, and which labels are hardly two."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.checks import is_missing
from fewshot.errors import FewshotWarning, VerbalizerError, warn

__all__ = [
    "are_numbers",
    "in_turn",
    "named_class",
    "nearest_pairs",
    "orders_of_classes",
    "plain_label",
    "warn_of_lookalikes",
    "warn_of_names_read_alike",
]

#: Two class prompts are read alike where they are less far apart than this share of the median pair: with few classes,
#: and with more, whose names are finer. By benchmarks/settle/names_alike.py no set of public data is below.
ALIKE, ALIKE_OF_MANY, FEW = 0.13, 0.02, 20
_SAME = 1e-6  # of a cosine: computed in two batches, equal vectors differ by less
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


def are_numbers(names: Iterable[Any]) -> bool:
    """Whether the classes of a file, where all is text, are numbers and not names that a model could know.

    Examples
    --------
    >>> are_numbers(["0", "1.5"]), are_numbers(["1", "many"]), are_numbers([])
    (True, False, False)
    """
    found = [isinstance(name, str) and _NUMBER.fullmatch(name) is not None for name in names]
    return bool(found) and all(found)


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
    """A class that somebody named, as plain data; refused where it is missing, as NaN is: no row could be of it."""
    name = plain_label(value)
    if is_missing(name):
        raise VerbalizerError(f"A class can't be {value!r}, which marks what is missing: give it a name.")
    return name


def orders_of_classes(
    labels: Sequence[Any], rng: np.random.RandomState, rows: Iterable[int] | None = None
) -> dict[Any, NDArray[np.int64]]:
    """The rows of each class in a drawn order, the classes sorted; of a short draw they are among those of a longer.

    Examples
    --------
    >>> import numpy as np
    >>> orders = orders_of_classes(["b", "a", "b"], np.random.RandomState(0))
    >>> {name: sorted(rows.tolist()) for name, rows in orders.items()}
    {'a': [1], 'b': [0, 2]}
    """
    own: dict[Any, list[int]] = {name: [] for name in sorted(set(labels))}
    for i in range(len(labels)) if rows is None else rows:
        own[labels[i]].append(i)
    return {name: rng.permutation(numbers) for name, numbers in own.items()}


def in_turn(orders: Mapping[Any, NDArray[np.int64]], n: int) -> list[int]:
    """The first n rows of each class, one of each after the other: whoever takes the first rows sees all classes."""
    return np.stack([rows[:n] for rows in orders.values()], axis=1).ravel().tolist()


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


def nearest_pairs(vectors: NDArray[Any]) -> list[tuple[tuple[int, int], float]]:
    """The pairs of unit vectors, nearest first, each with 1 - cosine over the median of all pairs; 0 of equal ones.

    The share does not depend on how near to each other an encoder puts all texts. Of a single pair it is 1.

    Examples
    --------
    >>> import numpy as np
    >>> nearest_pairs(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))[0]
    ((0, 2), 0.0)
    """
    first, second = np.triu_indices(len(vectors), k=1)
    apart = np.maximum(1 - (vectors @ vectors.T)[first, second], 0)
    shares = np.where(apart <= _SAME, 0, apart / max(float(np.median(apart)), _SAME))
    order = np.argsort(shares, kind="stable").tolist()
    return [((int(first[i]), int(second[i])), float(shares[i])) for i in order]


def warn_of_names_read_alike(classes: Sequence[Any], vectors: NDArray[Any]) -> None:
    """Warn where an encoder puts the prompts of two classes so near to each other that it can't tell their texts apart.

    What differs only in what a reader hardly sees is left out: `warn_of_lookalikes` tells of that.
    """
    if len(vectors) < 2:
        return
    least = ALIKE if len(vectors) <= FEW else ALIKE_OF_MANY
    near = [(classes[i], classes[j]) for (i, j), share in nearest_pairs(vectors) if share < least]
    pairs = [(a, b) for a, b in near if _bare(str(a)) != _bare(str(b))]
    if pairs:
        shown = ", ".join(f"{a!r} and {b!r}" for a, b in pairs[:5])
        warn(
            f"The model reads the names of some classes alike, and can hardly tell their texts apart: {shown}. Give "
            "them other names, or descriptions, fit(None, {name: description}), or make them one class.",
            FewshotWarning,
        )


def _bare(name: str) -> str:
    """The name without what a reader hardly sees."""
    shown = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return " ".join(shown.split()).casefold()
