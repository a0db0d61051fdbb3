"""What a language model behind an address costs, and what a cache keeps of it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

import numpy as np
import pytest

from fewshot import (
    CachedLM,
    Classifier,
    FewshotWarning,
    ModelLoadError,
    Prompting,
    Query,
    Questionnaire,
    UnsupportedError,
    estimate,
)
from fewshot.models.remote import endpoint
from tests.lm_peers import CLASSES, DIALECTS, QUERIES, TEXTS, LMPeer, agree, asking, scores, serving_lm
from tests.peers import answer, held

#: Random weights expect no label word.
pytestmark = pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning", "ignore:.*name no class")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(endpoint, "_SHORTEST_WAIT", 0.001)


@pytest.fixture
def peer():
    with serving_lm(LMPeer()) as found:
        yield found


def test_an_estimate_is_what_is_asked_then_and_sends_no_text():
    for dialect in DIALECTS:
        with serving_lm(LMPeer(dialect)) as peer:
            lm = asking(peer, prices={"input": 2.0, "output": 10.0})
            clf = Classifier(lm, strategy=Prompting(shots=2), random_state=0).fit(TEXTS * 2, CLASSES * 2)
            _ = lm.limit
            start, before = len(peer.requests), lm.usage
            said = estimate(clf, TEXTS)
            assert len(peer.requests) == start
            clf.predict(TEXTS)
            now = lm.usage
            assert said.requests == now.requests - before.requests == len(peer.requests) - start
            assert said.input_tokens == now.input_tokens - before.input_tokens
            assert said.output_tokens == now.output_tokens - before.output_tokens
            assert said.cost == pytest.approx(now.cost - before.cost)


def test_an_estimate_of_generated_answers_is_the_most(peer):
    lm = asking(peer)
    clf = Classifier(lm, strategy=Prompting(read="generate", max_new_tokens=5)).fit(None, CLASSES)
    said, before = estimate(clf, TEXTS), lm.usage
    clf.predict(TEXTS)
    assert said.requests == lm.usage.requests - before.requests
    assert said.input_tokens == lm.usage.input_tokens - before.input_tokens
    assert said.output_tokens >= lm.usage.output_tokens - before.output_tokens
    assert said.cost is None


def test_an_estimate_counts_a_questionnaire_once_and_no_kept_scores(peer, tmp_path):
    lm = CachedLM(asking(peer), tmp_path / "scores")
    one, two = (Classifier(lm, strategy=Prompting()).fit(None, words) for words in (CLASSES, ["calm", "angry"]))
    both = Questionnaire({"topic": one, "mood": two})
    both.fit(None, {"topic": CLASSES, "mood": ["calm", "angry"]})
    said, before = estimate(both, TEXTS), lm.usage.requests
    both.predict(TEXTS)
    assert said.requests == lm.usage.requests - before
    with pytest.raises(UnsupportedError, match="asks no server, or all its answers are in its cache"):
        estimate(both, TEXTS)
    assert estimate(one, [*TEXTS, "new"]).requests > 0
    agree(scores(CachedLM(asking(peer), tmp_path / "scores")), scores(peer.lm))  # no answer of a rehearsal was kept


def test_a_cache_has_each_answer_as_soon_as_it_came(peer, tmp_path):
    lm = CachedLM(asking(peer, concurrency=1, retries=0), tmp_path / "scores")
    gate = threading.Event()
    queries = [Query(f"Text {i}: ", ("a", "b")) for i in range(5)]
    peer.script = [answer] * 6 + [held(gate)]
    thread = threading.Thread(target=lambda: lm.loglikelihoods(queries), daemon=True)
    thread.start()
    while peer.script:
        time.sleep(0.01)
    reader = CachedLM(asking(peer), tmp_path / "scores")
    assert len(reader._known({reader._key(query): query for query in queries})) == 3
    gate.set()
    thread.join()
    assert len(reader._known({reader._key(query): query for query in queries})) == 5


def test_a_cache_sees_other_weights_under_the_same_name(peer, tmp_path):
    path = tmp_path / "scores"
    agree(scores(CachedLM(asking(peer), path)), scores(peer.lm))
    n = len(peer.requests)
    scores(CachedLM(asking(peer), path))
    checked = len(peer.requests) - n  # the probe and the canaries, and nothing else
    peer.shift = 0.5
    with pytest.raises(ModelLoadError, match=r"has other weights than the scores in.*strict=False"):
        CachedLM(asking(peer), path, strict=True)
    peer.shift = 0.7
    with pytest.warns(FewshotWarning, match=r"other weights than the scores.*old scores are not used"):
        lm = CachedLM(asking(peer), path)
    for one, other in zip(scores(lm), peer.lm.loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(one, other.logprobs - 0.7 * other.n_tokens, atol=1e-4)
    peer.shift = 0.0
    n = len(peer.requests)
    agree(scores(CachedLM(asking(peer), path)), scores(peer.lm))  # the former is back, and so are its scores
    assert len(peer.requests) - n == checked


def test_a_cache_keeps_no_score_of_a_model_that_changes_on_the_way(peer, tmp_path):
    lm = CachedLM(asking(peer, concurrency=1), tmp_path / "scores")

    def becomes(handler, asked):
        peer.model, peer.shift = "tiny-2", 1.0
        answer(handler, asked)

    peer.script = [answer] * 8 + [becomes]
    with pytest.warns(FewshotWarning, match="now answered by 'tiny-2'"):
        scores(lm)
    for one, other in zip(scores(lm), peer.lm.loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(one, other.logprobs - other.n_tokens, atol=1e-4)
    peer.model, peer.shift = "tiny", 0.0
    agree(scores(CachedLM(asking(peer), tmp_path / "scores")), scores(peer.lm))


def test_a_cache_that_cannot_be_written_says_so_once(peer, tmp_path, monkeypatch):
    lm = CachedLM(asking(peer), tmp_path / "scores")
    monkeypatch.setattr(CachedLM, "_write", lambda self, part: sqlite3.OperationalError("disk is full"))
    with pytest.warns(FewshotWarning, match=r"can't be written to .disk is full.: 4 scores are used") as caught:
        agree(scores(lm), scores(peer.lm))
    assert len(caught) == 1


def test_the_bar_tells_tokens_and_cost(peer, capsys, monkeypatch):
    from fewshot.models.remote import server

    shown = []

    class Bar:
        def set_postfix_str(self, text, refresh):
            shown.append(text)

        def update(self):
            """Go on."""

    monkeypatch.setattr(server, "show_progress", lambda total, title: contextlib.nullcontext(Bar()))
    lm = asking(peer, prices={"input": 1e6, "output": 0.0}, concurrency=1)
    before = lm.limit and lm.usage
    lm.loglikelihoods(QUERIES)
    tokens = lm.usage.input_tokens + lm.usage.output_tokens - before.input_tokens - before.output_tokens
    assert shown[-1] == f"{tokens} tokens, cost {lm.usage.cost - before.cost:.4g}"
