"""The model of a kept classifier: named by its folder or commit, kept with it, or to be given again; fingerprints."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from fewshot import (
    CachedLM,
    Classifier,
    FakeLM,
    FewshotWarning,
    InputError,
    ModelLoadError,
    Prompting,
    UnsupportedError,
    load,
)
from fewshot.persistence.classes import KEPT
from tests.contract import NEW, TEXTS, keyword_lm
from tests.kept import REVIEW, edited, zero_shot

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning", "ignore::fewshot.NoAnswerWarning"),
    pytest.mark.filterwarnings("ignore:The classes .0, 1, 2. have no names:fewshot.FewshotWarning"),
]


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
    monkeypatch.setattr("fewshot.models.dtypes.native_dtype", lambda dtype, device: str(dtype) == "torch.float32")
    load.cache_clear()
    assert str(Classifier.load(folder, follow_paths=True).model_.model.dtype) == "torch.bfloat16"
    given = load(tmp_path / "lm", quantization_config=None)
    folder = Classifier(given, REVIEW).fit(None, list(TEXTS)).save(tmp_path / "given")
    with pytest.raises(UnsupportedError, match="since it was loaded with quantization_config"):
        Classifier.load(folder)
    assert load_folder(tmp_path / "lm", dtype="float32", own={}).recipe is None
    load.cache_clear()


def test_a_hub_model_is_pinned_to_its_commit(tmp_path, monkeypatch):
    from fewshot.models.loading import Loaded
    from fewshot.persistence import models
    from tests.conftest import language_model

    lm = language_model("bert").around(language_model("bert").model, Loaded("user/bert", kwargs={"token": "secret"}))
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
