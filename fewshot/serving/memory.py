"""Memory that is free, given back to the system: glibc keeps it, in ever more pieces."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["Returning", "give_back"]

_SECONDS = 10.0  # between two times that memory is given back, which takes a part of one


def give_back() -> None:
    """Give what is freed back to the system, where that is not done by itself.

    Tensors of ever other sizes leave holes in the memory of a thread. Python's objects stay as many, and the resident
    set grows all the same.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


class Returning:
    """Gives back now and then, in what runs for long and calls it often."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self) -> None:
        """Give back, if the time has come."""
        if time.monotonic() - self._last > _SECONDS:
            give_back()
            self._last = time.monotonic()


@cache
def _trim() -> Callable[[int], Any] | None:
    return ctypes.CDLL(None).malloc_trim if platform.libc_ver()[0] == "glibc" else None
