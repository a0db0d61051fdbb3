"""A server of typed decisions as a language model: nothing lost, nothing wrong, no key elsewhere."""

from __future__ import annotations

import copy
import logging
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from fewshot import (
    CachedLM,
    Channel,
    Classifier,
    DecisionsLM,
    FewshotWarning,
    FineTuning,
    ModelLoadError,
    ParameterError,
    Prompting,
    Query,
    Readout,
    ServerError,
    UnsupportedError,
    Verbalizer,
    load,
)
from fewshot.models.base import Turn
from fewshot.models.remote import endpoint
from fewshot.models.remote.planning import floored
from tests.peers import answer, changed, half, hang_up, serving, slow, status, truncated

CLASSES = ["billing", "bug report", "praise"]
TEXTS = ["I was charged twice.", "It crashes.", "I love it.", "charged, charged, and a crash"]
KEY = "jv-0123456789-secret"
APIS = pytest.mark.parametrize("api", ["systemone", "openai"])


@pytest.fixture
def peer():
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch):
    monkeypatch.setattr(endpoint, "_SHORTEST_WAIT", 0.001)


def ask(state, candidates=("billing", "praise"), question="Which? "):
    return Query(question, tuple(candidates), "", (Turn("premise", state),))


def probabilities(lm, queries):
    return [np.exp(scores.logprobs) for scores in lm.loglikelihoods(queries)]


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def states(peer):
    return [body.get("state", body.get("input")) for body in peer.requests]


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


@APIS
@pytest.mark.parametrize(
    "fault",
    [hang_up, half, truncated, *(status(code) for code in (408, 409, 429, 500, 502, 503, 529)), slow(0.5)],
    ids=["hang up", "half", "truncated", "408", "409", "429", "500", "502", "503", "529", "slow"],
)
def test_what_may_be_better_later_is_asked_again(peer, api, fault):
    lm = load(peer.url, model="m", api=api, timeout=0.3, concurrency=2)
    peer.script = [fault, fault]
    queries = [ask(text, CLASSES) for text in TEXTS]
    for text, p in zip(TEXTS, probabilities(lm, queries), strict=True):
        np.testing.assert_allclose(p, peer.probabilities(text, CLASSES), atol=1e-12)
    assert len(peer.requests) == 6


@pytest.mark.parametrize("fault", [hang_up, truncated, status(503, {"detail": {"message": "too busy"}})])
def test_the_last_try_says_what_went_wrong(peer, fault):
    lm = load(peer.url, model="m", retries=2)
    peer.script = [fault] * 3
    with pytest.raises(ServerError, match=r"tried 3 times: (503 too busy|Remote|Read|The body is not JSON)"):
        lm.loglikelihoods([ask("a")])
    assert len(peer.requests) == 3


def test_nobody_at_the_address_is_an_error_with_the_address():
    with pytest.raises(ServerError, match=r"http://127.0.0.1:9/v1/systemone gave no answer, tried 1 time: Connect"):
        load("http://127.0.0.1:9/v1", model="m", retries=0).loglikelihoods([ask("a")])


@pytest.mark.parametrize("said", ["0.4", "date"])
def test_retry_after_is_waited_for(peer, said):
    lm = load(peer.url, model="m")
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 1.9))
    peer.script = [status(429, Retry_After=later if said == "date" else said)]
    start = time.monotonic()
    lm.loglikelihoods([ask("a")])
    assert 0.35 < time.monotonic() - start < 10


def test_a_long_wait_is_the_callers_to_decide(peer):
    peer.script = [status(429, Retry_After="3600")]
    with pytest.raises(ServerError, match="asks to wait 3600 seconds"):
        load(peer.url, model="m").loglikelihoods([ask("a")])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            status(404, {"detail": {"error_type": "not_found_error", "message": "no model m"}}),
            "refuses: 404 no model m",
        ),
        (status(422, {"detail": [{"loc": ["body", "state"], "msg": "too long"}]}), "422 body.state: too long"),
        (status(400, {"error": {"message": "bad input", "type": "x"}}), "400 bad input"),
        (status(413, b"<html>too large</html>"), "413 <html>too large"),
        (status(401, {"error": {"message": "no key"}}), "401 no key Set key_env"),
        (status(307, Location="http://127.0.0.2:1/v1"), "redirects to 127.0.0.2, and no redirect is followed"),
        (status(302, Location="/elsewhere"), "redirects, and no"),
    ],
)
def test_a_refusal_is_final_and_in_the_servers_words(peer, fault, words):
    peer.script = [fault]
    with pytest.raises(ServerError, match=re.escape(words)):
        load(peer.url, model="m").loglikelihoods([ask("a")])
    assert len(peer.requests) == 1


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


def test_requests_run_at_once_but_not_more_than_allowed(peer):
    peer.delay = 0.1
    load(peer.url, model="m", concurrency=3).loglikelihoods([ask(str(i)) for i in range(9)])
    assert 1 < peer.most_at_once <= 3
    assert len(set(states(peer))) == len(states(peer)) == 9


def test_many_threads_ask_one_model(peer):
    lm, found = load(peer.url, model="m"), {}
    expected = {text: peer.probabilities(text, CLASSES) for text in TEXTS}
    work = [threading.Thread(target=lambda t=t: found.update({t: probabilities(lm, [ask(t, CLASSES)])})) for t in TEXTS]
    for one in work:
        one.start()
    for one in work:
        one.join()
    for text in TEXTS:
        np.testing.assert_allclose(found[text][0], expected[text], atol=1e-12)
    assert lm.usage.requests == 4


def test_what_was_answered_before_an_error_is_not_asked_again(peer, tmp_path):
    lm = CachedLM(load(peer.url, model="m", concurrency=1, retries=0), tmp_path / "scores")
    n = len(peer.requests)
    peer.script = [answer, answer, status(500)]
    queries = [ask(str(i)) for i in range(4)]
    with pytest.raises(ServerError, match="500"):
        lm.loglikelihoods(queries)
    lm.loglikelihoods(queries)
    lm.loglikelihoods(queries)
    assert states(peer)[n:] == ["0", "1", "2", "2", "3"]


def test_ctrl_c_stops_at_once_and_keeps_what_was_answered(peer):
    lm, caller = load(peer.url, model="m", concurrency=2), threading.main_thread()
    peer.script = [answer] * 2 + [slow(6)] * 2

    def interrupt():
        while len(peer.requests) < 4:
            time.sleep(0.01)
        signal.pthread_kill(caller.ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    queries, start = [ask(str(i)) for i in range(40)], time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        lm.loglikelihoods(queries)
    assert time.monotonic() - start < 6
    time.sleep(0.2)
    assert len(peer.requests) == 4  # nothing more was begun
    lm.loglikelihoods(queries)  # over new connections
    assert time.monotonic() - start < 6
    asked = states(peer)
    assert [asked.count(state) for state in asked[:2]] == [1, 1]
    assert len(set(asked)) == 40


@APIS
def test_the_key_goes_to_its_server_and_nowhere_else(peer, api, monkeypatch, caplog, tmp_path, capfd):
    monkeypatch.setenv("OUR_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with serving() as other, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        lm = load(peer.url, model="m", api=api, key_env="OUR_KEY", retries=1)
        said = [repr(lm), lm.fingerprint, str(vars(lm)), str(vars(lm.endpoint))]
        echo = {"error": {"message": f"bad key {KEY}"}}
        faults = [status(401, echo), status(307, Location=f"{other.url}/x"), hang_up, status(500, echo), truncated]
        for fault in faults:
            peer.script = [fault, fault]
            with pytest.raises(ServerError) as caught:
                lm.loglikelihoods([ask("a")])
            said += [f"{error!r} {error} {vars(error)} {error.args}" for error in chain(caught.value)]
            peer.script = []
        clf = Classifier(lm).fit(None, CLASSES)
        clf.predict(TEXTS)
        clf.save(tmp_path / "kept")
        kept = [file.read_bytes() for file in (tmp_path / "kept").rglob("*") if file.is_file()]
        assert other.requests == []
    assert all(f"authorization: bearer {KEY}".lower() in raw.lower() for raw in peer.raw)
    assert all(KEY not in raw.partition("\n\n")[2] and KEY not in raw.partition("\n")[0] for raw in peer.raw)
    said += [str(one.message) for one in warned] + list(capfd.readouterr()) + [caplog.text]
    assert KEY not in "\n".join(said)
    assert KEY.encode() not in pickle.dumps((lm, clf)) + b"".join(kept)
    assert peer.url.encode().removeprefix(b"http://").removesuffix(b"/v1") not in b"".join(kept)


def test_the_key_is_read_when_it_is_needed(peer, monkeypatch):
    lm = load(peer.url, model="m", key_env="OUR_KEY")
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(ParameterError, match="The environment variable OUR_KEY, which key_env names, is not set"):
        lm.loglikelihoods([ask("a")])
    monkeypatch.setenv("OUR_KEY", f"{KEY}\r\nX-Other: 1")
    with pytest.raises(ParameterError, match="what no key can be") as caught:
        lm.loglikelihoods([ask("a")])
    assert KEY not in str(caught.value)
    monkeypatch.setenv("OUR_KEY", KEY)
    lm.loglikelihoods([ask("a")])
    assert len(peer.raw) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"key_env": KEY}, "never the key itself"),
        ({"key_env": "lower_case_key"}, "never the key itself"),
        ({"url": "http://somebody.example/v1", "key_env": "OUR_KEY"}, "in the open"),
        ({"url": f"https://me:{KEY}@somebody.example/v1"}, "has a user, a password"),
        ({"url": f"https://somebody.example/v1?key={KEY}"}, "a query"),
        ({"url": "https:///v1"}, "must look like"),
        ({"url": "https://somebody.example:port/v1"}, "is none"),
        ({"model": " "}, "the name that the server knows"),
        ({"api": "rest"}, "'systemone' or 'openai'"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"prices": {"input": 1}}, "prices"),
        ({"prices": {"input": 1, "output": -1}}, "prices"),
        ({"server": 7}, "server"),
    ],
)
def test_bad_parameters_are_refused_and_no_secret_is_quoted(given, words):
    given = {"url": "https://somebody.example/v1", "model": "m", **given}
    with pytest.raises(ParameterError, match=words) as caught:
        DecisionsLM(**given)
    assert KEY not in str(caught.value)
    assert "lower_case" not in str(caught.value)


def test_load_says_what_an_address_needs():
    with pytest.raises(ModelLoadError, match="name one"):
        load("http://127.0.0.1:1/v1")
    with pytest.raises(ModelLoadError, match="device would change nothing"):
        load("http://127.0.0.1:1/v1", model="m", device="cpu")
    with pytest.raises(ModelLoadError, match="is the model itself"):
        load("embedded:masked", model="m")


def test_an_address_of_a_route_is_taken_as_it_is(peer):
    load(f"{peer.url}/decisions/", model="m").loglikelihoods([ask("a")])
    load(peer.url, model="m").loglikelihoods([ask("a")])
    assert [raw.partition(" HTTP")[0] for raw in peer.raw] == ["POST /v1/decisions", "POST /v1/systemone"]
    assert all("state" in body for body in peer.requests)


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


def test_import_takes_no_library_of_http():
    code = "import sys, fewshot.models.remote.decisions; sys.exit(bool({'httpx2', 'torch'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
