"""Auto: the strategy that fits the kind of model and the examples at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone

from fewshot.checks import above
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import UnsupportedError
from fewshot.heads.answers import AnswerReading
from fewshot.heads.counting import merge_equal
from fewshot.heads.readings import Reading
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, is_language_model
from fewshot.models.kinds import trains
from fewshot.prompts.pending import Pending
from fewshot.strategies.base import Rows, Strategy, no_weights
from fewshot.strategies.budget import Budget
from fewshot.strategies.choosing import choose_for_language_model, finetuned, without_comparison
from fewshot.strategies.choosing_answers import AnswerReport, choose_answers
from fewshot.strategies.choosing_tags import SpanReport, choose_tags
from fewshot.strategies.comparison import Candidate, Report, Way, draw_comparison
from fewshot.strategies.embedding import Embedding
from fewshot.strategies.phrasings import Phrasing
from fewshot.task.extracts import Asked, ExtractTask
from fewshot.task.span_task import SpanTask
from fewshot.task.task import Task

__all__ = ["Auto", "chosen_of"]

#: The folds tune less than the final fit does, at a fraction of its time. They gain less, and their confidence is not
#: that of the final fit: hence accuracy decides, a win is a safe one, and a small loss says nothing.
_FOLD_LAYERS, _FOLD_STEPS = 2, 4


class Auto(Strategy):
    """Choose the strategy from the kind of model and the labels at hand.

    **Encoders** get `Embedding`. With labelled rows, `Auto` compares three ways by cross-validation. There are as many
    folds as the smallest class has rows, at most five, and at most 128 rows are compared on. First, the log loss
    chooses between two frozen encoders: with the label names as prior, or without them. Then, accuracy chooses between
    the better one and an own copy of the encoder that `Contrastive` tuned. To save time, the folds tune only the last
    two layers, in four steps. For this reason the tuned copy is chosen even if its accuracy is lower, as long as it is
    lower by at most one standard error. If a class has only one row, nothing can be compared, and the encoder is tuned.
    The encoder stays frozen where it can't be tuned: when a text may have several labels, or when the encoder is not a
    `SentenceEncoder`.

    **Language models** get `Prompting`, calibrated by `fewshot.calibration.BestOf`, or `Readout`. For a causal or
    encoder-decoder model, the generic template ``generic/causal`` may be replaced by one of two others:
    ``generic/listed``, which lists the label words after the text, in two orders, or ``generic/unlisted``, which lists
    none. Any other template stays. A model with a chat template is also asked without it. With unlabelled rows only,
    mutual information chooses among these wordings and formats (see `select_template`).

    With labelled rows, prompting and readout are compared in every wording and format, by log loss on the same folds.
    The three best are fitted, and their log-scores are averaged: a few rows can't tell the best from the next, and
    three together are better. If the smallest class has fewer than four rows, only readouts are used, because folds of
    so few rows make readouts look worse than they are. The classifier's ``template_`` and ``model_`` are those of the
    best way; `preview` and `label_mass` show that one. Demonstrations are left out of this comparison. On training rows
    the best readout was more accurate than 16 demonstrations, which take most of the time. Use ``Prompting(16)`` to ask
    with them.

    If there is only one wording in one format, only the best way is used, and a causal model is also asked with up to
    16 stratified demonstrations in the prompt. If rows bring their own choices, there is no `Readout`. The calibration
    is then "pmi" if the template has a ``domain_premise``, else None; with labelled rows, "pmi" is compared with None.

    With a ``budget``, `FineTuning` is compared as well, if its folds and the final fit would end in time; `Auto` times
    some steps first. A fine-tuned language model is chosen by log loss. A fine-tuned encoder, with a new classification
    layer, is chosen if its accuracy is higher by more than a standard error. The report says what the budget had no
    room for.

    **A `Tagger`** gets `TokenHead`. Its variant without the names of the types is chosen if its entity F1 on held-out
    texts is higher by more than a standard error. The same rule holds for `FineTuning`, which is compared if a budget
    has room for it. `Prompting` asks a language model about candidate spans instead if it has a template, no token
    vectors or no annotated texts. `Readout` replaces `Prompting` by the same rule, if a budget has room for it.

    **An `Extractor`** gets the strategy with the highest F1 of answers to held-out questions; the texts of these
    questions are held out too. On a model with token vectors that is `SpanHead`, unless another way is better by more
    than a standard error: `SpanHead` without vectors; `FineTuning`, with a budget; or `Prompting` of a language model,
    which is also tried with demonstrations for a causal model. Without answered questions, or when a template says how
    to ask, a language model is asked. `ReadAnswers` is used for a model that was trained to answer questions.

    Parameters
    ----------
    budget : float, optional
        About how many seconds `fit` may take. None sets no limit, and leaves out fine-tuning, which takes minutes on a
        CPU.

    Attributes
    ----------
    chosen_ : Strategy
        The strategy that was chosen, fitted.
    beside_ : list of Strategy
        The other fitted strategies. Their log-scores are averaged with those of ``chosen_``.
    asked_ : tuple of Task and model
        What the chosen strategy asks: the task in the chosen wording, and the model in the chosen format.
    report_ : Report, SpanReport or AnswerReport
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
        beside: tuple[tuple[Strategy, Phrasing], ...] = ()
        budget, asked = self._begin(), (task, model)
        self.chosen_: Any
        if is_language_model(model):
            no_weights(self, sample_weight)
            choice = choose_for_language_model(task, model, X, y, random_state=random_state, budget=budget)
            report, beside, phrasing = choice.report, choice.beside, choice.phrasing
            asked = (phrasing.task, phrasing.model)
            self.chosen_ = phrasing.fitted(choice.strategy, X, y, random_state)
        else:
            if X is None or y is None:
                chosen, report = without_comparison(Embedding(), "there are no labelled rows")
            else:
                chosen, report = _for_encoder(
                    task, model, X, y, sample_weight=sample_weight, random_state=random_state, budget=budget
                )
            self.chosen_ = chosen.fit(task, model, X, y, sample_weight=sample_weight, random_state=random_state)
        self.beside_: list[Any] = [own.fitted(one, X, y, random_state) for one, own in beside]
        self.asked_ = asked
        self.report_: Report | SpanReport | AnswerReport = report

    def fit_spans(self, task: SpanTask, model: Any, *, random_state: Any = None) -> Self:
        """Choose for a tagger, and fit the chosen strategy."""
        chosen, report = choose_tags(task, model, budget=self._begin(), random_state=random_state)
        self.chosen_ = clone(chosen).fit_spans(task, model, random_state=random_state)
        self.report_ = report
        return self

    def span_readings(self, texts: Sequence[str], words: Sequence[Any]) -> list[Reading]:
        """Return one reading for each text, by the strategy chosen for a tagger: how probable its spans are."""
        return self.chosen_.span_readings(texts, words)

    def fit_answers(self, task: ExtractTask, model: Any, *, random_state: Any = None) -> Self:
        """Choose for an extractor, and fit the chosen strategy."""
        chosen, report = choose_answers(task, model, budget=self._begin(), random_state=random_state)
        self.chosen_ = clone(chosen).fit_answers(task, model, random_state=random_state)
        self.report_ = report
        return self

    def answer_readings(self, asked: Sequence[Asked], **more: Any) -> list[AnswerReading]:
        """Return one reading for each question, by the strategy chosen for an extractor: how probable answers are."""
        return self.chosen_.answer_readings(asked, **more)

    def _begin(self) -> Budget:
        above("budget, in seconds,", self.budget, 0, optional=True)
        return Budget(self.budget)

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Return log-probabilities of the classes, of shape (n_texts, n_classes); when multi-label, log-odds."""
        scores: FloatArray = self.chosen_.log_scores(X)
        beside = getattr(self, "beside_", ())  # an Auto that was kept before has none
        if not beside:
            return scores
        mean: FloatArray = np.mean([scores, *(one.log_scores(X) for one in beside)], axis=0)
        return log_softmax(mean, axis=1)

    def pending(self, X: Sequence[Row]) -> Pending[FloatArray] | None:
        """Return what the chosen strategy would ask; None if it can't say, or if several strategies are averaged."""
        return None if getattr(self, "beside_", ()) else self.chosen_.pending(X)

    def preview(self, X: Sequence[Row]) -> Preview:
        """Show what the chosen strategy would ask."""
        return self.chosen_.preview(X)

    def explain(self, row: Row) -> Explanation:
        """Explain a row by the chosen strategy; the class probabilities are those of all averaged strategies."""
        shown: Explanation = self.chosen_.explain(row)
        if not getattr(self, "beside_", ()):
            return shown
        pairs = zip(shown.classes, np.exp(self.log_scores([row])[0]).tolist(), strict=True)
        return replace(shown, classes=tuple(replace(line, probability=value) for line, value in pairs))

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """Return the label mass, if the chosen strategy has one.

        Raises
        ------
        UnsupportedError
            When the chosen strategy has none.
        """
        if not hasattr(self.chosen_, "label_mass"):
            raise UnsupportedError("An encoder has no label mass: it compares vectors, not words.")
        return self.chosen_.label_mass(X)


def chosen_of(strategy: Any) -> Any:
    """What a fitted strategy that chooses among others has chosen, or the strategy itself."""
    return getattr(strategy, "chosen_", strategy)


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
        return without_comparison(names, "a row may have several labels, which neither tuning nor folds can do yet")
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
        return without_comparison(tuned if tunes else ways[0].final, *reasons, *budget.reasons, why)
    candidates = compared.candidates(ways, model)
    targets = task.index(y)[rows]
    best, why = _best(candidates, targets)
    chosen = next(way.final for way in ways if way.name == best.name)
    reasons.append(f"{why} ({len(rows)} held-out examples, {folds} folds)")
    more = finetuned("head", budget, compared, model)
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
