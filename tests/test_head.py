"""LabelPriorLogisticRegression: the optimum it claims, its limits and choices, and scikit-learn's whole contract."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from fewshot import Classifier, Embedding, LabelPriorLogisticRegression
from fewshot.heads.logistic import Problem
from tests.contract import HashEncoder

RNG = np.random.RandomState(0)


def blobs(n: int = 40, dim: int = 5, classes: int = 3, noise: float = 1.0):
    rng = np.random.RandomState(0)
    centres = rng.randn(classes, dim)
    y = np.arange(n) % classes
    return centres[y] + noise * rng.randn(n, dim), y, centres


@parametrize_with_checks([LabelPriorLogisticRegression()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dim", [5, 80])
def test_without_a_prior_it_is_plain_logistic_regression(classes, dim):
    X, y, _ = blobs(dim=dim, classes=classes)
    ours = LabelPriorLogisticRegression(C=0.5, tol=1e-9).fit(X, y)
    # for two classes scikit-learn penalises the difference w of two opposite vectors, each of which is w / 2 here:
    # |w|^2 / 2C there is 2 |w / 2|^2 / 2C' here at C' = C / 2, so theirs is twice ours
    plain = LogisticRegression(C=0.5 if classes > 2 else 1.0, tol=1e-9, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), plain.predict_proba(X), atol=1e-4)


def test_the_optimum_is_that_of_the_stated_objective():
    X, y, prior = blobs(dim=60)  # more dimensions than rows: solved in the span of the rows
    tau, C = 3.0, 2.0
    head = LabelPriorLogisticRegression(tau=tau, C=C, tol=1e-10, max_iter=5000).fit(X, y, prior=prior)

    def objective(flat):
        V, b = flat[:180].reshape(3, 60), flat[180:]
        logits = tau * X @ prior.T + X @ V.T + b
        norm = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
        return (norm - logits[np.arange(len(y)), y]).sum() + (V**2).sum() / (2 * C)

    ours = objective(np.concatenate([(head.coef_ - tau * prior).ravel(), head.intercept_]))
    best = minimize(objective, np.zeros(183), method="L-BFGS-B", options={"maxiter": 2000}).fun
    assert ours <= best + 1e-5


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_gradient_is_that_of_the_loss(multilabel, monkeypatch):
    X, y, prior = blobs(n=12)
    seen = []
    monkeypatch.setattr("fewshot.heads.logistic.minimize", lambda f, x, **kw: seen.append(f) or minimize(f, x, **kw))
    target = np.eye(3)[y].astype(int) if multilabel else y
    LabelPriorLogisticRegression(tau=2.0, C=1.0).fit(X, target, prior=prior, sample_weight=RNG.rand(12))
    at = RNG.randn(3 * 6)
    assert check_grad(lambda x: seen[0](x)[0], lambda x: seen[0](x)[1], at) < 1e-4


def test_a_strong_penalty_leaves_the_label_names_alone():
    X, y, prior = blobs(noise=0.3)
    head = LabelPriorLogisticRegression(tau=1.0, C=1e-9).fit(X, y, prior=prior)
    np.testing.assert_allclose(head.coef_, prior, atol=1e-4)


def test_tau_is_large_where_the_names_say_much_and_zero_where_they_mislead(monkeypatch):
    X, y, prior = blobs(n=400, dim=20, noise=3.0)
    good = LabelPriorLogisticRegression().fit(X[:15], y[:15], prior=prior / 5)
    wrong = LabelPriorLogisticRegression(average=False).fit(X[:15], y[:15], prior=-prior)
    plain = LabelPriorLogisticRegression(tau=0.0).fit(X[:15], y[:15], prior=prior)
    assert good.tau_ > 0 == wrong.tau_
    assert good.score(X[15:], y[15:]) > plain.score(X[15:], y[15:])
    monkeypatch.setattr("fewshot.heads.logistic._FAR", np.inf)
    lowest = LabelPriorLogisticRegression(average=False).fit(X[:15], y[:15], prior=prior / 5)
    unit = variance(X[:15])
    taus, Cs = (0.0, 5.0, 10.0, 20.0), (0.0, 1.0, 10.0, 100.0, 1000.0)
    tried = in_units(lowest.cv_log_loss_, unit)
    assert {(tau, 10.0) for tau in taus} <= tried.keys()  # each tau at the middle C
    # until no other tau at this C, nor any other C at this tau, is better
    best = tuple(np.round([lowest.tau_ * unit, lowest.C_ * unit], 6).tolist())
    assert {(best[0], C) for C in Cs} | {(tau, best[1]) for tau in taus} <= tried.keys()
    assert min(tried.values()) == tried[best]


def variance(X):
    """Half the squared distance of two different rows, on average."""
    return np.mean([((a - b) ** 2).sum() / 2 for i, a in enumerate(X) for b in X[:i]])


def in_units(losses, unit):
    return {(round(tau * unit, 6), round(C * unit, 6)): loss for (tau, C), loss in losses.items()}


class TestUnits:
    """What is tried is the same wherever vectors lie and however large they are; what is given is taken as it is."""

    def test_the_scale_of_the_vectors_and_where_they_lie_change_no_prediction(self):
        X, y, prior = blobs(n=30, dim=20, noise=3.0)
        head = LabelPriorLogisticRegression().fit(X, y, prior=prior / 5)
        assert len(head.choices_) > 2
        small = LabelPriorLogisticRegression().fit(X / 50, y, prior=prior / 250)
        np.testing.assert_allclose(small.choices_, head.choices_ * 2500)
        np.testing.assert_allclose(small.predict_proba(X / 50), head.predict_proba(X), atol=1e-6)
        far = LabelPriorLogisticRegression(tau=0.0).fit(X / 50 + 1, y, prior=prior)
        near = LabelPriorLogisticRegression(tau=0.0).fit(X, y, prior=prior)
        np.testing.assert_allclose(far.predict_proba(X / 50 + 1), near.predict_proba(X), atol=1e-6)

    def test_given_choices_are_taken_as_they_are(self):
        X, y, prior = blobs(n=30, dim=20, noise=3.0)
        tried = LabelPriorLogisticRegression(taus=(2.0,), Cs=(0.0, 3.0)).fit(X, y, prior=prior / 5).cv_log_loss_
        assert tried.keys() == {(0.0, 3.0), (2.0, 3.0), (2.0, 0.0)}

    def test_an_example_with_a_weight_counts_once_in_the_variance(self):
        X, y, prior = blobs(n=30, dim=20, noise=3.0)
        weighted = LabelPriorLogisticRegression().fit(X, y, prior, np.full(30, 0.01))
        unit = max(tau for tau, _ in weighted.cv_log_loss_) / 20
        assert unit == pytest.approx(1 / variance(X))

    def test_equal_examples_have_no_variance_and_their_own_unit(self):
        head = LabelPriorLogisticRegression().fit(np.ones((4, 2)), [0, 0, 1, 1], prior=np.eye(2))
        np.testing.assert_allclose(head.predict_proba([[1.0, 1.0]]), 0.5, atol=1e-6)
        assert (head.tau_, head.C_) == (10.0, 10.0)


class TestAverage:
    """With few examples the best choice is often luck, so each counts by its likelihood on held-out examples."""

    def test_the_logits_are_those_of_all_choices_by_their_share(self):
        X, y, prior = blobs(n=15, dim=20, noise=3.0)
        head = LabelPriorLogisticRegression(tol=1e-9, max_iter=5000).fit(X, y, prior=prior / 5)
        assert head.shares_.sum() == pytest.approx(1.0)
        assert len(head.shares_) > 2
        alone = [
            LabelPriorLogisticRegression(tau=tau, C=C, tol=1e-9, max_iter=5000).fit(X, y, prior=prior / 5)
            for tau, C in head.choices_
        ]
        coef = sum(share * one.coef_ for share, one in zip(head.shares_, alone, strict=True))
        intercept = sum(share * one.intercept_ for share, one in zip(head.shares_, alone, strict=True))
        np.testing.assert_allclose(head.coef_, coef, atol=1e-6)
        np.testing.assert_allclose(head.intercept_, intercept, atol=1e-6)
        assert head.tau_ == pytest.approx(head.shares_ @ head.choices_[:, 0])

    def test_a_choice_counts_by_its_likelihood_and_by_what_it_counted_before(self):
        X, y, prior = blobs(n=15, dim=20, noise=3.0)
        head = LabelPriorLogisticRegression().fit(X, y, prior=prior / 5)
        odds = {
            (tau, C): (3 if C == 0 else (C * variance(X)) ** -0.25) * np.exp(-15 * loss)
            for (tau, C), loss in head.cv_log_loss_.items()
        }
        total = sum(odds.values())
        kept = {choice: one / total for choice, one in odds.items() if one / total > 1e-3}
        expected = {choice: share / sum(kept.values()) for choice, share in kept.items()}
        assert dict(zip(map(tuple, head.choices_.tolist()), head.shares_, strict=True)) == pytest.approx(expected)

    def test_many_examples_outvote_the_label_names(self):
        X, y, prior = blobs(n=900, dim=20, noise=3.0)
        X, prior = X / np.linalg.norm(X, axis=1, keepdims=True), prior / np.linalg.norm(prior, axis=1, keepdims=True)
        prior = prior + np.roll(prior, 1, axis=0) / 2  # names that are not quite right
        for n, counts in ((15, True), (900, False)):
            head = LabelPriorLogisticRegression().fit(X[:n], y[:n], prior=prior)
            assert (head.choices_[:, 1] == 0).any() == counts

    def test_without_it_the_lowest_loss_counts_alone(self):
        X, y, prior = blobs(n=15, dim=20, noise=3.0)
        head = LabelPriorLogisticRegression(average=False).fit(X, y, prior=prior / 5)
        assert (head.choices_.tolist(), head.shares_.tolist()) == ([[head.tau_, head.C_]], [1.0])
        assert head.cv_log_loss_[head.tau_, head.C_] == min(head.cv_log_loss_.values())

    def test_every_weight_of_the_names_is_tried_alone_but_not_nothing_at_all(self):
        X, y, prior = blobs(n=15)
        tried = LabelPriorLogisticRegression(taus=(2.0, 4.0)).fit(X, y, prior=prior).cv_log_loss_
        assert {choice for choice in tried if choice[1] == 0} == {(2.0, 0.0), (4.0, 0.0)}

    @pytest.mark.parametrize("noise", [3.0, 5.0])
    def test_what_is_far_behind_on_some_folds_is_given_up_and_would_not_have_counted(self, noise, monkeypatch):
        X, y, prior = blobs(n=300, dim=20, noise=noise)
        fits = []
        optimum = Problem.optimum
        monkeypatch.setattr(Problem, "optimum", lambda *args, **kw: fits.append(args) or optimum(*args, **kw))
        head = LabelPriorLogisticRegression().fit(X, y, prior=prior)
        fewer = len(fits)
        monkeypatch.setattr("fewshot.heads.logistic._FAR", np.inf)
        whole = LabelPriorLogisticRegression().fit(X, y, prior=prior)
        assert fewer < len(fits) - fewer
        assert head.cv_log_loss_.items() < whole.cv_log_loss_.items()
        np.testing.assert_array_equal(head.choices_, whole.choices_)
        np.testing.assert_allclose(head.coef_, whole.coef_, atol=1e-9)


def test_names_that_say_all_are_left_alone():
    X, y, prior = blobs(n=30, dim=20, noise=0.1)
    head = LabelPriorLogisticRegression(tau=2.0, C=0.0).fit(X, y, prior=prior)
    np.testing.assert_array_equal(head.coef_, 2.0 * prior)
    assert LabelPriorLogisticRegression().fit(X, y, prior=prior).C_ == 0


class TestIntercepts:
    """C 0 leaves the label names alone, and fits intercepts under a normal prior of mean 0 and variance 1."""

    def objective(self, b, logits, targets, weights, multilabel):
        logits = logits + b
        if multilabel:
            losses = (np.log1p(np.exp(logits)) - targets * logits).sum(axis=1)
        else:
            losses = np.log(np.exp(logits).sum(axis=1)) - (targets * logits).sum(axis=1)
        return weights @ losses + b @ b / 2

    def best(self, *problem):
        return minimize(self.objective, np.zeros(problem[0].shape[1]), problem, method="BFGS", options={"gtol": 1e-7}).x

    @pytest.mark.parametrize("classes", [2, 4])
    @pytest.mark.parametrize("multilabel", [False, True])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_they_are_the_optimum_of_the_written_objective(self, classes, multilabel, weighted):
        X, y, prior = blobs(n=11, classes=classes)  # classes of unequal numbers
        weights = np.random.RandomState(1).rand(11) * 3 if weighted else np.ones(11)
        targets = np.eye(classes)[y]
        if multilabel:
            targets[:3] = 1
        head = LabelPriorLogisticRegression(tau=0.7, C=0.0)
        head.fit(X, targets.astype(int) if multilabel else y, prior=prior, sample_weight=weights if weighted else None)
        np.testing.assert_array_equal(head.coef_, 0.7 * prior)
        expected = self.best(0.7 * X @ prior.T, targets, weights, multilabel)
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(head.intercept_, expected, atol=1e-5)

    def test_a_balanced_class_weight_counts(self):
        X, y, prior = blobs(n=11)
        y = np.where(y == 2, 0, y)  # seven of one, four of the other
        head = LabelPriorLogisticRegression(tau=0.7, C=0.0, class_weight="balanced").fit(X, y, prior=prior[:2])
        weights = np.where(y == 0, 11 / (2 * (y == 0).sum()), 11 / (2 * (y == 1).sum()))
        expected = self.best(0.7 * X @ prior[:2].T, np.eye(2)[y], weights, False)
        np.testing.assert_allclose(head.intercept_, expected, atol=1e-5)

    def test_they_are_of_mean_0_and_so_is_that_of_a_class_without_examples(self):
        X, y, prior = blobs(n=20)
        head = LabelPriorLogisticRegression(tau=0.7, C=0.0).fit(X[y < 2], y[y < 2], prior, classes=range(3))
        np.testing.assert_allclose(head.intercept_[:2], -head.intercept_[1::-1], atol=1e-6)
        assert abs(head.intercept_[2]) < 1e-6
        np.testing.assert_array_equal(head.coef_[2], 0.7 * prior[2])

    def test_a_name_that_is_near_to_every_text_is_seen_through(self):
        rng = np.random.RandomState(0)
        y = np.repeat([0, 1], 40)
        X = np.stack([np.ones(80), np.where(y == 0, -0.2, 0.2)], axis=1) + 0.05 * rng.randn(80, 2)
        prior = np.array([[0.8, -1.0], [0.3, 1.0]])  # the first is nearer to all texts, by 0.1 at least
        assert ((X @ prior.T).argmax(axis=1) == 0).mean() > 0.8
        shown = np.r_[:8, 40:48]
        head = LabelPriorLogisticRegression(tau=10.0, C=0.0).fit(X[shown], y[shown], prior=prior)
        assert head.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("settings", "given"),
    [({"C": -1.0}, True), ({"Cs": (-1.0, 1.0)}, True), ({"C": 0.0}, False), ({"C": 0.0, "tau": 0.0}, True)],
)
def test_a_C_that_leaves_nothing_is_refused(settings, given):
    X, y, prior = blobs()
    with pytest.raises(ValueError, match=r"C must be greater than 0, or 0 with a prior.*Got (-1|0)\.0\."):
        LabelPriorLogisticRegression(**settings).fit(X, y, prior=prior if given else None)


def test_one_example_a_class_uses_the_documented_defaults():
    X, y, prior = blobs(n=3)
    head = LabelPriorLogisticRegression().fit(X, y, prior=prior)
    assert (head.tau_, head.C_) == pytest.approx((10 / variance(X), 10 / variance(X)))
    assert head.cv_log_loss_ == {}
    given = LabelPriorLogisticRegression(taus=(0.0, 8.0), Cs=(2.0, 9.0)).fit(X, y, prior=prior)
    assert (given.tau_, given.C_) == (8.0, 9.0)


def test_weights_count_as_repetitions():
    X, y, prior = blobs(n=20)
    weights = RNG.randint(1, 4, size=20)
    settings = {"tau": 2.0, "C": 1.0, "tol": 1e-9, "max_iter": 5000}
    weighted = LabelPriorLogisticRegression(**settings).fit(X, y, prior=prior, sample_weight=weights)
    repeated = LabelPriorLogisticRegression(**settings).fit(
        np.repeat(X, weights, 0), np.repeat(y, weights), prior=prior
    )
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-4)
    balanced = LabelPriorLogisticRegression(class_weight="balanced", **settings).fit(X[:9], [0] * 6 + [1] * 2 + [2])
    by_hand = LabelPriorLogisticRegression(**settings).fit(
        X[:9], [0] * 6 + [1] * 2 + [2], sample_weight=[0.5] * 6 + [1.5] * 2 + [3.0]
    )
    np.testing.assert_allclose(balanced.coef_, by_hand.coef_, atol=1e-4)


def test_multi_label_is_one_logistic_regression_a_label():
    X, _, prior = blobs(n=60, noise=0.5)
    Y = (X @ prior.T > 1).astype(int)
    head = LabelPriorLogisticRegression(average=False).fit(X, Y, prior=prior)
    assert head.predict(X).shape == head.predict_proba(X).shape == (60, 3)
    assert (head.predict(X) == Y).mean() > 0.9
    column = LabelPriorLogisticRegression(tau=head.tau_, C=head.C_).fit(X, Y[:, [0, 0]], prior=prior[[0, 0]])
    np.testing.assert_allclose(column.predict_proba(X)[:, 0], head.predict_proba(X)[:, 0], atol=1e-3)


def test_a_prior_of_the_wrong_shape_is_refused():
    X, y, prior = blobs()
    with pytest.raises(ValueError, match=r"prior must be of shape \(3, 5\).*Got \(2, 5\)"):
        LabelPriorLogisticRegression().fit(X, y, prior=prior[:2])


def test_a_class_without_examples_can_still_be_predicted():
    words = {"billing": "invoice", "crash": "crash", "praise": "wonderful"}
    clf = Classifier(HashEncoder(), "{{ text }}\n{{ label }}", words, Embedding(label_prior=10.0))
    clf.fit(["my invoice is wrong", "invoice again", "it will crash", "crash again"], ["billing"] * 2 + ["crash"] * 2)
    assert clf.predict(["wonderful", "the invoice", "a crash"]).tolist() == ["praise", "billing", "crash"]


def test_a_head_of_this_class_with_own_settings_is_given_the_names():
    X, y = ["my invoice", "an invoice", "it will crash", "crash again"], ["billing"] * 2 + ["crash"] * 2
    words = {"billing": "invoice", "crash": "crash", "praise": "wonderful"}
    given = LabelPriorLogisticRegression(tau=10.0, C=3.0)
    clf = Classifier(HashEncoder(), "{{ text }}\n{{ label }}", words, Embedding(given)).fit(X, y)
    default = Classifier(HashEncoder(), "{{ text }}\n{{ label }}", words, Embedding(label_prior=10.0)).fit(X, y)
    assert clf.predict(["wonderful", "the invoice"]).tolist() == ["praise", "billing"]
    assert (clf.strategy_.head_.tau_, clf.strategy_.head_.C_) == (10.0, 3.0)
    assert default.strategy_.head_.C_ != 3.0
    assert not hasattr(given, "coef_")


def test_no_weight_on_the_names_is_plain_logistic_regression_on_the_vectors():
    encoder = HashEncoder()
    X, y = ["my invoice", "an invoice", "it will crash", "crash again"], ["b", "b", "c", "c"]
    clf = Classifier(encoder, strategy=Embedding(label_prior=0.0)).fit(X, y)
    head = clf.strategy_.head_
    assert head.tau_ == 0
    vectors = encoder.encode(X)
    other = LabelPriorLogisticRegression(tau=0.0).fit(vectors, y, prior=np.ones((2, vectors.shape[1])))
    np.testing.assert_allclose(clf.predict_proba(X), other.predict_proba(encoder.encode(X)), atol=1e-6)
