"""Auto: the strategy that fits the kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from sklearn.base import BaseEstimator

from fewshot.models.base import FloatArray, is_language_model, kind_of
from fewshot.preview import Preview
from fewshot.strategies.base import Task, no_weights
from fewshot.strategies.embedding import Embedding
from fewshot.strategies.prompting import Prompting
from fewshot.task.template import Row

__all__ = ["Auto"]

_MOST_SHOTS = 16


class Auto(BaseEstimator):  # type: ignore[misc]
    """Choose the strategy from the kind of model and the labels at hand.

    An encoder gets `Embedding`. A language model gets `Prompting`, with up to 16 stratified demonstrations where it is
    a causal model and there are labelled rows; masked, sequence-to-sequence and entailment models are asked zero-shot,
    since demonstrations in the prompt do not help them.

    Attributes
    ----------
    chosen_ : Strategy
        The strategy that was chosen, fitted.

    Examples
    --------
    >>> from fewshot import Auto, Classifier, FakeLM
    >>> lm = FakeLM(lambda query: [0.0 for _ in query.candidates])
    >>> Classifier(lm, strategy=Auto()).fit(["x", "y"], ["a", "b"]).strategy_.chosen_
    Prompting(shots=2)
    """

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
        """Choose, and fit the chosen strategy."""
        chosen: Prompting | Embedding
        if is_language_model(model):
            no_weights(self, sample_weight)
            shots = min(len(y), _MOST_SHOTS) if y is not None and kind_of(model) == "causal" else 0
            chosen = Prompting(shots=shots)
        else:
            chosen = Embedding()
        self.chosen_ = chosen.fit(task, model, X, y, sample_weight=sample_weight, random_state=random_state)
        return self

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Log-probabilities of the classes, of shape (n_texts, n_classes)."""
        return self.chosen_.log_scores(X)

    def preview(self, X: Sequence[Row]) -> Preview:
        """What the chosen strategy would ask."""
        return self.chosen_.preview(X)

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """The label mass, where the chosen strategy has one."""
        from fewshot.errors import UnsupportedError

        if not isinstance(self.chosen_, Prompting):
            raise UnsupportedError("An encoder has no label mass: it compares vectors, not words.")
        return self.chosen_.label_mass(X)
