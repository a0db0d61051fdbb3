"""From whatever holds a user's texts to a list of rows, each checked."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.checks import as_numbers, is_missing
from fewshot.errors import InputError, UnsupportedError, warn
from fewshot.labels import plain_label

__all__ = ["Row", "as_indicator", "as_labels", "as_row", "as_rows", "as_texts", "columns_of", "take_labelled"]

Row = str | Mapping[str, Any]  # a text, or fields by name

_LABELLED_ONLY = "this strategy uses labelled rows only. Drop the row, label it, or use Distillation()."


def as_rows(X: Any) -> list[Row]:
    """Turn X into a list of texts or of mappings of fields.

    pandas, polars and `datasets` containers are recognised by what they can do, so none of them is imported.

    Raises
    ------
    InputError
        When X is empty, a bare string, two-dimensional without column names, or holds something that is not text; the
        message names the row.
    """
    if isinstance(X, str | bytes):
        raise InputError(f"X must be a list of texts. Got one {type(X).__name__}: wrap it in a list, [{X!r:.60}].")
    if isinstance(X, Mapping):
        raise InputError("X must be a list of rows, or a DataFrame. Got a mapping: wrap it in a list, [{...}].")
    if isinstance(X, Set):
        raise InputError(f"X must be a list of texts. Got a {type(X).__name__}, which has no order.")
    if X is None or not isinstance(X, Iterable):
        raise InputError(f"X must be a list of texts or a DataFrame of fields. Got {type(X).__name__}.")
    rows = _records(X)
    if not rows:
        raise InputError("X is empty: give at least one text.")
    kinds = {isinstance(row, str) for row in rows}
    for i, row in enumerate(rows):
        if not isinstance(row, str | Mapping):
            raise InputError(f"X[{i}] must be text. Got {_described(row)}.")
    if len(kinds) > 1:
        raise InputError("X mixes plain texts and mappings of fields: make every row one or the other.")
    return rows


def as_row(x: Any) -> Row:
    """Take one text or mapping of fields, also a row of a DataFrame; anything else, as a list is, is refused."""
    if hasattr(x, "to_dict") and not hasattr(x, "columns"):  # a pandas Series
        x = x.to_dict()
    if not isinstance(x, str | Mapping):
        raise InputError(f"Give one row, a text or a mapping of fields. Got {type(x).__name__}: pass X[0], or a row.")
    return as_rows([x])[0]


def as_texts(X: Any) -> list[str]:
    """Turn X into a list of plain texts."""
    rows = as_rows(X)
    if isinstance(rows[0], Mapping):
        raise InputError(f"X must be plain texts here. Got rows with the fields {list(rows[0])}: choose one column.")
    return [str(row) for row in rows]


def _records(X: Any) -> list[Any]:
    if hasattr(X, "columns") and hasattr(X, "to_dicts"):  # polars
        return list(X.to_dicts())
    if hasattr(X, "columns") and hasattr(X, "to_dict"):  # pandas
        return list(X.to_dict("records"))
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:  # as BaggingClassifier makes of a DataFrame
        X = X[:, 0]
    if isinstance(X, np.ndarray) and X.ndim != 1:
        raise InputError(f"X must be one-dimensional, a text per row. Got shape {X.shape}: use X[:, 0] or a DataFrame.")
    return [str.__str__(row) if isinstance(row, str) else row for row in X]


def as_labels(y: Any, n: int | None = None, *, unlabelled: Sequence[Any] = ()) -> list[Any]:
    """Turn y, of shape (n,) or with scikit-learn's warning (n, 1), into a list of plain Python labels.

    What is among ``unlabelled`` marks a row without a label; it comes back as None.

    Raises
    ------
    InputError
        When y is of another shape or length, or holds None, NaN or something that is no class; the message names the
        row.
    """
    if isinstance(y, str | bytes) or not isinstance(y, Iterable):
        raise InputError(f"y must be a list of class labels. Got {type(y).__name__}: {y!r:.60}.")
    if isinstance(y, Mapping):
        raise InputError(
            "y must be a list of class labels. Got a mapping: label words go into verbalizer={...}, and descriptions "
            "of classes into fit(None, {...}) or a Choice."
        )
    if n is not None and isinstance(y, Set):
        raise InputError(f"y must be a list, a class per row. Got a {type(y).__name__}, which has no order.")
    labels = [plain_label(value) for value in _column(y)]
    if n is not None and len(labels) != n:
        raise InputError(f"X has {n} rows and y has {len(labels)}: they must be of one length.")
    labels = [None if any(type(v) is type(m) and v == m for m in unlabelled) else v for v in labels]
    for i, value in enumerate(labels):
        if value is not None or not unlabelled:
            _check_label(i, value, "None, not NaN, marks an unlabelled row." if unlabelled else _LABELLED_ONLY)
    kinds = {type(value) for value in labels if value is not None}
    if len(kinds) > 1:
        raise InputError(f"y mixes {', '.join(sorted(kind.__name__ for kind in kinds))}: make all classes of one type.")
    return labels


def _column(y: Any) -> Any:
    """What holds a label a row; of one column its values, with the warning that scikit-learn has for it."""
    shape = getattr(y, "shape", None)
    if shape is None or len(shape) == 1:
        return y
    from sklearn.exceptions import DataConversionWarning  # late, so that the command line lists templates at once

    if len(shape) != 2 or shape[1] != 1:
        raise InputError(f"y must be one-dimensional, a class per row. Got shape {tuple(shape)}.")
    warn(
        f"y is one column, of shape {tuple(shape)}, and is taken for the class of each row: pass one dimension, such "
        "as y.ravel() or the column itself.",
        DataConversionWarning,
    )
    return y[y.columns[0]] if hasattr(y, "columns") else (y.toarray() if hasattr(y, "toarray") else y)[:, 0]


def _check_label(i: int, value: Any, missing: str) -> None:
    if is_missing(value):
        raise InputError(f"y[{i}] is {value!r}: {missing}")
    if isinstance(value, tuple | frozenset) or not isinstance(value, Hashable):
        raise InputError(
            f"y[{i}] must be one class. Got {value!r:.60}: for several labels a row pass an indicator matrix, as "
            "MultiLabelBinarizer makes."
        )
    if isinstance(value, bytes):
        raise InputError(f"y[{i}] is bytes: {value!r:.40}. Decode the labels first, label.decode().")
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"y[{i}] is {value!r:.60}: arrays drop a NUL at the end. Remove it from the labels.")


def as_indicator(y: Any, n: int | None) -> tuple[NDArray[np.int64], list[Any] | None] | None:
    """Turn a two-dimensional y into an indicator matrix and the names of its columns, if it has names.

    Returns
    -------
    (ndarray of shape (n_rows, n_labels), list or None), or None
        None when y is not two-dimensional: one class a row.

    Raises
    ------
    InputError
        When a cell is neither 0 nor 1, or the length is not n; the message names the row.
    """
    y = np.array(y) if _is_table(y) else y
    shape = getattr(y, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] == 1:
        return None
    names = [plain_label(name) for name in y.columns] if hasattr(y, "columns") else None
    y = y.cpu() if hasattr(y, "cpu") else y
    matrix = np.asarray(y.toarray() if hasattr(y, "toarray") else y.to_numpy() if names is not None else y)
    if n is not None and len(matrix) != n:
        raise InputError(f"X has {n} rows and y has {len(matrix)}: they must be of one length.")
    wrong = np.argwhere(~np.isin(matrix, (0, 1)))
    if wrong.size:
        row, column = wrong[0]
        raise InputError(
            f"y[{row}, {column}] is {matrix[row, column]!r}: a two-dimensional y is an indicator matrix, 1 where a row "
            "has the label of the column and 0 elsewhere. For one class per row, pass one dimension."
        )
    return matrix.astype(np.int64), names


def _is_table(y: Any) -> bool:
    """Whether plain lists are an indicator matrix, as they are for scikit-learn."""
    if not isinstance(y, list | tuple) or not y or not all(isinstance(row, list | tuple | np.ndarray) for row in y):
        return False
    alike = len({len(row) for row in y}) == 1 and len(y[0]) > 1
    return alike and all(isinstance(cell, int | float | np.generic) and cell in (0, 1) for row in y for cell in row)


def match_columns(indicator: tuple[NDArray[np.int64], list[Any] | None], classes: list[Any]) -> NDArray[np.int64]:
    """The columns of an indicator matrix in the order of a classifier's labels.

    Raises
    ------
    InputError
        When the columns have other names than the labels, or there are more or fewer of them.
    """
    matrix, names = indicator
    if names is not None and (len(names) != len(classes) or set(names) != set(classes)):
        raise InputError(f"The columns of y are {names}, and the labels of the classifier {classes}: name them alike.")
    if matrix.shape[1] != len(classes):
        raise InputError(
            f"y has {matrix.shape[1]} columns, and the classifier has {len(classes)} labels, {classes}: give y one "
            "column for each label."
        )
    return matrix if names is None else matrix[:, [names.index(one) for one in classes]]


def as_weights(sample_weight: Any, n: int) -> NDArray[np.float64]:
    """Turn sample weights into an array of n numbers of at least 0.

    Raises
    ------
    InputError
        When they are something else, or all of them are 0; the message names the row.
    """
    weights = as_numbers("sample_weight", sample_weight)
    if weights.shape != (n,):
        raise InputError(f"sample_weight must be {n} numbers, one for each row. Got shape {weights.shape}.")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise InputError(f"sample_weight[{bad[0]}] must be a finite number of at least 0. Got {weights[bad[0]]}.")
    if not weights.any():
        raise InputError("sample_weight is 0 for every row. Give at least one row a weight above 0.")
    return weights


def take_labelled(X: Any, y: Any) -> tuple[Any, list[Any]]:
    """The checked rows and their classes, one a row; a frame stays one, since a pipeline may pick columns by name."""
    rows = as_rows(X)
    if as_indicator(y, len(rows)) is not None:
        raise UnsupportedError("y must be one class a text here. Got an indicator matrix: take each label alone.")
    return X if hasattr(X, "columns") else rows, as_labels(y, len(rows))


def columns_of(labels: Iterable[Any], classes: Any) -> NDArray[np.int64]:
    """The column of each label among a fitted classifier's classes; an unknown label is refused."""
    named = np.asarray(classes).tolist()
    where = {name: i for i, name in enumerate(named)}
    labels = list(labels)
    unknown = [label for label in labels if label not in where]
    if unknown:
        raise InputError(
            f"The classifier does not know {sorted(set(unknown))[:5]}, the label of {len(unknown)} rows. It knows "
            f"{named}: correct or drop these rows, or fit it on some of that label."
        )
    return np.array([where[label] for label in labels], dtype=np.int64)


def _described(value: Any) -> str:
    if is_missing(value):
        return f"{value!r}: a missing text. Drop the row, or fill it"
    if isinstance(value, bytes):
        return f"bytes: {value!r:.40}. Decode them first"
    return f"{type(value).__name__}: {value!r:.40}"
