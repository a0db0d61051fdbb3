"""The service: which answerer answers which question, and how many requests may wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

from sklearn.utils.validation import check_is_fitted

from fewshot.errors import FewshotError, ParameterError
from fewshot.models.base import is_encoder, is_language_model
from fewshot.models.remote.contents import Location, WireError
from fewshot.models.remote.wire import Asked, Request
from fewshot.serving.answerers import Answer, Answerer, Encoding, Job, ZeroShot
from fewshot.serving.batching import Batcher, Work
from fewshot.serving.fitted import Fitted

__all__ = ["Service"]

_LONGEST = 60  # seconds that a client is asked to wait
_RECENT = 0.1  # what the newest request weighs in the mean time of one


class Service:
    """What is served by name, with one thread for each model.

    Parameters
    ----------
    served : mapping of str to Classifier, Questionnaire or model
    max_waiting : int
        The most requests that may wait or be at work.

    Attributes
    ----------
    descriptions : dict of str to str
        What each name stands for.

    Raises
    ------
    ParameterError
        When nothing is served, or something that can't be.
    """

    def __init__(self, served: Mapping[str, Any], max_waiting: int) -> None:
        if not isinstance(served, Mapping):
            raise ParameterError(
                "What is served must be a mapping of names to classifiers and models, {'tickets': clf}. Got "
                f"{type(served).__name__}."
            )
        if not served:
            raise ParameterError("There is nothing to serve: give at least one classifier or model.")
        self.waiting = 0
        self._max_waiting, self._seconds = max_waiting, 0.0
        self._fitted: dict[str, dict[str, Fitted]] = {}  # by name, and by question
        self._models: dict[str, Answerer] = {}
        for name, made in served.items():
            if hasattr(made, "predict_proba"):
                if hasattr(made, "fit"):
                    check_is_fitted(made)
                self._fitted[name] = _fitted(made)
            elif not (is_language_model(made) or is_encoder(made)):
                raise ParameterError(
                    f"{name!r} must be a fitted classifier, a language model or an encoder. Got {made!r:.80}: for the "
                    "name of a model, give load(name)."
                )
            else:
                self._models[name] = ZeroShot(made) if is_language_model(made) else Encoding(made)
        self.descriptions = {name: self._describe(name) for name in served}
        every = [*self._models.values(), *(one for own in self._fitted.values() for one in own.values())]
        self._batchers = {id(one.model): Batcher() for one in every}

    def _describe(self, name: str) -> str:
        """What a name stands for."""
        return "; ".join(map(str, self._fitted[name].values())) if name in self._fitted else "any question, zero-shot"

    @property
    def is_full(self) -> bool:
        """Whether no further request may wait."""
        return self.waiting >= self._max_waiting

    @property
    def seconds_to_wait(self) -> int:
        """How long all that wait now will about take."""
        return max(1, min(_LONGEST, ceil(self.waiting * self._seconds)))

    def assign(self, request: Request, at: Sequence[Location]) -> tuple[str, Work]:
        """Who answers in whose name, and the jobs of a request.

        Raises
        ------
        WireError
            When a question has nobody who can answer it; ``at`` is where each stands.
        """
        name = self._name(request.model)
        return name, [
            (self._answerer(name, asked, where), Job(asked, request.state))
            for asked, where in zip(request.questions, at, strict=True)
        ]

    def _name(self, wanted: str) -> str:
        """In whose name a request is answered: the first model's, where there is nobody of the name."""
        if wanted in self.descriptions:
            return wanted
        if not self._models:
            names = ", ".join(map(repr, self.descriptions))
            raise WireError(("model",), f"There is no {wanted!r} here, and no model for other names. Ask {names}.")
        return next(iter(self._models))

    def _answerer(self, name: str, asked: Asked, where: Location) -> Answerer:
        """Who answers a question: one that was fitted for it, else the model of the name, else the first model."""
        own = self._fitted.get(name, {})
        fitted = [own[str(asked.name)]] if asked.name in own else own.values()
        found = next((one for one in fitted if one.takes(asked)), None)
        if found is not None:
            return found
        if self._models:
            return self._models.get(name) or next(iter(self._models.values()))
        raise WireError(
            where,
            f"{name!r} is {self.descriptions[name]}, and the options of this question are not its classes. There is no "
            "model here for other questions.",
        )

    async def answers(self, work: Work) -> list[Answer | FewshotError]:
        """Let the jobs wait for their models, and return their answers; when cancelled, what waits is not computed."""
        parts: dict[int, list[int]] = {}
        for i, (answerer, _) in enumerate(work):
            parts.setdefault(id(answerer.model), []).append(i)
        futures = [self._batchers[model].submit([work[i] for i in own]) for model, own in parts.items()]
        try:
            found = await asyncio.gather(*map(asyncio.wrap_future, futures))
        finally:
            for future in futures:  # of no effect on one that is answered or at work
                future.cancel()
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


def _fitted(made: Any) -> dict[str, Fitted]:
    """The fitted classifiers of a questionnaire by question, or the one of a classifier."""
    if not hasattr(made, "classifiers_"):
        return {"": Fitted(made)}
    return {name: Fitted(one) for name, one in made.classifiers_.items()}
