"""Parquet, by pyarrow, which is an extra."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fewshot.cli.table import Table
from fewshot.errors import InputError
from fewshot.extras import need

if TYPE_CHECKING:
    from fewshot.cli.content import Content

__all__ = ["Schema", "need_pyarrow", "parquet_columns", "parquet_rows", "write_parquet"]

_GROUP = 1 << 14  # rows that are written together: their texts are all in memory


def need_pyarrow() -> tuple[Any, Any]:
    """The library and its module for Parquet."""
    what = "Parquet files are read and written by"
    return need("pyarrow", what), need("pyarrow.parquet", what)


@contextmanager
def _opened(content: Content) -> Iterator[Any]:
    pa, pq = need_pyarrow()
    stream: IO[bytes]
    with content.seekable() as stream:
        try:
            yield pq.ParquetFile(stream, pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise InputError(f"The file {content.name!r} is not Parquet, or damaged: {error}") from error


def parquet_columns(content: Content) -> list[str]:
    """The names of the columns, of which none may occur twice."""
    with _opened(content) as file:
        names = list(file.schema_arrow.names)
    twice = next((one for i, one in enumerate(names) if one in names[:i]), None)
    if twice is not None:
        raise InputError(f"{content.name!r} has the column {twice!r} twice: give every column a name of its own.")
    return names


def parquet_rows(content: Content, columns: list[str], size: int) -> Iterator[Table]:
    """The rows, so many at a time, with their types."""
    pa, _ = need_pyarrow()
    first = 0
    with _opened(content) as file:
        schema = file.schema_arrow
        for batch in file.iter_batches(batch_size=size):
            arrow = pa.Table.from_batches([batch]).replace_schema_metadata(schema.metadata)
            yield Table(content.name, "parquet", arrow.to_pylist(), columns, arrow=arrow, first=first)
            first += len(batch)


class Schema:
    """The types of columns in which all rows fit, a part of the rows after the other."""

    def __init__(self) -> None:
        self._types: dict[str, Any] = {}
        self._given: Any = None  # the schema of files that have one

    def add(self, part: Table) -> None:
        """Make room for more rows.

        Raises
        ------
        InputError
            When the values of a column are of several types.
        """
        pa, _ = need_pyarrow()
        if part.arrow is not None:
            self._given = self._given or part.arrow.schema
            if not part.arrow.schema.equals(self._given):
                raise InputError(
                    f"{part.name!r} has columns of other types than the file before it. Write .jsonl instead."
                )
            return
        for name in part.columns:
            with _one_type(part, name):
                found = pa.array([row.get(name) for row in part.rows]).type
                both = [pa.schema([(name, own)]) for own in (self._types.get(name, found), found)]
                self._types[name] = pa.unify_schemas(both, promote_options="permissive").field(0).type

    def arrow(self, part: Table) -> Any:
        """The rows with their types."""
        pa, _ = need_pyarrow()
        if part.arrow is not None:
            return part.arrow
        made = {}
        for name, own in self._types.items():
            with _one_type(part, name):
                made[name] = pa.array([row.get(name) for row in part.rows], own)
        return pa.table(made)


@contextmanager
def _one_type(part: Table, column: str) -> Iterator[None]:
    pa, _ = need_pyarrow()
    try:
        yield
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"{part.name!r}: the column {column!r} can't be a column of Parquet, whose values are of one type: "
            f"{error}. Write .jsonl instead."
        ) from error


def write_parquet(
    path: Path, schema: Schema, parts: Iterable[tuple[Table, Mapping[str, Sequence[Any]]]], types: Mapping[str, str]
) -> None:
    """Write rows with more columns after their own, each of "text", "texts" or "number"."""
    pa, pq = need_pyarrow()
    arrow = {"text": pa.string(), "texts": pa.list_(pa.string()), "number": pa.float64()}
    writer, group, n_rows = None, [], 0
    try:
        for part, added in parts:
            found = schema.arrow(part)
            for name, values in added.items():
                found = found.append_column(name, pa.array(values, arrow[types[name]]))
            writer = writer or pq.ParquetWriter(path, found.schema)
            group.append(found)
            n_rows += len(found)
            if n_rows >= _GROUP:
                writer.write_table(pa.concat_tables(group), row_group_size=n_rows)
                group, n_rows = [], 0
        if writer and n_rows:
            writer.write_table(pa.concat_tables(group), row_group_size=n_rows)
    finally:
        if writer:
            writer.close()
