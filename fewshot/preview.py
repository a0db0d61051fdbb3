"""Preview: the prompts as they would be asked, before any compute is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Preview", "PreviewRow"]


@dataclass(frozen=True)
class PreviewRow:
    """One row's prompt: its turns, the text around the hole, and what fitting it to the window cost."""

    context: Sequence[tuple[str, str]]
    prefix: str
    suffix: str
    n_tokens: int
    n_demonstrations: int = 0
    n_cut: int = 0
    cut: Sequence[str] = ()
    candidates: Sequence[str] = ()  # the row's own, where rows bring their choices

    @property
    def text(self) -> str:
        """The whole prompt, with the hole shown as three low lines."""
        return "".join(text for _, text in self.context) + self.prefix + "___" + self.suffix


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

    def __iter__(self) -> Iterator[PreviewRow]:
        return iter(self.rows)

    def _heading(self, i: int, row: PreviewRow) -> str:
        parts = [f"[{i}] {row.n_tokens} tokens"]
        if row.n_demonstrations:
            parts.append(f"{row.n_demonstrations} demonstrations")
        if row.n_cut:
            parts.append(f"{row.n_cut} cut: {' … '.join(row.cut)!r:.60}")
        return ", ".join(parts)

    def __str__(self) -> str:
        blocks = []
        for i, row in enumerate(self.rows):
            own = f"\ncandidates: {' | '.join(row.candidates)}" if row.candidates else ""
            blocks.append(f"{self._heading(i, row)}\n{row.text}{own}")
        shared = f"\ncandidates: {', '.join(self.candidates)}" if self.candidates else ""
        return "\n\n".join(blocks) + shared

    __repr__ = __str__

    def _repr_html_(self) -> str:
        blocks = []
        for i, row in enumerate(self.rows):
            hole = f"<mark>{escape(' | '.join(row.candidates or self.candidates))}</mark>"
            before = "".join(
                f"<span title='{escape(role)}' style='opacity:.6'>{escape(t)}</span>" for role, t in row.context
            )
            prompt = f"{before}{escape(row.prefix)}{hole}{escape(row.suffix)}"
            blocks.append(
                f"<div><small>{escape(self._heading(i, row))}</small>"
                f"<pre style='white-space:pre-wrap;margin:.2em 0 1em'>{prompt}</pre></div>"
            )
        return "".join(blocks)
