"""Batches of rows as others hand them out: mappings of columns, frames of pandas, tables of pyarrow.

None of the libraries is imported before a batch of its own comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fewshot.checks import is_missing
from fewshot.errors import InputError
from fewshot.extras import need
from fewshot.models.base import FloatArray

__all__ = ["Added", "Batch", "batch_of"]

#: Columns by name: texts, None where there is none, or numbers, NaN where there is none.
Added = Mapping[str, Sequence[str | None] | FloatArray]


class Batch(Protocol):
    """A batch, whatever it is."""

    names: list[Any]

    def __len__(self) -> int: ...

    def cells(self, name: str) -> list[Any]:
        """The values of a column."""
        ...

    def with_columns(self, added: Added) -> Any:
        """The same batch with further columns behind its own; their types do not depend on what is in them."""
        ...


def batch_of(given: Any) -> Batch:
    """Recognise a batch by what it can do.

    Raises
    ------
    InputError
        When it is none, or its columns have different lengths.
    """
    if isinstance(given, Mapping):
        return _Columns(given)
    if hasattr(given, "assign") and hasattr(given, "columns"):
        return _Frame(given)
    if hasattr(given, "append_column") and hasattr(given, "schema"):
        return _Arrow(given)
    kind = type(given)
    raise InputError(
        "A batch must be a mapping of columns, {'text': [...]}, a DataFrame of pandas, or a table of pyarrow. Got "
        f"{kind.__module__}.{kind.__qualname__}."
    )


class _Columns:
    """A mapping of arrays or lists."""

    def __init__(self, given: Mapping[Any, Any]) -> None:
        lengths = {name: len(cells) for name, cells in given.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"The columns of a batch must have one length. Got {lengths}.")
        self._given, self._len = given, next(iter(lengths.values()), 0)
        self.names = list(lengths)

    def __len__(self) -> int:
        return self._len

    def cells(self, name: str) -> list[Any]:
        return _plain(self._given[name])

    def with_columns(self, added: Added) -> dict[Any, Any]:
        lists = all(isinstance(self._given[name], list | tuple) for name in self.names)
        return dict(self._given) | {
            name: _listed(_plain(values)) if lists else _array(values) for name, values in added.items()
        }


class _Frame:
    """A DataFrame of pandas."""

    def __init__(self, given: Any) -> None:
        self._given, self.names = given, list(given.columns)

    def __len__(self) -> int:
        return len(self._given)

    def cells(self, name: str) -> list[Any]:
        return _plain(self._given[name])

    def with_columns(self, added: Added) -> Any:
        import pandas as pd

        # whatever the version, and also where no row has a prediction
        made = {name: _array(values, lambda texts: pd.array(texts, dtype="string")) for name, values in added.items()}
        return self._given.assign(**made)


class _Arrow:
    """A table or record batch of pyarrow."""

    def __init__(self, given: Any) -> None:
        self._given, self.names = given, list(given.schema.names)

    def __len__(self) -> int:
        return int(self._given.num_rows)

    def cells(self, name: str) -> list[Any]:
        return list(self._given.column(name).to_pylist())

    def with_columns(self, added: Added) -> Any:
        pa = need("pyarrow", "The batch is a table of")
        found = self._given
        for name, values in added.items():
            numbers = isinstance(values, np.ndarray)
            array = pa.array(_listed(_plain(values)), pa.float64() if numbers else pa.string())
            found = found.append_column(pa.field(name, array.type), array)
        return found


def _plain(cells: Any) -> list[Any]:
    """The values of a column as Python's own, those that are arrays as lists."""
    values = cells.tolist() if hasattr(cells, "tolist") else list(cells)
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in values]


def _listed(values: Any) -> list[Any]:
    """A column as a list, with None where there is no value."""
    return [None if is_missing(value) else value for value in values]


def _array(values: Any, texts: Any = lambda values: np.array(values, dtype=object)) -> Any:
    """A column of numbers as it is; one of texts as what holds them."""
    return values if isinstance(values, np.ndarray) else texts(values)
