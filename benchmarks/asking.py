"""Answers of a language model as text: what somebody who only has ``generate`` would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from writing import plain

from fewshot import Prompting
from fewshot.strategies.extracting import AskedSpans
from fewshot.task.extracts import Asked, ExtractTask

__all__ = ["WrittenAnswers"]

#: Tokens of a text: enough for 8 words.
NEW = 16


class WrittenAnswers:
    """The first line that is written greedily after the prompts in which `AskedSpans` looks for spans.

    Parameters
    ----------
    strategy : Prompting
        What the prompts show.
    peer : bool
        Whether transformers' ``generate`` writes, prompt by prompt, and not ours.
    """

    def __init__(self, strategy: Prompting, *, peer: bool = False) -> None:
        self.spans, self.peer = AskedSpans(strategy), peer

    def fit_answers(self, task: ExtractTask, model: Any, *, random_state: Any = None) -> Self:
        self.spans.fit_answers(task, model, random_state=random_state)
        return self

    def answer_texts(self, asked: Sequence[Asked]) -> list[str]:
        queries, lm = self.spans._ask(asked).queries, self.spans.asking_.model
        written = plain(lm, queries, 1, NEW, ()) if self.peer else lm.generate(queries, NEW)
        return [text.strip().partition("\n")[0] for text in written]
