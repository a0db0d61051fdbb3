"""Preview: the prompts as they would be asked, before any compute is spent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, NamedTuple

from fewshot.models.kinds import kind_named
from fewshot.task.prompt import Fitted

__all__ = [
    "Part",
    "Preview",
    "PreviewRow",
    "cut_after",
    "explain_colours",
    "split_parts",
    "split_premise",
    "strip_controls",
]

_MOST_CANDIDATES = 12  # that are shown in the hole
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
#: After Okabe and Ito (2008), and so faint that a page's own text is read on them, be the page light or dark.
_STYLES = {
    "instruction": "background:rgba(128,128,128,.18)",
    "demonstration": "background:rgba(0,158,115,.16)",
    "answer": "background:rgba(0,158,115,.34)",
    "field": "background:rgba(86,180,233,.3)",
    "hole": "background:rgba(230,159,0,.45);font-weight:bold;border-radius:.3em;padding:0 .3em",
    "cut": "background:rgba(213,94,0,.18);text-decoration:line-through;opacity:.75",
}
_KINDS = {"system": "instruction", "user": "demonstration", "assistant": "answer"}
_PRE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0 1em;background:transparent;color:inherit;border:0"


class Part(NamedTuple):
    """A run of a prompt: the template's own text, a field of the row, the hole, or what was cut from a field."""

    kind: Literal["text", "field", "hole", "cut"]
    text: str


@dataclass(frozen=True)
class PreviewRow:
    """One row's prompt in parts, and what fitting it to the window cost.

    ``context`` are the turns before it, the instruction and the demonstrations, as (role, text); ``candidates`` are the
    row's own, where rows bring their choices.
    """

    context: Sequence[tuple[str, str]]
    parts: Sequence[Part]
    n_tokens: int
    n_demonstrations: int = 0
    n_cut: int = 0
    candidates: Sequence[str] = ()

    @property
    def text(self) -> str:
        """The whole prompt, with the hole shown as three low lines and without what was cut."""
        own = ("___" if part.kind == "hole" else part.text for part in self.parts if part.kind != "cut")
        return "".join([*(text for _, text in self.context), *own])

    @property
    def cut(self) -> tuple[str, ...]:
        """What was cut from the row's fields."""
        return tuple(part.text for part in self.parts if part.kind == "cut")

    @property
    def heading(self) -> str:
        """The number of tokens, and what was done to fit the prompt."""
        said = [f"{self.n_tokens} tokens"] if self.n_tokens else []  # not every model counts them
        if self.n_demonstrations:
            said.append(f"{self.n_demonstrations} demonstrations")
        if self.n_cut:
            said.append(f"{self.n_cut} cut: {' … '.join(self.cut)!r:.60}")
        return ", ".join(said)

    @property
    def coloured(self) -> list[tuple[str, str]]:
        """Kind and text of all that is shown, the turns before the prompt among it."""
        turns = [(_KINDS[role], text) for role, text in self.context]
        return [(kind, text) for kind, text in [*turns, *self.parts] if text or kind == "hole"]

    def fill_hole(self, candidates: Sequence[str]) -> str:
        """What may fill the hole: the first candidates, the row's own where it brings some."""
        candidates = self.candidates or candidates
        more = f" | … {len(candidates)}" * (len(candidates) > _MOST_CANDIDATES)
        return " | ".join(candidates[:_MOST_CANDIDATES]) + more

    def html(self, candidates: Sequence[str]) -> str:
        """The prompt with its parts coloured, and the candidates in its hole; all text is escaped."""
        hole = self.fill_hole(candidates)
        shown = (_span(kind, hole if kind == "hole" else text) for kind, text in self.coloured)
        return f"<pre style='{_PRE}'>{''.join(shown)}</pre>"


class Preview(Sequence[PreviewRow]):
    """The previews of several rows; prints as text, and shows as HTML in notebooks.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM
    >>> lm = FakeLM(lambda query: [0.0 for _ in query.candidates])
    >>> clf = Classifier(lm, template="{{ text }} It was {{ label }}.").fit(None, ["bad", "good"])
    >>> print(clf.preview(["Great fun."]))
    [0] 5 tokens
    Great fun. It was ___.
    candidates: bad, good
    """

    def __init__(self, rows: Sequence[PreviewRow], candidates: Sequence[str], limit: int | None = None) -> None:
        self.rows = list(rows)
        self.candidates = tuple(candidates)
        self.limit = limit

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> PreviewRow:  # type: ignore[override]
        return self.rows[i]

    def __str__(self) -> str:
        blocks = []
        for i, row in enumerate(self.rows):
            own = f"\ncandidates: {' | '.join(row.candidates)}" if row.candidates else ""
            blocks.append(f"{f'[{i}] {row.heading}'.rstrip()}\n{row.text}{own}")
        shared = f"\ncandidates: {', '.join(self.candidates)}" if self.candidates else ""
        return strip_controls("\n\n".join(blocks) + shared)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        blocks = [
            f"<div><small>[{i}] {escape(row.heading)}</small>{row.html(self.candidates)}</div>"
            for i, row in enumerate(self.rows)
        ]
        return "".join([explain_colours({kind for row in self.rows for kind, _ in row.coloured}), *blocks])


def explain_colours(kinds: Collection[str]) -> str:
    """What the colours of a prompt mean, of those kinds of parts that it has."""
    shown = [_span(kind, kind) for kind in _STYLES if kind in kinds]
    return f"<div style='margin-bottom:.6em'><small>{' '.join(shown)}</small></div>"


def strip_controls(text: str) -> str:
    """The text without the control characters that could steer a terminal; line breaks and tabs stay."""
    return _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


def split_parts(fitted: Fitted, kind: str = "causal") -> tuple[Part, ...]:
    """A prompt in parts, with what was cut from it where it stood; of an entailment model, premise and hypothesis."""
    if kind_named(kind).reads != "premise":
        return tuple(part for i in range(len(fitted.prompt.pieces)) for part in _piece(fitted, i))
    frame = [part for i, piece in enumerate(fitted.prompt.pieces) if piece.place.in_frame for part in _piece(fitted, i)]
    return (*split_premise(fitted), Part("text", "\n"), *_stripped(frame))


def split_premise(fitted: Fitted) -> tuple[Part, ...]:
    """The parts of `Prompt.fields_text`, with what was cut from it."""
    halves: tuple[list[Part], list[Part]] = ([], [])
    after = False
    for i, piece in enumerate(fitted.prompt.pieces):
        after = after or piece.place.kind == "hole"
        if not piece.place.in_frame:
            halves[after].extend(_piece(fitted, i))
    first, second = (_stripped(half) for half in halves)
    between = [Part("text", " ")] * (_has_text(first) and _has_text(second))
    return (*first, *between, *second)


def cut_after(parts: Iterable[Part], at: int) -> tuple[Part, ...]:
    """The same parts, of which a model reads the first ``at`` characters only."""
    shown = []
    for kind, text in parts:
        shown += [Part(kind, text[:at]), Part("cut", text[at:])] if at < len(text) else [Part(kind, text)]
        at = max(0, at - len(text))
    return tuple(part for part in shown if part.text)


def _piece(fitted: Fitted, i: int) -> list[Part]:
    """A piece of the prompt, and what was cut from it on the side where that stood."""
    text, place = fitted.prompt.pieces[i]
    cut = [Part("cut", lost) for at, lost in zip(fitted.cut_at, fitted.cut_texts, strict=True) if at == i]
    own = Part(place.kind, text)
    return [own, *cut] if place.side == "right" else [*cut, own]


def _stripped(parts: list[Part]) -> list[Part]:
    """Without the blanks at both ends, which the model does not read either."""
    for backwards in (False, True):
        for i in reversed(range(len(parts))) if backwards else range(len(parts)):
            kind, text = parts[i]
            if kind != "cut":
                parts[i] = Part(kind, text.rstrip() if backwards else text.lstrip())
                if parts[i].text or kind == "hole":
                    break
    return parts


def _has_text(parts: Iterable[Part]) -> bool:
    return any(part.text for part in parts if part.kind != "cut")


def _span(kind: str, text: str) -> str:
    if kind == "text":
        return escape(text)
    return f"<span title='{kind}' style='{_STYLES[kind]}'>{escape(text)}</span>"
