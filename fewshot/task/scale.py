"""Scales: classes that are levels, such as the stars of a review, the lowest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewshot.errors import UnsupportedError
from fewshot.models.base import IntArray
from fewshot.task.verbalizer import Verbalizer

__all__ = ["levels_of", "on_scale", "scale_of"]


def scale_of(clf: Any) -> tuple[Any, ...] | None:
    """The classes of a fitted classifier, lowest first; None where they have no order, or it does not know of one.

    A classifier that is searched for, or that sets of classes are made from, is looked for inside.
    """
    while not hasattr(clf, "verbalizer_"):
        inner = [getattr(clf, name) for name in ("classifier_", "best_estimator_") if hasattr(clf, name)]
        if not inner:
            return None
        clf = inner[0]
    return None if clf.multi_label_ else clf.verbalizer_.scale


def levels_of(scale: Sequence[Any] | None, classes: Sequence[Any]) -> IntArray:
    """The level of each class, from 0, the lowest.

    Raises
    ------
    UnsupportedError
        When there is no scale.

    Examples
    --------
    >>> levels_of(("low", "mid", "high"), ["high", "low", "mid"])
    array([2, 0, 1])
    """
    if scale is None:
        raise UnsupportedError(
            f"The classes {list(classes)[:9]} are not ordered, and a level is a place on a scale. Name them lowest "
            "first, verbalizer=Verbalizer({class: label word, ...}, ordered=True), or write 'ordered: true' beside the "
            "words in the template's front matter."
        )
    where = {name: level for level, name in enumerate(scale)}
    return np.array([where[name] for name in classes], dtype=np.int64)


def on_scale(verbalizer: Verbalizer, names: Sequence[Any]) -> Verbalizer:
    """The same words with these classes as their scale, where they are just its classes and it has no scale."""
    if verbalizer.scale is not None or verbalizer.classes is None or set(names) != set(verbalizer.classes):
        return verbalizer
    words = dict(zip(verbalizer.classes, verbalizer.words, strict=True))
    return verbalizer.with_words({name: words[name] for name in names}, ordered=True)
