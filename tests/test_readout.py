"""Readout: from what prompting says to what the examples say, and the published ways against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from fewshot import Classifier, FakeLM, InputError, Prompting, Readout, Template, UnsupportedError
from fewshot.heads.neighbors import KLNeighbors
from tests.conftest import language_model
from tests.contract import HashEncoder

SOURCE = "{{ text }} Mood: {{ label }}"
MOODS = {"bad": "bad", "good": "good"}
X = ["a fun day", "so dull", "fun fun fun", "it rained", "quite dull and grey", "fun to see", "dull dull", "what fun"]
Y = ["good", "bad", "good", "bad", "bad", "good", "bad", "good"]
NEW = ["fun all over", "dull and wet", "fun again", "a dull tale"]
TRUE = ["good", "bad", "good", "bad"]


def biased(query):
    """Favours "bad" by 3 whatever it reads."""
    text = query.prefix.rsplit("Mood:", 1)[0]
    hint = 0.8 * text.count("fun")
    return [
        {"good": hint - 4.0, "bad": -1.0, "dull": 2.0 * text.count("dull")}.get(word, 0.0) for word in query.candidates
    ]


def hidden(query):
    text = query.prefix
    return [text.count("fun"), text.count("dull"), 1.0]


def fake(**params):
    return FakeLM(biased, vocabulary=("good", "bad", "dull", "the"), hidden=hidden, **params)


def classifier(strategy, lm=None, template=SOURCE):
    return Classifier(lm or fake(), template, MOODS, strategy, random_state=0)


WAYS = [
    Readout("labels"),
    Readout("vocabulary"),
    Readout("hidden"),
    Readout.knn_prompting(3),
    Readout.regression(),
    Readout.prototypes(),
    Readout("hidden", LogisticRegression()),
    Readout("labels", KNeighborsClassifier(3)),
    Readout("hidden", embeddings=True, encoder=HashEncoder()),
    Readout("labels", shots=2),
]
every_way = pytest.mark.parametrize("way", WAYS, ids=repr)


@every_way
def test_it_learns_what_a_biased_model_knows(way):
    assert set(classifier(Prompting()).fit(X, Y).predict(NEW)) == {"bad"}
    clf = classifier(way).fit(X, Y)
    assert clf.predict(NEW).tolist() == TRUE
    proba = clf.predict_proba(NEW)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@every_way
def test_fitting_is_deterministic_and_rows_do_not_depend_on_their_neighbours(way):
    clf = classifier(way).fit(X, Y)
    whole = clf.predict_proba(NEW)
    np.testing.assert_allclose(np.vstack([clf.predict_proba([text]) for text in NEW]), whole, atol=1e-9)
    np.testing.assert_array_equal(clone(clf).fit(X, Y).predict_proba(NEW), whole)


@every_way
def test_a_class_without_examples_is_improbable_and_keeps_its_column(way):
    words = {**MOODS, "ugly": "ugly"}
    clf = Classifier(fake(), SOURCE, words, way, random_state=0).fit(X, Y)
    assert clf.classes_.tolist() == ["bad", "good", "ugly"]
    assert clf.predict_proba(NEW).shape == (4, 3)
    assert clf.predict(NEW).tolist() == TRUE


def test_with_a_strong_penalty_the_default_head_is_batch_calibration(monkeypatch):
    monkeypatch.setattr("fewshot.strategies.readout._CS", (1e-9,))
    monkeypatch.setattr("fewshot.strategies.readout._TAUS", (1.0,))
    clf = classifier(Readout("hidden")).fit(X, Y)
    assert clf.strategy_.head_.tau_ in (0.0, 1.0)
    batch = classifier(Prompting(calibration="batch")).fit(X)
    if clf.strategy_.head_.tau_ == 1.0:
        # but for the intercepts, which are free: the differences between texts are those of prompting
        ours, theirs = clf.decision_function(NEW), batch.decision_function(NEW)
        np.testing.assert_allclose(np.diff(ours), np.diff(theirs), atol=1e-4)


def test_one_example_a_class_uses_the_defaults():
    clf = classifier(Readout("hidden")).fit(X[:2], Y[:2])
    assert clf.strategy_.head_.cv_log_loss_ == {}
    assert clf.predict(NEW).tolist() == TRUE


def test_knn_prompting_votes_by_kl_divergence():
    lm = fake()
    clf = classifier(Readout.knn_prompting(3), lm).fit(X, Y)
    logs = [lm.read([clf.template_.query(text, ["bad", "good"])], "vocabulary")[0].astype(float) for text in X]
    for text, proba in zip(NEW, clf.predict_proba(NEW), strict=True):
        p = lm.read([clf.template_.query(text, ["bad", "good"])], "vocabulary")[0].astype(float)
        divergences = [float(np.sum(np.exp(p) * (p - q))) for q in logs]
        nearest = np.argsort(divergences, kind="stable")[:3]
        votes = np.array([sum(Y[i] == name for i in nearest) for name in ("bad", "good")])
        np.testing.assert_allclose(proba, (votes + 0.5) / 4, atol=1e-6)


def test_weights_count_like_repetition():
    weights = np.array([3, 1, 1, 1, 2, 1, 1, 1])
    # the folds would differ, so the constants are given
    head = LogisticRegression(max_iter=1000)
    clf = classifier(Readout("hidden", head)).fit(X, Y, sample_weight=weights)
    rows = np.repeat(np.arange(len(X)), weights)
    twin = classifier(Readout("hidden", head)).fit([X[i] for i in rows], [Y[i] for i in rows])
    np.testing.assert_allclose(clf.predict_proba(NEW), twin.predict_proba(NEW), atol=1e-3)


def test_several_templates_are_joined():
    clf = classifier(Readout("hidden"), template=[SOURCE, "Say: {{ text }} It is {{ label }}"]).fit(X, Y)
    assert clf.strategy_.head_.coef_.shape[1] == 2 + 2 * 3
    assert clf.predict(NEW).tolist() == TRUE


def test_demonstrations_are_not_learnt_from():
    asked = []
    lm = FakeLM(lambda query: asked.append(query) or biased(query), hidden=hidden)
    clf = classifier(Readout("labels", shots=2), lm).fit(X, Y)
    shown = {turn.text for query in asked for turn in query.context}
    assert shown
    assert not any(query.prefix in shown for query in asked)
    assert clf.preview(NEW[:1])


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_real_models_are_read(name):
    assert Classifier(language_model(name), SOURCE, MOODS, Readout()).fit(X, Y).predict_proba(NEW).shape == (4, 2)
    clf = Classifier(language_model(name), SOURCE, MOODS, Readout("hidden", LogisticRegression(C=1e6, max_iter=5000)))
    clf.fit(X, Y)
    assert clf.predict(X).tolist() == Y  # twice as many features as examples


class TestBadInput:
    def test_no_labels(self):
        with pytest.raises(InputError, match=r"Readout learns from labelled rows: call fit\(X, y\)"):
            classifier(Readout("labels")).fit(X)

    def test_one_class(self):
        with pytest.raises(InputError, match="needs examples of two classes"):
            classifier(Readout("labels")).fit(X[:1], Y[:1])

    def test_an_encoder(self):
        with pytest.raises(UnsupportedError, match=r"use Embedding\(\)"):
            Classifier(HashEncoder(), strategy=Readout()).fit(X, Y)

    def test_a_model_that_cannot_be_read_is_named(self):
        with pytest.raises(UnsupportedError, match=r"entailment.*does not show its hidden.*Readout\('labels'\)"):
            Classifier(language_model("nli"), strategy=Readout("hidden")).fit(X, Y)
        clf = Classifier(language_model("nli"), strategy=Readout("labels")).fit(X, Y)
        assert clf.predict_proba(NEW).shape == (4, 2)

    def test_unknown_features(self):
        with pytest.raises(ValueError, match=r"features must be 'labels', 'vocabulary' or 'hidden'\. Got 'attention'"):
            classifier(Readout("attention")).fit(X, Y)

    def test_a_head_of_pairs(self):
        with pytest.raises(UnsupportedError, match="decision_function_shape='ovr'"):
            classifier(Readout("hidden", SVC(decision_function_shape="ovo"))).fit(X, Y)

    def test_neighbours(self):
        with pytest.raises(InputError, match=r"n_neighbors must be at least 1\. Got 0"):
            KLNeighbors(0).fit([[0.0]], ["a"])
        assert KLNeighbors(9).fit(np.log([[0.5, 0.5], [0.9, 0.1]]), ["a", "b"]).predict(np.log([[0.5, 0.5]])) == ["a"]

    def test_label_mass_is_the_prompts(self):
        clf = Classifier(language_model("bert"), SOURCE, MOODS, Readout("hidden")).fit(X, Y)
        plain = Classifier(language_model("bert"), SOURCE, MOODS, Prompting()).fit()
        np.testing.assert_array_equal(clf.label_mass(NEW), plain.label_mass(NEW))


def test_a_template_object_works_too():
    assert classifier(Readout("labels"), template=Template(SOURCE)).fit(X, Y).predict(NEW).tolist() == TRUE
