"""A prompt: one row rendered, still in pieces, so that it can be cut at its hole, shortened and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fewshot.errors import PromptTooLongError
from fewshot.models.base import Query, Turn, Window, is_window
from fewshot.models.kinds import kind_named
from fewshot.task.parsing import CANDIDATE, Piece, Place
from fewshot.task.shortening import shortened

__all__ = ["Fitted", "Prompt", "cut_alike", "fit_text", "fit_to_window"]


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

    @property
    def _question(self) -> tuple[int, int]:
        """Where the run around the hole begins and ends that holds no field of the row but the label in question."""
        own = [i for i, (_, place) in enumerate(self.pieces) if _is_of_row(place)]
        before, after = [i + 1 for i in own if i < self._hole], [i for i in own if i > self._hole]
        return max(before, default=0), min(after, default=len(self.pieces))

    def fill(self, word: str) -> str:
        """The text with the hole filled."""
        return self.prefix + word + self.suffix

    def query(self, candidates: Sequence[str], context: tuple[Turn, ...] = (), kind: str = "causal") -> Query:
        """Ask which candidate fills the hole.

        An entailment model is asked whether the frame with the hole filled (the hypothesis) follows from the fields
        (the premise); a decision model what is right of the fields (the state), by the context and the text around the
        hole; an encoder reads the fields; every other kind reads the whole prompt after its context.
        """
        reads = kind_named(kind).reads
        if reads == "fields":
            return Query(self.fields_text, ())
        if reads == "prompt":
            return Query(self.prefix, tuple(candidates), self.suffix, context)
        if reads == "state":
            start, stop = self._question
            state = self.pieces[:start], self.pieces[stop:]
            said = " ".join(filter(None, ("".join(piece.text for piece in half).strip() for half in state)))
            frame = Prompt(self.pieces[start:stop])
            asked = (*context, Turn("premise", said))
            return Query(frame.prefix.lstrip(), tuple(candidates), frame.suffix.rstrip(), asked)
        frame = Prompt(tuple(piece for piece in self.pieces if piece.place.in_frame))
        premise = Turn("premise", self.fields_text)
        return Query(frame.prefix.lstrip(), tuple(candidates), frame.suffix.rstrip(), (premise,))


def _is_of_row(place: Place) -> bool:
    return place.kind == "field" and not place.lists and place.name != CANDIDATE


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

    @property
    def emptied(self) -> tuple[str, ...]:
        """The fields of which nothing is left, since there was no room for any of it."""
        pairs = [(self.prompt.pieces[i], lost) for i, lost in zip(self.cut_at, self.cut_texts, strict=True)]
        names = (piece.place.name for piece, lost in pairs if lost.strip() and not piece.text.strip())
        return tuple(dict.fromkeys(names))


def fit_to_window(
    prompt: Prompt,
    contexts: Sequence[tuple[Turn, ...]],
    candidates: Sequence[str],
    window: Window,
    *,
    kind: str = "causal",
    n_tokens: int | None = None,
    twins: Sequence[tuple[Prompt, Sequence[tuple[Turn, ...]]]] = (),
) -> Fitted:
    """Shorten a prompt until the model can read it.

    Demonstrations go first, then the shortenable fields: the longest of them, counted by its weight, until they are
    equal (see `fewshot.task.shortening.kept_tokens`). Instructions, label words and the hole are never cut.

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
    kind : str
        The name of the model's kind, which says what it reads of a prompt.
    n_tokens : int, optional
        The length with all demonstrations, where the caller has measured it already.
    twins : sequence of (Prompt, contexts)
        The same row's prompts that list the label words in other orders. They must fit as well, with the same
        demonstrations and the same text; the length is that of the longest.

    Raises
    ------
    PromptTooLongError
        When the parts that are never cut do not fit by themselves.
    """

    def length(kept: Prompt, shots: int) -> int:
        alike = [(kept, contexts), *((cut_alike(twin, prompt, kept), own) for twin, own in twins)]
        return int(max(window.lengths([one.query(candidates, own[shots], kind) for one, own in alike])))

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
        own = [pieces[i] for i in cuttable]
        texts, places = [piece.text for piece in own], [piece.place for piece in own]
        weights, sides = [place.weight for place in places], [place.side for place in places]
        cuts = shortened(texts, window.token_ends(texts), weights, sides, size - window.limit)
        for i, place, (left, lost, taken) in zip(cuttable, places, cuts, strict=True):
            if taken:
                pieces[i] = Piece(left, place)
                before = cut_texts.get(i, "")
                cut_texts[i] = lost + before if place.side == "right" else before + lost
                n_cut += taken
        kept = Prompt(tuple(pieces))
        size = length(kept, shots)
    return Fitted(kept, shots, size, n_cut, tuple(cut_texts.values()), tuple(cut_texts))


def cut_alike(twin: Prompt, whole: Prompt, kept: Prompt) -> Prompt:
    """Cut the fields of a prompt as they were cut in one that lists the label words in another order."""
    if kept is whole:
        return twin
    cuts: dict[tuple[str, str], list[str]] = {}
    for before, after in zip(whole.pieces, kept.pieces, strict=True):
        if before.place.weight:
            cuts.setdefault((before.place.name, before.text), []).append(after.text)
    pieces = []
    for piece in twin.pieces:
        texts = cuts.get((piece.place.name, piece.text)) if piece.place.weight else None
        pieces.append(piece._replace(text=texts.pop(0)) if texts else piece)
    return Prompt(tuple(pieces))


def fit_text(prompt: Prompt, window: Any) -> Fitted:
    """Shorten the fields of what an encoder reads, as `fit_to_window` does, so that it does not drop the last of them.

    Of one field, it drops the end itself; and what still exceeds its window when all that may be cut is cut. One that
    reads window by window, or has no window, reads all.
    """
    fields = [piece.place.side for piece in prompt.pieces if piece.place.weight and piece.text]
    unread = Fitted(prompt, 0, 0)
    if fields in ([], ["right"]) or not is_window(window) or getattr(window, "windows", None) is not None:
        return unread
    # a token has at least one byte
    if len(prompt.fields_text.encode("utf-8", "replace")) < window.limit - 8:
        return unread
    try:
        return fit_to_window(prompt, [()], (), window, kind="encoder")
    except PromptTooLongError:
        return unread
