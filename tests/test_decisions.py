"""A server of typed decisions as a language model: nothing lost, nothing wrong, no key elsewhere."""

from __future__ import annotations

import copy
import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fewshot import (
    CachedLM,
    Channel,
    Classifier,
    FakeLM,
    FewshotWarning,
    FineTuning,
    ModelLoadError,
    Prompting,
    Query,
    Readout,
    ServerError,
    UnsupportedError,
    Verbalizer,
    load,
)
from fewshot.models.remote.planning import floored
from tests.peers import APIS, CLASSES, TEXTS, answer, ask, changed, probabilities, serving, states


@APIS
def test_a_classifier_is_zero_shot(peer, api):
    clf = Classifier(load(peer.url, model="jev-latest", api=api)).fit(None, CLASSES)
    assert clf.predict(TEXTS[:3]).tolist() == CLASSES
    expected = [peer.probabilities(text, CLASSES) for text in TEXTS]
    np.testing.assert_allclose(clf.predict_proba(TEXTS), expected, atol=1e-12)
    assert not peer.requests[0].keys() - {"model", "state", "input", "questions"}


def test_fields_frame_and_words_are_state_instructions_and_options(peer):
    template = (
        "---\ninstruction: You route mail.\n---\nSubject: {{ subject }}\n{{ text }}\n\nTeam: {{ label }} at our firm."
    )
    clf = Classifier(load(peer.url, model="m"), template).fit(None, CLASSES)
    clf.predict([{"subject": "Hello", "text": "I love it."}])
    [body] = peer.requests
    assert body["state"] == "Subject: Hello\nI love it."
    [question] = body["questions"].values()
    assert question["instructions"] == "You route mail.\n\nTeam: ___ at our firm."
    assert question["criteria"] == dict.fromkeys(CLASSES)


@APIS
def test_queries_about_one_state_go_into_one_request(peer, api):
    lm = load(peer.url, model="m", api=api)
    queries = [ask(state, question=f"Question {i}? ") for i in range(5) for state in ("a", "b")]
    assert len(lm.loglikelihoods([*queries, *queries])) == 20
    assert sorted(states(peer)) == ["a", "b"]
    assert [len(body["questions"]) for body in peer.requests] == [5, 5]


@APIS
def test_many_questions_are_several_requests(peer, api):
    lm, most = load(peer.url, model="m", api=api), {"systemone": 64, "openai": 400}[api]
    scores = lm.loglikelihoods([ask("I love it.", question=f"Question {i}? ") for i in range(most + 1)])
    assert sorted(len(body["questions"]) for body in peer.requests) == [1, most]
    assert all(one.logprobs.argmax() == 1 for one in scores)


@APIS
def test_too_many_options_and_a_query_without_state_are_refused_by_name(peer, api):
    lm = load(peer.url, model="m", api=api)
    with pytest.raises(UnsupportedError, match=r"DecisionsLM\('m', .* 2 to 255 options a question. Got 256: '0', '1'"):
        lm.loglikelihoods([ask("a", map(str, range(256)))])
    with pytest.raises(UnsupportedError, match="takes options that differ"):
        lm.loglikelihoods([ask("a", ("x", " x"))])
    with pytest.raises(UnsupportedError, match="role premise"):
        lm.loglikelihoods([Query("Is it ", ("a", "b"))])
    assert not peer.requests


@APIS
@pytest.mark.parametrize("words", [("No", "Yes"), ("yes", "no")])
def test_no_and_yes_are_a_yes_no_question(peer, api, words):
    lm = load(peer.url, model="m", api=api)
    [p] = probabilities(lm, [ask("Help!", words)])
    asked = peer.requests[0]["questions"]
    assert [one["type"] for one in (asked.values() if api == "systemone" else asked)] in (["noul"], ["predicate"])
    expected = peer.probabilities("Help!", [False, True])
    np.testing.assert_allclose(p, expected if words[0] == "No" else expected[::-1], atol=1e-12)


def test_what_a_word_means_is_the_description_of_its_option(peer):
    lm = load(peer.url, model="m")
    lm.loglikelihoods([ask("a", ("billing: charges, refunds", "praise")), ask("b", ("No: all is calm", "Yes"))])
    first, second = sorted(peer.requests, key=lambda body: body["state"])
    assert first["questions"]["q0"]["criteria"] == {"billing": "charges, refunds", "praise": None}
    assert second["questions"]["q0"]["criteria"] == {"false": "all is calm"}


def test_several_labels_of_a_text_are_questions_of_one_request(peer):
    words = Verbalizer({"billing": "billing", "praise": "praise"}, multi_label=True)
    clf = Classifier(load(peer.url, model="m"), verbalizer=words).fit()
    assert clf.predict_proba(["Help!"]).shape == (1, 2)
    [body] = peer.requests
    assert [question["instructions"] for question in body["questions"].values()] == [
        "Is this text about billing?",
        "Is this text about praise?",
    ]


@pytest.mark.parametrize("calibration", ["contextual", "batch", "learned", "auto", "domain-context"])
def test_calibrations_work(peer, calibration):
    texts, labels = TEXTS[:3] * 4, CLASSES * 4
    clf = Classifier(load(peer.url, model="m"), strategy=Prompting(calibration=calibration)).fit(texts, labels)
    assert clf.predict(TEXTS[:3]).tolist() == CLASSES


def test_auto_learns_from_labels(peer):
    clf = Classifier(load(peer.url, model="m"), random_state=0).fit(TEXTS[:3] * 4, CLASSES[::-1] * 4)
    assert clf.predict(TEXTS[:3]).tolist() == CLASSES[::-1]


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (Prompting(shots=2), "has no place for shots=2"),
        (Prompting(read="generate"), "can't generate"),
        (Prompting(calibration="pmi"), "domain_premise|premise or state"),
        (Channel(), "causal language model"),
        (Readout("hidden"), "does not show its hidden"),
        (FineTuning(), "DecisionsLM"),
    ],
    ids=str,
)
def test_strategies_that_need_more_are_refused(peer, strategy, words):
    clf = Classifier(load(peer.url, model="m"), strategy=strategy)
    with pytest.raises((UnsupportedError, ValueError), match=words):
        clf.fit(TEXTS[:3] * 2, CLASSES * 2)


def test_the_label_mass_is_what_the_server_says(peer):
    clf = Classifier(load(peer.url, model="m"), strategy=Prompting()).fit(None, CLASSES)
    with pytest.raises(UnsupportedError, match="has no label mass"):
        clf.label_mass(TEXTS)
    peer.mass = 0.75
    assert clf.label_mass(TEXTS).tolist() == [0.75] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda answer: answer["probabilities"].pop("praise"), "Without one: .*praise"),
        (lambda answer: answer["probabilities"].update(billing=0.9, praise=0.9), "sum of 1.8"),
        (lambda answer: answer["probabilities"].update(billing=-1, praise=2), "from 0 to 1"),
        (lambda answer: answer.update(type="noul", noul=0.5), "of type 'noul'"),
    ],
)
def test_a_wrong_answer_is_never_used(peer, change, words):
    peer.script = [changed(lambda body: change(body["answers"]["q0"]))]
    with pytest.raises(ServerError, match=f"gave no usable answer.*{words}"):
        load(peer.url, model="m").loglikelihoods([ask("a")])


def test_a_question_that_the_model_refuses_is_an_error_and_the_others_are_kept(peer):
    lm = load(peer.url, model="m", api="openai", concurrency=1)
    refused = changed(lambda body: body.update(answers=[{"type": "refusal", "name": None}]))
    peer.script = [answer, refused]
    with pytest.raises(ServerError, match="The model refused to answer the question 'Which\\?'"):
        lm.loglikelihoods([ask("a"), ask("b"), ask("c")])
    lm.loglikelihoods([ask("a"), ask("c"), ask("d")])
    assert states(peer) == ["a", "b", "c", "d"]


def test_zeros_that_rounding_made_become_half_a_step_and_it_is_said_once(peer):
    peer.decimals = 2
    lm = load(peer.url, model="m")
    with pytest.warns(FewshotWarning, match="rounds its probabilities") as caught:
        [p] = probabilities(lm, [ask("love " * 20)])
    assert len(caught) == 1
    np.testing.assert_allclose(p, [0.005 / 1.005, 1 / 1.005])
    assert np.isfinite(probabilities(lm, [ask("love " * 21)])).all()


def test_many_zeros_do_not_outweigh_what_the_model_said():
    p = floored(np.array([0.98, *np.zeros(254)]), 0.005)
    assert p.sum() == pytest.approx(1)
    assert 0.97 < p[0] < 0.98
    assert (floored(np.array([0.5, 0.5]), 0.005) == 0.5).all()
    assert floored(np.array([1.0, 0.0]), 0).tolist() == [1, 0]


def test_another_model_behind_the_name_warns_with_both_and_changes_the_fingerprint(peer):
    lm = load(peer.url, model="jev-latest")
    clf = Classifier(lm).fit(None, CLASSES)
    clf.predict(TEXTS[:1])
    before = lm.fingerprint
    assert "jev-1.13.0" in before
    peer.model = "jev-1.14.0"
    with pytest.warns(FewshotWarning, match="now answered by 'jev-1.14.0', and was by 'jev-1.13.0'"):
        clf.predict(TEXTS[1:2])
    assert lm.fingerprint == before.replace("1.13", "1.14")


def test_a_cache_keeps_no_score_of_another_model(peer, tmp_path):
    lm = CachedLM(load(peer.url, model="m"), tmp_path / "scores")
    lm.loglikelihoods([ask("a")])
    old, peer.model = lm.fingerprint, "m-2"
    with pytest.warns(FewshotWarning, match="now answered by 'm-2'"):
        lm.loglikelihoods([ask("b")])  # it may be of either
    assert lm.fingerprint != old
    n = len(peer.requests)
    for _ in range(2):
        lm.loglikelihoods([ask("a"), ask("b")])
    assert sorted(states(peer)[n:]) == ["a", "b"]


def test_the_fingerprint_tells_servers_apart_unless_they_are_named(peer):
    with serving() as other:
        made = [load(one.url, model="m") for one in (peer, other)]
        named = [load(one.url, model="m", server="prod") for one in (peer, other)]
        assert len({lm.fingerprint for lm in made}) == 2
        assert len({lm.fingerprint for lm in named}) == 1
        assert not any(port in made[0].fingerprint for port in re.findall(r":(\d+)/", peer.url))


def test_usage_counts_and_costs(peer):
    lm = load(peer.url, model="m", prices={"input": 2, "output": 10})
    lm.loglikelihoods([ask("a"), ask("a", question="Why? "), ask("b")])
    spent = lm.usage
    assert (spent.requests, spent.input_tokens, spent.output_tokens) == (2, 30, 3)
    assert spent.cost == pytest.approx((30 * 2 + 3 * 10) / 1e6)
    assert load(peer.url, model="m").usage.cost is None


def test_copies_and_pickles_are_recipes_that_go_on(peer):
    lm = load(peer.url, model="m")
    before = lm.fingerprint
    for twin in (copy.deepcopy(lm), pickle.loads(pickle.dumps(lm))):
        assert twin.fingerprint == before
        assert twin.usage.requests == 0
        assert probabilities(twin, [ask("I love it.")])[0].argmax() == 1
    peer.model = "m-2"
    with pytest.warns(FewshotWarning, match="now answered by 'm-2'"):
        twin.loglikelihoods([ask("b")])


def test_a_kept_classifier_is_given_its_server_again(peer, tmp_path):
    lm = load(peer.url, model="m")
    Classifier(lm).fit(None, CLASSES).save(tmp_path / "kept")
    n = len(peer.requests)
    with pytest.raises(UnsupportedError, match=r"answers behind an address, which is not kept.*Give it"):
        Classifier.load(tmp_path / "kept")
    assert len(peer.requests) == n  # reading a folder asks nobody
    again = Classifier.load(tmp_path / "kept", model=load(peer.url, model="m"))
    assert again.predict(TEXTS[:3]).tolist() == CLASSES
    with pytest.raises(ModelLoadError, match="is not a model that was kept"):
        Classifier.load(tmp_path / "kept", model=load(peer.url, model="other"))


def test_two_threads_wait_for_their_models_at_once():
    both = threading.Barrier(2, timeout=10)
    lm = FakeLM(lambda query: both.wait() * 0.0 + np.zeros(2), kind="decision")
    clf = Classifier(lm, strategy=Prompting()).fit(None, ["a", "b"])
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(clf.predict, [["one"], ["two"]]))
    assert [len(one) for one in found] == [1, 1]
