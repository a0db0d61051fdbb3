"""Locks: for objects that one thread at a time may use, and for what torch keeps once a process.

Lock order: torch's (`seeded`) first, a model's (`alone`) second, any other last. No thread takes a lock while it holds
a later one: so there is no deadlock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["after_fork", "alone", "lock_of"]

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

_LOCKS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def lock_of(thing: Any) -> Any:
    """The re-entrant lock of an object, for a with-statement.

    It is found by the object and not kept on it: two models around the same weights share it, copies and pickles know
    nothing of it.
    """
    return _LOCKS.setdefault(thing, threading.RLock())


def alone(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Let one thread at a time run such methods of objects with the same ``model``, whatever wraps it.

    What a call keeps on the way (``_forget`` drops it) belongs to that call: it is dropped before as well, for a
    process that was forked while another thread was at work.
    """

    @wraps(method)
    def locked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        owner: Any = self
        with lock_of(owner.model):
            owner._forget()  # noqa: SLF001 - of the class whose method this is
            try:
                return method(self, *args, **kwargs)
            finally:
                owner._forget()  # noqa: SLF001 - of the class whose method this is

    return locked


def after_fork(repair: Callable[[], None]) -> Callable[[], None]:
    """Have this done in every forked process, where the system has a fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=repair)
    return repair


@after_fork
def _open_again() -> None:
    """In a forked process: replace the locks whose holders are not there any more."""
    for thing, lock in list(_LOCKS.items()):
        if lock.acquire(blocking=False):
            lock.release()
        else:
            _LOCKS[thing] = threading.RLock()
