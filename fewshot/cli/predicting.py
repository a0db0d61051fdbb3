"""The rows of files, classified step by step: what is known of them beforehand, and what is found."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from fewshot.cli.app import note
from fewshot.cli.data import Inputs
from fewshot.cli.learning import Ready
from fewshot.cli.parquet import Schema
from fewshot.cli.part import Part
from fewshot.cli.reading import Rows
from fewshot.cli.table import Table
from fewshot.cli.writing import Added
from fewshot.errors import FewshotError, InputError
from fewshot.serving.memory import Returning

if TYPE_CHECKING:
    from fewshot.models.base import FloatArray

__all__ = ["STEP", "Columns", "Survey"]

STEP = 256  # rows of a step, after which what is known is printed or kept
_TOLD = 2.0  # seconds between two lines of progress for a machine


@dataclass(frozen=True)
class Columns:
    """What the added columns are called, so that none of the rows' own is touched."""

    prediction: str = "prediction"
    probability: str = "probability"
    sets: tuple[str, ...] = ()  # of the set of classes, where there is one
    classes: tuple[str, ...] = ()  # of the probability of each class, where that is wanted

    @classmethod
    def beside(
        cls, own: Sequence[str], name: str, prefix: str | None, classes: Sequence[str] = (), *, sets: bool = False
    ) -> Columns:
        """Names that none of a file's own columns has."""

        def made(before: str) -> Columns:
            probability, chosen = f"{before}probability", (f"{before}prediction_set",) if sets else ()
            return cls(f"{before}prediction", probability, chosen, tuple(f"{probability}_{one}" for one in classes))

        found = made(prefix or "")
        taken = [one for one in found.names if one in own]
        if not taken:
            return found
        if prefix is not None:
            raise InputError(f"{name!r} has a column {taken[0]!r} of its own: give another --prefix.")
        i, free = 1, made("fewshot_")
        while any(one in own for one in free.names):
            i += 1
            free = made(f"fewshot{i}_")
        more = f" and {free.probability}_..." if classes else ""
        note(
            f"{name!r} has a column {taken[0]!r} of its own, which stays: what is added is called {free.prediction} "
            f"and {free.probability}{more}. Choose with --prefix."
        )
        return free

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in their order."""
        return self.prediction, self.probability, *self.sets, *self.classes

    @property
    def types(self) -> dict[str, str]:
        """What each of them holds: a text, texts, or a number."""
        own = {self.prediction: "text", self.probability: "number"}
        return own | dict.fromkeys(self.sets, "texts") | dict.fromkeys(self.classes, "number")

    def of(self, step: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
        """The columns that the results of a step are."""
        return {name: [one[i] for one in step] for i, name in enumerate(self.names)}

    def found(self, done: Ready, texts: Sequence[Any]) -> list[list[Any]]:
        """The results of a step; a row without text has none."""
        asked, clf = [text for text in texts if text is not None], done.clf
        found: Iterator[list[Any]] = iter(())
        if asked:
            proba, names = clf.predict_proba(asked), [str(name) for name in clf.classes_]
            sets = done.conformal.sets_of(proba) if done.conformal and self.sets else [()] * len(asked)
            found = map(self._row, proba, sets, repeat(names))
        return [[None] * len(self.names) if text is None else next(found) for text in texts]

    def _row(self, p: FloatArray, chosen: Any, names: Sequence[str]) -> list[Any]:
        own = [[name for name, one in zip(names, chosen, strict=True) if one]] if self.sets else []
        each = [round(float(one), 4) for one in p] if self.classes else []
        return [names[int(p.argmax())], round(float(p.max()), 4), *own, *each]


class Survey:
    """What a first look at all rows has shown; it keeps none of them.

    Parameters
    ----------
    rows : Rows
    fields : mapping
        The column of each field.
    empty : bool
        Whether there may be rows without text.
    typed : bool
        Whether they are written with types.

    Attributes
    ----------
    columns : list of str
        Those of the rows, in the order in which they come up.
    schema : Schema
        In which all rows fit, where they are written with types.
    n_rows : int
    """

    def __init__(self, rows: Rows, fields: Mapping[str, str], *, empty: bool, typed: bool) -> None:
        self.rows, self.schema = rows, Schema()
        columns, inputs = dict.fromkeys(rows.columns or ()), None
        for part in rows.parts(STEP):
            inputs = inputs or Inputs(part, fields, rows.name)
            inputs.look(part)
            columns |= dict.fromkeys(part.columns)
            if typed:
                self.schema.add(part)
        rows.refuse_empty(inputs is not None, list(columns))
        assert inputs is not None
        rows.remark()
        inputs.check(empty)
        self.columns, self._inputs, self.n_rows = list(columns), inputs, inputs.n_rows
        if inputs.n_blank:
            first = ", ".join(inputs.blank) + (", ..." if inputs.n_blank > len(inputs.blank) else "")
            note(
                f"{inputs.n_blank} of {self.n_rows} rows of {rows.name!r} have no text and get no prediction: {first}."
            )

    def texts(self) -> list[Any]:
        """All rows that have text, as a classifier takes them."""
        return [text for part in self.rows.parts(STEP) for text in self._inputs.take(part) if text is not None]

    def added(self, done: Ready, columns: Columns, *, as_json: bool) -> Iterator[Added]:
        """The rows and what is found of them, step by step."""
        with _progress(self.n_rows, as_json) as advance:
            start, returning = 0, Returning()
            for part in self.rows.parts(STEP):
                yield part, columns.of(self._step(done, columns, part, start))
                returning()
                start += len(part.rows)
                advance(len(part.rows))

    def complete(self, kept: Part, done: Ready, columns: Columns, *, as_json: bool) -> None:
        """Let a part hold the results of every step; those that it has are not computed again."""
        with _progress(self.n_rows, as_json) as advance:
            start, returning = 0, Returning()
            for number, part in enumerate(self.rows.parts(STEP)):
                if number >= kept.n_steps:
                    kept.add(self._step(done, columns, part, start))
                    returning()
                start += len(part.rows)
                advance(len(part.rows))

    def kept(self, kept: Part, columns: Columns) -> Iterator[Added]:
        """The rows and what a part holds of them."""
        for part, step in zip(self.rows.parts(STEP), kept.steps(), strict=True):
            yield part, columns.of(step)

    def _step(self, done: Ready, columns: Columns, part: Table, start: int) -> list[list[Any]]:
        texts = self._inputs.take(part)
        try:
            return columns.found(done, texts)
        except FewshotError as error:
            if start:  # messages count from the first row of the step
                error.args = (f"Counting from row {start}: {error}",)
            raise


@contextmanager
def _progress(n_rows: int, as_json: bool) -> Iterator[Any]:
    """Say how many rows are done: a bar where somebody looks, lines of JSON for a machine, else nothing."""
    if not as_json:
        from tqdm import tqdm

        with tqdm(total=n_rows, desc="Classifying", unit=" rows", disable=None) as bar:
            yield bar.update
        return
    done, told = 0, time.monotonic()

    def advance(n: int) -> None:
        nonlocal done, told
        done += n
        if time.monotonic() - told > _TOLD:
            told = time.monotonic()
            sys.stderr.write(json.dumps({"rows": done, "of": n_rows}) + "\n")
            sys.stderr.flush()

    yield advance
