"""A language model is asked which span of a row's own text answers a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fewshot.inputs import Row
from fewshot.prompts.asking import Asking
from fewshot.task.answer_candidates import candidate_spans
from fewshot.task.extracts import Asked, Place
from fewshot.task.task import Task
from fewshot.task.template import Template
from fewshot.task.verbalizer import RowWords, Verbalizer

__all__ = ["AskingSpans", "OwnSpans", "compare_by", "find_texts", "make_task", "take_fields"]

#: What is asked about a text without a word, for the sake of its number; the answer is not read.
_NOTHING = "nothing"


class OwnSpans(Verbalizer):
    """What may fill the hole of a row: every distinct span of its context, and what no answer is called.

    Parameters
    ----------
    max_words : int
        The most words of a span.
    no_answer : str or None
        None: every row has an answer.
    """

    per_row = True

    def __init__(self, max_words: int, no_answer: str | None) -> None:
        super().__init__(())
        self.max_words = max_words
        self.no_answer = no_answer

    def of(self, row: Row) -> RowWords:
        """The distinct spans of a row, from left to right, and no answer as the last."""
        texts = dict.fromkeys(find_texts(_field(row, "context"), self.max_words))
        if self.no_answer is not None:
            texts.pop(self.no_answer, None)
            texts[self.no_answer] = None
        return RowWords((), tuple(texts) or (_NOTHING,))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnSpans) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.max_words, self.no_answer))


class AskingSpans(Asking):
    """One wording, asked about questions; its labels are the texts of right answers."""

    #: Whether demonstrations are chosen by the context as well as by the question.
    by_context: bool = False

    @property
    def spans(self) -> OwnSpans:
        """What may fill the hole of a row."""
        assert isinstance(self.task.verbalizer, OwnSpans)
        return self.task.verbalizer

    def _listings(self, labels: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [()]  # no prompt lists the spans of its text

    def _answer(self, i: int) -> tuple[RowWords, str]:
        return RowWords((), (self._labels[i],)), self._labels[i]

    def compared(self, row: Row) -> str:
        """The text of a row by which demonstrations are chosen."""
        return compare_by(row, self.by_context)


def compare_by(row: Row, by_context: bool) -> str:
    """The question of a row, and where that says too little, its context as well."""
    question = _field(row, "question")
    return f"{question}\n{_field(row, 'context')}" if by_context else question


def take_fields(asked: Asked, template: Template) -> dict[str, Any]:
    """What is asked and kept of a row: the question, the context and what else the template uses."""
    names = dict.fromkeys(("question", "context", *template.fields))
    return {name: asked.row[name] for name in names if name in asked.row}


def make_task(template: Template, max_words: int, no_answer: str | None) -> Task:
    """What is asked: there are no classes."""
    return Task(template, OwnSpans(max_words, no_answer), np.array([], dtype=object))


def find_texts(context: str, max_words: int) -> dict[str, Place]:
    """The distinct spans that may be an answer, each with the place where it stands first."""
    found: dict[str, Place] = {}
    for start, end in candidate_spans(context, max_words):
        found.setdefault(context[start:end], (start, end))
    return found


def _field(row: Row, name: str) -> str:
    assert isinstance(row, Mapping)
    return str(row[name])
