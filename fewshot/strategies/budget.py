"""Budget: the seconds that a fit may take, and what is left out for want of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Budget"]

#: A closer look costs two more fits and four more steps: it is taken where time for this many fits of a step is left.
_CLOSER = 12.0


class Budget:
    """Seconds from now on.

    Parameters
    ----------
    seconds : float, optional
        None sets no limit.

    Attributes
    ----------
    reasons : list of str
        What was left out and why, a sentence each.

    Examples
    --------
    >>> budget = Budget(60.0)
    >>> budget.allows("resting", lambda steps: None, fits=1, steps=10)
    True
    >>> Budget(0.001).allows("counting", lambda steps: sum(range(steps * 10**6)), fits=1, steps=10)
    False
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.reasons: list[str] = []
        self._start = time.perf_counter()

    @property
    def left(self) -> float:
        """Seconds that are left."""
        if self.seconds is None:
            return math.inf
        return self.seconds - (time.perf_counter() - self._start)

    def allows(self, name: str, run: Callable[[int], object], *, fits: float, steps: float) -> bool:
        """Time a fit, and say whether there is time for so many fits of so many steps in all; if not, keep the reason.

        ``run`` does a fit of the number of steps that it is given; ``name`` is what would be left out.
        """
        if self.seconds is None:
            return True
        if self.left <= 0:
            self.reasons.append(f"{name} was not tried: the budget of {self.seconds:g} s was used up")
            return False
        first = _timed(run, 1)
        needed = steps * first  # as if every step were a fit of its own
        if needed > self.left > _CLOSER * first:
            one, three = _timed(run, 1), _timed(run, 3)  # the first had to warm up
            step = max((three - one) / 2, three / 6)
            needed = fits * max(0.0, one - step) + steps * step
        if needed <= self.left:
            return True
        self.reasons.append(
            f"{name} was not tried: it would take about {needed:.0f} s, and {max(0.0, self.left):.0f} s of the budget "
            f"of {self.seconds:g} s were left"
        )
        return False


def _timed(run: Callable[[int], object], steps: int) -> float:
    before = time.perf_counter()
    run(steps)
    return time.perf_counter() - before
