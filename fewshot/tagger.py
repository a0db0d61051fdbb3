"""Tagger: the door to spans. Entities of a text, from a few annotated ones."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import above, between
from fewshot.display.marked import Marked, mark
from fewshot.errors import FewshotWarning, InputError, ParameterError, UnsupportedError, warn
from fewshot.heads.readings import find_spans
from fewshot.models.base import FloatArray, IntArray
from fewshot.models.loading import load
from fewshot.persistence.mixin import KeptMixin
from fewshot.strategies.token_head import TokenHead
from fewshot.task.span_counts import entity_f1
from fewshot.task.spans import Span, read_rows, read_spans, write_spans
from fewshot.task.verbalizer import Verbalizer, as_verbalizer
from fewshot.task.words import split_words

__all__ = ["Tagger"]

Bounds = Sequence[tuple[int, int]]
#: The least probability of a span that a threshold is looked for among.
_LEAST = 0.01


class Tagger(KeptMixin, BaseEstimator):  # type: ignore[misc]
    """Find the spans of some types in texts, such as persons and places, from a few annotated texts.

    Every word of a text is of one type or of none, and neighbouring words of one type are one span. So two spans of one
    type without a word between them can't be told apart: `fit` says how many such there are.

    Parameters
    ----------
    model : str, Path, tuple or model, optional
        A sentence encoder or a masked language model, as `load` takes it: whatever has vectors of tokens. None: the
        default encoder.
    template : None
        Templates are for tagging by a prompt, which is not there yet.
    verbalizer : mapping, sequence or Verbalizer, optional
        The names of each type: a mapping, or a list in sorted order. None: the types themselves, "_" and "-" to blanks.
        Everyday words such as "company" for "ORG" help.
    strategy : TokenHead, optional
        How annotated texts are used. None: ``TokenHead()``.
    max_words : int or None
        The most words of a span; longer ones are not predicted.
    threshold : float or None
        The least probability of a span, above 0 and at most 1. None: the most probable type of each word decides. See
        `fit_threshold`.
    random_state : int, RandomState or None
        Nothing is random yet.

    Attributes
    ----------
    classes_ : ndarray of shape (n_types,)
        The sorted types.
    model_, verbalizer_, strategy_ : objects
        What the parameters became.
    form_ : Form
        In what form y was, and predictions are.
    n_texts_ : int
        Number of annotated texts.
    span_counts_ : ndarray of shape (n_types,)
        How many spans of each type they had.

    Raises
    ------
    InputError
        When X or y is not what it should be; the message names the row.
    UnsupportedError
        When the model has no vectors of tokens, or there is no annotated text.

    Examples
    --------
    >>> from fewshot import Tagger
    >>> texts = ["Ada lives in Paris.", "Bob left Rome.", "It rained."]
    >>> spans = [[(0, 3, "person"), (13, 18, "place")], [(0, 3, "person"), (9, 13, "place")], []]
    >>> tagger = Tagger().fit(texts, spans)
    >>> tagger.predict(["Eve saw London."])
    [[(0, 3, 'person'), (8, 14, 'place')]]
    """

    def __init__(
        self,
        model: Any = None,
        template: Any = None,
        verbalizer: Any = None,
        strategy: Any = None,
        *,
        max_words: int | None = 8,
        threshold: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.template = template
        self.verbalizer = verbalizer
        self.strategy = strategy
        self.max_words = max_words
        self.threshold = threshold
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from annotated texts.

        Parameters
        ----------
        X : list, array or Series of texts, list of token lists, or list of spaCy Docs
        y : list
            The spans of each text, in any of the forms that `read_spans` takes: ``(start, end, type)`` with character
            offsets, mappings, spaCy's ``{"entities": ...}``, or a tag for each token. Texts without a span help to tell
            what is none.

        Returns
        -------
        self
            A failed fit leaves the previous state.

        Raises
        ------
        UnsupportedError
            When there is no annotated text, or the model has no vectors of tokens.
        InputError
            When X or y is not what it should be; the message names the row.
        """
        self._check()
        if X is None:
            raise UnsupportedError(
                "A Tagger needs annotated texts: from names alone it finds next to nothing. Annotate five spans of "
                "each type, and call fit(texts, spans)."
            )
        annotated = read_spans(X, y)
        verbalizer = self._verbalizer([span.label for spans in annotated.spans for span in spans])
        types = list(verbalizer.classes or ())
        words = _bounds(annotated.texts, annotated.tokens)
        self._warn_of_lost(words, annotated.spans)
        tags = [_tags(own, spans, types) for own, spans in zip(words, annotated.spans, strict=True)]
        model = load(self.model)
        strategy = clone(TokenHead() if self.strategy is None else self.strategy)
        strategy.fit(model, annotated.texts, words, tags, verbalizer.words)
        counts = Counter(span.label for spans in annotated.spans for span in spans)
        self.model_, self.verbalizer_, self.strategy_ = model, verbalizer, strategy
        self.classes_ = np.array(types, dtype=object)
        self.form_, self.n_texts_ = annotated.form, len(annotated.texts)
        self.span_counts_ = np.array([counts[one] for one in types], dtype=np.int64)
        return self

    def predict(self, X: Any) -> list[Any]:
        """Return the spans of each text in the form that y had: of token lists a tag for each token, if y was tags.

        `predict_spans` says their probabilities.
        """
        texts, tokens = read_rows(X)
        return write_spans(self._spans(texts, tokens), self.form_, tokens)

    def predict_spans(self, X: Any) -> list[list[Span]]:
        """Return the spans of each text as `Span`, with character offsets and probabilities, whatever form y had."""
        return self._spans(*read_rows(X))

    def score(self, X: Any, y: Any) -> float:
        """Return the entity F1, micro-averaged: a span counts where start, end and type are right."""
        annotated = read_spans(X, y)
        found = self._spans(annotated.texts, annotated.tokens)
        return entity_f1(annotated.spans, found)

    def fit_threshold(self, X: Any, y: Any, precision: float = 0.95) -> float:
        """Return the lowest threshold from which on the spans that are found reach a precision on annotated texts.

        The precision is that of these texts, and no guarantee for others: give some hundreds of spans, of texts that
        the tagger was not fitted on. It becomes ``threshold`` by ``tagger.set_params(threshold=...)``.

        Raises
        ------
        InputError
            When no threshold reaches the precision; the message says what the best one reaches.
        """
        between("precision", precision, 0, 1, with_high=True, more=", such as 0.95")
        annotated = read_spans(X, y)
        found = self._spans(annotated.texts, annotated.tokens, _LEAST)
        pairs: list[tuple[float, bool]] = [
            (one.probability or 0.0, one in own)
            for own, said in zip(annotated.spans, found, strict=True)
            for one in said
        ]
        pairs.sort(key=lambda pair: -pair[0])
        if not pairs:
            raise InputError(f"No span is found in these {len(found)} texts: there is no threshold for a precision.")
        chances, right = (np.array(column) for column in zip(*pairs, strict=True))
        # of the more probable of two that overlap, the other is gone at every threshold: so each leaves a beginning
        shares = np.cumsum(right) / np.arange(1, len(right) + 1)
        last = np.append(np.diff(chances) != 0, True)
        enough = np.flatnonzero(last & (shares >= precision))
        if not enough.size:
            best = int(np.where(last, shares, -1).argmax())
            raise InputError(
                f"No threshold reaches precision {precision} on these {len(found)} texts. The best is "
                f"{shares[best]:.3f}, at {chances[best]:.3f}, with {best + 1} spans: ask for less, or annotate more."
            )
        return float(chances[enough[-1]])

    def explain(self, X: Any) -> Marked:
        """Show texts with their spans marked; prints as text, and shows as HTML in notebooks."""
        texts, tokens = read_rows([X] if isinstance(X, str) else X)
        return mark(texts, self._spans(texts, tokens), self.classes_.tolist())

    def _check(self) -> None:
        above("max_words", self.max_words, 0, optional=True)
        if self.threshold is not None:
            between("threshold", self.threshold, 0, 1, with_high=True)
        if self.template is not None:
            raise ParameterError(f"template must be None: tagging by a prompt is not there yet. Got {self.template!r}.")

    def _verbalizer(self, labels: Sequence[Any]) -> Verbalizer:
        """The names of the types: those given, or the types that there are."""
        found = sorted(set(labels))
        if not found:
            raise InputError("No row of y has a span: annotate some of each type.")
        if self.verbalizer is None:
            return Verbalizer({one: str(one).replace("_", " ").replace("-", " ") for one in found})
        return as_verbalizer(self.verbalizer, found)

    def _warn_of_lost(self, words: Sequence[Bounds], spans: Sequence[Sequence[Span]]) -> None:
        """Say which annotated spans no prediction can be."""
        long = merged = 0
        for bounds, own in zip(words, spans, strict=True):
            ends = [end for _, end in bounds]
            sizes = [sum(span.start <= start and end <= span.end for start, end in bounds) for span in own]
            long += sum(self.max_words is not None and size > self.max_words for size in sizes)
            for one, other in itertools.pairwise(own):
                between_them = any(one.end < end <= other.start for end in ends)
                merged += one.label == other.label and not between_them
        if long:
            warn(
                f"{long} spans of y have more than max_words={self.max_words} words, and such are not predicted.",
                FewshotWarning,
            )
        if merged:
            warn(
                f"{merged} spans of y follow one of their own type without a word between: the two are read as one.",
                FewshotWarning,
            )

    def _spans(
        self, texts: list[str], tokens: Sequence[Bounds] | None, threshold: float | None = None
    ) -> list[list[Span]]:
        check_is_fitted(self, "strategy_")
        self._check()
        words = _bounds(texts, tokens)
        proba: list[FloatArray] = self.strategy_.word_probabilities(texts, words)
        threshold = self.threshold if threshold is None else threshold
        return [self._found(own, p, threshold) for own, p in zip(words, proba, strict=True)]

    def _found(self, words: Bounds, proba: FloatArray, threshold: float | None) -> list[Span]:
        found = find_spans(proba, threshold, self.max_words)
        return [
            Span(words[first][0], words[last - 1][1], self.classes_[kind], float(probability))
            for first, last, kind, probability in found
        ]


def _bounds(texts: Sequence[str], tokens: Sequence[Bounds] | None) -> list[Bounds]:
    """Where the words of each text begin and end: its tokens, or what is split at blanks and signs."""
    return [split_words(text) for text in texts] if tokens is None else list(tokens)


def _tags(words: Bounds, spans: Sequence[Span], types: Sequence[Any]) -> IntArray:
    """The type of each word, from 1; 0 is none."""
    tags = np.zeros(len(words), dtype=np.int64)
    for span in spans:
        for i, (start, end) in enumerate(words):
            if span.start <= start and end <= span.end:
                tags[i] = 1 + types.index(span.label)
    return tags
