"""The file of a score cache: whose it is, and how a score stands in it."""

from __future__ import annotations

import hashlib
import sqlite3
import time

import numpy as np

from fewshot.models.base import Scores

__all__ = ["APPLICATION", "SCHEMA", "UNCHECKED", "initialise", "is_new", "marks", "packed", "unpacked"]

APPLICATION = 0x66657773  # "fews": marks an SQLite file as ours
SCHEMA = 2
UNCHECKED = 1  # the schema whose entries had no checksum
_CHECKSUM = 16  # bytes


def marks(file: sqlite3.Connection) -> tuple[int, int]:
    """By what a file says whose it is, and of which schema."""
    return tuple(file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))


def is_new(file: sqlite3.Connection) -> bool:
    """Whether nothing was ever written into a file."""
    return marks(file) == (0, 0) and not file.execute("SELECT * FROM sqlite_master").fetchall()


def initialise(file: sqlite3.Connection) -> None:
    """Make the table, in one transaction: another process sees the file as it was or finished."""
    with file:
        file.execute("BEGIN IMMEDIATE")
        if marks(file) == (APPLICATION, UNCHECKED):
            file.execute("ALTER TABLE scores RENAME TO scores_without_checksums")
        file.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        file.execute(f"PRAGMA application_id = {APPLICATION}")
        file.execute(f"PRAGMA user_version = {SCHEMA}")
    for _ in range(100):  # readers and a writer do not wait for each other then; it is no fault where it can't be had
        try:
            file.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:  # another process is at the file, which SQLite does not wait for here
            time.sleep(0.01)


def packed(key: bytes, scores: Scores) -> bytes:
    """Scores as they stand in the file, with a checksum over them and their key."""
    values = np.concatenate([scores.logprobs, scores.n_tokens, [scores.mass]]).astype("<f8").tobytes()
    return values + _checksum(key, values)


def unpacked(key: bytes, value: object, n: int) -> Scores | None:
    """The scores of a query with n candidates; None where that is not what was written."""
    if not isinstance(value, bytes) or len(value) != 8 * (2 * n + 1) + _CHECKSUM:
        return None
    packed = value[:-_CHECKSUM]
    if value[-_CHECKSUM:] != _checksum(key, packed):
        return None
    values = np.frombuffer(packed, dtype="<f8")
    return Scores(values[:n].copy(), values[n : 2 * n].astype(np.int64), float(values[-1]))


def _checksum(key: bytes, values: bytes) -> bytes:
    return hashlib.blake2b(key + values, digest_size=_CHECKSUM).digest()
