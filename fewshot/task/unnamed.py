"""Classes without names, such as 0 and 1: an encoder learns them from labelled rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewshot.errors import InputError
from fewshot.task.verbalizer import Verbalizer

__all__ = ["Unnamed"]


class Unnamed(Verbalizer):
    """The verbalizer of classes that have no names: whoever shows them shows them, and nobody learns from the words.

    Parameters
    ----------
    classes : sequence
        Numbers, truth values, dates: whatever can be sorted and is not text.

    Raises
    ------
    InputError
        When a class is a number on a scale, such as 0.5.

    Examples
    --------
    >>> Unnamed([1, 0])
    Unnamed([0, 1])
    """

    named = False

    def __init__(self, classes: Sequence[Any]) -> None:
        scale = [name for name in classes if isinstance(name, float) and not name.is_integer()]
        if scale:
            raise InputError(
                f"y holds {scale[0]!r}: a class is a name or a whole number, and numbers on a scale are for "
                "regression. Name the steps of the scale, or pass verbalizer={class: label word, ...}."
            )
        super().__init__({name: str(name) for name in classes})

    def __repr__(self) -> str:
        return f"Unnamed({list(self.classes or ())!r})"
