"""Spans of texts in every form in which people write them: read, checked, and written in the same form."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from fewshot.checks import is_missing
from fewshot.errors import InputError, at_row
from fewshot.labels import plain_label
from fewshot.task.tags import find_broken, find_scheme, read_tags, write_tags
from fewshot.task.token_rows import Bounds, is_dataset, is_doc, is_list, read_rows
from fewshot.task.words import split_words

__all__ = [
    "Annotated",
    "Form",
    "Span",
    "find_faults",
    "find_words",
    "read_rows",
    "read_spans",
    "take_spans",
    "words_of",
    "write_spans",
]

_FORMS = (
    "write spans as (start, end, label), as {'start', 'end', 'label'}, as {'entities': [...]}, or as one tag for each "
    "token"
)
_NAMES_OF_TAGS = (
    "tags are names. Of a dataset pass the dataset itself and its column's name, X=dataset, y='ner_tags'; of a list "
    "pass [[names[tag] for tag in row] for row in y]"
)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text that has a label.

    Parameters
    ----------
    start, end : int
        Where it begins and ends, in characters: the span is ``text[start:end]``.
    label : object
        Its type.
    probability : float, optional
        The probability that the text has exactly this span with this label. It is ignored when spans are compared.

    Examples
    --------
    >>> from fewshot import Span
    >>> Span(0, 6, "city", 0.9) == Span(0, 6, "city")
    True
    """

    start: int
    end: int
    label: Any
    probability: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Form:
    """How the spans of a row are written.

    Parameters
    ----------
    item : str
        What a span is: "Span", "tuple", "list" (of three), "dict", or "tag", a tag for each token.
    scheme : str, optional
        The scheme of the tags, as `find_scheme` names it.
    entities : bool
        A row is a mapping that has its spans under "entities".
    """

    item: str = "Span"
    scheme: str | None = None
    entities: bool = False


@dataclass(frozen=True, slots=True)
class Annotated:
    """Texts with their spans.

    Parameters
    ----------
    texts : list of str
    spans : list of tuple of Span
        Those of each text, from left to right.
    form : Form
        How they were written.
    words : list of list of (int, int)
        Where the words of each text begin and end: its tokens if X had such, or else what `split_words` finds.
    tokenised : bool
        Whether X had tokens.
    """

    texts: list[str]
    spans: list[tuple[Span, ...]]
    form: Form
    words: list[Bounds]
    tokenised: bool


def read_spans(X: Any, y: Any = None) -> Annotated:
    """Read texts and their spans.

    X is as for `read_rows`. Each row of y is a list of spans ``(start, end, label)``, in characters of the text or of
    the tokens joined by blanks, or of mappings with these keys, or ``{"entities": [...]}`` as spaCy has it, or a Doc,
    or a list of tags of the row's tokens. The tags of a Dataset may be numbers, since the dataset has their names. Of
    Docs in X no y is needed.

    A span begins and ends where a word does, as `split_words` has them, or where a token does. Keys of mappings beyond
    start, end, label and probability are not read.

    Raises
    ------
    InputError
        When X and y are of two lengths, y is in none of these forms or in several, or a span is empty, beyond its text,
        over another, or begins or ends inside a word; the message names the row.
    """
    read, tags = take_spans(X, y)
    if tags:
        find_scheme(tags)  # warns of rows that break it
    for i, spans in enumerate(read.spans):
        with at_row(i):
            for _, message in find_faults(spans, read.texts[i], read.words[i]):
                raise InputError(message)
    return read


def take_spans(X: Any, y: Any = None) -> tuple[Annotated, list[list[str]]]:
    """Read texts and their spans as they are written, whatever is wrong with a span; and the tags, if these are such.

    See `read_spans`, which refuses what `find_faults` finds.

    Raises
    ------
    InputError
        When X and y are of two lengths, or y is in none of the forms or in several; the message names the row.
    """
    if y is None:
        X = y = _take_docs(X)
    rows, names = _take_column(X, y)
    texts, tokens = read_rows(X)
    if len(rows) != len(texts):
        raise InputError(f"X has {len(texts)} rows and y has {len(rows)}: they must be of one length.")
    listed = []
    for i, row in enumerate(rows):
        with at_row(i):
            listed.append(_list_items(row, texts[i], names))
    form = _find_form(rows, listed)
    words = words_of(texts, tokens)
    found = []
    for i, items in enumerate(listed):
        with at_row(i):
            if form.scheme is None:
                spans = sorted(map(_as_span, items), key=lambda span: (span.start, span.end))
            else:
                _check_tags(items, None if tokens is None else tokens[i])
                spans = _spans_of_tags(items, words[i], form.scheme)
        found.append(tuple(spans))
    return Annotated(texts, found, form, words, tokens is not None), [] if form.scheme is None else listed


def words_of(texts: Sequence[str], tokens: list[Bounds] | None) -> list[Bounds]:
    """The words of each text: its tokens if there are such, or else what `split_words` finds."""
    return [split_words(text) for text in texts] if tokens is None else tokens


def find_words(spans: Sequence[Span], words: Bounds) -> list[tuple[int, int]]:
    """For each span of whole words the number of its first word and of the one after its last."""
    starts = {start: i for i, (start, _) in enumerate(words)}
    ends = {end: i + 1 for i, (_, end) in enumerate(words)}
    return [(starts[one.start], ends[one.end]) for one in spans]


def write_spans(found: Iterable[Sequence[Span]], form: Form, tokens: Sequence[Bounds] | None = None) -> list[Any]:
    """Write the spans of each text, from left to right, in the form that y had.

    Where the form is tags and there are no tokens, rows are lists of `Span`. So they are where y was Docs.
    """
    if form.scheme is not None and tokens is not None:
        return [_tags_of_spans(row, tokens[i], form.scheme) for i, row in enumerate(found)]
    rows = [[_write_span(span, form.item) for span in row] for row in found]
    return [{"entities": row} for row in rows] if form.entities else rows


def _take_docs(X: Any) -> list[Any]:
    docs = list(X) if isinstance(X, Iterable) else []
    if not docs or not all(map(is_doc, docs)):
        raise InputError(f"y is None, and X holds no spaCy Docs, which bring their own spans: {_FORMS}.")
    return docs


def _take_column(X: Any, y: Any) -> tuple[list[Any], list[str] | None]:
    """The rows of y, and the names of the numbers in them if a dataset tells them."""
    feature = getattr(y, "features", None)  # of a Dataset's column
    if isinstance(y, str) and is_dataset(X):
        if y not in X.column_names:
            raise InputError(f"y is {y!r}, and the dataset has the columns {list(X.column_names)}: name one of them.")
        feature, y = X.features[y], X[y]
    if isinstance(y, str | bytes | Mapping | Set) or not isinstance(y, Iterable):
        raise InputError(f"y must have the spans of each text. Got {type(y).__name__}: {_FORMS}.")
    return list(y), getattr(getattr(feature, "feature", None), "names", None)


def _list_items(row: Any, text: str, names: Sequence[str] | None) -> list[Any]:
    """What a row of y has: spans in some form, or tags; numbers by their names."""
    if is_doc(row):
        if row.text != text:
            raise InputError("the Doc in y is of another text than X: pass the Docs as X, and no y.")
        return [Span(one.start_char, one.end_char, one.label_) for one in row.ents]
    if isinstance(row, Mapping):
        if "entities" not in row:
            raise InputError(f"a mapping in y must have the key 'entities'. Got {list(row)}: {_FORMS}.")
        row = row["entities"]
    if not is_list(row):
        raise InputError(f"a row of y must be a list. Got {row!r:.60}: {_FORMS}.")
    items = [str.__str__(item) if isinstance(item, str) else item for item in row]
    if len(items) == 3 and all(map(_is_number, items[:2])) and not _is_number(items[2]):
        raise InputError(f"a row of y must be a list of spans. Got one span: wrap it in a list, [{tuple(items)!r}].")
    return items if names is None else [_name_tag(item, names) for item in items]


def _name_tag(item: Any, names: Sequence[str]) -> Any:
    if not _is_number(item):
        return item
    if not 0 <= item < len(names):
        raise InputError(
            f"a tag is the number {item!r}, and the dataset has names of 0 to {len(names) - 1}: correct it."
        )
    return names[operator.index(item)]


def _find_form(rows: Sequence[Any], listed: Sequence[list[Any]]) -> Form:
    """The one form of all rows; a row without spans fits any of them."""
    entities = isinstance(rows[0], Mapping)
    kind = None
    for i, items in enumerate(listed):
        with at_row(i):
            kinds = {_kind_of(item) for item in items} | ({kind} if kind else set())
            if len(kinds) > 1 or isinstance(rows[i], Mapping) != entities or (entities and "tag" in kinds):
                raise InputError(f"y mixes forms. Write all of it in one: {_FORMS}.")
            kind = kinds.pop() if kinds else None
    return Form(kind or "Span", find_broken(listed)[0] if kind == "tag" else None, entities)


def _kind_of(item: Any) -> str:
    if isinstance(item, Span):
        return "Span"
    if isinstance(item, Mapping):
        return "dict"
    if isinstance(item, str):
        return "tag"
    if is_list(item):
        return "tuple" if isinstance(item, tuple) else "list"
    if _is_number(item):
        raise InputError(f"a tag is the number {item!r}: {_NAMES_OF_TAGS}.")
    raise InputError(f"a span must be of another form. Got {item!r:.60}: {_FORMS}.")


def _is_number(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _as_span(item: Any) -> Span:
    """One span as it was written, its parts as plain data."""
    probability = None
    if isinstance(item, Span):
        start, end, label, probability = item.start, item.end, item.label, item.probability
    elif isinstance(item, Mapping):
        missing = [key for key in ("start", "end", "label") if key not in item]
        if missing:
            raise InputError(f"a span has the keys {list(item)}, and lacks {missing}: rename or add them.")
        start, end, label, probability = item["start"], item["end"], item["label"], item.get("probability")
    else:
        if len(item) != 3:
            raise InputError(f"a span must be (start, end, label). Got {item!r:.60}.")
        start, end, label = item
    label = plain_label(label)
    if not _is_number(start) or not _is_number(end):
        raise InputError(f"a span must begin and end at whole numbers, in characters. Got ({start!r}, {end!r}).")
    if is_missing(label) or not isinstance(label, Hashable):
        raise InputError(f"the span ({start}, {end}) has the label {label!r}: drop the span, or name its type.")
    return Span(operator.index(start), operator.index(end), label, probability)


def _check_tags(row: Any, tokens: Bounds | None) -> None:
    if tokens is None:
        raise InputError("y has tags, and X has a text: give X as lists of tokens, or y as (start, end, label).")
    if len(row) != len(tokens):
        raise InputError(f"there are {len(tokens)} tokens and {len(row)} tags: give each token a tag.")


def find_faults(spans: Sequence[Span], text: str, words: Bounds) -> Iterator[tuple[str, str]]:
    """What is no part of the text, over another span, or not of whole words: what is wrong, and a message."""
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    before = None
    for span in spans:
        said = f"the span ({span.start}, {span.end}, {span.label!r})"
        if not 0 <= span.start < span.end <= len(text):
            what = "is empty" if span.start == span.end else f"is no part of the text, which has {len(text)} characters"
            yield "beyond", f"{said} {what}: it must be text[start:end], with 0 <= start < end <= len(text)."
            continue
        if before is not None and span.start < before.end:
            yield (
                "overlap",
                f"{said} overlaps the span ({before.start}, {before.end}, {before.label!r}): keep one of them.",
            )
        elif span.start not in starts or span.end not in ends:
            yield "cut", f"{said} {_describe_cut(span, text, words)}."
        before = span


def _describe_cut(span: Span, text: str, words: Bounds) -> str:
    """At what a span that is not of whole words begins or ends, and the span that would be."""
    touched = [(start, end) for start, end in words if start < span.end and span.start < end]
    if not touched:
        return "has blanks only: drop it"
    start, end = touched[0][0], touched[-1][1]
    cut = next((one for one in touched if one[0] < span.start or span.end < one[1]), None)
    where = "a blank" if cut is None else f"a part of the word {text[slice(*cut)]!r:.60}"
    return f"begins or ends with {where}: give the span of whole words, ({start}, {end}), {text[start:end]!r:.60}"


def _spans_of_tags(row: Sequence[str], words: Bounds, scheme: str) -> list[Span]:
    return [Span(words[first][0], words[after - 1][1], label) for first, after, label in read_tags(row, scheme)]


def _tags_of_spans(spans: Sequence[Span], words: Bounds, scheme: str) -> list[str]:
    places = zip(find_words(spans, words), spans, strict=True)
    return write_tags([(first, after, str(one.label)) for (first, after), one in places], len(words), scheme)


def _write_span(span: Span, item: str) -> Any:
    parts = (span.start, span.end, span.label)
    if item == "dict":
        made = dict(zip(("start", "end", "label"), parts, strict=True))
        return made if span.probability is None else {**made, "probability": span.probability}
    return parts if item == "tuple" else list(parts) if item == "list" else span
