"""Demonstrations: which labelled rows the prompt shows, and in which order."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from fewshot.demonstrations.drawn import First, Order, Random, Selection, Selector, Stratified, select
from fewshot.demonstrations.orders import least_biased, orders
from fewshot.demonstrations.similar import MMR, Nearest
from fewshot.errors import ParameterError

__all__ = [
    "MMR",
    "First",
    "Nearest",
    "Order",
    "Random",
    "Selection",
    "Selector",
    "Stratified",
    "as_selector",
    "least_biased",
    "orders",
    "select",
]

_BY_NAME: dict[str, type[Selector]] = {
    "stratified": Stratified,
    "random": Random,
    "first": First,
    "nearest": Nearest,
    "mmr": MMR,
}


def as_selector(selection: Any, order: str | None = None) -> Selector:
    """Return the selector with a name, or a copy of a selector.

    Parameters
    ----------
    selection : {"stratified", "random", "first", "nearest", "mmr"} or Selector
    order : {"as is", "common first", "interleaved", "nearest last"}, optional
        Replaces the order of the selector.

    Raises
    ------
    InputError
        When ``selection`` is neither.

    Examples
    --------
    >>> from fewshot.demonstrations import as_selector
    >>> as_selector("nearest", order="interleaved")
    Nearest(order='interleaved')
    """
    found: Selector
    if isinstance(selection, str) and selection in _BY_NAME:
        found = _BY_NAME[selection]()
    elif isinstance(selection, Selector):
        found = clone(selection)
    else:
        names = ", ".join(map(repr, _BY_NAME))
        raise ParameterError(f"selection must be one of {names}, or an object such as Nearest(). Got {selection!r}.")
    if order is not None:
        found.set_params(order=order)
    return found
