"""One architecture of each mechanism: scored exactly, by whatever way, or refused by `load` with the reason."""

from __future__ import annotations

import copy
from importlib.metadata import version

import numpy as np
import pytest
import torch
from packaging.version import Version

from fewshot import (
    Classifier,
    FewshotWarning,
    FineTuning,
    ModelLoadError,
    Prompting,
    Readout,
    UnsupportedError,
    adapt,
    load,
)
from fewshot.models.base import Query, Turn
from fewshot.models.engine.padding import Padding
from tests import architectures
from tests.conftest import pair

pytestmark = pytest.mark.long

# of recurrent_gemma, a later token moves earlier logits there; t5gemma does not hide padding from its decoder
OLD = pytest.mark.skipif(
    Version(version("transformers")) < Version("5.10"), reason="older versions of transformers compute it otherwise"
)

EXACT = [
    ("causal", "gpt2"),  # learned positions
    ("causal", "llama"),
    ("causal", "bloom"),  # ALiBi
    ("causal", "gemma2"),  # soft caps, local windows
    ("causal", "gpt_oss"),  # sinks
    ("causal", "mixtral"),  # a mixture of experts
    ("causal", "llama4_text"),  # chunks
    ("causal", "deepseek_v3"),  # latent attention
    ("causal", "cohere2"),  # layers without positions
    ("causal", "gpt_neo"),  # windows counted by where a key lies in the cache
    ("causal", "mamba"),  # a state space
    pytest.param("causal", "recurrent_gemma", marks=OLD),
    ("causal", "bart"),  # the decoder of an encoder-decoder
    ("masked", "bert"),
    ("masked", "deberta-v2"),
    ("masked", "longformer"),  # pads to its window by itself
    ("masked", "fnet"),  # mixes padding in
    ("masked", "convbert"),
    ("masked", "flaubert"),  # a masked model by another name
    ("masked", "modernbert"),
    ("seq2seq", "t5"),
    ("seq2seq", "switch_transformers"),
    ("seq2seq", "bart"),
    ("seq2seq", "marian"),
    ("seq2seq", "fsmt"),  # hides later tokens only where it is given what was read
    ("entailment", "bert"),
    ("entailment", "gpt2"),  # no padding token
    ("entailment", "xlnet"),  # reads the last position
    ("entailment", "bart"),
]
WAYS = {
    ("causal", "llama"): "packed",
    ("causal", "gpt_neo"): "padded rows",
    ("masked", "fnet"): "rows of equal length",
}


@pytest.mark.parametrize(("kind", "name"), EXACT)
@pytest.mark.filterwarnings("ignore::fewshot.FewshotWarning")
def test_scores_are_those_of_one_sequence_at_a_time(kind, name):
    lm = load(architectures.build(kind, name))
    assert lm.kind == kind
    assert architectures.largest_difference(lm, brief=True) < 1e-3
    assert architectures.way(lm) == WAYS.get((kind, name), architectures.way(lm))


@pytest.mark.parametrize(("kind", "name"), [("causal", "bert"), ("causal", "xlnet"), ("seq2seq", "prophetnet")])
def test_a_model_that_looks_ahead_is_refused(kind, name):
    with pytest.raises(ModelLoadError, match="looks ahead: a later token moves the logits of earlier ones"):
        load(architectures.build(kind, name))


def test_a_model_that_draws_at_random_is_refused():
    model, tokenizer = architectures.build("masked", "bert")
    model.bert.embeddings.LayerNorm.register_forward_hook(lambda layer, given, out: out + torch.rand_like(out))
    with pytest.raises(ModelLoadError, match=r"the same forward pass, repeated, gives other numbers"):
        load((model, tokenizer))
    model, tokenizer = architectures.build("masked", "reformer")  # draws only for rows longer than a chunk
    model.config.hash_seed = None
    for layer in model.modules():
        if hasattr(layer, "hash_seed"):
            layer.hash_seed = None
    lm = load((model, tokenizer))
    with pytest.raises(UnsupportedError, match="hash_seed of a Reformer"):
        architectures.largest_difference(lm)


def test_a_decoder_that_does_not_say_how_it_begins_is_refused():
    model, tokenizer = architectures.build("seq2seq", "t5")
    model.config.decoder_start_token_id = None
    model.generation_config.decoder_start_token_id = None
    with pytest.raises(ModelLoadError, match=r"set model.config.decoder_start_token_id"):
        load((model, tokenizer))


@OLD
def test_a_decoder_that_hides_its_own_start_is_refused():
    model, tokenizer = architectures.build("seq2seq", "t5gemma")
    assert load((model, tokenizer)).kind == "seq2seq"
    model.config.decoder_start_token_id = tokenizer.pad_token_id
    with pytest.raises(ModelLoadError, match=r"looks ahead.* set model.config.decoder_start_token_id"):
        load((model, tokenizer))


TEXTS = ["a fun day", "so dull", "what fun", "it rained", "quite dull and grey", "fun to see"]
MOODS = ["good", "bad", "good", "bad", "bad", "good"]


@pytest.mark.parametrize(("kind", "name"), [("causal", "gpt_neo"), ("seq2seq", "bart")])
@pytest.mark.filterwarnings("ignore::fewshot.FewshotWarning")
def test_every_strategy_serves(kind, name):
    lm = load(architectures.build(kind, name))
    source, words = "{{ text }} Mood: {{ label }}", {"bad": "bad", "good": "good"}
    before = Classifier(lm, source, words, Prompting(calibration=None)).fit(TEXTS, MOODS).predict_proba(TEXTS)
    still = FineTuning(steps=1, learning_rate=1e-12, calibration=None)
    np.testing.assert_allclose(
        Classifier(lm, source, words, still, random_state=0).fit(TEXTS, MOODS).predict_proba(TEXTS), before, atol=1e-4
    )
    true = np.array(MOODS)[:, None] == ["bad", "good"]
    for strategy in (FineTuning(steps=8, learning_rate=1e-3, calibration=None), Readout()):
        learned = Classifier(lm, source, words, strategy, random_state=0).fit(TEXTS, MOODS)
        assert np.log(learned.predict_proba(TEXTS)[true]).mean() > np.log(before[true]).mean() + 0.1


def test_a_classifier_that_needs_a_token_which_ends_a_text_is_refused():
    lm = load(architectures.build("causal", "bart"))  # its tokenizer writes none
    with pytest.raises(ModelLoadError, match="can't be used: its forward pass fails on a few tokens"):
        Classifier(lm, "{{ text }} {{ label }}", None, FineTuning("head")).fit(TEXTS, MOODS)


def test_a_model_whose_head_is_not_told_from_its_body_is_not_adapted():
    lm = load(architectures.build("masked", "longformer"))
    with pytest.raises(UnsupportedError, match=r"can't learn from unlabelled text: the head of its LongformerFor"):
        adapt(lm, TEXTS)


def test_a_model_without_positive_limit_has_that_of_its_tokenizer():
    lm = load(architectures.build("entailment", "xlnet"))
    assert lm.limit == lm.tokenizer.model_max_length


def test_a_model_that_is_being_trained_stays_so_and_its_steps_count():
    model, tokenizer = copy.deepcopy(pair("gpt2")[0]).train(), pair("gpt2")[1]
    lm = load((model, tokenizer))
    query = Query("It was ", ("great", "terrible"), ".")
    before = lm.loglikelihoods([query])[0].logprobs
    np.testing.assert_array_equal(lm.loglikelihoods([query])[0].logprobs, before)  # no dropout
    assert all(module.training for module in model.modules())
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight.mul_(1.5)
    assert np.abs(lm.loglikelihoods([query])[0].logprobs - before).max() > 1e-3


def test_answers_of_a_model_that_counts_keys_in_the_cache_are_its_own():
    lm = load(architectures.build("causal", "gpt_neo"))
    shown = (Turn("user", "The parcel came late. " * 6),)
    asked = [Query(f"Case {i}: {'the app ' * (i % 3)}was", ("a",), "", shown) for i in range(24)]
    with pytest.warns(FewshotWarning, match="row by row, with equal results"):
        found = lm.generate(asked, 4)
    assert found == [lm.generate([query], 4)[0] for query in asked]


def test_padding_goes_as_far_as_it_must():
    calls = []

    def run(padding, together):
        def compute(batch):
            calls.append(batch)
            return [torch.tensor([float(together(batch, i))]) for i in batch]

        found = {}
        padding.run(
            [3, 5, 5, 2], 100, compute, lambda batch, values: found.update(zip(batch, values, strict=True)), abs
        )
        return [float(found[i]) for i in range(4)]

    def by_width(batch, i):  # a row that depends on the widest beside it
        return max([3, 5, 5, 2][j] for j in batch)

    def by_number(batch, i):  # or on how many there are
        return len(batch)

    for together, way, expected in (
        (lambda batch, i: i, "padded", [0, 1, 2, 3]),
        (by_width, "equal lengths", [3, 5, 5, 2]),
        (by_number, "one by one", [1, 1, 1, 1]),
    ):
        padding = Padding(torch.nn.Linear(1, 1))
        assert run(padding, together) == expected
        assert padding.way == way
        calls.clear()
        assert run(padding, together) == expected  # and what is known is not asked again
        assert sum(map(len, calls)) == 4
