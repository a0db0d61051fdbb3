"""The text contract inside scikit-learn: pipelines, searches, votes, weights, and scikit-learn's own checks."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from packaging.version import Version
from sklearn import config_context
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags

from fewshot import Auto, Classifier, Embedding, Prompting, Template, UnsupportedError, Verbalizer
from tests.contract import (
    CASES,
    EXPECTED,
    MAKE,
    NEW,
    TAKES_WEIGHTS,
    TEMPLATE,
    TEXTS,
    HashEncoder,
    data,
    every_case,
    fitted,
    keyword_lm,
)

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]


def since(version):
    """Skip where scikit-learn is older than the version that brought what is tested."""
    old = Version(sklearn.__version__) < Version(version)
    return pytest.mark.skipif(old, reason=f"scikit-learn has it since {version}")


every_named_case = pytest.mark.parametrize(("name", "make"), [pytest.param(*case, id=case[0]) for case in CASES])


def _stripped(texts):
    return [text.strip() for text in texts]


@every_case
def test_it_works_in_a_pipeline(make):
    X, y = data(3)
    pipe = make_pipeline(FunctionTransformer(_stripped), make()).fit([f" {text}\n" for text in X], y)
    np.testing.assert_array_equal(pipe.predict_proba([f"\t{text} " for text in NEW]), fitted(make).predict_proba(NEW))


@every_case
def test_it_cross_validates(make):
    X, y = data(3)
    assert cross_val_score(make(), X, y, cv=3, error_score="raise").mean() > 0.5
    assert set(cross_val_predict(make(), X, y, cv=3)) <= set(y)
    proba = cross_val_predict(make(verbalizer=sorted(TEXTS)), X, y, cv=3, method="predict_proba")  # encodes labels
    assert proba.shape == (len(X), 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("zero-shot", {"template": ["generic/causal", "{{ text }} It was {{ label }}."], "strategy__shots": [0, 2]}),
        ("auto-lm", {"strategy": [None, Prompting(), Prompting(shots=2), Prompting(read="generate")]}),
        ("default-encoder", {"strategy": [Embedding(), Embedding(KNeighborsClassifier(2))]}),
        ("embedding-knn", {"strategy__head__n_neighbors": [1, 2]}),
    ],
)
def test_it_can_be_searched_by_a_grid(name, grid):
    search = GridSearchCV(MAKE[name](), grid, cv=3, error_score="raise").fit(*data(3))
    assert len(search.cv_results_["params"]) == np.prod([len(values) for values in grid.values()])
    assert search.best_estimator_.model_ is search.estimator.model
    assert set(search.predict(NEW)) <= set(TEXTS)
    assert search.best_score_ > 0.6


@every_case
@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_a_vote_of_twins_is_the_twins_own(make, voting):
    twins = [(name, make(verbalizer=sorted(TEXTS))) for name in "ab"]  # a list of words survives encoded labels
    vote = VotingClassifier(twins, voting=voting).fit(*data(3))
    assert vote.estimators_[0].classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(vote.predict(NEW), fitted(make).predict(NEW))


@every_case
def test_it_can_be_stacked(make):
    stack = StackingClassifier([("a", make(verbalizer=sorted(TEXTS)))], cv=3).fit(*data(3))
    inner = stack.classes_[stack.named_estimators_["a"].predict(NEW)]  # it was fitted on encoded labels
    np.testing.assert_array_equal(inner, fitted(make).predict(NEW))
    assert set(stack.predict(NEW)) <= set(TEXTS)
    np.testing.assert_allclose(stack.predict_proba(NEW).sum(axis=1), 1)


@every_case
@pytest.mark.parametrize("method", ["sigmoid", pytest.param("temperature", marks=since("1.8"))])
def test_it_can_be_calibrated(make, method):
    calibrated = CalibratedClassifierCV(make(verbalizer=sorted(TEXTS)), method=method, cv=3).fit(*data(3))
    np.testing.assert_allclose(calibrated.predict_proba(NEW).sum(axis=1), 1)
    assert calibrated.score(NEW, EXPECTED) > 0.6


def test_a_frozen_classifier_needs_no_list_of_words_to_be_calibrated():
    X, y = data(3)
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted(MAKE["zero-shot"])), cv=3).fit(X, y)
    assert calibrated.predict(NEW).tolist() == EXPECTED


@every_named_case
def test_weights_count_or_are_refused(name, make):
    X, y = data(3)
    weight = np.where(np.array(y) == "praise", 3, 1)
    if name not in TAKES_WEIGHTS:
        with pytest.raises(UnsupportedError, match="sample_weight"):
            make().fit(X, y, sample_weight=weight)
        return
    weighted = make().fit(X, y, sample_weight=weight).predict_proba(NEW)
    repeated = make().fit(np.repeat(X, weight), np.repeat(y, weight)).predict_proba(NEW)
    if name == "embedding-svm":  # the default head chooses its penalty on folds, which repetition changes
        np.testing.assert_allclose(weighted, repeated, atol=2e-3)  # solvers stop at a tolerance
    assert np.abs(weighted - fitted(make).predict_proba(NEW)).max() > 0.02


@since("1.7")
def test_a_pipeline_routes_requested_weights():
    X, y = data(3)
    weight = np.where(np.array(y) == "praise", 3.0, 1.0)
    make = MAKE["embedding"]
    with config_context(enable_metadata_routing=True):
        pipe = Pipeline([("clf", make().set_fit_request(sample_weight=True).set_score_request(sample_weight=True))])
        proba = pipe.fit(X, y, sample_weight=weight).predict_proba(NEW)
        scores = cross_validate(pipe, X, y, cv=3, params={"sample_weight": weight}, error_score="raise")["test_score"]
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            Pipeline([("clf", make())]).fit(X, y, sample_weight=weight)
    assert scores.shape == (3,)
    np.testing.assert_array_equal(proba, make().fit(X, y, sample_weight=weight).predict_proba(NEW))


SKLEARN_CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]
ESTIMATORS = [
    Classifier(),
    Classifier(keyword_lm(), "sst2/it_was", {"a": "b", "c": "d"}, Prompting(shots=2), random_state=0),
    Classifier(HashEncoder(), Template(TEMPLATE), Verbalizer(["b", "d"]), Embedding(LogisticRegression())),
    Auto(),
    Embedding(),
    Prompting(),
]


@pytest.mark.parametrize("check", SKLEARN_CHECKS)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: repr(estimator)[:24])
def test_scikit_learns_own_checks_that_need_no_numbers(check, estimator):
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


def test_tags_ask_for_texts():
    clf = Classifier()
    tags = get_tags(clf).input_tags
    assert is_classifier(clf)
    assert (tags.string, tags.one_d_array, tags.two_d_array) == (True, True, False)
