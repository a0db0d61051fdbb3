"""coherence: whether a classifier answers alike when the same is asked differently. No label is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import at_least
from fewshot.classifier import Classifier
from fewshot.errors import ParameterError, UnsupportedError
from fewshot.evaluation.perturbed import relisted, reworded, with_copy, without
from fewshot.evaluation.tables import Result, make_frame, need_pandas, printed
from fewshot.inputs import Row, as_rows
from fewshot.models.base import FloatArray
from fewshot.prompts.listing import lists_labels
from fewshot.strategies.channel import Channel
from fewshot.strategies.embedding import Embedding
from fewshot.strategies.prompting import Prompting
from fewshot.task.question import YesNo
from fewshot.task.resolve import templates_of
from fewshot.task.task import Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Coherence", "coherence"]

_ORDERS: dict[str, Callable[[tuple[str, ...]], tuple[str, ...]]] = {
    "reversed options": lambda labels: labels[::-1],
    "rotated options": lambda labels: (*labels[1:], labels[0]),
}
_OPTIONS = ("cloned option", "dropped option")
_NEGATION = "negation"


@dataclass(frozen=True, eq=False)
class Coherence(Result):
    """How much a classifier's answers change when they should not; prints as a table.

    Attributes
    ----------
    relations : DataFrame
        A row for each measured relation. "flips" is the share of texts whose most probable class changes. "total
        variation" is the mean distance of the two distributions (half the sum of the absolute differences), from 0 to
        1.
    not_measured : DataFrame
        A row for each relation that was not measured, with the reason.
    n : int
        Number of texts.
    """

    relations: pd.DataFrame
    not_measured: pd.DataFrame
    n: int

    def __str__(self) -> str:
        left = [f"not measured: {name}, since {why}" for name, why in self.not_measured["reason"].items()]
        table = printed(self.relations, ["relation", *map(str, self.relations.columns)])
        return "\n".join([f"{self.n} texts", "", table, *([""] if left else []), *left])


def coherence(
    clf: Any, X: Any, *, paraphrases: Sequence[Any] = (), negation: Any = None, max_options: int = 8
) -> Coherence:
    """Measure how much a classifier's answers change when the same question is asked differently, without labels.

    An answer should not depend on the order of the options, on an option that is listed twice, on an option that is not
    chosen, or on the wording. The answer to the opposite question should be the opposite. **Read coherence together
    with accuracy**: a classifier that gives all classes the same probability is coherent in nearly all relations.

    Parameters
    ----------
    clf : Classifier
        A fitted classifier that gives each text one class.
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    paraphrases : sequence of str, Template, Choice, Rating or YesNo
        Other wordings of the classifier's template or question. They are asked with the same label words.
    negation : str, Template or YesNo, optional
        The opposite question, for a classifier with two classes. It is asked with the same label words. None:
        ``opposite()`` of a `YesNo` question; other questions are not negated.
    max_options : int
        The most options that are cloned and dropped, one at a time. If there are more classes, evenly spaced ones are
        taken.

    Returns
    -------
    Coherence
        The relations "reversed options", "rotated options", "cloned option", "dropped option", "negation" and
        "paraphrase 1" and so on. A relation that can't be measured is listed with the reason.

    Raises
    ------
    ParameterError
        When ``paraphrases`` is a single text, or ``max_options`` is below 1 or not a number.
    UnsupportedError
        When ``clf`` is not a `Classifier`, or texts may have several labels.
    NotInstalledError
        When pandas is not installed.

    See Also
    --------
    evaluate : Measure how often the answers are right.

    Notes
    -----
    Reversed and rotated options are measured with the classifier as it was fitted, including demonstrations and
    calibration. The other relations change the task, so they need another fit. They are measured only if the classifier
    was fitted without labelled rows. If it was fitted on texts without labels, both the original and the changed
    classifier are fitted on X.

    Cloned option: a class is listed a second time under another name, its label word with "(copy)". The probabilities
    of both are added, and all classes are compared. Dropped option: only texts with another answer are used. The
    probabilities of the other options, scaled to sum to 1, are compared with the probabilities without the option.
    Negation: let p and p' be the probabilities of the same class in the question and in its opposite. The total
    variation is abs(p + p' - 1). The definitions are those of jevbench 0.1.0.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> from fewshot.evaluation import coherence
    >>> def first_listed(query):
    ...     return [-float(query.prefix.index(f"- {word}")) / 10 for word in query.candidates]
    >>> clf = Classifier(FakeLM(first_listed), "generic/listed", strategy=Prompting())
    >>> found = coherence(clf.fit(None, ["bad", "fair", "good"]), ["Great fun.", "Dull."])
    >>> found.relations.loc["reversed options"].round(2).tolist()
    [1.0, 0.42]
    """
    need_pandas()
    at_least("max_options", max_options, 1, whole=True)
    if isinstance(paraphrases, str):
        raise ParameterError(f"paraphrases must be a list of templates. Got one text, {paraphrases!r:.60}.")
    if not isinstance(clf, Classifier):
        raise UnsupportedError(
            f"coherence needs a Classifier, whose questions it changes. Got {type(clf).__name__}: give the Classifier "
            "inside."
        )
    check_is_fitted(clf, "strategy_")
    if clf.multi_label_:
        raise UnsupportedError(
            "coherence needs a classifier that gives a text one class. This one gives it several labels."
        )
    measured = _Measured(clf, as_rows(X))
    for name, turn in _ORDERS.items():
        measured.order(name, turn)
    measured.clones(max_options)
    measured.drops(max_options)
    measured.negation(negation)
    for i, wording in enumerate(paraphrases):
        measured.wording(f"paraphrase {i + 1}", wording)
    names = list(measured.found)
    columns: dict[str, list[Any]] = {"relation": names, "flips": [], "total variation": []}
    for flips, distances in measured.found.values():
        columns["flips"].append(float(flips.mean()))
        columns["total variation"].append(float(distances.mean()))
    left = {"relation": list(measured.left), "reason": list(measured.left.values())}
    return Coherence(make_frame(columns, "relation"), make_frame(left, "relation"), len(measured.rows))


class _Measured:
    """What a fitted classifier says of some rows, and what it says when it is asked differently."""

    def __init__(self, clf: Classifier, rows: list[Row]) -> None:
        self.clf, self.rows = clf, rows
        self.found: dict[str, tuple[Any, FloatArray]] = {}  # for each row whether it flips, and the distance
        self.left: dict[str, str] = {}
        strategy: Any = clf.strategy_
        while hasattr(strategy, "chosen_") and not getattr(strategy, "beside_", ()):  # an average has no one prompt
            strategy = strategy.chosen_
        self.strategy = strategy
        self.said = np.exp(strategy.log_scores(rows))
        self._refitted: FloatArray | None = None

    def order(self, name: str, turn: Callable[[tuple[str, ...]], tuple[str, ...]]) -> None:
        """The label words listed in another order."""
        if not isinstance(self.strategy, Prompting):
            self.left[name] = f"{type(self.strategy).__name__} asks in no one prompt that lists the options"
        elif not any(lists_labels(one, self.clf.model_) for one in self.task.wordings):
            self.left[name] = "no prompt lists the options, and no answer depends on their order"
        else:
            self._compare(name, self.said, np.exp(relisted(self.strategy, turn).log_scores(self.rows)))

    def clones(self, most: int) -> None:
        """Options that are listed twice."""
        name = _OPTIONS[0]
        if self._is_left(name):
            return
        found, classes = [], self.task.classes.tolist()
        for i in self._options(most):
            task, twin = with_copy(self.task, classes[i])
            said, names = self._asked(task), task.classes.tolist()
            said[:, names.index(classes[i])] += said[:, names.index(twin)]
            found.append(said[:, [names.index(own) for own in classes]])
        self._compare(name, np.tile(self._base, (len(found), 1)), np.concatenate(found))

    def drops(self, most: int) -> None:
        """Options that are not chosen, and left out."""
        name, n = _OPTIONS[1], len(self.task.classes)
        if not self._is_left(name) and n < 3:
            self.left[name] = "there are two options, and one alone is certain"
        if name in self.left:
            return
        before, after = [], []
        for i in self._options(most):
            others = self._base.argmax(axis=1) != i
            if not others.any():
                continue
            kept = np.delete(self._base, i, axis=1)[others]
            before.append(kept / kept.sum(axis=1, keepdims=True))
            after.append(self._asked(without(self.task, self.task.classes.tolist()[i]))[others])
        if before:
            self._compare(name, np.concatenate(before), np.concatenate(after))
        else:
            self.left[name] = "every text is answered with the option that was dropped: raise max_options"

    def negation(self, template: Any) -> None:
        """The opposite question."""
        if len(self.clf.classes_) != 2:
            self.left[_NEGATION] = "only a question with two answers has an opposite"
        elif (asked := self._opposite() if template is None else template) is None:
            self.left[_NEGATION] = "no opposite question was given: negation=..."
        else:
            self.wording(_NEGATION, asked, opposite=True)

    def _opposite(self) -> YesNo | None:
        """The opposite of a yes/no question, where the classifier was given one."""
        given = self.clf.template
        return given.opposite() if isinstance(given, YesNo) else None

    def wording(self, name: str, template: Any, *, opposite: bool = False) -> None:
        """Another wording."""
        if self._is_left(name):
            return
        (other, *_) = templates_of(template, self.clf.model_, False)
        said = self._asked(reworded(self.task, other, self.clf.model_))
        self._compare(name, self._base, said[:, ::-1] if opposite else said)

    @property
    def task(self) -> Task:
        """What is asked."""
        found: Task = self.strategy.task_
        return found

    @property
    def _base(self) -> FloatArray:
        """What the unchanged classifier says when it is fitted as the changed ones are."""
        if self._refitted is None:
            self._refitted = self._asked(self.task) if self.clf.n_texts_ else self.said
        return self._refitted

    def _asked(self, task: Task) -> FloatArray:
        """What the classifier says once it is fitted to another task in the same way."""
        rows = self.rows if self.clf.n_texts_ else None
        fitted = clone(self.strategy).fit(task, self.clf.model_, rows, None, random_state=self.clf.random_state)
        found: FloatArray = np.exp(fitted.log_scores(self.rows))
        return found

    def _is_left(self, name: str) -> bool:
        """Whether the classifier can't be fitted again without labels, for a reason that is noted."""
        why = ""
        if self.clf.class_counts_.any():
            why = "labelled rows took part in the fit, and a changed classifier would need them"
        elif not isinstance(self.strategy, Prompting | Channel | Embedding):
            why = f"{type(self.strategy).__name__} would have to be trained again"
        elif self.task.verbalizer.per_row and name in _OPTIONS:
            why = "each row brings its own options"
        if why:
            self.left[name] = why
        return bool(why)

    def _options(self, most: int) -> list[int]:
        n = len(self.task.classes)
        return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()

    def _compare(self, name: str, before: FloatArray, after: FloatArray) -> None:
        self.found[name] = (before.argmax(axis=1) != after.argmax(axis=1), np.abs(before - after).sum(axis=1) / 2)
