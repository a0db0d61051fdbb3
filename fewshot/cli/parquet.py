"""Parquet, by pyarrow, which is an extra."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot.cli.table import Table
from fewshot.errors import InputError
from fewshot.extras import need

__all__ = ["arrow_of", "need_pyarrow", "parse_parquet", "write_parquet"]


def need_pyarrow() -> tuple[Any, Any]:
    """The library and its module for Parquet."""
    what = "Parquet files are read and written by"
    return need("pyarrow", what), need("pyarrow.parquet", what)


def parse_parquet(data: bytes, name: str) -> tuple[Any, list[dict[str, Any]]]:
    """The table and its rows; no name of a column may occur twice."""
    pa, pq = need_pyarrow()
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = list(file.schema_arrow.names)
        twice = next((one for i, one in enumerate(names) if one in names[:i]), None)
        if twice is None:
            table = file.read()
            return table, table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"The file {name!r} is not Parquet, or damaged: {error}") from error
    raise InputError(f"{name!r} has the column {twice!r} twice: give every column a name of its own.")


def arrow_of(table: Table) -> Any:
    """The rows of any file with types, one for each column."""
    pa, _ = need_pyarrow()
    if table.arrow is not None:
        return table.arrow
    made = {}
    for name in table.columns:
        try:
            made[name] = pa.array([row.get(name) for row in table.rows])
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            raise InputError(
                f"{table.name!r}: the column {name!r} can't be a column of Parquet, whose values are of one type: "
                f"{error}. Write .jsonl instead."
            ) from error
    return pa.table(made)


def write_parquet(path: Path, table: Table, added: Mapping[str, Sequence[Any]]) -> None:
    """Write the rows with more columns after their own: None and text, or None and numbers."""
    pa, pq = need_pyarrow()
    found = arrow_of(table)
    for name, values in added.items():
        text = any(isinstance(value, str) for value in values)
        found = found.append_column(name, pa.array(values, pa.string() if text else pa.float64()))
    pq.write_table(found, path)
