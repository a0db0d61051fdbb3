"""A bounded number of threads that work through a list, and stop at the first error or at Ctrl-C."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["work_through"]

T = TypeVar("T")


def work_through(work: Callable[[T, threading.Event], None], items: Sequence[T], n_threads: int) -> None:
    """Call ``work(item, stopped)`` for each item, and raise the first error, once what was at work is done.

    The event ``stopped`` is set by the first error and by Ctrl-C, which does not wait for what is at work: nothing more
    is begun then, and no thread keeps the process alive.
    """
    stopped, todo, errors = threading.Event(), deque(items), deque[BaseException]()

    def run() -> None:
        while todo and not stopped.is_set():
            try:
                item = todo.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                work(item, stopped)
            except BaseException as error:  # it is raised in the caller's thread
                errors.append(error)
                stopped.set()

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(n_threads, len(items)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stopped.set()
    if errors:
        raise errors[0]
