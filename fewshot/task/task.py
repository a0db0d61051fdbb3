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
    """What is asked: the resolved template, verbalizer and classes of a classifier. `Strategy.fit` gets it.

    Parameters
    ----------
    template : Template
    verbalizer : Verbalizer
        The label words of every class.
    classes : ndarray of shape (n_classes,)
        Sorted; the columns of every score are in this order.
    multi_label : bool
        Whether a text may have several labels. Then y is an indicator matrix of shape (n_texts, n_classes), and
        log-scores are log-odds.
    others : tuple of Task
        The same task in the other wordings, if a classifier has several templates.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot import Task, Template, Verbalizer
    >>> words = Verbalizer({"neg": "terrible", "pos": "great"})
    >>> task = Task(Template("{{ text }} It was {{ label }}."), words, np.array(["neg", "pos"]))
    >>> task.index(["pos", "neg", "pos"])
    array([1, 0, 1])
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
        """Return the column of each label in ``classes``."""
        where = {name: i for i, name in enumerate(self.classes.tolist())}
        return np.array([where[label] for label in labels], dtype=np.int64)
