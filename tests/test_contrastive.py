"""Contrastive tuning: the loss over all pairs, the kept lower layers, and that only a copy is tuned."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fewshot import Classifier, Contrastive, Embedding, InputError, UnsupportedError, load
from fewshot.datasets import load_tickets
from fewshot.training import descent
from fewshot.training import pairs as module
from fewshot.training.pairs import pair_loss
from fewshot.training.upper_layers import Tail
from tests.conftest import sentence_model
from tests.contract import HashEncoder

pytestmark = pytest.mark.long

TEXTS, LABELS = load_tickets()
CLASSES = np.unique(LABELS, return_inverse=True)[1].astype(np.int64)
NAMES = sorted(set(LABELS))


@pytest.fixture
def encoder():
    return load(sentence_model())


def brute_force(vectors: torch.Tensor, classes: np.ndarray, weights: np.ndarray) -> float:
    cosines = (vectors @ vectors.T).double().numpy()
    same = classes[:, None] == classes[None, :]
    other = ~np.eye(len(classes), dtype=bool)
    errors, shares = (cosines - same) ** 2, np.outer(weights, weights)
    return sum(np.average(errors[pairs], weights=shares[pairs]) for pairs in (same & other, ~same) if pairs.any())


def all_vectors(tail: Tail, batches) -> torch.Tensor:
    with torch.no_grad():
        parts = torch.cat([tail.vectors(batch) for batch in batches])
    return parts[np.argsort(np.concatenate([batch.rows for batch in batches]))]


class TestPairLoss:
    @pytest.mark.parametrize("counts", [[3, 2], [1, 1, 1], [5], [1, 4, 7], [40, 60]])
    def test_it_is_the_mean_over_pairs(self, counts):
        torch.manual_seed(0)
        classes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
        vectors = torch.nn.functional.normalize(torch.randn(len(classes), 16, dtype=torch.float64), dim=-1)
        ones, weights = np.ones(len(classes)), np.random.default_rng(1).uniform(0.2, 4, len(classes))
        found = pair_loss(vectors, torch.from_numpy(classes))
        assert float(found) == pytest.approx(brute_force(vectors, classes, ones), rel=1e-9)
        found = pair_loss(vectors, torch.from_numpy(classes), torch.from_numpy(weights))
        assert float(found) == pytest.approx(brute_force(vectors, classes, weights), rel=1e-9)

    def test_a_weight_is_a_number_of_copies(self):
        torch.manual_seed(0)
        vectors = torch.nn.functional.normalize(torch.randn(3, 8, dtype=torch.float64), dim=-1)
        weighted = pair_loss(vectors, torch.arange(3), torch.tensor([2.0, 1, 1], dtype=torch.float64))
        copied = pair_loss(vectors[[0, 0, 1, 2]], torch.tensor([0, 0, 1, 2]))
        assert float(weighted) == pytest.approx(float(copied))

    def test_it_is_zero_where_classes_are_orthogonal_points(self):
        classes = torch.tensor([0, 1, 1, 2, 0])
        assert float(pair_loss(torch.eye(4)[classes], classes)) == pytest.approx(0, abs=1e-6)


class TestTail:
    @pytest.mark.parametrize("layers", [1, 2, 5])
    def test_the_kept_layers_say_what_the_model_says(self, encoder, layers):
        tail = Tail(encoder, layers)
        batches = tail.prepare(TEXTS[:40], budget=200)
        assert len(batches) > 2
        assert tail.frozen == max(0, 2 - layers)
        plain = torch.from_numpy(encoder.encode(TEXTS[:40])).float()
        expected = torch.nn.functional.normalize(plain, dim=-1)
        assert torch.allclose(all_vectors(tail, batches), expected, atol=1e-5)

    def test_only_what_lies_above_gets_a_gradient(self, encoder):
        tail = Tail(encoder, 1)
        (batch,) = tail.prepare(TEXTS[:4], budget=10_000)
        tail.vectors(batch).sum().backward()
        moved = {name for name, p in tail.model.named_parameters() if p.grad is not None}
        assert moved
        assert all(".layer.1." in name for name in moved)
        whole = Tail(encoder, 9)
        (batch,) = whole.prepare(TEXTS[:4], budget=10_000)
        whole.vectors(batch).sum().backward()
        moved = {name for name, p in whole.model.named_parameters() if p.grad is not None}
        assert {name.split(".layer.")[1][0] for name in moved if ".layer." in name} == {"0", "1"}
        assert not any("word_embeddings" in name for name in moved)

    @pytest.mark.parametrize("n_layers", [1, 2])
    def test_what_is_not_trained_is_shared_with_the_given_encoder_and_nothing_else(self, encoder, n_layers):
        tail = Tail(encoder, n_layers)
        given = dict(encoder.model.named_parameters())
        trained = {id(parameter) for parameter in tail.parameters()}
        for name, parameter in tail.model.named_parameters():
            shared = parameter.data_ptr() == given[name].data_ptr()
            assert shared == (id(parameter) not in trained), name
            assert parameter is not given[name]
            assert given[name].requires_grad  # as it was
        assert 0 < len(trained) < len(given)
        half = copy.deepcopy(tail.finished().model).to(torch.bfloat16)
        assert next(half.parameters()).dtype == torch.bfloat16
        assert next(encoder.model.parameters()).dtype == torch.float32

    def test_an_encoder_whose_layers_can_not_be_replayed_is_run_whole(self, encoder, monkeypatch):
        monkeypatch.setattr(
            "fewshot.training.upper_layers._Replay.forward", lambda self, *args, **kwargs: self._said + 1
        )
        tail = Tail(encoder, 1)
        batches = tail.prepare(TEXTS[:10], budget=200)
        assert tail.frozen == 0
        plain = torch.from_numpy(encoder.encode(TEXTS[:10])).float()
        assert torch.allclose(all_vectors(tail, batches), torch.nn.functional.normalize(plain, dim=-1), atol=1e-5)

    def test_an_encoder_without_a_list_of_layers(self, encoder, monkeypatch):
        monkeypatch.setattr(encoder.model[0].model.config, "num_hidden_layers", 77)
        tail = Tail(encoder, 1)
        assert tail.frozen == 0
        assert len(tail.prepare(TEXTS[:3], budget=10_000)) == 1


class TestTuning:
    def test_texts_of_a_class_come_together(self, encoder):
        before = pair_loss_of(encoder)
        tuned = Contrastive(steps=60, learning_rate=3e-3).tune(encoder, TEXTS[:12], CLASSES[:12])
        assert pair_loss_of(tuned) < 0.5 * before

    def test_the_given_encoder_stays_as_it_is(self, encoder):
        fingerprint = encoder.fingerprint
        tuned = Contrastive(steps=2).tune(encoder, TEXTS[:20], CLASSES[:20])
        assert encoder.fingerprint == fingerprint != tuned.fingerprint
        assert all(p.requires_grad for p in tuned.model.parameters())

    def test_frozen_layers_are_those_of_the_given_encoder(self, encoder):
        tuned = Contrastive(steps=2, layers=1).tune(encoder, TEXTS[:20], CLASSES[:20])
        for (name, a), b in zip(encoder.model.named_parameters(), tuned.model.parameters(), strict=True):
            assert torch.equal(a, b) == (".layer.1." not in name), name

    @pytest.mark.parametrize("batch_size", [512, 24])
    def test_twice_is_the_same(self, encoder, batch_size):
        make = Contrastive(steps=3, batch_size=batch_size)
        first, second = (make.tune(encoder, TEXTS[:60], CLASSES[:60], random_state=1) for _ in range(2))
        assert first.fingerprint == second.fingerprint

    def test_parts_add_up_to_the_whole(self, encoder, monkeypatch):
        found = []
        for kept in (10**6, 1):
            monkeypatch.setattr(module, "_KEPT", kept)
            tail = Tail(encoder, 2)
            loss = module._gradients(tail, *module._prepared(tail, TEXTS[:40]), CLASSES[:40], np.ones(40))
            found.append((loss, [p.grad for p in tail.parameters() if p.grad is not None]))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
        for a, b in zip(found[0][1], found[1][1], strict=True):
            assert torch.allclose(a, b, atol=1e-5)

    def test_a_repeated_text_is_encoded_once_and_counts_as_often_as_it_stands(self, encoder):
        texts, classes = [*TEXTS[:20], *TEXTS[:5]], np.concatenate([CLASSES[:20], CLASSES[5:10]])
        tail = Tail(encoder, 2)
        batches, places = module._prepared(tail, texts)
        assert sum(len(batch.rows) for batch in batches) == 20
        loss = module._gradients(tail, batches, places, classes, np.ones(25))
        plain = Tail(encoder, 2)
        each = [plain.prepare([text], 10_000)[0] for text in texts]
        assert loss == pytest.approx(module._gradients(plain, each, np.arange(25), classes, np.ones(25)), rel=1e-5)
        for a, b in zip(tail.parameters(), plain.parameters(), strict=True):
            assert (a.grad is None and b.grad is None) or torch.allclose(a.grad, b.grad, atol=1e-5)

    def test_anchors_draw_their_class(self, encoder):
        texts, classes = TEXTS[:12], CLASSES[:12]
        prompts, owners = ["This text is about billing."], classes[:1]
        tuned = Contrastive(steps=60, learning_rate=3e-3).tune(encoder, texts, classes, prompts, owners)
        vectors = tuned.encode([*prompts, *texts])
        near = (vectors[1:] @ vectors[0]) / np.linalg.norm(vectors[1:], axis=1) / np.linalg.norm(vectors[0])
        assert near[classes == owners[0]].mean() > near[classes != owners[0]].mean() + 0.3
        plain = Contrastive(steps=2, anchors=0).tune(encoder, texts, classes, prompts, owners)
        assert plain.fingerprint == Contrastive(steps=2).tune(encoder, texts, classes).fingerprint

    def test_a_step_of_a_large_set_has_pairs_of_every_class(self):
        classes = np.repeat(np.arange(4), [1000, 100, 2, 1])
        drawn = module._drawn(classes, np.ones(len(classes)), 110, np.random.RandomState(0))
        assert len(set(drawn)) == len(drawn)
        assert np.bincount(classes[drawn]).tolist() == [99, 9, 2, 1]

    def test_rows_are_drawn_by_their_weight(self):
        classes, weights = np.repeat([0, 1], 20), np.tile([0.0, 1.0, 9.0, 0.0], 10)
        rng = np.random.RandomState(0)
        drawn = np.concatenate([module._drawn(classes, weights, 8, rng) for _ in range(200)])
        counts = np.bincount(drawn, minlength=40).reshape(10, 4).sum(axis=0)
        assert counts[[0, 3]].tolist() == [0, 0]
        assert counts.sum() == 8 * 200
        assert 3 < counts[2] / counts[1] < 9  # less than nine times, since a row is drawn once a step

    @pytest.mark.parametrize("batch_size", [512, 16])
    def test_what_weighs_nothing_might_as_well_be_left_out(self, encoder, batch_size):
        make = Contrastive(steps=3, batch_size=batch_size)
        weights = np.repeat([1.0, 0.0], [40, 20])
        some = make.tune(encoder, TEXTS[:60], CLASSES[:60], sample_weight=weights, random_state=0)
        less = make.tune(encoder, TEXTS[:40], CLASSES[:40], random_state=0)
        if batch_size == 512:
            np.testing.assert_allclose(some.encode(TEXTS), less.encode(TEXTS), atol=1e-4)
        other = np.concatenate([CLASSES[:40], CLASSES[:20]])
        again = make.tune(encoder, TEXTS[:60], other, sample_weight=weights, random_state=0)
        np.testing.assert_allclose(some.encode(TEXTS), again.encode(TEXTS), atol=1e-4)

    def test_a_soft_label_is_the_text_once_a_class(self, encoder):
        """The loss is the expected one over the classes that the texts may have, pair by pair."""
        generator = torch.Generator().manual_seed(0)
        vectors = torch.nn.functional.normalize(torch.randn(5, 4, generator=generator, dtype=torch.float64), dim=-1)
        soft = torch.rand(5, 3, generator=generator, dtype=torch.float64)
        soft = soft / soft.sum(dim=1, keepdim=True)
        found = pair_loss(vectors.repeat_interleave(3, 0), torch.arange(3).repeat(5), soft.flatten())
        cosines, same = vectors @ vectors.T, soft @ soft.T
        within, n_within = (same * (cosines - 1) ** 2).sum(), same.sum() - soft.square().sum()
        between, n_between = ((1 - same) * cosines**2).sum(), (1 - same).sum()
        assert float(found) == pytest.approx(float(within / n_within + between / n_between))

    def test_the_tuned_encoder_is_saved_as_an_ordinary_folder(self, encoder, tmp_path):
        tuned = Contrastive(steps=2).tune(encoder, TEXTS[:20], CLASSES[:20])
        tuned.save(tmp_path / "tuned")
        assert np.allclose(load(tmp_path / "tuned").encode(TEXTS[:5]), tuned.encode(TEXTS[:5]), atol=1e-5)

    def test_anchors_of_a_class_share_its_weight_and_are_in_every_step(self, encoder, monkeypatch):
        seen = []
        real = module.pair_loss

        def watched(vectors, classes, weights):
            seen.append(
                dict(zip(*np.unique(classes.numpy(), return_counts=True), strict=True)) | {"sum": weights.sum()}
            )
            return real(vectors, classes, weights)

        monkeypatch.setattr(module, "pair_loss", watched)
        classes = np.repeat([0, 1], 10)
        prompts, owners = ["billing", "invoices", "a bug"], [0, 0, 1]
        Contrastive(steps=3, anchors=4.0, batch_size=8).tune(encoder, TEXTS[:20], classes, prompts, owners)
        assert [one["sum"].item() for one in seen] == pytest.approx([8 + 2 * 4.0] * 3)
        assert all((one[0], one[1]) == (4 + 2, 4 + 1) for one in seen)

    def test_gradients_are_clipped_to_length_one(self, encoder, monkeypatch):
        lengths = []
        step = torch.optim.AdamW.step

        def watched(self, *args, **kwargs):
            gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"] if p.grad is not None]
            lengths.append(float(torch.cat(gradients).norm()))
            return step(self, *args, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "step", watched)
        real = module.pair_loss
        for scale in (1e3, 1e-3):
            monkeypatch.setattr(module, "pair_loss", lambda *args, scale=scale: scale * real(*args))
            Contrastive(steps=2).tune(encoder, TEXTS[:12], CLASSES[:12])
        assert lengths[:2] == pytest.approx([1.0, 1.0], rel=1e-4)
        assert all(0 < length < 0.5 for length in lengths[2:])  # and never made longer

    def test_weights_decay_by_a_hundredth_of_the_learning_rate(self, encoder, monkeypatch):
        real = module.pair_loss
        monkeypatch.setattr(module, "pair_loss", lambda *args: 0.0 * real(*args))  # so that nothing else moves them
        tuned = Contrastive(steps=3, learning_rate=2.0, layers=1).tune(encoder, TEXTS[:12], CLASSES[:12])
        shrunk = np.prod([1 - 0.01 * 2.0 * descent.rate_share(step, 3) for step in range(3)])
        assert shrunk < 0.98
        for (name, a), b in zip(encoder.model.named_parameters(), tuned.model.parameters(), strict=True):
            expected = a * shrunk if ".layer.1." in name else a
            assert torch.allclose(b, expected, rtol=1e-5, atol=0), name

    @pytest.mark.parametrize(("given", "n", "steps"), [(None, 20, 12), (None, 64, 12), (None, 65, 8), (3, 20, 3)])
    def test_few_texts_are_tuned_for_more_steps(self, encoder, monkeypatch, given, n, steps):
        seen = []
        monkeypatch.setattr(descent, "rate_share", lambda step, steps, warm: seen.append(steps) or 1.0)
        Contrastive(given).tune(encoder, TEXTS[:n], CLASSES[:n])
        assert seen == [steps] * steps

    @pytest.mark.parametrize("name", ["steps", "learning_rate", "layers", "batch_size"])
    def test_numbers_out_of_range(self, encoder, name):
        with pytest.raises(InputError, match=f"{name} must be greater than 0"):
            Contrastive(**{name: 0}).tune(encoder, TEXTS[:4], CLASSES[:4])

    def test_anchors_count_for_no_negative_number_of_examples(self, encoder):
        with pytest.raises(InputError, match=r"anchors must be a number of at least 0. Got -1"):
            Contrastive(anchors=-1).tune(encoder, TEXTS[:4], CLASSES[:4])

    def test_only_sentence_encoders(self):
        with pytest.raises(UnsupportedError, match="sentence-transformers"):
            Contrastive().tune(HashEncoder(), TEXTS[:4], CLASSES[:4])


def pair_loss_of(encoder) -> float:
    vectors = torch.nn.functional.normalize(torch.from_numpy(encoder.encode(TEXTS[:12])), dim=-1)
    return float(pair_loss(vectors, torch.from_numpy(CLASSES[:12])))


class TestClassifier:
    def test_a_tuned_classifier_is_fitted_on_its_own_encoder(self, encoder):
        fingerprint = encoder.fingerprint
        strategy = Embedding(tuning=Contrastive(steps=80, learning_rate=3e-3))
        clf = Classifier(encoder, strategy=strategy, random_state=0).fit(TEXTS[:20], LABELS[:20])
        assert clf.score(TEXTS[:20], LABELS[:20]) > 0.8
        assert clf.strategy_.encoder_ is not encoder
        assert encoder.fingerprint == fingerprint
        again = clone(clf).fit(TEXTS[:20], LABELS[:20])
        assert (again.predict_proba(TEXTS[60:80]) == clf.predict_proba(TEXTS[60:80])).all()

    def test_the_head_is_not_chosen_on_examples_that_the_encoder_has_seen(self, encoder):
        for label_prior in ("auto", 7.0):
            strategy = Embedding(label_prior=label_prior, tuning=Contrastive(steps=1))
            fitted = Classifier(encoder, strategy=strategy).fit(TEXTS[:20], LABELS[:20]).strategy_
            tau = 7.0 if label_prior == 7.0 else 3.5 * min(1.0, fitted.names_weight_)
            assert (fitted.head_.tau_, fitted.head_.C_) == (tau, len(set(LABELS[:20])))
            assert not fitted.head_.cv_log_loss_

    def test_names_count_as_much_as_they_say_of_the_examples_before_tuning(self, mini):
        few = [i for c in range(len(NAMES)) for i in np.flatnonzero(c == CLASSES)[:6]]
        texts, labels = [TEXTS[i] for i in few], [LABELS[i] for i in few]
        weights = {}
        for words in (NAMES, NAMES[1:] + NAMES[:1]):  # each class by its name, or by another's
            strategy = Embedding(tuning=Contrastive(steps=1, layers=1))
            own = Classifier(mini, verbalizer=dict(zip(NAMES, words, strict=True)), strategy=strategy)
            fitted = own.fit(texts, labels).strategy_
            frozen = clone(own).set_params(strategy=Embedding()).fit(texts, labels).strategy_.head_
            assert fitted.names_weight_ == frozen.names_weight_
            weights[words[0]] = fitted.names_weight_
        assert weights[NAMES[1]] < weights[NAMES[0]] / 2

    def test_the_class_prompts_take_part_by_the_weight_of_the_names(self, encoder):
        texts, classes = TEXTS[:20], CLASSES[:20]
        prompts, owners = ["one", "two"], np.array([0, 1])
        half = Contrastive(steps=2).tune(encoder, texts, classes, prompts, owners, names_weight=0.5)
        same = Contrastive(steps=2, anchors=2.0).tune(encoder, texts, classes, prompts, owners)
        assert half.fingerprint == same.fingerprint
        without = Contrastive(steps=2).tune(encoder, texts, classes, prompts, owners, names_weight=0.0)
        assert without.fingerprint == Contrastive(steps=2).tune(encoder, texts, classes).fingerprint

    def test_any_head_on_the_tuned_encoder(self, encoder):
        strategy = Embedding(LogisticRegression(), tuning=Contrastive(steps=2))
        clf = Classifier(encoder, strategy=strategy).fit(TEXTS[:60], LABELS[:60])
        assert clf.predict_proba(TEXTS[:3]).shape == (3, len(NAMES))

    def test_without_examples_there_is_nothing_to_tune(self, encoder):
        tuned = Classifier(encoder, strategy=Embedding(tuning=Contrastive())).fit(None, NAMES)
        plain = Classifier(encoder, strategy=Embedding()).fit(None, NAMES)
        assert (tuned.predict_proba(TEXTS[:9]) == plain.predict_proba(TEXTS[:9])).all()

    def test_what_it_can_not_do(self, encoder):
        clf = Classifier(encoder, strategy=Embedding(tuning=Contrastive()))
        indicators = np.eye(len(NAMES), dtype=int)[CLASSES[:20]]
        with pytest.raises(UnsupportedError, match="Contrastive gives each text one class"):
            clf.set_params(verbalizer={name: name for name in NAMES}).fit(TEXTS[:20], indicators)

    def test_on_the_real_encoder_it_beats_the_frozen_one(self, mini):
        few = [i for c in range(len(NAMES)) for i in np.flatnonzero(c == CLASSES)[:2]]
        rest = [i for i in range(len(TEXTS)) if i not in few][:160]
        scores, losses = [], []
        for tuning in (None, Contrastive(steps=6), Contrastive(steps=6, learning_rate=1e-9)):
            clf = Classifier(mini, strategy=Embedding(tuning=tuning), random_state=0)
            clf.fit([TEXTS[i] for i in few], [LABELS[i] for i in few])
            scores.append(clf.score([TEXTS[i] for i in rest], [LABELS[i] for i in rest]))
            losses.append(
                log_loss([LABELS[i] for i in rest], clf.predict_proba([TEXTS[i] for i in rest]), labels=NAMES)
            )
        assert scores[1] > max(scores[0], scores[2])
        assert losses[1] < min(losses[0], losses[2]) - 0.1
        assert scores[1] > 0.6
