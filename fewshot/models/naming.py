"""Naming a model in what went wrong with its prompts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from fewshot.errors import FewshotError, InputError
from fewshot.models.base import Query

__all__ = ["name_in_errors"]


@contextlib.contextmanager
def name_in_errors(model: object, queries: Sequence[Query]) -> Iterator[None]:
    """Add the model's name to what went wrong while scoring, once."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, FewshotError):
            raise
        raise InputError(f"{model!r} can't score these {len(queries)} prompts: {error}") from error
