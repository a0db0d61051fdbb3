"""Rows from files and back into them: CSV, TSV, JSON Lines and Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from fewshot.cli.app import WrongUsage
from fewshot.errors import InputError

__all__ = ["check_output", "column", "read", "writer", "written"]

Rows = list[dict[str, Any]]

_JSON_LINES = (".jsonl", ".ndjson")
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": ",", "": ","}  # a pipe has no suffix


def read(path: Path) -> Rows:
    """Read the rows of a file, whose suffix says what it is.

    Raises
    ------
    InputError
        When the file can't be read, is not what its suffix says, or holds no rows; the message names the line.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        rows = _parquet(path)
    elif suffix in _JSON_LINES:
        rows = _json_lines(path, _source(path))
    elif suffix in _DELIMITERS:
        rows = _delimited(path, _source(path), _DELIMITERS[suffix])
    else:
        raise InputError(f"The file {str(path)!r} must be .csv, .tsv, .jsonl or .parquet. Save it as one of these.")
    if not rows:
        raise InputError(f"The file {str(path)!r} holds no rows.")
    return rows


def column(rows: Rows, path: Path, name: str, option: str = "") -> list[Any]:
    """The values of a column that every row must have; the option is the one by which another is chosen."""
    for i, row in enumerate(rows):
        if name not in row:
            cure = f" Choose one with {option}." if option else ""
            raise InputError(f"{str(path)!r}, row {i}: there is no column {name!r}; there are {', '.join(row)}.{cure}")
    return [row[name] for row in rows]


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"The file {str(path)!r} can't be read: {error.strerror or error}.")


def _source(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"The file {str(path)!r} is not UTF-8: byte {error.object[error.start]:#x} at {error.start}. "
            "Save it as UTF-8."
        ) from error


def _parquet(path: Path) -> Rows:
    try:
        table = import_module("pyarrow.parquet").read_table(path)
    except ImportError as error:
        raise InputError("Parquet files are read by pyarrow, which is not installed: pip install pyarrow") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:  # pyarrow's own errors of format are ValueErrors
        raise InputError(f"The file {str(path)!r} is not Parquet: {error}") from error
    return list(table.to_pylist())


def _json_lines(path: Path, source: str) -> Rows:
    rows = []
    for number, line in enumerate(source.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{str(path)!r}, line {number}: not JSON: {error.msg}.") from error
            if not isinstance(row, dict):
                raise InputError(f"{str(path)!r}, line {number}: a row must be an object. Got {type(row).__name__}.")
            rows.append(row)
    return rows


def _delimited(path: Path, source: str, delimiter: str) -> Rows:
    kind = "TSV" if delimiter == "\t" else "CSV"
    if "\0" in source:
        raise InputError(f"The file {str(path)!r} is not {kind}: it holds a NUL byte.")
    reader = csv.DictReader(io.StringIO(source, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError(
            f"{str(path)!r}, after line {reader.line_num}: not valid {kind}: {error}. A cell with a quote in it is "
            "written in quotes, and the quote twice."
        ) from error
    for i, row in enumerate(rows):
        if None in row or None in row.values():
            raise InputError(
                f"{str(path)!r}, row {i}: a row needs {len(reader.fieldnames or ())} columns, as the header has."
            )
    return rows


def check_output(output: Path | None) -> None:
    """Refuse a file that could not be written, before anything is computed."""
    if output is None:
        return
    if output.suffix.lower() not in (*_DELIMITERS, *_JSON_LINES):
        raise WrongUsage(f"--output must be .csv, .tsv or .jsonl. Got {str(output)!r}.")
    if not output.parent.is_dir():
        raise InputError(f"The folder {str(output.parent)!r} does not exist.")


@contextmanager
def written(output: Path | None) -> Iterator[IO[str]]:
    """A stream that becomes the output file only when everything has been written."""
    if output is None:
        yield sys.stdout
        return
    half = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with half.open("x", encoding="utf-8", newline="") as stream:
            yield stream
        half.replace(output)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def writer(stream: IO[str], rows: Rows, added: list[str], suffix: str) -> Callable[[dict[str, Any]], object]:
    """A function that writes one row, with the added columns after those of the rows."""
    if suffix.lower() in _JSON_LINES:
        return lambda row: stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    columns: Mapping[str, None] = dict.fromkeys([*(key for row in rows for key in row if key not in added), *added])
    table = csv.DictWriter(stream, list(columns), delimiter=_DELIMITERS.get(suffix.lower(), ","), lineterminator="\n")
    table.writeheader()
    return table.writerow
