"""Free asking: one wording put to a model that answers in its own words, with demonstrations that fit the window."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from fewshot.demonstrations import Selector
from fewshot.display.preview import Preview
from fewshot.errors import UnsupportedError, at_row
from fewshot.inputs import Row
from fewshot.models.base import kind_of
from fewshot.models.wrappers import Wrapper
from fewshot.prompts.asked import Asked
from fewshot.prompts.asking import Asking
from fewshot.task.task import Task
from fewshot.task.template import Template
from fewshot.task.verbalizer import RowWords, Verbalizer

__all__ = ["FreeAsking", "free_task", "text_after"]

_CLASS = "answer"  # the one class of all rows, by which selectors choose
_STAND_IN = "."  # what fills the hole where tokens are counted
_HOLE = "\u2063"  # a mark that no template writes around its hole


class FreeAsking(Asking):
    """One wording, asked of one model, that is answered with any text.

    Parameters
    ----------
    task : Task
        As `free_task` makes it.
    model : LanguageModel
        Of those that generate.
    selector : Selector, optional
        Fitted on the rows; says which of them are shown before a text.
    rows : sequence of rows
        What the selector chooses from.
    answers : sequence of str
        What stands in the hole of each of them.
    max_tokens : int, optional
        Most tokens of demonstrations in a prompt.
    room : int
        Tokens of the window that are left to the answer.
    """

    def __init__(
        self,
        task: Task,
        model: Any,
        selector: Selector | None = None,
        *,
        rows: Sequence[Row] = (),
        answers: Sequence[str] = (),
        max_tokens: int | None = None,
        room: int = 0,
    ) -> None:
        super().__init__(task, model, selector, rows=rows, labels=answers, max_tokens=max_tokens)
        self.room = room

    def _answer(self, i: int) -> tuple[RowWords, str]:
        return self.verbalizer.of(self._rows[i]), str(self._labels[i])

    def ask(self, X: Sequence[Row]) -> Asked:
        """Render the prompts of every row, and shorten those that leave the answer no room in the window.

        Raises
        ------
        UnsupportedError
            When a field stands after the hole.
        """
        within = copy(self)
        # an encoder-decoder writes into a window of its own
        within.model = _Within(self.model, 0 if kind_of(self.model).name == "seq2seq" else self.room)
        asked = Asking.ask(within, X)
        for i, fit in enumerate(asked.prompts):
            names = [piece.place.kind for piece in fit.prompt.pieces]
            if "field" in names[names.index("hole") :]:
                with at_row(i):
                    raise UnsupportedError(
                        f"{self.task.template} has a field after its hole, and a model writes on from what it has "
                        "read: end the template with {{ answer }}."
                    )
        return replace(asked, model=self.model)

    def preview(self, X: Sequence[Row]) -> Preview:
        """The prompts as they would be asked, without asking."""
        found = self.ask(X).preview()
        return Preview(found.rows, (), found.limit)


class _Within(Wrapper):
    """A model with a smaller window."""

    def __init__(self, lm: Any, room: int) -> None:
        super().__init__(lm)
        self.room = room

    @property
    def fingerprint(self) -> str:
        """The model's."""
        return str(self.lm.fingerprint)

    @property
    def limit(self) -> int:
        """The most tokens of a prompt."""
        return int(self.lm.limit) - self.room

    def __repr__(self) -> str:
        return repr(self.lm)


def free_task(template: Template) -> Task:
    """The task of a template whose hole is filled with any text.

    Raises
    ------
    UnsupportedError
        When the template is one of classes.
    """
    if template.choices is not None or template.by_letter or template.lists_labels():
        raise UnsupportedError(f"{template} shows what may fill its hole, and here any text may: use a Classifier.")
    return Task(template, Verbalizer({_CLASS: _STAND_IN}), np.array([_CLASS], dtype=object))


def text_after(template: Template) -> str:
    """The fixed text that stands right after the hole, without the blanks around it."""
    return template.frame(_HOLE).partition(_HOLE)[2].strip()
