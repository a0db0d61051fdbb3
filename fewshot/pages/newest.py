"""One thread that computes what was asked last, and gives up what was asked before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from fewshot.errors import FewshotError

__all__ = ["Newest"]

logger = logging.getLogger(__name__)


class Newest:
    """Computes the newest job in a thread of its own, step by step.

    Parameters
    ----------
    compute : callable
        Given a job, it yields what is found so far, as often as there is something new. Between two of these it is
        given up where a newer job has been asked. A `FewshotError` becomes the message of the job.

    Examples
    --------
    >>> import time
    >>> worker = Newest(lambda job: (job + i for i in range(3)))
    >>> ticket = worker.ask(10)
    >>> while worker.state(ticket)["running"]:
    ...     time.sleep(0.01)
    >>> worker.state(ticket)
    {'running': False, 'found': 12, 'error': None}
    >>> worker.close()
    """

    def __init__(self, compute: Callable[[Any], Iterable[Any]]) -> None:
        self._compute = compute
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ticket = 0
        self._waiting: list[Any] = []  # the newest job until it is begun
        self._running = self._closed = False
        self._found: Any = None
        self._error: str | None = None

    def ask(self, job: Any) -> int:
        """Let a job be computed instead of what was asked before; returns its ticket."""
        with self._changed:
            self._ticket += 1
            self._waiting, self._running, self._found, self._error = [job], True, None, None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="fewshot-newest", daemon=True)
                self._thread.start()
            self._changed.notify()
            return self._ticket

    def state(self, ticket: int) -> dict[str, Any]:
        """What is found so far under a ticket; ``{"stale": True}`` where a newer job was asked."""
        with self._changed:
            if ticket != self._ticket:
                return {"stale": True}
            return {"running": self._running, "found": self._found, "error": self._error}

    def close(self) -> None:
        """Give up what is computed, and end the thread."""
        with self._changed:
            self._closed, self._ticket = True, self._ticket + 1
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                ticket, job = self._ticket, self._waiting.pop()
            error = self._run(ticket, job)
            with self._changed:
                if ticket == self._ticket:
                    self._running, self._error = False, error

    def _run(self, ticket: int, job: Any) -> str | None:
        """Compute a job while it is the newest; returns why it failed, where it did."""
        try:
            for found in self._compute(job):
                with self._changed:
                    if ticket != self._ticket:
                        return None
                    self._found = found
        except FewshotError as error:
            return str(error)
        except Exception:
            logger.exception("What a page asked for failed")
            return "That failed. The terminal says how."
        return None
