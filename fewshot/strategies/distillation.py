"""Distillation: teachers label the unlabelled rows softly, and a student learns from all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.utils import check_random_state

from fewshot.checks import above, at_least
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.heads.label_prior import LabelPriorLogisticRegression
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, is_encoder
from fewshot.models.kinds import trains
from fewshot.models.loading import load
from fewshot.strategies.auto import Auto
from fewshot.strategies.base import Rows, Strategy, as_strategy
from fewshot.strategies.comparison import cross_validated, n_folds
from fewshot.strategies.embedding import Embedding
from fewshot.task.task import Task

__all__ = ["Distillation"]

_LEAST = 0.01  # classes that are less probable than this are left out of a soft label
#: The default student's head: of tau 0 to 40 and C 20 to 2,000 over the number of rows the best mean accuracy with 30
#: and with 2,000 texts, on training rows of sst2, cr, trec6 and ag_news (seeds 10, 11). Teachers err alike on texts
#: that are alike, so that cross-validation on what they say would choose a larger C, which copies their errors.
_TAU, _C_BY_ROWS = 10.0, 600.0
#: Steps and learning rate of its tuning (the same rows; docs/decisions/0023-teaching-without-labels.md).
_TUNING = 16, 1e-4
_GROWTH = 5  # every generation learns from so many times the rows of the one before (iPET)


class Distillation(Strategy):
    """Let teachers label the unlabelled texts, then let a student learn from these texts and the labelled ones.

    Rows whose y is None (or -1, if -1 is not a class) are unlabelled. The teachers learn from the labelled rows, or
    work zero-shot if there are none. The soft label of an unlabelled row is the mean of the teachers'
    log-probabilities. Each teacher is weighted by its accuracy on held-out labelled rows (PET: Schick and Schütze 2021,
    "Exploiting Cloze Questions for Few Shot Text Classification"). With several templates, each template makes one
    teacher of each strategy.

    A student with another model than the teachers also predicts zero-shot before it learns. For example, an `Embedding`
    finds the label name that is nearest to each text. Because teachers and student make errors on different texts,
    their probabilities are multiplied (Blum and Mitchell 1998, "Combining Labeled and Unlabeled Data with
    Co-Training").

    Parameters
    ----------
    teacher : Strategy or list of Strategy, optional
        None: `Auto`.
    student : Strategy, optional
        A strategy that can use sample weights, such as `Embedding` or `FineTuning`. None: an `Embedding`, whose encoder
        is tuned if it can be, and whose head is regularised so that it does not learn every error of the teachers.
    ask_student : bool
        Whether the zero-shot predictions of a student with another model are part of the soft labels.
    encoder : str or Encoder, optional
        The encoder of an `Embedding` student whose teachers use a language model. None: the default encoder.
    generations : int
        Number of rounds. With more than one, the student of each round teaches the next student, which learns from five
        times as many rows. The rows with the most certain soft labels come first, equally many of each class. The last
        student learns from all rows (iPET, in the same paper).
    temperature : float
        A temperature above 1 makes the soft labels less certain.
    labelled_weight : float
        Weight of a labelled row; an unlabelled row has weight 1.

    Attributes
    ----------
    teachers_ : list of Strategy
        The fitted teachers of the first generation.
    weights_ : ndarray of shape (n_teachers,)
    student_ : Strategy
        The last student.
    soft_labels_ : ndarray of shape (n_unlabelled, n_classes)
        The class probabilities of the unlabelled rows that the last student learnt from.

    Examples
    --------
    >>> from fewshot import Classifier, Distillation
    >>> clf = Classifier("embedded:masked", "sst2/it_was", strategy=Distillation())
    >>> clf = clf.fit(["A joy from start to end.", "I loved it.", "So dull.", "I fell asleep.", "A bad film."])
    >>> clf.predict(["A lovely film."]).tolist()
    ['positive']
    """

    takes_wordings = takes_weights = takes_unlabelled = True

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        *,
        ask_student: bool = True,
        encoder: Any = None,
        generations: int = 1,
        temperature: float = 1.0,
        labelled_weight: float = 1.0,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.ask_student = ask_student
        self.encoder = encoder
        self.generations = generations
        self.temperature = temperature
        self.labelled_weight = labelled_weight

    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """Fit the teachers, label, and fit the student."""
        self._check()
        labels = [None] * len(X or []) if y is None else list(y)
        known = np.flatnonzero([label is not None for label in labels])
        free = np.flatnonzero([label is None for label in labels])
        if X is None or not len(free):
            raise InputError(
                "Distillation learns from unlabelled rows, and there are none: give texts whose y is None, or use the "
                "teacher alone."
            )
        student = as_strategy(Embedding() if self.student is None else self.student, "student")
        rng = check_random_state(random_state)
        shown, texts = [X[i] for i in known.tolist()], [X[i] for i in free.tolist()]
        taught = [labels[i] for i in known.tolist()]
        self._fit_teachers(task, model, shown or texts, taught or None, rng)
        teachers, weights = self.teachers_, self.weights_
        own_model = getattr(student, "needs_encoder", False) and not is_encoder(model)
        pupil_model = load(self.encoder) if own_model else model
        own = Task(task.template, task.verbalizer, task.classes)
        if self.ask_student and own_model:
            teachers = [*teachers, clone(student).fit(own, pupil_model)]
            weights = np.append(weights, 1.0)
        base = np.ones(len(X)) if sample_weight is None else sample_weight
        for generation in range(self.generations):
            soft = _soft_labels(teachers, weights, texts, self.temperature)
            rows = _surest(soft, math.ceil(len(texts) / _GROWTH ** (self.generations - 1 - generation)))
            which, columns = np.nonzero(soft[rows] >= _LEAST)
            if len({*columns.tolist(), *task.index(taught).tolist()}) < 2:
                only = task.classes[columns[:1]].tolist()
                raise InputError(
                    f"The teachers give every row the class {only[0]!r}: there is nothing to learn from. Calibrate "
                    "them, such as with Prompting(calibration='batch')."
                )
            parts = soft[rows][which, columns] * base[free][rows][which]
            pupil = clone(student)
            if self.student is None:
                pupil.set_params(**_defaults(pupil_model, float(parts.sum())))
            try:
                pupil.fit(
                    own,
                    pupil_model,
                    [*shown, *(texts[i] for i in rows[which].tolist())],
                    [*taught, *task.classes[columns].tolist()],
                    sample_weight=np.concatenate([self.labelled_weight * base[known], parts]),
                    random_state=rng.randint(2**31 - 1),
                )
            except UnsupportedError as error:
                raise UnsupportedError(f"A student learns from rows with weights, its soft labels: {error}") from error
            teachers, weights = [pupil], np.ones(1)
        self.student_, self.soft_labels_ = pupil, soft

    def _check(self) -> None:
        at_least("generations", self.generations, 1, whole=True)
        above("temperature", self.temperature, 0)
        above("labelled_weight", self.labelled_weight, 0)
        if isinstance(self.teacher, list | tuple) and not self.teacher:
            raise ParameterError("teacher is an empty list: give at least one strategy, or None for Auto().")

    def _fit_teachers(self, task: Task, model: Any, X: Sequence[Row], y: list[Any] | None, rng: Any) -> None:
        """Every strategy in every wording, and how much each counts."""
        teachers = Auto() if self.teacher is None else self.teacher
        seed = rng.randint(2**31 - 1)
        self.teachers_, scores = [], []
        for wording in task.wordings:
            own = Task(wording.template, wording.verbalizer, task.classes)
            for teacher in teachers if isinstance(teachers, list | tuple) else [teachers]:
                if getattr(teacher, "takes_unlabelled", False):
                    raise UnsupportedError("A teacher can't be a Distillation: raise generations instead.")
                self.teachers_.append(as_strategy(teacher, "teacher").fit(own, model, X, y, random_state=seed))
                scores.append((teacher, own))
        self.weights_: FloatArray = np.full(len(scores), 1 / len(scores))
        folds = 0 if y is None else n_folds(task.index(y))
        if y is not None and folds and len(scores) > 1:
            right = [
                cross_validated("", teacher, own, model, X=X, y=y, folds=folds, random_state=seed).accuracy
                for teacher, own in scores
            ]
            self.weights_ = np.array(right) / (sum(right) or 1.0)

    def kept(self) -> dict[str, Any]:
        """Return the attributes that prediction needs: all but the teachers and their soft labels."""
        return {name: value for name, value in vars(self).items() if name not in ("teachers_", "soft_labels_")}

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Return the student's log-probabilities of the classes, of shape (n_texts, n_classes)."""
        return self.student_.log_scores(X)

    def explain(self, row: Row) -> Explanation:
        """Return the student's explanation of a row."""
        return self.student_.explain(row)

    def preview(self, X: Sequence[Row]) -> Preview:
        """Show what the student would read."""
        return self.student_.preview(X)


def _defaults(encoder: Any, n_rows: float) -> dict[str, Any]:
    """Parameters of the default student."""
    from fewshot.strategies.contrastive import Contrastive

    head = LabelPriorLogisticRegression(tau=_TAU, C=_C_BY_ROWS / max(n_rows, 1.0))
    return {"head": head, "tuning": Contrastive(*_TUNING) if trains(encoder, "vectors") else None}


def _soft_labels(teachers: Sequence[Strategy], weights: FloatArray, X: Sequence[Row], temperature: float) -> FloatArray:
    scores = np.stack([teacher.log_scores(X) for teacher in teachers])
    return np.exp(log_softmax(np.tensordot(weights, scores, 1) / temperature, axis=1))


def _surest(soft: FloatArray, size: int) -> IntArray:
    """The rows whose most probable class is surest, as many of each class as there are, in their own order."""
    if size >= len(soft):
        return np.arange(len(soft))
    best = soft.argmax(axis=1)
    order = np.argsort(-soft.max(axis=1), kind="stable")
    rank = np.empty(len(soft), dtype=np.int64)  # among the rows of the same class
    for column in range(soft.shape[1]):
        own: NDArray[np.int64] = order[best[order] == column]
        rank[own] = np.arange(len(own))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:size])
