"""The pool: which rows may be chosen for a label, which have one, and the vectors of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import normalize

from fewshot.checks import is_missing
from fewshot.errors import InputError, UnsupportedError, at_row, broken
from fewshot.inputs import Row, as_indicator, as_labels
from fewshot.models.base import FloatArray, IntArray, is_encoder
from fewshot.models.loading import load

__all__ = ["Pool", "encoder_of", "make_pool", "vectors_of"]


class Pool(NamedTuple):
    """Texts, and by number those of them that may be chosen and those that have a label; each is there once."""

    texts: list[str]
    free: IntArray
    known: IntArray


def make_pool(rows: Sequence[Row], y: Any, template: Any = None) -> Pool:
    """Sort rows into those with a label and those that may be chosen: without one, and equal to none before.

    Raises
    ------
    InputError
        When y does not fit the rows.
    """
    labelled = _labelled(y, len(rows))
    texts = [_text(i, row, template) for i, row in enumerate(rows)]
    known = {texts[i]: i for i in reversed(labelled)}
    free: dict[str, int] = {}
    for i, text in enumerate(texts):
        if text not in known:
            free.setdefault(text, i)
    return Pool(texts, np.array(list(free.values()), dtype=np.int64), np.array(sorted(known.values()), dtype=np.int64))


def _text(i: int, row: Row, template: Any) -> str:
    """What an encoder reads of a row: its part of the template, or all its fields."""
    if isinstance(row, str):
        return row
    if template is None:
        return "\n".join(str(value) for value in row.values() if not is_missing(value))
    with at_row(i):
        return str(template.prompt(row).fields_text)


def _labelled(y: Any, n: int) -> list[int]:
    """The rows that have a label."""
    if y is None:
        return []
    if as_indicator(y, n) is not None:
        return list(range(n))
    if isinstance(y, Sequence) and not isinstance(y, str | bytes) and any(_is_row(one) for one in y):
        return _with_several(y, n)
    return [i for i, label in enumerate(as_labels(y, n, unlabelled=[None])) if label is not None]


def _is_row(label: Any) -> bool:
    return isinstance(label, list | tuple | np.ndarray)


def _with_several(y: Sequence[Any], n: int) -> list[int]:
    """The rows that have an indicator row, of which all have one length."""
    if len(y) != n:
        raise InputError(f"X has {n} rows and y has {len(y)}: they must be of one length.")
    found = [i for i, label in enumerate(y) if label is not None]
    for i in found:
        if not _is_row(y[i]) or len(y[i]) != len(y[found[0]]) or not np.isin(np.asarray(y[i]), (0, 1)).all():
            raise InputError(
                f"y[{i}] is {y[i]!r:.60}: with several labels a row each is None or an indicator row, 1 where it has "
                f"the label, as long as the first, y[{found[0]}]."
            )
    return found


def encoder_of(clf: Any) -> Any:
    """The encoder of a classifier or of a step of its pipeline, what is one already, or else the default one.

    Raises
    ------
    UnsupportedError
        When it is a model of another kind.
    """
    parts = [clf, getattr(clf, "model_", None), *(step for _, step in getattr(clf, "steps", ()))]
    found = next((part for part in parts if is_encoder(part)), None)
    if found is not None:
        return found
    if clf is None or hasattr(clf, "predict_proba"):
        return load()
    model = load(clf)
    if not is_encoder(model):
        raise UnsupportedError(f"clf must be a fitted classifier, an encoder, or None. Got {clf!r}, which is neither.")
    return model


def vectors_of(encoder: Any, texts: list[str]) -> FloatArray:
    """Unit vectors of texts, of shape (n_texts, dim).

    Raises
    ------
    UnsupportedError
        When the encoder gives NaN.
    """
    vectors = np.asarray(encoder.encode(texts), dtype=np.float64)
    if not np.isfinite(vectors).all():
        raise broken(encoder, "vectors")
    return normalize(vectors)
