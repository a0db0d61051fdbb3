"""Delimited text to rows and back: which delimiter it has, its header, its lines; no row is lost on the way."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from fewshot.cli.app import shorten_message
from fewshot.errors import InputError
from fewshot.tables import long_cells

__all__ = ["SNIFFED_SIZE", "Delimited", "sniff", "text_lines"]

_SNIFFED = ",;\t|"
SNIFFED_SIZE = 1 << 16  # characters that are looked at to find the delimiter


def sniff(source: str, usual: str) -> str:
    """The delimiter by which the first rows have as many cells as the header, and more than one; else the usual."""
    head = source[:SNIFFED_SIZE]
    if len(source) > SNIFFED_SIZE:  # the last record may be cut
        head = head[: max(head.rfind("\n"), head.rfind("\r")) + 1] or head
    if _is_even(head, usual):
        return usual
    return next((one for one in _SNIFFED if one != usual and _is_even(head, one)), usual)


def _is_even(head: str, delimiter: str) -> bool:
    try:
        with long_cells():
            records = [own for own in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if own]
    except csv.Error:
        return False
    width = len(records[0]) if records else 0
    whole = records[:-1] or records  # the last may be cut
    return width > 1 and all(len(own) >= width and not any(own[width:]) for own in whole)


@dataclass
class Delimited:
    """A table of text, whose lines can be read again and again.

    A blank line is a row with an empty cell where there is one column, and no row where there are more.
    """

    name: str  # what messages call the file
    delimiter: str
    header: bool
    lines: Callable[[], AbstractContextManager[Iterable[str]]]
    skipped: int = 0  # lines before the first of `lines`
    n_blank: int = 0  # lines that were no rows, when all rows had been read

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns, each of its own; without a header there are as many as in the longest row."""
        if self.header:
            found = self._header()[1]
        else:
            width = max((len(cells) for _, cells in self._records()), default=0)
            found = ["text"] if width <= 1 else [f"column_{i + 1}" for i in range(width)]
        _check_names(found, self.name)
        return found

    def _header(self) -> tuple[int, list[str]]:
        """The first record that is not blank, and its number; where all are, the first is an empty name."""
        found = next(((i, cells) for i, (_, cells) in enumerate(self._records()) if cells), None)
        return (0, [""]) if found is None else found

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every row with the line on which it begins."""
        i, columns, n_blank = 0, self.columns, 0
        for line, cells in self._body():
            if not cells and len(columns) > 1:
                n_blank += 1
            else:
                where = f"{self.name!r}, line {line}, row {i}"
                yield line, dict(zip(columns, _fitted(cells or [""], len(columns), where), strict=True))
                i += 1
        self.n_blank = n_blank

    def _body(self) -> Iterator[tuple[int, list[str]]]:
        return islice(self._records(), self._header()[0] + 1 if self.header else 0, None)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Every record with the line on which it begins."""
        line = 1
        with self.lines() as lines, long_cells():
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
            try:
                for cells in reader:
                    yield line + self.skipped, cells
                    line = reader.line_num + 1
            except csv.Error as error:
                kind = "TSV" if self.delimiter == "\t" else "CSV"
                raise InputError(
                    f"{self.name!r}, after line {line - 1 + self.skipped}: not valid {kind}: {error}. A cell with a "
                    "quote in it is written in quotes, and the quote twice."
                ) from error


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


def text_lines(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """A text a line; only line breaks break lines, and the one at the end begins no other."""
    for number, line in enumerate(lines, 1):
        yield number, {"text": line.rstrip("\r\n")}
