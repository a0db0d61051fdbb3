"""Supports: the few annotated texts of a draw, with so many mentions of each type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from sklearn.utils import check_random_state

from fewshot.checks import at_least, check_seed

__all__ = ["draw_support"]


def draw_support(mentions: Sequence[Sequence[Hashable]], shots: int, random_state: Any = None) -> list[int]:
    """Draw texts greedily, in a random order, until each type has a number of mentions.

    A text is taken if it mentions a type that has fewer than ``shots`` mentions so far. If a type is rare, all its
    mentions are taken; a frequent type may get more than ``shots``. A text without mentions is never taken.

    Parameters
    ----------
    mentions : sequence of sequence of str
        The types of the spans of each text, once for each span.
    shots : int
        The number of mentions of each type.
    random_state : int, RandomState or None
        Seed of the order.

    Returns
    -------
    list of int
        The numbers of the texts, in the order in which they were drawn.

    Raises
    ------
    ParameterError
        When ``shots`` is not a whole number above 0.

    References
    ----------
    Yang and Katiyar (2020), "Simple and Effective Few-Shot Named Entity Recognition with Structured Nearest Neighbor
    Learning".

    Examples
    --------
    >>> from fewshot.evaluation import draw_support
    >>> sorted(draw_support([["person"], ["place", "place"], [], ["person", "place"]], shots=2, random_state=0))
    [0, 1, 3]
    """
    at_least("shots", shots, 1, whole=True)
    check_seed(random_state)
    wanted = {one for own in mentions for one in own}
    counts: Counter[Hashable] = Counter()
    drawn: list[int] = []
    for i in check_random_state(random_state).permutation(len(mentions)).tolist():
        if all(counts[one] >= shots for one in wanted):
            break
        if any(counts[one] < shots for one in mentions[i]):
            counts.update(mentions[i])
            drawn.append(i)
    return drawn
