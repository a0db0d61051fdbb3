"""scikit-learn's checks of parameters on every estimator: strategies, calibrations, selectors, heads."""

from __future__ import annotations

import inspect

import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks

import fewshot
from fewshot import calibration, demonstrations
from fewshot.heads import neighbors
from tests.conftest import sentence_model
from tests.contract import HashEncoder

CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_get_params_invariance",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
]
GIVEN = {  # what can't be made of nothing
    "ConformalClassifier": lambda kind: kind(fewshot.Classifier(HashEncoder())),
    "Questionnaire": lambda kind: kind({"topic": fewshot.Classifier(HashEncoder())}),
    "SentenceEncoder": lambda kind: kind(sentence_model()),
}
#: A model is shared by its clones, and its parameters are not to be set.
MODELS = {"SentenceEncoder"}


def kinds():
    """Every public class with parameters, by name."""
    found = {}
    for place in (fewshot, calibration, demonstrations, neighbors):
        for name in place.__all__:
            kind = getattr(place, name)
            if inspect.isclass(kind) and hasattr(kind, "get_params") and not inspect.isabstract(kind):
                found[name] = kind
    return found


KINDS = kinds()


def test_none_is_forgotten():
    wanted = {"Auto", "Channel", "Contrastive", "Distillation", "Embedding", "FineTuning", "Prompting", "Readout"}
    assert wanted | {"Batch", "BestOf", "PMI", "Nearest", "MMR", "KLNeighbors", "AutomaticVerbalizer"} <= set(KINDS)
    assert len(KINDS) >= 25


@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("check", CHECKS)
def test_scikit_learns_own_checks(check, name):
    kind = KINDS[name]
    if name in GIVEN and check == "check_parameters_default_constructible":
        assert next(iter(inspect.signature(kind).parameters.values())).default is inspect.Parameter.empty
        return
    if name in MODELS and check in ("check_estimator_cloneable", "check_set_params"):
        made = GIVEN[name](kind)
        assert clone(made) is made
        return
    getattr(estimator_checks, check)(name, GIVEN.get(name, lambda kind: kind())(kind))


@pytest.mark.parametrize("name", sorted(set(KINDS) - MODELS))
def test_parameters_are_kept_as_they_were_given(name):
    """The very objects, under their own names, also when they make no sense: what they are is settled in ``fit``."""
    parameters = {name: object() for name in inspect.signature(KINDS[name]).parameters}
    made = KINDS[name](**parameters)
    assert all(getattr(made, name) is value for name, value in parameters.items())
    assert made.get_params(deep=False) == parameters
