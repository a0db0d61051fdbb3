"""From whatever holds a user's questions and answers to `Asked` and to the places of the right answers."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from fewshot.checks import is_missing
from fewshot.errors import InputError, at_row
from fewshot.inputs import as_rows
from fewshot.task.extracts import Answer, Asked, Place
from fewshot.task.token_rows import is_dataset, is_list
from fewshot.task.words import split_words

__all__ = ["find_occurrences", "read_answers", "read_questions", "take_answer", "take_column"]

_FORMS = (
    "a row of y is {'text': [...], 'answer_start': [...]}, (start, end), the text of the answer, an Answer, or None or "
    "'' where the text holds no answer; several right answers are a list of them"
)


def read_questions(X: Any, question: str | None = None) -> list[Asked]:
    """Read what is asked about each text.

    Parameters
    ----------
    X : DataFrame, dataset or list
        Rows with the fields "question" and "context". With a question, rows that have a "context", or plain texts.
    question : str, optional
        What all texts are asked.

    Raises
    ------
    InputError
        When a row has no context or no question, or has one where all are asked the same; the message names the row.

    Examples
    --------
    >>> read_questions(["Ada lives in Paris."], "Where does Ada live?")[0].context
    'Ada lives in Paris.'
    """
    rows = as_rows(X)
    if question is None and isinstance(rows[0], str):
        raise InputError(
            "X has plain texts, and nothing says what they are asked: give the question of all of them, "
            "Extractor(question='Who won?'), or rows with the fields 'question' and 'context'."
        )
    asked = []
    for i, row in enumerate(rows):
        with at_row(i):
            fields = {"context": row} if isinstance(row, str) else dict(row)
            if question is not None:
                if not is_missing(fields.get("question")):
                    raise InputError(
                        f"the row has a 'question' of its own, and all rows are asked {question!r:.60}: leave "
                        "question out, or drop the column."
                    )
                fields["question"] = question
            asked.append(Asked(_take_text(fields, "question"), _take_text(fields, "context"), fields))
    return asked


def read_answers(asked: Sequence[Asked], y: Any, X: Any = None) -> list[tuple[Place, ...]]:
    """Read the places of the right answers to each question; none where the text holds no answer.

    Parameters
    ----------
    asked : sequence of Asked
    y : list, array, Series, or the name of a dataset's column
        A row is ``{"text": [...], "answer_start": [...]}`` as in SQuAD, ``(start, end)``, the text of the answer, which
        is right wherever it stands, an `Answer`, or None or "" for none. Several right answers may be a list of these.
    X : dataset, optional
        The one that has the column.

    Raises
    ------
    InputError
        When the lengths differ, or an answer does not stand in its text where it should; the message names the row.

    Examples
    --------
    >>> from fewshot.task.answer_rows import read_answers, read_questions
    >>> asked = read_questions(["Ada lives in Paris."] * 2, "Where does Ada live?")
    >>> read_answers(asked, [{"text": ["Paris"], "answer_start": [13]}, None])
    [((13, 18),), ()]
    """
    found = []
    for i, row in enumerate(take_column(asked, y, X)):
        with at_row(i):
            found.append(take_answer(row, asked[i].context))
    return found


def take_column(asked: Sequence[Asked], y: Any, X: Any = None) -> list[Any]:
    """The rows of y, as many as there are questions."""
    if isinstance(y, str) and is_dataset(X):
        if y not in X.column_names:
            raise InputError(f"y is {y!r}, and the dataset has the columns {list(X.column_names)}: name one of them.")
        y = X[y]
    if y is None:
        raise InputError(f"y is None: give the answer to each question. {_FORMS}.")
    if isinstance(y, str | bytes | Mapping | Set) or hasattr(y, "columns") or not isinstance(y, Iterable):
        raise InputError(f"y must have an answer for each question. Got {type(y).__name__}: {_FORMS}.")
    rows = list(y)
    if len(rows) != len(asked):
        raise InputError(f"X has {len(asked)} rows and y has {len(rows)}: they must be of one length.")
    return rows


def take_answer(row: Any, context: str) -> tuple[Place, ...]:
    """The places of a row's right answers, each once, from left to right."""
    return tuple(sorted(set(_places(row, context))))


def find_occurrences(text: str, context: str) -> list[Place]:
    """Where a text stands in another: as whole words, or where it is nowhere such, inside of words."""
    every = []
    start = context.find(text)
    while start >= 0:
        every.append((start, start + len(text)))
        start = context.find(text, start + 1)
    words = split_words(context)
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    return [place for place in every if place[0] in starts and place[1] in ends] or every


def _take_text(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        cure = "rename the column" + (", or give the question of all rows, question=..." if name == "question" else "")
        raise InputError(f"the row has no field {name!r}, it has {list(fields)}: {cure}.")
    if not isinstance(fields[name], str):
        raise InputError(f"the field {name!r} must be text. Got {fields[name]!r:.60}: fill it, or drop the row.")
    return str.__str__(fields[name])


def _places(row: Any, context: str) -> list[Place]:
    if isinstance(row, Answer):
        return [_checked(row.start, row.end, context, row.text)] if row else []
    if isinstance(row, str):
        return _search(row, context) if row.strip() else []
    if isinstance(row, Mapping):
        return _places_of_mapping(row, context)
    if is_list(row):
        items = row.tolist() if hasattr(row, "tolist") else list(row)
        if len(items) == 2 and all(map(_is_number, items)):
            return [_checked(items[0], items[1], context)]
        each = [_places(item, context) for item in items]
        if len(items) > 1 and not all(each):
            raise InputError("one of several answers says that there is none: give the right ones only.")
        return [place for own in each for place in own]
    if is_missing(row):
        return []
    raise InputError(f"an answer must be of another form. Got {row!r:.60}: {_FORMS}.")


def _places_of_mapping(row: Mapping[Any, Any], context: str) -> list[Place]:
    if "text" not in row:
        raise InputError(f"an answer has the keys {list(row)}, and lacks 'text': {_FORMS}.")
    if "answer_start" not in row:
        return _places(row["text"], context)
    texts, starts = (list(one) if is_list(one) else [one] for one in (row["text"], row["answer_start"]))
    if len(texts) != len(starts):
        raise InputError(f"'text' has {len(texts)} answers and 'answer_start' has {len(starts)}: each text has one.")
    found = []
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text:
            raise InputError(f"'text' must hold the texts of answers. Got {text!r:.60}: no answer is an empty list.")
        if not _is_number(start):
            raise InputError(f"'answer_start' must be whole numbers, in characters. Got {start!r:.60}.")
        found.append(_checked(start, operator.index(start) + len(text), context, text))
    return found


def _search(text: str, context: str) -> list[Place]:
    found = find_occurrences(text, context)
    if not found:
        raise InputError(f"the answer {text!r:.80} does not stand in its text{_say_otherwise(text, context)}.")
    return found


def _say_otherwise(text: str, context: str) -> str:
    """How a text stands there that was not found, if only its case or the blanks around it differ."""
    stripped = text.strip()
    start = context.casefold().find(stripped.casefold())
    if stripped and start >= 0 and len(context.casefold()) == len(context):
        there = context[start : start + len(stripped)]
        return f", where it is written {there!r:.80}: write it so"
    return ": an answer is a part of the text, as it is written there; no answer is None"


def _checked(start: Any, end: Any, context: str, text: str | None = None) -> Place:
    """A place that is part of the text, and has there what it should."""
    if not _is_number(start) or not _is_number(end):
        raise InputError(
            f"an answer must begin and end at whole numbers, in characters. Got ({start!r:.30}, {end!r:.30})."
        )
    first, after = operator.index(start), operator.index(end)
    if text is not None and context[max(first, 0) : after] != text:
        where = find_occurrences(text, context)
        said = (
            f", and it stands at {' and '.join(str(one) for one, _ in where[:5])}: correct its start"
            if where
            else (_say_otherwise(text, context))
        )
        there = context[max(first, 0) : max(after, 0)]
        raise InputError(f"the answer {text!r:.80} is said to start at {first}, where {there!r:.80} stands{said}.")
    if not 0 <= first < after <= len(context):
        what = "is empty" if first == after else f"is no part of the text, which has {len(context)} characters"
        raise InputError(f"the answer ({first}, {after}) {what}: it must be context[start:end]; no answer is None.")
    return first, after


def _is_number(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)
