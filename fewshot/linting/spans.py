"""lint_spans: what is odd about annotated texts, counted with row numbers, before a tagger learns from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fewshot.checks import at_least
from fewshot.linting.report import LEVELS, Finding, Findings, Level
from fewshot.task.span_task import Chunk
from fewshot.task.spans import Annotated, find_faults, find_words, take_spans
from fewshot.task.tags import find_broken

__all__ = ["SpanFinding", "SpanLintReport", "find_joined", "find_long", "lint_spans", "say_rows"]

_FEW = 5  # mentions of a type, with fewer of which it can hardly be learnt
_SHOWN = 5  # rows or names in a message
_FAULTS = {
    "beyond": "spans are no part of their text",
    "overlap": "spans lie over another one",
    "cut": "spans begin or end inside a word, or with a blank",
}


@dataclass(frozen=True)
class SpanFinding(Finding):
    """Something to know about annotated texts: how bad it is, what it is, what to do about it, and where it is.

    Attributes
    ----------
    level : {"error", "warning", "hint"}
    message, cure : str
    kind : str
        "beyond", "overlap" or "cut"; "broken tags", "long", "joined" or "two ways"; "few", "missed", "blank" or
        "duplicate".
    rows : tuple of int
        The rows, each once.
    """

    kind: str = ""
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class SpanLintReport(Findings):
    """The findings of `lint_spans`; prints as text, and shows as HTML in notebooks.

    Attributes
    ----------
    n_texts, n_spans : int
    n_empty : int
        Number of texts without a span.
    types : dict
        Number of spans of each type, by the name of the type.
    findings : tuple of SpanFinding
        Errors first, then warnings, then hints.
    """

    n_texts: int
    n_spans: int
    n_empty: int
    types: dict[str, int]
    findings: tuple[SpanFinding, ...] = ()

    def _facts(self) -> list[tuple[str, str]]:
        return [("texts", f"{self.n_texts}, {self.n_empty} without a span"), ("spans", str(self.n_spans))]

    def _table(self) -> tuple[list[str], list[list[str]]] | None:
        return (["type", "spans"], [[name, str(n)] for name, n in self.types.items()]) if self.types else None


def lint_spans(X: Any, y: Any = None, *, max_words: int | None = 8) -> SpanLintReport:
    """Check annotated texts for errors, before a tagger learns from them.

    Each finding has the numbers of its rows. Errors are what `Tagger.fit` does not accept: spans that end outside their
    text, overlap another span, or begin or end inside a word. Warnings are spans that can't be predicted (longer than
    ``max_words``, or neighbours of one type without a word between them), tags that break their scheme, and equal texts
    with different spans. Hints are types with fewer than five spans, words that are a span in one place but not in
    another, and blank or repeated texts.

    Parameters
    ----------
    X, y
        As for `Tagger.fit`.
    max_words : int or None
        The parameter ``max_words`` of the tagger.

    Returns
    -------
    SpanLintReport

    Raises
    ------
    InputError
        When X and y have different lengths, or y has an unknown form or several forms; the message names the row.

    Examples
    --------
    >>> from fewshot import lint_spans
    >>> report = lint_spans(["Ada left Rome.", "Rome fell."], [[(0, 3, "person"), (9, 12, "place")], []])
    >>> [(one.level, one.kind, one.rows) for one in report.findings]
    [('error', 'cut', (0,)), ('hint', 'few', (0,))]
    >>> report.ok
    False
    """
    at_least("max_words", max_words, 1, whole=True, optional=True)
    read, tags = take_spans(X, y)
    types = Counter(str(span.label) for own in read.spans for span in own)
    found = [*_find_faulty(read), *_find_broken(tags), *_find_lost(read, max_words), *_find_two_ways(read)]
    found += [*_find_rare(read), *_find_missed(read), *_find_idle(read)]
    return SpanLintReport(
        len(read.texts),
        types.total(),
        sum(not own for own in read.spans),
        dict(sorted(types.items())),
        tuple(sorted(found, key=lambda one: LEVELS.index(one.level))),
    )


def find_long(chunks: Sequence[Sequence[Chunk]], max_words: int | None) -> list[int]:
    """For each span that has more words than a prediction may have, the row where it is."""
    if max_words is None:
        return []
    return [i for i, own in enumerate(chunks) for first, after, _ in own if after - first > max_words]


def find_joined(chunks: Sequence[Sequence[Chunk]]) -> list[int]:
    """For each span that follows one of its own type without a word between, the row where it is."""
    return [i for i, own in enumerate(chunks) for one, other in pairwise(own) if one[1:] == (other[0], other[2])]


def say_rows(message: str, rows: Sequence[int]) -> str:
    """A message with the first rows that it is about."""
    return f"{message}: row{'s' * (len(rows) > 1)} {_list(map(str, rows))}."


def _finding(level: Level, kind: str, rows: Iterable[int], message: str, cure: str) -> list[SpanFinding]:
    """The finding, with its rows; none where there are no rows."""
    own = tuple(dict.fromkeys(rows))
    return [SpanFinding(level, say_rows(message, own), cure, kind, own)] if own else []


def _list(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def _find_faulty(read: Annotated) -> list[SpanFinding]:
    places: dict[str, list[int]] = defaultdict(list)
    first: dict[str, str] = {}
    for i, spans in enumerate(read.spans):
        for kind, message in find_faults(spans, read.texts[i], read.words[i]):
            places[kind].append(i)
            first.setdefault(kind, f"Row {i}: {message}")
    return [
        one
        for kind, what in _FAULTS.items()
        for one in _finding("error", kind, places[kind], f"{len(places[kind])} {what}", first.get(kind, ""))
    ]


def _find_broken(tags: Sequence[Sequence[str]]) -> list[SpanFinding]:
    if not tags:
        return []
    scheme, rows = find_broken(tags)
    cure = "Correct them, unless a tag that can't go on with the span before is meant to begin one, as it is read."
    return _finding("warning", "broken tags", rows, f"The tags of {len(rows)} texts break the scheme {scheme}", cure)


def _find_lost(read: Annotated, max_words: int | None) -> list[SpanFinding]:
    """The spans that no prediction can be."""
    chunks = _take_chunks(read)
    long, joined = find_long(chunks, max_words), find_joined(chunks)
    return [
        *_finding(
            "warning",
            "long",
            long,
            f"{len(long)} spans have more than max_words={max_words} words, and such are not predicted",
            "Raise max_words, or shorten the spans.",
        ),
        *_finding(
            "warning",
            "joined",
            joined,
            f"{len(joined)} spans follow one of their own type without a word between: a tagger of words joins the two",
            "Make them one span, or give them two types.",
        ),
    ]


def _find_two_ways(read: Annotated) -> list[SpanFinding]:
    rows = [i for own in _equal_texts(read) if len({frozenset(read.spans[i]) for i in own}) > 1 for i in own]
    message = f"{len(rows)} texts are equal to another one, and have other spans"
    return _finding("warning", "two ways", rows, message, "Decide for one of the annotations.")


def _find_rare(read: Annotated) -> list[SpanFinding]:
    counts = Counter(span.label for own in read.spans for span in own)
    rare = {name: n for name, n in sorted(counts.items(), key=lambda one: (one[1], str(one[0]))) if n < _FEW}
    rows = [i for i, own in enumerate(read.spans) if any(span.label in rare for span in own)]
    named = _list(f"{name!r} ({n})" for name, n in rare.items())
    message = f"{len(rare)} types have fewer than {_FEW} spans: {named}"
    return _finding("hint", "few", rows, message, f"Annotate {_FEW} spans of each type.")


def _find_missed(read: Annotated) -> list[SpanFinding]:
    """Words that are a span in one place, and in no span in another."""
    every = [[text[start:end] for start, end in words] for text, words in zip(read.texts, read.words, strict=True)]
    chunks = _take_chunks(read)
    known = Counter(tuple(every[i][first:after]) for i, own in enumerate(chunks) for first, after, _ in own)
    known = Counter({words: n for words, n in known.items() if any(map(str.isalpha, "".join(words)))})
    lengths = sorted({len(words) for words in known}, reverse=True)  # of "New York" and "York" the longer one is told
    bare: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, words in enumerate(every):
        taken = {place for first, after, _ in chunks[i] for place in range(first, after)}
        for size in lengths:
            for first in range(len(words) - size + 1):
                own = tuple(words[first : first + size])
                if own in known and taken.isdisjoint(range(first, first + size)):
                    bare[own].append(i)
                    taken.update(range(first, first + size))
    surest = sorted(bare, key=lambda words: (len(bare[words]) / known[words], words))
    named = _list(f"{' '.join(words)!r} ({known[words]} and {len(bare[words])})" for words in surest)
    message = f"{len(bare)} spans have words that are in no span in other places (times in one and none): {named}"
    cure = "Annotate them in these rows as well, where they mean the same."
    return _finding("hint", "missed", sorted({i for rows in bare.values() for i in rows}), message, cure)


def _find_idle(read: Annotated) -> list[SpanFinding]:
    blank = [i for i, words in enumerate(read.words) if not words]
    same = [
        i
        for own in _equal_texts(read)
        if read.words[own[0]] and len({frozenset(read.spans[i]) for i in own}) == 1
        for i in own[1:]
    ]
    return [
        *_finding("hint", "blank", blank, f"{len(blank)} texts are blank", "Drop them."),
        *_finding(
            "hint", "duplicate", same, f"{len(same)} texts stand there before, with the same spans", "Drop them."
        ),
    ]


def _equal_texts(read: Annotated) -> list[list[int]]:
    """The rows of each text that there is more than once."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(read.texts):
        rows[text].append(i)
    return [own for own in rows.values() if len(own) > 1]


def _take_chunks(read: Annotated) -> list[list[Chunk]]:
    """The spans of whole words, by words; types by their numbers."""
    number = {name: i for i, name in enumerate(dict.fromkeys(span.label for own in read.spans for span in own))}
    chunks = []
    for spans, words in zip(read.spans, read.words, strict=True):
        starts, ends = {start for start, _ in words}, {end for _, end in words}
        whole = [span for span in spans if span.start in starts and span.end in ends and span.start < span.end]
        chunks.append(
            [(*place, number[span.label]) for place, span in zip(find_words(whole, words), whole, strict=True)]
        )
    return chunks
