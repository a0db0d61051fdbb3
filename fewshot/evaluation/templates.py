"""Which template: by held-out log loss on labelled texts, or by mutual information without any label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from fewshot.classifier import Classifier
from fewshot.errors import InputError, ParameterError
from fewshot.inputs import as_labels, as_rows
from fewshot.models.answering import refuse_extractive
from fewshot.models.base import FloatArray, kind_of
from fewshot.models.loading import load
from fewshot.strategies.comparison import divergences, n_folds
from fewshot.strategies.prompting import Prompting
from fewshot.tables import as_text
from fewshot.task.gallery import template_of
from fewshot.task.question import Question
from fewshot.task.template import Template

__all__ = ["TemplateRanking", "select_template"]


@dataclass(frozen=True)
class TemplateRanking:
    """Templates, best first; prints as a table.

    Attributes
    ----------
    by : {"log loss", "mutual information"}
        What they were compared by: the lower log loss or the higher mutual information (nats) is the better.
    templates : tuple of Template
    values : tuple of float
        Of each template.
    errors : tuple of float
        Standard errors of the differences from the best one, over the same texts; 0 for itself.
    """

    by: Literal["log loss", "mutual information"]
    templates: tuple[Template, ...]
    values: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def best(self) -> Template:
        """The first."""
        return self.templates[0]

    def __str__(self) -> str:
        names = [one.name or repr(one.source) for one in self.templates]
        values = [f"{value:.3f}" for value in self.values]
        return as_text(["template", self.by], list(zip(names, values, strict=True)))


def select_template(
    templates: Sequence[str | Template | Question],
    X: Any,
    y: Any = None,
    *,
    model: Any = None,
    verbalizer: Any = None,
    strategy: Any = None,
    random_state: int = 0,
) -> TemplateRanking:
    """Rank templates on the texts at hand.

    With labels, by the log loss on held-out folds of at most five. Without, by the mutual information between text and
    predicted class: a good template makes the model sure of each text, and not of the same class for all (Sorensen et
    al. 2022, "An Information-theoretic Approach to Prompt Engineering Without Ground Truth Labels").

    Parameters
    ----------
    templates : sequence of str, Template, Choice, Rating or YesNo
        Sources, gallery names, templates or questions.
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    y : list, array or Series, optional
        The class of each row.
    model, verbalizer, strategy : optional
        As for `Classifier`. The strategy is ``Prompting()`` by default; the classes come from the verbalizer or the
        templates' own words where there are no labels.
    random_state : int
        Shuffles the folds, and seeds the strategy.

    Returns
    -------
    TemplateRanking

    Raises
    ------
    InputError
        When there is no template, or a class has a single labelled row.
    UnsupportedError
        When the model was trained to find answers, and takes no template.

    Examples
    --------
    >>> from fewshot import select_template
    >>> X = ["I loved it.", "A joy to watch.", "So dull.", "I fell asleep."]
    >>> templates = ["{{ text }} It was {{ label }}.", "{{ text }} Just {{ label }}!"]
    >>> words = {"negative": "terrible", "positive": "great"}
    >>> ranking = select_template(
    ...     templates, X, ["positive"] * 2 + ["negative"] * 2, model="embedded:masked", verbalizer=words
    ... )
    >>> ranking.best
    Template('{{ text }} It was {{ label }}.')
    """
    if not len(templates):
        raise ParameterError("There is no template to choose: give at least one.")
    rows = as_rows(X)
    shared = load(model)
    refuse_extractive(shared, "select_template")
    asked = [template_of(one, kind_of(shared).name) for one in templates]
    clfs = [Classifier(shared, one, verbalizer, strategy or Prompting(), random_state=random_state) for one in asked]
    # of each template, what every text contributes; its value is their mean
    if y is None:
        parts = np.stack([divergences(clf.fit(rows).predict_log_proba(rows)) for clf in clfs])
        order = np.argsort(-parts.mean(axis=1), kind="stable")
    else:
        labels = as_labels(y, len(rows))
        parts = np.stack([_held_out_losses(clf, rows, labels, random_state) for clf in clfs])
        order = np.argsort(parts.mean(axis=1), kind="stable")
    errors = (parts - parts[order[0]]).std(axis=1) / np.sqrt(len(rows))
    return TemplateRanking(
        "log loss" if y is not None else "mutual information",
        tuple(asked[i] for i in order),
        tuple(parts[order].mean(axis=1).tolist()),
        tuple(errors[order].tolist()),
    )


def _held_out_losses(clf: Classifier, rows: Sequence[Any], labels: Sequence[Any], random_state: int) -> FloatArray:
    names, targets = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)
    folds = n_folds(targets)
    if not folds or len(names) < 2:
        raise InputError(
            "Templates are compared on held-out rows, and a class has a single labelled row: give each class two, or "
            "leave y out."
        )
    losses = np.empty(len(rows))
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=random_state).split(targets, targets):
        fitted = clone(clf).fit([rows[i] for i in train], [labels[i] for i in train])
        column = {name: k for k, name in enumerate(fitted.classes_.tolist())}
        scores = fitted.predict_log_proba([rows[i] for i in test])
        losses[test] = [-scores[row, column[labels[i]]] for row, i in enumerate(test)]
    return losses
