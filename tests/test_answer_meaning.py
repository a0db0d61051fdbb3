"""How near a question is in meaning to candidates: against cosines that are taken one by one."""

from __future__ import annotations

import numpy as np
import pytest

from fewshot.task.answer_features import Passage
from fewshot.task.answer_meaning import describe_meaning

TEXT = "Ada met Mr. Babbage in London. He showed her an engine! She wrote about it for years. It was never built."


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_cosine_of_mean_vectors_around_a_span_and_of_its_sentence_behind_the_best(seed):
    rng = np.random.RandomState(seed)
    passage = Passage(TEXT, 3)
    words, question = rng.randn(len(passage.words), 5), rng.randn(5)
    found = describe_meaning(passage, words, question)
    assert found.shape == (len(passage.spans), 3)
    sentences = [cosine(words[passage.sentences == n].mean(axis=0), question) for n in set(passage.sentences)]
    for (first, after), row in zip(passage.spans, found, strict=True):
        expected = [cosine(words[max(first - n, 0) : after + n].mean(axis=0), question) for n in (4, 10)]
        expected.append(sentences[passage.sentences[first]] - max(sentences))
        np.testing.assert_allclose(row, expected)
    assert found[:, 2].max() == 0


def test_some_rows_are_those_of_all():
    rng = np.random.RandomState(0)
    passage = Passage(TEXT, 2)
    words, question = rng.randn(len(passage.words), 4), rng.randn(4)
    rows = np.array([3, 0, 7])
    every = describe_meaning(passage, words, question)
    np.testing.assert_allclose(describe_meaning(passage, words, question, rows), every[rows])


def test_words_without_vectors_and_an_empty_question_are_near_to_nothing():
    passage = Passage(TEXT, 2)
    assert not describe_meaning(passage, np.zeros((len(passage.words), 4)), np.ones(4)).any()
    assert not describe_meaning(passage, np.ones((len(passage.words), 4)), np.zeros(4)).any()


def test_a_text_without_words_has_no_candidates():
    assert describe_meaning(Passage("", 2), np.zeros((0, 4)), np.ones(4)).shape == (0, 3)
