"""Marked: texts with marked spans, for a terminal, for notebooks and for displaCy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from fewshot.display.preview import strip_controls
from fewshot.task.spans import Span

__all__ = ["Marked", "MarkedText", "mark"]

#: Backgrounds of types in their order, mixed with the page's own colour so that they read on light and on dark pages.
_HUES = (210, 30, 120, 280, 0, 170, 60, 330)
_MARK = Markup(
    "<mark style='background:hsla({hue},70%,50%,.3);color:inherit;border-radius:.25em;padding:.05em .2em' "
    "title='{title}'>{text} <small style='opacity:.8'><b>{label}</b></small></mark>"
)
_BLOCK = Markup("<div style='line-height:1.9;white-space:pre-wrap;overflow-wrap:anywhere;margin:.4em 0'>{}</div>")


@dataclass(frozen=True)
class MarkedText:
    """A text and its spans, in the order in which they stand."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Marked:
    """Texts with marked spans; prints as text, and shows as HTML in notebooks.

    Attributes
    ----------
    texts : tuple of MarkedText
    labels : tuple
        All types. Their order decides their colours.

    Examples
    --------
    >>> from fewshot.display.marked import Marked, MarkedText
    >>> from fewshot.task.spans import Span
    >>> text = MarkedText("Ada met Bob.", (Span(0, 3, "person", 0.9), Span(8, 11, "person", 0.8)))
    >>> print(Marked((text,), ("person",)))
    [Ada: person 0.90] met [Bob: person 0.80].
    """

    texts: tuple[MarkedText, ...]
    labels: tuple[Any, ...]

    def __str__(self) -> str:
        return "\n".join(self._line(one) for one in self.texts)

    def _line(self, one: MarkedText) -> str:
        parts, place = [], 0
        for span in one.spans:
            shown = strip_controls(one.text[span.start : span.end])
            parts += [strip_controls(one.text[place : span.start]), f"[{shown}: {_said(span)}]"]
            place = span.end
        return "".join([*parts, strip_controls(one.text[place:])])

    def _repr_html_(self) -> str:
        return str(Markup("").join(self._block(one) for one in self.texts))

    def _block(self, one: MarkedText) -> Markup:
        parts, place = [], 0
        for span in one.spans:
            hue = _HUES[self.labels.index(span.label) % len(_HUES)]
            text = one.text[span.start : span.end]
            mark = _MARK.format(hue=hue, title=_said(span), text=text, label=str(span.label))
            parts += [escape(one.text[place : span.start]), mark]
            place = span.end
        return _BLOCK.format(Markup("").join([*parts, escape(one.text[place:])]))

    def displacy(self) -> list[dict[str, Any]]:
        """Return the input of ``spacy.displacy.render(..., style="ent", manual=True)``: a mapping for each text."""
        return [
            {
                "text": one.text,
                "ents": [{"start": span.start, "end": span.end, "label": str(span.label)} for span in one.spans],
                "title": None,
            }
            for one in self.texts
        ]


def mark(texts: Sequence[str], spans: Sequence[Sequence[Span]], labels: Sequence[Any]) -> Marked:
    """Put the spans of each text, in the order in which they stand, with it."""
    pairs = zip(texts, spans, strict=True)
    return Marked(tuple(MarkedText(text, tuple(own)) for text, own in pairs), tuple(labels))


def _said(span: Span) -> str:
    """The type, with the probability where there is one."""
    return str(span.label) if span.probability is None else f"{span.label} {span.probability:.2f}"
