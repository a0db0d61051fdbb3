"""Threads, forks and worker processes: everybody gets what a lone caller gets."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
import torch
from sklearn.base import clone

from fewshot import (
    Auto,
    CachedLM,
    Classifier,
    ConformalClassifier,
    Distillation,
    Embedding,
    FakeLM,
    FineTuning,
    Prompting,
    adapt,
    load,
)
from fewshot.models.base import Query
from fewshot.models.encoder import SentenceEncoder
from fewshot.models.locks import lock_of
from fewshot.models.randomness import Draws, seeded
from fewshot.strategies.contrastive import Contrastive
from tests.conftest import pair, sentence_model
from tests.together import LABELS, TEXTS, check, needs_fork, no_mass, queries, together

pytestmark = pytest.mark.long

TEMPLATE = "{{ text }} It was {{ label }}."
KINDS = ["gpt2", "gpt2-chat", "bert", "t5", "nli"]


def calls_of(lm) -> list:
    """Everything that a language model can be asked."""
    calls = []
    for i in range(12):
        own = queries(lm.kind, i)
        calls.append(lambda own=own: [one.logprobs for one in lm.loglikelihoods(own)])
        calls.append(lambda own=own: [lm.lengths(own)])
        calls.append(lambda own=own: lm.token_ends([query.prefix for query in own]))
        if lm.kind != "entailment":
            calls.append(lambda own=own: [lm.read(own, "hidden")])
        if lm.kind in ("causal", "seq2seq"):
            calls.append(lambda own=own: lm.generate(own, 4))
    return calls


@pytest.mark.parametrize("name", KINDS)
def test_a_language_model_answers_every_thread_as_it_answers_one(name):
    lm = load(pair(name))  # with nothing kept
    calls = calls_of(lm)
    found = together(calls)
    check(found, [call() for call in calls])


def test_an_encoder_answers_every_thread_as_it_answers_one():
    encoder, other = (SentenceEncoder(sentence_model(), cache_bytes=n) for n in (4000, 0))  # 4000: some is thrown away
    parts = [[TEXTS[i % 24], TEXTS[i * 7 % 24], "[SEP]"] for i in range(60)]
    found = together([lambda part=part: encoder.encode(part) for part in parts])
    check(found, [other.encode(part) for part in parts])
    assert not encoder.model.tokenizer.split_special_tokens


def test_two_wrappers_of_one_model_share_its_lock():
    first, second = load(pair("gpt2")), load(pair("gpt2"))
    assert first is not second
    assert lock_of(first.model) is lock_of(second.model)
    calls = [call for both in zip(calls_of(first), calls_of(second), strict=True) for call in both][:60]
    check(together(calls), [call() for call in calls])


def test_caches_and_functions_answer_every_thread(tmp_path):
    fake = FakeLM(lambda query: [float(len(query.prefix) + len(word)) for word in query.candidates])
    calls = calls_of(CachedLM(fake, tmp_path / "scores.sqlite"))
    calls = [call for i, call in enumerate(calls) if i % 5 != 3]  # which has no hidden states
    check(together(calls), [call() for call in calls])


@no_mass
def test_predictions_previews_and_explanations_come_from_any_thread():
    clf = Classifier(load(pair("gpt2")), TEMPLATE, strategy=Prompting(2, calibration="contextual"))
    clf.fit(TEXTS[:12], LABELS)
    calls = []
    for text in TEXTS:
        calls.append(lambda text=text: [clf.predict_proba([text])])
        calls.append(lambda text=text: [str(clf.preview([text]))])
        calls.append(lambda text=text: [[line.probability for line in clf.explain(text).classes]])
        calls.append(lambda text=text: [clf.label_mass([text])])
    check(together(calls), [call() for call in calls])


SHORT = FineTuning("prompt", steps=3, batch_size=4, learning_rate=1e-3)
FITS = {
    "head": (lambda: load(sentence_model()), FineTuning("head", steps=3)),
    "prompt": (lambda: load(pair("bert")), SHORT),
    "contrastive": (lambda: load(sentence_model()), Embedding(tuning=Contrastive(2, 1e-2, batch_size=6))),
    "distilled": (lambda: load(pair("bert")), Distillation(SHORT, SHORT)),
    "chosen": (lambda: load(sentence_model()), Auto()),
    "demonstrations": (lambda: load(pair("gpt2")), Prompting(4, selection="random", calibration="batch")),
}


@no_mass
@pytest.mark.parametrize("name", FITS)
def test_fits_in_threads_are_those_of_a_lone_caller(name):
    make, strategy = FITS[name]
    model, before, seeds = make(), torch.get_rng_state(), range(2 if name in ("chosen", "distilled") else 4)
    given = (TEXTS, [*LABELS, *[None] * 12]) if name == "distilled" else (TEXTS[:12], LABELS)

    def fit(seed):
        clf = Classifier(model, TEMPLATE, strategy=strategy, random_state=seed)
        return [clf.fit(*given).predict_log_proba(TEXTS[12:])]

    expected = [fit(seed) for seed in seeds]
    assert name == "chosen" or not np.allclose(expected[0][0], expected[1][0], atol=1e-5)  # the seed decides
    check(together([lambda seed=seed: fit(seed) for seed in seeds], 4), expected)
    assert torch.equal(torch.get_rng_state(), before)


@no_mass
def test_one_classifier_answers_every_thread_while_others_are_fitted_on_its_model():
    lm = load(pair("bert"))
    texts, clf = TEXTS[12:], Classifier(lm, TEMPLATE, strategy=Prompting(2), random_state=0)
    sets = ConformalClassifier(clf.fit(TEXTS[:12], LABELS), alpha=0.4, random_state=0)

    def tuned(seed):
        other = Classifier(lm, TEMPLATE, strategy=SHORT, random_state=seed).fit(TEXTS[:12], LABELS)
        return [other.predict_log_proba(texts)]

    calls = []
    for i, text in enumerate(texts):
        calls.append(lambda text=text: [clf.predict_proba([text])])
        calls.append((lambda i=i: tuned(i)) if i < 2 else lambda: [clone(clf).fit(texts, LABELS).predict_proba(texts)])  # type: ignore[misc]
        if i % 4 == 0:
            calls.append(lambda: [clone(sets).fit(TEXTS[:12], LABELS).predict_set(texts)])  # type: ignore[misc]
    check(together(calls), [call() for call in calls])


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_models_are_adapted_in_threads_while_they_are_asked(name):
    lm = load(pair(name))
    small = {"tokens_per_step": 128, "block_size": 32, "held_out": 0.1, "learning_rate": 3e-3}
    asked = queries(lm.kind, 2)

    def adapted(seed):
        run = adapt(lm, TEXTS, random_state=seed, **small)
        return [run.history[-1].held_out_loss, run.model.loglikelihoods(asked)[0].logprobs]

    calls = [lambda seed=seed: adapted(seed) for seed in range(2)]
    calls += [lambda: [lm.loglikelihoods(asked)[0].logprobs]] * 12  # type: ignore[misc]
    expected = [call() for call in calls]
    assert not np.allclose(expected[0][0], expected[1][0], atol=1e-4)  # the seed decides
    check(together(calls), expected)


def test_a_seed_draws_the_same_in_turns_whatever_others_draw():
    with seeded(3):
        whole = torch.rand(4)

    def draw():
        draws, parts = Draws(3), []
        for _ in range(4):
            with draws.turn():
                parts.append(torch.rand(1))
            time.sleep(1e-4)
        return [torch.cat(parts)]

    for (found,) in together([draw] * 16):
        assert torch.equal(found, whole)


def test_what_is_kept_is_handed_out_while_another_model_loads(monkeypatch):
    from fewshot.models import loading

    inside, go_on, loads = threading.Event(), threading.Event(), []

    def slow(recipe):
        loads.append(recipe.name)
        if recipe.name == "slow":
            inside.set()
            assert go_on.wait(20)
        return recipe.name

    monkeypatch.setattr(loading, "read_checkpoint", slow)
    own = loading._Loader()
    assert own("quick") == "quick"
    waiting = [threading.Thread(target=own, args=("slow",)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    assert inside.wait(20)
    assert own("quick") == "quick"
    go_on.set()
    for thread in waiting:
        thread.join()
    assert loads == ["quick", "slow"]  # three threads wanted it, and one loaded it


def test_a_failed_call_leaves_the_model_open():
    lm = load(pair("gpt2"))
    with pytest.raises(ValueError, match="the same tokens"):
        lm.loglikelihoods([Query("a", ("b", "b"))])
    check(
        together([lambda: [lm.loglikelihoods(queries("causal", 0))[0].logprobs]] * 4),
        [[lm.loglikelihoods(queries("causal", 0))[0].logprobs]] * 4,
    )


def test_models_are_copied_and_pickled_while_they_are_at_work():
    lm, encoder = load(pair("bert")), SentenceEncoder(sentence_model(), cache_bytes=0)
    asked = queries("masked", 1)
    calls = []
    for _ in range(6):
        calls.append(lambda: [lm.loglikelihoods(asked)[0].logprobs])
        calls.append(lambda: [pickle.loads(pickle.dumps(lm)).loglikelihoods(asked)[0].logprobs])
        calls.append(lambda: [encoder.encode(TEXTS[:4])])
        calls.append(lambda: [encoder.copied().encode(TEXTS[:4])])
        calls.append(lambda: [copy.deepcopy(encoder).encode(TEXTS[:4])])
    check(together(calls), [call() for call in calls])


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_finds_every_lock_open():
    lm, encoder = load(pair("gpt2")), SentenceEncoder(sentence_model())
    expected = lm.loglikelihoods(queries("causal", 1))[0].logprobs
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with lock_of(lm.model), lock_of(encoder), lock_of(encoder.model), lock_of(torch), lock_of(load):
            held.set()
            let_go.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(20)
    child = os.fork()
    if not child:
        signal.alarm(60)  # a child that waits for ever is killed
        with lock_of(torch), lock_of(load):
            same = np.allclose(lm.loglikelihoods(queries("causal", 1))[0].logprobs, expected, atol=1e-4)
            os._exit(0 if same and encoder.encode(TEXTS[:2]).shape[0] == 2 else 1)
    let_go.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0
