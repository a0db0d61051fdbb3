"""Lint: what is odd about a template, annotated texts or answered questions, before compute is spent."""

from __future__ import annotations

from typing import Any

from fewshot.errors import ParameterError
from fewshot.inputs import as_rows
from fewshot.linting.answers import AnswerFinding, AnswerLintReport, lint_answers
from fewshot.linting.checks import run_checks
from fewshot.linting.look import Look
from fewshot.linting.report import Finding, LintReport, TokenCounts, WordLine, unparsed
from fewshot.linting.spans import SpanFinding, SpanLintReport, lint_spans
from fewshot.models.answering import refuse_extractive
from fewshot.models.loading import load
from fewshot.task.template import Template

__all__ = [
    "AnswerFinding",
    "AnswerLintReport",
    "Finding",
    "LintReport",
    "SpanFinding",
    "SpanLintReport",
    "TokenCounts",
    "WordLine",
    "lint",
    "lint_answers",
    "lint_spans",
    "unparsed",
]


def lint(template: Template, model: Any = None, X: Any = None, verbalizer: Any = None) -> LintReport:
    r"""Check what a template does to fields, tokens and label words.

    Parameters
    ----------
    template : Template
    model : LanguageModel, Encoder or str, optional
        A string is loaded. None: only the text of the template is checked.
    X : list of str, DataFrame or list of mappings, optional
        The rows for the template. With a model, all rows are tokenised, but none is scored.
    verbalizer : Verbalizer, mapping or list, optional
        The label words. None: the template's own label words.

    Returns
    -------
    LintReport

    Raises
    ------
    ParameterError
        When ``template`` is not a `Template`.
    UnsupportedError
        When the model is a question-answering model, which takes no template.

    Notes
    -----
    The report measures the following, and uses only the optional protocols of a model:

    - The number of tokens is `Window.lengths` of each prompt without demonstrations, which are left out first if a
      prompt is too long. The cut part is what ``fit_to_window`` cuts. An encoder always drops the text beyond its
      window, with or without ``shorten``.
    - The words are scored once, with "N/A" in every field. ``n_tokens`` is the number of tokens of their score; with a
      causal model, it includes the template's text after the hole.
    - First tokens are compared by the characters of a word in them (`Window.token_ends` of the plain text up to the end
      of the word), because the protocols have no token ids. In a chat format, the word begins a turn, and its tokens
      may differ.

    A blank before the hole is not a mistake. A model reads the text before the hole together with each word, so the
    blank never becomes a separate token by accident: it goes where the tokenizer puts it.

    Examples
    --------
    >>> from fewshot import FakeLM, Template
    >>> lm = FakeLM(lambda query: [-1.0, -2.0])
    >>> template = Template("Review: {{ txt }}\nIt was {{ label }}", words={"neg": "not good", "pos": "not bad"})
    >>> report = template.lint(lm, [{"text": "Great fun."}])
    >>> report.ok
    False
    >>> for finding in report.findings:
    ...     print(finding.level, "|", finding.cure)
    error | Write {{ text }}, or use template.rename(txt="text").
    warning | Give each class a word that begins differently: verbalizer={class: word}.
    """
    if not isinstance(template, Template):
        raise ParameterError(
            f"template must be a Template. Got {template!r:.80}. Make one of it: Template(source), "
            "Template.from_file(path) or gallery.get(name)."
        )
    if model is not None:
        model = load(model)
    refuse_extractive(model, "lint")
    rows = [] if X is None else as_rows(X)
    return run_checks(Look(template, model, rows, verbalizer))
