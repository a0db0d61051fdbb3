"""Kept classifiers: every strategy comes back as it was, and a folder is written whole or not at all."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import shutil
import signal
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

import fewshot
from fewshot import (
    CachedLM,
    Classifier,
    ConformalClassifier,
    Embedding,
    FakeLM,
    FewshotWarning,
    InputError,
    ModelLoadError,
    Prompting,
    UnsupportedError,
    evaluate,
    load,
    push_to_hub,
)
from fewshot.persistence import folder as folders
from fewshot.persistence.classes import KEPT
from fewshot.persistence.graph import Reader, Writer
from tests.contract import NEW, TEXTS, HashEncoder, data, keyword_lm
from tests.kept import EVERY, LIGHT, REVIEW, TORCH, asked, edited, probabilities, zero_shot

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning", "ignore::fewshot.NoAnswerWarning"),
    pytest.mark.filterwarnings("ignore:The classes .0, 1, 2. have no names:fewshot.FewshotWarning"),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Fits and keeps a case when it is first asked for."""
    root = tmp_path_factory.mktemp("kept")
    made = {}

    def get(name):
        if name not in made:
            case = EVERY[name]
            clf = case.fitted()
            folder = clf.save(root / name)
            found = probabilities(clf, case)
            np.save(root / f"{name}.npy", found)
            made[name] = case, clf, folder, found
        return made[name]

    get.root = root
    return get


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
    """A new strategy, calibration or selector is a line in the table."""
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


# models


def test_a_model_of_ones_own_has_to_be_given(tmp_path):
    lm = keyword_lm()
    folder = Classifier(lm, REVIEW).fit(None, list(TEXTS)).save(tmp_path / "own")
    with pytest.raises(UnsupportedError, match=r"FakeLM\(keyword_scores\) was not kept.*load\(folder, model=\.\.\.\)"):
        Classifier.load(folder)
    assert Classifier.load(folder, model=lm).model_ is lm
    with pytest.raises(ModelLoadError, match=r"is not a model that was kept\. Its fingerprint is fake:masked"):
        Classifier.load(folder, model=keyword_lm("masked"))
    with pytest.raises(ModelLoadError, match="type int is not a model"):
        Classifier.load(folder, model=3)
    assert "have to be given: `FakeLM(keyword_scores)`" in (folder / "README.md").read_text()


def test_a_cache_is_not_kept_but_what_it_holds(tmp_path):
    lm = CachedLM(keyword_lm(), tmp_path / "cache.sqlite")
    clf = Classifier(lm, REVIEW, strategy=Prompting()).fit(None, list(TEXTS))
    with pytest.warns(FewshotWarning, match="the cache stays where it is, and the model in it is kept"):
        folder = clf.save(tmp_path / "cached")
    again = Classifier.load(folder, model=keyword_lm())
    assert isinstance(again.model_, FakeLM)
    np.testing.assert_array_equal(again.predict_proba(NEW), clf.predict_proba(NEW))
    assert Classifier.load(folder, model=lm).model_ is lm


def test_a_model_from_a_folder_is_named_by_it(tmp_path):
    from tests.conftest import pair

    model, tokenizer = pair("bert")
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    clf = Classifier(str(tmp_path / "lm"), REVIEW).fit(None, list(TEXTS))
    folder = clf.save(tmp_path / "kept")
    assert not (folder / "models").exists()
    expected = clf.predict_proba(NEW)
    again = Classifier.load(folder, follow_paths=True)
    np.testing.assert_array_equal(again.predict_proba(NEW), expected)
    assert again.model == str(tmp_path / "lm")
    with pytest.raises(
        ModelLoadError, match=r"names the folder .*/lm' of this machine.*load\(folder, follow_paths=True"
    ):
        Classifier.load(folder)
    load.cache_clear()
    (tmp_path / "lm").rename(tmp_path / "moved")
    with pytest.raises(ModelLoadError, match=r"came from the folder .* not on this machine: give it"):
        Classifier.load(folder)
    again = Classifier.load(folder, model=tmp_path / "moved")
    np.testing.assert_array_equal(again.predict_proba(NEW), expected)
    other = copy.deepcopy(model)
    other.bert.embeddings.word_embeddings.weight.data[0, 0] += 1
    other.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    with pytest.raises(ModelLoadError, match="is not the one that was kept: its weights, type or tokenizer differ"):
        Classifier.load(folder, follow_paths=True)
    load.cache_clear()


def test_how_a_model_was_loaded(tmp_path, monkeypatch):
    from fewshot.models.loading import load_folder
    from tests.conftest import pair

    model, tokenizer = pair("bert")
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    lm = load(tmp_path / "lm", dtype="bfloat16", device="cpu", token="secret", attn_implementation="eager")
    folder = Classifier(lm, REVIEW).fit(None, list(TEXTS)).save(tmp_path / "kept")
    config = json.loads((folder / "config.json").read_text())
    (entry,) = config["models"]
    assert entry["options"] == {"attn_implementation": "eager"}
    assert (entry["device"], entry["asked_dtype"], entry["dtype"]) == ("cpu", "bfloat16", "bfloat16")
    assert "secret" not in (folder / "config.json").read_text()
    assert str(Classifier.load(folder, follow_paths=True).model_.model.dtype) == "torch.bfloat16"
    # where a machine would choose another type, the one that was kept is asked for
    edited(folder, lambda config: config["models"][0].update(asked_dtype="fast", device="cuda:7"))
    monkeypatch.setattr("fewshot.models.local.native_dtype", lambda dtype, device: str(dtype) == "torch.float32")
    load.cache_clear()
    assert str(Classifier.load(folder, follow_paths=True).model_.model.dtype) == "torch.bfloat16"
    given = load(tmp_path / "lm", quantization_config=None)
    folder = Classifier(given, REVIEW).fit(None, list(TEXTS)).save(tmp_path / "given")
    with pytest.raises(UnsupportedError, match="since it was loaded with quantization_config"):
        Classifier.load(folder)
    assert load_folder(tmp_path / "lm", dtype="float32", own={}).recipe is None
    load.cache_clear()


def test_a_hub_model_is_pinned_to_its_commit(tmp_path, monkeypatch):
    from fewshot.models.recipe import Recipe
    from fewshot.persistence import models
    from tests.conftest import language_model

    lm = language_model("bert").around(language_model("bert").model, Recipe("user/bert", kwargs={"token": "secret"}))
    commit = "0123456789" * 4
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda name, *args, **kwargs: f"cache/models--user--bert/snapshots/{commit}/config.json",
    )
    folder = Classifier(lm, REVIEW).fit(None, list(TEXTS)).save(tmp_path / "kept")
    card = (folder / "README.md").read_text()
    assert f"| user/bert | {commit} | by name |" in card
    assert "base_model:\n- user/bert" in card
    asked = []

    def loaded(name, **options):
        asked.append((name, options))
        return lm

    monkeypatch.setattr(models, "load", loaded)
    assert Classifier.load(folder).model_ is lm
    assert asked == [("user/bert", {"revision": commit, "device": None, "dtype": "auto"})]


def test_an_adapter_must_be_merged(tmp_path):
    from peft import LoraConfig, get_peft_model

    from fewshot import MaskedLM
    from tests.conftest import _model, tokenizer

    made = tokenizer("WordPiece")
    model = get_peft_model(_model("bert", len(made)), LoraConfig(target_modules=["query"]))
    clf = zero_shot()
    clf.model = MaskedLM(model.eval(), made)
    with pytest.raises(
        UnsupportedError, match=r"Classifier\.model, .* has an adapter: merge it first, with merge_and_unload\(\)"
    ):
        clf.save(tmp_path / "adapter")


def test_a_model_with_code_of_its_own_has_to_be_given(tmp_path):
    from fewshot import MaskedLM
    from tests.conftest import pair

    model, tokenizer = pair("bert")
    kind = type(model)
    model.__class__ = type("Strange", (kind,), {"__module__": "strange"})
    try:
        lm = MaskedLM(model, tokenizer)
        clf = Classifier(lm, REVIEW).fit(None, list(TEXTS))
        with pytest.warns(
            FewshotWarning, match="its weights are not kept, since reading them takes the code of strange"
        ):
            folder = clf.save(tmp_path / "strange")
        with pytest.raises(UnsupportedError, match=r"since reading it takes the code of strange\.Strange"):
            Classifier.load(folder)
        assert Classifier.load(folder, model=lm).model_ is lm
    finally:
        model.__class__ = kind


def test_options_that_have_no_json(tmp_path):
    from tests.conftest import pair

    lm = load(pair("gpt2-chat"), chat_template_kwargs={"today": object()})
    clf = Classifier(lm, REVIEW).fit(None, list(TEXTS))
    with pytest.raises(UnsupportedError, match="The options that a model was loaded with can't be kept"):
        clf.save(tmp_path / "options")
    assert list(tmp_path.iterdir()) == []


class Layered:
    """Holds a bare transformers model and its tokenizer, as a strategy of another kind may."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer


def test_bare_models_and_tokenizers(tmp_path, monkeypatch):
    import torch

    from tests.conftest import pair

    monkeypatch.setitem(KEPT, "Layered", __name__)
    model, tokenizer = pair("nli")
    clf = Classifier(keyword_lm(), REVIEW).fit(None, list(TEXTS))
    clf.extra_ = Layered(model, tokenizer)
    folder = clf.save(tmp_path / "layered")
    again = Classifier.load(folder, model=keyword_lm()).extra_
    assert type(again.model) is type(model)
    ids = tokenizer(["a refund"], return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(again.model(**ids).logits, model(**ids).logits)
    assert again.tokenizer("a refund").input_ids == ids.input_ids[0].tolist()
    edited(folder, lambda config: [node.update({"class": "Trainer"}) for node in config["nodes"] if "weights" in node])
    with pytest.raises(InputError, match="the class 'Trainer', which is not a model of transformers"):
        Classifier.load(folder, model=keyword_lm())
    clf.extra_.model = copy.copy(model)
    clf.extra_.model.__class__ = type("Strange", (type(model),), {"__module__": "strange"})
    with pytest.raises(UnsupportedError, match=r"Classifier\.extra_\.model runs code that is not of transformers"):
        clf.save(tmp_path / "strange")


def test_the_fingerprint_of_an_encoder_does_not_change_with_use():
    from sentence_transformers import SentenceTransformer

    from tests.conftest import sentence_model

    encoder = load(sentence_model())
    fresh = encoder.fingerprint
    encoder.model.tokenizer(["a", "b c d"], padding=True, truncation=True, max_length=3)
    assert encoder.fingerprint == fresh
    assert isinstance(encoder.model, SentenceTransformer)


def test_the_fingerprint_of_a_function_is_that_of_its_code():
    def a(query):
        return [float(word in {"x", "y", "z"}) for word in query.candidates]

    def b(query):
        return [float(word in {"z", "y", "x"}) for word in query.candidates]

    def c(query):
        return [float(word in {"x", "y"}) for word in query.candidates]

    b.__qualname__ = c.__qualname__ = a.__qualname__
    assert FakeLM(a).fingerprint == FakeLM(b).fingerprint != FakeLM(c).fingerprint
    assert " at 0x" not in FakeLM(a).fingerprint


# writing


def test_an_existing_target_is_refused(tmp_path):
    target = tmp_path / "target"
    first = zero_shot()
    assert first.save(target) == target
    with pytest.raises(InputError, match="exists: give another folder, or overwrite=True"):
        first.save(target)
    before = sorted(path.name for path in target.iterdir())
    zero_shot(max_new_tokens=3).save(target, overwrite=True)
    assert Classifier.load(target, model=keyword_lm()).strategy_.max_new_tokens == 3
    assert sorted(path.name for path in target.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_nothing_but_a_kept_classifier_is_overwritten(tmp_path):
    clf = zero_shot()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is not a folder"):
        clf.save(tmp_path / "file", overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    assert clf.save(other, overwrite=True) == other  # nothing is lost
    (other / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"also holds 'notes\.txt', which would be lost"):
        clf.save(other, overwrite=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    with pytest.raises(InputError, match="holds something else than a kept classifier"):
        clf.save(mine, overwrite=True)
    (tmp_path / "link").symlink_to(other)
    with pytest.raises(InputError, match="is not a folder"):
        clf.save(tmp_path / "link", overwrite=True)
    assert (mine / "config.json").read_text() == "{}"
    assert (other / "notes.txt").read_text() == "mine"


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "target"
    zero_shot().save(target)
    there = {path: path.read_bytes() for path in target.iterdir()}
    for where in ("_seal", "_check_target"):
        with monkeypatch.context() as patch:
            seen = []

            def fail(*args, seen=seen):
                seen.append(args)
                if len(args) == 1 or len(seen) > 1:
                    raise KeyboardInterrupt

            patch.setattr(folders, where, fail)
            with pytest.raises(KeyboardInterrupt):
                zero_shot(max_new_tokens=3).save(target, overwrite=True)
        assert {path: path.read_bytes() for path in target.iterdir()} == there
    renamed = Path.rename

    def fail_at_the_end(self, other):
        if self.suffix == ".part":
            raise OSError("no space")
        return renamed(self, other)

    monkeypatch.setattr(Path, "rename", fail_at_the_end)
    with pytest.raises(InputError, match=r"target' can't be written: no space\. What was kept there before"):
        zero_shot(max_new_tokens=3).save(target, overwrite=True)
    assert {path: path.read_bytes() for path in target.iterdir()} == there
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


KILL = """
import os, signal, sys
from pathlib import Path
from fewshot.persistence import folder
from tests.kept import zero_shot

def kill(*args):
    os.kill(os.getpid(), signal.SIGKILL)

where, target = sys.argv[1:]
if where == "writing":
    folder._seal = kill
else:
    rename = Path.rename
    Path.rename = lambda self, other: kill() if self.suffix == ".part" else rename(self, other)
zero_shot(max_new_tokens=3).save(target, overwrite=True)
"""


@pytest.mark.parametrize("where", ["writing", "between the renames"])
def test_a_kill_loses_nothing(tmp_path, where):
    target = tmp_path / "target"
    zero_shot().save(target)
    run = subprocess.run([sys.executable, "-c", KILL, where, str(target)], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    if where == "writing":
        assert Classifier.load(target, model=keyword_lm()).strategy_.max_new_tokens == 16
        (left,) = [path.name for path in tmp_path.iterdir() if path != target]
        assert re.fullmatch(r"\.target\.\w+\.part", left)
        return
    with pytest.raises(InputError, match=r"was interrupted\. What was kept before is whole: rename"):
        Classifier.load(target, model=keyword_lm())
    (before,) = tmp_path.glob(".target.*.before")
    assert Classifier.load(before, model=keyword_lm()).strategy_.max_new_tokens == 16
    before.rename(target)
    assert Classifier.load(target, model=keyword_lm()).strategy_.max_new_tokens == 16


# the card


def test_the_card_says_what_it_is(kept):
    _, _, folder, _ = kept("fields")
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: fewshot\npipeline_tag: text-classification\n")
    assert "# Text classifier: billing, bug report, praise" in card
    assert "{{ text_a }}: {{ text_b | shorten }}\n{{ label }}" in card
    assert "| billing | 5 |" in card
    assert "Fitted on 12 texts." in card
    assert f"fewshot {fewshot.__version__}" in card
    _, _, folder, _ = kept("contract zero-shot, no example")
    assert "Fitted without any text: zero-shot." in (folder / "README.md").read_text()


def test_the_card_with_metrics(tmp_path):
    clf = zero_shot()
    folder = clf.save(tmp_path / "a", metrics={"accuracy": 0.91234, "rows": 40})
    assert "| accuracy | 0.9123 |\n| rows | 40 |" in (folder / "README.md").read_text()
    result = evaluate(clf, *data(3), n_bootstrap=20)
    folder = clf.save(tmp_path / "b", metrics=result)
    assert str(result) in (folder / "README.md").read_text()
    for wrong in (0.9, {"accuracy": "high"}):
        with pytest.raises(InputError, match="metrics must be what evaluate"):
            clf.save(tmp_path / "c", metrics=wrong)


def test_text_in_the_card_is_never_markup(tmp_path):
    names = ["<script>alert(1)</script>", "a | b", "[x](javascript:y)", "```", *map(str, range(8))]
    template = "{{ text }}\n```\n# Out\n{{ label }}"
    clf = Classifier(keyword_lm(), template, {name: f"word{i}" for i, name in enumerate(names)}).fit(["a text"], None)
    card = (clf.save(tmp_path / "odd") / "README.md").read_text()
    assert "<script>" not in card
    assert "| a \\| b |" in card
    assert "\n````\n{{ text }}\n```\n# Out\n{{ label }}\n````\n" in card
    assert "and 6 more classes" in card
    assert "Fitted on 1 texts without labels." in card


def test_counts_of_the_data():
    clf = asked(Embedding, HashEncoder)().fit(*data(3))
    assert clf.n_texts_ == 12
    assert dict(zip(clf.classes_.tolist(), clf.class_counts_.tolist(), strict=True)) == {
        name: len(texts) for name, texts in TEXTS.items()
    }
    case = LIGHT["labels of vectors"]
    several = case.fitted()
    assert several.class_counts_.tolist() == case.fit()[1].sum(axis=0).tolist()
    empty = zero_shot()
    assert (empty.n_texts_, empty.class_counts_.tolist()) == (0, [0, 0, 0])


# the hub


class Hub:
    """Stands in for the hub: one repository, in a folder."""

    def __init__(self, root):
        self.root, self.calls = root, []

    def create_repo(self, repo_id, **options):
        self.calls.append(("create_repo", repo_id, options))

    def upload_folder(self, *, repo_id, folder_path, **options):
        self.calls.append(("upload_folder", repo_id, options))
        blobs = self.root / "blobs"
        snapshot = self.root / "snapshots" / ("a" * 40)
        blobs.mkdir(parents=True, exist_ok=True)
        for path in Path(folder_path).rglob("*"):
            if path.is_file():
                name = path.relative_to(folder_path)
                blob = blobs / name.as_posix().replace("/", "--")
                blob.write_bytes(path.read_bytes())
                link = snapshot / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(os.path.relpath(blob, link.parent))
        (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs")
        return "the commit"

    def snapshot_download(self, repo_id, **options):
        self.calls.append(("snapshot_download", repo_id, options))
        if repo_id != "user/tickets":
            raise FileNotFoundError("404: no such repository")
        return str(self.root / "snapshots" / ("a" * 40))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import huggingface_hub

    fake = Hub(tmp_path / "models--user--tickets")
    for name in ("create_repo", "upload_folder", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, getattr(fake, name))
    return fake


def test_to_the_hub_and_back(hub):
    clf = asked(lambda: Prompting(2))().fit(*data(3))
    info = push_to_hub(clf, "user/tickets", private=True, token="t", commit_message="Hello", metrics={"accuracy": 0.5})
    assert info == "the commit"
    again = Classifier.load("user/tickets", model=keyword_lm(), revision="main", token="t")
    np.testing.assert_array_equal(again.predict_proba(NEW), clf.predict_proba(NEW))
    create, upload, download = hub.calls
    assert create == ("create_repo", "user/tickets", {"private": True, "token": "t", "exist_ok": True})
    assert upload[2]["commit_message"] == "Hello"
    assert "models/*" in upload[2]["delete_patterns"]  # what an earlier push left would be refused
    assert download == ("snapshot_download", "user/tickets", {"revision": "main", "token": "t"})
    card = (hub.root / "blobs/README.md").read_text()
    assert 'Classifier.load("user/tickets", model=...)' in card
    assert "| accuracy | 0.5 |" in card


def test_a_tuned_model_to_the_hub_and_back(kept, hub):
    _, clf, _, found = kept("tiny encoder, tuned")
    push_to_hub(clf, "user/tickets")
    np.testing.assert_array_equal(Classifier.load("user/tickets").predict_proba(NEW), found)


def test_what_is_neither_here_nor_there(hub, tmp_path):
    with pytest.raises(ModelLoadError, match=r"The classifier 'user/nothing' can't be had. Tried: a folder.*404"):
        Classifier.load("user/nothing")
    for nothing in ("nowhere", tmp_path / "nowhere", "a/b/c"):
        with pytest.raises(InputError, match="holds no kept classifier"):
            Classifier.load(nothing)
    assert [call[1] for call in hub.calls] == ["user/nothing"]
    folder = zero_shot().save(tmp_path / "here")
    with pytest.raises(InputError, match=r"revision, force_download can only be given for the hub"):
        Classifier.load(folder, revision="main", token="t", force_download=True)


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
