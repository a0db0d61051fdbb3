"""The rows of a file, with what messages about them need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fewshot.cli.app import shorten_message
from fewshot.errors import InputError

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """Rows, all of a file or some that follow one another, and where they come from."""

    name: str  # what messages call the file
    kind: str  # one of `formats.READ`
    rows: list[dict[str, Any]]
    columns: list[str]  # in their order; where rows differ, in the order in which names come up
    lines: Sequence[int] = ()  # on which each row begins, from 1; empty where the file has none
    delimiter: str = ","
    unnamed: bool = False  # a list of texts: its only column has no name of its own
    headed: bool = False  # the names of the columns were the first line of the file
    arrow: Any = field(default=None, compare=False, repr=False)  # a pyarrow.Table: the rows with their types
    first: int = 0  # the number of the first row, where it is a part of a file

    def where(self, row: int) -> str:
        """What messages call a row."""
        return f"{self.name!r}, " + (f"line {self.lines[row]}, " if self.lines else "") + f"row {self.first + row}"

    def column(self, name: str, option: str = "") -> list[Any]:
        """The values of a column that every row must have; the option is the one by which another is chosen."""
        for i, row in enumerate(self.rows):
            if name not in row:
                there = ", ".join(map(shorten_message, row))
                raise InputError(
                    f"{self.where(i)}: there is no column {name!r}; there are {there}.{self._cure(name, option)}"
                )
        return [row[name] for row in self.rows]

    def _cure(self, name: str, option: str) -> str:
        """Which column may have been meant, or that the first line seems to be a row, and not the names of columns."""
        near = [one for one in self.columns if one.strip().casefold() == name.strip().casefold()]
        if near:
            return f" Choose {near[0]!r} with {option} {near[0]!r}." if option else ""
        cure = f" Choose one with {option}." if option else ""
        if self.headed and any(map(_is_cell, self.columns)):
            cure += " The first line looks like a row and not like names of columns: if it is one, give --no-header."
        return cure


def _is_cell(name: str) -> bool:
    """Whether a name reads like the content of a cell: a sentence, a number, or nothing."""
    try:
        float(name)
    except ValueError:
        return not name or len(name) > 40 or len(name.split()) > 2 or bool(set(name) & set(".!?,;"))
    return True
