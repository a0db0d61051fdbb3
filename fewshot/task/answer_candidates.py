"""From a text to the spans of it that may be an answer."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from fewshot.task.words import split_words

__all__ = ["candidate_spans", "candidate_words"]

#: Signs that belong to a number after them or before them, where no blank is between: currencies, and these.
_BEFORE, _AFTER = frozenset("+-−±#§"), frozenset("%‰°′″+")


def candidate_spans(context: str, max_words: int) -> list[tuple[int, int]]:
    """Return the start and the end of each span of words that may be an answer, in characters, from left to right.

    A span begins and ends with a word that has a letter or a digit, or with a sign of a number: ``$5``, ``40%``. At
    most ``max_words`` of its words have letters or digits; signs between them are not counted.

    Examples
    --------
    >>> from fewshot.task.answer_candidates import candidate_spans
    >>> text = "It cost $5, twice."
    >>> [text[start:end] for start, end in candidate_spans(text, 2)]
    ['It', 'It cost', 'cost', 'cost $5', '$5', '$5, twice', '5', '5, twice', 'twice']
    """
    words = split_words(context)
    return [(words[first][0], words[after - 1][1]) for first, after in candidate_words(context, words, max_words)]


def candidate_words(context: str, words: Sequence[tuple[int, int]], max_words: int) -> list[tuple[int, int]]:
    """The same, as the number of the first word of each span and that of the word after its last."""
    texts = [context[start:end] for start, end in words]
    has_letters = [any(map(str.isalnum, word)) for word in texts]
    begins = [
        own or (_goes_before(texts[i]) and _is_number(texts, words, i + 1, words[i][1]))
        for i, own in enumerate(has_letters)
    ]
    ends = [
        own or (i > 0 and _goes_after(texts[i]) and has_letters[i - 1] and words[i - 1][1] == words[i][0])
        for i, own in enumerate(has_letters)
    ]
    found = []
    for first in range(len(words)):
        if not begins[first]:
            continue
        counted = 0
        for last in range(first, len(words)):
            counted += has_letters[last]
            if counted > max_words:
                break
            if ends[last] and counted:
                found.append((first, last + 1))
    return found


def _is_number(texts: Sequence[str], words: Sequence[tuple[int, int]], i: int, start: int) -> bool:
    """Whether word i begins there, with a digit."""
    return i < len(texts) and words[i][0] == start and texts[i][0].isdigit()


def _goes_before(sign: str) -> bool:
    return sign in _BEFORE or unicodedata.category(sign[0]) == "Sc"


def _goes_after(sign: str) -> bool:
    return sign in _AFTER or unicodedata.category(sign[0]) == "Sc"
