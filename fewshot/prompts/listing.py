"""Whether the prompts of a task list its label words, and so can be asked under several orders of them."""

from __future__ import annotations

from typing import Any

from fewshot.checks import at_least
from fewshot.errors import ParameterError, UnsupportedError
from fewshot.models.base import kind_of
from fewshot.task.task import Task

__all__ = ["check_orders", "lists_labels"]


def lists_labels(task: Task, model: Any) -> bool:
    """Whether the model reads a list of label words, or of a row's choices, in the prompts of one wording."""
    return task.template.lists_labels(instruction=kind_of(model).reads in ("prompt", "state"))


def check_orders(orders: Any, task: Task, model: Any) -> None:
    """Refuse a number of orders that is none, and several orders of a list that no prompt has.

    Raises
    ------
    ParameterError
        When no wording lists the label words.
    UnsupportedError
        When a text may have several labels.
    """
    if not (isinstance(orders, str) and orders == "all"):
        at_least("orders", orders, 1, whole=True, more=", or 'all'")
    if orders == 1:
        return
    if task.multi_label:
        raise UnsupportedError(
            "When a text may have several labels, Prompting asks about each of them by itself and lists none: leave "
            f"orders at 1. Got orders={orders!r}."
        )
    if not any(lists_labels(one, model) for one in task.wordings):
        raise ParameterError(
            f"orders={orders!r} asks under several orders of the label words that a prompt lists, and {task.template} "
            f"lists none that {model!r} reads: use orders=1, or a template with 'labels' in its body, such as "
            "'generic/listed'."
        )
