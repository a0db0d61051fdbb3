"""Attention island by island: the cuts are those of the mask, and the numbers those of one masked call."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from fewshot.models.causal import CausalLM
from fewshot.models.engine import islands
from fewshot.models.engine.islands import IslandMask, attention_mask, find_islands
from fewshot.models.engine.split import compute_normaliser
from fewshot.models.engine.trie import build_trie, make_plan
from tests.test_packed import ARCHITECTURES, QUERIES, TOKENS, brute_force, model

CPU = torch.device("cpu")


def steps(seed: int, cached: bool = True):
    """The masks of the steps of a random trie, of texts that begin alike."""
    rng = np.random.RandomState(seed)
    lead = rng.randint(0, 9, 60 if cached else 3)
    rows = [(*lead, *rng.randint(0, 9, rng.randint(2, 12)), *rng.randint(0, 2, 4)) for _ in range(12)]
    trie = build_trie([tuple(map(int, row)) for row in rows])
    plan = make_plan(trie, np.ones(len(trie), dtype=bool), budget=48, step_cost=24)
    return [step.mask(trie) for step in plan.steps]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("least", [1, 8])
@pytest.mark.parametrize("seed", range(5))
def test_islands_see_none_of_one_another_and_are_as_small_as_may_be(seed, least, cached):
    for seen in steps(seed, cached):
        own = seen[:, seen.shape[1] - len(seen) :]
        lead, found = find_islands(own, least)
        assert all(own[:, j][j:].all() for j in range(lead))
        assert [place for start, stop in found for place in range(start, stop)] == list(range(lead, len(own)))
        allowed = np.zeros_like(own)
        allowed[:, :lead] = True
        for start, stop in found:
            allowed[start:stop, start:stop] = True
        assert not (own & ~allowed).any()
        for start, stop in found:  # an island that could be cut further is not larger than it must be
            inner = [p for p in range(start + 1, stop) if not own[p:stop, start:p].any()]
            assert all(p - start < least for p in inner)
        assert all(stop - start >= least for start, stop in found[:-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("cached", [True, False])
def test_attention_is_that_of_one_masked_call(dtype, cached, monkeypatch):
    monkeypatch.setattr(islands, "LEAST", 1)
    torch.manual_seed(0)
    # the weights are rounded to the type of the values, and so is each of two parts and their sum
    rounding = {torch.float32: 2.0**-24, torch.float64: 2.0**-53, torch.bfloat16: 2.0**-8}[dtype]
    served = 0
    for seen in steps(1, cached):
        mask = attention_mask(seen, CPU)
        n, n_keys = seen.shape
        query, (key, value) = torch.randn(1, 3, n, 8), torch.randn(2, 1, 3, n_keys, 8)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        got = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
        exact = scaled_dot_product_attention(
            query.double(), key.double(), value.double(), attn_mask=torch.from_numpy(seen)[None, None], scale=0.3
        )
        assert got.shape == query.shape
        assert got.dtype == dtype
        allowed = 4 * math.sqrt(4 + n_keys) * rounding * float(value.abs().max())
        torch.testing.assert_close(got.double(), exact, atol=allowed, rtol=0)
        served += isinstance(mask, IslandMask)
    assert served > 1


def test_to_all_else_it_is_the_plain_mask(monkeypatch):
    monkeypatch.setattr(islands, "LEAST", 1)
    seen = next(seen for seen in steps(1) if isinstance(attention_mask(seen, CPU), IslandMask))
    mask, plain = attention_mask(seen, CPU), torch.from_numpy(seen)[None, None]
    for change in (lambda m: ~m, lambda m: m[..., :-1], lambda m: torch.where(m, 0.0, -1.0), lambda m: m.float() * 2):
        assert type(change(mask)) is torch.Tensor
        assert torch.equal(change(mask), change(plain))
    n, n_keys = seen.shape
    query, key = torch.randn(1, 4, n, 8), torch.randn(1, 2, n_keys, 8)
    expected = scaled_dot_product_attention(query, key, key, attn_mask=plain, enable_gqa=True)
    assert torch.equal(scaled_dot_product_attention(query, key, key, attn_mask=mask, enable_gqa=True), expected)


def test_a_window_that_hides_a_part_of_the_path_is_one_call():
    seen = np.ones((40, 80), dtype=bool)
    seen[:, 40:] = np.eye(40)
    assert isinstance(attention_mask(seen, CPU), IslandMask)
    seen[3, 2] = False
    assert type(attention_mask(seen, CPU)) is torch.Tensor
    assert type(attention_mask(np.tri(40, dtype=bool), CPU)) is torch.Tensor  # one text


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_in_islands_equal_brute_force(name, monkeypatch):
    monkeypatch.setattr(islands, "LEAST", 1)
    attended, attend = [], IslandMask.attend
    monkeypatch.setattr(IslandMask, "attend", lambda self, *args, **kw: attended.append(1) or attend(self, *args, **kw))
    lm = CausalLM(model(name), TOKENS)
    found = lm.loglikelihoods(QUERIES)
    assert lm._packed is not None
    for query, scores in zip(QUERIES[:3], found, strict=False):
        np.testing.assert_allclose(scores.logprobs, brute_force(lm, query), atol=1e-4)
    if lm.model.config._attn_implementation == "sdpa" and lm._packed.window is None:
        assert attended


@pytest.mark.parametrize("vocabulary", [7, 1000])
def test_the_normaliser_is_that_of_all_rows_at_once(vocabulary, monkeypatch):
    torch.manual_seed(0)
    logits = torch.randn(23, vocabulary).mul_(5).requires_grad_(True)
    monkeypatch.setattr("fewshot.models.engine.split._CACHED", 3 * vocabulary)
    torch.testing.assert_close(compute_normaliser(logits), logits.logsumexp(-1), atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(compute_normaliser(logits).sum(), logits)
    torch.testing.assert_close(gradient, logits.softmax(-1), atol=1e-6, rtol=0)
    assert compute_normaliser(logits.detach().bfloat16()).dtype == torch.float32
