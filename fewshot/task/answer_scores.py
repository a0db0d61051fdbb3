"""How well an answer matches the right ones: exactly, and by their words in common, as SQuAD's script has it."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fewshot.errors import InputError, at_row
from fewshot.models.base import FloatArray
from fewshot.task.extracts import Answer
from fewshot.task.words import split_words

__all__ = ["answer_f1", "exact_match", "score_answers", "take_texts"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


def exact_match(true: Sequence[Any], predicted: Sequence[Any], *, language: str = "en") -> float:
    """Return the share of right answers, ignoring case, punctuation, blanks and, in English, articles.

    Source: Rajpurkar et al. (2016), "SQuAD: 100,000+ Questions for Machine Comprehension of Text"; for questions
    without an answer, Rajpurkar et al. (2018), "Know What You Don't Know: Unanswerable Questions for SQuAD".

    Parameters
    ----------
    true : sequence
        The right answers to each question: a text, a list of texts, an `Answer` or ``{"text": [...]}``; "" or an empty
        list for no answer.
    predicted : sequence of str or Answer
    language : str
        "en" removes English articles. Any other language removes no articles, but all punctuation of Unicode, and each
        letter is a word in scripts without blanks between words.

    Raises
    ------
    InputError
        When the lengths differ, or something is no answer.

    Examples
    --------
    >>> from fewshot.evaluation import exact_match
    >>> exact_match([["the Eiffel Tower"], []], ["Eiffel tower.", ""])
    1.0
    """
    return float(score_answers(true, predicted, language)[:, 0].mean())


def answer_f1(true: Sequence[Any], predicted: Sequence[Any], *, language: str = "en") -> float:
    """Return the mean F1 of the words that a predicted answer shares with the most similar right answer.

    Sources and parameters are those of `exact_match`. If a question has no answer, its F1 is 1 for predicting none,
    else 0.

    Raises
    ------
    InputError
        When the lengths differ, or something is no answer.

    Examples
    --------
    >>> from fewshot.evaluation import answer_f1
    >>> answer_f1([["the Eiffel Tower"], []], ["tower", "Paris"])
    0.3333333333333333
    """
    return float(score_answers(true, predicted, language)[:, 1].mean())


def score_answers(true: Sequence[Any], predicted: Sequence[Any], language: str = "en") -> FloatArray:
    """Exact match and F1 of each answer, of shape (n_questions, 2).

    Raises
    ------
    InputError
        When the lengths differ, there are no questions, or something is no answer.
    """
    if len(true) != len(predicted):
        raise InputError(f"true has {len(true)} rows and predicted has {len(predicted)}: they must be of one length.")
    if not len(true):
        raise InputError("true is empty: give the answers to at least one question.")
    scores = []
    for i, (golds, said) in enumerate(zip(true, predicted, strict=True)):
        with at_row(i):
            own = _words(_text_of(said), language)
            # as SQuAD's script has it, an answer of which nothing is left is no answer
            right = [words for text in take_texts(golds) if (words := _words(text, language))] or [[]]
            scores.append((max(float(words == own) for words in right), max(_f1(words, own) for words in right)))
    return np.array(scores)


def take_texts(golds: Any) -> list[str]:
    """The texts of the right answers to a question, however they are given."""
    if isinstance(golds, Mapping):
        golds = golds.get("text")
    if isinstance(golds, str | Answer) or golds is None:
        return [_text_of(golds)]
    if not isinstance(golds, Sequence | np.ndarray):
        raise InputError(f"the right answers must be a text or a list of texts. Got {golds!r:.60}.")
    return [_text_of(one) for one in golds]


def _text_of(said: Any) -> str:
    text = said.text if isinstance(said, Answer) else "" if said is None else said
    if not isinstance(text, str):
        raise InputError(f"an answer must be text or an Answer. Got {said!r:.60}.")
    return text


def _words(text: str, language: str) -> list[str]:
    """The words of an answer, normalised."""
    if language == "en":
        plain = "".join(sign for sign in text.lower() if sign not in _PUNCTUATION)
        return _ARTICLES.sub(" ", plain).split()
    plain = "".join(one for one in text.lower() if one not in _PUNCTUATION and unicodedata.category(one)[0] != "P")
    return [plain[start:end] for start, end in split_words(plain)]


def _f1(right: Sequence[str], said: Sequence[str]) -> float:
    if not right or not said:
        return float(right == said)
    common = (Counter(right) & Counter(said)).total()
    return 2 * common / (len(right) + len(said))
