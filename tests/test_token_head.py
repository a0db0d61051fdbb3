"""TokenLogisticRegression: the optimum it claims, against scipy and finite differences; and TokenHead on a model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax

from fewshot.errors import InputError, ParameterError
from fewshot.heads import tokens
from fewshot.heads.tokens import TokenLogisticRegression


def problem(n: int = 40, types: int = 3, dim: int = 6, vector: int = 4):
    rng = np.random.RandomState(0)
    X = rng.randn(n, dim)
    y = np.arange(n) % (1 + types)
    prior = rng.randn(types, vector)
    return X, y, prior


def test_the_gradient_is_that_of_the_loss(monkeypatch):
    seen = []
    monkeypatch.setattr(
        tokens, "minimize", lambda objective, *_, **__: seen.append(objective) or minimize(objective, *_, **__)
    )
    X, y, prior = problem(n=12)
    TokenLogisticRegression(none_weight=0.3).fit(X, y, prior)
    (objective,) = seen
    for seed in range(3):
        at = np.random.RandomState(seed).randn(6 * 4 + 3)
        assert check_grad(lambda x: objective(x)[0], lambda x: objective(x)[1], at) < 1e-5


def test_the_optimum_is_that_of_the_stated_objective():
    X, y, prior = problem()
    names, detector, own, none_weight = 2.0, 0.3, 3.0, 0.5

    def logits(flat):
        w, V, b = flat[:6], flat[6:24].reshape(3, 6), flat[24:]
        return np.column_stack(
            [np.zeros(len(X))] + [X @ (w + V[t]) + b[t] + names * X[:, :4] @ prior[t] for t in range(3)]
        )

    def objective(flat):
        losses = -log_softmax(logits(flat), axis=1)[np.arange(len(y)), y]
        penalty = detector * (flat[:6] ** 2).sum() / 2 + own * (flat[6:24] ** 2).sum() / 2
        return (np.where(y == 0, none_weight, 1.0) * losses).sum() + penalty

    best = minimize(objective, np.zeros(27), method="BFGS", options={"gtol": 1e-7}).x
    head = TokenLogisticRegression(names, detector, own, none_weight).fit(X, y, prior)
    np.testing.assert_allclose(head.predict_proba(X), np.exp(log_softmax(logits(best), axis=1)), atol=1e-4)
    np.testing.assert_allclose(head.detector_, best[:6], atol=1e-3)


def test_a_weight_of_two_is_the_row_twice():
    X, y, prior = problem()
    weights = np.where(np.arange(len(X)) < 10, 2.0, 1.0)
    weighted = TokenLogisticRegression().fit(X, y, prior, sample_weight=weights)
    twice = TokenLogisticRegression().fit(np.vstack([X, X[:10]]), np.concatenate([y, y[:10]]), prior)
    np.testing.assert_allclose(weighted.predict_proba(X), twice.predict_proba(X), atol=1e-5)
    by_class = TokenLogisticRegression().fit(X, y, prior, sample_weight=np.where(y == 0, 2.0, 1.0))
    np.testing.assert_allclose(
        TokenLogisticRegression(none_weight=2.0).fit(X, y, prior).predict_proba(X), by_class.predict_proba(X), atol=1e-9
    )


@pytest.mark.parametrize("weightless", [False, True])
def test_a_type_without_examples_has_its_name_and_the_detector(weightless):
    X, y, prior = problem()
    rows, weights = (slice(None), np.where(y == 2, 0.0, 1.0)) if weightless else (y != 2, None)
    head = TokenLogisticRegression(names=2.0).fit(X[rows], y[rows], prior, sample_weight=weights)
    others = TokenLogisticRegression(names=2.0).fit(X[y != 2], np.where(y == 3, 2, y)[y != 2], prior[[0, 2]])
    np.testing.assert_allclose(head.detector_, others.detector_, atol=1e-5)
    np.testing.assert_allclose(head.coef_[[0, 2]], others.coef_, atol=1e-5)
    np.testing.assert_allclose(head.coef_[1], head.detector_ + np.pad(2.0 * prior[1], (0, 2)))
    assert head.intercept_[1] == pytest.approx(others.intercept_.mean(), abs=1e-5)


def test_the_detector_finds_an_entity_of_a_type_that_it_has_not_seen():
    rng = np.random.RandomState(0)
    entity = np.arange(60) % 3 > 0
    X = np.column_stack([rng.randn(60, 2) * 0.1, entity + rng.randn(60) * 0.1])
    y = np.where(entity, np.arange(60) % 3, 0)
    prior = np.eye(3)[:, :2]
    head = TokenLogisticRegression(names=2.0).fit(X[y != 2], y[y != 2], prior)
    found = head.predict_proba([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]).argmax(axis=1)
    assert found.tolist() == [2, 0]


def test_probabilities_are_of_none_and_the_types():
    X, y, prior = problem()
    found = TokenLogisticRegression().fit(X, y, prior).predict_proba(X)
    assert found.shape == (40, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("given", [{"names": -1}, {"detector": 0}, {"own": 0}, {"none_weight": 0}])
def test_parameters_out_of_range_are_refused(given):
    with pytest.raises(ParameterError, match=next(iter(given))):
        TokenLogisticRegression(**given).fit(*problem())


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
        TokenLogisticRegression().fit(X, y(tags), prior)


def test_a_prior_of_more_features_than_there_are_is_refused():
    X, y, _ = problem()
    with pytest.raises(ParameterError, match=r"at most the 6 features of X\. Got 7"):
        TokenLogisticRegression().fit(X, y, np.ones((3, 7)))
