"""Training examples: equal ones as one, their weights, which are held out, and the number of steps. Pure planning."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import compute_class_weight

from fewshot.demonstrations import select
from fewshot.errors import FewshotWarning, ParameterError, warn
from fewshot.models.base import FloatArray, IntArray

__all__ = ["BATCH_SIZE", "Examples", "class_weights", "group_equal", "n_steps", "set_examples_apart"]

#: Examples of a step.
BATCH_SIZE = 16
#: Examples that the smallest class needs, so that some are held out.
_HELD_OUT_FROM = 50

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Examples:
    """What is learnt from."""

    sizes: IntArray  # tokens of each example
    targets: FloatArray  # the distribution over the classes that each should have, of shape (n_examples, n_classes)
    weights: FloatArray


def group_equal(
    asked: Sequence[T], targets: IntArray, weights: FloatArray, n_classes: int, sizes: Callable[[list[T]], Any]
) -> tuple[list[T], Examples]:
    """Equal inputs as one example with the distribution of their labels, so that each is computed once.

    Parameters
    ----------
    asked : sequence
        The input of each row.
    targets : ndarray of shape (n_rows,)
        The number of each row's class.
    weights : ndarray of shape (n_rows,)
    n_classes : int
    sizes : callable
        The tokens of each input.
    """
    place: dict[T, int] = {}
    which = np.array([place.setdefault(one, len(place)) for one in asked])
    table = np.zeros((len(place), n_classes))
    np.add.at(table, (which, targets), weights)
    total = table.sum(axis=1)
    kept = np.flatnonzero(total > 0)
    distinct = list(place)
    inputs = [distinct[i] for i in kept]
    examples = Examples(np.array(sizes(inputs)), table[kept] / total[kept, None], total[kept])
    return inputs, examples


def class_weights(
    class_weight: Any, targets: IntArray, classes: NDArray[Any], weights: FloatArray | None = None
) -> FloatArray:
    """The weight of each example by its class; see `FineTuning`. Where examples have weights, these are counted."""
    if class_weight is None:
        return np.ones(len(targets))
    whole = np.ones(len(classes))
    seen = np.unique(targets)
    if class_weight == "balanced":
        counts = np.bincount(targets, weights)[seen]
        whole[seen] = counts.sum() / (len(seen) * counts)
    else:
        if not isinstance(class_weight, str):
            known = classes.tolist()
            odd = [name for name in class_weight if name not in known]
            if odd:
                raise ParameterError(f"class_weight may name the classes {known} only. Got a weight for {odd[0]!r}.")
            class_weight = {i: class_weight[name] for i, name in enumerate(known) if name in class_weight}
        whole[seen] = compute_class_weight(class_weight, classes=seen, y=targets)
    return whole[targets]


def set_examples_apart(
    examples: Examples, early_stopping: bool | Literal["auto"], fraction: float, rng: np.random.RandomState
) -> IntArray:
    """Examples that say when to stop, of every class as many as its share; none where there are too few."""
    labels = examples.targets.argmax(axis=1)
    kinds, counts = np.unique(labels, return_counts=True)
    if examples.targets.sum(axis=0)[kinds].min() < 2:  # many a soft label has a part of a rare class
        warn(
            "A class has a single example: training takes all its steps, since nothing can be held out. Check the "
            "result on other texts.",
            FewshotWarning,
        )
    smallest = int(counts.min())
    if early_stopping is False or smallest < (_HELD_OUT_FROM if early_stopping == "auto" else 2):
        return np.empty(0, dtype=np.int64)
    size = max(len(kinds), math.ceil(fraction * len(labels)))
    return np.sort(select("stratified", labels.tolist(), size, rng))


def n_steps(n: int, batch_size: int = BATCH_SIZE) -> int:
    """Steps for n examples: twelve passes over few, eight over 64, two over many thousands."""
    passes: float = min(12.0, max(2.0, 8 * (64 / n) ** 0.25))
    return math.ceil(passes * n / min(n, batch_size))
