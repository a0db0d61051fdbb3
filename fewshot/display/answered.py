"""Answered: texts with their answers marked and the runners-up, for a terminal and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from fewshot.display.preview import strip_controls
from fewshot.task.extracts import Answer

__all__ = ["Answered", "AnsweredText"]

_NONE = "no answer"
#: The background is mixed with the page's own colour, so that it reads on light and on dark pages.
_MARK = Markup(
    "<mark style='background:hsla(120,60%,45%,.35);color:inherit;border-radius:.25em;padding:.05em .2em'>{}</mark>"
)
_BLOCK = Markup(
    "<div style='line-height:1.6;overflow-wrap:anywhere;margin:.4em 0 1em'><b>{question}</b>"
    "<div style='white-space:pre-wrap'>{text}</div>{table}</div>"
)
_TABLE = Markup("<table style='border-collapse:collapse;margin:.3em 0;background:transparent;color:inherit'>{}</table>")
_ROW = Markup(
    "<tr style='background:transparent'><td style='text-align:right;padding:0 .8em 0 0'>{probability}</td>"
    "<td style='text-align:left;padding:0'>{answer}</td></tr>"
)


@dataclass(frozen=True)
class AnsweredText:
    """A question about a text, its answer, and the most probable answers, best first."""

    question: str
    text: str
    answer: Answer
    top: tuple[Answer, ...]


@dataclass(frozen=True)
class Answered:
    """Questions with the answer marked in the text; prints as text, and shows as HTML in notebooks.

    Attributes
    ----------
    texts : tuple of AnsweredText

    Examples
    --------
    >>> from fewshot import Answer
    >>> from fewshot.display.answered import Answered, AnsweredText
    >>> paris, rome = Answer("Paris", 13, 18, 0.8), Answer("", None, None, 0.1)
    >>> print(Answered((AnsweredText("Where?", "Ada lives in Paris.", paris, (paris, rome)),)))
    Where?
    Ada lives in [Paris].
      0.80  Paris
      0.10  no answer
    """

    texts: tuple[AnsweredText, ...]

    def __str__(self) -> str:
        return "\n\n".join(map(_printed, self.texts))

    def _repr_html_(self) -> str:
        return str(Markup("").join(map(_block, self.texts)))


def _printed(one: AnsweredText) -> str:
    before, own, after = map(strip_controls, _split(one))
    lines = [strip_controls(one.question), f"{before}[{own}]{after}" if own else before]
    return "\n".join([*lines, *(f"  {_said(other)}  {strip_controls(_name(other))}" for other in one.top)])


def _block(one: AnsweredText) -> Markup:
    before, own, after = _split(one)
    text = escape(before) + (_MARK.format(own) if own else "") + escape(after)
    rows: Sequence[Markup] = [_ROW.format(probability=_said(other), answer=_name(other)) for other in one.top]
    return _BLOCK.format(question=one.question, text=text, table=_TABLE.format(Markup("").join(rows)))


def _split(one: AnsweredText) -> tuple[str, str, str]:
    """The text before its answer, the answer and the text after it."""
    if one.answer.start is None or one.answer.end is None:
        return one.text, "", ""
    return one.text[: one.answer.start], one.text[one.answer.start : one.answer.end], one.text[one.answer.end :]


def _name(answer: Answer) -> str:
    return answer.text if answer else _NONE


def _said(answer: Answer) -> str:
    return "    " if answer.probability is None else f"{answer.probability:.2f}"
