"""How near a question is in meaning to each span that may be the answer, by the vectors of their words."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewshot.models.base import FloatArray
from fewshot.task.answer_features import Passage

__all__ = ["describe_meaning"]

#: So many words on each side of a span are taken with it: those that it depends on, and about its sentence.
_AROUND = (4, 10)


def describe_meaning(passage: Passage, words: FloatArray, question: FloatArray, rows: Any = slice(None)) -> FloatArray:
    """How near in meaning to a question are the words around candidates, and how far behind the best their sentence is.

    Nearness is the cosine of the mean of the words' vectors with that of the question. The sentence is compared with
    the best one of the text, since some texts are nearer to whatever is asked than others.

    Parameters
    ----------
    passage : Passage
    words : array of shape (n_words, dim)
        The vectors of the words of the text.
    question : array of shape (dim,)
        The mean vector of the question.
    rows : index
        The candidates that are meant; all of them unless it is said.

    Returns
    -------
    array of shape (n_candidates, 3)
    """
    sums = np.concatenate([np.zeros((1, words.shape[1])), np.cumsum(words, axis=0)])
    first, after = passage.spans[rows].T

    def nearness(start: Any, end: Any) -> FloatArray:
        means = sums[end] - sums[start]
        sizes = np.linalg.norm(means, axis=1) * np.linalg.norm(question)
        return np.divide(means @ question, sizes, out=np.zeros(len(means)), where=sizes > 0)

    bounds = np.searchsorted(passage.sentences, np.arange(int(passage.sentences.max(initial=-1)) + 2))
    sentences = nearness(bounds[:-1], bounds[1:])
    columns = [nearness(np.maximum(first - n, 0), np.minimum(after + n, len(words))) for n in _AROUND]
    return np.column_stack([*columns, (sentences - sentences.max(initial=-1))[passage.sentences[first]]])
