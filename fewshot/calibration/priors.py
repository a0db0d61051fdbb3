"""Calibrations that are one operation: log-scores minus a log-prior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax, logsumexp
from sklearn.base import BaseEstimator

from fewshot.checks import at_least
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, Query
from fewshot.task.template import Template

__all__ = ["PMI", "Aggregate", "Ask", "Contextual", "DomainContext", "Prior", "log_loss", "log_mean", "subtract_prior"]

Ask = Callable[[Sequence[Row]], list[Query]]
#: Word log-scores of some of the probes, and which probes they are, to class scores.
Aggregate = Callable[[FloatArray, IntArray], FloatArray]


class Prior(BaseEstimator, ABC):  # type: ignore[misc]
    """Base class of calibrations, which subtract a log-prior of the label words from their log-scores.

    Attributes
    ----------
    log_prior_ : ndarray of shape (n_words,)
        The log-prior of each label word, in the order of ``verbalizer.candidates``.
    """

    #: Most texts of ``fit`` that are handed to `probes`; None is all.
    max_texts: int | None = None
    #: Whether it learns from the texts of ``fit``.
    uses_texts: bool = True

    def take_classes(self, classes: Sequence[Any]) -> None:
        """Set the classes, in the order of the class log-scores, before anything is asked; most methods ignore them."""

    @abstractmethod
    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """Return the queries whose scores make the prior.

        Parameters
        ----------
        ask : callable
            Turns rows into the strategy's queries, with its demonstrations.
        template : Template
        X : sequence of rows, optional
            The rows that were given to ``fit``, without the demonstrations.
        rng : RandomState
        """

    def own_probes(self, ask: Ask, template: Template, X: Sequence[Row], queries: Sequence[Query]) -> list[list[Query]]:
        """Return the queries for the prior of each row, for rows that bring their own choices.

        Their candidates are those of the row's query. `fit` and `transform` are then called row by row.

        Parameters
        ----------
        ask : callable
        template : Template
        X : sequence of rows
            May be empty; even then, the method must raise its errors.
        queries : sequence of Query
            The queries of these rows.

        Raises
        ------
        UnsupportedError
            When the method has one prior for all texts.
        """
        raise UnsupportedError(
            f"{type(self).__name__} learns how probable the same label words are in all texts, and here each row "
            "brings its own choices: use calibration='pmi', 'contextual' or None."
        )

    def fit(self, scores: FloatArray, targets: IntArray | None = None, aggregate: Aggregate | None = None) -> Self:
        """Learn the prior from the probes' word log-scores, of shape (n_probes, n_words)."""
        self.log_prior_ = log_mean(scores)
        return self

    def transform(self, scores: FloatArray) -> FloatArray:
        """Subtract the prior from word log-scores, of shape (n_texts, n_words)."""
        return subtract_prior(scores, self.log_prior_)

    def transform_classes(self, scores: FloatArray) -> FloatArray:
        """Return class log-scores, of shape (n_texts, n_classes), unchanged: the prior is subtracted from words."""
        return scores


class FromLabels(Prior):
    """What is learnt from the labelled texts: one query each.

    Parameters
    ----------
    max_texts : int
        Most labelled texts of ``fit`` that are scored.
    """

    def __init__(self, max_texts: int = 2000) -> None:
        self.max_texts = max_texts

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """Return one query for each text of ``fit``.

        Raises
        ------
        InputError
            When there are no labelled texts.
        """
        if not X:
            raise InputError(
                f"{type(self).__name__} needs labelled texts besides the demonstrations, and there are none: call "
                "fit(X, y), or use calibration='contextual'."
            )
        return ask(X)

    def fit(self, scores: FloatArray, targets: IntArray | None = None, aggregate: Aggregate | None = None) -> Self:
        """Learn from the word log-scores of the labelled texts, of shape (n_texts, n_words).

        Raises
        ------
        InputError
            When there are no labels.
        """
        if targets is None or aggregate is None:
            raise InputError(f"{type(self).__name__} needs labels: call fit(X, y), or use calibration='batch'.")
        self._learn(scores, targets, aggregate)
        return self

    @abstractmethod
    def _learn(self, scores: FloatArray, targets: IntArray, aggregate: Aggregate) -> None: ...


class Contextual(Prior):
    """The prior is the model's mean scores for texts without content.

    Zhao et al. (2021), "Calibrate Before Use: Improving Few-Shot Performance of Language Models".

    Parameters
    ----------
    texts : sequence of str
        The texts that fill every field of the template; by default those of the paper.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> lm = FakeLM(lambda query: [3.0, float("fun" in query.prefix)])  # says "bad" whatever it reads
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}.", strategy=Prompting(calibration="contextual"))
    >>> clf.fit(None, ["bad", "good"]).predict(["Great fun."]).tolist()
    ['good']
    """

    uses_texts = False

    def __init__(self, texts: Sequence[str] = ("N/A", "", "[MASK]")) -> None:
        self.texts = texts

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """Return one query for each content-free text."""
        return ask(self._rows(template))

    def own_probes(self, ask: Ask, template: Template, X: Sequence[Row], queries: Sequence[Query]) -> list[list[Query]]:
        """Return queries with the same texts in every field, except the row's own choices."""
        empty, n = self._rows(template), len(self.texts)
        asked = ask([{**probe, **_own(row, template.choice_fields)} for row in X for probe in empty])
        return [asked[i * n : (i + 1) * n] for i in range(len(X))]

    def _rows(self, template: Template) -> list[dict[str, Any]]:
        if isinstance(self.texts, str) or not all(isinstance(text, str) for text in self.texts):
            raise ParameterError(
                f"texts of Contextual must be a list of content-free texts, such as ['N/A', '']. Got "
                f"{self.texts!r:.80}."
            )
        if not len(self.texts):
            raise ParameterError("Contextual needs at least one content-free text, such as 'N/A'. Got none.")
        return [dict.fromkeys(template.fields, text) for text in self.texts]


def _own(row: Row, fields: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in fields} if isinstance(row, Mapping) else {}


class DomainContext(Prior):
    """The prior is the model's mean scores for random words of the domain.

    Fei et al. (2023), "Mitigating Label Biases for In-Context Learning".

    Parameters
    ----------
    n_texts : int
        Number of random texts; by default 20, as in the paper. Each field is filled with words drawn from the same
        field of the rows of ``fit``, as many words as the field has on average.
    max_texts : int
        The most texts of ``fit`` from which words are drawn.
    """

    def __init__(self, n_texts: int = 20, *, max_texts: int = 500) -> None:
        self.n_texts = n_texts
        self.max_texts = max_texts

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """Return one query for each random text.

        Raises
        ------
        InputError
            When there are no texts.
        """
        at_least("n_texts", self.n_texts, 1)
        if not X:
            raise InputError(
                "DomainContext draws its words from the texts of fit, besides the demonstrations, and there are none: "
                "call fit(X) with unlabelled texts, or use calibration='contextual'."
            )
        ask(X)  # asked of nobody: it names the row that does not fill the template
        words = {
            field: [(row if isinstance(row, str) else str(row[field])).split() for row in X]
            for field in template.fields
        }
        rows = []
        for _ in range(self.n_texts):
            row = {}
            for field, texts_of in words.items():
                pool = [word for text in texts_of for word in text]
                size = round(np.mean([len(text) for text in texts_of]))
                row[field] = " ".join(rng.choice(pool, size)) if pool else ""
            rows.append(row)
        return ask(rows)


class PMI(Prior):
    """The prior is the model's scores after the template's ``domain_premise``, without any text.

    Holtzman et al. (2021), "Surface Form Competition: Why the Highest Probability Answer Isn't Always Right" (PMI-DC).

    Parameters
    ----------
    premise : str, optional
        The text before the label word, such as ``"Sentiment: "``. None: the template's ``domain_premise``.

    Notes
    -----
    If rows bring their own choices, as in COPA, the score of a choice is how much more probable the row makes it than
    the premise alone. The premise may use the row's fields. It is asked once for each row, with the choices of the row.
    """

    uses_texts = False

    def __init__(self, premise: str | None = None) -> None:
        self.premise = premise

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """Return the query with the premise, after the same demonstrations."""
        self._check(template)
        (query,) = ask([dict.fromkeys(template.fields, "")])
        return [self._probe(query, template, None)]

    def own_probes(self, ask: Ask, template: Template, X: Sequence[Row], queries: Sequence[Query]) -> list[list[Query]]:
        """Return each row's query with the premise in place of its text."""
        self._check(template)
        return [[self._probe(query, template, row)] for query, row in zip(queries, X, strict=True)]

    def _check(self, template: Template) -> None:
        if self.premise is not None and not isinstance(self.premise, str):
            raise ParameterError(
                f"premise of PMI must be text, such as 'Sentiment: ', or None. Got {self.premise!r:.80}."
            )
        if self.premise is None and template.metadata.get("domain_premise") is None:
            raise InputError(
                f"PMI needs to know what stands before a label word when there is no text, and {template} has no "
                "domain_premise: write it into the front matter, or use calibration=PMI('Sentiment: ')."
            )

    def _probe(self, query: Query, template: Template, row: Row | None) -> Query:
        if any(turn.role == "premise" for turn in query.context):
            raise UnsupportedError(
                "An entailment model has no prompt without its text, nor has a decision model: use another calibration."
            )
        premise = template.premise(row) if self.premise is None else self.premise
        return replace(query, prefix=str(premise), suffix="")

    def fit(self, scores: FloatArray, targets: IntArray | None = None, aggregate: Aggregate | None = None) -> Self:
        """Take the log-probabilities of the words without any change."""
        self.log_prior_ = scores[0].copy()
        return self


def subtract_prior(scores: FloatArray, log_prior: FloatArray, share: float = 1.0) -> FloatArray:
    """Subtract a share of a log-prior; a word that the probes made impossible counts as the rarest of the others."""
    possible = np.isfinite(log_prior)
    prior = np.where(possible, log_prior, log_prior[possible].min()) if possible.any() else np.zeros_like(log_prior)
    return scores - share * prior


def log_mean(scores: FloatArray) -> FloatArray:
    """The log of the mean over texts of the words' shares."""
    return logsumexp(log_softmax(scores, axis=1), axis=0) - np.log(len(scores))


def log_loss(class_scores: FloatArray, targets: IntArray) -> float:
    """Mean log loss of class log-scores that need not be normalised."""
    return float(-log_softmax(class_scores, axis=1)[np.arange(len(targets)), targets].mean())
