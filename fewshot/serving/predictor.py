"""Predictors: a fitted classifier, a language model or an encoder, each of which answers questions about states."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from scipy.special import log_softmax

from fewshot.classifier import Classifier
from fewshot.errors import FewshotError, InputError, PromptTooLongError, UnsupportedError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, Query, is_language_model
from fewshot.models.remote.wire import Asked, Option
from fewshot.prompts.asked import Asked as Prompted
from fewshot.prompts.asking import Asking
from fewshot.prompts.listing import lists_labels
from fewshot.serving.questions import task_of

__all__ = ["Answer", "Encoding", "Fitted", "Job", "Predictor", "Prepared", "ZeroShot", "predictor_of"]

_KEPT = 256  # questions whose templates are not made again
_ORDERS = 2  # of the listed options: as they are given, and reversed


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


@dataclass(frozen=True)
class Prepared:
    """What is asked of the model for some jobs, and how it goes on with a model that has answered it already."""

    queries: Sequence[Query]
    finish: Callable[[Any], list[Answer | FewshotError]]


class Predictor(Protocol):
    """What answers questions. Its jobs are answered by one thread, which may be that of other predictors."""

    by: Literal["fitted", "zero-shot"]
    model: Any  # predictors of one model share its thread

    def describe(self) -> str:
        """One line about it."""
        ...

    def takes(self, asked: Asked) -> bool:
        """Whether it can answer the question."""
        ...

    def prepare(self, jobs: Sequence[Job]) -> Prepared:
        """Get ready to answer every job; one that can't be answered has its error instead, and disturbs no other."""
        ...


def predictor_of(made: Any) -> Predictor:
    """The predictor of a fitted classifier or of a model.

    Raises
    ------
    UnsupportedError
        When it is a classifier whose answers no question asks for.
    """
    if hasattr(made, "predict_proba"):
        return Fitted(made)
    return ZeroShot(made) if is_language_model(made) else Encoding(made)


class Fitted:
    """A fitted classifier, which answers where the options of a question are its classes."""

    by: Literal["fitted", "zero-shot"] = "fitted"

    def __init__(self, clf: Any) -> None:
        clf = getattr(clf, "classifier_", clf)  # what stands inside a ConformalClassifier
        if getattr(clf, "multi_label_", False):
            raise UnsupportedError(
                "The classifier was fitted for several labels a text, and a question has one answer: serve one "
                "classifier a label."
            )
        if clf.template_.choices is not None:
            raise UnsupportedError("The classifier takes its choices from each row: serve its model, which takes any.")
        self.clf = clf
        self.model = clf.model_
        self.fields = clf.template_.fields
        self.columns = {_name(one): i for i, one in enumerate(clf.classes_.tolist())}

    def describe(self) -> str:
        """Its classes."""
        names = [str(name) for _, name in self.columns]
        return f"a fitted classifier of {', '.join(names[:6])}{', ...' * (len(names) > 6)}"

    def takes(self, asked: Asked) -> bool:
        """Whether the options are the classes, in whatever order; their descriptions may be any."""
        return {_name(_value(asked, option)) for option in asked.options} == set(self.columns)

    def prepare(self, jobs: Sequence[Job]) -> Prepared:
        """Check the rows; all jobs are predicted at once."""
        rows = [self._checked(job) for job in jobs]
        return Prepared((), lambda model: self._answers(jobs, rows))

    def _answers(self, jobs: Sequence[Job], rows: Sequence[Row | FewshotError]) -> list[Answer | FewshotError]:
        good = [row for row in rows if not isinstance(row, FewshotError)]
        found = iter(self.clf.predict_proba(good) if good else ())
        answers: list[Answer | FewshotError] = []
        for job, row in zip(jobs, rows, strict=True):
            if isinstance(row, FewshotError):
                answers.append(row)
                continue
            order = [self.columns[_name(_value(job.asked, option))] for option in job.asked.options]
            answers.append(Answer(next(found)[order]))
        return answers

    def _checked(self, job: Job) -> Row | FewshotError:
        """The row of a state, if the classifier can read all of it."""
        try:
            row = self._row(job.state)
            _refuse_cuts(self.clf, row)
        except FewshotError as error:
            return error
        return row

    def _row(self, state: str) -> Row:
        """The state is the one field's text, or an object that has every field."""
        if len(self.fields) == 1:
            return state
        try:
            found = json.loads(state)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not set(self.fields) <= set(found):
            raise InputError(f"The state must be an object with the fields {', '.join(self.fields)}.")
        return {name: found[name] for name in self.fields}


class ZeroShot:
    """A language model, which answers any question from its words alone."""

    by: Literal["fitted", "zero-shot"] = "zero-shot"

    def __init__(self, model: Any) -> None:
        self.model = model
        self._task = lru_cache(_KEPT)(lambda asked: task_of(asked, model))

    def describe(self) -> str:
        """That it answers whatever is asked."""
        return "any question, zero-shot"

    def takes(self, asked: Asked) -> bool:
        """Any question."""
        return True

    def prepare(self, jobs: Sequence[Job]) -> Prepared:
        """Render the prompts; the queries of one state begin alike."""
        asked = [self._asked(job) for job in jobs]
        queries = [query for one in asked if not isinstance(one, FewshotError) for query in one.forms[0]]
        return Prepared(queries, lambda model: [_answered(one, model) for one in asked])

    def _asked(self, job: Job) -> Prompted | FewshotError:
        """The prompts of a job, if the model can read all of them."""
        try:
            task = self._task(_unnamed(job.asked))
            orders = _ORDERS if lists_labels(task, self.model) else 1
            asked = Asking(task, self.model, orders=orders).ask([job.state])
            _refuse_cut(asked.prompts[0].n_cut, self.model)
        except FewshotError as error:
            return error
        return asked


class Encoding:
    """An encoder, which compares the state with a prompt for each option."""

    by: Literal["fitted", "zero-shot"] = "zero-shot"

    def __init__(self, model: Any) -> None:
        self.model = model
        self._made = lru_cache(_KEPT)(self._fitted)

    def describe(self) -> str:
        """That it answers whatever is asked."""
        return "any question, zero-shot, by similarity"

    def takes(self, asked: Asked) -> bool:
        """Any question."""
        return True

    def prepare(self, jobs: Sequence[Job]) -> Prepared:
        """Nothing is prepared: the encoder remembers the vectors of states."""
        return Prepared((), lambda model: self._answers(jobs))

    def _answers(self, jobs: Sequence[Job]) -> list[Answer | FewshotError]:
        """Answer the jobs of each question at once."""
        answers: list[Answer | FewshotError] = [UnsupportedError("It was not answered.")] * len(jobs)
        groups: dict[Asked, list[int]] = {}
        for i, job in enumerate(jobs):
            groups.setdefault(_unnamed(job.asked), []).append(i)
        for asked, own in groups.items():
            for i, answer in zip(own, self._group(asked, [jobs[i].state for i in own]), strict=True):
                answers[i] = answer
        return answers

    def _group(self, asked: Asked, states: list[str]) -> Iterable[Answer | FewshotError]:
        try:
            clf = self._made(asked)
        except FewshotError as error:
            return [error] * len(states)
        found: dict[str, Answer | FewshotError] = {}
        for state in states:
            try:
                _refuse_cuts(clf, state)
            except FewshotError as error:
                found[state] = error
        good = [state for state in dict.fromkeys(states) if state not in found]
        if good:
            found |= {state: Answer(p) for state, p in zip(good, clf.predict_proba(good), strict=True)}
        return [found[state] for state in states]

    def _fitted(self, asked: Asked) -> Classifier:
        task = task_of(asked, self.model)
        words = dict(zip(task.classes.tolist(), task.verbalizer.words, strict=True))
        return Classifier(self.model, task.template, words).fit()


def _unnamed(asked: Asked) -> Asked:
    """The question without its name, on which no answer depends."""
    return replace(asked, name=None)


def _name(value: Any) -> tuple[bool, Any]:
    """What a class and an option are compared by: True is not the text "True", and a number is its own name."""
    return isinstance(value, bool), value if isinstance(value, bool | str) else str(value)


def _value(asked: Asked, option: Option) -> Any:
    return option.label if asked.type == "rating" else option.value


def _answered(asked: Prompted | FewshotError, model: Any) -> Answer | FewshotError:
    if isinstance(asked, FewshotError):
        return asked
    asked = replace(asked, model=model)
    try:
        scores = asked.raw_scores()[0]
    except FewshotError as error:
        return error
    n_tokens = sum(fit.n_tokens for fit in asked.prompts)
    return Answer(np.exp(log_softmax(scores)), n_tokens, asked.answers[0].mass)


def _refuse_cuts(clf: Any, row: Row) -> None:
    """Refuse a row that the classifier would read without its end."""
    if hasattr(clf, "preview"):
        _refuse_cut(clf.preview([row])[0].n_cut, clf.model_)


def _refuse_cut(n_cut: int, model: Any) -> None:
    if n_cut:
        raise PromptTooLongError(
            f"The state is {n_cut} tokens longer than the model can read beside the question; it reads {model.limit} "
            "in all. Nothing is cut silently: send less."
        )
