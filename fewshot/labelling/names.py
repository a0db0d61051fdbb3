"""compare_names: which names of the classes separate unlabelled texts best, without any label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewshot.classifier import Classifier
from fewshot.errors import ParameterError
from fewshot.inputs import as_rows
from fewshot.models.base import kind_of
from fewshot.models.loading import load
from fewshot.strategies.comparison import divergences
from fewshot.strategies.embedding import Embedding
from fewshot.strategies.prompting import Prompting
from fewshot.tables import as_html, as_text

__all__ = ["NameComparison", "compare_names"]


@dataclass(frozen=True)
class NameComparison:
    """Sets of names, best first; prints as a table.

    Attributes
    ----------
    sets : tuple of str
        The names of the sets.
    values : tuple of float
        The mutual information (in nats) of text and predicted class with each set.
    errors : tuple of float
        Standard errors of the differences from the best set, over the same texts; 0 for the best one.
    """

    sets: tuple[str, ...]
    values: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def best(self) -> str:
        """The name of the best set."""
        return self.sets[0]

    def _rows(self) -> list[list[str]]:
        cells = zip(self.sets, self.values, self.errors, strict=True)
        return [[name, f"{value:.3f}", f"{self.values[0] - value:.3f} ± {error:.3f}"] for name, value, error in cells]

    def __str__(self) -> str:
        return as_text(_HEADER, self._rows())

    def _repr_html_(self) -> str:
        return as_html(_HEADER, self._rows())


_HEADER = ["names", "mutual information", "less than the best"]


def compare_names(
    X: Any,
    candidates: Mapping[str, Any],
    *,
    model: Any = None,
    template: Any = None,
    strategy: Any = None,
    random_state: int = 0,
) -> NameComparison:
    """Rank sets of class names by how well they separate unlabelled texts.

    Each set makes a zero-shot classifier. Its value is the mutual information between text and predicted class, as in
    `select_template`. It is high if the model is certain about each text, and does not predict the same class for all
    texts (Sorensen et al. 2022, "An Information-theoretic Approach to Prompt Engineering Without Ground Truth Labels").

    Parameters
    ----------
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    candidates : mapping
        From the name of each set to its class names, as ``fit(None, names)`` takes them: a list of names, or a mapping
        from names to descriptions. All sets must have the same number of classes. To compare names of one class, let
        the sets differ only in this class.
    model, template : optional
        As for `Classifier`.
    strategy : Strategy, optional
        None: `Embedding` with an encoder, else `Prompting`.
    random_state : int
        Seed of the strategy.

    Returns
    -------
    NameComparison

    Raises
    ------
    ParameterError
        When there are fewer than two sets, or they have different sizes.

    Notes
    -----
    The value shows how clearly the names divide the texts, not whether this is the division that you want. So compare
    only names for the same classes.

    Examples
    --------
    >>> from fewshot import FakeLM, compare_names
    >>> texts = ["fun", "dull", "great fun", "so dull"]
    >>> def score(query):
    ...     text = query.prefix
    ...     return [text.count("fun") * (name.strip() == "good") + text.count("dull") * (name.strip() == "bad")
    ...             for name in query.candidates]
    >>> names = {"plain": ["good", "bad"], "formal": ["favourable", "adverse"]}
    >>> print(compare_names(texts, names, model=FakeLM(score), template="{{ text }} It was {{ label }}"))
    names   mutual information  less than the best
    plain   0.111               0.000 ± 0.000
    formal  0.000               0.111 ± 0.000
    """
    if not isinstance(candidates, Mapping) or len(candidates) < 2:
        got = len(candidates) if isinstance(candidates, Mapping) else type(candidates).__name__
        raise ParameterError(f"Give a mapping of at least two sets, {{'short': [names], 'long': [names]}}. Got {got}.")
    for name, own in candidates.items():
        if isinstance(own, str) or not hasattr(own, "__len__"):
            raise ParameterError(f"The names of the set {name!r} must be a list or a mapping. Got {own!r:.60}.")
    sizes = {str(name): len(set(own)) for name, own in candidates.items()}
    if len(set(sizes.values())) > 1:
        raise ParameterError(
            f"All sets must have the same number of names, since their values are compared. Got {sizes}."
        )
    rows, shared = as_rows(X), load(model)
    usual = Embedding() if kind_of(shared).name == "encoder" else Prompting()
    clf = Classifier(shared, template, strategy=usual if strategy is None else strategy, random_state=random_state)
    parts = np.stack([divergences(clf.fit(None, own).predict_log_proba(rows)) for own in candidates.values()])
    order = np.argsort(-parts.mean(axis=1), kind="stable")
    errors = (parts - parts[order[0]]).std(axis=1) / np.sqrt(len(rows))
    named = list(sizes)
    return NameComparison(
        tuple(named[i] for i in order), tuple(parts[order].mean(axis=1).tolist()), tuple(errors[order].tolist())
    )
