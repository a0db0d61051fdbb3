"""The head of an extractor: its softmax over spans, what it knows of them, and what it learns."""

import itertools
import math
import re

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from fewshot import Extractor, FakeLM, InputError, ParameterError, SpanHead, UnsupportedError, load
from fewshot.heads import span_choice
from fewshot.heads.span_choice import SpanChoice
from fewshot.persistence.classes import is_known, rebuild, take_state
from fewshot.strategies import span_head
from fewshot.task.answer_candidates import candidate_spans
from fewshot.task.answer_features import (
    Passage,
    WordCounts,
    count_words,
    describe_forms,
    describe_none,
    describe_overlap,
)
from fewshot.task.extracts import Asked, ExtractTask
from fewshot.task.words import split_words
from tests.contract import HashEncoder
from tests.test_token_head import LetterTokens

LENGTHS = [4, 1, 7, 3]


def problem(dtype=float):
    rng = np.random.RandomState(0)
    X = rng.randn(sum(LENGTHS), 5).astype(dtype)
    right = rng.rand(len(X)) < 0.3
    right[np.cumsum(LENGTHS) - 1] = True  # so that every question has one
    return X, right, rng.randn(len(X))


def by_question(coef, X, right, offsets, penalty):
    """The stated loss, one question at a time, in log space."""
    loss, ends = penalty * coef @ coef / 2, np.cumsum(LENGTHS)
    for start, end in zip(ends - LENGTHS, ends, strict=True):
        weights = X[start:end] @ coef + offsets[start:end]
        loss += logsumexp(weights) - logsumexp(weights[right[start:end]])
    return loss


def test_the_loss_is_the_stated_one_and_the_gradient_is_its_own():
    X, right, offsets = problem()
    objective = span_choice._Objective(X, np.cumsum([0, *LENGTHS[:-1]]), np.array(LENGTHS), right, offsets, 0.7)
    for seed in range(3):
        at = np.random.RandomState(seed).randn(5)
        assert objective(at)[0] == pytest.approx(by_question(at, X, right, offsets, 0.7))
        assert check_grad(lambda x: objective(x)[0], lambda x: objective(x)[1], at) < 1e-5


def test_a_choice_of_two_is_logistic_regression_on_their_difference(monkeypatch):
    monkeypatch.setattr(span_choice, "_GAIN", 1e-14)
    rng = np.random.RandomState(0)
    pairs, first = rng.randn(40, 2, 3), rng.rand(40) < 0.5
    right = np.column_stack([first, ~first]).ravel()
    head = SpanChoice(penalty=0.5).fit(pairs.reshape(80, 3), [2] * 40, right)
    peer = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10).fit(pairs[:, 0] - pairs[:, 1], first)
    np.testing.assert_allclose(head.coef_, peer.coef_[0], atol=1e-4)


def test_an_offset_stands_for_equal_candidates():
    X, right, _ = problem()
    right = np.concatenate([np.arange(n) == 0 for n in LENGTHS])
    copies = np.where(right, 1, 3)
    lengths = [int(own.sum()) for own in np.split(copies, np.cumsum(LENGTHS)[:-1])]
    repeated = SpanChoice().fit(np.repeat(X, copies, axis=0), lengths, np.repeat(right, copies))
    offset = SpanChoice().fit(X, LENGTHS, right, np.log(copies))
    np.testing.assert_allclose(offset.coef_, repeated.coef_, atol=1e-3)


def test_single_precision_gives_nearly_the_same():
    single, double = (SpanChoice().fit(X, LENGTHS, right) for X, right, _ in map(problem, (np.float32, float)))
    np.testing.assert_allclose(single.coef_, double.coef_, atol=1e-2)
    assert single.log_weights(np.zeros((0, 5))).shape == (0,)


def test_what_a_choice_can_not_learn_from_is_refused():
    X, right, _ = problem()
    with pytest.raises(ParameterError, match="penalty"):
        SpanChoice(penalty=0).fit(X, LENGTHS, right)
    for lengths in ([], [14, 0, 1], [16], [14]):
        with pytest.raises(ParameterError, match="add to the 15 candidates"):
            SpanChoice().fit(X, lengths, right)
    right[4] = False
    with pytest.raises(InputError, match="Question 1 has no right candidate, and 1 of 4 have none"):
        SpanChoice().fit(X, LENGTHS, right)


TEXT = 'He won. Mr. Li paid $5 (40%) - "in 1999", St. Louis, for 3 of 1,000 U.S. cars! Was it £ 6? A–B'


@pytest.mark.parametrize("max_words", [1, 2, 8])
def test_candidates_are_all_spans_between_words_with_letters_or_signs_of_numbers(max_words):
    words = split_words(TEXT)
    wanted = []
    for (i, (start, _)), (j, (_, end)) in itertools.product(enumerate(words), repeat=2):
        span = TEXT[start:end]
        n = sum(any(map(str.isalnum, TEXT[a:b])) for a, b in words[i : j + 1])
        if j >= i and 0 < n <= max_words and re.match(r"\w|[$£]\d", span) and re.search(r"\w$|\w[%]$", span):
            wanted.append((start, end))
    assert candidate_spans(TEXT, max_words) == wanted
    assert {"$5", "40%", "1,000"} <= {TEXT[start:end] for start, end in candidate_spans(TEXT, 2)}


def test_a_passage_knows_its_sentences():
    passage = Passage(TEXT, 3)
    groups = itertools.groupby(zip(passage.words, passage.sentences, strict=True), key=lambda pair: pair[1])
    found = [" ".join(word for word, _ in group) for _, group in groups]
    assert found[:2] == [
        "He won .",
        'Mr . Li paid $ 5 ( 40 % ) - " in 1999 " , St . Louis , for 3 of 1 , 000 U . S . cars !',
    ]
    assert len(found) == 4
    assert [TEXT[start:end] for start, end in passage.places] == [TEXT[slice(*own)] for own in candidate_spans(TEXT, 3)]


def test_words_that_ask_are_frequent_in_questions_and_rare_in_texts():
    passages = [Passage("The cat saw the dog. A dog ran.", 2), Passage("The bird is the word.", 2)]
    questions = [["who", "saw", "the", "dog", "?"], ["who", "is", "the", "bird", "?"], ["when", "ran", "the", "dog"]]
    counts = count_words(passages, questions, 2)
    assert counts.n_sentences == 3
    assert counts.sentences == {"the": 2, "dog": 2, ".": 3}
    assert counts.markers == ["who", "the"]
    assert count_words(passages, questions, 9).markers == ["who", "the", "dog"]  # the others are in one question
    assert counts.mark(["who", "is"]).tolist() == [1, 0]
    weights = counts.weigh(["who", "saw", "dog", "?"], Passage("A saw. A saw. Saw, saw!", 2))
    rarity = [math.log(4 / 3.5) / math.log(4), math.log(4 / 2.5) / math.log(4)]
    np.testing.assert_allclose(weights, [0, *(np.array(rarity) / sum(rarity)), 0])
    assert counts.weigh(["who"], passages[0]).tolist() == [0]
    assert count_words(passages, questions, 0).markers == []


def test_overlap_is_what_is_found_span_by_span():
    passage, question = (
        Passage("Playing well, Ann won. Bob plays in Rome.", 4),
        ["who", "plays", "in", "rome", "playful"],
    )
    weights = np.array([0.0, 0.4, 0.1, 0.3, 0.2])
    found = describe_overlap(passage, question, weights)

    def match(asked, word):
        return 1.0 if asked == word else 0.7 if min(len(asked), len(word)) > 3 and asked[:5] == word[:5] else 0.0

    n = len(passage.words)
    M = np.array([[match(asked, word.lower()) for word in passage.words] for asked in question])
    best = (weights[:, None] * M).max(axis=0)
    covered = [weights @ M[:, passage.sentences == k].max(axis=1) for k in range(2)]
    for row, (first, after) in zip(found, passage.spans, strict=True):
        wanted = [best[first:after].sum(), 3 * best[first:after].mean(), 3 * best[first], 3 * best[after - 1]]
        for decay in (0.6, 0.85, 0.96):
            left, right = (
                np.array([max([M[w, c] * decay ** away(c) for c in cs], default=0) for w in range(5)])
                for cs, away in (
                    (range(first), lambda c, first=first: first - c),
                    (range(after, n), lambda c, after=after: c - after + 1),
                )
            )
            wanted += [weights @ np.maximum(left, right), weights @ left, weights @ right]
        own = covered[passage.sentences[first]]
        np.testing.assert_allclose(row, [*wanted, own, own == max(covered)], atol=1e-12)
    some = np.array([3, 1])
    np.testing.assert_allclose(describe_overlap(passage, question, weights, some), found[some])
    none = describe_none(passage, question, weights)
    np.testing.assert_allclose(none, [1, math.log1p(len(passage.spans)) / 7, max(covered)])


def test_forms_are_those_of_the_words_in_and_beside_a_span():
    passage = Passage("On 5 May, Ann Lee (of Rome) won.", 3)
    forms, shapes = describe_forms(passage)
    texts = [passage.text[start:end] for start, end in passage.places]
    rows = dict(zip(texts, forms, strict=True))
    assert len(forms) == len(shapes) == len(texts)
    assert rows["Ann Lee"][:5].tolist() == [0, 1, 0, 0, 0]  # of two words
    facts = dict(zip(texts, forms[:, -20:], strict=True))
    assert facts["Ann"][1:3].tolist() == [0, 1]  # cuts a name behind it
    assert facts["Lee"][1:3].tolist() == [1, 0]
    assert facts["Ann Lee"][1:3].tolist() == [0, 0]
    assert facts["Ann Lee"][7:11].tolist() == [1, 0, 0, 1]  # a comma before, a bracket behind
    assert facts["won"][13] == 1
    assert facts["On"][14] == 1
    assert facts["Lee (of"][15] == 1
    assert facts["May, Ann"][16] == 1
    named = dict(zip(texts, shapes, strict=True))
    assert named["Ann Lee"][:4].tolist() == [1, 1, 0, 0]
    assert named["5"][2:4].tolist() == [1, 1]


def asks(name, text):
    return Asked(f"Who of them lives in {name}?", text, {})


CITIES = ["Rome", "Oslo", "Kyiv", "Lima", "Bern", "Cairo", "Paris", "Delhi"]
PEOPLE = ["Ada", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal"]


def lessons(n=8, none=0):
    """Who lives where: three people each, and then some who live elsewhere."""
    asked, golds = [], []
    for i in range(n + none):
        own = [(PEOPLE[(i + k) % 8], CITIES[(3 * i + k) % 8]) for k in range(3)]
        text = " ".join(f"It is true that {who} lives in {where}, and is happy there." for who, where in own)
        who, where = own[i % 3]
        missing = i >= n
        asked.append(asks("Atlantis" if missing else where, text))
        golds.append(() if missing else [(text.index(who), text.index(who) + len(who))])
    return asked, golds


def fitted(n=8, none=0, model=None, **given):
    asked, golds = lessons(n, none)
    return SpanHead(**given).fit_answers(ExtractTask(asked, golds, max_words=3), model or LetterTokens())


@pytest.mark.parametrize("given", [{}, {"components": 0}, {"markers": 0}, {"layer": 2, "components": 3}])
def test_it_learns_whom_is_asked_for(given):
    head = fitted(**given)
    text = (
        "It is true that Ida lives in Tunis, and is happy there. It is true that Max lives in Quito, and is sad there."
    )
    readings = head.answer_readings([asks("Tunis", text), asks("Quito", text)])
    for wanted, reading in zip(("Ida", "Max"), readings, strict=True):
        (start, end), probability = reading.find()
        assert text[start:end] == wanted
        assert probability > 0.2
        assert reading.none == -np.inf
        assert np.exp(reading.log_probabilities).sum() == pytest.approx(1)
        assert len(reading.places) == len({text[start:end] for start, end in reading.places})


def test_no_answer_is_learnt_from_examples_of_it():
    head = fitted(12, none=8)
    asked, golds = lessons(4, none=4)
    readings = head.answer_readings(asked)
    none = np.exp([reading.none for reading in readings])
    assert none[:4].max() < 0.5 < none[4:].min()
    for reading, own in zip(readings[:4], golds[:4], strict=True):
        assert reading.find()[0] == own[0]
        assert np.exp(reading.log_probabilities).sum() + np.exp(reading.none) == pytest.approx(1)


def test_it_is_fitted_alike_each_time_and_on_other_texts_the_same(monkeypatch):
    asked, _ = lessons(5)
    head, again = fitted(), fitted()
    np.testing.assert_array_equal(head.head_.coef_, again.head_.coef_)
    wanted = head.answer_readings(asked)
    monkeypatch.setattr(span_head, "_TEXTS", 2)
    for one, own in zip(head.answer_readings(asked), wanted, strict=True):
        assert one.places == own.places
        np.testing.assert_allclose(one.log_probabilities, own.log_probabilities)


def test_wrong_candidates_that_are_left_out_change_little(monkeypatch):
    monkeypatch.setattr(span_head, "_WRONG", 40)
    few, (asked, golds) = fitted(12, none=4), lessons(6, none=2)
    monkeypatch.setattr(span_head, "_WRONG", 10**6)
    for one, own, places in zip(
        few.answer_readings(asked), fitted(12, none=4).answer_readings(asked), golds, strict=True
    ):
        assert one.find()[0] == own.find()[0] == (places[0] if places else None)
        assert one.find()[1] == pytest.approx(own.find()[1], abs=0.15)


def test_an_answer_is_right_wherever_its_text_stands():
    text = "Ann met Bob, and Bob met Ann."
    passage = Passage(text, 2)
    right = span_head._find_right(passage, [(0, 3), (8, 11)])
    assert [place for place, own in zip(passage.places, right, strict=True) if own] == [
        (0, 3),
        (8, 11),
        (17, 20),
        (25, 28),
    ]
    (reading,) = fitted().answer_readings([asks("Rome", text)])
    candidates = candidate_spans(text, 3)
    assert len(reading.places) == len({text[start:end] for start, end in candidates}) < len(candidates)


def test_a_text_without_a_word_has_no_answer():
    for head, found in ((fitted(), (None, 1.0)), (fitted(8, none=4), (None, pytest.approx(1.0)))):
        for reading in head.answer_readings([asks("Rome", ""), asks("Rome", "...")]):
            assert len(reading.places) == 0
            assert reading.find() == found
    assert fitted().answer_readings([]) == []
    (reading,) = fitted().answer_readings([Asked("", "Ann won.", {})])
    assert len(reading.places) == 3


def test_answers_that_are_no_candidates_are_left_out():
    asked, golds = lessons()
    long = [*golds[:7], [(0, len(asked[7].context))]]
    left = SpanHead().fit_answers(ExtractTask(asked, long, max_words=3), LetterTokens())
    few = SpanHead().fit_answers(ExtractTask(asked[:7], golds[:7], max_words=3), LetterTokens())
    assert left.head_.coef_.shape == few.head_.coef_.shape
    assert not left.none_
    with pytest.raises(InputError, match=r"No example has an answer that is a candidate: one of at most 3 words"):
        SpanHead().fit_answers(ExtractTask(asked[7:], long[7:], max_words=3), LetterTokens())


def test_what_can_not_be_learnt_from_is_refused():
    asked, golds = lessons()
    task = ExtractTask(asked, golds)
    with pytest.raises(InputError, match="No example has an answer: there is nothing to learn"):
        SpanHead().fit_answers(ExtractTask(asked, [()] * 8), LetterTokens())
    with pytest.raises(UnsupportedError, match="SpanHead needs answered questions"):
        SpanHead().fit_answers(ExtractTask([], []), LetterTokens())
    for model in (HashEncoder(), FakeLM(lambda query: [0.0])):
        with pytest.raises(UnsupportedError, match="SpanHead needs a model with vectors of tokens"):
            SpanHead().fit_answers(task, model)
    for given in ({"components": -1}, {"markers": 0.5}, {"penalty": 0}):
        with pytest.raises(ParameterError, match=next(iter(given))):
            SpanHead(**given).fit_answers(task, LetterTokens())
    assert SpanHead().fit_answers(task, LetterTokens()).max_words_ == 8


def test_it_is_kept_and_what_no_fit_leaves_is_refused():
    head = fitted(8, none=2)
    assert all(map(is_known, (head, head.head_, head.counts_)))
    state = take_state(head)
    again = rebuild("SpanHead", state)
    asked, _ = lessons(2)
    for one, own in zip(again.answer_readings(asked), head.answer_readings(asked), strict=True):
        np.testing.assert_array_equal(one.log_probabilities, own.log_probabilities)
    assert rebuild("WordCounts", take_state(head.counts_)) == head.counts_
    assert rebuild("SpanHead", take_state(SpanHead(penalty=2.0))).penalty == 2.0
    wrong = {
        "basis_": np.zeros((2, 3)),
        "center_": np.full(16, np.nan),
        "max_words_": 0,
        "none_": 1,
        "counts_": None,
        "head_": None,
    }
    for name, value in wrong.items():
        with pytest.raises(InputError, match="SpanHead"):
            rebuild("SpanHead", {**state, name: value})
    for coef in (np.zeros((2, 2)), np.array([np.inf]), [1.0]):
        with pytest.raises(InputError, match="SpanChoice has no weights"):
            rebuild("SpanChoice", {**take_state(head.head_), "coef_": coef})
    counts = take_state(head.counts_)
    for name, value in {"sentences": {"a": -1}, "n_sentences": -1, "markers": [1]}.items():
        with pytest.raises(InputError, match="SpanHead has"):
            rebuild("SpanHead", {**state, "counts_": WordCounts(**{**counts, name: value})})
    with pytest.raises(InputError, match="WordCounts"):
        rebuild("WordCounts", {**counts, "n_sentences": 1.5})


def test_an_extractor_has_it_by_default_and_is_kept_with_it(tmp_path):
    asked, golds = lessons(8, none=2)
    rows = [{"question": one.question, "context": one.context} for one in asked]
    answers = [list(own) or None for own in golds]
    extractor = Extractor("embedded:masked").fit(rows, answers)
    assert isinstance(extractor.strategy_, SpanHead)
    found = extractor.predict(rows)
    assert sum((one.start, one.end) == own[0] for one, own in zip(found[:8], golds, strict=False)) >= 6
    again = Extractor.load(extractor.save(tmp_path / "kept")).predict(rows)
    assert again == found
    np.testing.assert_allclose([one.probability for one in again], [one.probability for one in found], atol=1e-6)


def test_an_encoder_without_examples_or_with_a_wording_is_refused():
    encoder = load()
    with pytest.raises(UnsupportedError, match="SpanHead needs answered questions"):
        Extractor(encoder).fit()
    with pytest.raises(ParameterError, match=r"SpanHead\(\) asks nothing"):
        Extractor(encoder, "squad/answer").fit([{"question": "Who?", "context": "Ann won."}], ["Ann"])
