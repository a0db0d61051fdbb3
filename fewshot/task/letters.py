"""The letters after which a prompt lists the classes."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from fewshot.errors import TemplateError

__all__ = ["letters_of"]


def letters_of(listed: Sequence[str]) -> dict[str, str]:
    """The letter of each listed word.

    Raises
    ------
    TemplateError
        When there are more words than letters.

    Examples
    --------
    >>> letters_of(["billing", "bug report"])
    {'billing': 'A', 'bug report': 'B'}
    """
    if len(listed) > len(ascii_uppercase):
        raise TemplateError(
            f"A template whose answers are letters lists {len(ascii_uppercase)} classes at most, A to Z. Got "
            f"{len(listed)}: use one that is answered by words, such as 'generic/listed'."
        )
    return dict(zip(listed, ascii_uppercase, strict=False))
