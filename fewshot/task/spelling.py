"""How the words of a sentence are spelt: what a model that lower-cases its input does not see.

No feature knows a language's words. Letters without case, as those of most scripts, are neither capital nor small.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

__all__ = ["FEATURES", "spell"]

#: The most characters of the length classes; a longer word is in one more.
_LENGTHS = (1, 3, 6, 10)
_SENTENCE_ENDS = frozenset(".!?…。！？।")
_OPENING = frozenset({"Ps", "Pi"})  # Unicode's categories of brackets and quotes that open


def _is_capital(word: str) -> bool:
    return word[:1].isupper()


def _is_all_capitals(word: str) -> bool:
    return word.isupper() and sum(map(str.isalpha, word)) > 1


def _is_mixed(word: str) -> bool:
    return any(letter.isupper() for letter in word[1:]) and any(map(str.islower, word))


def _is_sign(word: str) -> bool:
    return not any(map(str.isalnum, word))


def _is_quote_or_bracket(word: str) -> bool:
    return word in {'"', "'"} or (len(word) == 1 and unicodedata.category(word) in _OPENING)


def _is_url(word: str) -> bool:
    return "://" in word or word.lower().startswith(("http", "www"))


_Check = Callable[[str], bool | float]
#: What is asked of a word, whatever stands beside it.
_OWN: dict[str, _Check] = {
    "capital": _is_capital,
    "one capital letter": lambda word: len(word) == 1 and word.isupper(),
    "all capitals": _is_all_capitals,
    "mixed case": _is_mixed,
    "small": str.islower,
    "no letters": lambda word: not any(map(str.isalpha, word)),
    "number": str.isnumeric,
    "share of digits": lambda word: sum(map(str.isdigit, word)) / max(len(word), 1),
    "letters and digits": lambda word: any(map(str.isalpha, word)) and any(map(str.isdigit, word)),
    "sign": _is_sign,
    "sign inside": lambda word: not _is_sign(word) and not all(map(str.isalnum, word)),
    "url": _is_url,
}
#: What is asked of the words to the left and to the right.
_BESIDE: dict[str, _Check] = {
    "capital": _is_capital,
    "all capitals": _is_all_capitals,
    "small": str.islower,
    "digit": lambda word: any(map(str.isdigit, word)),
    "sign": _is_sign,
    "quote or bracket": _is_quote_or_bracket,
}
#: The name of each feature, in the order of the values.
FEATURES = (
    *_OWN,
    *(f"at most {most} characters" for most in _LENGTHS),
    "longer",
    "mention",
    "hashtag",
    "first in the sentence",
    "capital inside the sentence",
    "share of capitals in the text",
    *(f"left: {name}" for name in ("none", *_BESIDE)),
    *(f"right: {name}" for name in ("none", *_BESIDE)),
)


def spell(words: Sequence[str]) -> list[list[float]]:
    """Return the spelling features of each word of a text and of its neighbours, in the order of `FEATURES`.

    Every value is from 0 to 1. The sign @ or # counts for a word that begins with it or stands right of it. A word is
    the first of a sentence at the start of the text, and after a full stop or another sign that ends one. The share of
    capitals says what a capital is worth: in a headline every word has one.

    Examples
    --------
    >>> from fewshot.task.spelling import FEATURES, spell
    >>> ada, met, number = spell(["Ada", "met", "42"])
    >>> [name for name, value in zip(FEATURES, ada, strict=True) if value == 1]
    ['capital', 'at most 3 characters', 'first in the sentence', 'left: none', 'right: small']
    """
    cased = [word for word in words if word[:1].isupper() or word[:1].islower()]
    share = sum(map(_is_capital, cased)) / max(len(cased), 1)
    own = [[float(check(word)) for check in _OWN.values()] for word in words]
    beside = [[0.0, *(float(check(word)) for check in _BESIDE.values())] for word in words]
    none = [1.0, *[0.0] * len(_BESIDE)]
    features = []
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        is_first = i == 0 or before in _SENTENCE_ENDS
        features.append(
            [
                *own[i],
                *_length_class(word),
                float(word[:1] == "@" or before == "@"),
                float(word[:1] == "#" or before == "#"),
                float(is_first),
                float(_is_capital(word) and not is_first),
                share,
                *(beside[i - 1] if i else none),
                *(beside[i + 1] if i + 1 < len(words) else none),
            ]
        )
    return features


def _length_class(word: str) -> list[float]:
    """1 for the class of the word's length."""
    number = sum(len(word) > most for most in _LENGTHS)
    return [float(one == number) for one in range(len(_LENGTHS) + 1)]
