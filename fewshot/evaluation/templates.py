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
        The criterion: lower log loss is better, or higher mutual information (in nats).
    templates : tuple of Template
    values : tuple of float
        The value of each template.
    errors : tuple of float
        Standard errors of the differences from the best template, over the same texts; 0 for the best one.
    """

    by: Literal["log loss", "mutual information"]
    templates: tuple[Template, ...]
    values: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def best(self) -> Template:
        """The best template."""
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
    """Rank templates on your own texts, with or without labels.

    With labels, templates are ranked by cross-validated log loss, on at most five folds. Without labels, they are
    ranked by the mutual information between text and predicted class. It is high if the model is certain about each
    text, and does not predict the same class for all texts (Sorensen et al. 2022, "An Information-theoretic Approach to
    Prompt Engineering Without Ground Truth Labels").

    Parameters
    ----------
    templates : sequence of str, Template, Choice, Rating or YesNo
        Jinja2 sources, gallery names, templates or questions.
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    y : list, array or Series, optional
        The class of each row.
    model, verbalizer, strategy : optional
        As for `Classifier`. The default strategy is ``Prompting()``. Without labels, the classes are those of the
        verbalizer or of the templates' own label words.
    random_state : int
        Seed of the folds and of the strategy.

    Returns
    -------
    TemplateRanking

    Raises
    ------
    InputError
        When there is no template, or a class has only one labelled row.
    UnsupportedError
        When the model is a question-answering model, which takes no template.

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
    if isinstance(templates, str | Template):
        raise ParameterError(f"templates must be a list of templates. Got one: wrap it in a list, [{templates!r:.60}].")
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
