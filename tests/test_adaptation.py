"""adapt(): what it learns, that it leaves the given model alone, and that a killed run goes on to the same weights."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional

from fewshot import FakeLM, InputError, UnsupportedError, adapt, load
from fewshot.datasets import load_tickets
from fewshot.training import adapt as module
from fewshot.training.adapt import pretraining_loss
from fewshot.training.blocks import corrupt, hold_out, to_blocks
from tests.conftest import language_model, pair

pytestmark = pytest.mark.long

TEXTS, _ = load_tickets()
SMALL = {"tokens_per_step": 256, "block_size": 32, "held_out": 0.1, "learning_rate": 3e-3}


def weights(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


class TestBlocks:
    @pytest.mark.parametrize(("n", "share", "size"), [(2, 0.01, 1), (2, 0.99, 1), (100, 0.1, 10), (10**6, 0.5, 1000)])
    def test_some_texts_are_held_out_and_some_are_not(self, n, share, size):
        held, seen = hold_out(n, share, 0)
        assert len(held) == size
        assert sorted([*held, *seen]) == list(range(n))

    @pytest.mark.parametrize("size", [8, 9, 13, 40, 400])
    def test_no_token_is_lost_and_no_block_is_padded(self, size):
        streams = [list(range(10 * i, 10 * i + n)) for i, n in enumerate([3, 0, 9, 5, 7])]
        blocks = to_blocks(streams, [101], [102], size)
        flat = [token for stream in streams for token in (*stream, 102)]
        assert blocks.shape[1] == min(size, 1 + len(flat))
        assert (blocks[:, 0] == 101).all()
        width = blocks.shape[1] - 1
        last = len(flat) - width
        starts = [min(start, last) for start in range(0, len(flat), width)]
        assert blocks[:, 1:].tolist() == [flat[start : start + width] for start in starts]

    def test_a_model_without_special_tokens_gets_a_bare_stream(self):
        assert to_blocks([[1, 2], [3, 4, 5, 6, 7, 8]], [], [], 8).tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]


class TestCorrupt:
    blocks = np.tile(np.array([0, *range(5, 45), 1]), (500, 1))
    ordinary = np.arange(5, 100)

    def test_the_shares_are_berts(self):
        inputs, chosen = corrupt(self.blocks, np.random.default_rng(0), 0.15, self.ordinary, 2)
        assert not chosen[:, [0, -1]].any()
        assert chosen[:, 1:-1].mean() == pytest.approx(0.15, abs=0.01)
        masked, same = (inputs == 2) & chosen, (inputs == self.blocks) & chosen
        assert masked.sum() / chosen.sum() == pytest.approx(0.8, abs=0.02)
        assert same.sum() / chosen.sum() == pytest.approx(0.1, abs=0.02)
        assert (inputs[~chosen] == self.blocks[~chosen]).all()
        swapped = inputs[chosen & ~masked & ~same]
        assert np.isin(swapped, self.ordinary).all()
        assert len(np.unique(swapped)) > 80

    def test_something_is_always_asked(self):
        inputs, chosen = corrupt(self.blocks[:1, :4], np.random.default_rng(0), 1e-9, self.ordinary, 2)
        assert chosen.sum() == 1
        assert not chosen[0, 0]
        assert inputs.shape == (1, 4)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
class TestAnyModel:
    def test_it_learns_and_leaves_the_given_model_alone(self, name):
        lm = language_model(name)
        before = weights(lm)
        adapted = adapt(lm, TEXTS, epochs=2, **SMALL)
        first, last = adapted.history[0], adapted.history[-1]
        assert first.step == 0
        assert math.isnan(first.loss)
        assert last.held_out_loss < first.held_out_loss - 0.5
        assert equal(before, weights(lm))
        assert type(adapted.model) is type(lm)
        assert not any(p.requires_grad and p.grad is not None for p in lm.model.parameters())
        assert adapted.model.fingerprint != lm.fingerprint
        assert adapted.model.model.config._attn_implementation == lm.model.config._attn_implementation

    def test_twice_is_the_same_and_another_seed_is_not(self, name):
        torch.manual_seed(123)
        state = torch.get_rng_state()
        first, second, other = (
            adapt(language_model(name), TEXTS[:40], random_state=seed, **SMALL) for seed in (0, 0, 1)
        )
        assert equal(weights(first.model), weights(second.model))
        assert str(first.history) == str(second.history)
        assert not equal(weights(first.model), weights(other.model))
        assert torch.equal(torch.get_rng_state(), state)

    def test_the_held_out_loss_is_the_brute_force_one(self, name):
        lm = language_model(name)
        run = module._Run(lm, TEXTS[:30], {**DEFAULTS, **SMALL, "held_out": 0.3})
        inputs, chosen = run.objective.asked(run.held, np.random.default_rng([0, 3]), 0.15)
        total, asked = 0.0, 0
        with torch.no_grad():
            for row, block, wanted in zip(inputs, run.held, chosen, strict=True):
                logits = lm.model(input_ids=torch.tensor(row[None])).logits[0].float()
                for i in np.flatnonzero(wanted):
                    at = i if name == "bert" else i - 1
                    total -= float(functional.log_softmax(logits[at], -1)[block[i]])
                    asked += 1
        assert run.held_out_loss() == pytest.approx(total / asked, abs=1e-4)
        held, _ = hold_out(30, 0.3, 0)
        found = pretraining_loss(lm, [TEXTS[i] for i in held], block_size=32)
        assert found == pytest.approx(total / asked, abs=1e-4)

    def test_parts_of_a_step_add_up_to_the_step(self, name):
        run = module._Run(language_model(name), TEXTS[:60], {**DEFAULTS, **SMALL})
        found = []
        for budget in (10**6, 4 * 64):
            loss = run.gradients(0, budget)
            found.append((loss, [p.grad.clone() for p in run.model.parameters() if p.grad is not None]))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
        for a, b in zip(found[0][1], found[1][1], strict=True):
            assert torch.allclose(a, b, atol=1e-5)

    def test_a_sampled_normaliser_over_all_words_is_the_exact_one(self, name):
        lm = language_model(name)
        losses = []
        for words in (None, 10**6):
            run = module._Run(lm, TEXTS[:60], {**DEFAULTS, **SMALL, "sampled_words": words})
            losses.append(run.gradients(0, 10**6))
            assert "forward" not in vars(run.model.get_output_embeddings())
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)

    def test_a_sampled_normaliser_is_near_the_exact_one(self, name):
        """On the mean over draws: tokenizers are trained anew in every process, so a single draw is luck."""
        lm = language_model(name)

        def loss(words, seed):
            settings = {**DEFAULTS, **SMALL, "sampled_words": words, "random_state": seed}
            return module._Run(lm, TEXTS[:60], settings).gradients(0, 10**6)

        errors = [loss(100, seed) - loss(None, seed) for seed in range(16)]
        assert np.mean(errors) == pytest.approx(0, abs=0.02)
        assert np.std(errors) < 0.06


DEFAULTS = {
    "epochs": 1.0,
    "learning_rate": 1e-4,
    "tokens_per_step": 8192,
    "block_size": 128,
    "mask_rate": 0.3,
    "sampled_words": None,
    "held_out": 0.01,
    "save_steps": 500,
    "random_state": 0,
}


class TestFolder:
    @pytest.mark.parametrize("name", ["bert", "gpt2"])
    def test_the_result_is_an_ordinary_model_folder(self, tmp_path, name):
        adapted = adapt(language_model(name), TEXTS[:40], folder=tmp_path / "out", **SMALL)
        assert sorted(p.name for p in (tmp_path / "out").glob("*.pt*")) == []
        again = load(tmp_path / "out")
        assert again.fingerprint == adapted.model.fingerprint
        assert pickle.loads(pickle.dumps(adapted.model)).fingerprint == again.fingerprint

    @pytest.mark.parametrize("killed_at", [2, 3, 5])
    def test_a_killed_run_goes_on_to_the_same_weights(self, tmp_path, monkeypatch, killed_at):
        lm = language_model("bert")
        options = {**SMALL, "save_steps": 2, "epochs": 1.5}
        whole = adapt(lm, TEXTS[:80], **options)
        gradients, taken = module._Run.gradients, []

        def fragile(self, step, budget):
            if len(taken) == killed_at:
                raise KeyboardInterrupt
            taken.append(step)
            return gradients(self, step, budget)

        monkeypatch.setattr(module._Run, "gradients", fragile)
        with pytest.raises(KeyboardInterrupt):
            adapt(lm, TEXTS[:80], folder=tmp_path / "run", **options)
        monkeypatch.undo()
        assert [p.name for p in (tmp_path / "run").iterdir()] == ["checkpoint.pt"]
        resumed = adapt(lm, TEXTS[:80], folder=tmp_path / "run", **options)
        assert equal(weights(whole.model), weights(resumed.model))
        assert [m.step for m in resumed.history] == [m.step for m in whole.history]

    def test_a_checkpoint_of_another_run_is_refused(self, tmp_path, monkeypatch):
        lm = language_model("bert")
        monkeypatch.setattr(module.RunFolder, "finish", lambda *_: None)  # type: ignore[attr-defined]  # as if killed before the end
        adapt(lm, TEXTS[:20], folder=tmp_path, **SMALL)
        with pytest.raises(InputError, match="of another run: mask_rate, texts differ"):
            adapt(lm, TEXTS[:21], folder=tmp_path, mask_rate=0.2, **SMALL)

    def test_a_folder_with_a_model_is_refused(self, tmp_path):
        adapt(language_model("bert"), TEXTS[:20], folder=tmp_path, **SMALL)
        with pytest.raises(InputError, match=r"already holds 'config\.json', which is not of a run"):
            adapt(language_model("bert"), TEXTS[:20], folder=tmp_path, **SMALL)
        file = tmp_path / "config.json"
        with pytest.raises(InputError, match="is not a folder, and is left as it is"):
            adapt(language_model("bert"), TEXTS[:20], folder=file, **SMALL)


class TestBadInput:
    def test_only_masked_and_causal_models(self):
        with pytest.raises(UnsupportedError, match="Only masked and causal"):
            adapt(language_model("t5"), TEXTS[:20])
        with pytest.raises(UnsupportedError, match="Only masked and causal"):
            adapt(FakeLM(lambda query: [0.0]), TEXTS[:20])

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("mask_rate", 0.0),
            ("mask_rate", 1.0),
            ("held_out", 1),
            ("epochs", 0),
            ("learning_rate", -1),
            ("tokens_per_step", 0),
            ("save_steps", 0),
            ("block_size", 2),
            ("sampled_words", 0),
        ],
    )
    def test_numbers_out_of_range(self, name, value):
        with pytest.raises(InputError, match=f"{name} must be .* Got {value}"):
            adapt(pair("bert"), TEXTS[:20], **{name: value})

    @pytest.mark.parametrize("texts", [[], ["one"]])
    def test_too_few_texts(self, texts):
        with pytest.raises(InputError, match="at least"):
            adapt(pair("bert"), texts)

    def test_two_texts_are_enough(self):
        adapted = adapt(pair("bert"), ["one text", "another text"])
        assert len(adapted.history) == 2

    def test_what_is_no_text(self):
        with pytest.raises(InputError, match="1"):
            adapt(pair("bert"), ["a text", None])
