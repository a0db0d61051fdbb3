"""Tagger: the door to spans. Entities of a text, from a few annotated ones or from the names of the types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from fewshot.calibration.threshold import find_threshold
from fewshot.checks import at_least, between, check_seed
from fewshot.display.marked import Marked, mark
from fewshot.display.preview import Preview
from fewshot.errors import FewshotWarning, InputError, ParameterError, UnsupportedError, warn
from fewshot.heads.readings import Reading
from fewshot.linting.spans import find_joined, find_long
from fewshot.models.answering import refuse_extractive
from fewshot.models.base import is_language_model
from fewshot.models.loading import load
from fewshot.persistence.mixin import KeptMixin
from fewshot.strategies.auto import Auto, chosen_of
from fewshot.strategies.candidates import CandidateSpans
from fewshot.strategies.choosing_tags import SpanReport
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.token_head import TokenHead
from fewshot.task.resolve import templates_of
from fewshot.task.span_counts import entity_f1
from fewshot.task.span_task import Chunk, SpanTask
from fewshot.task.spans import Annotated, Form, Span, find_words, read_rows, read_spans, words_of, write_spans
from fewshot.task.type_names import list_types, name_types

__all__ = ["Tagger"]

Bounds = Sequence[tuple[int, int]]
#: The least probability of a span that a threshold is looked for among.
_LEAST = 0.01


class Tagger(KeptMixin, BaseEstimator):  # type: ignore[misc]
    """Find spans of given types in texts, such as persons and places.

    With a few annotated texts, `TokenHead` gives every word one type, or None. Neighbouring words of one type form one
    span. Two spans of one type without a word between them are therefore predicted as one; `fit` warns how many of
    these there are. A language model is asked about every span of up to ``max_words`` words instead. It needs no
    annotated text.

    Parameters
    ----------
    model : str, Path, tuple or model, optional
        A sentence encoder, a masked or another language model, as `load` takes it. None: the default encoder.
    template : str, Template or list of them, optional
        How a language model is asked about a span. It has the fields ``text`` and ``span``, in this order, so that all
        queries about a text begin with it and share its computation. None: the template for the model's kind, such as
        "entity_typing/name_of".
    verbalizer : mapping, sequence, Verbalizer or str, optional
        The names of each type: a mapping, a list in sorted order, or the name of a label set of the gallery, such as
        "conll2003". None: the template's own names, else the types themselves, with blanks for "_" and "-". A mapping
        may also have the key None, with the label word for a span of no type.
    strategy : TokenHead, FineTuning, Auto or Strategy, optional
        How annotated texts are used. `TokenHead` does not change the model. ``FineTuning("tags")`` tunes a copy of it.
        `Prompting`, `Readout` and other strategies classify every candidate span. `Auto` compares what the model
        allows. None: ``Prompting()`` if there is a template, or with a language model that has no token vectors or gets
        no annotated texts; otherwise ``TokenHead()``.
    max_words : int or None
        The most words of a span; longer ones are not predicted.
    threshold : float or None
        The least probability of a span, above 0 and at most 1. None: the strategy chooses for a high F1. `TokenHead`
        then predicts spans from a probability of 0.25; strategies that classify candidates predict the most probable
        set of spans. See `fit_threshold`.
    random_state : int, RandomState or None
        Seed of everything random in the strategy, and of the sample of candidates without a type.

    Attributes
    ----------
    classes_ : ndarray of shape (n_types,)
        The sorted types.
    model_, verbalizer_, strategy_ : objects
        The parameters as `fit` resolved them.
    form_ : Form
        The form of y, and of predictions.
    n_texts_ : int
        Number of annotated texts.
    span_counts_ : ndarray of shape (n_types,)
        Number of spans of each type in these texts.

    Raises
    ------
    InputError
        When X or y is not valid; the message names the row.
    UnsupportedError
        When the strategy needs another model, or annotated texts.

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

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Learn from annotated texts, or prepare to ask zero-shot about the names of types.

        Parameters
        ----------
        X : list, array or Series of texts, list of token lists, or list of spaCy Docs; or None
            None is zero-shot.
        y : list
            The spans of each text, in any of the forms that ``read_spans`` takes: ``(start, end, type)`` with character
            offsets, mappings, spaCy's ``{"entities": ...}``, or a tag for each token. Texts without a span are useful
            examples too. If X is None, y is the list of types, or None if the verbalizer or the template has them.

        Returns
        -------
        self
            A failed fit leaves the previous state.

        Raises
        ------
        UnsupportedError
            When the strategy needs another model, or annotated texts.
        InputError
            When X or y is not valid; the message names the row.
        ParameterError
            When there is a template, and the strategy asks no language model.
        """
        self._check()
        model = load(self.model)
        refuse_extractive(model, "Tagger")
        strategy = self._settled(model, zero_shot=X is None)
        brought = self._brought_words(model)
        annotated = read_spans(X, y) if X is not None else Annotated([], [], Form("tuple"), [], tokenised=False)
        counts = Counter(span.label for spans in annotated.spans for span in spans)
        if X is not None and not counts:
            raise InputError("No row of y has a span: annotate some of each type.")
        verbalizer, nothing = name_types(list(counts) or list_types(y), self.verbalizer, brought)
        types = list(verbalizer.classes or ())
        chunks = [
            [(*place, types.index(span.label)) for place, span in zip(find_words(own, words), own, strict=True)]
            for own, words in zip(annotated.spans, annotated.words, strict=True)
        ]
        task = SpanTask(annotated.texts, annotated.words, chunks, verbalizer, self.template, self.max_words, nothing)
        strategy.fit_spans(task, model, random_state=self.random_state)
        self._warn_of_lost(chunks, merged=not isinstance(chosen_of(strategy), CandidateSpans))
        self.model_, self.verbalizer_, self.strategy_ = model, verbalizer, strategy
        self.classes_ = np.array(types, dtype=object)
        self.form_, self.n_texts_ = annotated.form, len(annotated.texts)
        self.span_counts_ = np.array([counts[one] for one in types], dtype=np.int64)
        return self

    def predict(self, X: Any) -> list[Any]:
        """Return the spans of each text in the form of y: if y was tags, a tag for each token.

        `predict_spans` returns them with probabilities.
        """
        texts, tokens = read_rows(X)
        return write_spans(self._spans(texts, words_of(texts, tokens)), self.form_, tokens)

    def predict_spans(self, X: Any) -> list[list[Span]]:
        """Return the spans of each text as `Span`, with character offsets and probabilities, for any form of y."""
        texts, tokens = read_rows(X)
        return self._spans(texts, words_of(texts, tokens))

    def score(self, X: Any, y: Any) -> float:
        """Return the entity F1, micro-averaged: a span is right if its start, end and type are right."""
        annotated = read_spans(X, y)
        return entity_f1(annotated.spans, self._spans(annotated.texts, annotated.words))

    def fit_threshold(self, X: Any, y: Any, precision: float = 0.95) -> float:
        """Return the lowest threshold with which the predicted spans reach a precision on annotated texts.

        The precision is measured on these texts and is no guarantee for others. Give texts with a few hundred spans on
        which the tagger was not fitted. Set the result with ``tagger.set_params(threshold=...)``.

        Raises
        ------
        InputError
            When no threshold reaches the precision; the message says what the best one reaches.
        """
        between("precision", precision, 0, 1, with_high=True, more=", such as 0.95")
        annotated = read_spans(X, y)
        found = self._spans(annotated.texts, annotated.words, _LEAST)
        # of two that overlap the less probable one is gone at every threshold: so each threshold leaves a beginning
        said = [(one.probability, one in own) for own, row in zip(annotated.spans, found, strict=True) for one in row]
        if not said:
            raise InputError(f"No span is found in these {len(found)} texts: there is no threshold for a precision.")
        chances, right = (np.array(column) for column in zip(*said, strict=True))
        return find_threshold(chances, right, precision, of=f"{len(found)} texts")

    def explain(self, X: Any) -> Marked:
        """Show texts with their spans marked; prints as text, and shows as HTML in notebooks."""
        texts, tokens = read_rows([X] if isinstance(X, str) else X)
        return mark(texts, self._spans(texts, words_of(texts, tokens)), self.classes_.tolist())

    @property
    def report_(self) -> SpanReport | None:
        """What `Auto` chose and why, with the held-out scores; None if the strategy chooses nothing."""
        check_is_fitted(self, "strategy_")
        return getattr(self.strategy_, "report_", None)

    def preview(self, X: Any) -> Preview:
        """Show the prompts about the first candidate of each text, without asking the model.

        Raises
        ------
        UnsupportedError
            When the strategy has no prompts.
        """
        check_is_fitted(self, "strategy_")
        asked = chosen_of(self.strategy_)
        if not isinstance(asked, CandidateSpans):
            raise UnsupportedError(
                f"{type(asked).__name__} asks nothing: there are no prompts to show. Give a language model "
                "with a template, or strategy=Prompting()."
            )
        texts, tokens = read_rows([X] if isinstance(X, str) else X)
        return asked.preview(texts, words_of(texts, tokens))

    def _check(self) -> None:
        check_seed(self.random_state)
        at_least("max_words", self.max_words, 1, whole=True, optional=True)
        if self.threshold is not None:
            between("threshold", self.threshold, 0, 1, with_high=True)
        given = self.strategy
        known = any(callable(getattr(given, name, None)) for name in ("fit_spans", "log_scores"))
        if given is not None and (isinstance(given, type) or not known):
            raise ParameterError(
                f"strategy must be TokenHead(...), a strategy of rows such as Prompting(...), or None. Got {given!r}."
            )

    def _settled(self, model: Any, *, zero_shot: bool) -> Any:
        """The strategy, unfitted: one that tags words, or one of rows for every candidate."""
        strategy = self.strategy
        if strategy is None:
            asks = is_language_model(model) and (zero_shot or not callable(getattr(model, "token_vectors", None)))
            strategy = Prompting() if asks or self.template is not None else TokenHead()
        if not _tags(strategy):
            return CandidateSpans(clone(strategy))
        if self.template is not None and not isinstance(strategy, Auto):
            raise ParameterError(
                f"{strategy!r} asks nothing about spans, and a template is how to ask: leave template out, or use "
                f"strategy=Prompting(). Got template={self.template!r:.200}."
            )
        return clone(strategy)

    def _brought_words(self, model: Any) -> dict[Any, Any]:
        """The label words of types that the template has."""
        return {} if self.template is None else templates_of(self.template, model, False)[0].words or {}

    def _warn_of_lost(self, chunks: Sequence[Sequence[Chunk]], *, merged: bool) -> None:
        """Say which annotated spans no prediction can be; where neighbours of one type are merged, these too."""
        long, touching = len(find_long(chunks, self.max_words)), len(find_joined(chunks))
        if long:
            warn(
                f"{long} spans of y have more than max_words={self.max_words} words. Such spans can't be predicted: "
                "raise max_words, if they matter.",
                FewshotWarning,
            )
        if merged and touching:
            warn(
                f"{touching} spans of y follow one of their own type without a word between: the two are read as one.",
                FewshotWarning,
            )

    def _spans(self, texts: Sequence[str], words: Sequence[Bounds], threshold: float | None = None) -> list[list[Span]]:
        check_is_fitted(self, "strategy_")
        self._check()
        readings: list[Reading] = self.strategy_.span_readings(texts, words)
        threshold = self.threshold if threshold is None else threshold
        return [self._found(own, reading, threshold) for own, reading in zip(words, readings, strict=True)]

    def _found(self, words: Bounds, reading: Reading, threshold: float | None) -> list[Span]:
        return [
            Span(words[first][0], words[after - 1][1], self.classes_[kind], float(probability))
            for first, after, kind, probability in reading.find(threshold, self.max_words)
        ]


def _tags(strategy: Any) -> bool:
    """Whether a strategy tags words by itself, and needs no candidates."""
    return callable(getattr(strategy, "fit_spans", None))
