"""Deciding: from the probabilities of the classes to the action that costs least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.conformal import probabilities
from fewshot.errors import ParameterError
from fewshot.labels import plain_label
from fewshot.models.base import FloatArray

__all__ = ["Actions", "act"]

_ROUNDING = 1e-9  # of the largest cost: equal expectations, computed in two ways, differ by less


@dataclass(frozen=True, eq=False)
class Actions:
    """The best action for each text, with its expected cost.

    Attributes
    ----------
    actions : ndarray of shape (n_texts,)
        The action with the lowest expected cost.
    costs : ndarray of shape (n_texts,)
        The expected cost of this action.
    names : list
        All actions, in the order of the cost matrix.
    expected : ndarray of shape (n_texts, n_actions)
        The expected cost of every action, in the order of ``names``.
    """

    actions: NDArray[Any]
    costs: FloatArray
    names: list[Any]
    expected: FloatArray


def act(clf: Any, X: Any, costs: Any) -> Actions:
    """Take the action with the lowest expected cost for each text.

    Parameters
    ----------
    clf : estimator
        Any fitted text classifier with ``predict_proba`` and ``classes_`` that gives each text one class.
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    costs : DataFrame or mapping of mappings
        The cost of each action for each true class: a DataFrame with a row for each class and a column for each action,
        or ``{class: {action: cost}}``. Actions may be classes, or others such as "escalate". A gain is a negative cost.

    Returns
    -------
    Actions
        If several actions have equal expected costs, the first one in the order of the columns is chosen.

    Raises
    ------
    ParameterError
        When a class has no row of costs, a row of costs belongs to no class, or a cost is missing or not a finite
        number.
    UnsupportedError
        When the classifier has no probabilities, or texts may have several labels.

    See Also
    --------
    predict_or_none : Predict only above a threshold.

    Notes
    -----
    This is the Bayes action. It is only as good as the probabilities, so calibrate them, and measure them with
    `evaluate`. For two classes and two actions, a cost matrix is equivalent to a threshold on the probability. If the
    costs are not known, ``sklearn.model_selection.TunedThresholdClassifierCV(clf, scoring=...)`` chooses this threshold
    on labelled rows; it takes a `Classifier` of two classes.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, act
    >>> lm = FakeLM(lambda query: [query.prefix.count("fun"), query.prefix.count("dull")])
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}", {"good": "good", "poor": "poor"}).fit()
    >>> costs = {
    ...     "good": {"publish": 0, "reject": 5, "escalate": 1},
    ...     "poor": {"publish": 10, "reject": 0, "escalate": 1},
    ... }
    >>> found = act(clf, ["fun fun fun", "dull dull", "fun and dull"], costs)
    >>> found.actions.tolist()
    ['publish', 'reject', 'escalate']
    >>> found.costs.round(2).tolist()
    [0.47, 0.6, 1.0]
    """
    proba = probabilities(clf, X)
    names, matrix = _matrix(costs, np.asarray(clf.classes_).tolist())
    expected = proba @ matrix
    lowest = expected.min(axis=1, keepdims=True)
    best = (expected <= lowest + _ROUNDING * max(float(np.abs(matrix).max()), 1e-300)).argmax(axis=1)
    rows = np.arange(len(expected))
    return Actions(_array(names)[best], expected[rows, best], names, expected)


def _matrix(costs: Any, classes: list[Any]) -> tuple[list[Any], FloatArray]:
    """The actions, and their costs with a row for each class, in the order of the classes."""
    table = _rows(costs)
    odd = [name for name in table if name not in classes]
    lacking = [name for name in classes if name not in table]
    if lacking or odd:
        what = f"no row for the class {lacking[0]!r}" if lacking else f"a row {odd[0]!r}, which is no class"
        raise ParameterError(f"costs has {what}: give a row for each of {classes}. Got {list(table)}.")
    names = list(next(iter(table.values())))
    if not names:
        raise ParameterError("costs has no action: give each class the cost of at least one.")
    for name, row in table.items():
        if set(row) != set(names):
            raise ParameterError(
                f"costs must have the same actions for each class. Got {list(row)} for {name!r}, and {names} before."
            )
        for action, cost in row.items():
            if isinstance(cost, bool) or not isinstance(cost, int | float) or not np.isfinite(cost):
                raise ParameterError(
                    f"The cost of {action!r} where {name!r} is true must be a finite number. Got {cost!r}."
                )
    return names, np.array([[table[name][action] for action in names] for name in classes], dtype=np.float64)


def _rows(costs: Any) -> dict[Any, dict[Any, Any]]:
    """A cost matrix as plain data: the cost of each action, by the true class."""
    if hasattr(costs, "columns") and hasattr(costs, "index"):
        names, actions = [list(map(plain_label, axis)) for axis in (costs.index, costs.columns)]
        rows = [(name, list(zip(actions, row, strict=True))) for name, row in zip(names, costs.to_numpy(), strict=True)]
    elif isinstance(costs, Mapping) and all(isinstance(row, Mapping) for row in costs.values()):
        rows = [(plain_label(name), [(plain_label(a), cost) for a, cost in row.items()]) for name, row in costs.items()]
    else:
        raise ParameterError(
            f"costs must be a DataFrame with a row for each class and a column for each action, or a mapping "
            f"{{class: {{action: cost}}}}. Got {costs!r:.80}."
        )
    found = {name: {action: plain_label(cost) for action, cost in row} for name, row in rows}
    if len(found) != len(rows) or any(len(found[name]) != len(row) for name, row in rows):
        raise ParameterError("costs names a class or an action twice: give each one row or column.")
    return found


def _array(names: Sequence[Any]) -> NDArray[Any]:
    """Names as an array, of objects where they are of several types."""
    alike = len({type(name) for name in names}) == 1
    made = np.empty(len(names), dtype=object)
    made[:] = names
    return np.array(names) if alike else made
