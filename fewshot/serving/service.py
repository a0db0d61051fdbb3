"""The service: which predictor answers which question, and how many requests may wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

from fewshot.errors import FewshotError, ParameterError
from fewshot.models.remote.wire import Asked, Request, WireError
from fewshot.serving.batching import Batcher, Work
from fewshot.serving.predictor import Answer, Job, Predictor, predictor_of

__all__ = ["Service"]

_LONGEST = 60  # seconds that a client is asked to wait
_RECENT = 0.1  # what the newest request weighs in the mean time of one


class Service:
    """What is served by name, with one thread for each model.

    Parameters
    ----------
    served : mapping of str to Classifier or model
    max_waiting : int
        The most requests that may wait or be at work.
    """

    def __init__(self, served: Mapping[str, Any], max_waiting: int) -> None:
        if not served:
            raise ParameterError("There is nothing to serve: give at least one classifier or model.")
        self.predictors = {name: predictor_of(made) for name, made in served.items()}
        self.waiting = 0
        self._max_waiting, self._seconds = max_waiting, 0.0
        self._first_model = next(((name, one) for name, one in self.predictors.items() if one.by == "zero-shot"), None)
        models = {id(one.model): name for name, one in self.predictors.items()}
        self._batchers = {model: Batcher(name) for model, name in models.items()}

    @property
    def is_full(self) -> bool:
        """Whether no further request may wait."""
        return self.waiting >= self._max_waiting

    @property
    def seconds_to_wait(self) -> int:
        """How long all that wait now will about take."""
        return max(1, min(_LONGEST, ceil(self.waiting * self._seconds)))

    def assign(self, request: Request, at: Sequence[tuple[str | int, ...]]) -> tuple[str, Work]:
        """Who answers in whose name, and the jobs of a request.

        Raises
        ------
        WireError
            When a question has nobody who can answer it; ``at`` is where each stands.
        """
        own = self.predictors.get(request.model)
        if own is None and self._first_model is None:
            names = ", ".join(map(repr, self.predictors))
            raise WireError(
                ("model",), f"There is no {request.model!r} here, and no model for other names. Ask {names}."
            )
        name = request.model if own is not None or self._first_model is None else self._first_model[0]
        return name, [
            (self._who(own, request.model, asked, where), Job(asked, request.state))
            for asked, where in zip(request.questions, at, strict=True)
        ]

    def _who(self, own: Predictor | None, name: str, asked: Asked, where: tuple[str | int, ...]) -> Predictor:
        if own is not None and own.takes(asked):
            return own
        if self._first_model is None:
            assert own is not None
            raise WireError(
                where,
                f"{name!r} is {own.describe()}, and the options of this question are not its classes. There is no "
                "model here for other questions.",
            )
        return self._first_model[1]

    async def answers(self, work: Work) -> list[Answer | FewshotError]:
        """Let the jobs wait for their models, and return their answers; when cancelled, what waits is not computed."""
        parts: dict[int, list[int]] = {}
        for i, (predictor, _) in enumerate(work):
            parts.setdefault(id(predictor.model), []).append(i)
        futures = [self._batchers[model].submit([work[i] for i in own]) for model, own in parts.items()]
        found = await asyncio.gather(*map(asyncio.wrap_future, futures))
        places = (i for own in parts.values() for i in own)
        by_place = dict(zip(places, (answer for part in found for answer in part), strict=True))
        return [by_place[i] for i in range(len(work))]

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count a request while it waits or is at work."""
        began = time.monotonic()
        self.waiting += 1
        try:
            yield
        finally:
            seconds = (time.monotonic() - began) / self.waiting
            self._seconds += _RECENT * (seconds - self._seconds)
            self.waiting -= 1

    def close(self) -> None:
        """Answer what waits, and end the threads."""
        for batcher in self._batchers.values():
            batcher.close()
