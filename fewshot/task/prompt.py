"""A prompt: one row rendered, still in pieces, so that it can be cut at its hole, shortened and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot.errors import PromptTooLongError
from fewshot.models.base import Kind, Query, Turn, Window
from fewshot.task.parsing import Piece

__all__ = ["Fitted", "Prompt", "fit_to_window"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row in the template, as pieces with exactly one hole among them."""

    pieces: tuple[Piece, ...]

    @property
    def prefix(self) -> str:
        """The text before the hole."""
        return "".join(piece.text for piece in self.pieces[: self._hole])

    @property
    def suffix(self) -> str:
        """The text after the hole."""
        return "".join(piece.text for piece in self.pieces[self._hole + 1 :])

    @property
    def fields_text(self) -> str:
        """The part that holds the row's fields, without the frame around the hole; a blank where the frame stood."""
        halves = self.pieces[: self._hole], self.pieces[self._hole + 1 :]
        texts = ["".join(piece.text for piece in half if not piece.place.in_frame).strip() for half in halves]
        return " ".join(filter(None, texts))

    @property
    def _hole(self) -> int:
        return next(i for i, piece in enumerate(self.pieces) if piece.place.kind == "hole")

    def fill(self, word: str) -> str:
        """The text with the hole filled."""
        return self.prefix + word + self.suffix

    def query(self, candidates: Sequence[str], context: tuple[Turn, ...] = (), kind: Kind = "causal") -> Query:
        """Ask which candidate fills the hole.

        An entailment model is asked whether the frame with the hole filled (the hypothesis) follows from the fields
        (the premise); every other kind reads the whole prompt after its context.
        """
        if kind != "entailment":
            return Query(self.prefix, tuple(candidates), self.suffix, context)
        frame = Prompt(tuple(piece for piece in self.pieces if piece.place.in_frame))
        premise = Turn("premise", self.fields_text)
        return Query(frame.prefix.lstrip(), tuple(candidates), frame.suffix.rstrip(), (premise,))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits the window, and what that cost."""

    prompt: Prompt
    n_demonstrations: int
    n_tokens: int
    n_cut: int = 0  # tokens cut from the row's own fields
    cut_texts: tuple[str, ...] = ()  # what was cut, for previews
    cut_at: tuple[int, ...] = ()  # and from which pieces

    @property
    def shortened(self) -> bool:
        """Whether the row's own text was cut."""
        return self.n_cut > 0


def fit_to_window(
    prompt: Prompt,
    contexts: Sequence[tuple[Turn, ...]],
    candidates: Sequence[str],
    window: Window,
    *,
    kind: Kind = "causal",
    n_tokens: int | None = None,
) -> Fitted:
    """Shorten a prompt until the model can read it.

    Demonstrations go first, then the shortenable fields in proportion to their weights; instructions, label words and
    the hole are never cut.

    Parameters
    ----------
    prompt : Prompt
        The rendered row.
    contexts : sequence of tuple of Turn
        ``contexts[k]`` is the context with k demonstrations; the last one is tried first.
    candidates : sequence of str
        What may fill the hole; the longest of them must fit.
    window : Window
        The model.
    kind : Kind
        How the model is asked.
    n_tokens : int, optional
        The length with all demonstrations, where the caller has measured it already.

    Raises
    ------
    PromptTooLongError
        When the parts that are never cut do not fit by themselves.
    """

    def length(prompt: Prompt, shots: int) -> int:
        return int(window.lengths([prompt.query(candidates, contexts[shots], kind)])[0])

    shots = len(contexts) - 1
    size = length(prompt, shots) if n_tokens is None else n_tokens
    while size > window.limit and shots > 0:
        shots -= 1
        size = length(prompt, shots)
    pieces, kept = list(prompt.pieces), prompt
    n_cut = 0
    cut_texts: dict[int, str] = {}
    while size > window.limit:
        cuttable = [i for i, piece in enumerate(pieces) if piece.place.weight and piece.text]
        if not cuttable:
            raise PromptTooLongError(
                f"The prompt has {size} tokens after everything that may be cut was cut, and the model reads "
                f"{window.limit}. Shorten the instruction, the template or the label words, or use a model that reads "
                "more."
            )
        ends = window.token_ends([pieces[i].text for i in cuttable])
        shares = _shares(size - window.limit, [len(e) for e in ends], [pieces[i].place.weight for i in cuttable])
        for i, offsets, share in zip(cuttable, ends, shares, strict=True):
            if share:
                pieces[i], cut, taken = _cut(pieces[i], offsets, share)
                cut_texts[i] = (
                    cut + cut_texts.get(i, "") if pieces[i].place.side == "right" else cut_texts.get(i, "") + cut
                )
                n_cut += taken
        kept = Prompt(tuple(pieces))
        size = length(kept, shots)
    return Fitted(kept, shots, size, n_cut, tuple(cut_texts.values()), tuple(cut_texts))


def _shares(excess: int, sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Divide ``excess`` tokens over fields in proportion to their weights, none beyond its size."""
    shares = np.zeros(len(sizes), dtype=np.int64)
    room = np.array([max(size, 1) for size in sizes], dtype=np.int64)
    weight = np.array(weights, dtype=np.float64)
    left = min(excess, int(room.sum()))
    while left > 0:
        active = np.where(shares < room, weight, 0.0)
        step = np.minimum(np.ceil(left * active / active.sum()).astype(np.int64), room - shares)
        for i in np.argsort(-active, kind="stable"):  # rounding up may give too much: the heaviest go first
            step[i] = min(step[i], left)
            left -= int(step[i])
        shares += step
    return [int(share) for share in shares]


def _cut(piece: Piece, ends: Sequence[int] | np.ndarray, share: int) -> tuple[Piece, str, int]:
    """Take ``share`` tokens off a piece; return what is left, what was taken, and how many tokens that were.

    Where a character is several tokens, which then all end at the same offset, they are taken together.
    """
    text, n = piece.text, len(ends)
    if piece.place.side == "right":
        keep = max(n - share, 0)
        while keep and ends[keep - 1] == ends[keep]:
            keep -= 1
        at = int(ends[keep - 1]) if keep else 0
        return Piece(text[:at], piece.place), text[at:], max(n - keep, 1)
    taken = min(share, n)
    while taken < n and ends[taken - 1] in (0, ends[taken]):
        taken += 1
    at = int(ends[taken - 1]) if taken < n else len(text)
    return Piece(text[at:], piece.place), text[:at], max(taken, 1)
