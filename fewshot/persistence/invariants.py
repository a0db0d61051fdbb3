"""What holds between the attributes of an object that was fitted, where prediction relies on it for every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fewshot.errors import InputError

__all__ = ["check_fitted"]


def check_fitted(name: str, attributes: Mapping[str, Any]) -> None:
    """Refuse attributes that no fit leaves, since one does not go with another."""
    check = _CHECKS.get(name)
    if check is not None:
        check(name, attributes)


def _check(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise InputError(f"{name} {what}")


def _verbalizer(name: str, found: Mapping[str, Any]) -> None:
    words, classes = found["words"], found["classes"]
    _check(isinstance(words, tuple) and all(isinstance(group, tuple) for group in words), name, "has no label words")
    flat = tuple(word for group in words for word in group)
    _check(all(isinstance(word, str) for word in flat), name, f"has label words that are not text: {flat!r:.80}")
    _check(found["candidates"] == flat, name, "has other candidates than label words")
    _check(classes is None or isinstance(classes, tuple), name, f"has the classes {classes!r:.80}")
    if classes is not None and name == "Verbalizer":
        _check(len(classes) == len(words) and all(words), name, "has a class without label words")
    scale = found.get("scale")
    fine = isinstance(scale, tuple) and sorted(map(repr, scale)) == sorted(map(repr, classes or ()))
    _check(scale is None or fine, name, f"has a scale of other classes than its own: {scale!r:.80}")


def _selector(name: str, found: Mapping[str, Any]) -> None:
    if "_shots" not in found:
        return
    _check(_is_count(found["_shots"]) and found["_shots"] > 0, name, f"shows {found['_shots']!r:.40} texts")
    rows, vectors = found.get("rows_"), found.get("_vectors")
    n = 2**62
    if vectors is not None:
        _check(isinstance(vectors, np.ndarray) and vectors.ndim == 2, name, "has no vectors")
        n = len(vectors)
        for key in ("_classes", "_place"):
            _check(key not in found or _are_places(found[key], 2**62, n), name, f"has {key} of another length")
    _check(rows is None or _are_places(rows, n), name, "shows rows that there are not")
    _check(rows is not None or vectors is not None, name, "has nothing to choose from")
    equals = found["_equals"]
    _check(isinstance(equals, dict), name, "knows no equal texts")
    for text, places in equals.items():
        fine = isinstance(text, str) and isinstance(places, list)
        _check(fine and all(_is_count(i) and i < n for i in places), name, f"has texts that equal {places!r:.80}")


def _asking(name: str, found: Mapping[str, Any]) -> None:
    orders = found.get("orders", 1)
    _check(orders == "all" or (_is_count(orders) and orders > 0), name, f"asks in {orders!r:.40} orders")
    _shown(name, found)
    known = set(found["task"].classes.tolist())
    _check(all(label in known for label in found["_labels"].values()), name, "has a label that is no class")


def _free_asking(name: str, found: Mapping[str, Any]) -> None:
    _check(_is_count(found["room"]) and found["room"] > 0, name, f"leaves {found['room']!r:.40} tokens to an answer")
    _shown(name, found)
    _check(all(isinstance(text, str) for text in found["_labels"].values()), name, "shows an answer that is no text")


def _asking_spans(name: str, found: Mapping[str, Any]) -> None:
    _shown(name, found)
    spans, rows = found["task"].verbalizer, found["_rows"].values()
    _check(type(spans).__name__ == "OwnSpans", name, "asks for no spans")
    _check(_is_count(spans.max_words) and spans.max_words > 0, name, f"asks for {spans.max_words!r:.40} words")
    _check(spans.no_answer is None or _is_said(spans.no_answer), name, f"calls no answer {spans.no_answer!r:.40}")
    _check(found["orders"] == 1, name, f"asks in {found['orders']!r:.40} orders")
    _check(all(map(_is_said, found["_labels"].values())), name, "shows an answer that is not text")
    fields = all(isinstance(row, dict) and {"question", "context"} <= row.keys() for row in rows)
    _check(fields, name, "shows a row without a question or a context")


def _shown(name: str, found: Mapping[str, Any]) -> None:
    """The labelled rows of an asking are all that its selector may choose."""
    rows, labels, selector = found["_rows"], found["_labels"], found["selector"]
    _check(isinstance(rows, dict) and isinstance(labels, dict), name, "has no labelled rows")
    _check(set(rows) == set(labels), name, "has other labels than rows")
    _check(all(_is_row(row) for row in rows.values()), name, "has a labelled row that is neither text nor fields")
    if selector is not None:
        shared = getattr(selector, "rows_", None)
        vectors = getattr(selector, "_vectors", ())  # what may be shown, where not all texts are shown the same
        wanted = range(len(vectors)) if shared is None else shared.tolist()
        _check(set(wanted) <= set(rows), name, "lacks a labelled row that may be shown")


def _questionnaire(name: str, found: Mapping[str, Any]) -> None:
    fitted = found.get("classifiers_")
    _check(isinstance(fitted, dict) and len(fitted) > 0, name, "has no fitted classifiers")
    for question, clf in dict(fitted or {}).items():
        own = clf.estimator if type(clf).__name__ == "FrozenEstimator" else clf
        fine = isinstance(question, str) and type(own).__name__ in ("Classifier", "ConformalClassifier")
        _check(fine, name, f"has a {type(clf).__name__} for the question {question!r:.40}")


def _token_crf(name: str, found: Mapping[str, Any]) -> None:
    if "coef_" not in found:
        return
    coef = found["coef_"]
    _check(isinstance(coef, np.ndarray) and coef.ndim == 2, name, "has no weights of types")
    n = len(coef)
    shapes = {"coef_": coef.shape, "intercept_": (n,), "transitions_": (1 + n, 1 + n)}
    for key, shape in shapes.items():
        value = found.get(key)
        fine = isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind == "f"
        fine = fine and bool(np.isfinite(np.asarray(value)).all())
        _check(fine, name, f"has {key} that are not finite numbers of shape {shape}")


def _read_answers(name: str, found: Mapping[str, Any]) -> None:
    if "model_" not in found:
        return
    offset, most = found.get("offset_"), found.get("max_words_")
    _check(isinstance(offset, float) and bool(np.isfinite(offset)), name, f"adds {offset!r:.40} to no answer")
    _check(isinstance(found.get("none_"), bool), name, "does not say whether a text may hold no answer")
    _check(most is None or (_is_count(most) and most > 0), name, f"finds answers of {most!r:.40} words")


def _span_choice(name: str, found: Mapping[str, Any]) -> None:
    if "coef_" in found:
        _check(_are_finite(found["coef_"], 1), name, "has no weights that are finite numbers")


def _span_head(name: str, found: Mapping[str, Any]) -> None:
    if "model_" not in found:
        return
    basis, center, most = (found.get(key) for key in ("basis_", "center_", "max_words_"))
    fine = _are_finite(basis, 2) and _are_finite(center, 1)
    _check(fine and np.asarray(basis).shape[1:] == np.asarray(center).shape, name, "has no directions of vectors")
    _check(isinstance(found.get("none_"), bool), name, "does not say whether a text may hold no answer")
    _check(_is_count(most) and most != 0, name, f"finds answers of {most!r:.40} words")
    for key, kind in {"counts_": "WordCounts", "head_": "SpanChoice"}.items():
        _check(type(found.get(key)).__name__ == kind, name, f"has no {kind}")
    counts, markers = found["counts_"].sentences, found["counts_"].markers
    fine = all(isinstance(word, str) and _is_count(n) for word, n in counts.items())
    _check(fine and _is_count(found["counts_"].n_sentences), name, "has no counts of words")
    _check(all(isinstance(word, str) for word in markers), name, "has words that ask which are not text")


def _are_finite(value: Any, ndim: int) -> bool:
    """Whether a value is an array of finite numbers."""
    fine = isinstance(value, np.ndarray) and value.ndim == ndim and value.dtype.kind == "f"
    return fine and bool(np.isfinite(value).all())


def _is_row(row: Any) -> bool:
    return isinstance(row, str) or (isinstance(row, dict) and all(isinstance(key, str) for key in row))


def _is_said(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)


def _are_places(value: Any, below: int, length: int | None = None) -> bool:
    """Whether a value is an array of row numbers."""
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "iu":
        return False
    fine = length is None or len(value) == length
    return bool(fine and (value >= 0).all() and (value < below).all())


_CHECKS: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
    "Asking": _asking,
    "AskingSpans": _asking_spans,
    "FreeAsking": _free_asking,
    "Questionnaire": _questionnaire,
    "ReadAnswers": _read_answers,
    "SpanChoice": _span_choice,
    "SpanHead": _span_head,
    "TokenCRF": _token_crf,
    "Verbalizer": _verbalizer,
    "_LabelFirst": _asking,
    **dict.fromkeys(("First", "MMR", "Nearest", "Random", "Stratified"), _selector),
}
