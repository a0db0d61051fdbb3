"""Four calibrations that are one operation: log-scores minus a log-prior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from scipy.special import log_softmax, logsumexp
from sklearn.base import BaseEstimator

from fewshot.checks import at_least, one_of
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, Query
from fewshot.task.template import Template

__all__ = ["PMI", "Aggregate", "Ask", "Batch", "Contextual", "DomainContext", "Prior", "log_loss"]

Ask = Callable[[Sequence[Row]], list[Query]]
#: Word log-scores of some of the probes, and which probes they are, to class scores.
Aggregate = Callable[[FloatArray, IntArray], FloatArray]

_STRENGTHS = np.linspace(0.0, 1.0, 11)


class Prior(BaseEstimator, ABC):  # type: ignore[misc]
    """What the methods share: the log-prior of the label words, subtracted from their log-scores.

    Attributes
    ----------
    log_prior_ : ndarray of shape (n_words,)
        Of each label word, in the order of ``verbalizer.candidates``.
    """

    #: Most texts of ``fit`` that are handed to `probes`; None is all.
    max_texts: int | None = None
    #: Whether it learns from the texts of ``fit``.
    uses_texts: bool = True

    @abstractmethod
    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """The queries whose scores make the prior.

        Parameters
        ----------
        ask : callable
            Turns rows into the strategy's queries, with its demonstrations.
        template : Template
        X : sequence of rows, optional
            Text that was given to ``fit``, without the demonstrations.
        rng : RandomState
        """

    def own_probes(self, ask: Ask, template: Template, X: Sequence[Row], queries: Sequence[Query]) -> list[list[Query]]:
        """For rows that bring their own choices, the queries whose scores make the prior of each row's choices.

        They have the candidates of the row's query. `fit` and `transform` are then called row by row.

        Parameters
        ----------
        ask : callable
        template : Template
        X : sequence of rows
            May be empty: then what is missing is to be said all the same.
        queries : sequence of Query
            Of these rows.

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
        self.log_prior_ = _log_mean(scores)
        return self

    def transform(self, scores: FloatArray) -> FloatArray:
        """Subtract the prior from word log-scores, of shape (n_texts, n_words)."""
        return subtract_prior(scores, self.log_prior_)

    def transform_classes(self, scores: FloatArray) -> FloatArray:
        """Class log-scores, of shape (n_texts, n_classes), as they are: what is subtracted is subtracted from words."""
        return scores


class Contextual(Prior):
    """The prior is what the model says of texts without content.

    Zhao et al. (2021), "Calibrate Before Use: Improving Few-Shot Performance of Language Models".

    Parameters
    ----------
    texts : sequence of str
        What fills every field of the template; the paper's by default.

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
        """One query a content-free text."""
        return ask(self._rows(template))

    def own_probes(self, ask: Ask, template: Template, X: Sequence[Row], queries: Sequence[Query]) -> list[list[Query]]:
        """The same texts in every field, but the row's own choices."""
        empty, n = self._rows(template), len(self.texts)
        asked = ask([{**probe, **_own(row, template.choice_fields)} for row in X for probe in empty])
        return [asked[i * n : (i + 1) * n] for i in range(len(X))]

    def _rows(self, template: Template) -> list[dict[str, Any]]:
        if not len(self.texts):
            raise ParameterError("Contextual needs at least one content-free text. Got none.")
        return [dict.fromkeys(template.fields, text) for text in self.texts]


def _own(row: Row, fields: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in fields} if isinstance(row, Mapping) else {}


class DomainContext(Prior):
    """The prior is what the model says of random words of the domain.

    Fei et al. (2023), "Mitigating Label Biases for In-Context Learning".

    Parameters
    ----------
    n_texts : int
        How many random texts; the paper's 20 by default. Each field is filled with words drawn from that field of the
        texts given to ``fit``, as many as it has on average.
    max_texts : int
        Most texts of ``fit`` that the words are drawn from.
    """

    def __init__(self, n_texts: int = 20, *, max_texts: int = 500) -> None:
        self.n_texts = n_texts
        self.max_texts = max_texts

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """One query a random text.

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
    """The prior is what the model says after the template's ``domain_premise``, without any text.

    Holtzman et al. (2021), "Surface Form Competition: Why the Highest Probability Answer Isn't Always Right" (PMI-DC).

    Parameters
    ----------
    premise : str, optional
        What stands before the label word, such as ``"Sentiment: "``. None: the template's ``domain_premise``.

    Notes
    -----
    Where rows bring their own choices, as in COPA, a choice is as good as the row makes it more probable than the
    premise alone does: the premise may depend on the row's fields, and is asked once a row, with the row's choices.
    """

    uses_texts = False

    def __init__(self, premise: str | None = None) -> None:
        self.premise = premise

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """The one query, after the same demonstrations."""
        self._check(template)
        (query,) = ask([dict.fromkeys(template.fields, "")])
        return [self._probe(query, template, None)]

    def own_probes(self, ask: Ask, template: Template, X: Sequence[Row], queries: Sequence[Query]) -> list[list[Query]]:
        """The row's query with the premise in place of its text."""
        self._check(template)
        return [[self._probe(query, template, row)] for query, row in zip(queries, X, strict=True)]

    def _check(self, template: Template) -> None:
        if self.premise is None and template.metadata.get("domain_premise") is None:
            raise InputError(
                f"PMI needs to know what stands before a label word when there is no text, and {template} has no "
                "domain_premise: write it into the front matter, or use calibration=PMI('Sentiment: ')."
            )

    def _probe(self, query: Query, template: Template, row: Row | None) -> Query:
        if any(turn.role == "premise" for turn in query.context):
            raise UnsupportedError("An entailment model has no prompt without its text: use another calibration.")
        premise = template.premise(row) if self.premise is None else self.premise
        return replace(query, prefix=str(premise), suffix="")

    def fit(self, scores: FloatArray, targets: IntArray | None = None, aggregate: Aggregate | None = None) -> Self:
        """Take the log-probabilities of the words as they are."""
        self.log_prior_ = scores[0].copy()
        return self


class Batch(Prior):
    """The prior is the mean of what the model says of real texts of the domain, labelled or not.

    Zhou et al. (2023), "Batch Calibration: Rethinking Calibration for In-Context Learning and Prompt Engineering".
    Where the texts are labelled, the share of the prior that is subtracted is chosen by log loss, as in their BCL.

    Parameters
    ----------
    mean : {"geometric", "arithmetic"}
        Of the words' shares over the texts. "arithmetic" is the paper's. "geometric", the mean of their logarithms, was
        2.6 points more accurate with the embedded masked model on training rows of five data sets.
    max_texts : int
        Most texts of ``fit`` that are scored.
    transductive : bool
        Take the prior from the texts of each ``predict`` instead. Then a text's prediction depends on the others.

    Attributes
    ----------
    strength_ : float
        The share of the prior that is subtracted, from 0 to 1.

    Examples
    --------
    >>> from fewshot import Classifier, Prompting
    >>> unlabelled = ["It rained all day.", "A wonderful film!", "Dull and far too long."]
    >>> clf = Classifier("embedded:masked", "sst2/it_was", strategy=Prompting(calibration="batch")).fit(unlabelled)
    >>> clf.predict(["A joy to watch.", "What a waste of time."]).tolist()
    ['positive', 'negative']
    """

    def __init__(
        self,
        mean: Literal["geometric", "arithmetic"] = "geometric",
        *,
        max_texts: int = 500,
        transductive: bool = False,
    ) -> None:
        self.mean = mean
        self.max_texts = max_texts
        self.transductive = transductive

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """One query a text of ``fit``; none when transductive.

        Raises
        ------
        InputError
            When there are no texts, and it is not transductive.
        """
        one_of("mean", self.mean, ("geometric", "arithmetic"))
        if self.transductive:
            return []
        if not X:
            raise InputError(
                "Batch learns its prior from the texts of fit, besides the demonstrations, and there are none: call "
                "fit(X) with unlabelled texts, or use calibration='contextual', or Batch(transductive=True)."
            )
        return ask(X)

    def fit(self, scores: FloatArray, targets: IntArray | None = None, aggregate: Aggregate | None = None) -> Self:
        """Learn the prior, and with labels how much of it to subtract."""
        self.strength_ = 1.0
        if self.transductive:
            return self
        self.log_prior_ = self._prior(scores)
        if targets is not None and aggregate is not None:
            rows = np.arange(len(scores))
            losses = [
                log_loss(aggregate(subtract_prior(scores, self.log_prior_, share), rows), targets)
                for share in _STRENGTHS
            ]
            # the largest of equally good shares: what is known without labels stays unless labels speak against it
            self.strength_ = float(_STRENGTHS[::-1][int(np.argmin(losses[::-1]))])
        return self

    def _prior(self, scores: FloatArray) -> FloatArray:
        return log_softmax(scores, axis=1).mean(axis=0) if self.mean == "geometric" else _log_mean(scores)

    def transform(self, scores: FloatArray) -> FloatArray:
        """Subtract the prior, of the texts of ``fit`` or of these."""
        prior = self._prior(scores) if self.transductive else self.log_prior_
        return subtract_prior(scores, prior, self.strength_)


def subtract_prior(scores: FloatArray, log_prior: FloatArray, share: float = 1.0) -> FloatArray:
    """Subtract a share of a log-prior; a word that the probes made impossible counts as the rarest of the others."""
    possible = np.isfinite(log_prior)
    prior = np.where(possible, log_prior, log_prior[possible].min()) if possible.any() else np.zeros_like(log_prior)
    return scores - share * prior


def _log_mean(scores: FloatArray) -> FloatArray:
    """The log of the mean over texts of the words' shares."""
    return logsumexp(log_softmax(scores, axis=1), axis=0) - np.log(len(scores))


def log_loss(class_scores: FloatArray, targets: IntArray) -> float:
    """Mean log loss of class log-scores that need not be normalised."""
    return float(-log_softmax(class_scores, axis=1)[np.arange(len(targets)), targets].mean())
