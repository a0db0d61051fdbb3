"""What a lint says: findings, token counts and label words, as text, HTML and JSON."""

from __future__ import annotations

import json
import textwrap
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal

from fewshot.errors import TemplateError
from fewshot.tables import as_html, as_text, known

__all__ = ["LEVELS", "NEUTRAL", "Finding", "Findings", "Level", "LintReport", "TokenCounts", "WordLine", "unparsed"]

Level = Literal["error", "warning", "hint"]
NEUTRAL = "N/A"  # the first of the content-free texts of Zhao et al. (2021), as calibration="contextual" has it
LEVELS = ("error", "warning", "hint")
_COLOURS = {"error": "#d9534f", "warning": "#c77c02", "hint": "#3b8fd0"}  # legible on white and on black


@dataclass(frozen=True)
class Finding:
    """Something to know about a template: how bad it is, what it is, and what to do about it."""

    level: Level
    message: str
    cure: str


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of the prompts with their longest label word; None where there are no rows, or no label words.

    ``overhead`` is the prompt with "N/A" in every field: what the instruction, the template and the word take.
    """

    limit: int
    overhead: int | None = None
    median: int | None = None
    p95: int | None = None
    longest: int | None = None
    share_cut: float = 0.0
    median_cut: int = 0


@dataclass(frozen=True)
class WordLine:
    """A label word: the tokens that its score sums over, the piece of it in its first token, and its probability.

    ``share`` is the probability among the label words alone. ``frame`` is an encoder's prompt for the class.
    """

    label: str
    word: str
    n_tokens: int | None = None
    first: str | None = None
    probability: float | None = None
    share: float | None = None
    frame: str | None = None


class Findings(ABC):
    """What reports of findings share: how they print as text, as HTML and as JSON."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return all(one.level != "error" for one in self.findings)

    def to_json(self) -> str:
        """Return the report as JSON, with ``ok``."""
        return json.dumps({"ok": self.ok, **asdict(self)}, allow_nan=False, indent=1)  # type: ignore[call-overload]

    @abstractmethod
    def _facts(self) -> list[tuple[str, str]]:
        """What was looked at."""

    def _table(self) -> tuple[list[str], list[list[str]]] | None:
        """Header and rows of what was counted."""
        return None

    def _summary(self) -> str:
        counts = {level: sum(one.level == level for one in self.findings) for level in LEVELS}
        named = [f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n]
        return (", ".join(named) or "nothing found") + "."

    def __str__(self) -> str:
        blocks = ["\n".join(f"{name:10}  {value}" for name, value in self._facts())]
        if (table := self._table()) is not None:
            blocks.append(as_text(*table))
        blocks += [
            f"{_wrapped(f'{one.level}: {one.message}')}\n{_wrapped(f'  cure: {one.cure}')}" for one in self.findings
        ]
        return "\n\n".join([*blocks, self._summary()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [as_html([], self._facts())]
        if (table := self._table()) is not None:
            parts.append(as_html(*table))
        for one in self.findings:
            colour = _COLOURS[one.level]
            parts.append(
                f"<div style='border-left:4px solid {colour};padding-left:.6em;margin:.6em 0'>"
                f"<b style='color:{colour}'>{one.level}</b> "
                f"<span style='white-space:pre-wrap;font-family:monospace'>{escape(one.message)}</span>"
                f"<br><i>cure:</i> {escape(one.cure)}</div>"
            )
        return "".join([*parts, f"<small>{escape(self._summary())}</small>"])


@dataclass(frozen=True, repr=False)
class LintReport(Findings):
    """The findings of `Template.lint`; prints as text, and shows as HTML in notebooks.

    Attributes
    ----------
    template, model : str
        What was checked; model is None if only the text was.
    fields, missing, unused : tuple of str
        The fields of the template, the fields that no row has, and the columns that the template does not use.
    n_rows : int
    hole : tuple of str or None
        The ends of the text before and after the hole.
    tokens : TokenCounts or None
    words : tuple of WordLine
    mass : float or None
        Total probability of the words' distinct first tokens under the content-free input.
    findings : tuple of Finding
        Errors first, then warnings, then hints.
    """

    template: str
    model: str | None = None
    fields: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    n_rows: int = 0
    hole: tuple[str, str] | None = None
    tokens: TokenCounts | None = None
    words: tuple[WordLine, ...] = ()
    mass: float | None = None
    findings: tuple[Finding, ...] = ()

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("template", self.template), ("model", self.model or "none: only the text was looked at")]
        parts = [", ".join(self.fields) or "unknown"]
        parts += [f"{kind}: {', '.join(names)}" for kind in ("missing", "unused") if (names := getattr(self, kind))]
        facts.append(("fields", "; ".join(parts)))
        facts += [("rows", str(self.n_rows))] * bool(self.n_rows)
        if self.hole is not None:
            facts.append(("hole", f"{self.hole[0]!r} ___ {self.hole[1]!r}"))
        if (tokens := self.tokens) is not None:
            window = f"the window is {tokens.limit}"
            own = "" if tokens.overhead is None else f"; {tokens.overhead} with {NEUTRAL!r} in every field"
            rows = f"median {tokens.median}, 95 % {tokens.p95}, max {tokens.longest}; "
            facts.append(("tokens", (rows if tokens.median is not None else "") + window + own))
            if tokens.median is not None:
                by = f", by {tokens.median_cut} tokens in the median" if tokens.median_cut else ""
                facts.append(("cut", f"{tokens.share_cut:.1%} of the rows{by}"))
        if self.mass is not None:
            facts.append(("label mass", f"{self.mass:.2g} after {NEUTRAL!r}"))
        return facts

    def _table(self) -> tuple[list[str], list[list[str]]] | None:
        """Header and rows of the label words."""
        columns: dict[str, list[Any]] = {
            "class": [str(one.label) for one in self.words],
            "word": [repr(one.word) for one in self.words],
            "tokens": [None if one.n_tokens is None else str(one.n_tokens) for one in self.words],
            "first token": [None if one.first is None else repr(one.first) for one in self.words],
            "probability": [None if one.probability is None else f"{one.probability:.2g}" for one in self.words],
            "share": [None if one.share is None else f"{one.share:.2f}" for one in self.words],
            "prompt of the class": [one.frame for one in self.words],
        }
        return known(columns) if self.words else None


def unparsed(name: str, error: TemplateError) -> LintReport:
    """Report a template that does not even parse; its own error has the line and a caret."""
    cure = "Correct the source where the message points; a template has fields such as {{ text }} and one {{ label }}."
    return LintReport(name, findings=(Finding("error", str(error), cure),))


def _wrapped(text: str) -> str:
    """Break long lines for a terminal, but not a message that has lines of its own, with a caret."""
    return text if "\n" in text else textwrap.fill(text, 100, subsequent_indent="    ", break_on_hyphens=False)
