"""Resolve the four parameters of a classifier, with X and y, into a task."""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fewshot.errors import InputError, ParameterError, UnsupportedError, VerbalizerError
from fewshot.inputs import Row, as_indicator, as_labels, as_weights, columns_of
from fewshot.labels import warn_of_lookalikes
from fewshot.models.answering import refuse_extractive
from fewshot.models.base import FloatArray, IntArray, kind_of
from fewshot.models.loading import load
from fewshot.task import gallery
from fewshot.task.choices import Choices, as_choices
from fewshot.task.meaning import describe, named_with_descriptions
from fewshot.task.question import GENERIC, Question, phrase
from fewshot.task.scale import on_scale
from fewshot.task.task import Task
from fewshot.task.template import Template
from fewshot.task.unnamed import Unnamed
from fewshot.task.verbalizer import Verbalizer, as_verbalizer

__all__ = ["Settled", "resolve"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Settled:
    """What a fit is about, before anything learns."""

    task: Task
    model: Any
    rows: list[Row] | None  # those of a weight above 0; None is zero-shot
    targets: Any  # the class of each; when multi-label, an indicator matrix whose columns are ``task.classes``
    weights: FloatArray | None
    order: IntArray  # for each class in the user's order, its place in ``task.classes``
    class_counts: IntArray  # rows labelled with each class, in the user's order; those of weight 0 count too
    learned: Any = None  # the AutomaticVerbalizer that found the label words of the first template


@dataclass(frozen=True, eq=False)
class _Given:
    """What X and y say; None where they do not say it."""

    rows: list[Row] | None
    labels: list[Any] | None = None  # the class of each row; None for an unlabelled row
    names: list[Any] | None = None  # of the classes, given without rows
    indicator: IntArray | None = None  # the labels of each row, where a row may have several
    columns: list[Any] | None = None  # the class of each column of the indicator
    descriptions: dict[Any, str] | None = None  # of the classes, given with their names

    @property
    def classes(self) -> list[Any] | None:
        """What says which classes there are, each of them once or often."""
        said = self.labels or self.names or self.columns or ()
        return list(said) if any(name is not None for name in said) else None


def resolve(
    clf: Any, rows: list[Row] | None, y: Any, sample_weight: Any = None, *, unlabelled: bool = False
) -> Settled:
    """Settle what a classifier is fitted to do.

    Parameters
    ----------
    clf : Classifier
        Its model, template and verbalizer are read.
    rows : list of rows or None
    y : list, array, Series, indicator matrix or None
        As `Classifier.fit` takes it.
    sample_weight : array of shape (n_rows,), optional
    unlabelled : bool
        Whether rows may be unlabelled, since the strategy has a use for them.

    Raises
    ------
    InputError, VerbalizerError, TemplateError, ModelLoadError, UnsupportedError
        As `Classifier.fit` says.
    """
    given = _read(clf, rows, y, unlabelled)
    model = load(clf.model)
    refuse_extractive(model, type(clf).__name__)
    several = given.indicator is not None or bool(getattr(clf.verbalizer, "multi_label", False))
    given = _as_told(clf.template, given, model)
    templates = templates_of(clf.template, model, several, described=bool(given.descriptions))
    nameless = kind_of(model).reads == "fields" and rows is not None and y is not None
    if given.indicator is not None:
        given = replace(given, columns=_column_names(given, clf.verbalizer, templates[0], nameless))
    learners = [_learner(clf.verbalizer, template, model, given) for template in templates]
    words = [clf.verbalizer if learner is None else learner.verbalizer_ for learner in learners]
    verbalizer, classes = words_of(words[0], templates[0], given.classes, rows=rows, nameless=nameless)
    multi_label = given.indicator is not None or verbalizer.multi_label
    order = _order(given, classes)
    targets = _targets(given, order, multi_label)
    weights = _weights(sample_weight, rows, targets)
    others = [
        _other_wording(own, template, given, classes, nameless)
        for own, template in zip(words[1:], templates[1:], strict=True)
    ]
    task = describe(Task(templates[0], verbalizer, classes, multi_label), given.descriptions, model)
    task = replace(task, others=tuple(describe(one, given.descriptions, model) for one in others))
    warn_of_lookalikes(classes.tolist())
    counts = _class_counts(targets, classes, multi_label)[order]
    return Settled(task, model, *_counting_rows(rows, targets, weights), order, counts, learners[0])


def _read(clf: Any, rows: list[Row] | None, y: Any, unlabelled: bool) -> _Given:
    n = None if rows is None else len(rows)
    indicator = as_indicator(y, n)
    if indicator is not None:
        return _Given(rows, indicator=indicator[0], columns=indicator[1])
    if y is None:
        return _Given(rows)
    if rows is None:
        names, descriptions = named_with_descriptions(y) if isinstance(y, Mapping) else (as_labels(y), None)
        return _Given(rows, names=names, descriptions=descriptions)
    return _Given(rows, labels=as_labels(y, n, unlabelled=_unlabelled(clf) if unlabelled else ()))


def _unlabelled(clf: Any) -> list[Any]:
    """What marks a row without a label: None, and -1 where that is no class."""
    words, template = clf.verbalizer, clf.template
    if words is None and template:
        words = gallery.template_of(template[0] if isinstance(template, list | tuple) else template).words
    named = words if isinstance(words, Mapping) else getattr(words, "classes", None) or ()
    return [None] if -1 in named or "-1" in named else [None, -1]


def _as_told(template: Any, given: _Given, model: Any) -> _Given:
    """What was given, without descriptions where the library writes the prompt and tells this kind of model none."""
    if kind_of(model).descriptions:
        return given
    several = template if isinstance(template, list | tuple) else [template]
    if (template is None and given.descriptions) or any(
        isinstance(own, Question) and own.descriptions for own in several
    ):
        _say_once(
            f"{model!r} is not told what the classes mean, since masked models answer worse after a list of "
            "descriptions. A template of your own may show them: {{ descriptions[...] }}."
        )
    return replace(given, descriptions=None) if template is None else given


def templates_of(template: Any, model: Any, multi_label: bool, *, described: bool = False) -> list[Template]:
    """The templates that were given, or the generic one of the kind of model, which may have to show descriptions."""
    kind = kind_of(model)
    if template is None and described and kind.reads == "prompt" and not multi_label:
        return [phrase(GENERIC, kind.name)]
    if template is None:
        return [gallery.get(kind.generic_labels if multi_label and kind.generic_labels else kind.generic)]
    several = isinstance(template, list | tuple)
    if several and not template:
        raise ParameterError("template is an empty list: give at least one template, or None for the generic one.")
    found = [gallery.template_of(one, kind.name) for one in (template if several else [template])]
    if multi_label and any(one.choices is not None for one in found):
        raise UnsupportedError("A row has one right choice, and y is an indicator matrix: give the choices' numbers.")
    return found


def _learner(verbalizer: Any, template: Template, model: Any, given: _Given) -> Any:
    """The verbalizer that finds its label words itself, with those that it found; None where words are given."""
    if isinstance(verbalizer, type) or not callable(getattr(verbalizer, "learn", None)):
        return None
    if template.choices is not None:
        raise VerbalizerError(f"{template} takes its choices from each row: there are no label words to find.")
    if template.by_letter:
        raise VerbalizerError(f"The answers of {template} are letters: there are no label words to find.")
    learner = clone(verbalizer)
    rows, labels = given.rows, given.labels
    if rows is not None and labels is not None and None in labels:
        known = [i for i, label in enumerate(labels) if label is not None]
        rows = [rows[i] for i in known] or rows
        labels = [labels[i] for i in known] or None
    classes = list(template.words or ()) if given.classes is None else _distinct(given.classes)
    learner.verbalizer_ = learner.learn(model, template, rows, labels, classes or None)
    return learner


def words_of(
    verbalizer: Any,
    template: Template,
    labels: Sequence[Any] | None,
    *,
    rows: Any = None,
    nameless: bool = False,
) -> tuple[Verbalizer, NDArray[Any]]:
    """The label words of a task, and its classes in their order.

    Parameters
    ----------
    verbalizer : mapping, sequence, Verbalizer or None
    template : Template
    labels : sequence or None
        The class of each row, None for an unlabelled one; without rows, the classes.
    rows : sequence of rows, optional
    nameless : bool
        Whether the classes may do without words: an encoder learns them from labelled rows alone.
    """
    if template.choices is not None or isinstance(verbalizer, Choices):
        choices = as_choices(verbalizer, template, rows, labels)
        return choices, np.arange(choices.n_choices or 0)
    words = _of_labels(template.words, labels) if verbalizer is None else verbalizer
    seen = None if labels is None else _distinct(labels)
    if words is None:
        if seen is None:
            raise InputError(
                "There are no classes. Give labelled rows, fit(X, y), or the names of the classes, fit(None, ['a', "
                "'b']), or a verbalizer. For several labels a row, y is a DataFrame whose columns are the classes."
            )
        named = seen
    else:
        given = words if isinstance(words, Verbalizer) else Verbalizer(words)
        if given.classes is None and seen is None:
            raise InputError(
                "A list of label words needs the classes: give their names, fit(None, [...]), or a mapping."
            )
        if given.classes is not None and seen is not None:
            given.bind(seen)  # every class that occurs must have words
        named = list(given.classes) if given.classes is not None else (seen or [])
    if words is None and nameless and not all(isinstance(name, str) for name in named):
        bound: Verbalizer = Unnamed(named)
        _say_once(
            f"The classes {named if len(named) < 9 else [*named[:8], '...']} have no names, so they are learnt from "
            "the labelled rows alone, without the prior of label names. Where they have names, verbalizer={class: "
            "name, ...}, or a list of names in sorted-class order, lets the encoder read them."
        )
    else:
        bound = as_verbalizer(words, named)
    if template.ordered:  # the order is that of the classes, also where others than its own words are asked
        bound = on_scale(bound, list(_of_labels(template.words, bound.classes) or ()))
    named = list(bound.classes or ())
    if len(named) < 2:
        raise InputError(f"A classifier needs at least two classes. Got {named}.")
    return bound, np.array(named)


@functools.lru_cache(maxsize=64)
def _say_once(message: str) -> None:
    """Log what is worth saying once, and not for each of the hundred clones that a search fits."""
    logger.warning(message)


def _other_wording(verbalizer: Any, template: Template, given: _Given, classes: NDArray[Any], nameless: bool) -> Task:
    """The same task in another wording, with that template's own label words where it brings some."""
    named = classes.tolist() if template.words is None and template.choices is None else given.classes
    own, its = words_of(verbalizer, template, named, rows=given.rows, nameless=nameless)
    if its.tolist() != classes.tolist():
        raise InputError(
            f"The templates are for different classes: the first for {classes.tolist()}, {template} for {its.tolist()}."
        )
    return Task(template, own, classes)


def _class_counts(targets: Any, classes: NDArray[Any], multi_label: bool) -> NDArray[np.int64]:
    """How many rows are labelled with each class."""
    if multi_label and targets is not None:
        return np.asarray(targets.sum(axis=0), dtype=np.int64)
    found = Counter(targets or ())
    return np.array([found[name] for name in classes.tolist()], dtype=np.int64)


def _column_names(given: _Given, verbalizer: Any, template: Template, nameless: bool) -> list[Any] | None:
    """The names of an indicator's columns: its own, else those of a list of words; None where they are sorted classes.

    Where nothing names them and they need no names, their numbers.
    """
    assert given.indicator is not None
    n_columns = given.indicator.shape[1]
    if given.columns is not None:
        return given.columns
    if verbalizer is None:
        return list(range(n_columns)) if nameless and template.words is None else None
    if isinstance(verbalizer, Choices | Mapping) or callable(getattr(verbalizer, "learn", None)):
        return None
    words = verbalizer if isinstance(verbalizer, Verbalizer) else Verbalizer(verbalizer)
    if words.classes is not None:
        return None
    if len(words.labels) != n_columns:
        raise InputError(
            f"y has {n_columns} columns, and the list has words for {len(words.labels)}, {list(words.labels)}: "
            "give the words of each column, in the order of the columns."
        )
    return list(words.labels)


def _order(given: _Given, classes: NDArray[Any]) -> IntArray:
    """For each column of y, its place among the sorted classes; columns without names are in that order already."""
    if given.indicator is not None and given.indicator.shape[1] != len(classes):
        raise InputError(
            f"y has {given.indicator.shape[1]} columns and there are {len(classes)} classes, {classes.tolist()}: each "
            "class needs a column of its own name."
        )
    if given.columns is None:
        return np.arange(len(classes))
    return columns_of(given.columns, classes)


def _targets(given: _Given, order: IntArray, multi_label: bool) -> Any:
    """The classes of the rows; when multi-label, the indicator with its columns in the order of the sorted classes."""
    if given.indicator is not None:
        return None if given.rows is None else given.indicator[:, np.argsort(order)]
    if multi_label and given.labels is not None:
        raise InputError(
            "The verbalizer says that texts have several labels: y must be an indicator matrix of shape (n_texts, "
            f"{len(order)}), such as MultiLabelBinarizer makes. Got one label a row."
        )
    return given.labels


def _of_labels(words: dict[Any, Any] | None, labels: Sequence[Any] | None) -> dict[Any, Any] | None:
    """A front matter's words under the classes as labels write them: there ``0`` and ``True`` are text as well."""
    seen = {label for label in labels or () if label is not None}
    kinds = {type(label) for label in seen}
    if not words or len(kinds) != 1 or not kinds <= {bool, int}:
        return words
    whole = [int(name) for name in words if isinstance(name, str) and re.fullmatch(r"-?\d{1,18}", name)]
    known = {str(label): label for label in ((False, True) if kinds == {bool} else (*seen, *whole))}
    return {known.get(name, name): own for name, own in words.items()} if known.keys() >= words.keys() else words


def _distinct(labels: Sequence[Any]) -> list[Any]:
    try:
        return sorted({label for label in labels if label is not None})
    except TypeError as error:
        raise InputError(
            f"The classes can't be sorted: {error}. Make them all of one type that has an order; of an Enum pass the "
            "values, label.value."
        ) from error


def _weights(sample_weight: Any, rows: Any, targets: Any) -> FloatArray | None:
    """The weights of the labelled rows, checked."""
    if sample_weight is None:
        return None
    if rows is None or targets is None:
        raise InputError("sample_weight needs labelled rows: call fit(X, y, sample_weight=...).")
    return as_weights(sample_weight, len(rows))


def _counting_rows(rows: Any, targets: Any, weights: FloatArray | None) -> tuple[Any, Any, FloatArray | None]:
    """The rows, labels and weights without those of weight 0, which is the same as no row; its class stays a class."""
    if weights is None or weights.all():
        return rows, targets, weights
    kept = np.flatnonzero(weights)
    targets = targets[kept] if isinstance(targets, np.ndarray) else [targets[i] for i in kept]
    return [rows[i] for i in kept], targets, weights[kept]
