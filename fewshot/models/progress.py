"""The progress bar of all that takes long."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from tqdm.auto import tqdm

from fewshot.models.locks import after_fork

__all__ = ["show_progress"]


@after_fork
def _unlock() -> None:
    """In a forked process, where a lost thread may hold the lock of the bars."""
    tqdm.set_lock(threading.RLock())


@contextlib.contextmanager
def show_progress(total: int, title: str) -> Iterator[tqdm[Any]]:
    """A progress bar that stays away for 2 seconds, and altogether when nobody is watching a terminal or notebook."""
    with tqdm(total=total, desc=title, delay=2, leave=False, disable=None) as bar:
        yield bar
