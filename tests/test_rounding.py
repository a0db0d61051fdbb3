"""Checks in 16 bits: what rounding explains is accepted, and an engine that is wrong by little more is not."""

from __future__ import annotations

import copy
import threading
from functools import partial

import numpy as np
import pytest
import torch

from fewshot import load
from fewshot.models.base import Query
from fewshot.models.causal import CausalLM
from fewshot.models.dtypes import cast, settle_dtype
from fewshot.models.engine.packed import PackedForward, self_check
from fewshot.models.engine.padding import Padding
from fewshot.models.engine.proof import Proof
from fewshot.models.engine.rounding import Rounding
from fewshot.models.engine.trie import Step
from tests.test_packed import ARCHITECTURES, QUERIES, TOKENS, model

HALVES = [torch.bfloat16, torch.float16]


def in_half(name: str, dtype: torch.dtype):
    return cast(copy.deepcopy(model(name)), dtype)


def siblings_seen(mask):
    mask[:, mask.shape[1] - len(mask) :] |= np.tri(len(mask), dtype=bool)


def beginning_hidden(mask):
    mask[1:, 0] = False
    mask[:, 0] &= mask.shape[1] == len(mask)


MASKS = {"siblings seen": siblings_seen, "beginning hidden": beginning_hidden}


def plant_mask(monkeypatch, fault):
    right = Step.mask

    def wrong(self, trie, window):
        mask = right(self, trie, window).copy()
        MASKS[fault](mask)
        return mask

    monkeypatch.setattr(Step, "mask", wrong)


def plant_positions(monkeypatch):
    right = PackedForward.forward
    monkeypatch.setattr(
        PackedForward,
        "forward",
        lambda self, tokens, depth, start, seen: right(
            self, tokens, np.arange(start, start + len(tokens)), start, seen
        ),
    )


def plant_stale_cache(monkeypatch):
    right = PackedForward.forward

    def wrong(self, tokens, depth, start, seen):
        found = right(self, tokens, depth, start, seen)
        for layer in self._cache.layers:
            layer.buffers[0][:, :, : start // 2] = 0
        return found

    monkeypatch.setattr(PackedForward, "forward", wrong)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ARCHITECTURES)
class TestTheSelfCheck:
    def test_rounding_is_no_fault(self, name, dtype):
        lm = in_half(name, dtype)
        assert self_check(lm, PackedForward(lm)) is None

    @pytest.mark.parametrize("fault", MASKS)
    def test_a_wrong_mask_is_found(self, name, dtype, fault, monkeypatch):
        lm = in_half(name, dtype)
        plant_mask(monkeypatch, fault)
        assert "differ by" in self_check(lm, PackedForward(lm))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["GPT-2", "Llama", "OPT", "Qwen3", "Gemma 3"])
def test_wrong_positions_are_found(name, dtype, monkeypatch):
    lm = in_half(name, dtype)
    plant_positions(monkeypatch)
    assert "differ by" in self_check(lm, PackedForward(lm))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["Llama", "Qwen3", "Gemma 3"])
def test_a_wrong_cache_is_found(name, dtype, monkeypatch):
    lm = in_half(name, dtype)
    plant_stale_cache(monkeypatch)
    assert "differ by" in self_check(lm, PackedForward(lm))


class TestARealModelInBfloat16:
    """Its rounding moves log-probabilities by more than 0.3 nats."""

    @pytest.fixture(scope="class")
    def lm(self, smol):
        return load("embedded:causal", dtype="bfloat16")

    def test_it_shares_prefixes(self, lm):
        scores = lm.loglikelihoods([Query("The capital of France is ", ("Paris", "Rome"))])[0].logprobs
        assert lm._packed is not None  # and a warning would be an error
        assert scores[0] > scores[1]

    @pytest.mark.parametrize("fault", MASKS)
    def test_a_wrong_mask_is_found(self, lm, fault, monkeypatch):
        plant_mask(monkeypatch, fault)
        assert "differ by" in self_check(lm.model, PackedForward(lm.model))

    def test_wrong_positions_are_found(self, lm, monkeypatch):
        plant_positions(monkeypatch)
        assert "differ by" in self_check(lm.model, PackedForward(lm.model))

    def test_a_wrong_cache_is_found(self, lm, monkeypatch):
        plant_stale_cache(monkeypatch)
        assert "differ by" in self_check(lm.model, PackedForward(lm.model))

    def test_its_angles_are_not_rounded(self, lm):
        assert lm.model.dtype == torch.bfloat16
        assert {b.dtype for name, b in lm.model.named_buffers() if name.endswith("inv_freq")} == {torch.float32}


@pytest.mark.parametrize("dtype", HALVES)
class TestRealRows:
    def test_a_wrong_row_is_found(self, dtype):
        lm = in_half("Llama", dtype)
        proof, split = Proof(lm, PackedForward(lm).split), PackedForward(lm).split
        row = tuple(range(5, 60))
        with torch.inference_mode():
            states = split.states([0], [len(row) - 1], input_ids=torch.tensor([row]))
            assert proof.error([row], [states]) is None
            assert "differ by" in proof.error([(*row[:30], 7, *row[31:])], [states])

    def test_a_wrong_answer_is_found(self, dtype):
        lm = in_half("Llama", dtype)
        proof = Proof(lm, PackedForward(lm).split)
        prompt = tuple(range(5, 60))
        with torch.inference_mode():
            order = lm(torch.tensor([prompt])).logits[0, -1].argsort(descending=True).tolist()
            assert proof.answer_error([prompt], [[order[0]]], 1) is None
            assert "another" in proof.answer_error([prompt], [[order[100]]], 2)

    def test_a_row_that_notices_its_neighbours_is_found(self, dtype):
        lm = in_half("Llama", dtype)
        ids = [list(range(5, 25)), list(range(5, 15))]

        def compute(leak, batch):
            width = max(len(ids[i]) for i in batch)
            rows = torch.tensor([[*ids[i], *[3] * (width - len(ids[i]))] for i in batch])
            at = [width - 1 if leak else len(ids[i]) - 1 for i in batch]
            return list(lm(rows).logits[range(len(batch)), at])

        for leak, way in ((False, "padded"), (True, "equal lengths")):
            padding = Padding(lm)
            with torch.inference_mode():
                padding.run(
                    [20, 10],
                    100,
                    partial(compute, leak),
                    lambda batch, found: None,
                    lambda logits: logits.float().log_softmax(-1),
                )
            assert padding.way == way


class TestMeasuring:
    def test_the_model_is_left_as_it_was_and_other_threads_do_not_notice(self):
        lm = in_half("Llama", torch.bfloat16)
        ids = torch.tensor([range(5, 30)])

        def compute():
            with torch.inference_mode():
                return lm(ids).logits[0, -1].float().log_softmax(-1)

        expected, elsewhere = compute(), []

        def again():
            thread = threading.Thread(target=lambda: elsewhere.append(compute()))
            thread.start()
            thread.join()
            return compute()

        assert Rounding(lm).bound(expected, again) > 0
        assert len(elsewhere) > 1
        assert all(torch.equal(one, expected) for one in elsewhere)
        assert torch.equal(compute(), expected)

    def test_float32_is_judged_by_a_fixed_tolerance(self):
        rounding = Rounding(model("Llama"))
        assert rounding.same(torch.zeros(3), torch.full((3,), 4e-4), lambda: pytest.fail("it was computed again"))
        assert not rounding.same(torch.zeros(3), torch.full((3,), 6e-4), lambda: pytest.fail("it was computed again"))

    def test_one_number_that_is_none_is_no_rounding(self):
        lm = in_half("Llama", torch.bfloat16)
        expected = torch.tensor([0.0, -torch.inf, torch.nan])
        rounding = Rounding(lm)
        noise = iter([1e-3, 2e-3, -1e-3, 3e-3] * 3)

        def again():
            return expected + next(noise)

        assert rounding.same(expected.clone(), expected, again)
        assert not rounding.same(torch.tensor([0.0, 0.0, torch.nan]), expected, again)
        assert not rounding.same(torch.tensor([torch.nan, -torch.inf, torch.nan]), expected, again)


def test_frequencies_of_positions_stay_in_float32_whatever_type_is_asked_for():
    lm = copy.deepcopy(model("Llama"))
    own = {name: buffer.clone() for name, buffer in lm.named_buffers()}
    assert any(name.endswith("inv_freq") for name in own)
    settle_dtype(lm, "bfloat16", torch.device("cpu"))
    assert next(lm.parameters()).dtype == torch.bfloat16
    assert all(torch.equal(buffer, own[name]) for name, buffer in lm.named_buffers())


@pytest.mark.parametrize("dtype", HALVES)
def test_packed_scores_in_16_bits_are_no_worse_than_those_row_by_row(dtype):
    exact = CausalLM(cast(copy.deepcopy(in_half("Llama", dtype)), torch.float32), TOKENS).loglikelihoods(QUERIES)
    lm = CausalLM(in_half("Llama", dtype), TOKENS)
    packed = lm.loglikelihoods(QUERIES)
    assert lm._packed is not None
    lm._packed = None
    rows = lm.loglikelihoods(QUERIES)

    def error(found):
        return np.abs([a.logprobs - b.logprobs for a, b in zip(found, exact, strict=True)]).mean()

    assert error(packed) < 2 * error(rows)
