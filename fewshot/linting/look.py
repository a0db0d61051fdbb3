"""What the checks of a template look at: the template, the model, the rendered rows, and what was found so far."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fewshot.errors import FewshotError, TemplateError, VerbalizerError
from fewshot.inputs import Row
from fewshot.linting.report import NEUTRAL, Finding, Level, WordLine
from fewshot.models.base import Turn, kind_of
from fewshot.task.by_letter import ByLetter
from fewshot.task.choices import Choices
from fewshot.task.parsing import CANDIDATE
from fewshot.task.prompt import Prompt
from fewshot.task.template import Template
from fewshot.task.verbalizer import Verbalizer

__all__ = ["Look", "list_words", "show_end", "show_start"]


class Look:
    """One look at one template: the checks share its rendered rows, and each adds what it finds."""

    def __init__(self, template: Template, model: Any, rows: list[Row], verbalizer: Any) -> None:
        self.template, self.model, self.rows = template, model, rows
        self.kind = kind_of(model) if model is not None else None
        self.continues = self.kind is not None and self.kind.pretraining == "causal"  # text after the hole is scored
        self.encodes = self.kind is not None and self.kind.reads == "fields"
        self.findings: list[Finding] = []
        self.answers = None if template.by_letter else template.metadata.get("answers")
        self.verbalizer = self._verbalizer(template.words if verbalizer is None else verbalizer)
        self.labels = self.verbalizer.labels if self.verbalizer else ()
        self.by_length = isinstance(verbalizer, Choices) and verbalizer.token_aggregation != "sum"
        self.own: list[tuple[str, ...]] = []  # of the rows that fill the template, where they bring their choices
        # of a template with answers, the label words stand in the prompt, and yes or no in the hole
        answers = {str(key): word for key, word in (self.answers or {}).items()}
        self.asked = Verbalizer(answers) if answers else self._filling()
        self.context: tuple[Turn, ...] = ()

    def found(self, level: Level, message: str, cure: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(level, message, cure))

    def _verbalizer(self, words: Any) -> Verbalizer | None:
        if self.template.choices is not None:
            if words is not None and not isinstance(words, Choices):
                message = f"The template takes its choices from each row, and there are label words: {words!r}."
                self.found("error", message, "Leave the verbalizer out, or pass Choices(token_aggregation='mean').")
            return None
        if words is None:
            if self.kind is not None and not self.answers:
                cure = "Pass verbalizer={class: word}, or write 'words' into the front matter."
                self.found(
                    "hint", "No label words are known, so none are looked at; a short one stands for them.", cure
                )
            return None
        try:
            made = words if isinstance(words, Verbalizer) else Verbalizer(words)
        except VerbalizerError as error:
            self.found("error", str(error), "Give every class a word of its own: verbalizer={class: word}.")
            return None
        if len(made.words) < 2 and list(made.classes or ()) != ["none"]:  # an extractor's answers are no classes
            cure = "Name at least two classes."
            self.found("error", f"There is one class, {made.labels[0]!r}, and nothing to choose between.", cure)
        return made

    def _filling(self) -> Verbalizer | None:
        """What fills the hole: the label words, or the letters of their lines."""
        if self.verbalizer is None or not self.template.by_letter:
            return self.verbalizer
        try:
            return ByLetter(self.verbalizer)
        except (TemplateError, VerbalizerError) as error:
            self.found("error", str(error), "Give at most 26 classes, each with one label word.")
            return None

    def prompt(self, row: Row) -> Prompt:
        """The prompt of a row; where the template has answers, about its longest label word."""
        if self.answers and CANDIDATE in self.template.fields:
            own = [name for name in self.template.fields if name != CANDIDATE]
            given = row if isinstance(row, Mapping) else dict.fromkeys(own, row)
            row = {**given, CANDIDATE: max(self.labels, key=len, default=NEUTRAL)}
        return self.template.prompt(row, self.labels)

    def fills(self, row: Row) -> bool:
        """Whether a row fills the template."""
        try:
            self.prompt(row)
        except FewshotError:
            return False
        return True

    def rendered(self, explained: bool) -> list[Prompt]:
        """The prompts of the rows that fill the template; why others do not may be explained already."""
        prompts, failed = [], []
        for i, row in enumerate(self.rows):
            try:
                prompts.append(self.prompt(row))
                if self.template.choices is not None:
                    self.own.append(self.template.choices_of(row))
            except FewshotError as error:
                failed.append(f"the first, row {i}: {str(error).rstrip('.')}.")
        if failed and not explained:
            message = f"{len(failed)} of {len(self.rows)} rows can't fill the template; {failed[0]}"
            self.found("error", message, "Fill or drop these rows, or make the template allow them.")
        return prompts

    def neutral(self) -> Prompt | None:
        """The prompt of a text without content, where the template allows one."""
        row: dict[str, Any] = dict.fromkeys(self.template.fields, NEUTRAL)
        if isinstance(self.template.choices, str):
            row[self.template.choices] = list(self.neutral_choices())
        return self.prompt(row) if self.fills(row) else None

    def neutral_choices(self) -> tuple[str, ...]:
        """Choices without content, as many as a row brings; none where rows bring none."""
        return (NEUTRAL,) * (2 if isinstance(self.template.choices, str) else len(self.template.choice_fields))

    def lines(self) -> list[WordLine]:
        """The words that are asked about, before anything is known of them."""
        if self.asked is None:
            return []
        names = self.asked.classes or self.asked.labels
        pairs = zip(names, self.asked.words, strict=True)
        return [WordLine(str(name), word) for name, group in pairs for word in group]

    @property
    def marked(self) -> bool:
        """Whether a field is marked to be shortened."""
        return re.search(r"\|\s*shorten\b", self.template.source) is not None


def list_words(words: Sequence[str]) -> str:
    """The first words, for a message."""
    shown = ", ".join(repr(word) for word in words[:5])
    return shown if len(words) <= 5 else f"{shown} and {len(words) - 5} more"


def show_end(text: str, n: int = 24) -> str:
    """The end of a text, for a message."""
    return text if len(text) <= n else "…" + text[-n:]


def show_start(text: str, n: int = 24) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= n else text[:n] + "…"
