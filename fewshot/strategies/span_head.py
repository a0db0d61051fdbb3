"""The answer among the spans of a text, from frozen token vectors and spelling: the head of an extractor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from fewshot.checks import at_least
from fewshot.errors import InputError, UnsupportedError
from fewshot.heads.answers import AnswerReading, read_scores
from fewshot.heads.span_choice import PENALTY, SpanChoice
from fewshot.models.base import Float32Array, FloatArray, kind_of
from fewshot.models.tokens import is_pairs, is_tokens, word_vectors
from fewshot.task.answer_features import (
    NONE_FEATURES,
    Passage,
    count_words,
    describe_forms,
    describe_none,
    describe_overlap,
    words_of_question,
)
from fewshot.task.answer_meaning import describe_meaning
from fewshot.task.extracts import Asked, ExtractTask, Place

__all__ = ["Learnt", "Meaning", "SpanHead"]

#: Of 0, 20, 40 and 80, and of 0 and 12, by benchmarks/settle/answers.py, on training questions.
_COMPONENTS, _MARKERS = 40, 12
#: What the largest values of each group of features are multiplied by: the larger, the less they are penalised. Tried
#: by hand on training questions.
_OVERLAP, _FORM, _VECTOR, _MEANING, _NONE = 3.0, 0.5, 0.5, 3.0, 5.0
#: How many wrong candidates of a question are learnt from; the others add memory and time, and nothing to be learnt.
_WRONG = 200
#: The most words of an answer where it is not said, and how many texts are read at once.
_MAX_WORDS, _TEXTS = 8, 256
#: The layer whose vectors say what words mean where they stand.
_LAST = -1
#: Whose vectors are known of a candidate: those in it on average, its first and last word, and those beside it.
_PLACES = 5

#: The vectors of the words of a text, and the mean vector of a question.
Meaning = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False)
class Learnt:
    """What is learnt from one question: some candidates, and below them no answer, where that is asked for."""

    asked: Asked
    passage: Passage
    rows: NDArray[np.int64]  # which candidates of the text they are
    right: NDArray[np.bool_]
    offsets: FloatArray  # the logarithm of how many candidates each stands for


class SpanHead(BaseEstimator):  # type: ignore[misc]
    """Find answers by the spelling of spans and by a model's token vectors, without changing the model.

    Every span of up to ``max_words`` words is a candidate. Its features are: which words of the question occur in it,
    near it and in its sentence; how similar the question is to the words around it and to its sentence, by the token
    vectors of the last layer; the spelling of the span and of the words beside it; the token vectors of these words,
    reduced to their principal components in the examples; and some spelling features once more for each question word,
    such as "who" or "when". Question words are found in the examples: they are more frequent in questions than in
    texts. One softmax regression weighs all candidates of a question, and no answer if there are examples of it.

    Parameters
    ----------
    layer : int, optional
        The layer whose hidden states are the vectors of words; 0 means the embeddings. None: the middle layer.
    penalty : float
        L2 penalty on the weights.
    components : int
        The most principal components of the vectors. 0 leaves out all vectors, also those of the last layer, and the
        model is not used.
    markers : int
        The most question words; 0 leaves them out.
    pairs : bool
        Whether the model reads each text after its question. A text is then read again for each question, and the
        similarities of the last layer are left out.

    Attributes
    ----------
    model_ : object
        The model that was given.
    head_ : SpanChoice
        The softmax regression over the candidates.
    counts_ : WordCounts
        How common words are in the examples, and which are question words.
    center_ : ndarray of shape (dim,)
        The mean vector of the words of the examples.
    basis_ : ndarray of shape (n_components, dim)
        The principal components of the vectors.
    max_words_ : int
        The most words of an answer; 8 by default.
    none_ : bool
        Whether a text may hold no answer: True if an example has none.

    Notes
    -----
    The head is fitted on all right candidates and on a weighted sample of the wrong ones, under a fixed seed; the
    weights stay consistent: McFadden (1978), "Modelling the Choice of Residential Location".

    Examples
    --------
    >>> from fewshot import SpanHead
    >>> SpanHead(penalty=3.0)
    SpanHead(penalty=3.0)
    """

    def __init__(
        self,
        layer: int | None = None,
        *,
        penalty: float = PENALTY,
        components: int = _COMPONENTS,
        markers: int = _MARKERS,
        pairs: bool = False,
    ) -> None:
        self.layer = layer
        self.penalty = penalty
        self.components = components
        self.markers = markers
        self.pairs = pairs

    def fit_answers(self, task: ExtractTask, model: Any, *, random_state: Any = None) -> Self:
        """Learn from answered questions.

        Parameters
        ----------
        task : ExtractTask
        model : object
            A sentence encoder or a masked language model: it must have ``token_vectors``.
        random_state : object
            Not used: nothing is random.

        Raises
        ------
        UnsupportedError
            When there are no examples, or the model has no vectors of tokens.
        ParameterError
            When a parameter is out of its range.
        InputError
            When no example has an answer that is one of the candidates.
        """
        examples = self.prepare(task, model)
        asked, passages = [one.asked for one in examples], [one.passage for one in examples]
        self.learn(examples, self._word_vectors(asked, passages), self.meanings(asked, passages))
        return self

    def prepare(self, task: ExtractTask, model: Any) -> list[Learnt]:
        """Return the examples to learn from, before any vector is read.

        Raises
        ------
        UnsupportedError
            When there are no examples, or the model has no vectors of tokens.
        ParameterError
            When a parameter is out of its range.
        InputError
            When no example has an answer that is one of the candidates.
        """
        if not task.asked:
            raise UnsupportedError(
                "SpanHead needs answered questions: 16 will do to begin with. Give examples, or a model that finds "
                "answers without any: a language model, or one that was trained for questions about texts."
            )
        if not (is_pairs if self.pairs else is_tokens)(model):
            raise UnsupportedError(
                f"SpanHead needs a model with vectors of tokens{' of pairs' * bool(self.pairs)}. {model!r} "
                f"({kind_of(model).name}) has none. Use a sentence encoder or a masked language model, such as load() "
                "or load('embedded:masked')."
            )
        at_least("components", self.components, 0, whole=True)
        at_least("markers", self.markers, 0, whole=True)
        self.model_ = model
        self.max_words_ = _MAX_WORDS if task.max_words is None else task.max_words
        passages = {one.context: Passage(one.context, self.max_words_) for one in task.asked}
        right = [_find_right(passages[one.context], golds) for one, golds in zip(task.asked, task.golds, strict=True)]
        self.none_ = any(not golds for golds in task.golds)
        learnt = self._check_learnt(task.golds, right)
        words = [words_of_question(one.question) for one in task.asked]
        self.counts_ = count_words(list(passages.values()), words, self.markers)
        rng = np.random.RandomState(0)
        examples = []
        for i in learnt:
            share = min(_WRONG / max(len(right[i]), 1), 1.0)
            rows = np.flatnonzero(right[i] | (rng.rand(len(right[i])) < share))
            chosen = np.append(right[i][rows], [not task.golds[i]] * self.none_).astype(bool)
            offsets = np.append(np.full(len(rows), -np.log(share)), [0.0] * self.none_)
            examples.append(Learnt(task.asked[i], passages[task.asked[i].context], rows, chosen, offsets))
        return examples

    def learn(
        self, examples: Sequence[Learnt], vectors: Sequence[FloatArray], meanings: Sequence[Meaning | None]
    ) -> list[Float32Array]:
        """Fit the weights on the word vectors of each example (empty without components), and return the features."""
        once = {
            (one.asked.question if self.pairs else "", one.passage.text): own
            for one, own in zip(examples, vectors, strict=True)
        }
        self._fit_basis([rows for rows in once.values() if len(rows)])
        described = {one.passage.text: _describe(one.passage) for one in examples}
        X = [
            self._features(
                one.passage, described[one.passage.text], (own, meant), words_of_question(one.asked.question), one.rows
            )
            for one, own, meant in zip(examples, vectors, meanings, strict=True)
        ]
        right, offsets = (np.concatenate([getattr(one, name) for one in examples]) for name in ("right", "offsets"))
        self.head_ = SpanChoice(self.penalty).fit(np.concatenate(X), [len(rows) for rows in X], right, offsets)
        return X

    def meanings(self, asked: Sequence[Asked], passages: Sequence[Passage]) -> list[Meaning | None]:
        """Return the last layer's vectors of the words of each text, and of its question; None if they are left out."""
        if not self.components or self.pairs:
            return [None] * len(asked)
        made = self._vectors_of_texts(passages, _LAST)
        questions = list(dict.fromkeys(one.question for one in asked))
        found = self.model_.token_vectors(questions, layer=_LAST)
        means = {text: _mean(own.vectors) for text, own in zip(questions, found, strict=True)}
        return [(made[one.context], means[one.question]) for one in asked]

    def word_weights(self) -> tuple[slice, FloatArray]:
        """Return which features come from vectors, and their weights on the vector of a word.

        Returns
        -------
        features : slice
        weights : array of shape (5, dim)
            One row for each of: the mean of a candidate's words, its first word, its last word, the word before, and
            the word after.
        """
        start = _describe(Passage("a", 1))[0].shape[1]
        features = slice(start, start + _PLACES * len(self.basis_))
        return features, _VECTOR * self.head_.coef_[features].reshape(_PLACES, -1) @ self.basis_

    def answer_readings(self, asked: Sequence[Asked]) -> list[AnswerReading]:
        """Return one reading for each question: how probable its answers are."""
        readings = []
        for start in range(0, len(asked), _TEXTS):
            part = asked[start : start + _TEXTS]
            passages = {one.context: Passage(one.context, self.max_words_) for one in part}
            own_passages = [passages[one.context] for one in part]
            vectors, meanings = self._word_vectors(part, own_passages), self.meanings(part, own_passages)
            described: dict[str, tuple[FloatArray, FloatArray]] = {}
            for one, own, meant in zip(part, vectors, meanings, strict=True):
                passage = passages[one.context]
                if one.context not in described:
                    described = {one.context: _describe(passage)}  # only the last one
                X = self._features(passage, described[one.context], (own, meant), words_of_question(one.question))
                weights = self.head_.log_weights(X)
                scores, none = (weights[:-1], float(weights[-1])) if self.none_ else (weights, -np.inf)
                readings.append(read_scores(one.context, passage.places, scores, none))
        return readings

    def _check_learnt(self, golds: Sequence[Sequence[Place]], right: Sequence[NDArray[np.bool_]]) -> list[int]:
        """The examples that there is something to learn from; `Extractor` warns of the others."""
        outside = [i for i, (places, own) in enumerate(zip(golds, right, strict=True)) if places and not own.any()]
        n_answered = sum(map(bool, golds))
        if len(outside) == n_answered:
            raise InputError(
                "No example has an answer that is a candidate: one of "
                f"at most {self.max_words_} words that begins and ends with a letter or a digit."
                if n_answered
                else "No example has an answer: there is nothing to learn. Add questions that their texts answer."
            )
        return sorted(set(range(len(golds))) - set(outside))

    def _word_vectors(self, asked: Sequence[Asked], passages: Sequence[Passage]) -> list[FloatArray]:
        """The vectors of the words of each text, as they are read for its question; none without components."""
        if not self.components:
            return [np.zeros((0, 0))] * len(asked)
        contexts = [one.context for one in asked]
        if self.pairs:
            found = self.model_.pair_vectors([one.question for one in asked], contexts, layer=self.layer)
            return [word_vectors(tokens, one.bounds) for tokens, one in zip(found, passages, strict=True)]
        made = self._vectors_of_texts(passages, self.layer)
        return [made[text] for text in contexts]

    def _vectors_of_texts(self, passages: Sequence[Passage], layer: int | None) -> dict[str, FloatArray]:
        """The vectors of the words of each text, which is read once."""
        once = {one.text: one for one in passages}
        found = self.model_.token_vectors(list(once), layer=layer)
        return {text: word_vectors(own, once[text].bounds) for text, own in zip(once, found, strict=True)}

    def _fit_basis(self, vectors: Sequence[FloatArray]) -> None:
        """Find the main directions of the vectors of words, by their covariance, in units of the first."""
        self.center_, self.basis_ = np.zeros(0), np.zeros((0, 0))
        if not vectors:
            return
        rows = np.concatenate(vectors)
        self.center_ = rows.mean(axis=0)
        variances, directions = np.linalg.eigh((rows - self.center_).T @ (rows - self.center_) / len(rows))
        main = directions[:, ::-1][:, : self.components].T
        self.basis_ = main / np.sqrt(max(variances[-1], np.finfo(float).tiny))

    def _features(
        self,
        passage: Passage,
        described: tuple[FloatArray, FloatArray],
        read: tuple[FloatArray, Meaning | None],
        question: Sequence[str],
        rows: Any = slice(None),
    ) -> Float32Array:
        """The features of some candidates; below them a row of no answer, where that is asked for."""
        vectors, meaning = read
        forms, shapes = (part[rows] for part in described)
        weights = self.counts_.weigh(question, passage)
        overlap = _OVERLAP * describe_overlap(passage, question, weights, rows)
        marked = np.hstack([shapes[:, :0], *(mark * shapes for mark in self.counts_.mark(question))])
        parts = [forms, *self._directions(passage, vectors, rows), overlap, marked]
        if meaning is not None:
            parts.append(_MEANING * describe_meaning(passage, *meaning, rows))
        X = np.hstack(parts, dtype=np.float32)
        if self.none_:
            X = np.pad(X, ((0, 1), (0, NONE_FEATURES)))
            X[-1, -NONE_FEATURES:] = _NONE * describe_none(passage, question, weights)
        return X

    def _directions(self, passage: Passage, vectors: FloatArray, rows: Any) -> list[FloatArray]:
        """The vectors in some candidates and beside them, on the main directions; see `word_weights`."""
        if not len(self.basis_):
            return []
        on = (vectors - self.center_) @ self.basis_.T
        first, after = passage.spans[rows].T
        sums = np.concatenate([np.zeros((1, on.shape[1])), np.cumsum(on, axis=0)])
        beside = np.pad(on, ((1, 1), (0, 0)))
        means = (sums[after] - sums[first]) / (after - first)[:, None]
        return [_VECTOR * one for one in (means, on[first], on[after - 1], beside[first], beside[after + 1])]


def _describe(passage: Passage) -> tuple[FloatArray, FloatArray]:
    """What is known of the candidates whatever is asked and without vectors, and their shapes."""
    forms, shapes = describe_forms(passage)
    return (_FORM * forms).astype(np.float32), shapes.astype(np.float32)


def _mean(vectors: Any) -> FloatArray:
    """The mean of vectors; of none it is 0."""
    return np.asarray(vectors, dtype=np.float64).sum(axis=0) / max(len(vectors), 1)


def _find_right(passage: Passage, golds: Sequence[Place]) -> NDArray[np.bool_]:
    """Which candidates have the text of a right answer, wherever they stand."""
    texts = {passage.text[start:end] for start, end in golds}
    return np.array([passage.text[start:end] in texts for start, end in passage.places], dtype=bool)
