"""What a fit is about, settled before anything learns: templates, labels, label words, classes and weights."""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fewshot.errors import InputError, ParameterError, UnsupportedError, VerbalizerError
from fewshot.inputs import as_labels
from fewshot.models.base import FloatArray, kind_of
from fewshot.task import gallery
from fewshot.task.choices import Choices, as_choices
from fewshot.task.task import Task
from fewshot.task.template import Template
from fewshot.task.unnamed import Unnamed
from fewshot.task.verbalizer import Verbalizer, as_verbalizer

__all__ = [
    "as_template",
    "class_counts",
    "column_names",
    "column_order",
    "counting_rows",
    "labels_of",
    "learner_of",
    "other_wording",
    "templates_of",
    "weights_of",
    "words_of",
]

logger = logging.getLogger(__name__)


def labels_of(y: Any, n: int | None, *, strategy: Any, verbalizer: Any, template: Any) -> list[Any]:
    """The labels; None for unlabelled rows, where the strategy has a use for them."""
    if n is None or not getattr(strategy, "takes_unlabelled", False):
        return as_labels(y, n)
    words = verbalizer
    if words is None and template:
        words = as_template(template[0] if isinstance(template, list | tuple) else template).words
    named = words if isinstance(words, Mapping) else getattr(words, "classes", None) or ()
    return as_labels(y, n, unlabelled=[None] if -1 in named or "-1" in named else [None, -1])


def templates_of(template: Any, model: Any, multi_label: bool) -> list[Template]:
    """The templates that were given, or the generic one of the kind of model."""
    if template is None:
        kind = kind_of(model)
        return [gallery.get(kind.generic_labels if multi_label and kind.generic_labels else kind.generic)]
    several = isinstance(template, list | tuple)
    if several and not template:
        raise ParameterError("template is an empty list: give at least one template, or None for the generic one.")
    found = [as_template(one) for one in (template if several else [template])]
    if multi_label and any(one.choices is not None for one in found):
        raise UnsupportedError("A row has one right choice, and y is an indicator matrix: give the choices' numbers.")
    return found


def learner_of(verbalizer: Any, template: Template, model: Any, rows: Any, labels: Sequence[Any] | None) -> Any:
    """The verbalizer that finds its label words itself, with those that it found; None where words are given."""
    if not callable(getattr(verbalizer, "learn", None)):
        return None
    if template.choices is not None:
        raise VerbalizerError(f"{template} takes its choices from each row: there are no label words to find.")
    learner = clone(verbalizer)
    if rows is not None and labels is not None and None in labels:
        known = [i for i, label in enumerate(labels) if label is not None]
        rows = [rows[i] for i in known] or rows
        labels = [labels[i] for i in known] or None
    classes = list(template.words or ()) if labels is None else _distinct(labels)
    learner.verbalizer_ = learner.learn(model, template, rows, None if rows is None else labels, classes or None)
    return learner


def words_of(
    verbalizer: Any,
    template: Template,
    labels: Sequence[Any] | None,
    *,
    learner: Any,
    rows: Any,
    nameless: bool = False,
) -> tuple[Verbalizer, NDArray[Any]]:
    """The label words of a task, and its classes in their order.

    ``nameless`` says that the classes may do without words: an encoder learns them from labelled rows alone.
    """
    if template.choices is not None or isinstance(verbalizer, Choices):
        choices = as_choices(verbalizer, template, rows, labels)
        return choices, np.arange(choices.n_choices or 0)
    words = _of_labels(template.words, labels) if verbalizer is None else verbalizer
    if learner is not None:
        words = learner.verbalizer_
    seen = None if labels is None else _distinct(labels)
    if words is None:
        if seen is None:
            raise InputError(
                "There are no classes: give names, fit(None, [...]), labelled rows, a verbalizer, or for several "
                "labels a row a DataFrame whose columns are the classes."
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
    named = list(bound.classes or ())
    if len(named) < 2:
        raise InputError(f"A classifier needs at least two classes. Got {named}.")
    return bound, np.array(named)


@functools.lru_cache(maxsize=64)
def _say_once(message: str) -> None:
    """Log what is worth saying once, and not for each of the hundred clones that a search fits."""
    logger.warning(message)


def other_wording(
    verbalizer: Any,
    template: Template,
    labels: Sequence[Any] | None,
    *,
    classes: NDArray[Any],
    learner: Any,
    rows: Any,
    nameless: bool = False,
) -> Task:
    """The same task in another wording, with that template's own label words where it brings some."""
    named = classes.tolist() if template.words is None and template.choices is None else labels
    own, its = words_of(verbalizer, template, named, learner=learner, rows=rows, nameless=nameless)
    if its.tolist() != classes.tolist():
        raise InputError(
            f"The templates are for different classes: the first for {classes.tolist()}, {template} for {its.tolist()}."
        )
    return Task(template, own, classes)


def class_counts(targets: Any, classes: NDArray[Any], multi_label: bool) -> NDArray[np.int64]:
    """How many rows are labelled with each class."""
    if multi_label and targets is not None:
        return np.asarray(targets.sum(axis=0), dtype=np.int64)
    found = Counter(targets or ())
    return np.array([found[name] for name in classes.tolist()], dtype=np.int64)


def column_names(
    indicator: tuple[NDArray[Any], list[Any] | None], verbalizer: Any, template: Template, nameless: bool
) -> list[Any] | None:
    """The names of an indicator's columns: its own, else those of a list of words; None where they are sorted classes.

    Where nothing names them and they need no names, their numbers.
    """
    matrix, names = indicator
    if names is not None:
        return names
    if verbalizer is None:
        return list(range(matrix.shape[1])) if nameless and template.words is None else None
    if isinstance(verbalizer, Choices | Mapping) or callable(getattr(verbalizer, "learn", None)):
        return None
    words = verbalizer if isinstance(verbalizer, Verbalizer) else Verbalizer(verbalizer)
    if words.classes is not None:
        return None
    if len(words.labels) != matrix.shape[1]:
        raise InputError(
            f"y has {matrix.shape[1]} columns, and the list has words for {len(words.labels)}, {list(words.labels)}: "
            "give the words of each column, in the order of the columns."
        )
    return list(words.labels)


def column_order(indicator: tuple[NDArray[Any], list[Any] | None], classes: NDArray[Any]) -> NDArray[np.int64]:
    """For each column of y, its place among the sorted classes; columns without names are in that order already."""
    matrix, names = indicator
    if matrix.shape[1] != len(classes):
        raise InputError(
            f"y has {matrix.shape[1]} columns and there are {len(classes)} classes, {classes.tolist()}: each class "
            "needs a column of its own name."
        )
    if names is None:
        return np.arange(len(classes))
    where = {name: i for i, name in enumerate(classes.tolist())}
    return np.array([where[name] for name in names], dtype=np.int64)


def as_template(template: Any) -> Template:
    """Resolve source or a gallery name, or hand back what is a template already.

    Raises
    ------
    InputError
        When it is none of these.
    """
    if isinstance(template, Template):
        return template
    if isinstance(template, str):
        return gallery.template_of(template)
    raise ParameterError(f"template must be source, a gallery name or a Template. Got {type(template).__name__}.")


def _of_labels(words: dict[Any, Any] | None, labels: Sequence[Any] | None) -> dict[Any, Any] | None:
    """A front matter's words under the classes as labels write them: there ``0`` and ``True`` are text as well."""
    seen = {label for label in labels or () if label is not None}
    kinds = {type(label) for label in seen}
    if not words or len(kinds) != 1 or not kinds <= {bool, int}:
        return words
    known = {str(label): label for label in ((False, True) if kinds == {bool} else (*seen, *_whole(words)))}
    return {known.get(name, name): own for name, own in words.items()} if known.keys() >= words.keys() else words


def _whole(names: Iterable[Any]) -> list[int]:
    return [int(name) for name in names if isinstance(name, str) and re.fullmatch(r"-?\d{1,18}", name)]


def _distinct(labels: Sequence[Any]) -> list[Any]:
    try:
        return sorted({label for label in labels if label is not None})
    except TypeError as error:
        raise InputError(
            f"The classes can't be sorted: {error}. Make them all of one type that has an order; of an Enum pass the "
            "values, label.value."
        ) from error


def weights_of(sample_weight: Any, rows: Any, labels: Any) -> FloatArray | None:
    """The weights of the labelled rows, checked."""
    if sample_weight is None:
        return None
    if rows is None or labels is None:
        raise InputError("sample_weight needs labelled rows: call fit(X, y, sample_weight=...).")
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(rows),):
        raise InputError(f"sample_weight must be {len(rows)} numbers, one a row. Got shape {weights.shape}.")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise InputError(f"sample_weight[{bad[0]}] must be a finite number of at least 0. Got {weights[bad[0]]}.")
    if not weights.any():
        raise InputError("sample_weight is 0 for every row: there is nothing to learn from. Give some row a weight.")
    return weights


def counting_rows(rows: Any, targets: Any, weights: FloatArray | None) -> tuple[Any, Any, FloatArray | None]:
    """The rows, labels and weights without those of weight 0, which is the same as no row; its class stays a class."""
    if weights is None or weights.all():
        return rows, targets, weights
    kept = np.flatnonzero(weights)
    targets = targets[kept] if isinstance(targets, np.ndarray) else [targets[i] for i in kept]
    return [rows[i] for i in kept], targets, weights[kept]
