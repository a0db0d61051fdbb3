"""Budget: the seconds that a fit may take, and what is left out for want of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Budget"]


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
    >>> budget.allows("resting", lambda: None, steps=10)
    True
    >>> Budget(0.001).allows("counting", lambda: sum(range(10**6)), steps=10)
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

    def allows(self, name: str, one: Callable[[], object], steps: float) -> bool:
        """Do one step, and say whether so many would end in time; if not, keep the reason."""
        if self.seconds is None:
            return True
        if self.left > 0:
            before = time.perf_counter()
            one()
            needed = steps * (time.perf_counter() - before)
            if needed <= self.left:
                return True
            self.reasons.append(
                f"{name} was not tried: it would take about {needed:.0f} s, and {max(0.0, self.left):.0f} s of the "
                f"budget of {self.seconds:g} s were left"
            )
        else:
            self.reasons.append(f"{name} was not tried: the budget of {self.seconds:g} s was used up")
        return False
