"""How much a kept classifier's files may ask for: JSON that is bounded before it is parsed, and nodes before they grow.

A few bytes of JSON can name an object of any size. Nothing is allocated on the word of a file: what it may cost is
worked out first, from the size of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fewshot.errors import InputError

__all__ = ["MAX_TEXT", "MISREAD", "Sizes", "check_width", "read_json"]

#: Bytes of a JSON file or template: a prompt shows tens of labelled texts, or chooses among some hundred thousand.
MAX_JSON, MAX_TEXT = 256 * 2**20, 2**20
#: Values in a JSON file, each of which takes about a hundred bytes of memory.
_MAX_VALUES = 8_000_000
#: Nodes within nodes. What save writes has about twenty.
_MAX_DEPTH = 100
#: Values within a node when all that it names is written out, and within a key, which is hashed whole.
_MAX_WITHIN, _MAX_KEY = 50_000_000, 1000
#: Bytes of an array of text, whose items are all as wide as the widest.
_MAX_WIDTH = 256 * 2**20
#: What Python raises where a file does not say what it should.
MISREAD = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


def read_json(data: bytes, where: str) -> Any:
    """Parse JSON, in memory that is bounded by the size of the file; messages call it ``where``."""
    if len(data) > MAX_JSON:
        raise InputError(f"{where} has {len(data)} bytes, and at most {MAX_JSON} are read.")
    n = sum(data.count(sign) for sign in (b",", b"[", b"{"))
    if n > _MAX_VALUES:
        raise InputError(f"{where} has about {n} values, and at most {_MAX_VALUES} are read.")
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{where} is not JSON that can be read: {reason}.") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


class Sizes:
    """How deep each node lies, and how much it holds when all that it names is written out.

    A node may name others many times over, so that some hundred nodes could stand for more values than there are atoms;
    whoever hashes, compares or prints such a thing never ends.
    """

    def __init__(self) -> None:
        self._sizes: list[tuple[int, int]] = []

    def add(self, named: Iterable[int]) -> None:
        """Note a node that names these nodes before it; refuse one that lies too deep, or holds too much."""
        depth, within = 0, 1
        for place in named:
            if not 0 <= place < len(self._sizes):
                raise InputError(f"it names node {place}, which does not come before it")
            depth, within = max(depth, self._sizes[place][0]), within + self._sizes[place][1]
        if depth >= _MAX_DEPTH:
            raise InputError(f"it is nested more than {_MAX_DEPTH} deep")
        if within > _MAX_WITHIN:
            raise InputError(f"it stands for more than {_MAX_WITHIN} values")
        self._sizes.append((depth + 1, within))

    def check_key(self, place: int) -> None:
        """Refuse a node as a key, or as a member of a set, when hashing it would take long."""
        if self._sizes[place][1] > _MAX_KEY:
            raise InputError(f"a key or a member of a set stands for more than {_MAX_KEY} values")


def check_width(width: int, texts: list[Any]) -> None:
    """Refuse an array of texts that is wider than its texts and large."""
    longest = max((len(text) for text in texts if isinstance(text, str)), default=0)
    if width * 4 * max(len(texts), 1) > _MAX_WIDTH or width > max(1024, 64 * longest):
        raise InputError(f"it holds an array of {len(texts)} texts of {width} characters each, which are not in it")
