"""Watching a server's model by canaries that are kept beside its scores."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from fewshot.models.remote.canaries import are_alike

__all__ = ["generation_of"]


def generation_of(file: sqlite3.Connection, fingerprint: str, canaries: Sequence[float]) -> tuple[int, bool]:
    """Which of the models that had this fingerprint it is that gives these canaries, and whether it is a new one.

    The first is number 0. A new one, and the first, are written down.

    Examples
    --------
    >>> with sqlite3.connect(":memory:") as file:
    ...     [generation_of(file, "m", values) for values in ([-1.0], [-1.01], [-3.0], [-1.0])]
    [(0, False), (0, False), (1, True), (0, False)]
    """
    with file:
        file.execute(
            "CREATE TABLE IF NOT EXISTS canaries (fingerprint TEXT, generation INTEGER, said TEXT, "
            "PRIMARY KEY (fingerprint, generation))"
        )
        rows = file.execute("SELECT generation, said FROM canaries WHERE fingerprint = ?", (fingerprint,)).fetchall()
        for generation, said in rows:
            if are_alike(json.loads(said), canaries):
                return int(generation), False
        new = (fingerprint, len(rows), json.dumps([float(value) for value in canaries]))
        file.execute("INSERT INTO canaries VALUES (?, ?, ?)", new)
        return len(rows), bool(rows)
