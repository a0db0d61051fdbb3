"""ByLetter: the prompt lists the label words after A, B and so on, and the answer is the letter of a line."""

from __future__ import annotations

from typing import Any

from fewshot.errors import UnsupportedError, VerbalizerError
from fewshot.inputs import Row
from fewshot.models.base import kind_of
from fewshot.task.answers import named_in, simplify
from fewshot.task.letters import letters_of
from fewshot.task.task import Task
from fewshot.task.verbalizer import RowWords, Verbalizer

__all__ = ["ByLetter", "as_filled"]


class ByLetter(Verbalizer):
    """What fills the hole where a prompt lists the label words of another verbalizer after letters.

    Its words are letters, each that of the class's line where the label words are listed in their own order; its labels
    are the label words.

    Parameters
    ----------
    named : Verbalizer
        One label word for each class.

    Raises
    ------
    TemplateError
        When there are more classes than letters.
    VerbalizerError
        When a class has several label words: its line shows one.

    Examples
    --------
    >>> words = ByLetter(Verbalizer({"bug": "bug report", "bill": "billing"}))
    >>> words.candidates, words.labels
    (('A', 'B'), ('billing', 'bug report'))
    >>> words.of("a text").under(("bug report", "billing"))
    ('B', 'A')
    >>> words.parse("B. bug report"), words.parse("Billing."), words.parse("A or B")
    ('bug', 'bill', None)
    """

    def __init__(self, named: Verbalizer) -> None:
        if named.classes is None:
            named = named.bind(named.labels)
        pairs = list(zip(named.classes or (), named.words, strict=True))
        for name, group in pairs:
            if len(group) > 1:
                raise VerbalizerError(
                    f"A template whose answers are letters lists each class in one line, and the class {name!r} has "
                    f"the label words {list(group)}: give it one."
                )
        letters = letters_of(named.labels)
        lines = {group[0]: name for name, group in pairs}
        super().__init__(
            {lines[word]: letters[word] for word in named.labels},
            word_aggregation=named.word_aggregation,
            token_aggregation=named.token_aggregation,
            ordered=named.ordered,
        )
        self._named = named

    @property
    def labels(self) -> tuple[str, ...]:
        """The label words, as they are listed."""
        return self._named.labels

    def of(self, row: Row) -> RowWords:
        """The label words that a prompt lists, and the letters that may fill its hole."""
        return RowWords(self.labels, self.candidates, letters_of(self.labels))

    def parse(self, answer: str) -> Any | None:
        """Map a free answer to the class whose letter or label word it gives; None where it gives none, or several."""
        lines = enumerate(zip(self.words, self._named.words, strict=True))
        owners = [(simplify(word), i) for i, (letter, own) in lines for word in (*letter, *own)]
        named = named_in(answer, owners)
        return None if named is None else (self.classes or ())[named]


def as_filled(task: Task, model: Any) -> Verbalizer:
    """What fills the hole of a task's template: its label words, or the letters of their lines.

    Raises
    ------
    UnsupportedError
        When the answers are letters and the model reads no list of what they mean.
    TemplateError, VerbalizerError
        As `ByLetter` does.
    """
    if not task.template.by_letter:
        return task.verbalizer
    if kind_of(model).reads != "prompt":
        raise UnsupportedError(
            f"The answers of {task.template} are letters, and {model!r} ({kind_of(model)}) does not read the list that "
            "says what they mean: use a template that is answered by words, or a causal, masked or encoder-decoder "
            "model."
        )
    return ByLetter(task.verbalizer)
