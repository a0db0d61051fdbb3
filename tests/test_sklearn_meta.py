"""scikit-learn's meta-estimators around an encoder, with labels that are names: most of them make integers of these."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from packaging.version import Version
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    KFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    permutation_test_score,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.semi_supervised import SelfTrainingClassifier

from fewshot import Classifier, Embedding, LabelPriorLogisticRegression, Prompting
from tests.contract import EXPECTED, NEW, HashEncoder, data, keyword_lm

pytestmark = pytest.mark.usefixtures("one_thread")

X, Y = data(3)
X, Y = [*X, *(f"{text} today" for text in X)], [*Y, *Y]
NAMES = sorted(set(Y))
# scikit-learn has "temperature" since 1.8
METHODS = ["isotonic", "sigmoid", *["temperature"] * (Version(sklearn.__version__) >= Version("1.8"))]
PRAISE = np.array([name == "praise" for name in Y]).astype(int)
INDICATORS = np.array([[name == own for own in NAMES] for name in Y]).astype(int)

MODELS = {
    "names": Classifier(HashEncoder(), strategy=Embedding(LabelPriorLogisticRegression(tau=5.0, C=10.0))),
    "words": Classifier(
        HashEncoder(), verbalizer=NAMES, strategy=Embedding(LabelPriorLogisticRegression(tau=5.0, C=10.0))
    ),
    "foreign head": Classifier(HashEncoder(), strategy=Embedding(LogisticRegression(C=10))),
}
CONTAINERS = {
    "list": list,
    "objects": lambda texts: np.array(texts, dtype=object),
    "column": lambda texts: np.array(texts, dtype=object)[:, None],
    "Series": pd.Series,
    "frame": lambda texts: pd.DataFrame({"text": texts}),
    "polars": lambda texts: pl.Series("text", texts),
}


@pytest.fixture(params=MODELS)
def clf(request):
    return clone(MODELS[request.param])


def predicted(model, make=list, y=Y):
    """The predictions of a fitted wrapper, which must mostly be right, and its probabilities where it has some."""
    model.fit(make(X), np.array(y))
    found = model.predict(make(NEW))
    assert np.mean(found == np.array(EXPECTED)) > 0.6
    if hasattr(model, "predict_proba"):
        proba = model.predict_proba(make(NEW))
        assert proba.shape == (len(NEW), 3)
        assert np.allclose(proba.sum(axis=1), 1)
    return found


def of_columns(clf):
    """Wrappers that ask scikit-learn to check X, which takes texts as a column only."""
    return {
        "bagging": BaggingClassifier(clf, 3, random_state=0),
        "boosting": AdaBoostClassifier(clf, n_estimators=2),
    }


def of_anything(clf):
    calibrations = {
        f"{method}, {'several' if ensemble else 'one'}": CalibratedClassifierCV(
            clf, method=method, cv=2, ensemble=ensemble
        )
        for method in METHODS
        for ensemble in (True, False)
    }
    return {
        "soft vote": VotingClassifier([("a", clf), ("b", clone(clf))], voting="soft"),
        "hard vote": VotingClassifier([("a", clf), ("b", clone(clf))]),
        "stack": StackingClassifier([("a", clf)], cv=2),
        "one against the rest": OneVsRestClassifier(clf),
        "codes": OutputCodeClassifier(clf, code_size=3, random_state=0),
        "pipeline": make_pipeline(FunctionTransformer(), clf),
        **calibrations,
    }


@pytest.mark.parametrize("name", of_anything(MODELS["names"]))
@pytest.mark.parametrize("model", ["names", "foreign head"])
def test_a_wrapper_needs_no_list_of_words(model, name):
    predicted(of_anything(clone(MODELS[model]))[name])


@pytest.mark.parametrize("name", of_columns(MODELS["names"]))
@pytest.mark.parametrize("container", ["column", "frame"])
def test_a_wrapper_that_wants_a_table_gets_a_column(clf, name, container):
    predicted(of_columns(clf)[name], CONTAINERS[container])


@pytest.mark.parametrize("container", CONTAINERS)
def test_texts_come_in_any_container(container):
    clf = MODELS["names"]
    expected = predicted(VotingClassifier([("a", clf), ("b", clf)], voting="soft"))
    found = predicted(VotingClassifier([("a", clf), ("b", clf)], voting="soft"), CONTAINERS[container])
    assert (found == expected).all()


def test_the_default_classifier_works_in_all_of_them():
    for name, model in of_anything(Classifier(HashEncoder(), random_state=0)).items():
        if name in ("soft vote", "one against the rest", f"{METHODS[-1]}, one"):
            predicted(model)


def test_a_list_of_words_stands_a_fold_that_lacks_a_class():
    order = np.argsort(Y, kind="stable")  # the middle part of three holds all of a class
    texts, names = [X[i] for i in order], [Y[i] for i in order]
    proba = cross_val_predict(MODELS["words"], texts, names, cv=KFold(3), method="predict_proba")
    assert proba.shape == (len(X), 3)
    assert np.isfinite(proba).all()
    assert proba[names.index("praise") + 1].argmax() != 2  # that class was never seen, and its name is all there is


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_out_of_fold_predictions(clf, method):
    found = cross_val_predict(clf, X, Y, cv=3, method=method)
    assert np.mean((found if method == "predict" else np.array(NAMES)[found.argmax(axis=1)]) == np.array(Y)) > 0.7


def test_frozen_and_stacked_without_fitting_again(clf):
    fitted = clf.fit(X, Y)
    predicted(CalibratedClassifierCV(FrozenEstimator(fitted)))
    numbered = clone(clf).fit(X, [NAMES.index(name) for name in Y])
    stack = StackingClassifier([("a", numbered)], cv="prefit").fit(X, Y)
    assert np.mean(stack.predict(NEW) == np.array(EXPECTED)) > 0.6


def test_several_questions_at_once(clf):
    topics = np.stack([Y, np.where(np.arange(len(Y)) < len(Y) // 2, "first", "again")], axis=1)
    if clf.verbalizer is None:  # a list of words is for one question
        found = MultiOutputClassifier(clf).fit(X, topics).predict(X)
        assert (found == topics).mean() > 0.8
    several = OneVsRestClassifier(clone(clf).set_params(verbalizer=None)).fit(X, INDICATORS)
    assert (several.predict(X) == INDICATORS).mean() > 0.8


@pytest.mark.parametrize("pos_label", [None, 1])
def test_thresholds_of_a_binary_question(pos_label):
    clf = MODELS["names"]
    fixed = FixedThresholdClassifier(clf, threshold=0.3, pos_label=pos_label, response_method="predict_proba")
    found = fixed.fit(X, PRAISE).predict(X)
    assert (found == (clone(clf).fit(X, PRAISE).predict_proba(X)[:, 1] >= 0.3)).all()
    tuned = TunedThresholdClassifierCV(clf, cv=2, scoring="f1").fit(X, PRAISE)
    assert (tuned.predict(X) == PRAISE).mean() > 0.8


def test_searches_and_curves_with_scorers_of_every_kind(clf):
    scorers = ["accuracy", "balanced_accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr"]
    pipe = make_pipeline(FunctionTransformer(), clf)
    search = GridSearchCV(
        pipe, {"classifier__random_state": [0, 1]}, cv=2, scoring=scorers, refit="accuracy", error_score="raise"
    )
    assert search.fit(X, Y).best_score_ > 0.6
    assert np.mean(cross_validate(clf, X, Y, cv=2, scoring=scorers, error_score="raise")["test_neg_log_loss"]) > -1.2
    score, others, p = permutation_test_score(clf, X, Y, cv=2, n_permutations=5, random_state=0)
    assert score > others.mean() + 0.2
    assert p < 0.5
    _, _, tested = learning_curve(
        clf, X, Y, cv=2, train_sizes=[0.6, 1.0], error_score="raise", shuffle=True, random_state=0
    )
    assert tested.mean() > 0.5


def test_weights_are_routed_through_a_vote():
    weight = np.where(np.array(Y) == "praise", 3.0, 1.0)
    clf = MODELS["names"]
    with config_context(enable_metadata_routing=True):
        asked = clone(clf).set_fit_request(sample_weight=True)
        vote = VotingClassifier([("a", asked), ("b", asked)], voting="soft").fit(X, Y, sample_weight=weight)
    alone = clone(clf).fit(X, [NAMES.index(name) for name in Y], sample_weight=weight)
    assert np.allclose(vote.predict_proba(NEW), alone.predict_proba(NEW))


@pytest.mark.parametrize(
    "wrapper", [OneVsOneClassifier, ClassifierChain, SelfTrainingClassifier], ids=lambda one: one.__name__
)
def test_what_makes_numbers_of_texts_takes_none_from_anybody(wrapper):
    """scikit-learn converts X to floats in these before any estimator sees it: put the encoder in front of them."""
    y = (
        INDICATORS
        if wrapper is ClassifierChain
        else np.where(np.arange(len(Y)) % 5 == 0, -1, INDICATORS.argmax(axis=1))
    )
    for own in (MODELS["names"], make_pipeline(TfidfVectorizer(), LogisticRegression())):
        with pytest.raises(ValueError, match=r"could not convert string to float|Expected 2D array"):
            wrapper(own).fit(X, y)
    vectors = HashEncoder().encode(X)
    assert np.mean(wrapper(LogisticRegression(C=100)).fit(vectors, y).predict(vectors) == y) > 0.7


def test_a_language_model_goes_on_with_a_list_of_words():
    clf = Classifier(keyword_lm(), verbalizer=NAMES, strategy=Prompting())
    for name in ("soft vote", "stack", f"{METHODS[-1]}, one"):
        predicted(of_anything(clf)[name])
