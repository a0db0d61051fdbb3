"""The checks of a template, in their order."""

from __future__ import annotations

from fewshot.errors import FewshotError, TemplateError
from fewshot.linting.look import Look, head, tail
from fewshot.linting.report import LEVELS, LintReport
from fewshot.linting.source import written
from fewshot.linting.text import around, choices, columns, spellings
from fewshot.linting.tokens import counted, encoded, marks
from fewshot.linting.words import frames, scored

__all__ = ["checked"]


def checked(look: Look) -> LintReport:
    """Run every check that applies."""
    try:
        look.context = look.template.context((), look.labels or look.neutral_choices())
    except TemplateError as error:
        look.found("error", str(error), "An instruction may use {{ labels }} only: no field of a row.")
    so_far = len(look.findings)
    missing, unused = columns(look)
    prompts = look.rendered(explained=any(one.level == "error" for one in look.findings[so_far:]))
    blank = look.neutral()
    sample = blank or (prompts[0] if prompts else None)
    if sample is not None:
        around(look, sample)
    written(look)
    spellings(look)
    choices(look)
    marks(look, prompts)
    tokens, lines, mass = None, look.lines(), None
    try:
        if look.encodes:
            tokens, lines = encoded(look), frames(look)
        elif look.kind is not None:
            tokens = counted(look, prompts, blank)
            if blank is not None and (tokens is None or (tokens.overhead or 0) <= tokens.limit):
                lines, mass = scored(look, blank)
    except (FewshotError, ValueError) as error:
        look.found("error", str(error), "Change what the message names; words go into verbalizer={class: word}.")
    hole = None if sample is None else (tail(sample.prefix), head(sample.suffix))
    return LintReport(
        template=look.template.name or repr(look.template),
        model=None if look.model is None else repr(look.model),
        fields=look.template.fields,
        missing=missing,
        unused=unused,
        n_rows=len(look.rows),
        hole=hole,
        tokens=tokens,
        words=tuple(lines),
        mass=mass,
        findings=tuple(sorted(look.findings, key=lambda one: LEVELS.index(one.level))),
    )
