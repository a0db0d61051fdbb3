"""From the rows of files to what a classifier takes: texts or fields, classes, and the rows that are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.cli.app import WrongUsage
from fewshot.cli.files import Rows, column, read
from fewshot.errors import InputError

if TYPE_CHECKING:
    from fewshot.task.template import Template

__all__ = [
    "Data",
    "Source",
    "by_number",
    "check_share",
    "classes_of",
    "fields_of",
    "inputs",
    "labelled",
    "unlabelled_rows",
]


@dataclass(frozen=True)
class Data:
    """Rows and their classes."""

    X: list[Any]
    y: list[Any]

    def take(self, rows: Sequence[int]) -> Data:
        """Some of the rows, in that order."""
        return Data([self.X[i] for i in rows], [self.y[i] for i in rows])

    def drawn(self, shots: int | None, seed: int) -> Data:
        """So many rows of each class, those of a smaller number among those of a larger one; all rows for None.

        Raises
        ------
        InputError
            When a class has fewer rows.
        """
        if shots is None:
            return self
        import numpy as np

        rng = np.random.RandomState(seed)
        chosen = []
        for name in sorted(set(self.y)):
            own = [i for i, label in enumerate(self.y) if label == name]
            if len(own) < shots:
                raise InputError(f"There are {len(own)} rows of the class {name!r} to learn from. --shots is {shots}.")
            chosen.append(rng.permutation(own)[:shots].tolist())
        # one of each class after the other, so that a strategy that takes the first rows sees all classes
        return self.take([i for group in zip(*chosen, strict=True) for i in group])


def fields_of(templates: Sequence[Template | None], text_column: str | None) -> dict[str, str]:
    """The column that each field of the templates is read from.

    Raises
    ------
    WrongUsage
        When one column is named for a template that has several fields.
    """
    columns: dict[str, str] = {}
    for template in templates:
        fields = ("text",) if template is None else template.fields
        if text_column and len(fields) > 1:
            raise WrongUsage(
                f"--text-column names one column, and {template} has the fields {', '.join(fields)}. Leave it out: "
                "each field is read from the column of its own name."
            )
        columns |= {name: text_column or name for name in fields}
    return columns


def inputs(rows: Rows, path: Path, fields: Mapping[str, str]) -> list[Any]:
    """The texts of one column, or for several fields a mapping a row."""
    columns = {name: column(rows, path, source, "--text-column") for name, source in fields.items()}
    if len(set(fields.values())) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def by_number(templates: Sequence[Template | None]) -> bool:
    """Whether rows bring their own choices, so that a class is the number of one."""
    return any(template is not None and template.choices is not None for template in templates)


def classes_of(rows: Rows, path: Path, name: str, numbers: bool = False) -> list[Any]:
    """The class of each row, as text, or where rows bring their own choices as the number of the right one."""
    found: list[Any] = []
    for i, value in enumerate(column(rows, path, name, "--label-column")):
        if value is None or not str(value).strip():
            raise InputError(f"{str(path)!r}, row {i}: the column {name!r} is empty. Label the row, or drop it.")
        if numbers and not str(value).strip().isdecimal():
            raise InputError(
                f"{str(path)!r}, row {i}: the column {name!r} must be the number of the right choice, from 0. Got "
                f"{value!r}."
            )
        found.append(int(value) if numbers else str(value))
    return found


def labelled(path: Path, templates: Sequence[Template | None], text_column: str | None, label_column: str) -> Data:
    """Read a file of labelled rows."""
    fields = fields_of(templates, text_column)
    rows = read(path)
    return Data(inputs(rows, path, fields), classes_of(rows, path, label_column, by_number(templates)))


def unlabelled_rows(path: Path | None, templates: Sequence[Template | None], text_column: str | None) -> list[Any]:
    """Read a file of rows whose labels, where there are any, are not looked at; none without a file."""
    return [] if path is None else inputs(read(path), path, fields_of(templates, text_column))


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
        """The rows to learn from and those to test on; where nothing is learned, the same.

        Raises
        ------
        InputError
            When a part of the rows would lack a class.
        """
        data = labelled(self.file, templates, self.text_column, self.label_column)
        if self.test is not None:
            return data, labelled(self.test, templates, self.text_column, self.label_column)
        if self.share is None:
            return data, data
        from sklearn.model_selection import train_test_split

        try:
            kept, held_out = train_test_split(
                range(len(data.y)), test_size=self.share, random_state=self.seed, stratify=data.y
            )
        except ValueError as error:
            raise InputError(
                f"The rows can't be split with --held-out {self.share:g}, since both parts need rows of each class: "
                f"{error}"
            ) from error
        return data.take(kept), data.take(held_out)
