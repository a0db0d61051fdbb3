"""Memory that is free, given back to the system: glibc keeps it, in ever more pieces."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["give_back"]


def give_back() -> None:
    """Give what is freed back to the system, where that is not done by itself.

    Tensors of ever other sizes leave holes in the memory of a thread. Python's objects stay as many, and the resident
    set grows all the same.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], Any] | None:
    return ctypes.CDLL(None).malloc_trim if platform.libc_ver()[0] == "glibc" else None
