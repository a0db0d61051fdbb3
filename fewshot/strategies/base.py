"""The Strategy protocol, and what strategies refuse: how labelled texts are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from sklearn.base import clone

from fewshot.errors import InputError, UnsupportedError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray
from fewshot.task.task import Task

__all__ = [
    "Strategy",
    "as_strategy",
    "fixed_words",
    "no_weights",
    "one_label",
    "one_wording",
]


class Strategy(Protocol):
    """A way to use labelled texts. A scikit-learn estimator in its parameters, so that grids can reach them."""

    def fit(
        self,
        task: Task,
        model: Any,
        X: Sequence[Row] | None = None,
        y: Any = None,
        *,
        sample_weight: FloatArray | None = None,
        random_state: Any = None,
    ) -> Self:
        """Learn from labelled rows; X None is zero-shot, y None is unlabelled text."""
        ...

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Log-probabilities of the classes, of shape (n_texts, n_classes); when multi-label, log-odds."""
        ...


def as_strategy(given: Any, name: str = "strategy") -> Any:
    """An unfitted copy of a strategy.

    Raises
    ------
    InputError
        When it is none.
    """
    if isinstance(given, type) or not callable(getattr(given, "log_scores", None)):
        raise InputError(f"{name} must be a strategy such as Prompting() or Embedding(). Got {given!r}.")
    return clone(given)


def no_weights(strategy: object, sample_weight: object) -> None:
    """Refuse sample weights on behalf of a strategy that can't use them."""
    if sample_weight is not None:
        raise UnsupportedError(f"{type(strategy).__name__} can't use sample_weight: leave it out, or use Embedding().")


def one_label(strategy: object, task: Task) -> None:
    """Refuse a multi-label task on behalf of a strategy that knows only classes which exclude each other."""
    if task.multi_label:
        raise UnsupportedError(
            f"{type(strategy).__name__} gives each text one class, and y is an indicator matrix: use Embedding() with "
            "an encoder, Prompting() with a language model, or one classifier a label."
        )


def one_wording(strategy: object, task: Task) -> None:
    """Refuse several templates on behalf of a strategy that asks in one wording."""
    if task.others:
        raise UnsupportedError(
            f"{type(strategy).__name__} asks in one wording, and there are {len(task.wordings)} templates: give one, "
            "or use Prompting()."
        )


def fixed_words(strategy: object, task: Task) -> None:
    """Refuse rows that bring their own choices on behalf of a strategy that compares texts by the same words."""
    if task.verbalizer.per_row:
        raise UnsupportedError(
            f"{type(strategy).__name__} compares all texts by the same label words, and here each row brings its own "
            "choices: use Prompting() with a language model, such as Classifier('embedded:masked', ...)."
        )
