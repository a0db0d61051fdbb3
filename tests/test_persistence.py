"""Kept classifiers: every strategy and every value comes back as it was, and what can't is refused."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fewshot import Classifier, ConformalClassifier, Embedding, InputError, Prompting, UnsupportedError, load
from fewshot.persistence.classes import KEPT
from fewshot.persistence.graph import Reader, Writer
from tests.contract import NEW, TEXTS, HashEncoder, data, keyword_lm
from tests.kept import EVERY, REVIEW, TORCH, edited, probabilities

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning", "ignore::fewshot.NoAnswerWarning"),
    pytest.mark.filterwarnings("ignore:The classes .0, 1, 2. have no names:fewshot.FewshotWarning"),
]


@pytest.mark.parametrize("name", list(EVERY))
def test_it_comes_back_as_it_was(kept, name):
    case, clf, folder, found = kept(name)
    again = type(clf).load(folder, model=case.given(), trusted=case.trusted)
    assert type(again) is type(clf)
    # weights that were read anew may lie elsewhere in memory, which decides the last bit of a sum
    np.testing.assert_allclose(probabilities(again, case), found, rtol=0, atol=1e-6 if "tiny" in name else 0)
    assert again.classes_.dtype == clf.classes_.dtype
    assert again.classes_.tolist() == clf.classes_.tolist()
    assert list(map(type, again.classes_)) == list(map(type, clf.classes_))
    assert not list(folder.rglob("*.pkl"))
    assert not list(folder.rglob("*.bin"))


@pytest.mark.parametrize("name", ["shown MMR", "shown Nearest, shared", "channel", "tiny encoder, tuned", "conformal"])
def test_it_can_be_kept_again_and_fitted_again(kept, name, tmp_path):
    case, clf, folder, found = kept(name)
    again = type(clf).load(folder, model=case.given())
    twice = type(clf).load(again.save(tmp_path / "again"), model=case.given())
    np.testing.assert_allclose(probabilities(twice, case), found, atol=1e-6)
    refitted = clone(again).fit(*case.fit())
    np.testing.assert_allclose(probabilities(refitted, case), found, atol=1e-6)


def test_every_kind_in_a_fresh_process(kept):
    for name in list(EVERY):
        kept(name)
    run = subprocess.run(
        [sys.executable, "-m", "tests.kept", str(kept.root)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    gaps = json.loads(run.stdout.splitlines()[-1])  # other libraries print as well
    assert set(gaps) == set(EVERY)
    assert {name for name, gap in gaps.items() if gap > (1e-6 if name in TORCH else 0)} == set()


def test_the_default_encoder(mini, tmp_path):
    clf = Classifier(strategy=Embedding()).fit(*data(3))
    again = Classifier.load(clf.save(tmp_path / "tickets"))
    np.testing.assert_array_equal(again.predict_proba(NEW), clf.predict_proba(NEW))
    assert again.model_ is clf.model_  # which `load` shares
    config = (tmp_path / "tickets/config.json").read_text()
    assert str(Path(sys.prefix)) not in config  # it is the default on every machine, wherever it lies
    assert json.loads(config)["models"][0]["name"] is None


def test_what_is_shared_is_shared_again(kept):
    case, _, folder, _ = kept("shown to several wordings")
    again = Classifier.load(folder, model=case.given())
    strategy = again.strategy_
    assert again.model_ is again.model is strategy.model_
    assert all(asking.model is again.model_ for asking in strategy.askings_)
    assert strategy.selector_ is strategy.askings_[0].selector
    assert strategy.selector_.encoder_ is strategy.encoder
    assert strategy.task_ is strategy.askings_[0].task
    assert strategy.task_.template is again.template_
    assert again.verbalizer_ == Classifier(keyword_lm(), REVIEW).fit(None, list(TEXTS)).verbalizer_


def test_the_report_of_auto(kept):
    _, clf, folder, _ = kept("tiny encoder, Auto")
    assert str(Classifier.load(folder).report_) == str(clf.report_)
    assert "on held-out examples" in str(clf.report_)


def test_a_tuned_model_is_an_ordinary_folder_and_its_own(kept):
    _, clf, folder, _ = kept("tiny encoder, tuned")
    again, twice = Classifier.load(folder), Classifier.load(folder)
    assert again.strategy_.encoder_ is not twice.strategy_.encoder_
    assert load(folder / "models/1").fingerprint == clf.strategy_.encoder_.fingerprint
    thawed = pickle.loads(pickle.dumps(again))  # needs the folder no more
    np.testing.assert_array_equal(thawed.predict_proba(NEW), again.predict_proba(NEW))
    assert str(folder) not in repr(again.strategy_.encoder_)


def test_only_the_texts_that_prompts_show_are_kept(kept):
    _, clf, folder, _ = kept("contract shots")
    config = (folder / "config.json").read_text()
    texts = data(3)[0]
    inside = {i for i, text in enumerate(texts) if json.dumps(text) in config}
    assert inside == set(clf.strategy_.demonstrations_.tolist())
    assert "The folder holds 4 of the labelled texts" in (folder / "README.md").read_text()
    _, _, folder, _ = kept("readout regression")
    assert not any(json.dumps(text) in (folder / "config.json").read_text() for text in texts)


def test_every_estimator_of_ours_can_be_kept():
    """A new strategy, calibration or selector is a name in a public list."""
    from importlib import import_module

    from sklearn.base import BaseEstimator

    for package in ("strategies", "calibration", "demonstrations"):
        for path in sorted((ROOT / "fewshot" / package).glob("*.py")):
            name = f"fewshot.{package}" + ("" if path.stem == "__init__" else f".{path.stem}")
            for cls in vars(import_module(name)).values():
                own = isinstance(cls, type) and issubclass(cls, BaseEstimator) and cls.__module__ == name
                if own and not getattr(cls, "__abstractmethods__", None) and not cls.__name__.startswith("_"):
                    assert KEPT.get(cls.__name__) == name, f"{cls.__name__} is not in fewshot.persistence.classes.KEPT"
    for name, module in KEPT.items():
        assert getattr(import_module(module), name).__module__ == module


# values


def through(value):
    writer = Writer(lambda value, path: None)
    root = writer.value(value, "it")
    nodes = json.loads(json.dumps(writer.nodes, allow_nan=False))
    from safetensors.numpy import load, save

    arrays = load(save(writer.arrays)) if writer.arrays else {}
    return Reader(nodes, arrays, writer.templates.__getitem__, {}).value(root)


@pytest.mark.parametrize(
    "value",
    [
        [None, True, -3, 2**80, 0.1, -0.0, "a\ud800\n"],
        {(1, 0.5): "pair", "x": frozenset({1, 2}), 3: {4}},
        np.float32(0.1),
        np.float16(0.1),
        np.str_("é"),
        np.bool_(True),
        np.int8(-5),
        Path("a/b"),
    ],
)
def test_values_come_back_with_their_types(value):
    found = through(value)
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([np.nan, -np.inf, np.inf, -0.0]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2],
        np.array(3),
        np.zeros((0, 4), dtype=np.int16),
        np.array([True, False]),
        np.array([["a", "bcd"], ["", "é"]]),
        np.array([1, "a", None, 0.5, np.str_("b")], dtype=object),
        np.arange(3, dtype=">i4"),
    ],
)
def test_arrays_come_back_with_their_numbers(value):
    found = through(value)
    np.testing.assert_array_equal(found, value)
    assert found.shape == value.shape
    assert found.dtype == value.dtype.newbyteorder("=")
    assert found.flags.f_contiguous == value.flags.f_contiguous or not value.flags.forc
    assert found.flags.writeable
    if value.dtype == object:
        assert list(map(type, found)) == list(map(type, value))


def test_numbers_that_are_not_finite():
    nan, low, high = through([float("nan"), float("-inf"), float("inf")])
    assert np.isnan(nan)
    assert (low, high) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    "value",
    [lambda: None, 1j, b"bytes", np.array([1j]), np.longdouble(1), np.array(["2020"], dtype="M8[Y]"), type, slice(3)],
)
def test_what_is_no_data_is_refused_by_its_place(value):
    with pytest.raises(UnsupportedError, match=re.escape("it['a'][1] is ")):
        through({"a": [0, value]})


def test_what_holds_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(UnsupportedError, match=re.escape("it[0] holds itself")):
        through(value)


# what can't be kept


class Mine(Prompting):
    """A strategy of one's own."""


class Odd(LogisticRegression):
    """A head that can't be written."""

    def __getstate__(self):
        raise RuntimeError("odd")


def test_a_class_of_ones_own_is_refused_by_its_place(tmp_path):
    clf = Classifier(keyword_lm(), REVIEW, strategy=Mine()).fit(None, ["billing", "praise"])
    with pytest.raises(UnsupportedError, match=r"Classifier\.strategy is of tests\.test_persistence\.Mine"):
        clf.save(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_a_field_that_is_no_data_is_refused_by_its_place(tmp_path):
    rows = [{"text": "refund", "when": 1j}, {"text": "crash", "when": 2j}]
    clf = Classifier(keyword_lm(), REVIEW, strategy=Prompting(2, "first")).fit(rows, ["billing", "bug"])
    with pytest.raises(UnsupportedError, match=re.escape("askings_[0]._rows[0]['when'] is of builtins.complex")):
        clf.save(tmp_path / "rows")


def test_a_head_that_skops_can_not_write(tmp_path):
    clf = Classifier(HashEncoder(), strategy=Embedding(Odd())).fit(*data(2))
    with pytest.raises(UnsupportedError, match=r"Classifier\.strategy\.head, Odd\(\), can't be kept.*RuntimeError"):
        clf.save(tmp_path / "odd")


def test_without_skops(tmp_path, monkeypatch):
    clf = Classifier(HashEncoder(), strategy=Embedding(LogisticRegression())).fit(*data(2))
    folder = clf.save(tmp_path / "head")
    monkeypatch.setitem(sys.modules, "skops.io", None)
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(ImportError, match=r"pip install 'fewshot\[skops\]'"):
        clf.save(tmp_path / "other")
    with pytest.raises(ImportError, match=r"pip install 'fewshot\[skops\]'"):
        Classifier.load(folder, model=HashEncoder())


def test_one_that_is_not_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        Classifier().save(tmp_path / "new")


def test_a_foreign_head_needs_trust(kept):
    case, _, folder, found = kept("trees")
    with pytest.raises(
        InputError, match=r"heads/\d\.skops holds types.* not known to be safe: sklearn\.tree\._tree\.Tree"
    ) as caught:
        Classifier.load(folder, model=case.given())
    assert "trusted=['sklearn.tree._tree.Tree']" in str(caught.value)
    assert 'trusted=["sklearn.tree._tree.Tree"]' in (folder / "README.md").read_text()
    from sklearn.tree._tree import Tree

    again = Classifier.load(folder, model=case.given(), trusted=[Tree])
    np.testing.assert_array_equal(probabilities(again, case), found)
    for wrong in (True, "sklearn.tree._tree.Tree", [1]):
        with pytest.raises(InputError, match="trusted must be a list of types"):
            Classifier.load(folder, trusted=wrong)


# kinds and trust


def test_conformal_and_plain_are_told_apart(kept, tmp_path):
    case, _, folder, _ = kept("conformal")
    with pytest.raises(
        InputError, match=r"holds a ConformalClassifier, not a Classifier: use ConformalClassifier\.load"
    ):
        Classifier.load(folder, model=case.given())
    again = ConformalClassifier.load(folder, model=case.given())
    assert again.predict_set(NEW).shape == (6, 3)
    assert "from fewshot import ConformalClassifier" in (folder / "README.md").read_text()
    twin = shutil.copytree(folder, tmp_path / "twin")
    edited(twin, lambda config: config.update({"class": "Classifier"}))
    with pytest.raises(InputError, match="holds a ConformalClassifier, not a Classifier"):
        Classifier.load(twin, model=case.given())


def test_a_function_in_a_pipeline_has_to_be_trusted(tmp_path):
    head = make_pipeline(FunctionTransformer(np.tanh), LogisticRegression())
    clf = Classifier(HashEncoder(), strategy=Embedding(head)).fit(*data(2))
    again = Classifier.load(clf.save(tmp_path / "tanh"), model=HashEncoder())
    np.testing.assert_array_equal(again.predict_proba(NEW), clf.predict_proba(NEW))
