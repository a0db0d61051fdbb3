"""FineTuning("tags"): its loss and gradients against brute force, own copies only, what is trained and kept."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone

from fewshot import Classifier, FineTuning, InputError, LoRA, ParameterError, Tagger, TokenHead, UnsupportedError, load
from fewshot.models.dtypes import own_dtype
from fewshot.task.span_task import SpanTask
from fewshot.task.verbalizer import Verbalizer
from fewshot.task.words import split_words
from fewshot.training import finetune_tags as module
from fewshot.training.copies import as_for_training
from fewshot.training.descent import Descent
from fewshot.training.under_head import around, body_of, copy_below
from tests.conftest import language_model, pair, sentence_model
from tests.contract import HashEncoder

TEXTS = ["Ada lives in Paris.", "Bob left Rome.", "", "It rained.", "Eve met Tom in Oslo."]
SPANS = [
    [(0, 3, "person"), (13, 18, "place")],
    [(0, 3, "person"), (9, 13, "place")],
    [],
    [],
    [(0, 3, "person"), (8, 11, "person"), (15, 19, "place")],
]
NEW = ["Mary moved to London.", "", "Nobody in Bonn saw Max, who left."]
MODELS = {"encoder": lambda: load(sentence_model()), "bert": lambda: language_model("bert")}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def tuned(model=None, random_state=0, **params):
    strategy = FineTuning("tags", **{"steps": 3, "learning_rate": 1e-2, **params})
    return Tagger(model or MODELS["encoder"](), strategy=strategy, random_state=random_state)


def body(model):
    return body_of(model)


def weights(model):
    return {name: p.detach().clone() for name, p in body(model).named_parameters()}


def probabilities(tagger, texts=NEW):
    return np.concatenate(tagger.strategy_.head_.word_probabilities(texts, [split_words(text) for text in texts]))


def a_task(texts=TEXTS, spans=SPANS, words=None):
    bounds = [split_words(text) for text in texts]
    chunks = [
        [(own.index((a, b)), own.index((a, b)) + 1, ["person", "place"].index(kind)) for a, b, kind in row]
        for own, row in zip(bounds, spans, strict=True)
    ]
    return SpanTask(texts, bounds, chunks, Verbalizer(words or {"person": "person", "place": "place"}))


def expected_loss(model, head, task):
    """The mean negative log-likelihood of a word's tag, by a frozen head that was fitted on the same vectors."""
    frozen = clone(head).set_params(none_weight=1.0).fit_spans(task, model)  # which comes after the likelihood
    total = 0.0
    for features, tags in zip(frozen._features(task.texts, task.words), task.tags, strict=True):
        weights, follows = frozen.head_.log_weights(features), frozen.head_.transitions_
        every, true, before = np.array([0.0, -np.inf, -np.inf]), 0.0, 0
        for own, tag in zip(weights, tags, strict=True):
            every = logsumexp(every[:, None] + follows, axis=0) + own
            true, before = true + follows[before, tag] + own[tag], tag
        total += logsumexp(every) - true
    return total / sum(map(len, task.tags))


HEADS = [TokenHead(), TokenHead(0, neighbors=0), TokenHead(2, spelling=0, names=5, transition=2.0)]


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_the_first_loss_is_that_of_the_frozen_head(model, head):
    task = a_task(words={"person": ["human being", "name"], "place": "town"})
    strategy = FineTuning("tags", steps=1, learning_rate=1e-9, head=head).fit_spans(task, model, random_state=0)
    assert strategy.history_[0].loss == pytest.approx(expected_loss(model, head, task), rel=1e-3)


def test_a_long_text_is_read_in_windows():
    encoder = MODELS["encoder"]()
    long = " ".join(["Ada lives in Paris."] * 24)
    task = a_task([long, *TEXTS[:2]], [[(260, 263, "person")], *SPANS[:2]])
    assert len(encoder.token_reader.plan([long], encoder.limit).rows) > 2
    strategy = FineTuning("tags", steps=1, learning_rate=1e-9).fit_spans(task, encoder, random_state=0)
    assert strategy.history_[0].loss == pytest.approx(expected_loss(encoder, TokenHead(), task), rel=1e-3)


def in_training(model, layer=1, part_tokens=None):
    """What `tune_tags` trains, before its first step, and a `Descent` of it."""
    own, _ = copy_below(model, "all", layer)
    training = module._Training(around(model, own), model, a_task(), TokenHead(), layer)
    training.part_tokens = part_tokens or training.part_tokens
    descent = Descent([p for p in own.parameters() if p.requires_grad], 1, 1e-2, title="Testing")
    with as_for_training(own, training.dtype):
        training.fit_head(first=True)
    return training, own, descent


@pytest.mark.parametrize(("name", "layer"), [("encoder", 1), ("bert", 2)])  # a pass that ends there, and a whole one
def test_the_gradients_are_those_of_finite_differences(name, layer):
    training, own, descent = in_training(MODELS[name](), layer)
    texts = [0, 1, 2, 3]
    training.gradients(descent, texts)
    matrices = [p for p in own.parameters() if p.requires_grad and p.grad is not None and p.ndim > 1]
    rng, checked = np.random.RandomState(0), 0
    for p in matrices[::3]:
        direction = torch.from_numpy(rng.randn(*p.shape)).float()
        training.gradients(descent, texts)
        slope, losses = float((p.grad * direction).sum()), []
        for sign in (1, -1):
            p.data.add_(sign * 1e-3 * direction)
            losses.append(training.gradients(descent, texts))
            p.data.sub_(sign * 1e-3 * direction)
        assert (losses[0] - losses[1]) / 2e-3 == pytest.approx(slope, rel=0.1, abs=2e-3)
        checked += abs(slope) > 4e-3
    assert checked > 1


def test_parts_by_tokens_and_a_lack_of_memory_change_no_gradient(monkeypatch):
    found = []
    for tokens in (1024, 12):
        training, own, descent = in_training(MODELS["encoder"](), part_tokens=tokens)
        loss = training.gradients(descent, [0, 1, 2, 3])
        found.append((loss, [p.grad.clone() for p in own.parameters() if p.grad is not None]))
    own_gradients = module._Training.part_gradients
    sizes = []

    def tight(self, texts, n_words):
        sizes.append(self.part_tokens)
        if self.part_tokens > 16:
            raise RuntimeError("out of memory")
        return own_gradients(self, texts, n_words)

    monkeypatch.setattr(module._Training, "part_gradients", tight)
    training, own, descent = in_training(MODELS["encoder"](), part_tokens=64)
    loss = training.gradients(descent, [0, 1, 2, 3])
    assert sizes[:3] == [64, 32, 16]
    found.append((loss, [p.grad.clone() for p in own.parameters() if p.grad is not None]))
    for other, gradients in found[1:]:
        assert other == pytest.approx(found[0][0], rel=1e-4)
        for one, wanted in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(one, wanted, atol=1e-5, rtol=1e-3)


def test_training_lowers_the_loss_of_the_words(model):
    # on these words the head is then surer, and the readings are those of a head on the tuned model
    tagger = tuned(model, steps=5, learning_rate=3e-3).fit(TEXTS, SPANS)
    losses = [one.loss for one in tagger.strategy_.history_]
    assert losses == sorted(losses, reverse=True)
    assert tagger.predict(TEXTS) == SPANS
    head = TokenHead().fit_spans(a_task(), tagger.strategy_.model_)
    words = [split_words(text) for text in NEW]
    np.testing.assert_allclose(probabilities(tagger), np.concatenate(head.word_probabilities(NEW, words)), atol=1e-6)
    frozen = Tagger(model).fit(TEXTS, SPANS)
    assert not np.allclose(
        probabilities(tagger), np.concatenate(frozen.strategy_.word_probabilities(NEW, words)), atol=0.02
    )


@pytest.mark.parametrize("parameters", ["all", "bias", LoRA(2)], ids=str)
def test_what_is_trained(model, parameters):
    before = weights(model)
    tagger = tuned(model, parameters=parameters).fit(TEXTS, SPANS)
    after = weights(tagger.strategy_.model_)
    assert all(torch.equal(p, before[name]) for name, p in weights(model).items())  # the given model stays
    assert set(after) == set(before)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # the head reads layer 1 of 2
    assert changed
    assert not any("layer.1." in name or "word_embeddings" in name or "decoder" in name for name in changed)
    if parameters == "bias":
        assert all(name.endswith("bias") for name in changed)
    if parameters == "all":
        assert tagger.strategy_.n_trained_ == sum(before[name].numel() for name in changed | {_position(before)})
    else:
        assert 0 < tagger.strategy_.n_trained_ < 2000


def _position(names):
    return next(name for name in names if "position_embeddings" in name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("parameters", ["all", LoRA(2)], ids=str)
def test_the_tuned_model_has_the_type_that_was_given(dtype, parameters):
    encoder = load(copy.deepcopy(sentence_model()).to(dtype))
    tagger = tuned(encoder, parameters=parameters).fit(TEXTS, SPANS)
    assert {p.dtype for p in body(tagger.strategy_.model_).parameters()} == {dtype}
    assert own_dtype(body(encoder)) == dtype
    assert tagger.predict(TEXTS) == SPANS


def test_the_seed_decides():
    one, again = (tuned(batch_size=2).fit(TEXTS, SPANS) for _ in range(2))
    np.testing.assert_array_equal(probabilities(one), probabilities(again))
    other = tuned(batch_size=2, random_state=1).fit(TEXTS, SPANS)
    assert not np.allclose(probabilities(one), probabilities(other), atol=1e-4)


def test_it_is_kept_with_its_weights(model, tmp_path):
    tagger = tuned(model, head=TokenHead(1, none_weight=0.5)).fit(TEXTS, SPANS)
    again = Tagger.load(tagger.save(tmp_path / "kept"))
    np.testing.assert_allclose(probabilities(again), probabilities(tagger), atol=1e-6)
    assert again.predict(NEW) == tagger.predict(NEW)
    assert again.strategy_.model_ is again.strategy_.head_.model_
    assert again.strategy_.history_ == tagger.strategy_.history_
    assert "FineTuning" in json.dumps(json.loads((tmp_path / "kept" / "config.json").read_text()))


def test_a_rate_that_is_too_high_is_an_error():
    with pytest.raises(UnsupportedError, match=r"became NaN or infinite in step \d of 3.* Lower learning_rate"):
        tuned(learning_rate=1e38).fit(TEXTS, SPANS)


@pytest.mark.parametrize("objective", ["prompt", "head"])
def test_the_objectives_of_a_classifier_are_refused(objective):
    with pytest.raises(UnsupportedError, match=rf"FineTuning\('{objective}'\) classifies texts.*FineTuning\('tags'\)"):
        Tagger(MODELS["encoder"](), strategy=FineTuning(objective)).fit(TEXTS, SPANS)


def test_a_classifier_has_no_tags():
    clf = Classifier(MODELS["encoder"](), strategy=FineTuning("tags"))
    with pytest.raises(UnsupportedError, match=r"learns spans, as in Tagger.*FineTuning\('head'\)"):
        clf.fit(["a", "b"], ["x", "y"])


class Frozen(HashEncoder):
    """An encoder with vectors of tokens and no weights."""

    def token_vectors(self, texts, layer=None):
        raise AssertionError


@pytest.mark.parametrize("model", [HashEncoder(), Frozen(), language_model("gpt2")], ids=repr)
def test_a_model_whose_token_vectors_can_not_be_trained_is_refused(model):
    with pytest.raises(UnsupportedError, match=r"FineTuning\('tags'\) trains SentenceEncoders and local masked"):
        tuned(model).fit(TEXTS, SPANS)


def test_names_alone_are_refused():
    task = SpanTask([], [], [], Verbalizer({"person": "person"}))
    for strategy in (FineTuning("tags"), TokenHead()):
        with pytest.raises(UnsupportedError, match=f"{type(strategy).__name__} needs annotated texts"):
            strategy.fit_spans(task, MODELS["encoder"]())


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"shots": 2}, UnsupportedError, "leave shots at 0"),
        ({"class_weight": "balanced"}, UnsupportedError, "class_weight at None"),
        ({"early_stopping": True}, UnsupportedError, "early_stopping at 'auto'"),
        ({"head": "linear"}, ParameterError, "head must be TokenHead"),
        ({"head": TokenHead(9)}, ParameterError, "layer must be an integer from 0"),
        ({"head": TokenHead(neighbors=-1)}, ParameterError, "neighbors"),
        ({"head": TokenHead(detector=0)}, ParameterError, "detector"),
        ({"steps": 0}, ParameterError, "steps"),
    ],
    ids=str,
)
def test_parameters_without_a_meaning_are_refused(params, error, match):
    with pytest.raises(error, match=match):
        tuned(**params).fit(TEXTS, SPANS)


def test_words_of_types_alone_are_refused():
    with pytest.raises(InputError, match="Every word is of a type"):
        tuned().fit([["Ada"], ["Rome"]], [["B-person"], ["B-place"]])


def test_a_pair_of_transformers_is_taken():
    tagger = tuned(pair("bert"), steps=1).fit(TEXTS, SPANS)
    assert tagger.predict_spans([TEXTS[0]])[0][0].probability > 0
