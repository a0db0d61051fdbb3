"""CachedLM: scores come back as they were, from a file that survives kills, company and strangers."""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from fewshot import CachedLM, Classifier, FakeLM, InputError, Prompting, UnsupportedError, Verbalizer
from fewshot.models.base import Query, Scores, Turn, is_generator, is_language_model, is_window
from tests.contract import HashEncoder

QUERIES = [Query(f"text {i} \ud800", ("a", "b c"), ".", (Turn("user", f"q{i}"),)) for i in range(5)]


class Counting:
    """A model that counts what it is asked, and may die on the way."""

    fingerprint = "counting:1"

    def __init__(self, dies_after: int | None = None) -> None:
        self.asked: list[Query] = []
        self.dies_after = dies_after

    def loglikelihoods(self, queries):
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += queries
        return [Scores(np.array([-0.1, len(q.prefix) / 7]), np.array([1, 2]), 0.25) for q in queries]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.sqlite"


def same(a: list[Scores], b: list[Scores]) -> bool:
    return all(
        x.logprobs.tolist() == y.logprobs.tolist() and x.n_tokens.tolist() == y.n_tokens.tolist() and x.mass == y.mass
        for x, y in zip(a, b, strict=True)
    )


def test_scores_come_back_as_they_were_and_are_asked_once(path):
    lm = Counting()
    first = CachedLM(lm, path).loglikelihoods([*QUERIES, QUERIES[0]])
    assert lm.asked == QUERIES
    again = CachedLM(lm, path).loglikelihoods([*QUERIES, QUERIES[0]])
    assert lm.asked == QUERIES
    assert same(first, again)
    assert same(first, Counting().loglikelihoods([*QUERIES, QUERIES[0]]))


def test_only_scores_of_a_language_model_are_stored(path):
    with pytest.raises(UnsupportedError, match=r"stores the scores of a language model, and HashEncoder.* is none"):
        CachedLM(HashEncoder(), path)
    assert not path.exists()


def test_another_model_or_any_part_of_the_query_is_another_key(path):
    lm = Counting()
    cached = CachedLM(lm, path)
    base = Query("p", ("a", "b"), "s", (Turn("user", "c"),))
    others = [
        Query("p!", ("a", "b"), "s", (Turn("user", "c"),)),
        Query("p", ("b", "a"), "s", (Turn("user", "c"),)),
        Query("p", ("a", "b"), "", (Turn("user", "c"),)),
        Query("p", ("a", "b"), "s", (Turn("system", "c"),)),
        Query("p", ("a", "b"), "s"),
    ]
    cached.loglikelihoods([base, *others])
    assert len(lm.asked) == 6
    twin = Counting()
    twin.fingerprint = "counting:2"
    CachedLM(twin, path).loglikelihoods([base])
    assert len(twin.asked) == 1


def test_a_killed_run_resumes_where_it_was(path, monkeypatch):
    monkeypatch.setattr("fewshot.models.wrappers._CHUNK", 2)
    with pytest.raises(KeyboardInterrupt):
        CachedLM(Counting(dies_after=2), path).loglikelihoods(QUERIES)
    lm = Counting()
    CachedLM(lm, path).loglikelihoods(QUERIES)
    assert lm.asked == QUERIES[2:]


def test_two_processes_share_one_file(path):
    code = (
        "import sys; from tests.test_cached import *\n"
        "queries = [Query(f't{i}', ('a', 'b')) for i in range(int(sys.argv[2]), int(sys.argv[2]) + 400)]\n"
        "for i in range(0, 400, 20): CachedLM(Counting(), sys.argv[1]).loglikelihoods(queries[i:i + 20])"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), start]) for start in ("0", "200")]
    assert [process.wait() for process in running] == [0, 0]
    lm = Counting()
    CachedLM(lm, path).loglikelihoods([Query(f"t{i}", ("a", "b")) for i in range(600)])
    assert not lm.asked


def test_a_foreign_or_damaged_file_is_refused_and_left_as_it_is(tmp_path, path):
    text = tmp_path / "notes.txt"
    text.write_text("these are my notes, and they are long enough to be no database " * 20)
    foreign = tmp_path / "other.sqlite"
    with sqlite3.connect(foreign) as file:
        file.execute("CREATE TABLE mine (x)")
    file.close()
    for stranger in (text, foreign):
        before = stranger.read_bytes()
        with pytest.raises(InputError, match="left as"):
            CachedLM(Counting(), stranger)
        assert stranger.read_bytes() == before
    with pytest.raises(InputError, match="can't be used"):
        CachedLM(Counting(), tmp_path / "no such folder" / "x.sqlite")


def test_it_is_the_model_in_everything_else(path):
    inner = FakeLM(lambda query: [float(len(word)) for word in query.candidates], kind="masked", limit=77)
    lm = CachedLM(inner, path)
    assert is_language_model(lm)
    assert is_window(lm)
    assert is_generator(lm)
    assert (lm.kind, lm.limit) == ("masked", 77)  # type: ignore[attr-defined]
    assert not is_generator(CachedLM(Counting(), path))
    assert repr(lm).startswith("CachedLM(FakeLM(")
    with pytest.raises(AttributeError):
        lm.nothing_of_the_kind  # type: ignore[attr-defined]  # noqa: B018


def test_another_aggregation_costs_no_model_call(path):
    lm = Counting()
    words = {"x": ["a", "b c"], "y": "d"}
    counted = FakeLM(lambda query: lm.asked.append(query) or [float(len(word)) for word in query.candidates])
    for aggregation in ("mean", "max", "logsumexp"):
        verbalizer = Verbalizer(words, word_aggregation=aggregation)
        clf = Classifier(CachedLM(counted, path), "{{ text }} {{ label }}", verbalizer, Prompting()).fit()
        clf.predict(["one", "two"])
    assert len(lm.asked) == 2


def test_it_pickles(path):
    lm = CachedLM(Counting(), path)
    assert same(pickle.loads(pickle.dumps(lm)).loglikelihoods(QUERIES), lm.loglikelihoods(QUERIES))
