"""FakeLM: a language model that is a plain function. Documentation and tests run on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fewshot.errors import ParameterError, UnsupportedError
from fewshot.models.base import Float32Array, FloatArray, IntArray, Query, Reading, Scores
from fewshot.models.identity import identity
from fewshot.models.text.stops import cut_at_stop

__all__ = ["FakeLM"]

_WORD = re.compile(r"\s*\S+|\s+$")


class FakeLM:
    """A language model whose scores come from a function.

    Parameters
    ----------
    f : callable
        ``f(query)`` returns one number per candidate, which is its log-probability, or a `Scores`.
    answer : callable, optional
        ``answer(query)`` returns the free answer of the model. None: the best candidate.
    kind : {"causal", "masked", "seq2seq", "entailment", "decision"}
        The kind of model that it imitates; this chooses the generic template.
    limit : int
        The window, in words: a token of this model is a word with the blanks before it.
    vocabulary : sequence of str
        The vocabulary: ``read(queries, "vocabulary")`` calls ``f`` with these words as candidates.
    hidden : callable, optional
        ``hidden(query)`` returns the hidden state, which ``read(queries, "hidden")`` returns.

    Attributes
    ----------
    fingerprint : str
        A hash of the functions when the model is made: their code, defaults, closures, and the globals and objects that
        they use. Two models have the same fingerprint only if all these are equal. If this can't be known, for example
        with an open file or a generator, the fingerprint is unique. If you change an object that ``f`` uses, make a new
        FakeLM.

    Raises
    ------
    ParameterError
        When ``f`` does not return exactly one number per candidate.

    Examples
    --------
    >>> from fewshot import FakeLM, Query
    >>> lm = FakeLM(lambda query: [float(word in query.prefix) for word in query.candidates])
    >>> lm.loglikelihoods([Query("good film, it was", ("good", "bad"))])[0].logprobs
    array([1., 0.])
    """

    def __init__(
        self,
        f: Callable[[Query], Any],
        *,
        answer: Callable[[Query], str] | None = None,
        kind: str = "causal",
        limit: int = 4096,
        vocabulary: Sequence[str] = (),
        hidden: Callable[[Query], Any] | None = None,
    ) -> None:
        if not callable(f):
            raise ParameterError(
                f"f must be a function of a query, which returns a number per candidate. Got {f!r:.80}."
            )
        self.f = f
        self.answer = answer
        self.kind = kind
        self.limit = limit
        self.vocabulary = tuple(vocabulary)
        self.hidden = hidden
        does = identity(type(self), f, answer, hidden, self.vocabulary)
        self.fingerprint = f"fake:{kind}:{limit}:{getattr(f, '__qualname__', '')}:{does}"

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Apply the function to every query."""
        return [self._score(query) for query in queries]

    def _score(self, query: Query) -> Scores:
        result = self.f(query)
        if isinstance(result, Scores):
            return result
        logprobs: FloatArray = np.asarray(result, dtype=np.float64)
        if logprobs.shape != (len(query.candidates),):
            raise ParameterError(
                f"FakeLM's function must return one number per candidate ({len(query.candidates)}). "
                f"Got an array of shape {logprobs.shape}."
            )
        n_tokens = [max(len(_WORD.findall(word)), 1) for word in query.candidates]
        return Scores(logprobs, np.asarray(n_tokens, dtype=np.int64))

    def generate(self, queries: Sequence[Query], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Return ``answer(query)``, or the best candidate, cut after ``max_new_tokens`` words and at a stop text."""
        answers = []
        for query in queries:
            best = query.candidates[int(np.argmax(self._score(query).logprobs))]
            text = self.answer(query) if self.answer else best
            answers.append(cut_at_stop("".join(_WORD.findall(text)[:max_new_tokens]), stop))
        return answers

    def read(self, queries: Sequence[Query], what: Reading) -> Float32Array:
        """Return normalised log-probabilities of the vocabulary from ``f``, or vectors from ``hidden``.

        Raises
        ------
        UnsupportedError
            When the model was made without ``vocabulary``, or without ``hidden``.
        """
        if what == "hidden":
            if self.hidden is None:
                raise UnsupportedError(f"{self!r} has no hidden states: give FakeLM(hidden=...).")
            return np.stack([np.asarray(self.hidden(query), dtype=np.float32) for query in queries])
        if not self.vocabulary:
            raise UnsupportedError(f"{self!r} has no vocabulary: give FakeLM(vocabulary=[...]).")
        scores = np.stack([self._score(replace(query, candidates=self.vocabulary)).logprobs for query in queries])
        return (scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)).astype(np.float32)

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Return the number of words of each query with its longest candidate."""
        texts = [
            "".join(turn.text for turn in q.context) + q.prefix + max(q.candidates, key=len, default="") + q.suffix
            for q in queries
        ]
        return np.array([len(_WORD.findall(text)) for text in texts], dtype=np.int64)

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """Return the character offset at which each word ends."""
        return [np.array([m.end() for m in _WORD.finditer(text)], dtype=np.int64) for text in texts]

    def __sklearn_clone__(self) -> FakeLM:
        """Models are shared between clones, never copied."""
        return self

    def __repr__(self) -> str:
        return f"FakeLM({getattr(self.f, '__qualname__', self.f)!s})"
