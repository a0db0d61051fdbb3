"""Explanation: how one row is read, and what speaks for each class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

from fewshot.display.preview import PreviewRow, explain_colours, strip_controls
from fewshot.tables import as_html, as_text, known

__all__ = ["ClassLine", "Explanation", "Neighbor", "Question", "WordLine"]

_MOST = 12  # lines of a table that are shown
_WIDTH = 20  # of a bar, in characters of a terminal
_BAR = Markup(
    "<span style='display:inline-block;white-space:nowrap;min-width:9em'>{:.3f} <span style='display:inline-block;"
    "height:.8em;background:rgba(64,150,210,.7);vertical-align:baseline;width:{:.2f}em'></span></span>"
)


@dataclass(frozen=True)
class ClassLine:
    """A class: its probability, and where it is known the one that it would have had otherwise.

    ``similarity`` is the cosine of the text's vector with that of ``prompt``, which stands for the class.
    """

    label: Any
    probability: float
    before: float | None = None
    similarity: float | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class WordLine:
    """A label word: its log-probability, its share among the label words, and that after calibration."""

    label: Any
    word: str
    logprob: float
    share: float
    calibrated: float | None = None


@dataclass(frozen=True)
class Question:
    """What was asked in one wording, and what the model says of the label words.

    ``mass`` is the total probability of their distinct first tokens. ``measure`` and ``share`` say what the numbers of
    the words are.
    """

    prompt: PreviewRow
    candidates: tuple[str, ...]
    words: tuple[WordLine, ...] = ()
    mass: float | None = None
    measure: str = "probability"
    share: str = "share"


@dataclass(frozen=True)
class Neighbor:
    """A labelled example, and the cosine of its vector with that of the row."""

    text: str
    label: Any
    similarity: float


@dataclass(frozen=True, repr=False)
class Explanation:
    """The result of `Classifier.explain`; prints as text, and shows as HTML in notebooks.

    Attributes
    ----------
    classes : tuple of ClassLine
        The classes with their probabilities, in the order of ``classes_``.
    questions : tuple of Question
        One for each wording.
    neighbors : tuple of Neighbor
        The most similar labelled examples, if the strategy compares vectors.
    before : str
        The heading of the probabilities in ``before`` of the classes.
    notes : tuple of str
        Further remarks, one sentence each.
    multi_label : bool
        Whether the row may have several labels.
    """

    classes: tuple[ClassLine, ...]
    questions: tuple[Question, ...]
    neighbors: tuple[Neighbor, ...] = ()
    before: str = "before calibration"
    notes: tuple[str, ...] = ()
    multi_label: bool = False

    @property
    def predicted(self) -> Any:
        """The most probable class; when multi-label, a tuple of the labels with probability above 0.5."""
        if self.multi_label:
            return tuple(one.label for one in self.classes if one.probability > 0.5)
        return max(self.classes, key=lambda one: one.probability).label

    def _heading(self) -> str:
        labels = self.predicted if self.multi_label else (self.predicted,)
        shown = [f"{one.label} ({100 * one.probability:.1f} %)" for one in self.classes if one.label in labels]
        return ", ".join(shown) or "no label"

    def _tables(self) -> list[_Table]:
        """The tables, those of the label words one for each question."""
        ranked = sorted(self.classes, key=lambda one: -one.probability)
        of_classes: _Columns = {
            "class": lambda one: str(one.label),
            "probability": lambda one: one.probability,
            self.before: lambda one: one.before,
            "similarity": lambda one: None if one.similarity is None else f"{one.similarity:.3f}",
            "prompt of the class": lambda one: one.prompt,
        }
        of_neighbors: _Columns = {
            "similarity": lambda one: f"{one.similarity:.3f}",
            "class": lambda one: _named(one.label),
            "nearest examples": lambda one: one.text,
        }
        of_words = [_table(_surest(one.words), _word_columns(one)) for one in self.questions if one.words]
        nearest = [_table(self.neighbors, of_neighbors)] if self.neighbors else []
        return [_table(ranked, of_classes), *of_words, *nearest]

    def _prompts(self) -> list[tuple[str, Question]]:
        several = len(self.questions) > 1
        found = []
        for i, question in enumerate(self.questions):
            mass = "" if question.mass is None else f"label mass {question.mass:.2g}"
            said = ", ".join(filter(None, [question.prompt.heading, mass]))
            found.append((f"{f'[{i}] ' if several else ''}{said}", question))
        return found

    def __str__(self) -> str:
        blocks = [self._heading(), *(_printed(*table) for table in self._tables())]
        blocks += [f"{heading}\n{question.prompt.text}".lstrip("\n") for heading, question in self._prompts()]
        return strip_controls("\n\n".join([*blocks, *(f"note: {note}" for note in self.notes)]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [f"<div style='margin-bottom:.6em'><b>{escape(self._heading())}</b></div>"]
        parts += [_html(*table) for table in self._tables()]
        kinds = {kind for question in self.questions for kind, _ in question.prompt.coloured}
        parts.append(explain_colours(kinds))
        for heading, question in self._prompts():
            parts.append(f"<small>{escape(heading)}</small>{question.prompt.html(question.candidates)}")
        parts += [f"<div><small>{escape(note)}</small></div>" for note in self.notes]
        return f"<div>{''.join(parts)}</div>"


#: The names of the columns, the lines, and how many more there are; a number is a share, and is drawn as a bar.
_Table = tuple[list[str], list[list[str | float]], int]


#: The cell of a line in each column.
_Columns = dict[str, Callable[[Any], str | float | None]]


def _table(lines: Sequence[Any], columns: _Columns) -> _Table:
    """The columns that are known, of the first lines."""
    shown = lines[:_MOST]
    return *known({name: [cell(one) for one in shown] for name, cell in columns.items()}), len(lines) - len(shown)


def _word_columns(question: Question) -> _Columns:
    log = question.measure.startswith("log")
    return {
        "class": lambda one: str(one.label),
        "word": lambda one: repr(one.word),
        question.measure: lambda one: f"{one.logprob:.2f}" if log else f"{math.exp(min(one.logprob, 700.0)):.2g}",
        question.share: lambda one: one.share,
        "after calibration": lambda one: one.calibrated,
    }


def _surest(words: Sequence[WordLine]) -> list[WordLine]:
    """The words in their order; where not all are shown, those with the largest shares."""
    if len(words) <= _MOST:
        return list(words)
    return sorted(words, key=lambda one: -(one.share if one.calibrated is None else one.calibrated))


def _named(label: Any) -> str:
    return ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _printed(names: list[str], rows: list[list[str | float]], more: int) -> str:
    """A table for a terminal; a cell is one line."""
    text = as_text(names, [[_flat(cell) for cell in row] for row in rows])
    return f"{text}\n… and {more} more" if more else text


def _flat(cell: str | float) -> str:
    if isinstance(cell, str):
        words = " ".join(cell.split())
        return words if len(words) <= 80 else words[:79] + "…"
    return f"{cell:.3f} {'█' * round(cell * _WIDTH):{_WIDTH}}"


def _html(names: list[str], rows: list[list[str | float]], more: int) -> str:
    """A table for a notebook, in the page's own colours."""
    cells = [[cell if isinstance(cell, str) else _BAR.format(cell, 5 * cell) for cell in row] for row in rows]
    rest = f"<div><small>… and {more} more</small></div>" if more else ""
    return as_html(names, cells, bare=True) + rest
