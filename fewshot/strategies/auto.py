"""Auto: the strategy that fits the kind of model and the examples at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.utils import check_random_state

from fewshot.demonstrations import select
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import ParameterError, UnsupportedError
from fewshot.heads.counting import merge_equal
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, is_language_model, is_reader, kind_of
from fewshot.models.kinds import Kind, trains
from fewshot.models.wrappers import RememberedLM
from fewshot.strategies.base import Rows, Strategy, no_weights
from fewshot.strategies.budget import Budget
from fewshot.strategies.comparison import Candidate, Report, cross_validated, n_folds
from fewshot.strategies.embedding import Embedding
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.readout import Readout
from fewshot.task.task import Task
from fewshot.training.examples import n_steps

__all__ = ["Auto"]

_MOST_SHOTS = 16
#: Examples that strategies are compared on; of more, as many of each class as there are, up to this sum.
_COMPARED = 128
#: The folds tune less than the final fit does, at a fraction of its time. They gain less, and their confidence is not
#: that of the final fit: hence accuracy decides, a win is a safe one, and a small loss says nothing.
_FOLD_LAYERS, _FOLD_STEPS = 2, 4


class Auto(Strategy):
    """Choose the strategy from the kind of model and the labels at hand.

    An encoder gets `Embedding`. With labelled rows, three ways are compared by cross-validation (as many folds as the
    smallest class has rows, at most five, on at most 128 rows): the frozen encoder with the label names as prior or
    without them, by log loss; and the better of these with an own copy of the encoder tuned by `Contrastive`, by
    accuracy. For the time it takes, the folds tune the last two layers only, in four steps; therefore the tuned copy is
    chosen also where it is up to one standard error behind. Where a class has a single row nothing can be compared, and
    the encoder is tuned. It stays frozen where tuning is impossible: with several labels a row, or an encoder that is
    not a `SentenceEncoder`.

    A language model gets `Prompting`, calibrated by `fewshot.calibration.BestOf`. With labelled rows it is compared
    with `Readout`, by log loss on the same folds; a causal model also with up to 16 stratified demonstrations in the
    prompt, which do not help the other kinds. The comparison asks the model about each row once for each way. Where
    rows bring their own choices, the calibration is "pmi" if the template has a ``domain_premise``, else None, and
    there is no `Readout`; with labelled rows it is compared with None.

    With a budget, `FineTuning` is compared as well, wherever its folds and the final fit would end in time: a step is
    timed first. It is chosen by log loss for a language model, and for an encoder (as a classification layer) where it
    is more accurate by a standard error. What the budget had no room for is in the report.

    Parameters
    ----------
    budget : float, optional
        Seconds that `fit` may take, about. None sets no limit and leaves fine-tuning out, which takes minutes on a CPU.

    Attributes
    ----------
    chosen_ : Strategy
        The strategy that was chosen, fitted.
    report_ : Report
        The choice, its reasons, and the held-out scores of what was compared; also ``clf.report_``.

    Examples
    --------
    >>> from fewshot import Auto, Classifier, FakeLM
    >>> lm = FakeLM(lambda query: [0.0 for _ in query.candidates])
    >>> clf = Classifier(lm, strategy=Auto()).fit(["x", "y"], ["a", "b"])
    >>> clf.strategy_.chosen_
    Prompting(calibration='auto', shots=2)
    >>> print(clf.report_)
    Chosen: Prompting(calibration='auto', shots=2)
    - a class has a single row: nothing can be compared
    """

    takes_multi_label = takes_wordings = takes_choices = takes_weights = True

    def __init__(self, budget: float | None = None) -> None:
        self.budget = budget

    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """Choose, and fit the chosen strategy."""
        if self.budget is not None and not self.budget > 0:
            raise ParameterError(f"budget must be a number of seconds greater than 0, or None. Got {self.budget!r}.")
        chosen: Strategy
        budget = Budget(self.budget)
        if is_language_model(model):
            no_weights(self, sample_weight)
            chosen, report = _for_language_model(task, model, X, y, random_state=random_state, budget=budget)
        elif X is None or y is None:
            chosen, report = Embedding(), Report(repr(Embedding()), ("there are no labelled rows",))
        else:
            chosen, report = _for_encoder(
                task, model, X, y, sample_weight=sample_weight, random_state=random_state, budget=budget
            )
        self.chosen_: Any = chosen.fit(task, model, X, y, sample_weight=sample_weight, random_state=random_state)
        self.report_ = report

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Log-probabilities of the classes, of shape (n_texts, n_classes); when multi-label, log-odds."""
        return self.chosen_.log_scores(X)

    def preview(self, X: Sequence[Row]) -> Preview:
        """What the chosen strategy would ask."""
        return self.chosen_.preview(X)

    def explain(self, row: Row) -> Explanation:
        """What the chosen strategy explains."""
        return self.chosen_.explain(row)

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """The label mass, where the chosen strategy has one.

        Raises
        ------
        UnsupportedError
            When the chosen strategy has none.
        """
        if not hasattr(self.chosen_, "label_mass"):
            raise UnsupportedError("An encoder has no label mass: it compares vectors, not words.")
        return self.chosen_.label_mass(X)


def _for_language_model(
    task: Task, model: Any, X: Sequence[Row] | None, y: Any, *, random_state: Any, budget: Budget
) -> tuple[Strategy, Report]:
    kind = kind_of(model)
    if task.multi_label:
        chosen: Strategy = Prompting()
        return chosen, Report(repr(chosen), ("a row may have several labels: each is asked about, zero-shot",))
    calibration = _calibration(task, kind)
    if X is None or y is None:
        chosen = Prompting(calibration=calibration)
        return chosen, Report(repr(chosen), ("there are no labelled rows",))
    targets = task.index(y)
    shots = min(len(y), _MOST_SHOTS) if kind.pretraining == "causal" else 0
    prompting, plain = Prompting(shots, calibration=calibration), Prompting(calibration=calibration)
    features: Literal["hidden", "labels"] = "hidden" if is_reader(model) and _shows_hidden(model) else "labels"
    readout = Readout(features)
    rows, folds, seed = _compared(targets, len(task.classes), random_state)
    if not folds or len(set(targets.tolist())) < 2:
        return prompting, Report(repr(prompting), ("a class has a single row: nothing can be compared",))
    # what would be chosen, and what the folds try for it: a fold has fewer rows to show
    left = max(1, len(rows) - -(-len(rows) // folds) - len(task.classes))
    choices: dict[str, tuple[Strategy, Strategy]] = {"prompting": (plain, plain)}
    if not task.verbalizer.per_row:
        choices[f"readout of {features}"] = (readout, readout)
    elif calibration:
        choices["prompting without calibration"] = (Prompting(), Prompting())
    if shots:
        choices["prompting with demonstrations"] = (
            prompting,
            Prompting(min(shots, left), calibration=calibration),
        )
    if len(choices) == 1:
        return plain, Report(repr(plain), ("there is no other way to ask about choices of each row",))
    tried = {name: one for name, (_, one) in choices.items()}
    candidates = _candidates(tried, task, RememberedLM(model), X=X, y=y, rows=rows, folds=folds, seed=seed)
    if not task.others:
        candidates += _finetuned("prompt", budget, task, model, X=X, y=y, rows=rows, folds=folds, seed=seed)
        choices |= {one.name: (one.strategy, one.strategy) for one in candidates[len(choices) :]}
    best, second = sorted(candidates, key=lambda one: one.log_loss)[:2]
    why = (
        f"the lowest log loss, {best.log_loss:.3f} against {second.log_loss:.3f}: {best.name} ({len(rows)} held-out "
        f"examples, {folds} folds)"
    )
    chosen = choices[best.name][0]
    return chosen, Report(repr(chosen), (why, *budget.reasons), candidates, rows, folds)


def _finetuned(
    objective: Literal["prompt", "head"],
    budget: Budget,
    task: Task,
    model: Any,
    *,
    X: Sequence[Row],
    y: Any,
    rows: IntArray,
    folds: int,
    seed: int,
    sample_weight: FloatArray | None = None,
) -> tuple[Candidate, ...]:
    """Fine-tuning on the same folds, where the budget has room for them and for the final fit.

    Parameters
    ----------
    objective : {"prompt", "head"}
        What `FineTuning` trains.
    budget : Budget
        Takes the reasons why nothing was tried.
    task : Task
    model : LanguageModel or Encoder
    X : sequence of rows
    y : sequence
        The class of each row.
    rows : ndarray of int
        Numbers of the rows that are compared on.
    folds, seed : int
        Number of folds, and what they are drawn with.
    sample_weight : ndarray of shape (n_texts,), optional
    """
    if budget.seconds is None:
        return ()
    from fewshot.strategies.finetuning import FineTuning

    if not trains(model, objective):
        budget.reasons.append(f"{model!r} can't be fine-tuned")
        return ()
    if folds < 3:
        budget.reasons.append("fine-tuning was not tried: it needs three examples of every class to be compared")
        return ()
    some = rows[: 2 * FineTuning().batch_size]
    texts, labels = [X[i] for i in some], [y[i] for i in some]
    if len(set(labels)) < 2:
        texts, labels = [X[i] for i in rows], [y[i] for i in rows]

    def run(steps: int) -> None:
        FineTuning(objective, steps=steps).fit(task, model, texts, labels, random_state=seed)

    steps = folds * n_steps(len(rows) * (folds - 1) // folds) + n_steps(len(X))
    if not budget.allows("fine-tuning", run, fits=folds + 1, steps=steps):
        return ()
    tried = {"fine-tuning": FineTuning(objective)}
    return _candidates(tried, task, model, X=X, y=y, rows=rows, folds=folds, seed=seed, sample_weight=sample_weight)


def _calibration(task: Task, kind: Kind) -> str | None:
    if not kind.vocabulary:
        return None
    if not task.verbalizer.per_row:
        return "auto"
    premises = [one.template.metadata.get("domain_premise") for one in task.wordings]
    return None if None in premises else "pmi"


def _shows_hidden(model: Any) -> bool:
    """A FakeLM shows hidden states only where it was given some."""
    return getattr(model, "hidden", True) is not None


def _compared(targets: IntArray, n_classes: int, random_state: Any) -> tuple[IntArray, int, int]:
    """The rows that strategies are compared on, how many folds of them, and a seed."""
    rng = check_random_state(random_state)
    seed = int(rng.randint(2**31 - 1))
    size = min(len(targets), max(_COMPARED, 2 * n_classes))
    rows = np.sort(select("stratified", targets.tolist(), size, rng))
    return rows, n_folds(targets[rows]), seed


def _candidates(
    choices: Mapping[str, Strategy],
    task: Task,
    model: Any,
    *,
    X: Sequence[Row],
    y: Any,
    rows: IntArray,
    folds: int,
    seed: int,
    sample_weight: FloatArray | None = None,
) -> tuple[Candidate, ...]:
    """Each choice by cross-validation on the same folds of these rows.

    Parameters
    ----------
    choices : mapping of str to Strategy
    task : Task
    model : LanguageModel or Encoder
    X : sequence of rows
    y : sequence
        The class of each row.
    rows : ndarray of int
        Numbers of the rows that are compared on.
    folds, seed : int
        Number of folds, and what they are drawn with.
    sample_weight : ndarray of shape (n_texts,), optional
    """
    shown, labels = [X[i] for i in rows], [y[i] for i in rows]
    weights = None if sample_weight is None else sample_weight[rows]
    return tuple(
        cross_validated(
            name, tried, task, model, X=shown, y=labels, folds=folds, sample_weight=weights, random_state=seed
        )
        for name, tried in choices.items()
    )


def _for_encoder(
    task: Task,
    model: Any,
    X: Sequence[Row],
    y: Any,
    *,
    sample_weight: FloatArray | None,
    random_state: Any,
    budget: Budget,
) -> tuple[Strategy, Report]:
    from fewshot.strategies.contrastive import Contrastive

    names, no_names, tuned = Embedding(), Embedding(label_prior=0.0), Embedding(tuning=Contrastive())
    if task.multi_label:
        return names, Report(repr(names), ("a row may have several labels, which neither tuning nor folds can do yet",))
    # what would be chosen, and what the folds try for it
    choices = {"frozen encoder, label names": (names, names)} if task.verbalizer.named else {}
    choices["frozen encoder, no label names"] = (no_names, no_names)
    reasons = [] if task.verbalizer.named else ["the classes have no names"]
    chosen: Strategy
    tuning = ""
    if not trains(model, "vectors"):
        reasons.append("only a SentenceEncoder can be tuned")
    else:
        tuning = "tuned encoder, label names" if task.verbalizer.named else "tuned encoder, no label names"
        choices[tuning] = (tuned, Embedding(tuning=Contrastive(_FOLD_STEPS, layers=_FOLD_LAYERS)))
    # equal rows are one, of their weight: a fold must not be asked what it was taught
    keys = [(row if isinstance(row, str) else repr(row), label) for row, label in zip(X, task.index(y), strict=True)]
    first, sample_weight = merge_equal(keys, sample_weight)
    X, y = [X[i] for i in first], [y[i] for i in first]
    targets = task.index(y)
    rows, folds, seed = _compared(targets, len(task.classes), random_state)

    def run(steps: int) -> None:
        Embedding(tuning=Contrastive(steps)).fit(task, model, X, y, random_state=seed)

    steps = Contrastive().n_steps(len(X)) * (1 + folds / 4)  # those of the folds are shorter
    if tuning and not budget.allows("tuning the encoder", run, fits=1 + folds, steps=steps):
        del choices[tuning]
    if not folds or len(choices) == 1:
        chosen = tuned if tuning in choices else next(iter(choices.values()))[0]
        why = "there is no other way" if folds else "a class has a single row: nothing can be compared"
        return chosen, Report(repr(chosen), (*reasons, *budget.reasons, why))
    tried = {name: tried for name, (_, tried) in choices.items()}
    candidates = _candidates(
        tried, task, model, X=X, y=y, rows=rows, folds=folds, seed=seed, sample_weight=sample_weight
    )
    best, why = _best(candidates, targets[rows])
    chosen = choices[best.name][0]
    reasons.append(f"{why} ({len(rows)} held-out examples, {folds} folds)")
    more = _finetuned(
        "head", budget, task, model, X=X, y=y, rows=rows, folds=folds, seed=seed, sample_weight=sample_weight
    )
    candidates += more
    for head in more:
        gain, error = _gap(head, best, targets[rows])
        if gain > error:
            chosen = head.strategy
        reasons.append(
            f"held-out accuracy {head.accuracy:.3f} of a fine-tuned classification layer, which wins where it is "
            f"ahead by more than a standard error ({error:.3f})"
        )
    return chosen, Report(repr(chosen), (*reasons, *budget.reasons), candidates, rows, folds)


def _best(candidates: Sequence[Candidate], targets: IntArray) -> tuple[Candidate, str]:
    """Names or none by log loss, then frozen or tuned by accuracy."""
    still = [one for one in candidates if one.name.startswith("frozen")]
    frozen, other = min(still, key=lambda one: one.log_loss), max(still, key=lambda one: one.log_loss)
    if len(candidates) == len(still):
        return frozen, f"the lower log loss, {frozen.log_loss:.3f} against {other.log_loss:.3f}: {frozen.name}"
    tuned = candidates[-1]
    gap, error = _gap(frozen, tuned, targets)
    both = f"held-out accuracy {tuned.accuracy:.3f} tuned and {frozen.accuracy:.3f} frozen"
    if gap > error:
        return frozen, f"{both}: behind by more than a standard error ({error:.3f})"
    return tuned, f"{both}, where the folds tune less than the final fit"


def _gap(one: Candidate, other: Candidate, targets: IntArray) -> tuple[float, float]:
    """How much more accurate one is than the other on the same rows, and the standard error of that."""
    gaps = one.right(targets).astype(float) - other.right(targets)
    return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
