"""From the rows of files to what a classifier takes: texts or fields, classes, and the rows that are held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.checks import is_blank
from fewshot.cli.app import WrongUsage
from fewshot.cli.formats import Format, kind_of
from fewshot.cli.reading import read
from fewshot.cli.table import Table
from fewshot.errors import InputError
from fewshot.labels import in_turn, orders_of_classes

if TYPE_CHECKING:
    from fewshot.task.template import Template

__all__ = [
    "Data",
    "Inputs",
    "Source",
    "by_number",
    "check_share",
    "check_standard_input",
    "classes_of",
    "fields_of",
    "read_beside",
    "read_labelled",
    "take_inputs",
]


_LONGEST_NUMBER = 6  # of a choice in a row
_TOLD = 5  # rows that a message names


@dataclass(frozen=True)
class Data:
    """Rows and their classes."""

    X: list[Any]
    y: list[Any]
    numbers: Sequence[int] = ()  # of the rows in their file; empty where they are all of it

    def take(self, rows: Sequence[int]) -> Data:
        """Some of the rows, in that order."""
        return Data([self.X[i] for i in rows], [self.y[i] for i in rows], [self.number(i) for i in rows])

    def number(self, row: int) -> int:
        """The number of a row in its file."""
        return self.numbers[row] if self.numbers else row

    def drawn(self, shots: int | None, seed: int) -> Data:
        """So many rows of each class, those of a smaller number among those of a larger one; all rows for None."""
        if shots is None:
            return self
        orders = orders_of_classes(self.y, np.random.RandomState(seed))
        for name, own in orders.items():
            if len(own) < shots:
                raise InputError(
                    f"--shots {shots} needs {shots} rows of each class to learn from. The class {name!r} has "
                    f"{len(own)}: lower --shots, or label more rows."
                )
        return self.take(in_turn(orders, shots))


def fields_of(templates: Sequence[Template | None], text_column: str | None) -> dict[str, str]:
    """The column that each field of the templates is read from; one named column is for one field."""
    columns: dict[str, str] = {}
    for template in templates:
        fields = ("text",) if template is None else template.fields
        if text_column is not None and len(fields) > 1:
            raise WrongUsage(
                f"--text-column names one column, and {template} has the fields {', '.join(fields)}. Leave it out: "
                "each field is read from the column of its own name."
            )
        columns |= {name: name if text_column is None else text_column for name in fields}
    return columns


def take_inputs(table: Table, fields: Mapping[str, str], *, empty: bool = False) -> list[Any]:
    """The texts of one column, or for several fields a mapping a row; None for a row without text, where that may be.

    The message about rows without text names them.
    """
    inputs = Inputs(table, fields)
    inputs.look(table)
    inputs.check(empty)
    return inputs.take(table)


class Inputs:
    """What is taken from the rows of a table, part by part, and which rows had no text.

    Parameters
    ----------
    table : Table
        A part of it.
    fields : mapping
        The column of each field.
    name : str, optional
        What messages call the whole. None: as they call the part.
    """

    def __init__(self, table: Table, fields: Mapping[str, str], name: str | None = None) -> None:
        self._name, self._columns = name or table.name, dict(fields)
        if table.unnamed and len(fields) == 1 and set(fields.values()) == set(fields):  # no column was named
            self._columns = dict.fromkeys(fields, table.columns[0])
        self.n_rows = self.n_blank = 0
        self.blank: list[str] = []  # the first rows without text, as messages call them

    def take(self, part: Table) -> list[Any]:
        """The text of each row, or its fields; None where there is no text."""
        columns = {name: part.column(source, "--text-column") for name, source in self._columns.items()}
        found: list[Any]
        if len(set(self._columns.values())) == 1:
            found = next(iter(columns.values()))
            _check_texts(part, found, next(iter(self._columns.values())))
            blank = [is_blank(cell) for cell in found]
        else:
            found = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
            blank = [all(map(is_blank, row.values())) for row in found]
        return [None if one else row for one, row in zip(blank, found, strict=True)]

    def look(self, part: Table) -> None:
        """Count the rows, and those without text."""
        for i, one in enumerate(self.take(part)):
            self.n_rows += 1
            if one is not None:
                continue
            self.n_blank += 1
            if len(self.blank) < _TOLD:
                line = f" (line {part.lines[i]})" if part.lines else ""
                self.blank.append(f"{part.first + i}{line}" if part.name == self._name else part.where(i))

    def check(self, empty: bool) -> None:
        """Refuse rows without text, unless there may be some; and a table of such rows.

        Raises
        ------
        InputError
            When there are.
        """
        if self.n_blank and not empty:
            more = f" and {self.n_blank - _TOLD} more" if self.n_blank > _TOLD else ""
            which = f"row {self.blank[0]} has" if self.n_blank == 1 else f"rows {', '.join(self.blank)}{more} have"
            raise InputError(
                f"{self._name!r}: {which} no text. Fill in or drop what is empty; fewshot classify --skip-empty passes "
                "it over."
            )
        if self.n_blank == self.n_rows:
            columns = " or ".join(map(repr, dict.fromkeys(self._columns.values())))
            raise InputError(f"No row of {self._name!r} has text in {columns}.")


def _check_texts(table: Table, cells: Sequence[Any], column: str) -> None:
    for i, cell in enumerate(cells):
        if not isinstance(cell, str) and not is_blank(cell):
            raise InputError(
                f"{table.where(i)}: the column {column!r} must be text. Got {type(cell).__name__}: {cell!r:.40}. "
                "Choose another with --text-column, or write it as text."
            )


def by_number(templates: Sequence[Template | None]) -> bool:
    """Whether rows bring their own choices, so that a class is the number of one."""
    return any(template is not None and template.choices is not None for template in templates)


def classes_of(table: Table, name: str, numbers: bool = False) -> list[Any]:
    """The class of each row, as text, or where rows bring their own choices as the number of the right one."""
    found: list[Any] = []
    for i, value in enumerate(table.column(name, "--label-column")):
        if is_blank(value):
            raise InputError(f"{table.where(i)}: the column {name!r} is empty. Label the row, or drop it.")
        if isinstance(value, list | dict):
            raise InputError(f"{table.where(i)}: the column {name!r} must be one class. Got {value!r:.60}.")
        if numbers and not (str(value).strip().isdecimal() and len(str(value)) < _LONGEST_NUMBER):
            raise InputError(
                f"{table.where(i)}: the column {name!r} must be the number of the right choice, from 0. Got {value!r}."
            )
        found.append(int(value) if numbers else str(value))
    return found


def read_labelled(
    path: Path,
    templates: Sequence[Template | None],
    text_column: str | None,
    label_column: str,
    form: Format | None = None,
) -> Data:
    """Read a file of labelled rows."""
    fields = fields_of(templates, text_column)
    table = read(path, form)
    return Data(take_inputs(table, fields), classes_of(table, label_column, by_number(templates)))


def read_beside(path: Path, form: Format, others: Mapping[Path, Callable[[], Table]] | None = None) -> Table:
    """Read another file of a command, of which the format says less; a file that is open already is read as it is."""
    if others and path in others:
        return others[path]()
    kind = kind_of(path)[0]
    return read(path, form.beside().fits(kind) if kind else form.beside())


def check_standard_input(*paths: Path | None) -> None:
    """Refuse to read standard input twice, before it is read."""
    if sum(path == Path("-") for path in paths) > 1:
        raise WrongUsage("Standard input can be read once: give '-' for one file, and names for the others.")


def check_share(share: float) -> None:
    """Refuse what is no share of rows."""
    if not 0 < share < 1:
        raise WrongUsage(f"--held-out must be a share above 0 and below 1, such as 0.5. Got {share:g}.")


@dataclass(frozen=True)
class Source:
    """Where the rows come from, and which of them are tested on."""

    file: Path
    test: Path | None
    share: float | None
    text_column: str | None
    label_column: str
    seed: int
    form: Format = field(default_factory=Format)

    def check(self, learns: bool) -> None:
        """Refuse what can't be meant, before a file is read."""
        if self.test is not None and self.share is not None:
            raise WrongUsage("Give --test FILE or --held-out SHARE, not both.")
        if self.share is not None:
            check_share(self.share)
        elif self.test is None and learns:
            raise WrongUsage(
                "Say which rows to test on: --test FILE, or --held-out 0.5 for half of these. Only with --shots 0 are "
                "all of them tested on, since nothing is learned from them."
            )

    def read(self, templates: Sequence[Template | None]) -> tuple[Data, Data]:
        """The rows to learn from and those to test on, both with every class; where nothing is learned, the same."""
        data = read_labelled(self.file, templates, self.text_column, self.label_column, self.form)
        if self.test is not None:
            form = self.form if kind_of(self.test)[0] in ("", kind_of(self.file)[0]) else self.form.beside()
            return data, read_labelled(self.test, templates, self.text_column, self.label_column, form)
        if self.share is None:
            return data, data
        from sklearn.model_selection import train_test_split

        try:
            kept, held_out = train_test_split(
                range(len(data.y)), test_size=self.share, random_state=self.seed, stratify=data.y
            )
        except ValueError as error:
            raise InputError(
                f"The rows can't be split with --held-out {self.share:g}: {error}. Both parts need rows of each class. "
                "Give another share, or more rows."
            ) from error
        return data.take(kept), data.take(held_out)
