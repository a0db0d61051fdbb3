"""Checks of the files that are to be written, and the rows that go into them."""

from __future__ import annotations

import gzip
import math
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewshot.cli.app import WrongUsage
from fewshot.cli.formats import DELIMITERS, WRITTEN, kind_of
from fewshot.cli.json_rows import as_json
from fewshot.cli.parquet import Schema, need_pyarrow, write_parquet
from fewshot.cli.reading import Rows
from fewshot.cli.table import Table
from fewshot.errors import InputError
from fewshot.extras import need
from fewshot.files import is_plain, name_beside, replace_when_done, unwritable
from fewshot.tables import cells_to_line

__all__ = [
    "Added",
    "check_picture",
    "check_result",
    "check_rows_output",
    "check_screen",
    "check_target",
    "kind_of_output",
    "lines_of",
    "save_rows",
    "sweep",
    "try_writing",
    "with_columns",
]

_ZSTD = ".zst files are written by"


def kind_of_output(output: Path, option: str = "--output") -> str:
    """The kind of rows that a file of this name holds, where it is one that is written."""
    kind, packing = kind_of(output)
    if kind is None or (packing and kind in ("", "parquet")):
        raise WrongUsage(f"{option} {str(output)!r}: {WRITTEN}")
    return {"": "csv", "txt": "csv"}.get(kind, kind)


def check_rows_output(output: Path, inputs: Iterable[Path], option: str = "--output") -> None:
    """Refuse a file of rows that could not be written or would replace an input, before anything is computed."""
    if kind_of_output(output, option) == "parquet":
        need_pyarrow()
    if kind_of(output)[1] == "zstd":
        need("pyarrow", _ZSTD)
    check_target(output, inputs, option)


def check_result(output: Path | None, inputs: Iterable[Path | None]) -> None:
    """Refuse a file for a result in JSON that could not be written, before anything is computed."""
    if output is None:
        return
    if kind_of(output) != ("json", ""):
        raise WrongUsage(f"--output must end with .json, since the result is written as JSON. Got {str(output)!r}.")
    check_target(output, [path for path in inputs if path is not None])


def check_picture(picture: Path, inputs: Iterable[Path] = ()) -> None:
    """Refuse a picture that could not be written, before anything is computed."""
    if picture.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise WrongUsage(f"--picture must be .png, .pdf or .svg. Got {str(picture)!r}.")
    check_target(picture, inputs, "--picture")


def check_target(output: Path, inputs: Iterable[Path] = (), option: str = "--output") -> None:
    """Refuse a file that could not be written, or is one of those that are read, by whatever name."""
    for path in inputs:
        if _is_file_of(sys.stdin if path == Path("-") else path, output):
            read = "on standard input" if path == Path("-") else repr(str(path))
            raise InputError(f"{option} {str(output)!r} is the same file as the input {read}: give another name.")
    try:
        if output.is_dir():
            raise InputError(f"{option} {str(output)!r} is a folder: give the name of a file in it.")
        if not output.parent.is_dir():
            raise InputError(f"The folder {str(output.parent)!r} does not exist: create it, or give another name.")
        if output.exists() and not os.access(output, os.W_OK):
            raise InputError(f"{option} {str(output)!r} exists, and you may not write to it: give another name.")
        if is_plain(output):
            try_writing(output)
    except OSError as error:
        raise unwritable(output, error) from error


def check_screen(inputs: Iterable[Path]) -> None:
    """Refuse to print into a file that is read, as ``>> mail.csv`` does, or where nothing can be printed."""
    if sys.stdout is None:
        raise InputError("Standard output is closed: give --output FILE.")
    for path in inputs:
        if path != Path("-") and _is_file_of(sys.stdout, path):
            raise InputError(f"Standard output goes into the input {str(path)!r}: give another name.")


def _is_file_of(stream: Any, path: Path) -> bool:
    """Whether a stream, or a path, leads to the file of another path, and to no device or pipe."""
    try:
        there = stream.stat() if isinstance(stream, Path) else os.fstat(stream.fileno())
        return stat.S_ISREG(there.st_mode) and os.path.samestat(there, path.stat())
    except (OSError, ValueError, AttributeError):  # one of them is not there, or no file
        return False


def try_writing(output: Path) -> None:
    """Make and remove a file beside it: permissions alone do not say whether one can be made."""
    new = name_beside(output)
    new.touch(exist_ok=False)
    new.unlink(missing_ok=True)


def sweep(output: Path) -> None:
    """Remove what kills have left of this output; nobody else may be writing it."""
    for found in output.parent.iterdir():
        token = found.name.removesuffix(output.suffix[:10]).removesuffix(".tmp")[-12:]
        if re.fullmatch("[0-9a-f]{12}", token) and found == name_beside(output, token):
            found.unlink(missing_ok=True)


#: Rows, and more columns for them.
Added = tuple[Table, Mapping[str, Sequence[Any]]]


def save_rows(
    output: Path,
    source: Rows | Table,
    columns: Sequence[str],
    added: Iterable[Added],
    *,
    schema: Schema,
    types: Mapping[str, str],
) -> None:
    """Write rows with more columns after their own, as the name of the file says, whole or not at all.

    Parameters
    ----------
    output : Path
    source : Rows or Table
        What the rows were read from.
    columns : sequence of str
        All that are written.
    added : iterable of (Table, mapping)
        The rows, part by part, with the columns that are added.
    schema : Schema
        In which the rows' own columns fit; for Parquet alone.
    types : mapping
        What each added column holds: "text", "texts" or "number". For Parquet alone.
    """
    kind = kind_of_output(output)
    with replace_when_done(output) as new:
        if kind == "parquet":
            write_parquet(new, schema, added, types)
            return
        with _packed(new, kind_of(output)[1]) as stream:
            for line in lines_of(kind, source, columns, with_columns(added)):
                stream.write(line.encode())


def with_columns(added: Iterable[Added]) -> Iterator[dict[str, Any]]:
    """Each row with what is added after its own columns."""
    for part, more in added:
        for row, *values in zip(part.rows, *more.values(), strict=True):
            yield {**row, **dict(zip(more, values, strict=True))}


@contextmanager
def _packed(path: Path, packing: str) -> Iterator[Any]:
    with path.open("wb") as raw:
        if packing == "gzip":
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as stream:
                yield stream
        elif packing == "zstd":
            pa = need("pyarrow", _ZSTD)
            with pa.CompressedOutputStream(raw, "zstd") as stream:
                yield stream
        else:
            yield raw


def lines_of(kind: str, source: Rows | Table, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The text of a file of rows, piece by piece as the rows come."""
    if kind == "json":
        before = "[\n"
        for row in rows:
            yield before + as_json(row)
            before = ",\n"
        yield "\n]\n"
    elif kind == "jsonl":
        yield from (as_json(row) + "\n" for row in rows)
    else:
        delimiter = source.delimiter if kind == source.kind else DELIMITERS[kind]
        yield cells_to_line(columns, delimiter)
        for row in rows:
            yield cells_to_line([_cell(row.get(name)) for name in columns], delimiter)


def _cell(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    return as_json(value) if isinstance(value, dict | list) else value
