"""Free answers back to classes: an answer names one class beyond doubt, or none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["named_in", "simplify"]

# a block that was cut off holds no answer
_THINKING = re.compile(r"\A\s*<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL)
_LEAD_IN = re.compile(r"\A(.*)(?:\bis|\bare|(?<!\d):|:(?!\d)|(?<![<>!~])=|->|→)\s*")  # not the colon of 2:1
# what stands before a list to choose from, or before what was asked
_LISTS = re.compile(
    r"\b(?:options?|choices?|labels|class(?:es)|categories|answers|candidates?|alternatives?|possibilit(?:y|ies)|"
    r"examples?|e\.g|questions?|inputs?|instructions?|legend|definitions?)(?:\W|\bare\b|\bis\b|\binclude\b)*\Z"
)
_DENIAL = re.compile(
    r"\b(?:not?|never|neither|nor|none|nobody|nothing|cannot|can't|without|doubt\w*|hardly|scarcely|barely|unlikely|"
    r"wrong\w*|incorrect\w*|false\w*|untrue|den(?:y|ies|ied)|reject\w*|rul(?:e|es|ed) out|fail\w*|exclud\w*|except|"
    r"unless|if|whether|un(?:clear|sure|certain)|least|opposite|instead|rather than|contrary|far from|anything but|"
    r"wonder\w*|maybe|perhaps|possibly|might|may|nicht|kein\w*|nie|niemals|pas|non|jamais|nunca|jamás|não|нет|не)\b"
    r"|n['’]t\b|不|没|沒|無|无|非|ない|아니|%|!=|<>|~=|≠|[-−!¬~](?=\0)|(?<![-=])[<>≤≥]=?\s+(?=\0)"
)
# what makes another number of the number that it touches
_NUMBER_BEFORE = r"(?<![.,+±~≈<≤≥$€£¥#−-])(?<!\d[:/–])(?<!(?<![-=])>)(?<![<>]=)"
_NUMBER_AFTER = r"(?![.,:/–-]\d)(?!\s*[%‰°])(?!\+)"
# a colon would make the word the name of a value: "spam: 0.1"; no blank follows where a script has none
_SET_OFF = r"(?:[.,;!)。、]|[\"'](?!\s*[:=]))(?:(?!\w)|(?=[\u2e80-\u9fff\uac00-\ud7af]))"
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full-width forms and their ASCII twins
_NO_MARKS = frozenset("%&@\\/#")  # punctuation that means something
_MARKS = frozenset("<>|`")  # and symbols that only set off


def named_in(answer: str, owners: Sequence[tuple[str, int]]) -> int | None:
    """The number of the class that an answer names, or None when it names none, or more than one.

    ``owners`` are the label words, simplified, each with the number of its class.
    """
    text = simplify(_THINKING.sub("", answer))
    line = text.splitlines()[0] if text else ""
    mentioned: set[int] = set()
    rest = line
    for word in sorted({word for word, _ in owners}, key=lambda word: (-len(word), word)):
        rest, found = re.subn(_mention(word), "\0", rest)
        if found:
            mentioned |= {owner for own, owner in owners if own == word}
    if len(mentioned) != 1:
        return None
    (owner,) = mentioned
    words = [word for word, index in owners if index == owner]
    denied = _DENIAL.search(rest)
    bare, end = _bare(line), _after_lead_in(line)
    for word in words:
        set_off = re.match(re.escape(word) + _SET_OFF, bare)
        if (set_off and _DENIAL.search(word)) if denied else (set_off or _bare(word) in (bare, end)):
            return owner  # of a denied one, only "No, it does not." is clear
    return None


def simplify(text: str) -> str:
    """The text in small letters, without what can't be seen, and full-width marks as their ASCII twins."""
    seen = "".join(c for c in text.translate(_WIDE) if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", seen).strip().casefold()


def _mention(word: str) -> str:
    """What finds a word that is no part of another, nor of another number."""
    before = _NUMBER_BEFORE if word[0].isdigit() else ""
    after = _NUMBER_AFTER if word[-1].isdigit() else ""
    return rf"(?<!\w){before}{re.escape(word)}(?!\w){after}"


def _after_lead_in(line: str) -> str:
    """What stands at the end of the line after "is", ":" or the like; all of it where there is no such thing."""
    found = _LEAD_IN.match(line)
    if found is None:
        return _bare(line)
    return "" if _LISTS.search(found[1]) else _bare(line[found.end() :])


def _bare(text: str) -> str:
    """The text without the punctuation around it, unless it is punctuation throughout, as ":)" is."""
    start, stop = 0, len(text)
    while start < stop and _is_mark(text[start]):
        start += 1
    while start < stop and _is_mark(text[stop - 1]):
        stop -= 1
    return text[start:stop] or text.strip()


def _is_mark(character: str) -> bool:
    kind = unicodedata.category(character)[0]
    return character in _MARKS or (kind in "PZC" and character not in _NO_MARKS)
