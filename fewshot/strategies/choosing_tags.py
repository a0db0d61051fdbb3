"""What `Auto` chooses for a tagger: by the F1 of spans in annotated texts that were held out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from fewshot.errors import InputError
from fewshot.models.base import FloatArray, IntArray, is_language_model, is_reader
from fewshot.models.kinds import trains
from fewshot.models.wrappers import RememberedLM
from fewshot.strategies.budget import Budget
from fewshot.strategies.candidates import CandidateSpans
from fewshot.strategies.finetuning import FineTuning
from fewshot.strategies.held_out import FOLDS, Folds, choose_best, deal, group, print_choice
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.readout import Readout
from fewshot.strategies.token_head import TokenHead
from fewshot.task.span_counts import compute_ratios
from fewshot.task.span_task import SpanTask
from fewshot.training.examples import n_steps

__all__ = ["SpanCandidate", "SpanReport", "choose_tags"]

#: Of more texts, so many are compared on.
_COMPARED = 128
_NO_BUDGET = (
    "a readout is compared with it where there is a budget, since all candidates of all texts are asked about",
)


@dataclass(frozen=True, eq=False)
class SpanCandidate:
    """How a strategy of a tagger did on texts that it was not shown.

    Attributes
    ----------
    name : str
        What it is called in the report.
    strategy : object
        Not fitted.
    counts : ndarray of shape (n_texts, 3)
        Of each text of `SpanReport.rows` the spans that are right, that were found, and that there are.
    f1 : float
        The entity F1 of all of them.
    seconds : float
        For all folds.
    """

    name: str
    strategy: Any
    counts: IntArray
    f1: float
    seconds: float


@dataclass(frozen=True, eq=False)
class SpanReport:
    """What `Auto` chose for a tagger, and why; prints as a table.

    Attributes
    ----------
    chosen : str
        The chosen strategy.
    reasons : tuple of str
        Why, one sentence each.
    candidates : tuple of SpanCandidate
        What was compared; empty where nothing was.
    rows : ndarray of int
        The texts that were compared on.
    folds : int
        Of the cross-validation; 0 without one.
    """

    chosen: str
    reasons: tuple[str, ...]
    candidates: tuple[SpanCandidate, ...] = ()
    rows: IntArray | None = None
    folds: int = 0

    def __str__(self) -> str:
        return print_choice(self.chosen, self.reasons, self.candidates, "texts", "entity F1")


def choose_tags(task: SpanTask, model: Any, *, budget: Budget, random_state: Any = None) -> tuple[Any, SpanReport]:
    """Return the strategy of a tagger, not fitted, and the report.

    The folds are of texts, of equal ones together, and as many as there are texts with spans, at most five. The head
    with the names of the types is what another way must beat, by more than a standard error of the difference: the head
    without them, and with a budget that has room for it, `FineTuning`.

    A language model without vectors of tokens, or without annotated texts, and whatever has a template, is asked about
    candidates by `Prompting`; with a budget that has room for it `Readout` must beat that.
    """
    asks = task.template is not None or (is_language_model(model) and not _tags(task, model))
    default = CandidateSpans(Prompting()) if asks else TokenHead()
    if not task.texts:
        return _without_comparison(default, "there are no annotated texts")
    folds = _deal(task, check_random_state(random_state))
    if folds.n < 2:
        return _without_comparison(default, "spans are in one text only: nothing can be compared")
    try:
        candidates = _compare_asking(task, model, folds, budget) if asks else _compare_heads(task, model, folds, budget)
    except InputError as error:
        return _without_comparison(default, f"the folds teach nothing: {error}")
    if not candidates:
        return _without_comparison(default, *(budget.reasons or _NO_BUDGET))
    best, reasons = choose_best(candidates, _parts_of, "entity F1", folds.seed)
    reasons.append(f"so it is {best.name} ({len(folds.rows)} held-out texts, {folds.n} folds)")
    chosen = best.strategy
    return chosen, SpanReport(repr(chosen), (*reasons, *budget.reasons), tuple(candidates), folds.rows, folds.n)


def _tags(task: SpanTask, model: Any) -> bool:
    """Whether there are texts to learn from, and vectors of tokens to learn by."""
    return bool(task.texts) and callable(getattr(model, "token_vectors", None))


def _compare_asking(task: SpanTask, model: Any, folds: Folds, budget: Budget) -> list[SpanCandidate]:
    """Prompting and a readout, which ask about every candidate of every text: where a budget has room for that."""
    shows = is_reader(model) and getattr(model, "hidden", True) is not None  # a FakeLM may have no hidden states
    ways = {"prompting": Prompting(), "readout": Readout("hidden" if shows else "labels")}
    if budget.seconds is None or not is_language_model(model):
        return []
    shown = _take(task, folds.rows)

    def run(n: int) -> None:
        fitted = CandidateSpans(ways["readout"]).fit_spans(shown, model, random_state=folds.seed)
        fitted.span_readings(shown.texts[:n], shown.words[:n])

    if not budget.allows("a readout", run, fits=2 * folds.n, steps=2 * len(folds.rows)):
        return []
    remembered = RememberedLM(model)
    return [_measure(name, CandidateSpans(one), task, remembered, folds) for name, one in ways.items()]


def _compare_heads(task: SpanTask, model: Any, folds: Folds, budget: Budget) -> list[SpanCandidate]:
    """The head with the names of the types and without them, and a tuning where the budget has room for it."""
    ways = {"head, type names": TokenHead(), "head, no type names": TokenHead(names=0.0)}
    candidates = [_measure(name, one, task, model, folds) for name, one in ways.items()]
    if _allows_tuning(task, model, folds, budget):
        candidates.append(_measure("fine-tuned vectors", FineTuning("tags"), task, model, folds))
    return candidates


def _allows_tuning(task: SpanTask, model: Any, folds: Folds, budget: Budget) -> bool:
    """Whether the budget, without which there is no tuning, has room for the folds and for the final fit."""
    if budget.seconds is None:
        return False
    if not trains(model, "tokens"):
        budget.reasons.append(f"{model!r} can't be fine-tuned")
        return False

    def run(steps: int) -> None:
        FineTuning("tags", steps=steps).fit_spans(_take(task, folds.rows), model, random_state=folds.seed)

    in_folds = n_steps(len(folds.rows) * (folds.n - 1) // folds.n)
    return budget.allows("fine-tuning", run, fits=folds.n + 1, steps=folds.n * in_folds + n_steps(len(task.texts)))


def _without_comparison(chosen: Any, *reasons: str) -> tuple[Any, SpanReport]:
    return chosen, SpanReport(repr(chosen), reasons)


def _deal(task: SpanTask, rng: np.random.RandomState) -> Folds:
    """Deal texts to folds in a drawn order: those with spans evenly, and equal ones together.

    Of more than are compared on, half are texts with spans, where there are as many.
    """
    seed = int(rng.randint(2**31 - 1))
    groups = group(task.texts, rng)
    annotated = [own for own in groups if any(task.chunks[i] for i in own)]
    others = [own for own in groups if not any(task.chunks[i] for i in own)]
    annotated = annotated[: max(_COMPARED // 2, _COMPARED - len(others))]
    others = others[: _COMPARED - len(annotated)]
    return deal(annotated + others, min(FOLDS, len(annotated)), seed)


def _measure(name: str, strategy: Any, task: SpanTask, model: Any, folds: Folds) -> SpanCandidate:
    """A strategy by cross-validation; see `SpanCandidate`."""
    started = time.perf_counter()
    counts = np.zeros((len(folds.rows), 3), dtype=np.int64)
    for fold in range(folds.n):
        held_out = np.flatnonzero(folds.fold_of == fold)
        shown, own = _take(task, folds.rows[folds.fold_of != fold]), _take(task, folds.rows[held_out])
        fitted = clone(strategy).fit_spans(shown, model, random_state=folds.seed)
        readings = fitted.span_readings(own.texts, own.words)
        for place, reading, chunks in zip(held_out, readings, own.chunks, strict=True):
            found = {span[:3] for span in reading.find(None, task.max_words)}
            counts[place] = len(found & set(chunks)), len(found), len(chunks)
    f1 = compute_ratios(*counts.sum(axis=0).tolist())[2]
    return SpanCandidate(name, strategy, counts, f1, time.perf_counter() - started)


def _take(task: SpanTask, rows: Sequence[int] | IntArray) -> SpanTask:
    return replace(
        task,
        texts=[task.texts[i] for i in rows],
        words=[task.words[i] for i in rows],
        chunks=[task.chunks[i] for i in rows],
    )


def _parts_of(one: SpanCandidate) -> FloatArray:
    """Of each text twice the right spans, and those that were found and that there are: the F1 is their ratio."""
    right, found, there = one.counts.T
    return np.column_stack([2 * right, found + there]).astype(np.float64)
