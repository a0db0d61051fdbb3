"""The embedded masked language model: its files, how it loads, and that it knows some English."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertForMaskedLM

from fewshot import Classifier, MaskedLM, ModelLoadError, embedded, load
from fewshot.embedded import build
from fewshot.models.base import Query
from fewshot.models.embedded import FILES
from tests.conftest import language_model, pair, sentence_model

MOST_BYTES = 25 * 10**6


@pytest.fixture(scope="module")
def lm():
    return embedded.masked_lm()


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(FILES, tmp_path / "masked")


def test_it_is_a_masked_language_model_under_its_name(lm):
    assert isinstance(lm, MaskedLM)
    assert lm is load("embedded:masked")
    assert lm.limit == 512
    assert sum(path.stat().st_size for path in FILES.iterdir()) <= MOST_BYTES


def test_its_card_says_what_a_user_must_know():
    card = (FILES / "README.md").read_text(encoding="utf-8")
    for heading in ("## Trained on", "## How", "## Measured", "## Not for"):
        assert heading in card


@pytest.mark.parametrize(
    ("sentence", "right", "wrong"),
    [
        ("The capital of France is ___.", "paris", "banana"),
        ("Scientists have discovered a new ___ of bird.", "species", "table"),
        ("She opened the ___ and walked into the room.", "door", "sky"),
        ("The film was so boring that I fell ___.", "asleep", "green"),
        ("A great film: funny, moving and ___.", "beautiful", "terrible"),
    ],
)
def test_it_knows_some_english(lm, sentence, right, wrong):
    prefix, _, suffix = sentence.partition("___")
    good, bad = lm.loglikelihoods([Query(prefix, (right, wrong), suffix)])[0].logprobs
    assert good > bad + 1


def test_a_prompt_classifies():
    texts = ["A wonderful evening, I loved it.", "A dreadful mess, I hated it.", "Great fun.", "Boring and stupid."]
    clf = Classifier("embedded:masked", template="sst2/it_was").fit()
    margin = clf.decision_function(texts)
    assert min(margin[[0, 2]]) > max(margin[[1, 3]])


def test_it_is_pickled_as_its_name(lm):
    data = pickle.dumps(lm)
    assert len(data) < 10_000
    assert pickle.loads(data) is lm


def test_what_it_does_not_take_is_named():
    with pytest.raises(ModelLoadError, match="Got also revision, trust_remote_code"):
        load("embedded:masked", revision="main", trust_remote_code=True)
    assert load("embedded:masked", variant="independent").variant == "independent"


def test_the_export_is_an_ordinary_folder(lm, tmp_path):
    folder = embedded.export(tmp_path / "bert")
    model, tokenizer = BertForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("It was [MASK] that day.", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, lm.model(**inputs).logits)
    assert load(folder).fingerprint == lm.fingerprint
    with pytest.raises(FileExistsError, match="already holds something"):
        embedded.export(folder)


def test_a_damaged_file_is_refused(copied):
    file = copied / "model-8bit.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelLoadError, match=r"model-8bit\.safetensors .* has another checksum.*[Rr]einstall"):
        embedded.read(copied)


@pytest.mark.parametrize("name", ["config.json", "checksums.json"])
def test_a_missing_file_is_refused(copied, name):
    (copied / name).unlink()
    with pytest.raises(ModelLoadError, match=rf"is not whole: .*{name}"):
        embedded.read(copied)


def test_eight_bits_come_back_within_half_a_step(tmp_path):
    model, tokenizer = pair("bert")
    embedded.write(model, tokenizer, tmp_path)
    again, _ = embedded.read(tmp_path)
    for (name, before), after in zip(model.named_parameters(), again.parameters(), strict=True):
        step = before.abs().amax(dim=-1, keepdim=True) / (127 if before.ndim > 1 else 1024)
        assert ((before - after).abs() <= step / 2 + 1e-6).all(), name
    assert json.loads((tmp_path / "checksums.json").read_text()).keys() >= {"config.json", "tokenizer.json"}
    assert again.cls.predictions.decoder.weight is again.bert.embeddings.word_embeddings.weight


class TestBuild:
    def test_a_new_head_begins_at_the_word_frequencies(self):
        encoder = load(sentence_model())
        before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
        counts = np.arange(len(encoder.model.tokenizer))
        model, tokenizer = build.attach_head(encoder, counts)
        share = model.cls.predictions.bias.detach().exp()
        assert float(share.sum()) == pytest.approx(1, abs=1e-4)
        assert (share.diff() > 0).all()
        for name, tensor in encoder.model[0].model.state_dict().items():
            if name.startswith("encoder"):
                assert torch.equal(tensor, model.bert.state_dict()[name])
        assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
        assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.model.state_dict().items())
        assert tokenizer is not encoder.model.tokenizer
        assert isinstance(load((model, tokenizer)), MaskedLM)

    def test_the_script_builds_the_model_and_trains_on(self, tmp_path, monkeypatch):
        lines = [f"The {noun} is {word} today." for noun in ("sky", "sea", "film", "book") for word in "ABCDEFGH"]
        (tmp_path / "corpus.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
        monkeypatch.setattr(build, "load", lambda model=None: load(sentence_model() if model is None else model))
        monkeypatch.setattr(build, "write", lambda *given: embedded.write(*given, tmp_path / "packed"))  # type: ignore[call-arg]
        monkeypatch.setattr("sys.argv", ["build", str(tmp_path / "corpus.txt"), "--folder", str(tmp_path / "run")])
        build.main()
        packed, _ = embedded.read(tmp_path / "packed")
        assert packed.config.hidden_size == 32
        found = build.held_out_loss(load(tmp_path / "run"), build.read_lines(tmp_path / "corpus.txt"))
        assert found < build.held_out_loss(language_model("bert"), lines)
        start = ["--start", str(tmp_path / "run"), "--epochs", "3"]
        monkeypatch.setattr(
            "sys.argv", ["build", str(tmp_path / "corpus.txt"), "--folder", str(tmp_path / "on"), *start]
        )
        build.main()
        assert load(tmp_path / "on").fingerprint != load(tmp_path / "run").fingerprint
