"""What is computed in bfloat16: what the model's own type says, on every machine, and never what the processor says.

bfloat16 keeps 8 bits, so one rounding moves a number by at most 2 ** -8 of itself, and evenly up to that: its standard
deviation is 2 ** -8 / sqrt(3). Roundings that follow one another are independent, so that n of them have sqrt(n) times
that one: the tolerances count them, and allow for four standard deviations.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from fewshot import Classifier, Contrastive, Embedding, FineTuning, LoRA, adapt, load
from fewshot.datasets import load_tickets
from fewshot.models.base import Query, Turn
from fewshot.models.dtypes import autocast, own_dtype
from fewshot.training import pairs
from fewshot.training.copies import own_copy
from fewshot.training.upper_layers import Tail
from tests.conftest import pair, sentence_model

pytestmark = pytest.mark.long

ROUNDING = 2.0**-8 / math.sqrt(3)
#: Every matrix product rounds its two factors and its result; of those that follow one another a layer has six
#: (queries, scores, values, output, and the two of the wide layer), a tiny model has two layers, and the head is one.
ROUNDINGS = 3 * (2 * 6 + 1)
#: Where the weights are of 16 bits too, nothing is computed in float32 between the products: a layer also rounds two
#: norms, two sums and an activation, and the embeddings and the last norm are rounded.
ALL_ROUNDINGS = ROUNDINGS + 2 * 5 + 2

CPU = torch.device("cpu")
TEXTS, LABELS = load_tickets()
X, Y = TEXTS[:12], ["good", "bad"] * 6
CLASSES = np.unique(LABELS[:24], return_inverse=True)[1]
QUERIES = [
    Query("I loved it. It was ", ("great", "terrible", "so so"), "."),
    Query("So bad, and much longer than the other text. It was ", ("great", "terrible", "so so"), "."),
]
SOURCE, WORDS = "{{ text }} It was {{ label }}.", {"bad": "bad", "good": "good"}


def tolerance(size: float, roundings: int = ROUNDINGS) -> float:
    """How far a number of this size may move in bfloat16."""
    return 4 * math.sqrt(roundings) * ROUNDING * size


def logits_of(lm):
    """The logits that a model computes from now on."""
    logits = []
    layer = lm.model.get_output_embeddings() or lm.model.classifier
    layer.register_forward_hook(lambda module, args, out: logits.append(out.detach().float().flatten()))
    return logits


def lm_in(name, dtype):
    model, tokenizer = pair(name)
    return load((copy.deepcopy(model).to(dtype), tokenizer))


def encoder_in(dtype):
    return load(copy.deepcopy(sentence_model()).to(dtype))


def computed_in(monkeypatch):
    """The types of what linear layers give while something is trained, and of what the optimizer moves."""
    outputs, moved = set(), set()
    linear, step = torch.nn.Linear.forward, torch.optim.AdamW.step

    def watched(self, hidden):
        out = linear(self, hidden)
        if torch.is_grad_enabled():
            outputs.add(out.dtype)
        return out

    def stepped(self, *args, **kwargs):
        moved.update(p.dtype for group in self.param_groups for p in group["params"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Linear, "forward", watched)
    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    return outputs, moved


def fine_tuned(lm, **params):
    strategy = FineTuning(**{"steps": 3, "learning_rate": 1e-3, "calibration": None, **params})
    return Classifier(lm, SOURCE, WORDS, strategy, random_state=0).fit(X, Y)


TRAINED = {
    "prompt": lambda lm: fine_tuned(lm).strategy_.model_,
    "head": lambda lm: fine_tuned(lm, objective="head").strategy_.model_,
    "LoRA": lambda lm: fine_tuned(lm, objective="head", parameters=LoRA(2)).strategy_.model_,
    "adapt": lambda lm: adapt(lm, TEXTS[:40], block_size=32, tokens_per_step=256, held_out=0.1).model,
}


class TestTheModelDecides:
    @pytest.mark.parametrize(("dtype", "computed"), [("float32", "float32"), ("bfloat16", "bfloat16")])
    @pytest.mark.parametrize("how", TRAINED)
    def test_a_language_model_is_trained_in_its_own_type(self, bfloat16, how, dtype, computed, monkeypatch):
        lm = lm_in("bert", getattr(torch, dtype))
        outputs, moved = computed_in(monkeypatch)
        trained = TRAINED[how](lm)
        assert getattr(torch, computed) in outputs
        assert moved == {torch.float32}
        if dtype == "float32":
            assert outputs == {torch.float32}
        assert {p.dtype for p in trained.model.parameters()} == {getattr(torch, dtype)}

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_an_encoder_is_tuned_in_its_own_type(self, bfloat16, dtype, monkeypatch):
        outputs, moved = computed_in(monkeypatch)
        tuned = Contrastive(steps=2).tune(encoder_in(dtype), TEXTS[:24], CLASSES)
        assert outputs == {dtype}
        assert moved == {torch.float32}
        assert own_dtype(tuned.model) == dtype

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_nothing_but_the_seed_and_the_type_counts(self, dtype, monkeypatch):
        found = []
        for native in (True, False):
            monkeypatch.setattr(
                torch.cpu, "get_capabilities", lambda native=native: {"avx512_bf16": native}, raising=False
            )
            tuned = Contrastive(steps=2).tune(encoder_in(dtype), TEXTS[:24], CLASSES)
            found.append([TRAINED[how](lm_in("bert", dtype)) for how in ("prompt", "adapt")] + [tuned])
        for one, other in zip(*found, strict=True):
            assert one.fingerprint == other.fingerprint

    def test_float16_is_trained_in_the_range_of_bfloat16(self):
        layer = torch.nn.Linear(2, 2)
        for dtype, expected in [(torch.float16, torch.bfloat16), (torch.float32, torch.float32)]:
            with autocast(CPU, dtype):
                assert layer(torch.ones(1, 2)).dtype == expected


class TestTheNumbers:
    @pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "roberta", "t5"])
    def test_what_is_trained_on_is_near_the_float32_score(self, name):
        """A log-probability is a logit less the log of a sum of logits' exponentials: how far they spread counts."""
        lm, half = lm_in(name, torch.float32), lm_in(name, torch.bfloat16)
        logits = logits_of(lm)
        expected, n_tokens = lm.differentiable(QUERIES)
        copied, _ = own_copy(half.model, "all")
        with autocast(CPU, torch.bfloat16):
            found, _ = half.around(copied, None).differentiable(QUERIES)
        allowed = np.asarray(n_tokens) * tolerance(float(torch.cat(logits).std()))
        errors = (found - expected).abs().detach().numpy()
        assert (errors <= allowed).all(), errors / allowed
        assert errors.max() > 0.01 * np.max(allowed)  # and it was computed in bfloat16

    def test_the_pairs_of_an_encoder_begin_near_the_float32_loss(self):
        losses = []
        for dtype in (torch.float32, torch.bfloat16):
            tail = Tail(encoder_in(dtype), 2)
            losses.append(pairs._gradients(tail, *pairs._prepared(tail, TEXTS[:24]), CLASSES, np.ones(24)))
        # squares of differences of cosines, whose derivative is at most 2 times 2; of two vectors each
        assert losses[1] == pytest.approx(losses[0], abs=4 * tolerance(math.sqrt(2)))
        assert losses[1] != losses[0]

    @pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "roberta", "t5", "nli"])
    def test_scores_are_near_the_float32_ones(self, name):
        lm, half = lm_in(name, torch.float32), lm_in(name, torch.bfloat16)
        logits, queries = logits_of(lm), QUERIES
        if name == "nli":
            queries = [Query("", q.candidates, q.suffix, (Turn("premise", q.prefix),)) for q in QUERIES]
        for one, other in zip(lm.loglikelihoods(queries), half.loglikelihoods(queries), strict=True):
            allowed = one.n_tokens * tolerance(float(torch.cat(logits).std()), ALL_ROUNDINGS)
            assert (np.abs(one.logprobs - other.logprobs) <= allowed).all()
            assert not np.array_equal(one.logprobs, other.logprobs)

    @pytest.mark.parametrize("name", ["gpt2", "llama"])
    def test_packs_are_near_one_sequence_at_a_time_in_the_same_type(self, name):
        lm = lm_in(name, torch.bfloat16)
        logits, errors, sizes = logits_of(lm), [], []
        found = lm.loglikelihoods(QUERIES)
        assert lm._packed is not None
        for joined, scores in zip(lm._joined(QUERIES), found, strict=True):
            for rest, score in zip(joined.rests, scores.logprobs, strict=True):
                ids = [*joined.common, *rest]
                with torch.inference_mode():
                    table = lm.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
                errors.append(abs(score - float(table[range(len(joined.common) - 1, len(ids) - 1), list(rest)].sum())))
                sizes.append(len(rest))
        spread = float(torch.cat(logits).std())
        assert (np.array(errors) <= np.array(sizes) * math.sqrt(2) * tolerance(spread, ALL_ROUNDINGS)).all()

    def test_vectors_are_near_the_float32_ones(self):
        expected, found = (encoder_in(dtype).encode(TEXTS[:24]) for dtype in (torch.float32, torch.bfloat16))
        np.testing.assert_allclose(found, expected, atol=tolerance(float(expected.std()), ALL_ROUNDINGS))
        assert found.dtype == np.float64
        assert not np.array_equal(found, expected)


@pytest.fixture
def folder(tmp_path):
    sentence_model().save_pretrained(str(tmp_path / "encoder"))
    load.cache_clear()
    yield str(tmp_path / "encoder")
    load.cache_clear()


class TestOtherMachines:
    @pytest.mark.parametrize("there", ["native", "absent"])
    @pytest.mark.parametrize("dtype", ["auto", "fast", "bfloat16"])
    def test_a_kept_classifier_computes_as_where_it_was_kept(
        self, folder, tmp_path, bfloat16, there, dtype, monkeypatch
    ):
        clf = Classifier(load(folder, dtype=dtype), strategy=Embedding(), random_state=0).fit(TEXTS[:24], LABELS[:24])
        own = own_dtype(clf.model_.model)
        assert (own == torch.bfloat16) == (dtype == "bfloat16" or (dtype == "fast" and bfloat16 == "native"))
        expected = clf.predict_proba(TEXTS[24:40])
        clf.save(tmp_path / "kept")
        load.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": there == "native"})
        again = Classifier.load(tmp_path / "kept", follow_paths=True)
        assert own_dtype(again.model_.model) == own
        np.testing.assert_array_equal(again.predict_proba(TEXTS[24:40]), expected)
