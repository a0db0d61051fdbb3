"""Phrasings: the wordings and formats in which a language model can be asked the same, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fewshot.inputs import Row
from fewshot.models.base import formats_of, kind_of
from fewshot.models.wrappers import RememberedLM
from fewshot.strategies.comparison import mutual_information
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.readout import Readout
from fewshot.task import gallery
from fewshot.task.task import Task

__all__ = ["Phrasing", "compare_information", "phrasings_of"]

#: What the generic wording of a language model may become, itself first.
_GENERIC = ("generic/causal", "generic/listed", "generic/unlisted")
#: Under how many orders of its label words each is asked: the list of ``generic/listed`` stands last, and costs little.
_ORDERS = {"generic/listed": 2}
#: Texts without labels that phrasings are compared on.
_COMPARED = 128


@dataclass(frozen=True, eq=False)
class Phrasing:
    """A wording of a task under some orders, and a model in one of its formats, which remembers what it was asked."""

    name: str
    task: Task
    model: Any
    remembered: RememberedLM
    orders: int = 1

    def fitted(self, strategy: Any, X: Any, y: Any, random_state: Any) -> Any:
        """Fit a strategy, and ask nothing again that was asked before; the fitted one asks the model itself."""
        if not isinstance(strategy, Prompting | Readout) or self.task.multi_label:
            return strategy.fit(self.task, self.model, X, y, random_state=random_state)
        strategy.fit(self.task, self.remembered, X, y, random_state=random_state)
        strategy.model_ = self.model
        for asking in strategy.askings_:
            asking.model = self.model
        return strategy


def phrasings_of(task: Task, model: Any) -> list[Phrasing]:
    """All there are, what was given first: the generic wording has others, and a chat model a plain format."""
    if task.multi_label or task.verbalizer.per_row:
        return [Phrasing("as it is", task, model, RememberedLM(model))]
    formats = [(own, RememberedLM(own)) for own in formats_of(model)]
    said = [", chat", ", plain"] if len(formats) > 1 else [""]
    return [
        Phrasing(_name(wording, form), wording, own, remembered, orders)
        for wording, orders in _wordings(task, model)
        for form, (own, remembered) in zip(said, formats, strict=True)
    ]


def _wordings(task: Task, model: Any) -> list[tuple[Task, int]]:
    named = [gallery.get(name) for name in _GENERIC]
    default = kind_of(model).generic == _GENERIC[0] and task.template == named[0] and not task.others
    if not default:
        return [(task, 1)]
    return [(replace(task, template=one), _ORDERS.get(name, 1)) for name, one in zip(_GENERIC, named, strict=True)]


def _name(task: Task, form: str) -> str:
    several = f"{len(task.wordings)} templates"
    return f"{several if task.others else task.template.name or 'own template'}{form}"


def compare_information(phrasings: Sequence[Phrasing], X: Sequence[Row], random_state: Any) -> list[float]:
    """The mutual information of texts and calibrated predictions, for each phrasing; no label is needed.

    It is high where the model is sure of each text, and not of the same class for all (Sorensen et al. 2022, "An
    Information-theoretic Approach to Prompt Engineering Without Ground Truth Labels").
    """
    rng = check_random_state(random_state)
    rows = np.sort(rng.permutation(len(X))[:_COMPARED])
    texts = [X[i] for i in rows]
    found = []
    for one in phrasings:
        asks = Prompting(calibration="batch", orders=one.orders)
        found.append(mutual_information(asks.fit(one.task, one.remembered, texts).log_scores(texts)))
    return found
