"""Batching: the requests that wait for one model are answered together, by the one thread that asks it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from fewshot.errors import FewshotError
from fewshot.prompts.pending import ask_together
from fewshot.serving.answerers import Answer, Answerer, Answers, Job
from fewshot.serving.memory import Returning

__all__ = ["Batcher", "Work"]

#: The most requests that are answered together: more would only make the first of them wait for the last.
_MOST = 64
Work = Sequence[tuple[Answerer, Job]]  # the jobs of one request


@dataclass
class _Waiting:
    """A request in the queue."""

    work: Work
    future: Future[Answers]

    def forget(self, _: Future[Answers]) -> None:
        """Keep nothing of a request that is answered, or whose client is gone, however long it still stands here."""
        self.work = ()


class Batcher:
    """Answers requests in the order in which they came, all that wait at once.

    Nothing is waited for: a request that comes alone is answered alone, and while it is, others gather. The thread
    begins with the first request, also with the first after `close`: an application may be run again.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, work: Work) -> Future[Answers]:
        """Let a request wait. Its future may be cancelled until it is at work."""
        future: Future[Answers] = Future()
        waiting = _Waiting(work, future)
        future.add_done_callback(waiting.forget)
        with self._lock:
            self._waiting.put(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fewshot-serve-model", daemon=True)
                self._thread.start()
        return future

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        with self._lock:
            ended, self._thread = self._thread, None
            if ended is not None:
                self._waiting.put(None)
        if ended is not None:
            ended.join()

    def _run(self) -> None:
        more, returning = True, Returning()
        while more:
            batch, more = self._next()
            live = [item for item in batch if item.future.set_running_or_notify_cancel()]
            if live:
                _answer(live)
            returning()

    def _next(self) -> tuple[list[_Waiting], bool]:
        """Wait for a request, and take all that wait with it; and whether there may be more afterwards."""
        batch: list[_Waiting] = []
        while len(batch) < _MOST:
            try:
                item = self._waiting.get(block=not batch)
            except queue.Empty:
                break
            if item is None:
                return batch, False
            batch.append(item)
        return batch, True


def _answer(batch: Sequence[_Waiting]) -> None:
    """Answer requests together; where that fails, each by itself, so that only the one at fault fails."""
    try:
        found = _together([item.work for item in batch])
    except Exception as error:  # whatever a model raises is the answer to these requests, and the thread lives on
        if len(batch) > 1:
            for item in batch:
                _answer([item])
            return
        batch[0].future.set_exception(error)
        return
    for item, answers in zip(batch, found, strict=True):
        item.future.set_result(answers)


def _together(requests: Sequence[Work]) -> list[Answers]:
    """The answers to the jobs of several requests, with one call of the model for all that is asked of it."""
    groups: dict[Answerer, dict[tuple[int, int], Job]] = {}
    for i, work in enumerate(requests):
        for j, (answerer, job) in enumerate(work):
            groups.setdefault(answerer, {})[i, j] = job
    pending = [answerer.prepare(list(jobs.values())) for answerer, jobs in groups.items()]
    found: dict[tuple[int, int], Answer | FewshotError] = {}
    for jobs, one, model in zip(groups.values(), pending, ask_together(pending), strict=True):
        found |= zip(jobs, one.finish(model), strict=True)
    return [[found[i, j] for j in range(len(work))] for i, work in enumerate(requests)]
