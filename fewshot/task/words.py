"""From a text to its words, the units that have a tag: where each begins and ends."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

__all__ = ["split_words"]

#: Letters of scripts that put no blanks between words: Thai and Lao, Myanmar, Khmer, radicals and Han, Hiragana and
#: Katakana, and Han once more where it goes beyond 16 bits.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U000323af"
)
_JOINERS = "\u00ad\u200c\u200d"  # the soft hyphen, and what says how the letters beside it are drawn
#: Where Unicode has combining marks: the first two planes, and the variation selectors.
_WITH_MARKS = (range(0x300, 0x20000), range(0xE0100, 0xE01F0))


def split_words(text: str) -> list[tuple[int, int]]:
    """Cut a text into words: the start and the end of each, in characters, from left to right.

    A word is a run of letters, digits and underscores, with their combining marks. Every other sign that is no blank is
    a word of its own, an apostrophe too: ``London's`` holds ``London``. Scripts without blanks between words give
    single letters: Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar.

    Examples
    --------
    >>> text = "London's 2nd 東京."
    >>> [text[start:end] for start, end in split_words(text)]
    ['London', "'", 's', '2nd', '東', '京', '.']
    """
    return [found.span() for found in _pattern().finditer(text)]


@cache
def _pattern() -> re.Pattern[str]:
    marks = "".join(chr(c) for codes in _WITH_MARKS for c in codes if unicodedata.category(chr(c))[0] == "M")
    letter = rf"[^\W{_UNSPACED}]"
    return re.compile(rf"{letter}(?:{letter}|[{marks}]|[{_JOINERS}]+(?={letter}))*|\S[{marks}]*")
