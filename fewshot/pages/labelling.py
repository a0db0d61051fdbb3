"""A session of labelling: which text is next in each tab, what is said of it, what is taken back, how far it is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fewshot.errors import InputError
from fewshot.inputs import Row
from fewshot.pages.labels_file import NONE, SKIPPED, Given, LabelsFile
from fewshot.pages.learner import Guess, Learner
from fewshot.plotting.axes import compute_wilson_intervals

__all__ = ["Session", "check_name"]

_EVERY = 5  # labels between two lessons
_CHANCE = 5  # of so many texts one is drawn by chance
_JUDGED = 100  # the last guesses of the sample that count: older ones are of a classifier that knew less
_SOON = 8  # rows drawn by chance, of which the learner is asked for guesses beforehand
_LONGEST_NAME = 100
#: Why a text was drawn by chance.
_IN_TURN = "Drawn by chance, as one in five is: the accuracy is estimated by these."
_EARLY = "Drawn by chance: the texts have not been compared yet."
_LATE = "Drawn by chance: all that were chosen are done, and nothing more is learned yet."


class _Shown(NamedTuple):
    """A row as a tab shows it."""

    row: int
    reason: str
    by_chance: bool
    guess: Guess | None = None
    again: bool = False  # whether it is shown since its label was taken back, whatever it has now


class _Act(NamedTuple):
    """Something that was said of a row, and what was said of it before."""

    number: int
    row: int
    before: Given | None


class Session:
    """The state of the labelling page; every method may be called by several threads.

    Parameters
    ----------
    rows : sequence
        The texts, or fields by name.
    classes : sequence of str
        The first classes; those of the labels in the file come after them.
    kept : LabelsFile
        Where the labels are.
    learner : Learner
    """

    def __init__(self, rows: Sequence[Row], classes: Sequence[str], kept: LabelsFile, learner: Learner) -> None:
        self._rows, self._kept, self._learner = rows, kept, learner
        self._lock = threading.RLock()
        self.classes = list(dict.fromkeys([*classes, *(one.label for one in kept.given.values() if one.label)]))
        self._keys = [_key(row) for row in rows]
        first: dict[Hashable, int] = {}
        for i, key in enumerate(self._keys):
            first.setdefault(key, i)
        self.n_texts = len(first)
        # an order by chance that stays as it is when rows come after these, so that a later session goes on with it
        self._order = sorted(first.values(), key=lambda row: _drawn(self._keys[row]))
        self._place = {row: i for i, row in enumerate(self._order)}
        self._done = {self._keys[row] for row in kept.given}
        self._shown: dict[str, _Shown] = {}
        self._seen: dict[int, _Shown] = {}
        self._acts = [_Act(i, row, None) for i, row in enumerate(kept.given)]
        self._number, self._since = len(self._acts), 0
        self._learn()

    def state(self, tab: str) -> dict[str, Any]:
        """What a tab shows: its text, the guess, the classes, how far it is."""
        with self._lock:
            shown, learned, counts = self._of(tab), self._learner.latest, self._counts()
            return {
                "row": None if shown is None else shown.row,
                "fields": [] if shown is None else _fields(self._rows[shown.row]),
                "reason": "" if shown is None else shown.reason,
                "guess": None if shown is None or shown.guess is None else shown.guess,
                "classes": [[name, counts.get(name, 0)] for name in self.classes],
                "texts": self.n_texts,
                "labelled": sum(counts.values()),
                "skipped": sum(one.why == SKIPPED for one in self._kept.given.values()),
                "none": sum(one.why == NONE for one in self._kept.given.values()),
                "accuracy": self.accuracy(),
                "chosen": self._right(sample=False),
                "note": "",
                "learning": self._learner.busy,
                "learned": learned.n_labels,
                "error": learned.error,
                "last": self._last(),
                "file": str(self._kept.path),
            }

    def label(self, tab: str, row: int, name: str, *, new: bool = False) -> dict[str, Any]:
        """Give a row a class, in place of what was said of it before; it is on the disk when this returns.

        Raises
        ------
        InputError
            When there is no such row or class, or the label can't be written: then nothing has changed.
        """
        with self._lock:
            if new:
                name = check_name(name)
            elif name not in self.classes:
                raise InputError(f"There is no class {name!r:.120}: add it as a new one.")
            note = self._changed(tab, row, name)
            self._give(row, name, "")
            if name not in self.classes:
                self.classes.append(name)
                self._since = _EVERY
            self._learn_in_turn()
            return {**self._after(tab, row), "note": note}

    def skip(self, tab: str, row: int, *, none: bool = False) -> dict[str, Any]:
        """Leave a row without a label: for now, or since it is of none of the classes.

        Raises
        ------
        InputError
            As `label`.
        """
        with self._lock:
            self._give(row, None, NONE if none else SKIPPED)
            return self._after(tab, row)

    def undo(self, tab: str, number: int) -> dict[str, Any]:
        """Take back what was said of a row, so that it is as before; the tab shows it next.

        Raises
        ------
        InputError
            When something else was said of the row since, as in another tab, or the file can't be written.
        """
        with self._lock:
            act = next((one for one in self._acts if one.number == number), None)
            if act is None or any(one.row == act.row and one.number > number for one in self._acts):
                raise InputError("That was taken back or changed already, perhaps in another tab: nothing is done.")
            if act.before is None:
                self._kept.take_back(act.row)
                self._done.discard(self._keys[act.row])
            else:
                self._kept.give(act.before)
            self._acts.remove(act)
            self._since += 1
            self._learn_in_turn()
            # a guess that is made now may know the label: only the one that was shown at first counts
            seen = self._seen.get(act.row, _Shown(act.row, "", False))
            self._shown[tab] = seen._replace(reason="You took back what you said of it.", again=True)
            return self.state(tab)

    def again(self, tab: str) -> dict[str, Any]:
        """Ask the rows again that were skipped.

        Raises
        ------
        InputError
            When the file can't be written.
        """
        with self._lock:
            rows = [row for row, one in self._kept.given.items() if one.why == SKIPPED]
            self._kept.take_back(*rows)
            self._done -= {self._keys[row] for row in rows}
            self._acts = [act for act in self._acts if act.row not in rows]
            return self.state(tab)

    @property
    def notes(self) -> list[str]:
        """What was odd about the files of an earlier run."""
        return self._kept.notes

    def labels(self) -> list[str | None]:
        """The label of each row so far."""
        with self._lock:
            return [one.label if (one := self._kept.given.get(i)) else None for i in range(len(self._rows))]

    def accuracy(self) -> dict[str, Any] | None:
        """How often the guess was right, before the label was given, on the last texts of a random sample.

        The sample is all texts up to the last that was drawn by chance, in the order of the draw, whatever each of
        them was asked for: so it stands for all texts, and chosen texts, which are harder, are in it as often as among
        all. A row of none of the classes does not count. The interval is Wilson's (1927), of 95 %.
        """
        right, n = self._right(sample=True)
        if not n:
            return None
        low, high = compute_wilson_intervals(np.array(right / n), n)
        return {"right": right, "n": n, "share": right / n, "low": float(low), "high": float(high)}

    def close(self) -> None:
        """End the learning, and let another process at the file."""
        self._learner.close()
        self._kept.close()

    def _right(self, *, sample: bool) -> tuple[int, int]:
        """How many of the last guesses were right, and of how many: in the random sample, or of the other texts."""
        given = self._kept.given.values()
        ends = max((self._place.get(one.row, -1) for one in given if one.by_chance), default=-1)
        judged = [one for one in given if one.label and one.guess and one.row in self._place]
        last = [one for one in judged if (self._place[one.row] <= ends) == sample][-_JUDGED:]
        return sum(one.label == one.guess for one in last), len(last)

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for one in self._kept.given.values():
            if one.label is not None:
                counts[one.label] = counts.get(one.label, 0) + 1
        return counts

    def _give(self, row: int, label: str | None, why: str) -> None:
        """Keep what is said of a row with the guess that was shown first, and remember how it was before."""
        if not 0 <= row < len(self._rows):
            raise InputError(f"There is no row {row}: the last is {len(self._rows) - 1}.")
        before, seen = self._kept.given.get(row), self._seen.get(row)
        guess, by_chance = ("", False) if before is None else (before.guess, before.by_chance)
        if before is None and seen is not None:
            guess, by_chance = seen.guess[0][0] if seen.guess else "", seen.by_chance
        self._kept.give(Given(row, label, why, guess, by_chance))
        self._acts.append(_Act(self._number, row, before))
        self._number += 1
        self._since += 1
        self._done.add(self._keys[row])

    def _changed(self, tab: str, row: int, name: str) -> str:
        """What is to be said where another tab was faster."""
        before, shown = self._kept.given.get(row), self._shown.get(tab)
        if before is None or (shown is not None and shown.row == row and shown.again):
            return ""
        return f"Row {row} was {before.label or before.why} in another tab, and is {name} now."

    def _after(self, tab: str, row: int) -> dict[str, Any]:
        if (shown := self._shown.get(tab)) is not None and shown.row == row:
            del self._shown[tab]
        return self.state(tab)

    def _learn_in_turn(self) -> None:
        if self._since >= _EVERY:
            self._learn()

    def _learn(self) -> None:
        self._since = 0
        given = self._kept.given
        labels = {row: one.label for row, one in given.items() if one.label is not None}
        soon = [row for row in self._order if self._is_free(row)][:_SOON]
        self._learner.ask(self.classes, labels, {row for row, one in given.items() if one.label is None}, soon)

    def _is_free(self, row: int) -> bool:
        return self._keys[row] not in self._done

    def _of(self, tab: str) -> _Shown | None:
        """What a tab shows: the same text until something is said of it, with the first guess that there is."""
        shown = self._shown.get(tab)
        if shown is None or not (shown.again or self._is_free(shown.row)):
            shown = self._next(tab)
        if shown is None:
            self._shown.pop(tab, None)
            return None
        if shown.guess is None and not shown.again:
            shown = shown._replace(guess=self._learner.latest.guesses.get(shown.row))
        self._shown[tab] = self._seen[shown.row] = shown
        return shown

    def _next(self, tab: str) -> _Shown | None:
        """The next text: one that was chosen, or in turn one drawn by chance; if it can be, one of no other tab."""
        elsewhere = {one.row for other, one in self._shown.items() if other != tab}
        in_turn = len(self._kept.given) % _CHANCE == _CHANCE - 1
        drawn = _IN_TURN
        for busy in (elsewhere, set()):
            if not in_turn:
                for row, reason in self._learner.latest.picks:
                    if self._is_free(row) and row not in busy:
                        return _Shown(row, f"Chosen. {reason[:1].upper()}{reason[1:]}.", False)
                drawn = _EARLY if not self._learner.latest.picks else _LATE
            for row in self._order:
                if self._is_free(row) and row not in busy:
                    return _Shown(row, drawn, True)
        return None

    def _last(self) -> dict[str, Any] | None:
        """What would be taken back next."""
        if not self._acts:
            return None
        act = self._acts[-1]
        said = self._kept.given[act.row]
        text = " ".join(cell for _, cell in _fields(self._rows[act.row]))
        return {"act": act.number, "said": said.label or said.why, "text": text[:80]}


def check_name(name: str) -> str:
    """A name of a class, without the blanks around it.

    Raises
    ------
    InputError
        When it is empty, longer than 100 characters or has a line break or another character that can't be printed.
    """
    found = name.strip()
    if not found or len(found) > _LONGEST_NAME or not found.isprintable():
        raise InputError(f"A class needs a name of at most {_LONGEST_NAME} printable characters. Got {name!r:.120}.")
    return found


def _key(row: Row) -> Hashable:
    return row if isinstance(row, str) else tuple((name, str(value)) for name, value in row.items())


def _drawn(key: Hashable) -> bytes:
    """By which texts are put in an order that has nothing to do with what they say."""
    return hashlib.sha256(repr(key).encode("utf-8", "replace")).digest()


def _fields(row: Row) -> list[tuple[str, str]]:
    return [("", row)] if isinstance(row, str) else [(name, str(value)) for name, value in row.items()]
