"""Rows from files: what kind of file it is, its bytes, its text, its rows; nothing is guessed without a word."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import sys
import zlib
from pathlib import Path

from fewshot.cli.app import note
from fewshot.cli.delimited import parse_delimited, sniff, text_lines
from fewshot.cli.formats import DELIMITERS, Format, guess_kind, kind_of
from fewshot.cli.json_rows import parse_array, parse_lines
from fewshot.cli.parquet import parse_parquet
from fewshot.cli.table import Table
from fewshot.errors import InputError

__all__ = ["as_text", "one_text", "read"]

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # after those that begin alike


def read(path: Path, form: Format | None = None) -> Table:
    """Read the rows of a file, whose name says what it is unless the format does; ``-`` is standard input.

    A file that is not what it is said to be is an InputError; a format that makes no sense for the file, WrongUsage.
    """
    form = form or Format()
    name = "standard input" if path == Path("-") else str(path)
    kind, zipped = kind_of(path)
    if kind is None and form.kind is None:
        raise InputError(
            f"The file {name!r} must be .csv, .tsv, .txt, .json, .jsonl or .parquet, also with .gz after it. Save it "
            "as one of these, or say what it is: --format csv."
        )
    data = _bytes(path, name)
    digest = hashlib.sha256(data).hexdigest()
    if zipped or (not kind and data[:2] == b"\x1f\x8b"):
        data = _unzipped(data, name)
    kind = form.kind or kind or guess_kind(data)
    form.check(name, kind)
    table = _table(data, name, kind, form)
    if not table.rows:
        cure = " below the names of columns in its first line. If that is a row, give --no-header"
        raise InputError(f"The file {name!r} holds no rows{cure if table.columns and table.headed else ''}.")
    object.__setattr__(table, "digest", digest)
    return table


def one_text(text: str) -> Table:
    """The rows of a text that was given as it is."""
    try:
        digest = hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise InputError(f"The text must be in the terminal's own encoding. Got {text!r:.60}.") from error
    return Table("the text", "txt", [{"text": text}], ["text"], unnamed=True, digest=digest)


def _bytes(path: Path, name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
    except OSError as error:
        raise InputError(f"The file {name!r} can't be read: {error.strerror or error}.") from error


def _unzipped(data: bytes, name: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"The file {name!r} is no gzip, or damaged: {error}.") from error


def _table(data: bytes, name: str, kind: str, form: Format) -> Table:
    if kind == "parquet":
        arrow, rows = parse_parquet(data, name)
        return Table(name, kind, rows, list(arrow.column_names), arrow=arrow)
    source = as_text(data, name, form.encoding)
    if kind in ("json", "jsonl"):
        rows, lines = (parse_array if kind == "json" else parse_lines)(source, name)
        return Table(name, kind, rows, list(dict.fromkeys(key for row in rows for key in row)), lines)
    if kind == "txt":
        return _texts(source, name, form)
    return _delimited(source, name, kind, form)


def _texts(source: str, name: str, form: Format) -> Table:
    found = text_lines(source)
    first = found.cells[0][0] if found.cells else ""
    if form.header and form.kind is None and "text" in first.split(sniff(source, ",")):
        raise InputError(
            f"The file {name!r} is read as one text a line, and the first line, {first!r:.60}, seems to name columns. "
            "If it is a table, give --format csv; if it is a text, --format txt."
        )
    return Table(name, "txt", found.rows(), found.columns, found.lines, unnamed=True)


def _delimited(source: str, name: str, kind: str, form: Format) -> Table:
    usual, delimiter, first = DELIMITERS[kind], form.delimiter, source[:6].rstrip("\r\n")
    skipped = 0
    if len(first) == 5 and first.startswith("sep=") and len(source.split(first, 1)[1].lstrip("\r\n")):
        delimiter = delimiter or first[4]  # by which spreadsheets tell one another
        source, skipped = source[len(first) :].removeprefix("\r").removeprefix("\n"), 1
    if delimiter is None:
        delimiter = sniff(source, usual)
        if delimiter != usual:
            note(f"{name!r} is separated by {delimiter!r}.")
    found = parse_delimited(source, name, delimiter, form.header)
    if found.n_blank:
        note(f"{name!r} has {found.n_blank} blank lines, which are no rows of {len(found.columns)} cells.")
    unnamed = not form.header and len(found.columns) == 1
    lines = [line + skipped for line in found.lines]
    return Table(name, kind, found.rows(), found.columns, lines, delimiter, unnamed, headed=form.header)


def as_text(data: bytes, name: str, encoding: str | None) -> str:
    """Decode the bytes of a file: as the user says, or as its byte order mark does, or as UTF-8.

    Bytes that are something else, or a NUL, which is no text, are refused by their place.
    """
    marked = next((own for mark, own in _MARKS.items() if data.startswith(mark)), None)
    used = encoding or marked or "utf-8"
    if encoding is None and marked not in (None, "utf-8-sig"):
        note(f"{name!r} is read as {used.upper()}, as its first bytes say.")
    try:
        text = data.decode(used)
        text.encode()  # some encodings can say what is no character
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte {data[error.start]:#x} at {error.start} (line {line})"
        raise InputError(
            f"The file {name!r} is not {used.upper()}: {byte}. If it comes from a spreadsheet, try --encoding cp1252, "
            "or save it as UTF-8."
        ) from error
    except UnicodeError as error:
        raise InputError(f"The file {name!r} is not {used.upper()}: {error}.") from error
    if "\0" in text:
        raise InputError(
            f"The file {name!r} is not text: it holds a NUL byte. If it is UTF-16, give --encoding utf-16."
        )
    return text.removeprefix("\ufeff")
