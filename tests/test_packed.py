"""The packed engine against the model's own forward pass, over the architectures, and where it can't serve."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import transformers as t

from fewshot import FewshotWarning
from fewshot.models.base import Query, Turn
from fewshot.models.causal import CausalLM
from fewshot.models.engine.packed import PackedForward, self_check
from fewshot.models.engine.split import Split
from fewshot.models.engine.trie import build_trie, make_plan
from tests.conftest import pair, tokenizer

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SMALL |= {"max_position_embeddings": 256}
LESS = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
ALTERNATE = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 12}
ARCHITECTURES = {
    "GPT-2": (t.GPT2LMHeadModel, lambda v: t.GPT2Config(vocab_size=v, n_embd=32, n_layer=2, n_head=4, n_positions=256)),
    "Llama": (t.LlamaForCausalLM, lambda v: t.LlamaConfig(vocab_size=v, **LESS)),
    "GPT-NeoX": (t.GPTNeoXForCausalLM, lambda v: t.GPTNeoXConfig(vocab_size=v, **SMALL)),
    "OPT": (
        t.OPTForCausalLM,
        lambda v: t.OPTConfig(
            vocab_size=v,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=64,
            max_position_embeddings=256,
            word_embed_proj_dim=32,
        ),
    ),
    "Qwen2": (t.Qwen2ForCausalLM, lambda v: t.Qwen2Config(vocab_size=v, **SMALL, num_key_value_heads=2)),
    "Qwen2, sliding": (
        t.Qwen2ForCausalLM,
        lambda v: t.Qwen2Config(vocab_size=v, **SMALL, num_key_value_heads=2, use_sliding_window=True, **ALTERNATE),
    ),
    "Qwen3": (t.Qwen3ForCausalLM, lambda v: t.Qwen3Config(vocab_size=v, **LESS)),
    "Mistral, sliding": (t.MistralForCausalLM, lambda v: t.MistralConfig(vocab_size=v, **LESS, sliding_window=12)),
    "Gemma 2": (t.Gemma2ForCausalLM, lambda v: t.Gemma2Config(vocab_size=v, **LESS, **ALTERNATE)),
    "Gemma 3": (t.Gemma3ForCausalLM, lambda v: t.Gemma3TextConfig(vocab_size=v, **LESS, **ALTERNATE)),
    "Phi-3": (t.Phi3ForCausalLM, lambda v: t.Phi3Config(vocab_size=v, **SMALL, pad_token_id=0)),
}
TOKENS = tokenizer("byte-level BPE")
DEMONSTRATIONS = (
    Turn("system", "Say how it was.\n\n"),
    *[Turn("user", f"Day {i} was long. It was fine.\n") for i in range(4)],
)
QUERIES = [
    Query(f"The {thing} came late. It was ", ("great", "terrible", "very good", "very bad"), ".", DEMONSTRATIONS)
    for thing in ("parcel", "invoice", "update", "parking ticket", "app")
]


@functools.cache
def model(name: str):
    made, config = ARCHITECTURES[name]
    torch.manual_seed(0)
    lm = made(config(len(TOKENS)))
    for parameter in lm.parameters():
        parameter.data.mul_(3.0 if parameter.dim() > 1 else 1.0)
    return lm.float().eval()


def brute_force(lm: CausalLM, query: Query) -> list[float]:
    (joined,) = lm._joined([query])
    values = []
    with torch.inference_mode():
        for rest in joined.rests:
            ids = [*joined.common, *rest]
            table = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            values.append(sum(float(table[i - 1, ids[i]]) for i in range(len(joined.common), len(ids))))
    return values


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("pack", [16, 512])
def test_scores_equal_brute_force_and_no_prefix_is_computed_twice(name, pack, monkeypatch):
    monkeypatch.setattr(CausalLM, "_pack_tokens", property(lambda self: pack))
    lm = CausalLM(model(name), TOKENS)
    for query, scores in zip(QUERIES, lm.loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(scores.logprobs, brute_force(lm, query), atol=1e-4)
    assert lm._packed is not None, "the architecture fell back to the plain path"
    nodes = {
        (*j.common, *rest[:-1])[: i + 1]
        for j in lm._joined(QUERIES)
        for rest in j.rests
        for i in range(len(j.common) + len(rest) - 1)
    }
    assert lm._packed.n_computed <= (1.02 if pack > 16 else 1.3) * len(nodes)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_plain_path_gives_the_same_numbers(name):
    lm = CausalLM(model(name), TOKENS)
    packed = lm.loglikelihoods(QUERIES)
    lm._packed = None
    for a, b in zip(packed, lm.loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
        assert a.mass == pytest.approx(b.mass, rel=1e-4)


def test_a_state_space_model_falls_back_and_says_so_once():
    torch.manual_seed(0)
    mamba = t.MambaForCausalLM(t.MambaConfig(vocab_size=len(TOKENS), hidden_size=32, num_hidden_layers=2, state_size=4))
    lm = CausalLM(mamba.eval(), TOKENS)
    with pytest.warns(FewshotWarning, match="can't share prefixes between prompts") as caught:
        first = lm.loglikelihoods(QUERIES)
    assert len(caught) == 1
    lm.loglikelihoods(QUERIES)  # a second warning would be an error
    for query, scores in zip(QUERIES[:2], first, strict=False):
        np.testing.assert_allclose(scores.logprobs, brute_force(lm, query), atol=1e-4)


def test_the_self_check_catches_an_engine_that_is_wrong(monkeypatch):
    packed = PackedForward(model("Mistral, sliding"))
    assert self_check(model("Mistral, sliding"), packed) is None
    packed.window = None  # as if the window had been overlooked
    assert "differ" in self_check(model("Mistral, sliding"), packed)


def test_the_path_is_kept_between_plans():
    packed = PackedForward(model("Llama"))
    shared = tuple(range(5, 45))

    def run(rows):
        trie = build_trie(rows)
        wanted = np.zeros(len(trie), dtype=bool)
        wanted[[path[-1] for path in trie.paths]] = True
        before = packed.n_computed
        out = {
            n: h
            for nodes, hidden in packed.run(make_plan(trie, wanted, budget=16))
            for n, h in zip(nodes, hidden, strict=True)
        }
        return packed.n_computed - before, [out[path[-1]] for path in trie.paths]

    first, _ = run([(*shared, 1, 2), (*shared, 3)])
    again, hidden = run([(*shared, 4), (*shared, 9, 9)])
    assert (first, again) == (43, 3)
    grown, longer = run([(*shared, *range(50, 120))])  # the buffers grow, and keep the path
    assert grown == 70
    packed.forget()
    torch.testing.assert_close(longer[0], run([(*shared, *range(50, 120))])[1][0], atol=1e-4, rtol=1e-4)
    packed.forget()
    _, fresh = run([(*shared, 4), (*shared, 9, 9)])
    for a, b in zip(hidden, fresh, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_blocks_of_logits_are_bounded(monkeypatch):
    import fewshot.models.engine.split as heads

    lm, split = model("Llama"), Split(model("Llama"))
    hidden = torch.randn(10, 32)
    whole = split.logits(hidden)
    torch.testing.assert_close(whole, lm.lm_head(hidden))
    monkeypatch.setattr(heads, "BLOCK_BYTES", 3 * 4 * len(TOKENS))
    blocks = list(split.blocks(hidden, len(TOKENS)))
    assert [len(b) for _, b in blocks] == [3, 3, 3, 1]
    torch.testing.assert_close(torch.cat([b for _, b in blocks]), whole)


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5", "nli"])
def test_running_out_of_memory_halves_the_batches_and_goes_on(name, caplog):
    from fewshot import load

    lm = load(pair(name))
    turn = (Turn("premise", "The parcel came late."),)
    queries = [Query("It was ", ("great", "terrible"), ".", turn), Query("It is ", ("good", "bad"), "!", turn)]
    expected = [scores.logprobs.tolist() for scores in lm.loglikelihoods(queries)]
    calls = []

    def tight(compute):
        def limited(budget):
            calls.append(budget)
            if budget > 100:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            return compute(budget)

        return type(lm).within_memory(lm, limited)

    lm.within_memory = tight
    np.testing.assert_allclose([s.logprobs for s in lm.loglikelihoods(queries)], expected, atol=1e-4)
    assert max(calls) > 100 >= calls[-1]
    assert "ran out of memory" in caplog.text

    def broken(budget):
        raise RuntimeError("some other failure")

    with pytest.raises(RuntimeError, match="some other failure"):
        type(lm).within_memory(lm, broken)


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Mistral, sliding", "Gemma 3", "OPT"])
def test_answers_over_a_shared_prefix_are_those_of_greedy_decoding(name, monkeypatch):
    monkeypatch.setattr(CausalLM, "_pack_tokens", property(lambda self: 24))  # several packs and several groups
    lm = CausalLM(model(name), TOKENS)
    queries = [*QUERIES, QUERIES[0], Query("Short", ("a",), "", DEMONSTRATIONS[:1]), Query("Not shared at all", ("a",))]
    found = lm.generate(queries, 6)
    with torch.inference_mode():
        for query, answer in zip(queries, found, strict=True):
            ids = TOKENS("".join(turn.text for turn in query.context) + query.prefix.rstrip(" ")).input_ids
            start = len(ids)
            while len(ids) < start + 6:
                token = int(lm.model(torch.tensor([ids])).logits[0, -1].argmax())
                if token in lm._ends:
                    break
                ids.append(token)
            assert answer == TOKENS.decode(ids[start:], skip_special_tokens=True)
    lm._packed = None
    assert lm.generate(queries, 6) == found


def test_weights_that_change_between_calls_count_at_once():
    import copy

    lm = CausalLM(copy.deepcopy(model("Llama")), TOKENS)
    before = lm.loglikelihoods(QUERIES[:2])
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.mul_(1.05)
    after = lm.loglikelihoods(QUERIES[:2])
    assert np.abs(after[0].logprobs - before[0].logprobs).max() > 1e-3
    np.testing.assert_allclose(after[0].logprobs, brute_force(lm, QUERIES[0]), atol=1e-4)
