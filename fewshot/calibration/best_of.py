"""Which calibration: by name, or the best of several by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from fewshot.calibration.batch import Batch
from fewshot.calibration.learned import Learned
from fewshot.calibration.priors import PMI, Aggregate, Ask, Contextual, DomainContext, Prior, log_loss
from fewshot.calibration.temperature import Temperature
from fewshot.errors import ParameterError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, Query
from fewshot.task.template import Template

__all__ = ["BestOf", "as_prior"]

_ROUNDING = 1e-9


class BestOf(Prior):
    """Choose the calibration with the lowest cross-validated log loss on the labelled texts.

    It compares no calibration, contextual, domain-context, PMI (if the template has a ``domain_premise``), batch, and
    learned. Every probe is scored once, and folds reuse the scores. Without labels, or if a class has only one labelled
    text, nothing can be compared. Then batch is chosen if there are texts, else contextual.

    Parameters
    ----------
    max_texts : int
        The most texts of ``fit`` that are scored.

    Attributes
    ----------
    chosen_ : Prior or None
        The chosen calibration, fitted; None if no calibration is best.
    losses_ : dict
        Held-out log loss of each calibration that was compared, by name.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> lm = FakeLM(lambda query: [3.0, float("fun" in query.prefix)])
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}.", strategy=Prompting(calibration="auto"))
    >>> clf = clf.fit(["fun", "so fun", "dull", "very dull"], ["good", "good", "bad", "bad"])
    >>> clf.strategy_.calibration_.losses_["batch"] < clf.strategy_.calibration_.losses_["none"]
    True
    """

    def __init__(self, max_texts: int = 2000) -> None:
        self.max_texts = max_texts

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """Return the queries for the texts of ``fit``, and the probes of all methods."""
        asked = {"contextual": Contextual().probes(ask, template, X, rng)}
        own: list[Query] = []
        if X:
            own = ask(X)
            asked["domain-context"] = DomainContext().probes(ask, template, X, rng)
            premise = any(turn.role == "premise" for turn in own[0].context)
            if template.metadata.get("domain_premise") is not None and not premise:
                asked["pmi"] = PMI().probes(ask, template, X, rng)
        self._n_texts, self._n_asked = len(own), {name: len(queries) for name, queries in asked.items()}
        return [*own, *(query for queries in asked.values() for query in queries)]

    def fit(self, scores: FloatArray, targets: IntArray | None = None, aggregate: Aggregate | None = None) -> Self:
        """Fit and compare the methods, and keep the best one."""
        texts, start = scores[: self._n_texts], self._n_texts
        fixed: dict[str, Prior | None] = {"none": None}
        for name, n in self._n_asked.items():
            fixed[name] = _BY_NAME[name]().fit(scores[start : start + n])
            start += n
        self.losses_: dict[str, float] = {}
        counts = np.zeros(0) if targets is None else np.unique(targets, return_counts=True)[1]
        folds = int(min([5, *counts]))
        if targets is None or aggregate is None or folds < 2 or len(counts) < 2:
            self.chosen_ = Batch().fit(texts) if len(texts) else fixed["contextual"]
            return self
        rows = np.arange(len(texts))
        for name, prior in fixed.items():
            self.losses_[name] = log_loss(_applied(prior, texts, aggregate, rows), targets)
        for name in ("batch", "learned"):
            held = np.empty((len(texts), aggregate(texts[:1], rows[:1]).shape[1]))
            for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(rows, targets):
                prior = _BY_NAME[name]().fit(texts[train], targets[train], _part(aggregate, train))
                held[test] = _applied(prior, texts[test], aggregate, test)
            self.losses_[name] = log_loss(held, targets)
        lowest = min(self.losses_.values()) + _ROUNDING
        best = next(name for name, loss in self.losses_.items() if loss <= lowest)  # of equals the simplest
        self.chosen_ = fixed[best] if best in fixed else _BY_NAME[best]().fit(texts, targets, aggregate)
        return self

    def transform(self, scores: FloatArray) -> FloatArray:
        """Apply the chosen calibration to word log-scores."""
        return scores if self.chosen_ is None else self.chosen_.transform(scores)

    def transform_classes(self, scores: FloatArray) -> FloatArray:
        """Apply the chosen calibration to class log-scores."""
        return scores if self.chosen_ is None else self.chosen_.transform_classes(scores)


def _part(aggregate: Aggregate, rows: IntArray) -> Aggregate:
    """The aggregation of some of the rows."""
    return lambda scores, which: aggregate(scores, rows[which])


def _applied(prior: Prior | None, words: FloatArray, aggregate: Aggregate, rows: IntArray) -> FloatArray:
    if prior is None:
        return aggregate(words, rows)
    return prior.transform_classes(aggregate(prior.transform(words), rows))


_BY_NAME: dict[str, type[Prior]] = {
    "contextual": Contextual,
    "domain-context": DomainContext,
    "pmi": PMI,
    "batch": Batch,
    "learned": Learned,
    "temperature": Temperature,
    "auto": BestOf,
}


def as_prior(calibration: Any) -> Prior:
    """Return the calibration with a name, or a copy of a calibration.

    Raises
    ------
    InputError
        When the argument is neither.
    """
    if isinstance(calibration, str) and calibration in _BY_NAME:
        return _BY_NAME[calibration]()
    if isinstance(calibration, Prior):
        return clone(calibration)
    names = ", ".join(map(repr, _BY_NAME))
    raise ParameterError(f"calibration must be one of {names}, or an object such as Contextual(). Got {calibration!r}.")
