"""docs/extending.md: its blocks run, and the contract of the classifier holds for what they define."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - the blocks use it
import pytest
from scipy.special import log_softmax  # noqa: F401

from fewshot import Classifier, Prompting, Template
from tests import test_contract, test_contract_containers, test_contract_sklearn
from tests.contract import TEXTS, case, data

PAGE = (Path(__file__).resolve().parent.parent / "docs/extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
for _language, _block in BLOCKS:
    if _language == "python":  # in this module, so that what is defined can be pickled
        exec(compile(_block, "docs/extending.md", "exec"))


def made(name: str) -> Any:
    """An object of a class that the page defines."""
    return globals()[name]()


OWN = {
    "model": case(lambda: made("Hints"), Prompting),
    "encoder": case(lambda: made("Letters"), lambda: None),
    "strategy": case(lambda: made("Letters"), lambda: made("Centroids")),
    "calibration": case(lambda: made("Hints"), lambda: Prompting(calibration=made("Punctuation"))),
    "selector": case(lambda: made("Hints"), lambda: Prompting(shots=3, selection=made("Longest"))),
    "template": lambda **params: case(lambda: made("Hints"), Prompting)(**{"template": support(), **params}),
}
CONTRACT = [
    test
    for module in (test_contract, test_contract_containers, test_contract_sklearn)
    for name, test in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("test_") and set(inspect.signature(test).parameters) in ({"make"}, {"make", "n_classes"})
]
# what a strategy need not have, and what a template with words of its own decides
LEFT_OUT = {
    ("strategy", "test_a_preview_shows_every_row"),
    ("template", "test_the_decision_function_of_two_classes_is_the_log_odds"),
    ("template", "test_labels_may_hold_blanks_marks_and_any_script"),
}


def support() -> Template:
    (source,) = (block for language, block in BLOCKS if language == "jinja")
    return Template(source, name="support")


def test_every_block_is_run_and_each_class_takes_fifteen_lines():
    assert {language for language, _ in BLOCKS} == {"python", "jinja"}
    for _, block in BLOCKS:
        lines = block[block.find("class ") :].splitlines() if "class " in block else block.splitlines()
        assert len([line for line in lines if line.strip()]) <= 15


@pytest.mark.parametrize(
    ("own", "test"),
    [
        pytest.param(own, test, id=f"{own}-{test.__name__}")
        for own in OWN
        for test in CONTRACT
        if (own, test.__name__) not in LEFT_OUT
    ],
)
def test_the_contract_holds(own, test):
    test(OWN[own], *([3] if "n_classes" in inspect.signature(test).parameters else []))


def test_each_of_them_is_used():
    X, y = data(3)
    assert Classifier(made("Hints")).fit(None, list(TEXTS)).predict(["A refund, please"]).tolist() == ["billing"]
    clf = OWN["calibration"]().fit(None, list(TEXTS))
    assert clf.strategy_.askings_[0].calibration.log_prior_.shape == (3,)
    rows = OWN["selector"]().fit(X, y).strategy_.askings_[0].selector.rows_
    assert sorted(len(X[i]) for i in rows) == sorted(map(len, X))[-3:]
    assert list(support().words) == list(TEXTS)
    assert support().lint(made("Hints"), X).ok
