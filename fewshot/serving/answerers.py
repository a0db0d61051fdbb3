"""Answerers: a fitted classifier, a language model or an encoder, each of which answers questions about states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np

from fewshot.classifier import Classifier
from fewshot.errors import FewshotError, PromptTooLongError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray
from fewshot.models.remote.wire import Asked
from fewshot.prompts.asked import Asked as Prompted
from fewshot.prompts.asking import Asking
from fewshot.prompts.pending import Pending
from fewshot.serving.questions import classes_of, question_of
from fewshot.task.resolve import resolve

__all__ = ["Answer", "Answerer", "Answers", "Encoding", "Job", "ZeroShot", "tokens_read"]

_KEPT = 256  # questions whose templates are not made again
_ORDERS = 2  # of the listed options: as they are listed, and reversed


@dataclass(frozen=True, slots=True)
class Job:
    """One question about one state."""

    asked: Asked
    state: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The probability of each option, and what it took."""

    probabilities: FloatArray
    n_tokens: int = 0
    mass: float = float("nan")


Answers = list[Answer | FewshotError]


class Answerer(Protocol):
    """What answers questions. Its jobs are answered by one thread, which may be that of other answerers."""

    by: Literal["fitted", "zero-shot"]
    model: Any  # answerers of one model share its thread

    def prepare(self, jobs: Sequence[Job]) -> Pending[Answers]:
        """What every job asks of the model; one that can't be answered has its error, and disturbs no other."""
        ...


class ZeroShot:
    """A language model, which answers any question from its words alone."""

    by: Literal["fitted", "zero-shot"] = "zero-shot"

    def __init__(self, model: Any) -> None:
        self.model = model
        self._asking = lru_cache(_KEPT)(self._made)

    def prepare(self, jobs: Sequence[Job]) -> Pending[Answers]:
        """Render the prompts; those of one state begin alike."""
        asked = [self._asked(job) for job in jobs]
        queries = [query for one in asked if not isinstance(one, FewshotError) for query in one[0].forms[0]]
        return Pending(self.model, queries, lambda model: [_answered(one, model) for one in asked])

    def _made(self, asked: Asked) -> tuple[Asking, list[int]]:
        task = resolve(Classifier(self.model, question_of(asked)), None, None).task
        return Asking(task, self.model, orders=_ORDERS), _columns(asked, task.classes)

    def _asked(self, job: Job) -> tuple[Prompted, list[int]] | FewshotError:
        """The prompts of a job, if the model can read all of them, and the columns of its options."""
        try:
            asking, columns = self._asking(unnamed(job.asked))
            asked = asking.ask([job.state])
            _refuse_cut(asked.prompts[0].n_cut, self.model)
        except FewshotError as error:
            return error
        return asked, columns


class Encoding:
    """An encoder, which compares the state with a prompt for each option."""

    by: Literal["fitted", "zero-shot"] = "zero-shot"

    def __init__(self, model: Any) -> None:
        self.model = model
        self._made = lru_cache(_KEPT)(self._fitted)

    def prepare(self, jobs: Sequence[Job]) -> Pending[Answers]:
        """Nothing is prepared: the encoder remembers the vectors of the states."""
        return Pending(self.model, (), lambda model: self._answers(jobs))

    def _answers(self, jobs: Sequence[Job]) -> Answers:
        """Answer the jobs of each question at once."""
        groups: dict[Asked, dict[str, None]] = {}
        for job in jobs:
            groups.setdefault(unnamed(job.asked), {})[job.state] = None
        found = {
            (asked, state): answer
            for asked, states in groups.items()
            for state, answer in zip(states, self._group(asked, list(states)), strict=True)
        }
        return [found[unnamed(job.asked), job.state] for job in jobs]

    def _group(self, asked: Asked, states: list[str]) -> Iterable[Answer | FewshotError]:
        try:
            clf, columns = self._made(asked)
        except FewshotError as error:
            return [error] * len(states)
        read = [tokens_read(clf, state) for state in states]
        good = [state for state, n in zip(states, read, strict=True) if not isinstance(n, FewshotError)]
        found = iter(clf.predict_proba(good)[:, columns] if good else ())
        return [n if isinstance(n, FewshotError) else Answer(next(found), n) for n in read]

    def _fitted(self, asked: Asked) -> tuple[Classifier, list[int]]:
        clf = Classifier(self.model, question_of(asked)).fit()
        return clf, _columns(asked, clf.classes_)


def _columns(asked: Asked, classes: Any) -> list[int]:
    """The column of each option."""
    return [classes.tolist().index(name) for name in classes_of(asked)]


def unnamed(asked: Asked) -> Asked:
    """The question without its name, on which no answer depends."""
    return replace(asked, name=None)


def tokens_read(clf: Any, row: Row) -> int | FewshotError:
    """How many tokens of a row a classifier reads; an error where it would read the row without its end.

    Where it can't tell, 0.
    """
    if not hasattr(getattr(clf, "strategy_", None), "preview"):
        return 0
    try:
        shown = clf.preview([row])[0]
        _refuse_cut(shown.n_cut, clf.model_)
    except FewshotError as error:
        return error
    return int(shown.n_tokens)


def _answered(found: tuple[Prompted, list[int]] | FewshotError, model: Any) -> Answer | FewshotError:
    if isinstance(found, FewshotError):
        return found
    asked, columns = replace(found[0], model=model), found[1]
    try:
        scores = asked.raw_scores()[0]
    except FewshotError as error:
        return error
    return Answer(np.exp(scores[columns]), sum(fit.n_tokens for fit in asked.prompts), asked.answers[0].mass)


def _refuse_cut(n_cut: int, model: Any) -> None:
    if n_cut:
        raise PromptTooLongError(
            f"The state is {n_cut} tokens longer than the model can read beside the question; it reads {model.limit} "
            "in all. Nothing is cut silently: send less."
        )
