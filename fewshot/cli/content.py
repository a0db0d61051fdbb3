"""What is in a file: bytes that are read again and again, unpacked, and their text."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO, Any

from fewshot.cli.app import note
from fewshot.errors import InputError
from fewshot.extras import need

__all__ = ["Content"]

_BLOCK = 1 << 20  # bytes that are read at once
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # after those that begin alike


class Content:
    """The bytes of a file, in memory a block at a time.

    What can be read only once, as standard input or a pipe, is kept on the disk until the process ends. A file that
    changes between two readings is an error.
    """

    def __init__(self, path: Path) -> None:
        self.name = "standard input" if path == Path("-") else str(path)
        self.packing = ""  # "gzip" or "zstd": what `open` undoes
        self._kept: IO[bytes] | None = None
        self._marked = False  # whether the text begins with a byte order mark that its encoding does not take off
        self._path = path
        with self._refusing():
            there = None if path == Path("-") else path.stat()
            if there is None or not (stat.S_ISREG(there.st_mode) or stat.S_ISDIR(there.st_mode)):
                self._keep()
            self._seen = there

    def _keep(self) -> None:
        self._kept = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as this is
        weakref.finalize(self, self._kept.close)
        if self._path == Path("-"):
            shutil.copyfileobj(sys.stdin.buffer, self._kept, _BLOCK)
        else:
            with self._path.open("rb") as stream:
                shutil.copyfileobj(stream, self._kept, _BLOCK)
        self._kept.flush()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except (zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise InputError(f"The file {self.name!r} is not a gzip file, or it is damaged: {error}.") from error
        except OSError as error:
            if self.packing == "zstd" and not error.errno:
                raise InputError(f"The file {self.name!r} is not a zstd file, or it is damaged: {error}.") from error
            raise InputError(f"The file {self.name!r} can't be read: {error.strerror or error}.") from error

    def _raw(self) -> IO[bytes]:
        if self._kept is not None:
            self._kept.seek(0)
            return os.fdopen(os.dup(self._kept.fileno()), "rb")
        now, before = self._path.stat(), self._seen
        if before is not None and (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise InputError(f"The file {self.name!r} has changed while it was read: run the command again.")
        return self._path.open("rb")

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes from the beginning, unpacked."""
        with self._refusing(), self._raw() as raw:
            if self.packing == "gzip":
                with gzip.open(raw) as stream:
                    yield stream  # type: ignore[misc]
            elif self.packing == "zstd":
                pa = need("pyarrow", f"{self.name!r} is unpacked by")
                with pa.CompressedInputStream(raw, "zstd") as stream:
                    yield stream
            else:
                yield raw

    def head(self, size: int) -> bytes:
        """The first bytes."""
        with self.open() as stream:
            return stream.read(size)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file as it lies there."""
        found = hashlib.sha256()
        with self._refusing(), self._raw() as raw:
            while block := raw.read(_BLOCK):
                found.update(block)
        return found.hexdigest()

    def seekable(self) -> IO[bytes]:
        """The unpacked bytes as a file in which one can jump."""
        if not self.packing:
            return self._raw()
        with self.open() as stream, self._refusing():
            unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
            shutil.copyfileobj(stream, unpacked, _BLOCK)
        unpacked.seek(0)
        return unpacked

    def encoding(self, said: str | None) -> str:
        """What its text is written in: as the user says, or as its byte order mark does, or UTF-8.

        All of it is decoded once. Bytes that are something else, or a NUL, which is no text, are refused by their
        place.
        """
        start = self.head(4)
        marked = next((own for mark, own in _MARKS.items() if start.startswith(mark)), None)
        used = said or marked or "utf-8"
        if said is None and marked not in (None, "utf-8-sig"):
            note(f"{self.name!r} is read as {used.upper()}, as its first bytes say.")
        decoder, n_bytes, n_lines = codecs.getincrementaldecoder(used)(), 0, 0
        with self.open() as stream:
            for block in chain(iter(lambda: stream.read(_BLOCK), b""), [b""]):
                try:
                    text = decoder.decode(block, final=not block)
                    text.encode()  # some encodings can say what is no character
                except UnicodeDecodeError as error:
                    before = len(error.object) - len(block)  # bytes of earlier blocks that were no character yet
                    line = n_lines - error.object.count(b"\n", 0, before) + error.object.count(b"\n", 0, error.start)
                    byte = f"{error.object[error.start]:#x} at {n_bytes - before + error.start} (line {line + 1})"
                    raise InputError(
                        f"The file {self.name!r} is not {used.upper()}: byte {byte}. If it comes from a spreadsheet, "
                        "try --encoding cp1252, or save it as UTF-8."
                    ) from error
                except UnicodeError as error:
                    raise InputError(f"The file {self.name!r} is not {used.upper()}: {error}.") from error
                if not n_bytes:
                    self._marked = text.startswith("\ufeff")
                if "\0" in text:
                    raise InputError(
                        f"The file {self.name!r} is not text: it holds a NUL byte. If it is UTF-16, give "
                        "--encoding utf-16."
                    )
                n_bytes += len(block)
                n_lines += block.count(b"\n")
        return used

    @contextmanager
    def text(self, encoding: str) -> Iterator[io.TextIOWrapper]:
        """The text from the beginning, with its line breaks as they are and without a byte order mark."""
        with self.open() as stream:
            raw: Any = stream
            found = io.TextIOWrapper(raw, encoding, newline="")
            if self._marked:
                found.read(1)
            try:
                yield found
            finally:
                found.detach()
