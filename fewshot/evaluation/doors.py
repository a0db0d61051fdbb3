"""Which door an estimator is: each is measured by what it predicts, spans, answers or texts; else by classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fewshot.errors import UnsupportedError

__all__ = ["Door", "door_of", "door_of_all"]

Door = Literal["classes", "spans", "answers", "texts"]
#: By what an estimator of a door is known, whoever made it.
_METHODS: dict[str, Door] = {"predict_spans": "spans", "predict_top": "answers", "predict_written": "texts"}


def door_of(estimator: Any) -> Door:
    """What an estimator predicts, by the methods that it has; what has none of the three is a classifier."""
    if isinstance(estimator, type):
        return "classes"
    return next((door for name, door in _METHODS.items() if callable(getattr(estimator, name, None))), "classes")


def door_of_all(named: Mapping[str, Any]) -> Door:
    """What all of them predict; estimators of several doors are refused."""
    found: dict[Door, list[str]] = {}
    for name, one in named.items():
        found.setdefault(door_of(one), []).append(name)
    if len(found) > 1:
        said = "; ".join(f"{', '.join(map(repr, own))} predict {door}" for door, own in found.items())
        raise UnsupportedError(
            f"{said}: these have no metric in common. Compare taggers with taggers, extractors with extractors, "
            "writers with writers, and classifiers with classifiers."
        )
    return next(iter(found))
