"""Ways to find spans or answers, compared on held-out rows: the folds, which way wins, and how that prints."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from fewshot.models.base import FloatArray, IntArray
from fewshot.tables import as_text

__all__ = ["FOLDS", "Folds", "Tried", "choose_best", "deal", "group", "print_choice"]

FOLDS = 5  # at most
_RESAMPLES = 200  # for a standard error


class Tried(Protocol):
    """A way that was tried, and how well it did."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    @property
    def f1(self) -> float:
        """Of all rows that were held out."""

    @property
    def seconds(self) -> float:
        """For all folds."""


T = TypeVar("T", bound=Tried)


class Folds(NamedTuple):
    """The rows that are compared on, the fold of each, how many folds there are, and the seed of their fits."""

    rows: IntArray
    fold_of: IntArray
    n: int
    seed: int


def group(keys: Sequence[Hashable], rng: np.random.RandomState) -> list[list[int]]:
    """The rows of each key, in a drawn order."""
    groups: dict[Hashable, list[int]] = {}
    for i in rng.permutation(len(keys)).tolist():
        groups.setdefault(keys[i], []).append(i)
    return list(groups.values())


def deal(groups: Sequence[Sequence[int]], n: int, seed: int) -> Folds:
    """Deal groups of rows to n folds, one after the other, so that each kind is spread evenly if kinds come in turn.

    Examples
    --------
    >>> from fewshot.strategies.held_out import deal
    >>> deal([[4, 1], [0], [2]], 2, seed=0).fold_of.tolist()  # of the rows 0, 1, 2 and 4
    [1, 0, 0, 0]
    """
    pairs = sorted((i, place % max(n, 1)) for place, own in enumerate(groups) for i in own)
    rows, fold_of = np.array(pairs, dtype=np.int64).T
    return Folds(rows, fold_of, n, seed)


def choose_best(tried: Sequence[T], parts_of: Callable[[T], FloatArray], metric: str, seed: int) -> tuple[T, list[str]]:
    """Return the way that wins, and why, a sentence for each of the others.

    The first one is what another must beat, by more than a standard error of the difference.

    Parameters
    ----------
    tried : sequence of Tried
    parts_of : callable
        Gives two numbers for each row that may be drawn again, of shape (n_rows, 2), whose sums have the F1 as their
        ratio.
    metric : str
        What the F1 is called.
    seed : int
        Of the resamples.
    """
    best, reasons = tried[0], []
    for other in tried[1:]:
        least = _standard_error(parts_of(other), parts_of(best), seed)
        reasons.append(
            f"{metric} {other.f1:.3f} of {other.name}, {best.f1:.3f} of {best.name}: the former wins where it is "
            f"ahead by more than a standard error ({least:.3f})"
        )
        best = other if other.f1 - best.f1 > least else best
    return best, reasons


def print_choice(chosen: str, reasons: Sequence[str], tried: Sequence[Tried], what: str, metric: str) -> str:
    """Write a report as text.

    Parameters
    ----------
    chosen : str
    reasons : sequence of str
    tried : sequence of Tried
    what : str
        What was held out.
    metric : str
    """
    lines = [f"Chosen: {chosen}", *(f"- {reason}" for reason in reasons)]
    if tried:
        rows = [[one.name, f"{one.f1:.3f}", f"{one.seconds:.1f}"] for one in tried]
        lines.append(as_text([f"{f'on held-out {what}':39}", metric, "seconds"], rows, right=True))
    return "\n".join(lines)


def _standard_error(one: FloatArray, other: FloatArray, seed: int) -> float:
    """Of the difference of two F1, over rows drawn again."""
    n = len(one)
    drawn: Any = np.random.RandomState(seed).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    return float(np.std(_ratio(drawn @ one) - _ratio(drawn @ other)))


def _ratio(totals: FloatArray) -> FloatArray:
    return totals[:, 0] / np.maximum(totals[:, 1], 1)
