"""A tag of every word from frozen token vectors: the head of a tagger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import at_least
from fewshot.errors import InputError, UnsupportedError
from fewshot.heads.readings import ChainReading, read_chains
from fewshot.heads.tokens import DETECTOR, NAMES, NONE_WEIGHT, OWN, TRANSITION, TokenCRF
from fewshot.models.base import FloatArray, kind_of
from fewshot.models.tokens import word_vectors
from fewshot.task.span_task import SpanTask
from fewshot.task.spelling import FEATURES, spell

__all__ = ["TokenHead"]

#: What the vectors of neighbours and the spelling count for; settled by benchmarks/settle/tagging.py.
_NEIGHBORS, _SPELLING = 0.3, 0.2
#: How many texts are read at once; more would only fill memory with vectors.
_TEXTS = 512
#: The start and the end of each word of a text, in characters.
Words = Sequence[tuple[int, int]]


class TokenHead(BaseEstimator):  # type: ignore[misc]
    """Tag words by a model's token vectors, without changing the model.

    The vector of a word is the mean vector of the tokens that overlap it, scaled to unit length; a word without tokens
    has zeros. The features of a word are its vector, the vectors of the words to its left and right, and its spelling,
    since many models lower-case their input. A conditional random field gives each word one of the types, or None. Its
    starting point is the similarity of a word to the names of the types. From the examples it learns what all entities
    have in common, what is special to each type, and how likely a type is to continue.

    Parameters
    ----------
    layer : int, optional
        The layer whose hidden states are the vectors; 0 means the embeddings. None: the middle layer.
    names : float
        Weight of the similarity to the names of the types; 0 leaves the names out.
    detector : float
        L2 penalty on the weights that all types share.
    own : float
        L2 penalty on the weights of each type.
    transition : float
        L2 penalty on the transition weights: of a type after itself, and after another type. All types share them.
    none_weight : float
        A factor on the weight of None, applied after learning. Below 1, more spans are found; above 1, fewer.
    neighbors : float
        Length of the vectors of the left and right words; the vector of the word itself has length 1. The longer they
        are, the less the penalty limits their weights. 0 leaves them out.
    spelling : float
        The largest value of a spelling feature, with the same effect as ``neighbors``. 0 leaves spelling out.

    Attributes
    ----------
    model_ : object
        The model that was given.
    head_ : TokenCRF
        The conditional random field that tags the words.

    Examples
    --------
    >>> from fewshot import TokenHead
    >>> TokenHead(none_weight=0.7)
    TokenHead(none_weight=0.7)
    """

    def __init__(
        self,
        layer: int | None = None,
        *,
        names: float = NAMES,
        detector: float = DETECTOR,
        own: float = OWN,
        transition: float = TRANSITION,
        none_weight: float = NONE_WEIGHT,
        neighbors: float = _NEIGHBORS,
        spelling: float = _SPELLING,
    ) -> None:
        self.layer = layer
        self.names = names
        self.detector = detector
        self.own = own
        self.transition = transition
        self.none_weight = none_weight
        self.neighbors = neighbors
        self.spelling = spelling

    def fit(
        self,
        model: Any,
        texts: Sequence[str],
        words: Sequence[Words],
        tags: Sequence[Any],
        names: Sequence[Sequence[str]],
    ) -> Self:
        """Learn from the tags of words.

        Parameters
        ----------
        model : object
            A sentence encoder or a masked language model: it must have ``token_vectors``.
        texts : sequence of str
        words : sequence of sequence of (start, end)
            The bounds of the words of each text, in characters.
        tags : sequence of array of shape (n_words,)
            For each text, the tag of each word: 0 for None, or the number of its type, from 1.
        names : sequence of sequence of str
            The label words of each type.

        Raises
        ------
        UnsupportedError
            When the model has no vectors of tokens.
        ParameterError
            When a parameter is out of its range.
        InputError
            When there are no words, a text has fewer or more tags than words, no word is of any type, or every word is.
        """
        if not callable(getattr(model, "token_vectors", None)):
            raise UnsupportedError(
                f"TokenHead needs a model with vectors of tokens. {model!r} ({kind_of(model).name}) has none. "
                "Use a sentence encoder or a masked language model, such as load() or load('embedded:masked')."
            )
        for name in ("neighbors", "spelling"):
            at_least(name, getattr(self, name), 0)
        for row, (bounds, own) in enumerate(zip(words, tags, strict=True)):
            if len(bounds) != len(own):
                raise InputError(f"A word has one tag. Got {len(own)} tags for {len(bounds)} words in text {row}.")
        if not any(map(len, words)):
            raise InputError("No text has a word: there is nothing to learn.")
        self.model_ = model
        prior = np.array([self._name_vector(group) for group in names])
        X = np.concatenate(self._features(texts, words))
        y = np.concatenate([np.asarray(own, dtype=np.int64) for own in tags])
        head = TokenCRF(self.names, self.detector, self.own, self.transition, self.none_weight)
        self.head_ = head.fit(X, y, [len(bounds) for bounds in words], prior)
        return self

    def fit_spans(self, task: SpanTask, model: Any, *, random_state: Any = None) -> Self:
        """Learn the spans of a tagger; see `fit` for the errors.

        Raises
        ------
        UnsupportedError
            When there is no annotated text, or the model has no vectors of tokens.
        """
        task.need_texts(self)
        return self.fit(model, task.texts, task.words, task.tags, task.verbalizer.words)

    def span_readings(self, texts: Sequence[str], words: Sequence[Words]) -> list[ChainReading]:
        """Return one reading for each text: how probable its spans are."""
        check_is_fitted(self)
        readings: list[ChainReading] = []
        for start in range(0, len(texts), _TEXTS):
            part = slice(start, start + _TEXTS)
            weights = [self.head_.log_weights(rows) for rows in self._features(texts[part], words[part])]
            readings += read_chains(weights, self.head_.transitions_)
        return readings

    def word_probabilities(self, texts: Sequence[str], words: Sequence[Words]) -> list[FloatArray]:
        """Return the probabilities of the tags of each word, an array of shape (n_words, 1 + n_types) for each text.

        The first column is None: the word is in no span.
        """
        return [reading.probabilities for reading in self.span_readings(texts, words)]

    def _features(self, texts: Sequence[str], words: Sequence[Words]) -> list[FloatArray]:
        """For each text the unit vectors of its words, and beside them those of the neighbours and the spelling."""
        features = []
        for text, bounds, tokens in zip(texts, words, self._vectors(texts), strict=True):
            parts = [_unit(word_vectors(tokens, bounds))]
            if self.neighbors:
                padded = self.neighbors * np.pad(parts[0], ((1, 1), (0, 0)))
                parts += [padded[:-2], padded[2:]]
            if self.spelling:
                spelt = spell([text[start:end] for start, end in bounds])
                parts.append(self.spelling * np.reshape(spelt, (len(bounds), len(FEATURES))))
            features.append(np.hstack(parts))
        return features

    def _vectors(self, texts: Sequence[str]) -> list[Any]:
        return self.model_.token_vectors(list(texts), layer=self.layer)

    def _name_vector(self, names: Sequence[str]) -> FloatArray:
        """The mean of the unit vectors of a type's label words, at unit length. Each is a text of its own."""
        found = zip(names, self._vectors(names), strict=True)
        means = np.concatenate([word_vectors(tokens, [(0, len(name))]) for name, tokens in found])
        return _unit(_unit(means).mean(axis=0))


def _unit(vectors: FloatArray) -> FloatArray:
    """The same at unit length; zeros stay."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
