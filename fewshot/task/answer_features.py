"""What the spelling of a text and of a question says of each span that may be the answer.

No feature knows a language's words. Which words ask, and which are common, is counted in the examples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.task.answer_candidates import candidate_words
from fewshot.task.spelling import FEATURES, spell
from fewshot.task.words import split_words

__all__ = [
    "NONE_FEATURES",
    "Passage",
    "WordCounts",
    "count_words",
    "describe_forms",
    "describe_none",
    "describe_overlap",
    "words_of_question",
]

Array = NDArray[np.float64]

_SENTENCE_ENDS = frozenset(".!?…。！？।")
#: A word as short as that with a full stop is rather an abbreviation than the end of a sentence.
_ABBREVIATION = 2
#: The features of `spell` that are asked of the words in and beside a span.
_SPELT = (
    "capital",
    "all capitals",
    "mixed case",
    "small",
    "no letters",
    "share of digits",
    "sign",
    "letters and digits",
)
#: Words match in part when so many of their first letters are equal; that counts so much of a whole match.
_PREFIX, _PART = 5, 0.7
_SHORT = 4  # words of fewer letters match as a whole only
#: How much of a match is left a word further away.
_DECAYS = (0.6, 0.85, 0.96)
#: Number of the features of no answer.
NONE_FEATURES = 3


@dataclass(frozen=True)
class Passage:
    """A text with its words, its sentences and the spans that may be an answer.

    Parameters
    ----------
    text : str
    max_words : int
        The most words of a span.
    """

    text: str
    max_words: int

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """The start and the end of each word, in characters."""
        return split_words(self.text)

    @cached_property
    def words(self) -> list[str]:
        """The words as they are written."""
        return [self.text[start:end] for start, end in self.bounds]

    @cached_property
    def lowered(self) -> list[str]:
        """The words in small letters."""
        return [word.lower() for word in self.words]

    @cached_property
    def spans(self) -> NDArray[np.int64]:
        """The first word of each candidate, and the word after its last."""
        found = candidate_words(self.text, self.bounds, self.max_words)
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """The start and the end of each candidate, in characters."""
        return [(self.bounds[first][0], self.bounds[after - 1][1]) for first, after in self.spans]

    @cached_property
    def sentences(self) -> NDArray[np.int64]:
        """The number of the sentence of each word.

        One ends with a full stop, or another sign that ends it, before a blank and a word that has no small letter
        first, unless the word before is so short that it may be an abbreviation.
        """
        words, bounds = self.words, self.bounds
        ends = [
            words[i] in _SENTENCE_ENDS
            and bounds[i][1] < bounds[i + 1][0]
            and not words[i + 1][0].islower()
            and not (words[i] == "." and i > 0 and words[i - 1].isalpha() and len(words[i - 1]) <= _ABBREVIATION)
            for i in range(len(words) - 1)
        ]
        return np.concatenate([[0], np.cumsum(ends)])[: len(words)].astype(np.int64)

    @cached_property
    def sentence_counts(self) -> Counter[str]:
        """In how many sentences each word stands, in small letters."""
        return Counter(word for word, _ in set(zip(self.lowered, self.sentences.tolist(), strict=True)))


@dataclass(frozen=True)
class WordCounts:
    """How common words are, as counted in the examples.

    Parameters
    ----------
    sentences : mapping of str to int
        In how many sentences of the texts each word stands; those in one are left out.
    n_sentences : int
    markers : sequence of str
        The words that are typical of questions, in small letters.
    """

    sentences: Mapping[str, int]
    n_sentences: int
    markers: Sequence[str]

    def weigh(self, question: Sequence[str], passage: Passage) -> Array:
        """What a match of each word of a question counts for: more for a rare one, and all add to 1, or to 0.

        It is the inverse document frequency, where sentences are the documents: those of the examples, or those of the
        text alone where more of them have the word, as a new text's subject.
        """
        n, weights = self.n_sentences + 1, []
        for word in question:
            count = max(self.sentences.get(word, 1), passage.sentence_counts[word])
            counts = any(map(str.isalnum, word)) and word not in self.markers
            weights.append(counts * min(max(math.log(n / (count + 0.5)) / math.log(n), 0.0), 1.0))
        return np.array(weights, dtype=np.float64) / (sum(weights) or 1.0)

    def mark(self, question: Sequence[str]) -> Array:
        """1 for each marker that is one of the words of a question."""
        return np.array([float(marker in question) for marker in self.markers])


def words_of_question(question: str) -> list[str]:
    """Split a question into its words, in small letters."""
    return [question[start:end].lower() for start, end in split_words(question)]


def count_words(passages: Sequence[Passage], questions: Sequence[Sequence[str]], n_markers: int) -> WordCounts:
    """Count the words of texts, and find those that ask: frequent in questions, and rarer in sentences.

    Parameters
    ----------
    passages : sequence of Passage
        Each counts, so equal ones are better given once.
    questions : sequence of sequence of str
        The words of each question, in small letters.
    n_markers : int
        The most words that ask.
    """
    in_sentences: Counter[str] = Counter()
    n_sentences = 0
    for passage in passages:
        in_sentences.update(passage.sentence_counts)
        n_sentences += int(passage.sentences.max(initial=-1)) + 1
    in_questions = Counter(word for words in questions for word in set(words) if any(map(str.isalnum, word)))
    gains = {
        word: count * math.log(count / len(questions) * (n_sentences + 1) / (in_sentences[word] + 0.5))
        for word, count in in_questions.items()
        if count > 1
    }
    markers = sorted((word for word, gain in gains.items() if gain > 0), key=lambda word: (-gains[word], word))
    common = {word: count for word, count in sorted(in_sentences.items()) if count > 1}
    return WordCounts(common, n_sentences, markers[:n_markers])


def describe_forms(passage: Passage) -> tuple[Array, Array]:
    """What is known of each candidate whatever is asked, and the few of these that are weighed for each marker.

    Returns
    -------
    forms : array of shape (n_candidates, n_forms)
        How the words in it are spelt on average, the first, the last, and the words beside it; its length, where it
        stands, what signs are beside it, and whether it cuts a name, a word or a sentence. Values are from 0 to 1,
        and the logarithm of the length to 3.
    shapes : array of shape (n_candidates, n_shapes)
    """
    first, after = passage.spans.T
    last, words = after - 1, passage.words
    spelt = np.array(spell(words), dtype=np.float64).reshape(len(words), len(FEATURES))
    spelt = spelt[:, [FEATURES.index(name) for name in _SPELT]]
    means = _sums(spelt, first, after) / (after - first)[:, None]
    beside = np.pad(spelt, ((1, 1), (0, 0)))  # so that word i is in row i + 1
    is_word = np.array([any(map(str.isalnum, word)) for word in words], dtype=bool)
    n_words = _sums(is_word, first, after)
    lengths = np.column_stack([*(n_words == n for n in range(1, 5)), n_words > 4])
    named = np.pad((spelt[:, 0] > 0) | (spelt[:, 5] > 0), 1)  # capitals and numbers
    starts, ends = np.array(passage.bounds, dtype=np.int64).reshape(-1, 2).T
    glued = np.pad(starts[1:] == ends[:-1], 1)  # to the word before
    comma, bracket, quote, stop = (
        np.pad(np.array([word in signs for word in words], dtype=bool), 1)
        for signs in (",;:，、；：", "()[]{}（）", "\"'“”„‘’«»", "".join(_SENTENCE_ENDS))
    )
    enclosed = (bracket | quote)[1:-1]
    sizes = np.minimum([len(word) for word in words], 10) / 10 if words else np.zeros(0)
    left, right = first, after + 1  # the words beside a span, in padded arrays
    facts = np.column_stack(
        [
            np.log(np.maximum(n_words, 1)),
            named[left] & named[first + 1],
            named[right] & named[last + 1],
            passage.sentences[first] != passage.sentences[last],
            glued[first] & np.pad(is_word, 1)[left],
            glued[first],
            glued[after],
            *(signs[side] for signs in (comma, bracket, quote) for side in (left, right)),
            stop[right],
            (first == 0) | stop[left],
            _sums(enclosed, first, after) > 0,
            _sums(comma[1:-1], first, after) > 0,
            sizes[first],
            sizes[last],
            first / max(len(words), 1),
        ]
    )
    forms = np.hstack([lengths, means, spelt[first], spelt[last], beside[left], beside[right], facts])
    capitals, small, digits = means[:, 0], means[:, 3], means[:, 5]
    shapes = np.column_stack(
        [
            capitals == 1,
            capitals > 0,
            digits,
            digits > 0,
            spelt[first, 0],
            spelt[first, 3],
            spelt[last, 3],
            n_words == 1,
            np.log(np.maximum(n_words, 1)) / 2,
            small,
        ]
    )
    return forms, shapes.astype(np.float64)


def describe_overlap(passage: Passage, question: Sequence[str], weights: Array, rows: Any = slice(None)) -> Array:
    """How the words of a question stand in candidates, near them, and in their sentence; what is near may answer.

    Parameters
    ----------
    passage : Passage
    question : sequence of str
        Its words, in small letters.
    weights : array of shape (n_question_words,)
        What a match of each counts for.
    rows : index
        The candidates that are meant; all of them unless it is said.
    """
    first, after = passage.spans[rows].T
    matches = _match(question, passage.lowered)
    best = (weights[:, None] * matches).max(axis=0, initial=0.0)
    inside = _sums(best, first, after)
    columns = [inside, 3 * inside / (after - first), 3 * best[first], 3 * best[after - 1]]
    for decay in _DECAYS:
        left, right = _near(matches, decay), _near(matches[:, ::-1], decay)[:, ::-1]
        before, behind = left[:, first], right[:, after]
        columns += [weights @ np.maximum(before, behind), weights @ before, weights @ behind]
    covered = _cover(passage, matches, weights)
    own = covered[passage.sentences[first]]
    columns += [own, own == covered.max(initial=0.0)]
    return np.column_stack(columns)


def describe_none(passage: Passage, question: Sequence[str], weights: Array) -> Array:
    """What speaks for and against that a text holds no answer: its length, and how much of the question it repeats."""
    covered = _cover(passage, _match(question, passage.lowered), weights)
    return np.array([1.0, math.log1p(len(passage.spans)) / 7, covered.max(initial=0.0)])


def _match(question: Sequence[str], words: Sequence[str]) -> Array:
    """How far each word of a question is each word of a text, from 0 to 1."""
    texts, parts = np.array(words, dtype=object), np.array([word[:_PREFIX] for word in words], dtype=object)
    long = np.array([len(word) >= _SHORT for word in words], dtype=bool)
    matches = np.zeros((len(question), len(words)))
    for row, word in zip(matches, question, strict=True):
        if len(word) >= _SHORT:
            row[long & (parts == word[:_PREFIX])] = _PART
        row[texts == word] = 1.0
    return matches


def _near(matches: Array, decay: float) -> Array:
    """For each gap between words the best match to its left, which a word further away is worth less by a factor."""
    n = matches.shape[1]
    with np.errstate(divide="ignore"):
        logs = np.log(matches) - np.arange(n) * math.log(decay)
    best = np.maximum.accumulate(logs, axis=1) + np.arange(1, n + 1) * math.log(decay)
    return np.pad(np.exp(best), ((0, 0), (1, 0)))


def _cover(passage: Passage, matches: Array, weights: Array) -> Array:
    """How much of a question each sentence repeats."""
    n = int(passage.sentences.max(initial=-1)) + 1
    starts = np.searchsorted(passage.sentences, np.arange(n))
    return weights @ np.maximum.reduceat(matches, starts, axis=1) if n else np.zeros(0)


def _sums(values: Any, first: NDArray[np.int64], after: NDArray[np.int64]) -> Array:
    """The sum over the words of each span."""
    values = np.asarray(values, dtype=np.float64)
    cumulated = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    return cumulated[after] - cumulated[first]
