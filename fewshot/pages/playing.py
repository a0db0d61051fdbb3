"""Playing: a template's source and a few rows in, prompts, findings and predictions out, apart from any page."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fewshot.checks import is_blank
from fewshot.classifier import Classifier
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview, PreviewRow
from fewshot.errors import FewshotError, InputError, TemplateError
from fewshot.labels import are_numbers
from fewshot.linting import LintReport, lint, unparsed
from fewshot.models.base import is_language_model
from fewshot.plotting.axes import compute_wilson_intervals
from fewshot.prompts.asking import Asking
from fewshot.strategies.embedding import Embedding
from fewshot.task.resolve import Settled, resolve
from fewshot.task.template import Template

__all__ = ["Playing", "Sample"]

_SECONDS = 3.0  # after which no further row is rendered: a template may loop for half a second a row
_KEPT = 16  # sources whose scores are kept, so that nothing is asked again when an edit is undone
_LINE = re.compile(r"\(line (\d+)\)")  # as messages about a source have it


@dataclass(frozen=True)
class Sample:
    """The rows of a file that a template is tried on.

    Attributes
    ----------
    rows : sequence of mapping
        The columns of each row.
    labels : sequence of str or None
        The class of each row, None where it is not known.
    numbers : sequence of int
        The number of each row in the file, from 0.
    text_column : str, optional
        The column that a template's only field is read from. None: that of the field's own name.
    """

    rows: Sequence[Mapping[str, Any]]
    labels: Sequence[str | None]
    numbers: Sequence[int]
    text_column: str | None = None

    def inputs(self, template: Template) -> list[Any]:
        """The rows as a classifier with this template takes them: texts where it has one field, None for no text."""
        column = self.text_column or template.fields[0]
        if len(template.fields) == 1 and all(column in row for row in self.rows):
            return [None if is_blank(row[column]) else row[column] for row in self.rows]
        return [dict(row) for row in self.rows]


@dataclass
class _Scored:
    """What is known so far of a source's predictions."""

    rows: list[dict[str, Any] | None] = field(default_factory=list)  # None: the row can't be rendered
    findings: list[dict[str, str]] | None = None  # those that need the model
    words: list[dict[str, Any]] = field(default_factory=list)  # the label words after a text without content
    mass: float | None = None
    accuracy: dict[str, float] | None = None
    error: str | None = None


class Playing:
    """A model, a few rows and what the classes are called; each source of a template is tried on them.

    Parameters
    ----------
    model : LanguageModel or Encoder
    sample : Sample
    names : sequence of str
        The classes; none: those of the template's own label words.
    words : mapping, optional
        Label words of the classes. None: the template's own, else the names.
    seed : int
        Of what is random in a strategy.

    Examples
    --------
    >>> from fewshot import FakeLM
    >>> lm = FakeLM(lambda query: [float(word in query.prefix) for word in query.candidates])
    >>> playing = Playing(lm, Sample([{"text": "so good"}], ["good"], [0]), ["bad", "good"])
    >>> playing.render("{{ text }} It was {{ label }}.")["rows"][0]["parts"]
    [['field', 'so good'], ['text', ' It was '], ['hole', 'bad | good'], ['text', '.']]
    >>> *_, (last,) = playing.score(["{{ text }} It was {{ label }}."])
    >>> last["rows"][0]["predicted"], last["accuracy"]["n"]
    ('good', 1)
    """

    def __init__(
        self,
        model: Any,
        sample: Sample,
        names: Sequence[str] = (),
        words: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self.sample = model, sample
        self.names, self.words, self.seed = tuple(names), words, seed
        self._known: OrderedDict[str, _Scored] = OrderedDict()

    # what needs no model pass

    def render(self, source: str) -> dict[str, Any]:
        """The prompt of each row in parts, with what was cut, and what lint finds without asking the model.

        A template that does not parse is an ``error``, with its ``line``; a row that can't be rendered has its own.
        """
        try:
            template = Template(source)
        except TemplateError as error:
            findings = _findings(unparsed("template", error))
            return {"error": str(error), "line": _line(str(error)), "findings": findings, "rows": []}
        inputs = self.sample.inputs(template)
        try:
            settled = self._settled(template, inputs)
        except FewshotError as error:
            findings = _findings(lint(template))
            return {"error": str(error), "line": _line(str(error)), "findings": findings, "rows": []}
        rows = self._rendered(settled, inputs)
        looked = _fitting(inputs, rows) or [dict(self.sample.rows[0])]  # of which lint says what is wrong
        report = lint(template, None, looked, settled.task.verbalizer)
        return {"error": None, "line": None, "findings": _findings(report), "rows": rows}

    def _rendered(self, settled: Settled, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        reader = _reader(settled)
        chat, began, rows = bool(getattr(settled.model, "chat", False)), time.monotonic(), []
        for row in inputs:
            if time.monotonic() - began > _SECONDS:
                rows.append({"error": f"The rows before took {_SECONDS:g} seconds to render: simplify the template."})
                continue
            if row is None:
                rows.append({"error": "The row has no text."})
                continue
            try:
                rows.append(_shown(reader.preview([row]), chat))
            except FewshotError as error:
                rows.append({"error": str(error).removeprefix("Row 0: ")})
        return rows

    def _settled(self, template: Template, inputs: Sequence[Any]) -> Settled:
        return resolve(self._classifier(template), *self._classes(template, inputs))

    def _classifier(self, template: Template) -> Classifier:
        words: Any = self.words
        if words is None and template.words is not None:
            words = {str(name): own for name, own in template.words.items()}  # as the labels of a file are
        if words is None and template.choices is None:
            if not self.names:
                raise InputError(
                    "There are no classes: give their words in the front matter, such as words: {negative: bad, "
                    "positive: good}, or begin again with --labels a,b."
                )
            if are_numbers(self.names):
                example = ", ".join(f"{name}: ..." for name in self.names[:2])
                raise InputError(
                    f"The classes {list(self.names[:5])} are numbers, not names that a model could know. Give their "
                    f"words in the front matter: words: {{{example}}}."
                )
        return Classifier(self.model, template, words, random_state=self.seed)

    def _classes(self, template: Template, inputs: Sequence[Any]) -> tuple[list[Any] | None, list[str] | None]:
        """What `Classifier.fit` is given: the names, or the rows where these bring their own choices."""
        if template.choices is not None:
            return [row for row in inputs if row is not None], None
        return None, list(self.names) or None

    # what needs the model

    def score(self, sources: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Classify the rows zero-shot with each template; yields what is known so far after each row."""
        found = [self._known.get(source, _Scored()) for source in sources]
        yield [asdict(one) for one in found]
        for i, source in enumerate(sources):
            if source in self._known:  # also where the first is the same
                found[i] = self._known[source]
                yield [asdict(one) for one in found]
                continue
            try:
                for state in self._score(Template(source)):
                    found[i] = state
                    yield [asdict(one) for one in found]
                self._known[source] = found[i]
            except FewshotError as error:  # a server may answer the next time
                found[i].error = str(error)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            yield [asdict(one) for one in found]

    def _score(self, template: Template) -> Iterator[_Scored]:
        inputs = self.sample.inputs(template)
        settled = self._settled(template, inputs)
        rendered = self._rendered(settled, inputs)
        fitting = _fitting(inputs, rendered)
        if not fitting:
            raise InputError("No row can be rendered, so none is classified.")
        clf = self._classifier(template).fit(*self._classes(template, inputs))
        scored = _Scored()
        report = lint(template, self.model, fitting, settled.task.verbalizer)
        scored.findings, scored.mass = _findings(report), report.mass
        scored.words = [asdict(word) for word in report.words]
        yield scored
        for row, shown in zip(inputs, rendered, strict=True):
            scored.rows.append(None if "error" in shown else _explained(clf.explain(row)))
            scored.accuracy = self._accuracy(scored.rows)
            yield scored

    def _accuracy(self, rows: Sequence[Mapping[str, Any] | None]) -> dict[str, float] | None:
        """How many rows with a label are right, with the 95 % interval of Wilson (1927)."""
        pairs = zip(rows, self.sample.labels, strict=False)  # of the rows that are done
        right = [row["predicted"] == label for row, label in pairs if row is not None and label is not None]
        if not right:
            return None
        low, high = compute_wilson_intervals(np.array(sum(right) / len(right)), len(right))
        return {"right": sum(right), "n": len(right), "low": float(low), "high": float(high)}


def _reader(settled: Settled) -> Asking | Embedding:
    """What shows the prompts, and has asked the model nothing."""
    if is_language_model(settled.model):
        return Asking(settled.task, settled.model)
    reader = Embedding()  # a fit would encode the prompts of the classes
    reader.task_, reader.encoder_ = settled.task, settled.model
    return reader


def _fitting(inputs: Sequence[Any], rendered: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The rows that could be rendered."""
    return [row for row, shown in zip(inputs, rendered, strict=True) if "error" not in shown]


def _shown(preview: Preview, chat: bool) -> dict[str, Any]:
    """A row's prompt in parts, each with its kind, and what it takes."""
    (row,) = preview
    hole = row.fill_hole(preview.candidates)
    parts = [[kind, hole if kind == "hole" else text] for kind, text in (_as_chat(row) if chat else row.coloured)]
    return {"parts": parts, "heading": row.heading, "n_cut": row.n_cut}


def _as_chat(row: PreviewRow) -> Iterator[tuple[str, str]]:
    """The parts with the name of the speaker before each turn; the hole is what the model says."""
    for (role, _), part in zip(row.context, row.coloured, strict=False):
        yield "turn", role
        yield part
    yield "turn", "user"
    for kind, text in row.coloured[len(row.context) :]:
        if kind == "hole":
            yield "turn", "assistant"
        yield kind, text


def _explained(found: Explanation) -> dict[str, Any]:
    """What was predicted for a row, and what the model says of each class and label word."""
    question = found.questions[0]
    classes = [
        {"label": str(one.label), "probability": one.probability, "before": one.before, "similarity": one.similarity}
        for one in found.classes
    ]
    words = [{"label": str(one.label), "word": one.word, "share": one.share} for one in question.words]
    return {"predicted": str(found.predicted), "classes": classes, "words": words, "mass": question.mass}


def _findings(report: LintReport) -> list[dict[str, str]]:
    return [asdict(one) for one in report.findings]


def _line(message: str) -> int | None:
    """The line of the source that a message points at."""
    found = _LINE.search(message)
    return int(found[1]) if found else None
