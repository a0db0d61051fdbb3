"""The text contract: what scikit-learn's check_estimator would check, if it checked estimators of texts."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_predict

from fewshot import Auto, Classifier, Embedding, FakeLM, FewshotError, InputError, Prompting, Readout, Verbalizer
from fewshot.models.base import is_language_model
from tests.contract import (
    CALIBRATES,
    CASES,
    EXPECTED,
    MAKE,
    NEEDS_LABELS,
    NEW,
    TEXTS,
    HashEncoder,
    data,
    every_case,
    fitted,
    keyword_lm,
)

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]
two_or_three = pytest.mark.parametrize("n_classes", [2, 3])
LM_CASES = [name for name, make in CASES if is_language_model(make().model)]
METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function", "preview", "label_mass"]


# --- parameters, cloning, fitting ---------------------------------------------------------------


def test_init_only_assigns():
    params = {name: object() for name in ("model", "template", "verbalizer", "strategy", "random_state")}
    clf = Classifier(**params)
    assert vars(clf) == params
    assert clf.get_params(deep=False) == params


@every_case
def test_fit_returns_self(make):
    clf = make()
    assert clf.fit(*data(3)) is clf


@every_case
def test_a_clone_is_unfitted_and_shares_the_model(make):
    clf = fitted(make)
    twin = clone(clf)
    assert set(vars(twin)) == set(clf.get_params(deep=False))
    assert twin.model is clf.model is clf.model_
    assert twin.fit(*data(3)).model_ is clf.model_
    np.testing.assert_array_equal(twin.predict_proba(NEW), clf.predict_proba(NEW))


@every_case
def test_fitting_twice_gives_equal_results(make):
    clf = fitted(make)
    first = clf.predict_proba(NEW)
    np.testing.assert_array_equal(clf.fit(*data(3)).predict_proba(NEW), first)
    np.testing.assert_array_equal(clf.fit(*data(2)).fit(*data(3)).predict_proba(NEW), first)


@every_case
def test_fit_and_predict_change_neither_data_nor_parameters(make):
    X, y = (np.array(values, dtype=object) for values in data(3))
    clf = make()
    before = clf.get_params(deep=False), copy.deepcopy((X, y)), repr(clf.get_params())
    inside = None if clf.strategy is None else dict(vars(clf.strategy))
    clf.fit(X, y).predict_proba(X)
    after = clf.get_params(deep=False)
    assert all(after[name] is value for name, value in before[0].items())
    assert repr(clf.get_params()) == before[2]
    assert inside is None or vars(clf.strategy) == inside
    np.testing.assert_array_equal(X, before[1][0])
    np.testing.assert_array_equal(y, before[1][1])


@every_case
def test_an_unfitted_classifier_says_so(make):
    for method in METHODS:
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(make(), method)(NEW)


@every_case
@pytest.mark.parametrize("seed", [7, np.random.RandomState(7)], ids=["int", "RandomState"])
def test_one_random_state_gives_one_result(make, seed):
    a, b = (fitted(make, random_state=copy.deepcopy(seed)).predict_proba(NEW) for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["shots", "shots-random", "generate-shots"])
def test_another_random_state_shows_other_demonstrations(name):
    chosen = {tuple(fitted(MAKE[name], random_state=seed).strategy_.demonstrations_) for seed in range(5)}
    assert len(chosen) > 1


@every_case
@pytest.mark.parametrize("fault", ["y", "X", "strategy"])
def test_a_failed_fit_leaves_the_previous_state(make, fault):
    clf = fitted(make)
    state, before = dict(vars(clf)), clf.predict_proba(NEW)
    X, y = data(2)
    if fault == "strategy":
        clf.set_params(strategy=Embedding() if is_language_model(clf.model) else Prompting())
    with pytest.raises(FewshotError):
        clf.fit(*{"y": (X, [*y[1:], None]), "X": ([*X[1:], None], y), "strategy": (X, y)}[fault])
    assert {name: value for name, value in vars(clf).items() if name.endswith("_")} == {
        name: value for name, value in state.items() if name.endswith("_")
    }
    np.testing.assert_array_equal(clf.predict_proba(NEW), before)


def test_an_interrupted_fit_leaves_the_previous_state(monkeypatch):
    def interrupt(texts):
        raise KeyboardInterrupt

    clf = fitted(MAKE["embedding"])
    before = clf.predict_proba(NEW)
    with monkeypatch.context() as patch:
        patch.setattr(clf.model, "encode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(*data(2))
    np.testing.assert_array_equal(clf.predict_proba(NEW), before)


# --- what predictions are -----------------------------------------------------------------------


@every_case
@two_or_three
def test_classes_are_sorted_and_unique(make, n_classes):
    assert fitted(make, n_classes).classes_.tolist() == sorted(TEXTS)[:n_classes]


@every_case
@two_or_three
def test_predictions_are_classes(make, n_classes):
    clf = fitted(make, n_classes)
    predicted = clf.predict(NEW)
    assert isinstance(predicted, np.ndarray)
    assert predicted.shape == (len(NEW),)
    assert predicted.dtype == clf.classes_.dtype
    assert set(predicted) <= set(clf.classes_)


@every_case
@two_or_three
def test_most_predictions_are_right(make, n_classes):
    clf = fitted(make, n_classes)
    texts, names = zip(*[pair for pair in zip(NEW, EXPECTED, strict=True) if pair[1] in clf.classes_], strict=True)
    assert clf.score(texts, names) > 0.7


@every_case
@two_or_three
def test_probabilities_sum_to_one_and_agree_with_predict(make, n_classes):
    clf = fitted(make, n_classes)
    proba = clf.predict_proba(NEW)
    assert proba.dtype == np.float64
    assert proba.shape == (len(NEW), n_classes)
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(clf.classes_[proba.argmax(axis=1)], clf.predict(NEW))


@every_case
def test_log_probabilities_are_logs_of_the_probabilities(make):
    clf = fitted(make)
    np.testing.assert_allclose(clf.predict_log_proba(NEW), np.log(clf.predict_proba(NEW)), rtol=1e-9, atol=1e-12)


@every_case
def test_the_decision_function_of_two_classes_is_the_log_odds(make):
    clf = fitted(make, 2)
    decision, log_proba = clf.decision_function(NEW), clf.predict_log_proba(NEW)
    assert decision.shape == (len(NEW),)
    np.testing.assert_allclose(decision, log_proba[:, 1] - log_proba[:, 0])
    np.testing.assert_array_equal(clf.classes_[(decision > 0).astype(int)], clf.predict(NEW))


@every_case
def test_the_decision_function_of_three_classes_has_a_column_each(make):
    clf = fitted(make)
    decision = clf.decision_function(NEW)
    assert decision.shape == (len(NEW), 3)
    np.testing.assert_array_equal(clf.classes_[decision.argmax(axis=1)], clf.predict(NEW))


@every_case
def test_a_prediction_does_not_depend_on_its_neighbours(make):
    clf = fitted(make)
    together = clf.predict_proba(NEW)
    order = np.random.RandomState(1).permutation(len(NEW))
    for proba in (
        np.concatenate([clf.predict_proba([text]) for text in NEW]),
        clf.predict_proba([NEW[i] for i in order])[np.argsort(order)],
        clf.predict_proba(NEW * 3)[len(NEW) : 2 * len(NEW)],
    ):
        np.testing.assert_allclose(proba, together, rtol=1e-12)


@every_case
def test_score_is_accuracy(make):
    clf = fitted(make)
    right = clf.predict(NEW) == EXPECTED
    weight = np.arange(1.0, 7.0)
    assert clf.score(NEW, EXPECTED) == pytest.approx(right.mean())
    assert clf.score(NEW, EXPECTED, sample_weight=weight) == pytest.approx(np.average(right, weights=weight))


@every_case
def test_a_preview_shows_every_row(make):
    clf = fitted(make)
    preview = clf.preview(NEW)
    assert len(preview) == len(NEW)
    assert all(text in row.text for text, row in zip(NEW, preview, strict=True))
    assert NEW[0] in preview._repr_html_()


@every_case
@pytest.mark.parametrize("state", ["unfitted", "fitted"])
def test_the_html_repr_names_the_classifier(make, state):
    clf = make() if state == "unfitted" else fitted(make)
    assert "Classifier" in clf._repr_html_()


# --- persistence and processes ------------------------------------------------------------------


@every_case
def test_a_pickle_predicts_the_same(make):
    clf = fitted(make)
    twin = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(twin.predict_proba(NEW), clf.predict_proba(NEW))
    np.testing.assert_array_equal(twin.classes_, clf.classes_)


@every_case
def test_another_process_predicts_the_same(make):
    clf = fitted(make)
    halves = Parallel(n_jobs=2)(delayed(clf.predict_proba)(texts) for texts in (NEW[:3], NEW[3:]))
    np.testing.assert_allclose(np.concatenate(halves), clf.predict_proba(NEW), rtol=1e-12)


def test_another_process_fits_the_same():
    clf = MAKE["shots"](verbalizer=sorted(TEXTS))
    one, two = (cross_val_predict(clf, *data(3), cv=2, n_jobs=n, method="predict_proba") for n in (1, 2))
    np.testing.assert_array_equal(one, two)


# --- zero-shot ----------------------------------------------------------------------------------


def test_class_names_alone_are_enough():
    for name, make in CASES:
        if name in NEEDS_LABELS:
            with pytest.raises(InputError, match="labelled rows: call fit"):
                make().fit(None, sorted(TEXTS))
        else:
            clf = make().fit(None, ["praise", "billing", "bug report", "billing"])
            assert clf.classes_.tolist() == sorted(TEXTS)
            assert clf.predict_proba(NEW).shape == (len(NEW), 3)


@pytest.mark.parametrize("name", [name for name in LM_CASES if name not in NEEDS_LABELS])
def test_a_language_model_needs_no_labelled_rows(name):
    assert MAKE[name]().fit(None, sorted(TEXTS)).predict(NEW).tolist() == EXPECTED


@pytest.mark.parametrize("name", [name for name in MAKE if name not in NEEDS_LABELS])
def test_a_verbalizer_names_the_classes(name):
    words = {"b": "billing", "e": ["bug report", "error"], "p": "praise"}
    clf = MAKE[name](verbalizer=words)
    proba = clf.fit().predict_proba(NEW)
    assert clf.classes_.tolist() == ["b", "e", "p"]
    unlabelled = clone(clf).fit(data(3)[0])
    assert unlabelled.classes_.tolist() == ["b", "e", "p"]
    if name not in CALIBRATES:
        np.testing.assert_array_equal(unlabelled.predict_proba(NEW), proba)
    for again in (
        clone(clf).fit(None, ["p", "b", "e"]),
        clone(clf).set_params(verbalizer=Verbalizer(words)).fit(),
        clone(clf).set_params(verbalizer=list(words.values())).fit(None, ["p", "b", "e"]),
    ):
        np.testing.assert_array_equal(again.predict_proba(NEW), proba)


def test_a_gallery_template_brings_its_own_words():
    lm = FakeLM(lambda query: [float(word in query.prefix) for word in query.candidates])
    clf = Classifier(lm, template="sst2/it_was").fit()
    assert clf.classes_.tolist() == ["negative", "positive"]
    assert clf.predict(["a terrible bore", "a great joy"]).tolist() == ["negative", "positive"]
    assert clf.verbalizer_.candidates == ("terrible", "great")


def without(lacking):
    kept = [pair for pair in zip(*data(3), strict=True) if pair[1] != lacking]
    return [list(column) for column in zip(*kept, strict=True)]


@every_case
def test_a_class_that_the_fold_lacks_keeps_its_column(make):
    clf = make(verbalizer={name: name for name in TEXTS}).fit(*without("bug report"))
    proba = clf.predict_proba(NEW)
    assert clf.classes_.tolist() == sorted(TEXTS)
    assert proba.shape == (len(NEW), 3)
    assert (proba > 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@pytest.mark.parametrize("name", ["embedding-svm", "embedding-knn"])
def test_a_head_finds_an_unseen_class_improbable(name):
    clf = MAKE[name](verbalizer={name: name for name in TEXTS}).fit(*without("bug report"))
    assert (clf.predict_proba(NEW)[:, 1] < 1e-6).all()


def test_auto_fits_the_strategy_to_the_model():
    X, y = data(3)
    default = Classifier(HashEncoder(), random_state=0).fit(X, y)
    assert isinstance(default.strategy_, Auto)
    named = Classifier(HashEncoder(), strategy=Auto(), random_state=0).fit(X, y)
    np.testing.assert_array_equal(named.predict_proba(NEW), default.predict_proba(NEW))

    def chosen(model, *rows):
        return Classifier(model, strategy=Auto()).fit(*rows).strategy_.chosen_

    assert isinstance(chosen(keyword_lm(), X, y), Prompting | Readout)
    assert repr(chosen(keyword_lm(), X[:3], y[:3])) == "Prompting(calibration='auto', shots=3)"  # nothing to compare
    assert repr(chosen(keyword_lm(), None, y)) == "Prompting(calibration='auto')"
    assert repr(chosen(keyword_lm("entailment"), None, y)) == "Prompting()"
    assert repr(chosen(HashEncoder(), None, y)) == "Embedding()"
    assert isinstance(chosen(HashEncoder(), X, y), Embedding)
