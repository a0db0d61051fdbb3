"""FineTuning("span"): its loss and gradients against brute force, own copies only, what is trained and kept."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone

from fewshot import (
    Classifier,
    Extractor,
    FineTuning,
    InputError,
    LoRA,
    ParameterError,
    SpanHead,
    Tagger,
    TokenHead,
    UnsupportedError,
    load,
)
from fewshot.models.engine.layers import with_hidden_states
from fewshot.strategies import span_head
from fewshot.task.answer_features import Passage
from fewshot.task.extracts import Asked, ExtractTask
from fewshot.training import finetune_span as module
from fewshot.training.copies import as_for_training
from fewshot.training.descent import Descent
from fewshot.training.under_head import around, body_of, copy_below
from tests.conftest import language_model, pair, sentence_model
from tests.contract import HashEncoder

ROWS = [
    {"question": "Where does Ada live?", "context": "Ada lives in Paris."},
    {"question": "Who left Rome?", "context": "Bob left Rome. It rained. Bob was wet."},
    {"question": "Who lives in Paris?", "context": "Ada lives in Paris."},
    {"question": "When did Tom come?", "context": "It rained."},
]
ANSWERS = [(13, 18), "Bob", (0, 3), None]
NEW = [{"question": "Where is Mary?", "context": "Mary moved to London."}, {"question": "Who?", "context": "Max left."}]
MODELS = {"encoder": lambda: load(sentence_model()), "bert": lambda: language_model("bert")}
HEAD = SpanHead(components=6, markers=2, pairs=True)


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def a_task(rows=ROWS):
    golds = [[(13, 18)], [(0, 3), (26, 29)], [(0, 3)], []]
    return ExtractTask([Asked(row["question"], row["context"], row) for row in rows], golds, None, 3)


def tuned(model=None, random_state=0, **params):
    strategy = FineTuning("span", **{"steps": 3, "learning_rate": 1e-2, "head": HEAD, **params})
    return Extractor(model or MODELS["encoder"](), strategy=strategy, max_words=3, random_state=random_state)


def probabilities(extractor, rows=NEW):
    found = extractor.strategy_.answer_readings([Asked(row["question"], row["context"], row) for row in rows])
    return np.concatenate([np.append(one.log_probabilities, one.none) for one in found])


def weights(model):
    return {name: p.detach().clone() for name, p in body_of(model).named_parameters()}


def expected_loss(model, head, task):
    """The mean negative log-likelihood of right answers, by a frozen head; these texts have few candidates."""
    frozen = clone(head).fit_answers(task, model)
    total = 0.0
    for asked, golds, reading in zip(task.asked, task.golds, frozen.answer_readings(task.asked), strict=True):
        if not golds:
            total -= reading.none
            continue
        right = {asked.context[start:end] for start, end in golds}
        total -= logsumexp(
            [
                log
                for (start, end), log in zip(reading.places, reading.log_probabilities, strict=True)
                if asked.context[start:end] in right
            ]
        )
    return total / len(task.asked)


@pytest.mark.parametrize("head", [HEAD, SpanHead(0, components=3), SpanHead(2, penalty=0.2, pairs=True)], ids=str)
def test_the_first_loss_is_that_of_the_frozen_head(model, head):
    strategy = FineTuning("span", steps=1, learning_rate=1e-9, head=head).fit_answers(a_task(), model, random_state=0)
    assert strategy.history_[0].loss == pytest.approx(expected_loss(model, head, a_task()), rel=1e-3)


def test_a_long_text_is_read_in_windows_after_its_question(monkeypatch):
    monkeypatch.setattr(span_head, "_WRONG", 10**6)  # all candidates, as a reading has them
    encoder = MODELS["encoder"]()
    long = {"question": "Where does Ada live?", "context": " ".join(["Ada lives in Paris."] * 24)}
    task = a_task([long, *ROWS[1:]])
    assert len(encoder.token_reader.plan([long["context"]], encoder.limit, [long["question"]]).rows) > 2
    strategy = FineTuning("span", steps=1, learning_rate=1e-9, head=HEAD).fit_answers(task, encoder, random_state=0)
    assert span_head._find_right(Passage(long["context"], 3), [(13, 18)]).sum() == 24
    assert strategy.history_[0].loss == pytest.approx(expected_loss(encoder, HEAD, task), rel=1e-3)


@pytest.mark.parametrize(("name", "layer"), [("encoder", 1), ("bert", 2)])  # a pass that ends there, and a whole one
def test_the_gradients_are_those_of_finite_differences(name, layer):
    model = MODELS[name]()
    own, _ = copy_below(model, "all", layer)
    training = module._Training(around(model, own), model, a_task(), clone(HEAD).set_params(layer=layer), layer)
    descent = Descent([p for p in own.parameters() if p.requires_grad], 1, 1e-2, title="Testing")
    with as_for_training(own, training.dtype):
        training.fit_head(first=True)
    questions = [0, 1, 2, 3]
    training.gradients(descent, questions)
    matrices = [p for p in own.parameters() if p.requires_grad and p.grad is not None and p.ndim > 1]
    rng, checked = np.random.RandomState(0), 0
    for p in matrices[::3]:
        direction = torch.from_numpy(rng.randn(*p.shape)).float()
        training.gradients(descent, questions)
        slope, losses = float((p.grad * direction).sum()), []
        for sign in (1, -1):
            p.data.add_(sign * 1e-3 * direction)
            losses.append(training.gradients(descent, questions))
            p.data.sub_(sign * 1e-3 * direction)
        assert (losses[0] - losses[1]) / 2e-3 == pytest.approx(slope, rel=0.1, abs=2e-3)
        checked += abs(slope) > 4e-3
    assert checked > 1


def test_training_lowers_the_loss(model):
    # and the readings are those of the head as it was fitted before, on the tuned model
    extractor = tuned(model, steps=5, learning_rate=3e-3).fit(ROWS, ANSWERS)
    losses = [one.loss for one in extractor.strategy_.history_]
    assert losses == sorted(losses, reverse=True)
    head = clone(HEAD).fit_answers(a_task(), model)
    head.model_ = extractor.strategy_.model_
    said = [np.append(one.log_probabilities, one.none) for one in head.answer_readings(a_task().asked)]
    np.testing.assert_allclose(probabilities(extractor, ROWS), np.concatenate(said), atol=1e-3)
    frozen = Extractor(model, strategy=HEAD, max_words=3).fit(ROWS, ANSWERS)
    assert not np.allclose(probabilities(extractor), probabilities(frozen), atol=0.01)


@pytest.mark.parametrize("parameters", ["all", "bias", LoRA(2)], ids=str)
def test_what_is_trained(model, parameters):
    before, fingerprint = weights(model), model.fingerprint
    extractor = tuned(model, parameters=parameters).fit(ROWS, ANSWERS)
    after = weights(extractor.strategy_.model_)
    assert model.fingerprint == fingerprint  # the given model stays
    assert all(torch.equal(p, before[name]) for name, p in weights(model).items())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed  # the head reads layer 1 of 2
    assert not any("layer.1." in name or "word_embeddings" in name or "decoder" in name for name in changed)
    if parameters == "bias":
        assert all(name.endswith("bias") for name in changed)
    assert extractor.strategy_.n_trained_ > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_tuned_model_has_the_type_that_was_given(dtype):
    encoder = load(copy.deepcopy(sentence_model()).to(dtype))
    extractor = tuned(encoder).fit(ROWS, ANSWERS)
    assert {p.dtype for p in body_of(extractor.strategy_.model_).parameters()} == {dtype}
    assert extractor.predict(ROWS[:1])[0].text == "Paris"


def test_the_seed_decides():
    one, again = (tuned(batch_size=2).fit(ROWS, ANSWERS) for _ in range(2))
    np.testing.assert_array_equal(probabilities(one), probabilities(again))
    other = tuned(batch_size=2, random_state=1).fit(ROWS, ANSWERS)
    assert not np.allclose(probabilities(one), probabilities(other), atol=1e-4)


def test_it_is_kept_with_its_weights(model, tmp_path):
    extractor = tuned(model).fit(ROWS, ANSWERS)
    again = Extractor.load(extractor.save(tmp_path / "kept"))
    np.testing.assert_allclose(probabilities(again), probabilities(extractor), atol=1e-6)
    assert again.predict(NEW) == extractor.predict(NEW)
    assert again.strategy_.model_ is again.strategy_.head_.model_
    assert again.strategy_.history_ == extractor.strategy_.history_


def test_a_rate_that_is_too_high_is_an_error():
    with pytest.raises(UnsupportedError, match=r"became NaN or infinite in step \d of 3.* Lower learning_rate"):
        tuned(learning_rate=1e38).fit(ROWS, ANSWERS)


@pytest.mark.parametrize(
    ("objective", "match"),
    [("prompt", "classifies texts"), ("head", "classifies texts"), ("tags", "is that of Tagger")],
)
def test_other_objectives_are_refused(objective, match):
    with pytest.raises(UnsupportedError, match=rf"{match}.*Extractor\(strategy=FineTuning\('span'\)\)"):
        tuned(head=None).set_params(strategy=FineTuning(objective)).fit(ROWS, ANSWERS)


def test_other_doors_have_no_answers():
    encoder = MODELS["encoder"]()
    with pytest.raises(UnsupportedError, match=r"learns answers, as in Extractor.*FineTuning\('head'\)"):
        Classifier(encoder, strategy=FineTuning("span")).fit(["a", "b"], ["x", "y"])
    with pytest.raises(
        UnsupportedError, match=r"is that of Extractor. Tagger is tuned by Tagger\(strategy=FineTuning\('tags'\)\)"
    ):
        Tagger(encoder, strategy=FineTuning("span")).fit(["Ada left."], [[(0, 3, "person")]])


@pytest.mark.parametrize("model", [HashEncoder(), language_model("gpt2")], ids=repr)
def test_a_model_whose_token_vectors_can_not_be_trained_is_refused(model):
    with pytest.raises(UnsupportedError, match=r"FineTuning\('span'\) trains SentenceEncoders and local masked"):
        tuned(model).fit(ROWS, ANSWERS)


def test_a_frozen_head_of_pairs_needs_a_model_that_reads_them():
    with pytest.raises(UnsupportedError, match="SpanHead needs a model with vectors of tokens of pairs"):
        Extractor(HashEncoder(), strategy=SpanHead(pairs=True)).fit(ROWS, ANSWERS)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"shots": 2}, UnsupportedError, "leave shots at 0"),
        ({"class_weight": "balanced"}, UnsupportedError, "class_weight at None"),
        ({"early_stopping": True}, UnsupportedError, "early_stopping at 'auto'"),
        ({"head": TokenHead()}, ParameterError, "head must be SpanHead"),
        ({"head": SpanHead(9)}, ParameterError, "layer must be an integer from 0"),
        ({"head": SpanHead(components=0)}, UnsupportedError, "nothing to train"),
        ({"head": SpanHead(penalty=0)}, ParameterError, "penalty"),
        ({"objective": "spans"}, ParameterError, "objective"),
    ],
    ids=str,
)
def test_parameters_without_a_meaning_are_refused(params, error, match):
    extractor = tuned()
    extractor.strategy.set_params(**params)
    with pytest.raises(error, match=match):
        extractor.fit(ROWS, ANSWERS)


def test_questions_are_needed_with_answers_that_can_be_found():
    with pytest.raises(UnsupportedError, match="needs answered questions"):
        tuned().fit()
    with pytest.raises(InputError, match="No example has an answer: there is nothing to learn"):
        tuned().fit(ROWS, [None] * 4)


class TestPairVectors:
    def test_a_text_after_a_question_is_the_second_of_the_tokenizers_own_pair(self, model):
        question, text = "Where does Ada live?", "Ada lives in Paris."
        (found,) = model.pair_vectors([question], [text], layer=1)
        tokenizer = model.token_reader._plain.tokenizer
        inputs = tokenizer(question, text, return_tensors="pt", return_offsets_mapping=True)
        offsets, which = inputs.pop("offset_mapping")[0], inputs.sequence_ids(0)
        with torch.no_grad():
            states = with_hidden_states(model.token_reader.body, **inputs).hidden_states[1][0]
        own = [i for i, part in enumerate(which) if part == 1]
        assert inputs["token_type_ids"][0][own].tolist() == [1] * len(own)
        np.testing.assert_allclose(found.vectors, states[own].numpy(), atol=1e-5)
        assert list(zip(found.starts, found.ends, strict=True)) == [tuple(offsets[i].tolist()) for i in own]

    def test_the_question_matters_and_equal_pairs_are_alike(self, model):
        one, other, again = model.pair_vectors(["Who?", "Where is it?", "Who?"], ["Ada left."] * 3)
        assert not np.allclose(one.vectors, other.vectors, atol=1e-3)
        np.testing.assert_array_equal(one.vectors, again.vectors)
        (alone,) = model.token_vectors(["Ada left."])
        assert not np.allclose(one.vectors, alone.vectors, atol=1e-3)

    def test_a_question_that_leaves_no_room_is_refused(self, model):
        with pytest.raises(InputError, match=r"less than half of them are left.* Shorten the question.*Why Why"):
            model.pair_vectors(["Who?", "Why " * 400], ["Ada left."] * 2)

    def test_an_empty_text_has_no_token(self, model):
        assert [one.vectors.shape[0] for one in model.pair_vectors(["Who?"], [""])] == [0]

    def test_a_pair_of_transformers_without_token_types(self):
        roberta = language_model("roberta")
        (found,) = roberta.pair_vectors(["Who?"], ["Ada left."], layer=1)
        assert len(found.vectors) == len(found.starts) > 0


def test_a_pair_of_transformers_is_taken():
    assert tuned(pair("bert"), steps=1).fit(ROWS, ANSWERS).predict(NEW[:1])
