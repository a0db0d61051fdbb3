"""What somebody said of rows, on the disk the moment it is said: a CSV file of labels, and one of rows without one.

``labels.csv`` has the columns row, the text, label, guess and chosen: `fewshot fit` and pandas read it as it is.
``labels.skipped.csv`` has the rows that were skipped or are of none of the classes. A label is appended; where one is
taken back or replaced, the file is written anew beside itself and renamed. So both are whole at any moment.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from fewshot.errors import InputError, UnsupportedError, printable
from fewshot.files import open_locked, replace_when_done, sync, unwritable
from fewshot.inputs import Row
from fewshot.tables import cells_to_line, long_cells

__all__ = ["NONE", "SKIPPED", "Given", "LabelsFile"]

#: Why a row has no label.
SKIPPED, NONE = "skipped", "none of these"
_CHANCE, _MODEL = "by chance", "by the model"
_DIGITS = 16  # of the number of a row


class Given(NamedTuple):
    """What somebody said of a row."""

    row: int
    label: str | None  # None: no class, for the reason `why`
    why: str = ""
    guess: str = ""  # the class that was held for most probable before; "" where no guess was shown
    by_chance: bool = False  # whether the row was drawn by chance

    def cells(self) -> list[str]:
        """What stands after the text in its file."""
        chosen = _CHANCE if self.by_chance else _MODEL
        return [self.why] if self.label is None else [self.label, self.guess, chosen]


class LabelsFile:
    """The labels of a data set on the disk, which one process at a time may add to.

    Parameters
    ----------
    path : Path
        It ends with .csv. Made with the first label, if it is not there.
    rows : sequence
        The data set: a text a row, or fields by name.
    data : str
        What messages call the data set.

    Attributes
    ----------
    given : dict of int to Given
        By row, in the order in which it was said.
    notes : list of str
        What was odd about files that an earlier run left.

    Raises
    ------
    InputError
        When the files are of another data set or no such files, another process is at them, or they can't be written.
    UnsupportedError
        When a field of the rows has the name of another column of the file.
    """

    def __init__(self, path: Path, rows: Sequence[Row], data: str = "the data") -> None:
        if path.suffix != ".csv":
            raise InputError(f"The file of labels must end with .csv. Got {str(path)!r}.")
        self.path, self.skipped_path = path, path.with_suffix(".skipped.csv")
        self._rows, self._data = rows, data
        fields = ["text"] if isinstance(rows[0], str) else list(rows[0])
        clash = {"row", "label", "guess", "chosen", "why"} & set(fields)
        if clash:
            raise UnsupportedError(f"The file of labels has a column {min(clash)!r} of its own: rename the field.")
        self._fields = fields
        self.notes: list[str] = []
        self._lock = self._locked()
        try:
            self._labels = _Records(self.path, ["row", *fields, "label", "guess", "chosen"])
            self._others = _Records(self.skipped_path, ["row", *fields, "why"])
            both = (self._others, self._labels)
            found = [self._taken(cells, where, own) for own in both for where, cells in own.read()]
            self.notes += [note for own in both for note in own.notes]
        except BaseException:
            self.close()
            raise
        self.given = {one.row: one for one in found}
        if len(self.given) < len(found):  # a kill came between the two files: the label counts
            self.notes.append("A row was both labelled and skipped: its label counts.")

    def give(self, one: Given) -> None:
        """Keep what was said of a row in place of what was said before; it is on the disk when this returns.

        Raises
        ------
        InputError
            When it can't be written, or another program has changed the file: then nothing has changed.
        """
        before = self.given.get(one.row)
        own = self._of(one)
        left = {row: given for row, given in self.given.items() if row != one.row}
        if before is not None and self._of(before) is own:
            own.write(self._lines([*left.values(), one], own))
        else:
            own.add(self._line(one), self._lines(self.given.values(), own))
        other = self._others if own is self._labels else self._labels
        if before is not None and self._of(before) is other:
            # of a row in both files the label counts: what stays in the file of skipped rows does no harm
            with suppress(InputError) if other is self._others else nullcontext():
                other.write(self._lines(left.values(), other))
        self.given = {**left, one.row: one}

    def take_back(self, *rows: int) -> None:
        """Forget what was said of rows, all of them labelled or all of them not.

        Raises
        ------
        InputError
            As `give`.
        """
        if not rows:
            return
        own = self._of(self.given[rows[0]])
        left = {row: given for row, given in self.given.items() if row not in rows}
        own.write(self._lines(left.values(), own))
        self.given = left

    def close(self) -> None:
        """Let another process at the files."""
        if self._lock is not None:
            with suppress(OSError):
                self._lock_path.unlink()
            self._lock.close()
            self._lock = None

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.lock")

    def _locked(self) -> Any:
        try:
            lock = open_locked(self._lock_path)
        except OSError as error:
            raise unwritable(self.path, error) from error
        if lock is None:
            raise InputError(
                f"Another page uses {str(self.path)!r}: use that one, end it, or give another file for the labels."
            )
        return lock

    def _of(self, one: Given) -> _Records:
        return self._others if one.label is None else self._labels

    def _lines(self, given: Iterable[Given], own: _Records) -> list[str]:
        return [self._line(one) for one in given if self._of(one) is own]

    def _line(self, one: Given) -> str:
        return cells_to_line([one.row, *self._texts(one.row), *one.cells()], ",")

    def _texts(self, row: int) -> list[str]:
        """The cells of a row's own text; half of a surrogate pair has no place in a file of UTF-8."""
        own = self._rows[row]
        texts = [own] if isinstance(own, str) else [own[name] for name in self._fields]
        return [_whole(str(one)) for one in texts]

    def _taken(self, cells: list[str], where: str, own: _Records) -> Given:
        """What a record says, if it is of this data set."""
        n, (row, *texts) = len(self._fields), cells
        if not (row.isascii() and row.isdecimal() and len(row) < _DIGITS) or int(row) >= len(self._rows):
            raise InputError(f"{where}: {self._data} has no row {row!r}, but {len(self._rows)} rows. {_OTHER}")
        if texts[:n] != self._texts(int(row)):
            raise InputError(f"{where}: row {row} of {self._data} is another text. {_OTHER}")
        if own is self._others:
            return Given(int(row), None, cells[-1])
        label, guess, chosen = cells[-3:]
        if not label.strip():
            raise InputError(f"{where}: the label is empty. Drop the line, and the row is asked again.")
        return Given(int(row), label, "", guess, chosen == _CHANCE)


_OTHER = "The labels are of other data: give another file for them (--output)."


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class _Records:
    """A CSV file with a header that it must have, and lines after it; whole at any moment."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self._columns = path, list(columns)
        self._mark: Any = None  # what the file was when we last wrote or read it; None: there is none to append to
        self.notes: list[str] = []

    def read(self) -> list[tuple[str, list[str]]]:
        """The records, each with what messages call it; one that a crash tore at the end is dropped."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"The file {str(self.path)!r} can't be read: {error.strerror or error}.") from error
        if not content:
            return []
        found, torn = self._parsed(content)
        self._mark = _mark_of(self.path)
        if torn:
            self.notes.append(f"The last line of {str(self.path)!r} was cut off when it was written, and is dropped.")
            self.write([cells_to_line(cells, ",") for _, cells in found])
        return found

    def _parsed(self, content: bytes) -> tuple[list[tuple[str, list[str]]], bool]:
        torn = not content.endswith(b"\n")
        text = content.decode("utf-8-sig", "ignore" if torn else "strict") if _is_utf8(content, torn) else None
        if text is None:
            raise InputError(f"{str(self.path)!r} is not UTF-8: give another file for the labels (--output).")
        records: list[tuple[str, list[str]]] = []
        line = 1
        with long_cells():
            reader = csv.reader(io.StringIO(text, newline=""), strict=True)
            try:
                for cells in reader:
                    records.append((f"{str(self.path)!r}, line {line}", cells))
                    line = reader.line_num + 1
            except csv.Error as error:
                if not torn:
                    raise InputError(f"{str(self.path)!r}, line {line}: not valid CSV: {error}.") from error
            else:
                if torn:
                    records.pop()
        header = records[0][1] if records else []
        if records and header != self._columns:
            raise InputError(
                f"{str(self.path)!r} has the columns {printable(', '.join(header)):.200}, and a file of these labels "
                f"{', '.join(self._columns)}. Give another file for the labels (--output)."
            )
        for where, cells in records[1:]:
            if len(cells) != len(self._columns):
                raise InputError(f"{where}: {len(cells)} cells, where the header has {len(self._columns)}.")
        return records[1:], torn

    def add(self, line: str, before: list[str]) -> None:
        """Append a line; where there is no file yet, or it was removed, it begins with those before."""
        if self._mark is None or not self.path.exists():
            self.write([*before, line])
            return
        self._check()
        size = self._mark[1]
        try:
            with self.path.open("r+b") as file:
                try:
                    file.seek(size)
                    file.write(line.encode())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    self._mark = None  # if a part of the line stays, the next label writes the file anew
                    with suppress(OSError):
                        os.truncate(self.path, size)
                        self._mark = _mark_of(self.path)
                    raise
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._mark = _mark_of(self.path)

    def write(self, lines: list[str]) -> None:
        """Replace the file in one step."""
        if self._mark is not None and self.path.exists():
            self._check()
        with replace_when_done(self.path) as new:
            new.write_bytes("".join([cells_to_line(self._columns, ","), *lines]).encode())
        self._mark = _mark_of(self.path)
        with suppress(OSError):  # some file systems can't
            sync(self.path.resolve().parent)

    def _check(self) -> None:
        if _mark_of(self.path) != self._mark:
            raise InputError(
                f"Another program has changed {str(self.path)!r}: nothing was written over it. Start the page again."
            )


def _mark_of(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_utf8(content: bytes, torn: bool) -> bool:
    """Whether it is; where its end is torn, but for a last character."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return torn and error.start >= len(content) - 4
    return True
