"""Generating: what a model writes up to the first stop text, whether it knows of stop texts or not."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from fewshot.errors import UnsupportedError
from fewshot.models.base import Generator, Query
from fewshot.models.text.stops import cut_at_stop

__all__ = ["generate_texts"]


def generate_texts(
    model: Generator, queries: Sequence[Query], max_new_tokens: int, stop: Sequence[str] = ()
) -> list[str]:
    """What a model writes after each query's prefix, up to the first of the stop texts.

    Raises
    ------
    UnsupportedError
        When the model does not write one text for each query.
    """
    known = inspect.signature(model.generate).parameters
    texts = model.generate(queries, max_new_tokens, *([stop] if "stop" in known else []))
    if len(texts) != len(queries) or not all(isinstance(text, str) for text in texts):
        raise UnsupportedError(f"{model!r} must write one text for each of {len(queries)} queries. Got {texts!r:.80}.")
    return [cut_at_stop(text, stop) for text in texts]
