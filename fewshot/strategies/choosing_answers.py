"""What `Auto` chooses for an extractor: by the F1 of answers to questions that were held out with their texts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from fewshot.errors import InputError
from fewshot.models.base import FloatArray, IntArray, is_extractive, is_language_model, kind_of
from fewshot.models.kinds import trains
from fewshot.models.tokens import is_tokens
from fewshot.strategies.budget import Budget
from fewshot.strategies.extracting import AskedSpans
from fewshot.strategies.finetuning import FineTuning
from fewshot.strategies.held_out import FOLDS, Folds, choose_best, deal, group, print_choice
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.reading_answers import ReadAnswers
from fewshot.strategies.span_head import SpanHead
from fewshot.task.answer_scores import score_answers
from fewshot.task.extracts import ExtractTask, take_right
from fewshot.training.examples import n_steps

__all__ = ["AnswerCandidate", "AnswerReport", "choose_answers"]

#: Of more questions, so many are compared on, and so many where a language model is asked, which takes a second each.
_COMPARED, _ASKED = 128, 32
#: Demonstrations that a causal model is also asked with.
_SHOTS = 4
_METRIC = "answer F1"


@dataclass(frozen=True, eq=False)
class AnswerCandidate:
    """How a strategy of an extractor did on questions about texts that it was not shown.

    Attributes
    ----------
    name : str
        What it is called in the report.
    strategy : object
        Not fitted.
    scores : ndarray of shape (n_questions, 2)
        Whether the answer to each question of `AnswerReport.rows` matches exactly, and its F1; see `answer_f1`.
    f1 : float
        The mean F1.
    seconds : float
        For all folds.
    """

    name: str
    strategy: Any
    scores: FloatArray
    f1: float
    seconds: float


@dataclass(frozen=True, eq=False)
class AnswerReport:
    """What `Auto` chose for an extractor, and why; prints as a table.

    Attributes
    ----------
    chosen : str
        The chosen strategy.
    reasons : tuple of str
        Why, one sentence each.
    candidates : tuple of AnswerCandidate
        What was compared; empty where nothing was.
    rows : ndarray of int
        The questions that were compared on.
    folds : int
        Of the cross-validation; 0 without one.
    """

    chosen: str
    reasons: tuple[str, ...]
    candidates: tuple[AnswerCandidate, ...] = ()
    rows: IntArray | None = None
    folds: int = 0

    def __str__(self) -> str:
        return print_choice(self.chosen, self.reasons, self.candidates, "questions", _METRIC)


def choose_answers(
    task: ExtractTask, model: Any, *, budget: Budget, random_state: Any = None
) -> tuple[Any, AnswerReport]:
    """Return the strategy of an extractor, not fitted, and the report.

    The folds are of texts, with all questions about each: as many as there are texts with an answer, at most five. The
    first way is what another must beat, by more than a standard error of the difference, over texts drawn again: the
    head with vectors; then the head without them, with a budget `FineTuning`, a language model that is asked, and a
    causal one with demonstrations.

    Whatever has a template or a name for no answer is asked. A model of question answering answers as it was trained.
    """
    says_how = task.template is not None or task.no_answer is not None
    if is_extractive(model) and not says_how:
        return _without_comparison(ReadAnswers(), "the model was trained to find answers")
    ways = _list_ways(task, model, says_how=says_how, budgeted=budget.seconds is not None)
    default = next(iter(ways.values()))
    if not task.asked:
        return _without_comparison(default, "there are no answered questions")
    if len(ways) == 1:
        return _without_comparison(default, f"{model!r} allows no other way")
    asks = any(isinstance(one, AskedSpans) for one in ways.values())
    folds = _deal(task, _ASKED if asks else _COMPARED, check_random_state(random_state))
    if folds.n < 2:
        return _without_comparison(default, "answers are in one text only: nothing can be compared")
    first, *others = ways.items()
    candidates = [one for way in others if (one := _try(way, task, model, folds, budget)) is not None]
    base = _try(first, task, model, folds, budget) if candidates else None
    if base is None:
        return _without_comparison(default, *budget.reasons)
    candidates.insert(0, base)
    best, reasons = choose_best(candidates, lambda one: _sum_by_text(one, task, folds), _METRIC, folds.seed)
    reasons.append(f"so it is {best.name} ({len(folds.rows)} held-out questions, {folds.n} folds)")
    reasons += budget.reasons
    return best.strategy, AnswerReport(repr(best.strategy), tuple(reasons), tuple(candidates), folds.rows, folds.n)


def _list_ways(task: ExtractTask, model: Any, *, says_how: bool, budgeted: bool) -> dict[str, Any]:
    """What the model allows; the first is what the others must beat."""
    ways: dict[str, Any] = {}
    if is_tokens(model) and not says_how and (task.asked or not is_language_model(model)):
        ways |= {"head": SpanHead(), "head, no vectors": SpanHead(components=0)}
        if budgeted and trains(model, "tokens"):
            ways["fine-tuned vectors"] = FineTuning("span")
    if is_language_model(model) or not ways:  # what can't be asked says so when it is fitted
        ways["prompting"] = AskedSpans(Prompting())
        shots = min(_SHOTS, len(task.asked))
        if shots and kind_of(model).pretraining == "causal":
            ways["prompting with demonstrations"] = AskedSpans(Prompting(shots))
    return ways


def _try(way: tuple[str, Any], task: ExtractTask, model: Any, folds: Folds, budget: Budget) -> AnswerCandidate | None:
    """How a way does; None, with a reason kept, where the budget has no room to ask, or nothing comes of it."""
    name, strategy = way
    try:
        if not _allows(way, task, model, folds, budget):
            return None
        return _measure(name, strategy, task, model, folds)
    except InputError as error:
        budget.reasons.append(f"{name} was not compared: {error}")
        return None


def _allows(way: tuple[str, Any], task: ExtractTask, model: Any, folds: Folds, budget: Budget) -> bool:
    """Whether the budget has room to tune in the folds and at the end, or to ask; heads are fast."""
    name, strategy = way
    shown = _take(task, folds.rows)

    def tune(steps: int) -> None:
        FineTuning("span", steps=steps).fit_answers(shown, model, random_state=folds.seed)

    def ask(n: int) -> None:
        clone(strategy).fit_answers(shown, model, random_state=folds.seed).answer_readings(shown.asked[:n])

    if isinstance(strategy, FineTuning):
        in_folds = folds.n * n_steps(len(folds.rows) * (folds.n - 1) // folds.n)
        return budget.allows(name, tune, fits=folds.n + 1, steps=in_folds + n_steps(len(task.asked)))
    return not isinstance(strategy, AskedSpans) or budget.allows(name, ask, fits=folds.n, steps=len(folds.rows))


def _without_comparison(chosen: Any, *reasons: str) -> tuple[Any, AnswerReport]:
    return chosen, AnswerReport(repr(chosen), reasons)


def _deal(task: ExtractTask, most: int, rng: np.random.RandomState) -> Folds:
    """Deal texts to folds in a drawn order, each with all questions about it: those with an answer evenly.

    Of more questions than are compared on, half are about texts with an answer, where there are as many.
    """
    seed = int(rng.randint(2**31 - 1))
    groups = group([one.context for one in task.asked], rng)
    answered = [own for own in groups if any(task.golds[i] for i in own)]
    others = [own for own in groups if not any(task.golds[i] for i in own)]
    answered = _take_first(answered, max(most // 2, most - sum(map(len, others))))
    others = _take_first(others, most - sum(map(len, answered)))
    return deal(answered + others, min(FOLDS, len(answered)), seed)


def _take_first(groups: list[list[int]], most: int) -> list[list[int]]:
    """Groups of so many questions at most."""
    return [own for own, total in zip(groups, accumulate(map(len, groups)), strict=True) if total <= most]


def _measure(name: str, strategy: Any, task: ExtractTask, model: Any, folds: Folds) -> AnswerCandidate:
    """A strategy by cross-validation; see `AnswerCandidate`."""
    started = time.perf_counter()
    scores = np.zeros((len(folds.rows), 2))
    for fold in range(folds.n):
        held_out = np.flatnonzero(folds.fold_of == fold)
        shown, own = _take(task, folds.rows[folds.fold_of != fold]), _take(task, folds.rows[held_out])
        fitted = clone(strategy).fit_answers(shown, model, random_state=folds.seed)
        found = [reading.find()[0] for reading in fitted.answer_readings(own.asked)]
        said = [one.context[slice(*place)] if place else "" for one, place in zip(own.asked, found, strict=True)]
        scores[held_out] = score_answers(take_right(own.asked, own.golds), said)
    return AnswerCandidate(name, strategy, scores, float(scores[:, 1].mean()), time.perf_counter() - started)


def _take(task: ExtractTask, rows: Sequence[int] | IntArray) -> ExtractTask:
    return replace(task, asked=[task.asked[i] for i in rows], golds=[task.golds[i] for i in rows])


def _sum_by_text(one: AnswerCandidate, task: ExtractTask, folds: Folds) -> FloatArray:
    """Of each text the sum of the F1 of the questions about it, and their number."""
    texts: dict[str, int] = {}
    of_text = [texts.setdefault(task.asked[i].context, len(texts)) for i in folds.rows]
    return np.column_stack([np.bincount(of_text, one.scores[:, 1]), np.bincount(of_text)])
