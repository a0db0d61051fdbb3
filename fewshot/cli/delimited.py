"""Delimited text to rows and back: which delimiter it has, its header, its lines; no row is lost on the way."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fewshot.cli.app import shorten_message
from fewshot.errors import InputError

__all__ = ["Delimited", "cells_to_line", "parse_delimited", "sniff", "text_lines"]

_SNIFFED = ",;\t|"
_HEAD = 1 << 16  # characters that are looked at to find the delimiter
_LARGEST = min(sys.maxsize, 2**31 - 1)  # of a cell, as the C type of the module takes it everywhere


@dataclass(frozen=True)
class Delimited:
    """The names of the columns, the cells of each row, and the line on which each begins."""

    columns: list[str]
    cells: list[list[str]]
    lines: list[int]
    n_blank: int = 0  # lines that were no rows

    def rows(self) -> list[dict[str, Any]]:
        """The rows by the names of their columns."""
        return [dict(zip(self.columns, own, strict=True)) for own in self.cells]


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(_LARGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def sniff(source: str, usual: str) -> str:
    """The delimiter by which the first rows have as many cells as the header, and more than one; else the usual."""
    head = source[:_HEAD]
    if len(source) > _HEAD:  # the last record may be cut
        head = head[: max(head.rfind("\n"), head.rfind("\r")) + 1] or head
    if _is_even(head, usual):
        return usual
    return next((one for one in _SNIFFED if one != usual and _is_even(head, one)), usual)


def _is_even(head: str, delimiter: str) -> bool:
    try:
        with _long_cells():
            records = [own for own in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if own]
    except csv.Error:
        return False
    width = len(records[0]) if records else 0
    whole = records[:-1] or records  # the last may be cut
    return width > 1 and all(len(own) >= width and not any(own[width:]) for own in whole)


def parse_delimited(source: str, name: str, delimiter: str, header: bool) -> Delimited:
    """Read the rows of a table of text; what is no such table is refused, by its line.

    A blank line is a row with an empty cell where there is one column, and no row where there are more.
    """
    records = _records(source, name, delimiter)
    if not records:
        return Delimited([], [], [])
    if header:
        first = next((i for i, (_, cells) in enumerate(records) if cells), 0)
        columns = records[first][1] or [""]
        body = records[first + 1 :]
    else:
        width = max(len(cells) for _, cells in records)
        columns = ["text"] if width <= 1 else [f"column_{i + 1}" for i in range(width)]
        body = records
    _check_names(columns, name)
    one = len(columns) == 1
    kept = [(line, cells or [""]) for line, cells in body if cells or one]
    cells = [_fitted(own, len(columns), f"{name!r}, line {line}, row {i}") for i, (line, own) in enumerate(kept)]
    return Delimited(columns, cells, [line for line, _ in kept], len(body) - len(kept))


def _records(source: str, name: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Every record with the line on which it begins."""
    reader = csv.reader(io.StringIO(source, newline=""), delimiter=delimiter, strict=True)
    found = []
    line = 1
    try:
        with _long_cells():
            for cells in reader:
                found.append((line, cells))
                line = reader.line_num + 1
    except csv.Error as error:
        kind = "TSV" if delimiter == "\t" else "CSV"
        raise InputError(
            f"{name!r}, after line {line - 1}: not valid {kind}: {error}. A cell with a quote in it is "
            "written in quotes, and the quote twice."
        ) from error
    return found


def _check_names(columns: Sequence[str], file: str) -> None:
    for i, one in enumerate(columns):
        if one in columns[:i]:
            empty = ", ".join(str(k + 1) for k, name in enumerate(columns) if not name)
            twice = f"the column {shorten_message(one)} twice" if one else f"no name for the columns {empty}"
            raise InputError(f"{file!r} has {twice} in its header: give every column a name of its own.")


def _fitted(cells: list[str], width: int, where: str) -> list[str]:
    """A row of as many cells as there are columns; empty ones after the last say nothing."""
    if len(cells) > width and not any(cells[width:]):
        cells = cells[:width]
    if len(cells) != width:
        raise InputError(
            f"{where}: a row needs {width} columns, as the header has. Got {len(cells)}. A cell with the delimiter in "
            "it is written in quotes."
        )
    return cells


def text_lines(source: str) -> Delimited:
    """A text a line; only line breaks break lines, and the one at the end begins no other."""
    if not source:
        return Delimited(["text"], [], [])
    lines = [line.rstrip("\r\n") for line in io.StringIO(source, newline="")]
    return Delimited(["text"], [[line] for line in lines], list(range(1, len(lines) + 1)))


def cells_to_line(cells: Iterable[Any], delimiter: str) -> str:
    """One line of a delimited file, which reads as these cells again."""
    stream = io.StringIO(newline="")
    # a cell is quoted where it holds a character of the terminator: only thus is a lone carriage return quoted too
    csv.writer(stream, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return stream.getvalue().removesuffix("\r\n") + "\n"
