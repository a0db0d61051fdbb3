"""A model that lies in a kept classifier's folder, from a stranger: it can execute nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fewshot import Classifier, Embedding, FewshotWarning, InputError, ModelLoadError
from tests.contract import NEW
from tests.kept import rewritten, sealed

pytestmark = pytest.mark.long

ATTACKS = {
    "code": (lambda m: (m / "evil.py").write_text("raise SystemExit"), r"0/evil\.py: a kept model has no \.py file"),
    "pickled weights": (
        lambda m: (m / "model.safetensors").rename(m / "pytorch_model.bin"),
        r"0/pytorch_model\.bin: a kept model has no \.bin file",
    ),
    "an adapter of another model": (
        lambda m: (m / "adapter_config.json").write_text('{"base_model_name_or_path": "stranger/model"}'),
        r"0/adapter_config\.json",
    ),
    "config with code": (
        lambda m: rewritten(m / "config.json", lambda c: c.update(auto_map={"AutoModel": "evil.Model"})),
        r"0/config\.json sets 'auto_map'",
    ),
    "config with code inside": (
        lambda m: rewritten(m / "config.json", lambda c: c.update(parts=[{"auto_map": {"AutoModel": "evil.Model"}}])),
        r"0/config\.json sets 'auto_map'",
    ),
    "tokenizer with code": (
        lambda m: rewritten(
            m / "tokenizer_config.json", lambda c: c.update(auto_map={"AutoTokenizer": ["evil.T", None]})
        ),
        r"0/tokenizer_config\.json sets 'auto_map'",
    ),
    "attention from the hub": (
        lambda m: rewritten(m / "config.json", lambda c: c.update(_attn_implementation="stranger/kernel")),
        r"sets '_attn_implementation'",
    ),
    "trust in code": (
        lambda m: rewritten(
            m / "sentence_bert_config.json", lambda c: c.update(model_kwargs={"trust_remote_code": True})
        ),
        r"0/sentence_bert_config\.json sets 'model_kwargs'",
    ),
    "a module of another library": (
        lambda m: rewritten(m / "modules.json", lambda c: c[1].update(type="evil.Module")),
        r"modules\.json names the class 'evil\.Module'",
    ),
    "a module that only begins like one": (
        lambda m: rewritten(m / "modules.json", lambda c: c[1].update(type="sentence_transformers.base.model.pickle")),
        r"names the class 'sentence_transformers\.base\.model\.pickle'",
    ),
    "a module elsewhere": (
        lambda m: rewritten(m / "modules.json", lambda c: c[1].update(path="../../..")),
        r"names the folder '\.\./\.\./\.\.'",
    ),
    "a function of another library": (
        lambda m: rewritten(m / "1_Pooling/config.json", lambda c: c.update(activation_function="os.getcwd")),
        r"names the function 'os\.getcwd'",
    ),
    "weights elsewhere": (
        lambda m: (m / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../../x.safetensors"}}'),
        r"names the file '\.\./\.\./\.\./x\.safetensors'",
    ),
    "no JSON": (lambda m: (m / "config.json").write_text("["), r"0/config\.json is not JSON that can be read"),
    "modules that are none": (lambda m: (m / "modules.json").write_text("3"), r"0/modules\.json is not what transf"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_that_would_run_something(folder, attack, marker, monkeypatch):
    change, match = ATTACKS[attack]
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("nobody is asked whether code may run"))
    change(folder / "models/0")
    sealed(folder)
    with pytest.raises(InputError, match=match):
        Classifier.load(folder)


def test_a_dense_layer_may_name_torch_s_own_functions(folder):
    from fewshot.persistence.safety import check_model_folder

    rewritten(folder / "models/0/1_Pooling/config.json", lambda c: c.update(activation_function="torch.nn.Tanh"))
    files = [path.relative_to(folder / "models/0").as_posix() for path in (folder / "models/0").rglob("*.*")]
    check_model_folder(folder / "models/0", files)


def test_other_weights_are_another_model(folder):
    from safetensors.numpy import load_file, save_file

    path = folder / "models/0/model.safetensors"
    weights = load_file(path)
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"] + 1
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ModelLoadError, match="is not the one that was kept"):
        Classifier.load(sealed(folder))


def test_a_vocabulary_is_no_setting(folder):
    """A token may be called as it likes."""
    path = folder / "models/0/tokenizer.json"
    rewritten(path, lambda c: c["model"]["vocab"].update(auto_map=665))
    with pytest.raises(ModelLoadError, match="is not the one that was kept"):  # and not that it would run something
        Classifier.load(sealed(folder))


def test_a_model_that_can_not_be_written_safely(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    from fewshot import UnsupportedError, load
    from tests.conftest import pair, sentence_model

    dense = SentenceTransformer(modules=[*sentence_model().children(), Dense(32, 8)], device="cpu")
    clf = Classifier(dense, strategy=Embedding()).fit(None, ["billing", "praise"])
    again = Classifier.load(clf.save(tmp_path / "dense"))
    np.testing.assert_allclose(again.predict_proba(NEW), clf.predict_proba(NEW), atol=1e-6)

    class Mine(Pooling):
        pass

    mine = SentenceTransformer(modules=[sentence_model()[0], Mine(32)], device="cpu")
    clf = Classifier(mine, strategy=Embedding()).fit(None, ["billing", "praise"])
    with pytest.warns(FewshotWarning, match="its weights are not kept"):
        folder = clf.save(tmp_path / "mine")
    assert Classifier.load(folder, model=mine).model_.model is mine
    lm = load(pair("bert"))
    lm.model.config.quantization_config = {"bits": 4}
    try:
        clf = Classifier(lm, "{{ text }} It is {{ label }}.").fit(None, ["billing", "praise"])
        with pytest.raises(UnsupportedError, match=r"can't be kept so that it could be loaded safely: .*quantization"):
            clf.save(tmp_path / "quantized")
    finally:
        del lm.model.config.quantization_config


def test_code_in_a_named_folder_is_not_run(tmp_path, marker, monkeypatch):
    """A model by name goes through `load`, which runs no code from a repository and asks nobody about it."""
    from fewshot import load

    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("nobody is asked whether code may run"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Model: ...\nclass Config: ...\n")
    maps = {"AutoConfig": "evil.Config", "AutoModelForMaskedLM": "evil.Model"}
    config = {"model_type": "evil", "architectures": ["EvilForMaskedLM"], "auto_map": maps}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="can't be loaded"):
        load(model)
    (model / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Model"}]))
    with pytest.raises(ModelLoadError, match="can't be loaded"):
        load(model)
