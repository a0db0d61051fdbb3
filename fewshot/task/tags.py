"""Spans of words written as a tag a word, in every scheme of the field: read, told apart, and written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fewshot.errors import FewshotWarning, InputError, at_row, warn

__all__ = ["OUTSIDE", "find_broken", "find_scheme", "read_tags", "write_tags"]

OUTSIDE = "O"  # the tag of a word in no span
Chunk = tuple[int, int, str]  # the first word of a span, the word after its last, and its type

_PREFIXED = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
#: What each scheme writes before the type: of a span's only word, its first, one between and its last. "types" has no
#: prefix. IOB1 has B- only where a span follows one of its type at once.
_PREFIXES = {
    "types": ("", "", "", ""),
    "IO": ("I-", "I-", "I-", "I-"),
    "IOB1": ("I-", "I-", "I-", "I-"),
    "IOB2": ("B-", "B-", "I-", "I-"),
    "BIOES": ("S-", "B-", "I-", "E-"),
    "BILOU": ("U-", "B-", "I-", "L-"),
}


def read_tags(tags: Sequence[str], scheme: str) -> list[Chunk]:
    """The spans of one row of tags, by words.

    A word goes on with a span where its tag says so, the word before is of the same type, and that word does not end
    its span. Every other tag but "O" begins a span, as in the script conlleval and by default in seqeval.

    Examples
    --------
    >>> read_tags(["B-PER", "I-PER", "O", "I-LOC"], "IOB2")
    [(0, 2, 'PER'), (3, 4, 'LOC')]
    """
    found: list[Chunk] = []
    may_go_on = False
    for i, tag in enumerate(tags):
        if tag == OUTSIDE:
            may_go_on = False
            continue
        prefix, label = ("I", tag) if scheme == "types" else _split(tag)
        if may_go_on and prefix in "IEL" and found[-1][2] == label:
            found[-1] = (found[-1][0], i + 1, label)
        else:
            found.append((i, i + 1, label))
        may_go_on = prefix in "BI"
    return found


def write_tags(chunks: Sequence[Chunk], n_words: int, scheme: str) -> list[str]:
    """One row of tags, of spans by words from left to right.

    Examples
    --------
    >>> write_tags([(0, 1, "PER"), (1, 3, "PER")], 4, "IOB1")
    ['I-PER', 'B-PER', 'I-PER', 'O']
    """
    only, first, between, last = _PREFIXES[scheme]
    tags = [OUTSIDE] * n_words
    before: tuple[int, str] | None = None  # where the span before ends, and its type
    for start, end, label in chunks:
        prefixes = [only] if end - start == 1 else [first, *[between] * (end - start - 2), last]
        if scheme == "IOB1" and before == (start, label):
            prefixes[0] = "B-"
        tags[start:end] = [prefix + label for prefix in prefixes]
        before = (end, label)
    return tags


def find_scheme(rows: Sequence[Sequence[str]]) -> str:
    """The scheme that rows of tags are written in.

    The prefixes tell it. Where they leave IOB1 and IOB2, it is the one that fewer rows break, or IOB2. Rows that break
    the scheme are counted in a warning; `read_tags` says how they are read.

    Returns
    -------
    str
        "IO", "IOB1", "IOB2", "BIOES" or "BILOU", or "types" where tags are types without a prefix.

    Raises
    ------
    InputError
        When tags are of two schemes, or B, I and the like have no type; the message names the row.
    """
    scheme, broken = find_broken(rows)
    if broken:
        warn(
            f"The tags of {len(broken)} rows break the scheme {scheme}, those of row {broken[0]} first. They are read "
            "as conlleval and seqeval read them: a tag that can't go on with the span before begins one. Correct the "
            "tags if they mean something else.",
            FewshotWarning,
        )
    return scheme


def find_broken(rows: Sequence[Sequence[str]]) -> tuple[str, list[int]]:
    """The scheme that rows of tags are written in, and the rows that break it; see `find_scheme`."""
    broken = {name: _find_broken(rows, name) for name in _allowed_schemes(_find_prefixes(rows))}
    scheme = min(broken, key=lambda name: len(broken[name]))
    return scheme, broken[scheme]


def _find_prefixes(rows: Sequence[Sequence[str]]) -> set[str]:
    """The letters before types; none where no tag has one. A row that differs from those before is refused."""
    found: set[str] = set()
    first = None  # the first tag that is not "O"
    for i, row in enumerate(rows):
        for tag in row:
            if tag == OUTSIDE:
                continue
            prefixed = _PREFIXED.fullmatch(tag)
            first = first or tag
            with at_row(i):
                _check_tag(tag, first)
            if prefixed:
                found.add(prefixed[1])
    return found


def _check_tag(tag: str, first: str) -> None:
    if tag.removesuffix("-") in set("BIESLU"):
        raise InputError(f"the tag {tag!r} has no type: write {tag.removesuffix('-')}-entity, or another name.")
    if not tag:
        raise InputError(f'a tag is empty: write "{OUTSIDE}" for a word in no span.')
    if bool(_PREFIXED.fullmatch(tag)) != bool(_PREFIXED.fullmatch(first)):
        raise InputError(
            f"the tag {tag!r} and the tag {first!r} before it are of two schemes, since one has a prefix and one has "
            "none: write all tags in one scheme, such as B-type and I-type."
        )


def _allowed_schemes(prefixes: set[str]) -> list[str]:
    if prefixes & set("ES") and prefixes & set("LU"):
        raise InputError(
            f"the tags have the prefixes {', '.join(sorted(prefixes))}, of BIOES and of BILOU: write all in one scheme."
        )
    if not prefixes:
        return ["types"]
    if prefixes & set("ES"):
        return ["BIOES"]
    if prefixes & set("LU"):
        return ["BILOU"]
    return ["IOB2", "IOB1"] if "B" in prefixes else ["IO"]


def _find_broken(rows: Sequence[Sequence[str]], scheme: str) -> list[int]:
    """The rows that the scheme would not write so."""
    return [i for i, row in enumerate(rows) if write_tags(read_tags(row, scheme), len(row), scheme) != list(row)]


def _split(tag: str) -> tuple[str, str]:
    prefix, _, label = tag.partition("-")
    return prefix, label
