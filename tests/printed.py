"""Compare what two runs print: the same text, and numbers that differ by no more than processors do."""

from __future__ import annotations

import doctest
import re

_NUMBER = re.compile(r"[-+]?\d+\.\d+")


def says_the_same(a: str, b: str, atol: float = 0.03) -> bool:
    """Whether two texts are equal up to blanks at line ends and small differences of decimal numbers."""
    skeletons = [[_NUMBER.sub("#", line.rstrip()) for line in text.strip().splitlines()] for text in (a, b)]
    numbers = [[float(n) for n in _NUMBER.findall(text)] for text in (a, b)]
    return skeletons[0] == skeletons[1] and all(abs(x - y) <= atol for x, y in zip(*numbers, strict=True))


class Tolerant(doctest.OutputChecker):
    """Takes decimal numbers that differ in the second place for equal: processors do not sum alike."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(want, got, optionflags) or says_the_same(want, got)
