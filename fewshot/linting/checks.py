"""The checks of a template, in their order."""

from __future__ import annotations

from fewshot.errors import FewshotError, TemplateError
from fewshot.linting.look import Look, show_end, show_start
from fewshot.linting.report import LEVELS, LintReport
from fewshot.linting.source import check_source
from fewshot.linting.text import check_blanks, check_choices, check_columns, check_spellings
from fewshot.linting.tokens import check_marks, count_prompts, count_texts
from fewshot.linting.words import check_frames, score_words

__all__ = ["run_checks"]


def run_checks(look: Look) -> LintReport:
    """Run every check that applies."""
    try:
        look.context = look.template.context((), look.labels or look.neutral_choices())
    except TemplateError as error:
        look.found("error", str(error), "An instruction may use {{ labels }} only: no field of a row.")
    so_far = len(look.findings)
    missing, unused = check_columns(look)
    prompts = look.rendered(explained=any(one.level == "error" for one in look.findings[so_far:]))
    blank = look.neutral()
    sample = blank or (prompts[0] if prompts else None)
    if sample is not None:
        check_blanks(look, sample)
    check_source(look)
    check_spellings(look)
    check_choices(look)
    check_marks(look, prompts)
    tokens, lines, mass = None, look.lines(), None
    try:
        if look.encodes:
            tokens, lines = count_texts(look), check_frames(look)
        elif look.kind is not None:
            tokens = count_prompts(look, prompts, blank)
            if blank is not None and (tokens is None or (tokens.overhead or 0) <= tokens.limit):
                lines, mass = score_words(look, blank)
    except (FewshotError, ValueError) as error:
        look.found("error", str(error), "Change what the message names; words go into verbalizer={class: word}.")
    hole = None if sample is None else (show_end(sample.prefix), show_start(sample.suffix))
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
