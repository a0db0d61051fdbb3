"""Files and folders that outlast a kill: brought to the disk before they are named, and locked while they are made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["CAN_LOCK", "locked", "sync"]

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
