"""Rows from files: what kind of file it is, its text, its rows, part by part; nothing is guessed without a word."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from fewshot.cli.app import note
from fewshot.cli.content import Content
from fewshot.cli.delimited import SNIFFED_SIZE, Delimited, sniff, text_lines
from fewshot.cli.formats import DELIMITERS, Format, guess_kind, guess_packing, kind_of
from fewshot.cli.json_rows import is_lines, parse_array, parse_lines
from fewshot.cli.parquet import need_pyarrow, parquet_columns, parquet_rows
from fewshot.cli.table import Table
from fewshot.errors import InputError

__all__ = ["Rows", "joined", "one_text", "open_rows", "read"]

_WHOLE = 1 << 14  # rows of a part where all are kept
_FIRST = 1000  # bytes that say what comes without an ending


@dataclass(frozen=True)
class Rows:
    """The rows of a file, which are read from it as often as they are asked for, and never kept."""

    name: str  # what messages call the file
    kind: str  # one of `formats.READ`
    parts: Callable[[int], Iterator[Table]]  # so many rows at a time
    digest: Callable[[], str]  # SHA-256 of what was given
    columns: Sequence[str] | None = None  # None: each row has its own
    delimiter: str = ","
    unnamed: bool = False  # a list of texts: its only column has no name of its own
    headed: bool = False  # the names of the columns were the first line of the file
    remark: Callable[[], None] = field(default=lambda: None)  # says what is to be said once, when all has been read

    def table(self) -> Table:
        """All rows at once."""
        parts = list(self.parts(_WHOLE))
        self.refuse_empty(any(part.rows for part in parts), self.columns or ())
        self.remark()
        rows = [row for part in parts for row in part.rows]
        lines = [line for part in parts for line in part.lines]
        columns = list(dict.fromkeys(name for part in parts for name in part.columns))
        return replace(parts[0], rows=rows, lines=lines, columns=columns, arrow=_joined(parts))

    def refuse_empty(self, there: bool, columns: Sequence[str]) -> None:
        """Refuse a file without any row."""
        if not there:
            cure = " below the names of columns in its first line. If that is a row, give --no-header"
            raise InputError(f"The file {self.name!r} holds no rows{cure if columns and self.headed else ''}.")


def _joined(parts: Sequence[Table]) -> Any:
    if parts[0].arrow is None:
        return None
    pa, _ = need_pyarrow()
    return pa.concat_tables([part.arrow for part in parts])


def joined(files: Sequence[Rows]) -> Rows:
    """The rows of several files, one after the other.

    Raises
    ------
    InputError
        When the files are of several kinds, or have other columns.
    """
    first = files[0]
    if len(files) == 1:
        return first
    for other in files[1:]:
        for what, one, two in (("is", other.kind, first.kind), ("has the columns", other.columns, first.columns)):
            if one != two:
                raise InputError(
                    f"{other.name!r} {what} {_listed(one)}, and {first.name!r} {_listed(two)}. Files that are read "
                    "together are alike: give them in several commands."
                )

    def parts(size: int) -> Iterator[Table]:
        for one in files:
            empty = True
            for part in one.parts(size):
                empty = False
                yield part
            one.refuse_empty(not empty, one.columns or ())

    def remark() -> None:
        for one in files:
            one.remark()

    def digest() -> str:
        return hashlib.sha256(" ".join(one.digest() for one in files).encode()).hexdigest()

    return replace(first, name=f"{len(files)} files", parts=parts, remark=remark, digest=digest)


def _listed(found: str | Sequence[str] | None) -> str:
    return found if isinstance(found, str) else ", ".join(found or ())


def read(path: Path, form: Format | None = None) -> Table:
    """All rows of a file; see `open_rows`."""
    return open_rows(path, form).table()


def open_rows(path: Path, form: Format | None = None) -> Rows:
    """The rows of a file, whose name says what it is unless the format does; ``-`` is standard input.

    A file that is not what it is said to be is an InputError, now or where its rows are read; a format that makes no
    sense for the file, WrongUsage.
    """
    form = form or Format()
    kind, packing = kind_of(path)
    if kind is None and form.kind is None:
        raise InputError(
            f"The file {str(path)!r} must be .csv, .tsv, .txt, .json, .jsonl or .parquet, also with .gz or .zst "
            "after it. Save it as one of these, or say what it is: --format csv."
        )
    content = Content(path)
    content.packing = packing or (guess_packing(content.head(4)) if not kind else "")
    kind = form.kind or kind or guess_kind(content.head(_FIRST))
    form.check(content.name, kind)
    if kind == "parquet":
        columns = parquet_columns(content)
        return Rows(
            content.name, kind, lambda size: parquet_rows(content, columns, size), lambda: content.digest, columns
        )
    encoding = content.encoding(form.encoding)
    if kind in ("json", "jsonl"):
        return _json(content, kind, encoding)
    return _texts(content, encoding, form) if kind == "txt" else _delimited(content, kind, encoding, form)


def one_text(text: str) -> Rows:
    """The rows of a text that was given as it is."""
    try:
        digest = hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise InputError(f"The text must be in the terminal's own encoding. Got {text!r:.60}.") from error
    table = Table("the text", "txt", [{"text": text}], ["text"], unnamed=True)
    return Rows(table.name, "txt", lambda size: iter([table]), lambda: digest, ["text"], unnamed=True)


def _in_parts(
    rows: Callable[[], Iterator[tuple[int, dict[str, Any]]]], empty: Table
) -> Callable[[int], Iterator[Table]]:
    """Numbered rows, so many at a time, as tables that are otherwise like an empty one; line 0 is none."""

    def parts(size: int) -> Iterator[Table]:
        source, first = rows(), 0
        while part := list(islice(source, size)):
            own = [row for _, row in part]
            columns = empty.columns or list(dict.fromkeys(key for row in own for key in row))
            lines = [line for line, _ in part if line]
            yield replace(empty, rows=own, columns=columns, lines=lines, first=first)
            first += len(part)

    return parts


def _json(content: Content, kind: str, encoding: str) -> Rows:
    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        with content.text(encoding) as text:
            yield from parse(text, content.name)

    parse: Callable[[Any, str], Iterator[tuple[int, dict[str, Any]]]] = parse_lines
    if kind == "json":
        with content.text(encoding) as text:
            parse = parse_lines if is_lines(text, content.name) else parse_array
    parts = _in_parts(rows, Table(content.name, kind, [], []))
    return Rows(content.name, kind, parts, lambda: content.digest)


def _texts(content: Content, encoding: str, form: Format) -> Rows:
    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        with content.text(encoding) as text:
            yield from text_lines(text)

    first = next((row["text"] for _, row in rows()), "")
    if form.header and form.kind is None:
        with content.text(encoding) as text:
            source = text.read(SNIFFED_SIZE + 1)
        if "text" in first.split(sniff(source, ",")):
            raise InputError(
                f"The file {content.name!r} is read as one text a line, and the first line, {first!r:.60}, seems to "
                "name columns. If it is a table, give --format csv; if it is a text, --format txt."
            )
    empty = Table(content.name, "txt", [], ["text"], unnamed=True)
    return Rows(content.name, "txt", _in_parts(rows, empty), lambda: content.digest, ["text"], unnamed=True)


def _delimited(content: Content, kind: str, encoding: str, form: Format) -> Rows:
    with content.text(encoding) as text:
        source = text.read(SNIFFED_SIZE + 1)
    usual, delimiter, first = DELIMITERS[kind], form.delimiter, source[:6].rstrip("\r\n")
    skipped = 0
    if len(first) == 5 and first.startswith("sep=") and len(source.split(first, 1)[1].lstrip("\r\n")):
        delimiter = delimiter or first[4]  # by which spreadsheets tell one another
        source, skipped = source[len(first) :].removeprefix("\r").removeprefix("\n"), 1
    if delimiter is None:
        delimiter = sniff(source, usual)
        if delimiter != usual:
            note(f"{content.name!r} is separated by {delimiter!r}.")

    @contextmanager
    def lines() -> Iterator[IO[str]]:
        with content.text(encoding) as text:
            for _ in range(skipped):
                text.readline()
            yield text

    found = Delimited(content.name, delimiter, form.header, lines, skipped)
    columns = found.columns

    def say_blank() -> None:
        n = found.n_blank
        if n:
            note(f"{content.name!r} has {n} blank lines, which are no rows of {len(columns)} cells.")

    unnamed = not form.header and len(columns) == 1
    empty = Table(content.name, kind, [], columns, (), delimiter, unnamed, headed=form.header)
    return Rows(
        content.name,
        kind,
        _in_parts(found.rows, empty),
        lambda: content.digest,
        columns,
        delimiter,
        unnamed,
        headed=form.header,
        remark=say_blank,
    )
