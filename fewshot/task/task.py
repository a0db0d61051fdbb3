"""Task: what is asked, resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.task.template import Template
from fewshot.task.verbalizer import Verbalizer

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """What is asked: the resolved template, verbalizer and classes of a classifier.

    When ``multi_label``, y is an indicator matrix of shape (n_texts, n_classes), and log-scores are log-odds. Where a
    classifier has several templates, ``others`` are the same task in the other wordings.
    """

    template: Template
    verbalizer: Verbalizer
    classes: NDArray[Any]
    multi_label: bool = False
    others: tuple[Task, ...] = ()

    @property
    def wordings(self) -> tuple[Task, ...]:
        """The task in each of its wordings."""
        return (self, *self.others)

    def index(self, labels: Sequence[Any]) -> NDArray[np.int64]:
        """Column of each label in ``classes``."""
        where = {name: i for i, name in enumerate(self.classes.tolist())}
        return np.array([where[label] for label in labels], dtype=np.int64)
