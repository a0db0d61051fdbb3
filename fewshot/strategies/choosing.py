"""What `Auto` chooses for a language model: phrasings and ways to ask, by log loss on examples that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from fewshot.inputs import Row
from fewshot.models.base import is_reader, kind_of
from fewshot.models.kinds import Kind, trains
from fewshot.strategies.base import Strategy
from fewshot.strategies.budget import Budget
from fewshot.strategies.comparison import Candidate, Comparison, Report, Way, draw_comparison
from fewshot.strategies.phrasings import Phrasing, compare_information, phrasings_of
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.readout import Readout
from fewshot.task.task import Task
from fewshot.training.examples import n_steps

__all__ = ["Chosen", "choose_for_language_model", "finetuned", "without_comparison"]

_MOST_SHOTS = 16
#: Of several phrasings' ways the best, whose log-scores are averaged: settled by benchmarks/settle/auto_on_lm.py, on
#: training rows.
_TOGETHER = 3
#: Folds from which prompting may be among these. Fewer are of so few rows that readouts seem worse than they will be:
#: settled by the same script.
_ENOUGH = 4


def without_comparison(chosen: Strategy, *reasons: str) -> tuple[Strategy, Report]:
    """A strategy, and a report that nothing else was tried."""
    return chosen, Report(repr(chosen), reasons)


class Chosen(NamedTuple):
    """What is chosen for a language model, why, how it is asked, and what is averaged with it."""

    strategy: Strategy
    report: Report
    phrasing: Phrasing
    beside: tuple[tuple[Strategy, Phrasing], ...] = ()


def choose_for_language_model(
    task: Task, model: Any, X: Sequence[Row] | None, y: Any, *, random_state: Any, budget: Budget
) -> Chosen:
    """What is chosen, and why; see `Auto`."""
    kind = kind_of(model)
    phrasings = phrasings_of(task, model)
    given = phrasings[0]
    if task.multi_label:
        why = "a row may have several labels: each is asked about, zero-shot"
        return Chosen(*without_comparison(Prompting(), why), given)
    calibration = _calibration(task, kind)
    if X is None:
        return Chosen(*without_comparison(Prompting(calibration=calibration), "there are no labelled rows"), given)
    if y is None:
        return Chosen(*_without_labels(calibration, phrasings, X, random_state))
    shots = min(len(y), _MOST_SHOTS) if kind.pretraining == "causal" else 0
    compared = draw_comparison(task, X, y, None, random_state)
    rows, folds = compared.rows, compared.folds
    if not folds or len(set(task.index(y).tolist())) < 2:
        prompting = Prompting(shots, calibration=calibration)
        return Chosen(*without_comparison(prompting, "a class has a single row: nothing can be compared"), given)
    left = max(1, len(rows) - -(-len(rows) // folds) - len(task.classes))  # a fold has fewer rows to show
    alone = len(phrasings) == 1
    asked: dict[str, tuple[Strategy, Phrasing]] = {}
    candidates: list[Candidate] = []
    for one in phrasings:
        ways = _ways_alone(one, calibration, shots, left) if alone else _ways_of(one, calibration)
        if len(ways) == 1:
            why = "there is no other way to ask about choices of each row"
            return Chosen(*without_comparison(ways[0].final, why), given)
        candidates += replace(compared, task=one.task).candidates(ways, one.remembered)
        asked |= {way.name: (way.final, one) for way in ways}
    ranked = sorted(candidates, key=lambda one: one.log_loss)
    first = asked[ranked[0].name][1]
    tuned = () if task.others else finetuned("prompt", budget, replace(compared, task=first.task), first.model)
    asked |= {one.name: (one.strategy, first) for one in tuned}
    if tuned and tuned[0].log_loss < ranked[0].log_loss:
        ranked, alone = [*tuned, *ranked], True
    few = not alone and folds < _ENOUGH
    if few:
        ranked = [one for one in ranked if isinstance(asked[one.name][0], Readout)]
    best = ranked[: 1 if alone else _TOGETHER]
    why = _why(best, ranked, f"{len(rows)} held-out examples, {folds} folds")
    if few:
        why += "; readouts alone, which folds of so few rows underrate"
    (chosen, phrasing), *beside = (asked[one.name] for one in best)
    names = ", ".join(repr(asked[one.name][0]) for one in best)
    report = Report(
        names if alone else f"the mean of {names}", (why, *budget.reasons), (*candidates, *tuned), rows, folds
    )
    return Chosen(chosen, report, phrasing, tuple(beside))


def _why(best: Sequence[Candidate], ranked: Sequence[Candidate], held_out: str) -> str:
    if len(best) == 1:
        first, second = ranked[:2]
        return f"the lowest log loss, {first.log_loss:.3f} against {second.log_loss:.3f}: {first.name} ({held_out})"
    said = "; ".join(f"{one.name}, {one.log_loss:.3f}" for one in best)
    return f"of {len(ranked)} ways the {len(best)} with the lowest log loss: {said} ({held_out})"


def _readout(model: Any, end: str) -> Way:
    shows = is_reader(model) and getattr(model, "hidden", True) is not None  # a FakeLM may have no hidden states
    features: Literal["hidden", "labels"] = "hidden" if shows else "labels"
    return Way(f"readout of {features}{end}", Readout(features), Readout(features))


def _ways_of(one: Phrasing, calibration: str | None) -> list[Way]:
    """How one of several phrasings is asked; calibrations are not compared in each fold, but once in the end."""
    end = f", {one.name}"
    zero_shot = Prompting(calibration=calibration, orders=one.orders)
    on_folds = Prompting(calibration="batch", orders=one.orders)
    return [Way(f"prompting{end}", zero_shot, on_folds), _readout(one.model, end)]


def _ways_alone(one: Phrasing, calibration: str | None, shots: int, left: int) -> list[Way]:
    """How the only phrasing is asked; in the folds with as many demonstrations as these have left."""
    zero_shot = Prompting(calibration=calibration)
    ways = [Way("prompting", zero_shot, zero_shot)]
    if not one.task.verbalizer.per_row:
        ways.append(_readout(one.model, ""))
    elif calibration:
        ways.append(Way("prompting without calibration", Prompting(), Prompting()))
    if shots:
        shown, fewer = (Prompting(n, calibration=calibration) for n in (shots, min(shots, left)))
        ways.append(Way("prompting with demonstrations", shown, fewer))
    return ways


def _without_labels(
    calibration: str | None, phrasings: Sequence[Phrasing], X: Sequence[Row], random_state: Any
) -> tuple[Strategy, Report, Phrasing]:
    """Prompting in the wording and format of the most mutual information, and the report."""
    if len(phrasings) == 1:
        return *without_comparison(Prompting(calibration=calibration), "there are no labelled rows"), phrasings[0]
    found = compare_information(phrasings, X, random_state)
    first, second = sorted(range(len(found)), key=lambda i: -found[i])[:2]
    why = (
        f"the most mutual information of texts and answers, {found[first]:.3f} against {found[second]:.3f}: "
        f"prompting, {phrasings[first].name}"
    )
    table = tuple((f"prompting, {one.name}", value) for one, value in zip(phrasings, found, strict=True))
    chosen = Prompting(calibration=calibration, orders=phrasings[first].orders)
    return chosen, Report(repr(chosen), ("there are no labelled rows", why), information=table), phrasings[first]


def finetuned(
    objective: Literal["prompt", "head"], budget: Budget, compared: Comparison, model: Any
) -> tuple[Candidate, ...]:
    """Fine-tuning on the same folds, where the budget has room for them and for the final fit."""
    if budget.seconds is None:
        return ()
    from fewshot.strategies.finetuning import FineTuning

    X, y, rows, folds = compared.X, compared.y, compared.rows, compared.folds
    if not trains(model, objective):
        budget.reasons.append(f"{model!r} can't be fine-tuned")
        return ()
    if folds < 3:
        budget.reasons.append("fine-tuning was not tried: it needs three examples of every class to be compared")
        return ()
    some = rows[: 2 * FineTuning().batch_size]
    if len({y[i] for i in some}) < 2:
        some = rows
    texts, labels = [X[i] for i in some], [y[i] for i in some]

    def run(steps: int) -> None:
        FineTuning(objective, steps=steps).fit(compared.task, model, texts, labels, random_state=compared.seed)

    steps = folds * n_steps(len(rows) * (folds - 1) // folds) + n_steps(len(X))
    if not budget.allows("fine-tuning", run, fits=folds + 1, steps=steps):
        return ()
    return compared.candidates([Way("fine-tuning", FineTuning(objective), FineTuning(objective))], model)


def _calibration(task: Task, kind: Kind) -> str | None:
    if not kind.vocabulary:
        return None
    if not task.verbalizer.per_row:
        return "auto"
    premises = [one.template.metadata.get("domain_premise") for one in task.wordings]
    return None if None in premises else "pmi"
