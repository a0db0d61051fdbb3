"""What a run has found so far, kept beside its output, so that a kill or a full disk loses one step and not all.

``OUT.part`` is lines of text. The first says which run it is: input, options, model. Each other one holds the results
of one step and its checksum, and is on the disk before the next step begins. What is torn or damaged is not taken. When
all steps are done the output is written whole, and the part is removed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fewshot.cli.app import note
from fewshot.errors import InputError
from fewshot.files import open_locked, unwritable

__all__ = ["Part", "kept_part"]

_FORMAT = 1


class Part:
    """The results of the steps of one run, which depend on ``run``; the file is open for appending, and locked."""

    def __init__(self, path: Path, file: IO[bytes], run: Mapping[str, Any]) -> None:
        self.path, self._file, self._run = path, file, json.loads(json.dumps(run))
        self.n_steps = self.n_rows = 0  # that are done
        self.finished = False
        self._whole = 0  # bytes at the beginning of the file that count

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it that anybody would miss."""
        return not self.n_steps and not self._whole

    def read(self, restart: bool) -> None:
        """Take over what an earlier run of the same kind left, or with restart give it up."""
        self._file.seek(0)
        line = self._file.readline()
        if not line or (_is_begun(line) and not self._file.read(1)):
            return
        first = _unpacked(line)
        if not isinstance(first, dict) or first.get("fewshot part") != _FORMAT:
            self._whole = -1
            raise InputError(
                f"The finished rows would be kept in {str(self.path)!r}, and this file holds something else: move it "
                "away."
            )
        if restart:
            return
        self._whole = len(line)
        self._compare(first["run"])
        for line in self._file:
            step = _unpacked(line)
            if not isinstance(step, list):  # torn, and nothing after it counts
                break
            self._count(step, len(line))
        self._run = first["run"]

    def _count(self, step: list[Any], size: int) -> None:
        self.n_steps += 1
        self.n_rows += len(step)
        self._whole += size

    def steps(self) -> Iterator[list[Any]]:
        """The results of each step that is done, read one after the other."""
        with self.path.open("rb") as file:
            file.readline()
            for _ in range(self.n_steps):
                yield _unpacked(file.readline())

    def _compare(self, run: Mapping[str, Any], *also: str) -> None:
        other = sorted(key for key in {*self._run, *also} if run.get(key) != self._run.get(key))
        if other:
            raise InputError(
                f"{str(self.path)!r} holds the finished rows of an earlier run with other values of "
                f"{', '.join(other)}. To continue that run, repeat its command. To discard its rows, give --restart."
            )

    def settle(self, name: str, value: str) -> None:
        """Say one more thing that the results depend on, which is known only now, and was the same before."""
        before = dict(self._run)
        self._run[name] = value
        if self._whole:
            self._compare(before, name)

    def add(self, results: list[Any]) -> None:
        """Keep the results of the next step; they are on the disk when this returns.

        When they can't be written, as on a full disk, those of the steps before stay.
        """
        try:
            data = b"" if self._whole else _packed({"fewshot part": _FORMAT, "run": self._run})
            data += _packed(results)
            self._file.truncate(self._whole)
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._count(results, len(data))


def _packed(value: Any) -> bytes:
    said = json.dumps(value).encode()
    return b"%08x %s\n" % (zlib.crc32(said), said)


def _unpacked(line: bytes) -> Any:
    """What a line says; None where it is torn or damaged."""
    if not line.endswith(b"\n") or line[8:9] != b" " or b"%08x" % zlib.crc32(line[9:-1]) != line[:8]:
        return None
    try:
        return json.loads(line[9:-1])
    except ValueError:
        return None


def _is_begun(line: bytes) -> bool:
    """Whether it can be what a kill left of a first line."""
    wanted = b'{"fewshot part"'
    return (
        not line.endswith(b"\n")
        and not line[:8].strip(b"0123456789abcdef")
        and line[9:][:15] == wanted[: len(line[9:])]
    )


@contextmanager
def kept_part(output: Path, run: Mapping[str, Any], n_rows: int, *, restart: bool) -> Iterator[Part]:
    """The part beside an output; it stays where a step is done and the run does not finish.

    It is refused when it is another run's, or another process is at it.
    """
    path = output.with_name(f"{output.name}.part")
    file = _locked(path)
    part = Part(path, file, run)
    try:
        part.read(restart)
        if part.n_steps:
            note(
                f"{str(path)!r} holds {_said(part, n_rows)} that an earlier run finished. This run continues from "
                "there."
            )
        yield part
    finally:
        if part.finished or part.is_empty:
            path.unlink(missing_ok=True)
        elif part.n_steps:
            note(
                f"{_said(part, n_rows)} are finished and kept in {str(path)!r}. The same command continues from there."
            )
        with suppress(OSError):  # what could not be flushed on a full disk
            file.close()  # and with it the lock


def _said(part: Part, n_rows: int) -> str:
    return f"{part.n_rows} of {n_rows} rows"


def _locked(path: Path) -> IO[bytes]:
    try:
        file = open_locked(path)
    except OSError as error:
        raise unwritable(path, error) from error
    if file is None:
        raise InputError(f"Another run uses {str(path)!r}: wait for it, or give another --output.")
    return file
