"""TokenCRF: the optimum it claims, against a slow likelihood and finite differences; and TokenHead on a model."""

from __future__ import annotations

import re
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import approx_fprime, check_grad, minimize
from scipy.special import log_softmax, logsumexp

from fewshot import FakeLM, Strategy, TokenHead
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.heads import tokens
from fewshot.heads.readings import read_chains
from fewshot.heads.tokens import TokenCRF
from fewshot.models.base import kind_of
from fewshot.models.tokens import word_vectors
from fewshot.persistence.classes import rebuild
from fewshot.strategies import STRATEGIES, token_head
from fewshot.task.spelling import spell
from tests.contract import HashEncoder


def problem(n: int = 40, types: int = 3, dim: int = 6, vector: int = 4):
    rng = np.random.RandomState(0)
    X = rng.randn(n, dim)
    y = np.arange(n) % (1 + types)
    prior = rng.randn(types, vector)
    return X, y, prior


LENGTHS = [7, 0, 1, 20, 12]


def tag_by_tag(X, y, lengths, prior, flat, names, dim, types):
    """The log-likelihood of the tags under the stated model, one text and one word at a time, in log space."""
    w, V, b, (same, other) = np.split(flat, [dim, dim * (1 + types), dim * (1 + types) + types])
    V = V.reshape(types, dim)
    after = np.zeros((1 + types, 1 + types))
    after[1:, 1:] = other + (same - other) * np.eye(types)
    total = 0.0
    for rows, tags in zip(*(np.split(one, np.cumsum(lengths)[:-1]) for one in (X, y)), strict=True):
        own = np.column_stack(
            [np.zeros(len(rows))]
            + [rows @ (w + V[t]) + b[t] + names * rows[:, : prior.shape[1]] @ prior[t] for t in range(types)]
        )
        path = np.where(np.arange(1 + types) == 0, 0.0, -np.inf)
        last = 0
        for weights, tag in zip(own, tags, strict=True):
            path = logsumexp(path[:, None] + after, axis=0) + weights
            total += after[last, tag] + weights[tag]
            last = tag
        total -= logsumexp(path)
    return total


def test_the_gradient_is_that_of_the_loss(monkeypatch):
    seen = []
    monkeypatch.setattr(
        tokens, "minimize", lambda objective, *_, **__: seen.append(objective) or minimize(objective, *_, **__)
    )
    X, y, prior = problem()
    TokenCRF().fit(X, y, LENGTHS, prior)
    (objective,) = seen
    for seed in range(3):
        at = np.random.RandomState(seed).randn(6 * 4 + 3 + 2)
        assert check_grad(lambda x: objective(x)[0], lambda x: objective(x)[1], at) < 1e-4


@pytest.mark.parametrize("dim", [6, 60])  # fewer features than words, and more
def test_the_optimum_is_that_of_the_stated_objective(monkeypatch, dim):
    monkeypatch.setattr(tokens, "_GAIN", 1e-14)
    X, y, prior = problem(dim=dim)
    names, detector, own, transition = 2.0, 0.3, 3.0, 0.7
    penalties = np.repeat([detector, own, 0.0, transition], [dim, 3 * dim, 3, 2])

    def objective(flat):
        return penalties @ flat**2 / 2 - tag_by_tag(X, y, LENGTHS, prior, flat, names, dim, 3)

    head = TokenCRF(names, detector, own, transition).fit(X, y, LENGTHS, prior)
    named = np.pad(prior, ((0, 0), (0, dim - 4)))
    ours = head.coef_ - head.detector_ - names * named
    transitions = [head.transitions_[1, 1], head.transitions_[1, 2]]
    flat = np.concatenate([head.detector_, ours.ravel(), head.intercept_, transitions])
    least = objective(flat)
    rng = np.random.RandomState(0)
    for step in (1e-1, 1e-2, 1e-3):  # the loss is convex: a point no direction of which leads down is the lowest
        for _ in range(30):
            assert objective(flat + step * rng.randn(len(flat)) / np.sqrt(len(flat))) > least - 1e-7
    slopes = approx_fprime(flat, objective, 1e-6)
    np.testing.assert_allclose(slopes, 0, atol=1e-3)


def test_the_weight_of_none_multiplies_that_of_the_fitted_chain():
    X, y, prior = problem()
    plain = TokenCRF(none_weight=1.0).fit(X, y, LENGTHS, prior)
    shifted = TokenCRF(none_weight=3.0).fit(X, y, LENGTHS, prior)
    before, after = (np.exp(log_softmax(head.log_weights(X), axis=1)) for head in (plain, shifted))
    odds = [found[:, 0] / (1 - found[:, 0]) for found in (before, after)]
    np.testing.assert_allclose(odds[1] / odds[0], 3.0)


def test_a_type_without_examples_has_its_name_and_the_detector():
    X, y, prior = problem()
    lengths = [10, 20]
    head = TokenCRF(names=2.0).fit(X[y != 2], y[y != 2], lengths, prior)
    others = TokenCRF(names=2.0).fit(X[y != 2], np.where(y == 3, 2, y)[y != 2], lengths, prior[[0, 2]])
    np.testing.assert_allclose(head.detector_, others.detector_, atol=1e-5)
    np.testing.assert_allclose(head.coef_[[0, 2]], others.coef_, atol=1e-5)
    np.testing.assert_allclose(head.coef_[1], head.detector_ + np.pad(2.0 * prior[1], (0, 2)))
    assert head.intercept_[1] == pytest.approx(others.intercept_.mean(), abs=1e-5)
    assert head.transitions_[2, 2] == head.transitions_[1, 1] == others.transitions_[1, 1]


def test_the_detector_finds_an_entity_of_a_type_that_it_has_not_seen():
    rng = np.random.RandomState(0)
    entity = np.arange(60) % 3 > 0
    X = np.column_stack([rng.randn(60, 2) * 0.1, entity + rng.randn(60) * 0.1])
    y = np.where(entity, np.arange(60) % 3, 0)
    prior = np.eye(3)[:, :2]
    head = TokenCRF(2.0, 0.3, 3.0).fit(X[y != 2], y[y != 2], [1] * 40, prior)
    found = head.log_weights([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]).argmax(axis=1)
    assert found.tolist() == [2, 0]


def test_a_type_that_goes_on_weighs_more_than_one_that_changes():
    y = np.array([0, 1, 1, 1, 0, 2, 2, 0, 0, 1, 1, 2, 2, 0])
    X, prior = np.random.RandomState(0).randn(14, 3), np.eye(2, 3)
    found = TokenCRF(detector=10, own=10).fit(X, y, [14], prior).transitions_
    assert found[1, 1] == found[2, 2] > 0
    assert found[1, 1] > found[1, 2] == found[2, 1]
    assert not found[0].any()
    assert not found[:, 0].any()


def test_a_penalty_of_any_size_leads_to_its_optimum():
    X, y, prior = problem()
    high, higher = (TokenCRF(transition=penalty).fit(X, y, LENGTHS, prior) for penalty in (1e5, 1e12))
    assert np.abs(higher.transitions_).max() < 1e-9
    np.testing.assert_allclose(high.log_weights(X), higher.log_weights(X), atol=0.05)
    assert (higher.log_weights(X).argmax(axis=1) == y).mean() > 0.5


@pytest.mark.parametrize("given", [{"names": -1}, {"detector": 0}, {"own": 0}, {"transition": 0}, {"none_weight": 0}])
def test_parameters_out_of_range_are_refused(given):
    X, y, prior = problem()
    with pytest.raises(ParameterError, match=next(iter(given))):
        TokenCRF(**given).fit(X, y, LENGTHS, prior)


@pytest.mark.parametrize("lengths", [[39], [41, -1], []])
def test_lengths_that_are_not_those_of_the_words_are_refused(lengths):
    X, y, prior = problem()
    with pytest.raises(ParameterError, match="lengths must add to the 40 words of X"):
        TokenCRF().fit(X, y, lengths, prior)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: y * 0, "No word is of any type"),
        (lambda y: y * 0 + 1, "Every word is of a type"),
        (lambda y: y + 1, "from 0 \\(None\\) to 3"),
        (lambda y: y - 1, "from 0 \\(None\\) to 3"),
        (lambda y: y[:-1], "40 whole numbers"),
        (lambda y: y.astype(float), "40 whole numbers"),
    ],
)
def test_tags_that_say_nothing_are_refused(y, message):
    X, tags, prior = problem()
    with pytest.raises(InputError, match=message):
        TokenCRF().fit(X, y(tags), LENGTHS, prior)


def test_a_prior_of_more_features_than_there_are_is_refused():
    X, y, _ = problem()
    with pytest.raises(ParameterError, match=r"at most the 6 features of X\. Got 7"):
        TokenCRF().fit(X, y, LENGTHS, np.ones((3, 7)))


@pytest.mark.parametrize(
    "changed",
    [
        {"coef_": np.zeros(3)},
        {"coef_": np.full((3, 6), np.nan)},
        {"intercept_": np.zeros(2)},
        {"transitions_": np.zeros((3, 3))},
        {"transitions_": np.zeros((4, 4), dtype=int)},
    ],
)
def test_kept_weights_that_do_not_go_together_are_refused(changed):
    X, y, prior = problem()
    state = vars(TokenCRF().fit(X, y, LENGTHS, prior))
    assert rebuild("TokenCRF", state).transitions_ is state["transitions_"]
    assert rebuild("TokenCRF", vars(TokenCRF())).own == TokenCRF().own
    with pytest.raises(InputError, match="TokenCRF has"):
        rebuild("TokenCRF", {**state, **changed})


class LetterTokens:
    """Two letters a token, but no digits: a vector says what its letters are, and depends on the layer."""

    fingerprint = "LetterTokens, version 1"

    def encode(self, texts):
        raise NotImplementedError

    def token_vectors(self, texts, layer=None):
        found = []
        for text in texts:
            starts = [start for word in re.finditer("[A-Za-z]+", text) for start in range(*word.span(), 2)]
            ends = [start + len(re.match("[A-Za-z]{1,2}", text[start:]).group()) for start in starts]
            vectors = [self.vector(text[start:end].lower(), layer) for start, end in zip(starts, ends, strict=True)]
            found.append(SimpleNamespace(starts=starts, ends=ends, vectors=np.reshape(vectors, (len(starts), 16))))
        return found

    def vector(self, token, layer):
        return np.random.RandomState(zlib.crc32(f"{token} {layer}".encode())).randn(16).astype(np.float32)


TEXTS = ["Ada met Bob in Rome .", "Rome saw Ada", "it rained in 1999"]
WORDS = [[word.span() for word in re.finditer(r"\S+", text)] for text in TEXTS]
TAGS = [np.array([1, 0, 1, 0, 2, 0]), np.array([2, 0, 1]), np.array([0, 0, 0, 0])]
NAMES = [["person", "human"], ["place"]]


def test_words_are_learnt_and_each_text_has_its_own_array():
    head = TokenHead().fit(LetterTokens(), TEXTS, WORDS, TAGS, NAMES)
    found = head.word_probabilities(TEXTS, WORDS)
    assert [len(rows) for rows in found] == [6, 3, 4]
    for rows, tags in zip(found, TAGS, strict=True):
        np.testing.assert_allclose(rows.sum(axis=1), 1)
        assert rows.argmax(axis=1).tolist() == tags.tolist()


@pytest.mark.parametrize("layer", [None, 2])
@pytest.mark.parametrize("spelling", [0, 0.5])
@pytest.mark.parametrize("neighbors", [0, 0.3])
def test_it_is_the_head_on_word_vectors_made_one_by_one(layer, spelling, neighbors):
    model = LetterTokens()

    def unit(vector):
        return vector / np.linalg.norm(vector)

    def word_vector(word):
        pairs = [word[i : i + 2] for i in range(0, len(word), 2)]
        return (
            unit(np.mean([model.vector(pair.lower(), layer) for pair in pairs], axis=0))
            if word.isalpha()
            else np.zeros(16)
        )

    rows = []
    for text in TEXTS:
        vectors = [word_vector(word) for word in text.split()]
        for i, spelt in enumerate(spell(text.split())):
            left = vectors[i - 1] if i else np.zeros(16)
            right = vectors[i + 1] if i + 1 < len(vectors) else np.zeros(16)
            beside = neighbors * np.concatenate([left, right]) if neighbors else []
            rows.append([*vectors[i], *beside, *(spelling * np.array(spelt) if spelling else [])])
    prior = [unit(word_vector("person") + word_vector("human")), word_vector("place")]
    given = {"names": 2.0, "detector": 0.5, "own": 1.0, "transition": 0.3, "none_weight": 0.7}
    lengths = [len(own) for own in WORDS]
    wanted = TokenCRF(**given).fit(rows, np.concatenate(TAGS), lengths, prior)
    weights = np.split(wanted.log_weights(rows), np.cumsum(lengths)[:-1])
    readings = read_chains(weights, wanted.transitions_)
    head = TokenHead(layer, **given, spelling=spelling, neighbors=neighbors).fit(model, TEXTS, WORDS, TAGS, NAMES)
    for found, reading in zip(head.span_readings(TEXTS, WORDS), readings, strict=True):
        np.testing.assert_allclose(found.probabilities, reading.probabilities, atol=1e-6)
        assert [span[:3] for span in found.find()] == [span[:3] for span in reading.find()]


def test_texts_are_read_in_parts(monkeypatch):
    head = TokenHead().fit(LetterTokens(), TEXTS, WORDS, TAGS, NAMES)
    wanted = head.word_probabilities(TEXTS, WORDS)
    monkeypatch.setattr(token_head, "_TEXTS", 2)
    for found, own in zip(head.word_probabilities(TEXTS, WORDS), wanted, strict=True):
        np.testing.assert_allclose(found, own, atol=1e-12)


def test_a_word_takes_the_tokens_that_overlap_it_alone():
    tokens = SimpleNamespace(starts=[0, 2, 4, 4], ends=[2, 4, 4, 7], vectors=np.eye(4))
    assert word_vectors(tokens, [(1, 4)]).tolist() == [[0.5, 0.5, 0, 0]]
    assert word_vectors(tokens, [(4, 5), (7, 9)]).tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]


def test_texts_without_words_have_empty_arrays():
    head = TokenHead().fit(LetterTokens(), TEXTS, WORDS, TAGS, NAMES)
    assert [rows.shape for rows in head.word_probabilities(["", "Ada"], [[], [(0, 3)]])] == [(0, 3), (1, 3)]
    assert [rows.shape for rows in head.word_probabilities([""], [[]])] == [(0, 3)]
    assert head.word_probabilities([], []) == []


@pytest.mark.parametrize("model", [HashEncoder(), FakeLM(lambda query: [0.0])])
def test_a_model_without_token_vectors_is_refused_by_its_kind(model):
    with pytest.raises(
        UnsupportedError, match=rf"{kind_of(model).name}.*has none\. Use a sentence encoder or a masked"
    ):
        TokenHead().fit(model, TEXTS, WORDS, TAGS, NAMES)


def test_a_text_with_fewer_tags_than_words_is_named():
    with pytest.raises(InputError, match="Got 2 tags for 3 words in text 1"):
        TokenHead().fit(LetterTokens(), TEXTS, WORDS, [TAGS[0], TAGS[1][:2], TAGS[2]], NAMES)


@pytest.mark.parametrize(("texts", "words", "tags"), [([], [], []), ([""], [[]], [np.array([], dtype=int)])])
def test_no_words_are_refused(texts, words, tags):
    with pytest.raises(InputError, match="No text has a word"):
        TokenHead().fit(LetterTokens(), texts, words, tags, NAMES)


@pytest.mark.parametrize("given", [{"neighbors": -1}, {"spelling": True}])
def test_parameters_of_features_out_of_range_are_refused(given):
    with pytest.raises(ParameterError, match=next(iter(given))):
        TokenHead(**given).fit(LetterTokens(), TEXTS, WORDS, TAGS, NAMES)


def test_it_is_no_strategy_of_a_classifier():
    assert "TokenHead" not in STRATEGIES
    assert not issubclass(TokenHead, Strategy)
