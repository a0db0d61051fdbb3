"""LearningCurve: what was measured at each number of labelled rows, and how it is gathered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fewshot.errors import InputError, UnsupportedError
from fewshot.evaluation.tables import Result, make_frame, render_html
from fewshot.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LearningCurve", "Records", "fit_each"]

T = TypeVar("T")
_BESIDE = ("name", "shots", "draw", "seconds")  # the columns that are no metrics


@dataclass(frozen=True, eq=False)
class LearningCurve(Result):
    """Metrics for several numbers of labelled rows; prints as a table of their means.

    Attributes
    ----------
    draws : DataFrame
        A row for each fit. The columns are: name; shots (labelled rows per class, mentions per type, or answered
        questions); draw; the metrics of `evaluate` for classifiers (NaN if a classifier has no probabilities, or does
        not know the order of the classes), or those of `compare` for taggers and extractors; and the seconds of fit and
        prediction.
    skipped : DataFrame
        The fits that were not possible: name, shots, draws (how many) and reason.
    n_test : int
        Number of held-out rows, which are the same for all fits.
    """

    draws: pd.DataFrame
    skipped: pd.DataFrame
    n_test: int

    def summary(self) -> pd.DataFrame:
        """Return the mean and standard deviation over draws of each metric and of the seconds, by name and shots.

        The columns are pairs such as ("accuracy", "std"). The standard deviation is NaN if there is only one draw.
        """
        grouped = self.draws.groupby(["name", "shots"], sort=False)
        return grouped[[*self._metrics(), "seconds"]].agg(["mean", "std"])

    def _metrics(self) -> list[str]:
        return [name for name in self.draws.columns if name not in _BESIDE]

    def _repr_html_(self) -> str:
        return render_html(self.summary(), self.skipped)

    def __str__(self) -> str:
        counts = self.draws.groupby(["name", "shots"], sort=False).size()
        rows = []
        for (name, shots), row in zip(counts.index, self.summary().to_dict("records"), strict=True):
            cells = [_spread(row[column, "mean"], row[column, "std"]) for column in self._metrics()]
            rows.append([str(name), str(shots), str(counts[name, shots]), *cells, f"{row['seconds', 'mean']:.1f}"])
        lines = [
            f"{self.n_test} held-out rows, mean ± standard deviation over the draws",
            as_text(["name", "shots", "draws", *self._metrics(), "seconds"], rows, right=True),
        ]
        for one in self.skipped.to_dict("records"):
            times = f"{one['draws']} draw{'s' if one['draws'] > 1 else ''}"
            lines.append(f"left out: {one['name']} at {one['shots']} shots, {times}: {one['reason']}")
        return "\n".join(lines)


class Records:
    """What was measured and what was left out, as it comes in.

    Parameters
    ----------
    metrics : sequence of str
        The columns of the table. Those that no fit has are NaN.
    optional : sequence of str
        Columns that are there where a fit has them.
    """

    def __init__(self, metrics: Sequence[str], optional: Sequence[str] = ()) -> None:
        self._metrics, self._optional = metrics, optional
        self._rows: list[dict[str, Any]] = []
        self._skipped: dict[tuple[str, int, str], int] = {}

    def skip(self, name: str, shots: int, reason: str, draws: int = 1) -> None:
        """Note that something is not there, and why."""
        key = (name, shots, reason)
        self._skipped[key] = self._skipped.get(key, 0) + draws

    def take(
        self, name: str, shots: int, draw: int, *, predict: Callable[[], T], measure: Callable[[T], dict[str, float]]
    ) -> None:
        """Note what a fit predicts, and how long it takes; where it fails, that.

        Parameters
        ----------
        name : str
        shots, draw : int
        predict : callable
            Fits and predicts.
        measure : callable
            Returns the metrics of what ``predict`` returned.
        """
        started = time.perf_counter()
        try:
            found = predict()
        except (ValueError, UnsupportedError) as error:  # too few labels for this estimator, or none
            self.skip(name, shots, f"{type(error).__name__}: {error}")
            return
        seconds = time.perf_counter() - started
        self._rows.append({"name": name, "shots": shots, "draw": draw, **measure(found), "seconds": seconds})

    def done(self, n_test: int) -> LearningCurve:
        """The tables; where there was no fit at all, an error."""
        if not self._rows:
            reasons = "\n".join(f"- {name} at {shots} shots: {reason}" for name, shots, reason in self._skipped)
            raise InputError(f"Not a single fit was possible:\n{reasons}")
        there = [name for name in self._optional if any(name in row for row in self._rows)]
        columns = ["name", "shots", "draw", *self._metrics, *there, "seconds"]
        left_out = [(*key[:2], draws, key[2]) for key, draws in self._skipped.items()]
        return LearningCurve(
            make_frame({column: [row.get(column) for row in self._rows] for column in columns}),
            make_frame({c: [row[i] for row in left_out] for i, c in enumerate(("name", "shots", "draws", "reason"))}),
            n_test,
        )


def fit_each(
    curve: Records,
    named: Mapping[str, Any],
    shots: Sequence[int],
    draws: int,
    *,
    refuse: Callable[[Any, int], str | None],
    give: Callable[[int, int], Any],
    predict: Callable[[Any, Any], T],
    measure: Callable[[T], dict[str, float]],
) -> None:
    """Fit every estimator on every draw of every size, and zero-shot once, and note what comes of it.

    Parameters
    ----------
    curve : Records
        Where it is noted.
    named : mapping of str to estimator
    shots : sequence of int
    draws : int
    refuse : callable
        Says why an estimator can't have so many shots; None where it can.
    give : callable
        What is learnt from, of a size and a draw.
    predict : callable
        Fits an estimator on that, and predicts.
    measure : callable
        Returns the metrics of what ``predict`` returned.
    """
    for name, one in named.items():
        for size in shots:
            times, reason = draws if size else 1, refuse(one, size)
            if reason is not None:
                curve.skip(name, size, reason, times)
                continue
            for draw in range(times):
                find = partial(predict, one, give(size, draw))
                curve.take(name, size, draw, predict=find, measure=measure)


def _spread(mean: float, std: float) -> str:
    if mean != mean:  # noqa: PLR0124
        return "-"
    return f"{mean:.3f}" if std != std else f"{mean:.3f} ± {std:.3f}"  # noqa: PLR0124
