"""Files and folders that outlast a kill: brought to the disk before they are named, and locked while they are made."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fewshot.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "CAN_LOCK",
    "is_plain",
    "locked",
    "name_beside",
    "open_locked",
    "replace_when_done",
    "save_text",
    "sync",
    "unwritable",
]

#: Whether this system can tell a folder that is being written from one that a kill left.
CAN_LOCK = fcntl is not None


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":  # which opens no folders
        return
    file = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a folder for as long as this process lives; False where another process holds it, or it is gone.

    Where a system has no such locks, nothing is held by another.
    """
    if not CAN_LOCK:
        yield folder.is_dir()
        return
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own = True
        except OSError:
            own = False
        yield own
    finally:
        os.close(file)


def open_locked(path: Path) -> IO[bytes] | None:
    """Open a file for appending, made if it is not there, and hold it until it is closed; None where another does.

    Whoever holds it may remove it. Where a system has no such locks, nothing is held by another.
    """
    while True:
        file = path.open("a+b")
        if not CAN_LOCK:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:  # a file system without locks
            return file
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # another process removed it between the two steps


def is_plain(output: Path) -> bool:
    """Whether it is a file, or will be one: not a device or a pipe, which can't be replaced."""
    return not output.exists() or output.is_file()


def name_beside(output: Path, token: str = "") -> Path:
    """A new name in the same folder, so that a rename is one step."""
    return output.with_name(f".{output.name[:40]}.{token or uuid.uuid4().hex[:12]}.tmp{output.suffix[:10]}")


def unwritable(output: Path, error: OSError) -> InputError:
    """The error of a file that a machine does not take."""
    return InputError(f"The file {str(output)!r} can't be written: {error.strerror or error}.")


@contextmanager
def replace_when_done(output: Path) -> Iterator[Path]:
    """A new file to write, which becomes the output when all is well and on the disk, and is gone when it is not.

    A link stays a link: what it leads to is replaced. A device or a pipe is written as it is. Where it can't be
    written, as on a full disk, what was there before stays.

    Raises
    ------
    InputError
        When it can't.
    """
    if not is_plain(output):  # before its name is followed: that of a pipe leads nowhere
        yield output
        return
    output = Path(os.path.realpath(output))
    new = name_beside(output)
    try:
        try:
            yield new
            if not new.exists():  # nothing was to be written after all
                return
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            new.replace(output)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(output, error) from error


def save_text(output: Path, text: str) -> None:
    """Write a file of text, whole or not at all."""
    with replace_when_done(output) as new:
        new.write_text(text, encoding="utf-8")
