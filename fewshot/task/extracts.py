"""Answers that stand in a text: what an extractor is asked, learns from and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Asked", "ExtractTask", "Place", "take_right"]

#: The start and the end of an answer in its context, in characters.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """A part of a text that answers a question, or no answer.

    Parameters
    ----------
    text : str
        The answer as it is written in the text; "" for no answer.
    start, end : int or None
        Where it begins and ends in the text, in characters; None for no answer.
    probability : float, optional
        The probability of this answer, among all answers and no answer. It is ignored when answers are compared.

    Examples
    --------
    >>> from fewshot import Answer
    >>> Answer("Paris", 10, 15, 0.9) == Answer("Paris", 10, 15)
    True
    >>> bool(Answer("", None, None))
    False
    """

    text: str
    start: int | None
    end: int | None
    probability: float | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return self.start is not None


@dataclass(frozen=True, slots=True)
class Asked:
    """One question about one text.

    Parameters
    ----------
    question : str
    context : str
        The text that holds the answer, or does not.
    row : mapping
        All fields of the row, for templates.
    """

    question: str
    context: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class ExtractTask:
    """The answered questions of an extractor. A strategy gets it in ``fit_answers``.

    Parameters
    ----------
    asked : sequence of Asked
        Empty where an extractor is fitted without examples.
    golds : sequence of sequence of (start, end)
        The right answers to each, any of which will do; none where the text holds none.
    template : str, Path, Template or None
        How a language model is asked, as it was given.
    max_words : int or None
        The most words of an answer.
    no_answer : str or None
        What a language model calls no answer, where the verbalizer says that.
    """

    asked: Sequence[Asked]
    golds: Sequence[Sequence[Place]]
    template: Any = None
    max_words: int | None = None
    no_answer: str | None = None


def take_right(asked: Sequence[Asked], golds: Sequence[Sequence[Place]]) -> list[list[str]]:
    """The texts of the right answers to each question."""
    return [[one.context[start:end] for start, end in own] for one, own in zip(asked, golds, strict=True)]
