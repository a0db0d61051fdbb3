"""load(): names, folders and objects become the right kind of model, or an error that says what was tried."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch

from fewshot import Classifier, load
from fewshot.errors import ModelLoadError, ParameterError
from fewshot.models.base import Query
from fewshot.models.kinds import kind_of_config
from tests.conftest import PAIRS, pair, sentence_model

QUERY = Query("It was ", ("great", "terrible"), ".")


@pytest.fixture(autouse=True)
def _forget():
    yield
    load.cache_clear()


@pytest.fixture
def folder(tmp_path):
    def save(name: str):
        model, tokenizer = pair(name)
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "roberta", "t5", "nli"])
def test_a_folder_becomes_the_kind_its_config_says(folder, name):
    expected = {
        "gpt2": "CausalLM",
        "llama": "CausalLM",
        "bert": "MaskedLM",
        "roberta": "MaskedLM",
        "t5": "Seq2SeqLM",
        "nli": "EntailmentLM",
    }
    lm = load(folder(name))
    assert type(lm).__name__ == expected[name]
    if name != "nli":
        ours = load(pair(name)).loglikelihoods([QUERY])[0].logprobs
        assert lm.loglikelihoods([QUERY])[0].logprobs == pytest.approx(ours, abs=1e-5)
    assert str(folder(name)) in repr(lm)


def test_a_sentence_transformers_folder_and_a_bare_encoder_become_encoders(tmp_path):
    sentence_model().save(str(tmp_path / "st"))
    assert load(tmp_path / "st").encode(["a"]).shape == (1, 32)
    bert, tokenizer = pair("bert")
    bert.bert.save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    assert load(tmp_path / "bare").encode(["a"]).shape == (1, 32)


def test_an_adapter_folder_is_put_onto_its_base(folder, tmp_path):
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    import transformers

    base = folder("llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    tuned = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    tuned.save_pretrained(tmp_path / "adapter")
    lm = load(tmp_path / "adapter")
    with torch.inference_mode():
        ids = torch.tensor([[1, 5, 9]])
        expected = tuned(input_ids=ids).logits
        assert torch.allclose(lm.model(input_ids=ids).logits, expected, atol=1e-4)
    assert lm.fingerprint != load(base).fingerprint


def test_without_peft_an_adapter_says_what_to_install(folder, tmp_path, monkeypatch):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder("llama"))}))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelLoadError, match=r"pip install 'fewshot\[lora\]'"):
        load(tmp_path / "adapter")


def test_objects_are_taken_as_they_are():
    lm = load(pair("gpt2"))
    assert load(lm) is lm
    encoder = load(sentence_model(), cache_bytes=0)
    assert encoder.encode(["a"]).shape == (1, 32)
    assert load(encoder) is encoder


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (3, "An object of type int is not a model"),
        (("a", "b"), r"Got \(str, str\)"),
        (("only",), "type tuple is not a model"),
    ],
)
def test_other_objects_are_refused(thing, message):
    with pytest.raises(ModelLoadError, match=message):
        load(thing)


def test_a_model_without_its_tokenizer_says_what_is_missing():
    with pytest.raises(ModelLoadError, match=r"Pass \(model, tokenizer\)"):
        load(pair("gpt2")[0])


def test_an_unsupported_kind_is_named(tmp_path):
    import transformers

    small = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "vocab_size": 99,
    }
    transformers.BertForTokenClassification(transformers.BertConfig(**small)).save_pretrained(tmp_path)
    with pytest.raises(
        ModelLoadError, match=r"'BertForTokenClassification' can't be used. Supported: \.\.\.ForMaskedLM"
    ):
        load(tmp_path)
    without = transformers.BertConfig(architectures=["BertForSequenceClassification"])
    with pytest.raises(ModelLoadError, match="BertForSequenceClassification"):
        kind_of_config(without)


def test_a_name_that_cannot_be_had_says_what_was_tried(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelLoadError, match=r"nobody/nothing.*can't be loaded.*hub.*offline.*local copy.*save_pretrained"
    ):
        load("nobody/nothing")
    with pytest.raises(ModelLoadError, match="no such folder"):
        load("./no such folder")


def test_a_folder_without_a_model_or_without_safetensors_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelLoadError, match="holds no model"):
        load(tmp_path / "empty")
    saved = folder("bert")
    torch.save(pair("bert")[0].state_dict(), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="safetensors"):
        load(saved)


def test_the_last_two_models_are_kept(folder):
    gpt2, bert, t5 = folder("gpt2"), folder("bert"), folder("t5")
    first, second = load(gpt2), load(bert)
    assert load(gpt2) is first
    assert load(gpt2, dtype="float32") is not first
    load(t5)
    assert load(bert) is not second
    kept = load(bert)
    load.cache_clear()
    assert load(bert) is not kept


def test_own_parameters_reach_our_class_and_the_rest_transformers(folder):
    lm = load(folder("gpt2-chat"), chat=False, attn_implementation="eager")
    assert lm.chat is False
    assert lm.model.config._attn_implementation == "eager"
    assert load(folder("bert"), variant="independent").variant == "independent"


def test_fast_is_bfloat16_only_where_the_hardware_computes_it(folder, bfloat16):
    load.cache_clear()
    lm = load(folder("bert"), dtype="fast", device="cpu")
    assert lm.model.dtype == (torch.bfloat16 if bfloat16 == "native" else torch.float32)
    load.cache_clear()


def test_a_model_from_a_folder_pickles_as_its_recipe(folder):
    lm = load(folder("bert"))
    stored = pickle.dumps(lm)
    assert len(stored) < 2000
    load.cache_clear()
    twin = pickle.loads(stored)
    assert twin.fingerprint == lm.fingerprint


def test_a_pickled_recipe_refuses_another_model(folder):
    saved = folder("bert")
    stored = pickle.dumps(load(saved))
    load.cache_clear()
    shutil.rmtree(saved)
    model, tokenizer = pair("roberta")
    model.save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    with pytest.raises(ModelLoadError, match="not the one that was saved"):
        pickle.loads(stored)


@pytest.mark.parametrize("name", PAIRS)
def test_a_model_from_memory_pickles_with_its_weights(name):
    lm = load(pair(name))
    before = len(pickle.dumps(lm))
    if name != "nli":
        lm.loglikelihoods([QUERY])
    stored = pickle.dumps(lm)
    assert len(stored) < before + 5000, "what was derived while scoring went into the pickle"
    assert pickle.loads(stored).fingerprint == lm.fingerprint


def test_the_fingerprint_tells_weights_variant_and_tokenizer_apart():
    from fewshot.models.masked import MaskedLM
    from tests.conftest import TOKENIZERS

    model, tokenizer = pair("bert")
    prints = {MaskedLM(model, tokenizer, variant=variant).fingerprint for variant in ("left-to-right", "independent")}
    other = TOKENIZERS["WordPiece"]()
    other.add_tokens(["brandnew"])
    prints.add(MaskedLM(model, other).fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize("device", ["gpu", "", ("cpu", 0), "cuda:x"])
def test_a_device_that_is_none_is_named(device):
    with pytest.raises(ParameterError, match=r"device must be the name of a torch device, such as 'cpu'.* Got "):
        load("embedded:masked", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(ParameterError, match=r"device='cuda' asks for a GPU, and torch finds none here: leave device"):
        load("embedded:masked", device="cuda")


def test_a_classifier_of_a_named_model_survives_pickling(folder):
    clf = Classifier(str(folder("bert")), template="sst2/it_was").fit()
    texts = ["A joy to watch.", "Dull."]
    with pytest.warns(match="label words hardly at all"):
        before = clf.predict_proba(texts)
    with pytest.warns(match="label words hardly at all"):
        assert pickle.loads(pickle.dumps(clf)).predict_proba(texts) == pytest.approx(before)
