"""Several labels a text: one yes-or-no question for each label, over one shared prompt."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from fewshot.display.explanation import Explanation, Question
from fewshot.display.preview import Preview
from fewshot.errors import TemplateError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, kind_of
from fewshot.prompts.asking import Asking
from fewshot.prompts.explaining import class_lines, word_lines
from fewshot.task.parsing import CANDIDATE
from fewshot.task.task import Task
from fewshot.task.verbalizer import Verbalizer

__all__ = ["EachLabel"]


class EachLabel:
    """Asks a language model about every label of every text; the answer is the log-odds of yes against no.

    A template has the field ``candidate`` for the label's word besides those of the row, and its hole is filled with
    yes or no, or what its front matter's ``answers`` say. With the text before the candidate, the questions about one
    text share most of their prompt. An entailment model needs no such template: its log-odds are those of entailment.

    Raises
    ------
    TemplateError
        When the template has no field for the label.
    """

    def __init__(self, task: Task, model: Any) -> None:
        self.task, self.model = task, model
        self._entails = kind_of(model).reads == "premise"
        template = task.template
        if self._entails:
            self.asking = Asking(task, model)
            return
        self._own = [field for field in template.fields if field != CANDIDATE]
        if len(self._own) == len(template.fields):
            raise TemplateError(
                f"When a text may have several labels, the template asks about one of them: {template} needs the field "
                "{{ candidate }}, such as 'Text: {{ text }}\\nIs it about {{ candidate }}? {{ label }}'."
            )
        answers = template.metadata.get("answers", {"no": "no", "yes": "yes"})
        inner = Task(template, Verbalizer(answers), np.array(["no", "yes"]))
        self.asking = Asking(inner, model)

    def log_odds(self, X: Sequence[Row]) -> FloatArray:
        """Log-odds of each label, of shape (n_texts, n_classes); of several label words their mean."""
        return self._of_labels(self._word_odds(X))

    def _word_odds(self, X: Sequence[Row]) -> FloatArray:
        """Log-odds of each label word, of shape (n_texts, n_words)."""
        if self._entails:
            asked = self.asking.ask(X)
            asked.warn_of_cuts()
            scores = np.stack([one.logprobs for one in asked.answers])
            return scores - np.log(-np.expm1(np.minimum(scores, -1e-12)))
        asked = self.asking.ask(self._asked(X))
        asked.warn()
        answers = self.asking.class_scores(asked)
        return (answers[:, 1] - answers[:, 0]).reshape(len(X), -1)

    def _of_labels(self, odds: FloatArray) -> FloatArray:
        words = self.task.verbalizer.words
        bounds = np.cumsum([0, *map(len, words)])
        return np.stack([odds[:, a:b].mean(axis=1) for a, b in itertools.pairwise(bounds)], axis=1)

    def _asked(self, X: Sequence[Row]) -> list[Row]:
        """Every row with every label word."""
        return [self._with(row, word) for row in X for word in self.task.verbalizer.candidates]

    def _with(self, row: Row, word: str) -> Row:
        fields = row if isinstance(row, Mapping) or len(self._own) != 1 else {self._own[0]: row}
        return {**fields, CANDIDATE: word} if isinstance(fields, Mapping) else fields

    def explain(self, row: Row) -> Explanation:
        """The first question, and the answer to each."""
        odds = self._word_odds([row])
        lines = word_lines(self.task, log_expit(odds[0]))
        words = tuple(replace(line, share=float(p)) for line, p in zip(lines, expit(odds[0]), strict=True))
        first = Question(self.preview([row])[0], self.asking.task.verbalizer.candidates, words, share="yes against no")
        notes = (
            () if self._entails else (f"There are {len(words)} questions, one for each label word: this is the first.",)
        )
        return Explanation(class_lines(self.task, self._of_labels(odds)), (first,), notes=notes, multi_label=True)

    def preview(self, X: Sequence[Row]) -> Preview:
        """The questions, one for each label of each text."""
        return self.asking.preview(X if self._entails else self._asked(X))
