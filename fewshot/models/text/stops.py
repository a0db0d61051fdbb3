"""Stop texts: what an answer ends before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["cut_at_stop", "make_is_done"]


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    r"""The text before the first of the stop texts in it.

    Examples
    --------
    >>> cut_at_stop("Ein Hund.\nEnglish: A cat.", ["\n", "Hu"])
    'Ein '
    """
    return text[: min((at for one in stop if (at := text.find(one)) >= 0), default=len(text))]


def make_is_done(tokenizer: Any, stop: Sequence[str]) -> Callable[[Sequence[int]], bool] | None:
    """Whether an answer of these tokens holds a stop text, so that it needs no further token; None without any."""
    if not stop:
        return None

    def is_done(tokens: Sequence[int]) -> bool:
        text = tokenizer.decode(list(tokens), skip_special_tokens=True)
        return any(one in text for one in stop)

    return is_done
