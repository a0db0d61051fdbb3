"""The shares of the classes among the texts: given or counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fewshot.errors import ParameterError
from fewshot.models.base import FloatArray, IntArray

__all__ = ["as_shares", "count_shares"]


def as_shares(class_prior: Any, classes: Sequence[Any]) -> FloatArray:
    """The given shares in the order of the classes.

    Raises
    ------
    ParameterError
        When they are not one positive share for each class, with the sum 1.
    """
    if hasattr(class_prior, "to_dict"):  # what pandas counts is in the order of frequency
        class_prior = class_prior.to_dict()
    if isinstance(class_prior, Mapping):
        class_prior = _in_order(class_prior, classes)
    try:
        shares = np.asarray(class_prior, dtype=np.float64)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if isinstance(class_prior, str) or shares.ndim != 1 or not shares.size:
        raise ParameterError(
            "class_prior of Batch must be a share for each class, as a mapping or in the order of the classes, "
            f"'estimated' or None. Got {class_prior!r:.200}."
        )
    if len(shares) != len(classes):
        raise ParameterError(
            f"class_prior of Batch must have one share for each of the {len(classes)} classes {_some(classes)}, in "
            f"this order. Got {len(shares)} shares."
        )
    if not (shares > 0).all():
        i = int(np.argmin(shares > 0))
        raise ParameterError(
            "class_prior of Batch must have shares above 0: give a class that is rare a small share, or leave it out "
            f"of the classes. Got {shares[i]:g} for {classes[i]!r}."
        )
    if not np.isclose(shares.sum(), 1.0):
        raise ParameterError(
            "class_prior of Batch must have the sum 1: divide the shares, or the counts, by their sum. Got the sum "
            f"{shares.sum():g}."
        )
    return shares


def _in_order(class_prior: Mapping[Any, Any], classes: Sequence[Any]) -> list[Any]:
    unknown = [name for name in class_prior if name not in classes]
    if unknown:
        raise ParameterError(
            f"class_prior of Batch may name the classes {_some(classes)} only. Got a share for {unknown[0]!r}."
        )
    missing = [name for name in classes if name not in class_prior]
    if missing:
        raise ParameterError(f"class_prior of Batch must have a share for each class. Got none for {missing[0]!r}.")
    return [class_prior[name] for name in classes]


def _some(classes: Sequence[Any]) -> str:
    return f"[{', '.join(map(repr, classes[:5]))}{', ...' * (len(classes) > 5)}]"


def count_shares(targets: IntArray, n_classes: int, strength: float) -> FloatArray:
    """The shares among labelled texts, with ``strength`` more texts that are spread evenly over the classes."""
    counts = np.bincount(targets, minlength=n_classes)
    return (counts + strength / n_classes) / (counts.sum() + strength)
