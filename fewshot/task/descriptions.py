"""What classes mean, in a sentence each: which texts may say it, and where a prompt finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fewshot.checks import is_blank
from fewshot.errors import FewshotError, TemplateError
from fewshot.task.row_choices import as_tuple
from fewshot.task.source import abridge

__all__ = ["by_word", "one_line", "running", "take_descriptions"]

_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


def one_line(text: str) -> str:
    r"""A text in one line: every line break, with the blanks around it, is one blank.

    Examples
    --------
    >>> from fewshot.task.descriptions import one_line
    >>> one_line("charges,\n  invoices, refunds\n")
    'charges, invoices, refunds'
    """
    return _BREAKS.sub(" ", text).strip() if _BREAKS.search(text) else text


def take_descriptions(given: Any, what: str, error: type[FewshotError] = TemplateError) -> dict[Any, str]:
    """The descriptions of a mapping from classes to texts or None, each in one line; a blank one is none.

    What is no such mapping is refused with an ``error`` that begins with ``what``.
    """
    if not isinstance(given, Mapping):
        raise error(f"{what} must map each class to what it means. Got {type(given).__name__}: {abridge(given)}.")
    for name, text in given.items():
        if text is not None and not isinstance(text, str):
            raise error(f"{what} must be texts, or None. Got {abridge(text)} for {abridge(name)}.")
    return {name: one_line(str.__str__(text)) for name, text in given.items() if not is_blank(text)}


def by_word(descriptions: Mapping[Any, str], words: Mapping[Any, Any] | None) -> dict[str, str]:
    """The description of each label word; without words these are the names of the classes.

    Examples
    --------
    >>> from fewshot.task.descriptions import by_word
    >>> by_word({"pos": "they liked it"}, {"neg": "bad", "pos": ["good", "great"]})
    {'good': 'they liked it', 'great': 'they liked it'}
    """
    found: dict[str, str] = {}
    for name, text in descriptions.items():
        own = (str(name), str(name).replace("_", " ")) if words is None else as_tuple(words.get(name))
        found.update(dict.fromkeys(own, text))
    return found


def running(text: str) -> str:
    """A description as it runs on within a sentence: without a full stop."""
    return text.removesuffix(".")
