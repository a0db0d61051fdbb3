"""From whatever holds a user's texts or tokens to texts, with where each token begins and ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from fewshot.errors import InputError, at_row
from fewshot.inputs import as_texts

__all__ = ["Bounds", "is_dataset", "is_doc", "is_list", "read_rows"]

Bounds = list[tuple[int, int]]  # where each word or token of a text begins and ends, in characters


def read_rows(X: Any) -> tuple[list[str], list[Bounds] | None]:
    """The texts of X, and where their tokens begin and end if it has tokens.

    A row is a text, a list of tokens, which one blank joins, or what has a ``text``, as a Doc of spaCy has. Of a
    `datasets` Dataset it is the column "tokens", or else "text".

    Raises
    ------
    InputError
        When X is nothing of that, or mixes it, or a token is empty; the message names the row.

    Examples
    --------
    >>> read_rows([["Rome", "fell"]])
    (['Rome fell'], [[(0, 4), (5, 9)]])
    """
    column = _take_column(X) if is_dataset(X) else X
    if not _is_one_column(column):
        return as_texts(column), None
    rows = list(column)
    tokenised = [is_list(row) for row in rows]
    if not any(tokenised):
        return as_texts([row.text if is_doc(row) else row for row in rows]), None
    if not all(tokenised):
        i = tokenised.index(not tokenised[0])
        raise InputError(
            f"X[{i}] is {rows[i]!r:.40}: X mixes texts and lists of tokens. Make every row one or the other."
        )
    texts, tokens = [], []
    for i, row in enumerate(rows):
        with at_row(i):
            text, bounds = _join(list(row))
        texts.append(text)
        tokens.append(bounds)
    return texts, tokens


def is_dataset(X: Any) -> bool:
    """Whether X is a table of `datasets`, which is not imported."""
    return hasattr(X, "features") and hasattr(X, "column_names")


def is_doc(row: Any) -> bool:
    """Whether a row is a text with its entities, as a Doc of spaCy is, which is not imported."""
    return hasattr(row, "text") and hasattr(row, "ents")


def is_list(row: Any) -> bool:
    """Whether a row is a list, a tuple, an array or a column."""
    listed = hasattr(row, "tolist") or hasattr(row, "to_list")
    return isinstance(row, list | tuple) or (listed and getattr(row, "ndim", 1) == 1)


def _is_one_column(X: Any) -> bool:
    whole = isinstance(X, str | bytes | Mapping | Set) or hasattr(X, "columns")
    return isinstance(X, Iterable) and not whole and getattr(X, "ndim", 1) == 1


def _take_column(X: Any) -> Any:
    for name in ("tokens", "text"):
        if name in X.column_names:
            return X[name]
    raise InputError(f"X is a dataset of {list(X.column_names)}: rename the column of the texts to tokens, or text.")


def _join(row: list[Any]) -> tuple[str, Bounds]:
    """Tokens as a text, and where each of them is."""
    bounds = []
    start = 0
    for token in row:
        if not isinstance(token, str) or not token:
            raise InputError(f"a token must be text, and not empty. Got {token!r:.40}: drop it, with its tag.")
        bounds.append((start, start + len(token)))
        start += len(token) + 1
    return " ".join(row), bounds
