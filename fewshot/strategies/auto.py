"""Auto: the strategy that fits the kind of model and the examples at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import ParameterError, UnsupportedError
from fewshot.heads.counting import merge_equal
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, is_language_model, is_reader, kind_of
from fewshot.models.kinds import Kind, trains
from fewshot.strategies.base import Rows, Strategy, no_weights
from fewshot.strategies.budget import Budget
from fewshot.strategies.comparison import Candidate, Comparison, Report, Way, draw_comparison
from fewshot.strategies.embedding import Embedding
from fewshot.strategies.phrasings import Phrasing, compare_information, compare_loss, phrasings_of
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.readout import Readout
from fewshot.task.task import Task
from fewshot.training.examples import n_steps

__all__ = ["Auto"]

_MOST_SHOTS = 16
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

    A language model gets `Prompting`, calibrated by `fewshot.calibration.BestOf`. In place of the generic template of a
    causal or encoder-decoder model, ``generic/causal``, it may take ``generic/listed``, which lists the label words
    after the text, in two orders, or ``generic/unlisted``, which lists none; every other template stays. A model with a
    chat template is also asked without it. Labelled rows choose among these first, zero-shot, by log loss on the folds;
    unlabelled ones by mutual information (see `select_template`). What was chosen is the classifier's ``template_`` and
    ``model_``.

    With labelled rows prompting is then compared with `Readout`, by log loss on the same folds; a causal model also
    with up to 16 stratified demonstrations in the prompt, which do not help the other kinds. The comparison asks the
    model about each row once for each way. Where rows bring their own choices, the calibration is "pmi" if the template
    has a ``domain_premise``, else None, and there is no `Readout`; with labelled rows it is compared with None.

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
    asked_ : tuple of Task and model
        In which wording, and of which model in which format, the chosen strategy asks.
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
        budget, asked = Budget(self.budget), (task, model)
        if is_language_model(model):
            no_weights(self, sample_weight)
            chosen, report, phrasing = _for_language_model(task, model, X, y, random_state=random_state, budget=budget)
            asked = (phrasing.task, phrasing.model)
        elif X is None or y is None:
            chosen, report = _without_comparison(Embedding(), "there are no labelled rows")
        else:
            chosen, report = _for_encoder(
                task, model, X, y, sample_weight=sample_weight, random_state=random_state, budget=budget
            )
        self.chosen_: Any = chosen.fit(*asked, X, y, sample_weight=sample_weight, random_state=random_state)
        self.asked_, self.report_ = asked, report

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


def _without_comparison(chosen: Strategy, *reasons: str) -> tuple[Strategy, Report]:
    return chosen, Report(repr(chosen), reasons)


def _for_language_model(
    task: Task, model: Any, X: Sequence[Row] | None, y: Any, *, random_state: Any, budget: Budget
) -> tuple[Strategy, Report, Phrasing]:
    """The chosen strategy, the report, and in which wording and format the model is asked."""
    kind = kind_of(model)
    phrasings = phrasings_of(task, model)
    given = phrasings[0]
    if task.multi_label:
        why = "a row may have several labels: each is asked about, zero-shot"
        return *_without_comparison(Prompting(), why), given
    calibration = _calibration(task, kind)
    plain = Prompting(calibration=calibration)
    if X is None:
        return *_without_comparison(plain, "there are no labelled rows"), given
    if y is None:
        return _without_labels(calibration, phrasings, X, random_state)
    shots = min(len(y), _MOST_SHOTS) if kind.pretraining == "causal" else 0
    prompting = Prompting(shots, calibration=calibration)
    compared = draw_comparison(task, X, y, None, random_state)
    rows, folds = compared.rows, compared.folds
    if not folds or len(set(task.index(y).tolist())) < 2:
        return *_without_comparison(prompting, "a class has a single row: nothing can be compared"), given
    asked, reasons, zero_shot = _by_loss(phrasings, compared)
    compared = replace(compared, task=asked.task)
    plain = Prompting(calibration=calibration, orders=asked.orders)
    prompting = Prompting(shots, calibration=calibration, orders=asked.orders)
    ways = [Way("prompting", plain, plain)]
    if not task.verbalizer.per_row:
        shows = is_reader(model) and getattr(model, "hidden", True) is not None  # a FakeLM may have no hidden states
        features: Literal["hidden", "labels"] = "hidden" if shows else "labels"
        ways.append(Way(f"readout of {features}", Readout(features), Readout(features)))
    elif calibration:
        ways.append(Way("prompting without calibration", Prompting(), Prompting()))
    if shots:  # a fold has fewer rows to show
        left = max(1, len(rows) - -(-len(rows) // folds) - len(task.classes))
        fewer = Prompting(min(shots, left), calibration=calibration, orders=asked.orders)
        ways.append(Way("prompting with demonstrations", prompting, fewer))
    if len(ways) == 1:
        return *_without_comparison(plain, "there is no other way to ask about choices of each row"), given
    candidates = compared.candidates(ways, asked.remembered)
    if not task.others:
        candidates += _finetuned("prompt", budget, compared, asked.model)
    best, second = sorted(candidates, key=lambda one: one.log_loss)[:2]
    why = (
        f"the lowest log loss, {best.log_loss:.3f} against {second.log_loss:.3f}: {best.name} ({len(rows)} held-out "
        f"examples, {folds} folds)"
    )
    chosen = next((way.final for way in ways if way.name == best.name), best.strategy)
    said = (*reasons, why, *budget.reasons)
    return chosen, Report(repr(chosen), said, (*zero_shot, *candidates), rows, folds), asked


def _by_loss(
    phrasings: Sequence[Phrasing], compared: Comparison
) -> tuple[Phrasing, tuple[str, ...], tuple[Candidate, ...]]:
    """The wording and format with the lowest zero-shot log loss, why, and how each did."""
    if len(phrasings) == 1:
        return phrasings[0], (), ()
    tried = compare_loss(phrasings, compared)
    first, second = sorted(range(len(tried)), key=lambda i: tried[i].log_loss)[:2]
    why = (
        f"of {len(tried)} ways to put it the lowest log loss, {tried[first].log_loss:.3f} against "
        f"{tried[second].log_loss:.3f}: {tried[first].name}"
    )
    return phrasings[first], (why,), tried


def _without_labels(
    calibration: str | None, phrasings: Sequence[Phrasing], X: Sequence[Row], random_state: Any
) -> tuple[Strategy, Report, Phrasing]:
    """Prompting in the wording and format of the most mutual information, and the report."""
    if len(phrasings) == 1:
        return *_without_comparison(Prompting(calibration=calibration), "there are no labelled rows"), phrasings[0]
    found = compare_information(phrasings, X, random_state)
    first, second = sorted(range(len(found)), key=lambda i: -found[i])[:2]
    why = (
        f"the most mutual information of texts and answers, {found[first]:.3f} against {found[second]:.3f}: "
        f"{phrasings[first].name}"
    )
    table = tuple((one.name, value) for one, value in zip(phrasings, found, strict=True))
    chosen = Prompting(calibration=calibration, orders=phrasings[first].orders)
    return chosen, Report(repr(chosen), ("there are no labelled rows", why), information=table), phrasings[first]


def _finetuned(
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
        return _without_comparison(names, "a row may have several labels, which neither tuning nor folds can do yet")
    named = task.verbalizer.named
    ways = [Way("frozen encoder, label names", names, names)] if named else []
    ways.append(Way("frozen encoder, no label names", no_names, no_names))
    reasons = [] if named else ["the classes have no names"]
    # equal rows are one, of their weight: a fold must not be asked what it was taught
    keys = [(row if isinstance(row, str) else repr(row), label) for row, label in zip(X, task.index(y), strict=True)]
    first, sample_weight = merge_equal(keys, sample_weight)
    X, y = [X[i] for i in first], [y[i] for i in first]
    compared = draw_comparison(task, X, y, sample_weight, random_state)
    rows, folds = compared.rows, compared.folds

    def run(steps: int) -> None:
        Embedding(tuning=Contrastive(steps)).fit(task, model, X, y, random_state=compared.seed)

    steps = Contrastive().n_steps(len(X)) * (1 + folds / 4)  # those of the folds are shorter
    tunes = trains(model, "vectors")
    if not tunes:
        reasons.append("only a SentenceEncoder can be tuned")
    elif tunes := budget.allows("tuning the encoder", run, fits=1 + folds, steps=steps):
        shorter = Embedding(tuning=Contrastive(_FOLD_STEPS, layers=_FOLD_LAYERS))
        ways.append(Way(f"tuned encoder, {'' if named else 'no '}label names", tuned, shorter))
    if not folds or len(ways) == 1:
        why = "there is no other way" if folds else "a class has a single row: nothing can be compared"
        return _without_comparison(tuned if tunes else ways[0].final, *reasons, *budget.reasons, why)
    candidates = compared.candidates(ways, model)
    targets = task.index(y)[rows]
    best, why = _best(candidates, targets)
    chosen = next(way.final for way in ways if way.name == best.name)
    reasons.append(f"{why} ({len(rows)} held-out examples, {folds} folds)")
    more = _finetuned("head", budget, compared, model)
    for head in more:
        gain, error = _gap(head, best, targets)
        if gain > error:
            chosen = head.strategy
        reasons.append(
            f"held-out accuracy {head.accuracy:.3f} of a fine-tuned classification layer, which wins where it is "
            f"ahead by more than a standard error ({error:.3f})"
        )
    return chosen, Report(repr(chosen), (*reasons, *budget.reasons), (*candidates, *more), rows, folds)


def _best(candidates: Sequence[Candidate], targets: IntArray) -> tuple[Candidate, str]:
    """Names or none by log loss, then frozen or tuned by accuracy."""
    still = sorted((one for one in candidates if one.name.startswith("frozen")), key=lambda one: one.log_loss)
    frozen, tuned = still[0], next((one for one in candidates if one.name.startswith("tuned")), None)
    if tuned is None:
        return frozen, f"the lower log loss, {frozen.log_loss:.3f} against {still[-1].log_loss:.3f}: {frozen.name}"
    gap, error = _gap(frozen, tuned, targets)
    both = f"held-out accuracy {tuned.accuracy:.3f} tuned and {frozen.accuracy:.3f} frozen"
    if gap > error:
        return frozen, f"{both}: behind by more than a standard error ({error:.3f})"
    return tuned, f"{both}, where the folds tune less than the final fit"


def _gap(one: Candidate, other: Candidate, targets: IntArray) -> tuple[float, float]:
    """How much more accurate one is than the other on the same rows, and the standard error of that."""
    gaps = one.right(targets).astype(float) - other.right(targets)
    return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
