"""lint_answers: what is odd about answered questions, with row numbers, before an extractor learns from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fewshot.checks import at_least
from fewshot.errors import InputError
from fewshot.linting.report import LEVELS, Finding, Findings, Level
from fewshot.linting.spans import say_rows
from fewshot.task.answer_candidates import candidate_spans
from fewshot.task.answer_rows import find_occurrences, read_questions, take_answer, take_column
from fewshot.task.extracts import Asked, Place

__all__ = ["AnswerFinding", "AnswerLintReport", "find_lost", "lint_answers"]


@dataclass(frozen=True)
class AnswerFinding(Finding):
    """Something to know about answered questions: how bad it is, what it is, what to do about it, and where it is.

    Attributes
    ----------
    level : {"error", "warning", "hint"}
    message, cure : str
    kind : str
        "absent"; "lost" or "two ways"; "several places", "blank" or "duplicate".
    rows : tuple of int
        The rows, each once.
    """

    kind: str = ""
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class AnswerLintReport(Findings):
    """The findings of `lint_answers`; prints as text, and shows as HTML in notebooks.

    Attributes
    ----------
    n_questions : int
    n_empty : int
        Number of questions without an answer.
    n_contexts : int
        Number of distinct texts.
    findings : tuple of AnswerFinding
        Errors first, then warnings, then hints.
    """

    n_questions: int
    n_empty: int
    n_contexts: int
    findings: tuple[AnswerFinding, ...] = ()

    def _facts(self) -> list[tuple[str, str]]:
        share = f" ({100 * self.n_empty / self.n_questions:.0f} %)" if self.n_empty else ""
        said = f"{self.n_questions}, {self.n_empty}{share} without an answer"
        return [("questions", said), ("texts", str(self.n_contexts))]


def lint_answers(X: Any, y: Any, *, question: str | None = None, max_words: int = 8) -> AnswerLintReport:
    """Check answered questions for errors, before an extractor learns from them.

    Each finding has the numbers of its rows. Errors are what `Extractor.fit` does not accept: answers that do not occur
    in their text, or not at the given place. Warnings are answers that can't be predicted, because they are longer than
    ``max_words`` or have parts of words, and equal questions about equal texts with different answers. Hints are
    answers that occur in several places when only one place is given, blank questions and texts, and repeated rows.

    Parameters
    ----------
    X, y
        As for `Extractor.fit`.
    question : str, optional
        One question for all texts.
    max_words : int
        The parameter ``max_words`` of the extractor.

    Returns
    -------
    AnswerLintReport

    Raises
    ------
    InputError
        When X and y have different lengths, or a row has no question or no context; the message names the row.

    Examples
    --------
    >>> from fewshot import lint_answers
    >>> report = lint_answers(["Ada left.", "Bob left."], ["Ada", "Ada"], question="Who left?")
    >>> [(one.level, one.kind, one.rows) for one in report.findings]
    [('error', 'absent', (1,))]
    >>> report.ok
    False
    """
    at_least("max_words", max_words, 1, whole=True)
    asked = read_questions(X, question)
    golds: list[tuple[Place, ...] | None] = []
    wrong: dict[int, str] = {}
    for i, row in enumerate(take_column(asked, y, X)):
        try:
            golds.append(take_answer(row, asked[i].context))
        except InputError as error:
            golds.append(None)
            wrong[i] = str(error)
    first = next((f"Row {i}: {message}" for i, message in wrong.items()), "")
    found = [
        *_finding("error", "absent", wrong, f"{len(wrong)} answers are not where they should be in their text", first),
        *_find_lost(asked, golds, max_words),
        *_find_repeated(asked, golds),
        *_find_several(asked, golds),
        *_find_blank(asked),
    ]
    return AnswerLintReport(
        len(asked),
        sum(own == () for own in golds),
        len({one.context for one in asked}),
        tuple(sorted(found, key=lambda one: LEVELS.index(one.level))),
    )


def find_lost(asked: Sequence[Asked], golds: Sequence[Sequence[Place] | None], max_words: int) -> list[int]:
    """The rows of which no right answer is one that a prediction can be."""
    rows = enumerate(zip(asked, golds, strict=True))
    return [i for i, (one, own) in rows if own and set(own).isdisjoint(candidate_spans(one.context, max_words))]


def _finding(level: Level, kind: str, rows: Iterable[int], message: str, cure: str) -> list[AnswerFinding]:
    own = tuple(dict.fromkeys(rows))
    return [AnswerFinding(level, say_rows(message, own), cure, kind, own)] if own else []


def _find_lost(asked: Sequence[Asked], golds: Sequence[Sequence[Place] | None], max_words: int) -> list[AnswerFinding]:
    rows = find_lost(asked, golds, max_words)
    message = (
        f"{len(rows)} answers have more than max_words={max_words} words, or begin or end inside a word or with a "
        "sign, and such are not predicted"
    )
    return _finding("warning", "lost", rows, message, "Raise max_words, or shorten the answers to whole words.")


def _find_repeated(asked: Sequence[Asked], golds: Sequence[Sequence[Place] | None]) -> list[AnswerFinding]:
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(asked):
        places[one.question, one.context].append(i)
    several = [own for own in places.values() if len(own) > 1]
    differ = [i for own in several if len({golds[i] for i in own}) > 1 for i in own]
    same = [i for own in several if len({golds[i] for i in own}) == 1 for i in own[1:]]
    return [
        *_finding(
            "warning",
            "two ways",
            differ,
            f"{len(differ)} rows have the question and the text of another one, and other answers",
            "Put all right answers into one row, as a list.",
        ),
        *_finding("hint", "duplicate", same, f"{len(same)} rows stand there before", "Drop them."),
    ]


def _find_several(asked: Sequence[Asked], golds: Sequence[Sequence[Place] | None]) -> list[AnswerFinding]:
    rows = [
        i
        for i, (one, own) in enumerate(zip(asked, golds, strict=True))
        for start, end in own or ()
        if not set(find_occurrences(one.context[start:end], one.context)) <= set(own or ())
    ]
    message = f"The answers of {len(set(rows))} rows stand in other places as well, which are not learnt from"
    cure = "Where any place is right, give the text of the answer alone."
    return _finding("hint", "several places", rows, message, cure)


def _find_blank(asked: Sequence[Asked]) -> list[AnswerFinding]:
    rows = [i for i, one in enumerate(asked) if not one.question.strip() or not one.context.strip()]
    return _finding("hint", "blank", rows, f"{len(rows)} rows have a blank question or a blank text", "Drop them.")
