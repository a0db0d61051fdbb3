"""Forks in the middle of the work, worker processes and scikit-learn's: they find what a lone caller finds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV, cross_val_score

from fewshot import CachedLM, Classifier, Prompting, load
from fewshot.models.encoder import SentenceEncoder
from fewshot.models.text.tokens import PlainTokenizer
from tests.conftest import language_model, pair, sentence_model, tokenizer
from tests.together import LABELS, TEXTS, needs_fork, no_mass, queries

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")]
TEMPLATE = "{{ text }} It was {{ label }}."


def in_a_fork(same) -> int:
    """The status of a forked process: 0 where it finds ``same()`` true; one that waits for ever is killed."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        code = 2
        try:
            code = 0 if same() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@needs_fork
def test_forks_in_the_middle_of_the_work_answer_as_their_parent(tmp_path):
    lm, encoder = load(pair("llama")), SentenceEncoder(sentence_model(), cache_bytes=0)
    cached, over = CachedLM(lm, tmp_path / "scores.sqlite"), threading.Event()
    asked = queries("causal", 2)
    scores, vectors = lm.loglikelihoods(asked)[0].logprobs, encoder.encode(TEXTS[:3])

    def same():
        found = [one.loglikelihoods(asked)[0].logprobs for one in (lm, cached)]
        return np.allclose(found, scores, atol=1e-4) and np.allclose(encoder.encode(TEXTS[:3]), vectors, atol=1e-5)

    def work(i):
        while not over.is_set():
            lm.loglikelihoods(queries("causal", i))
            encoder.encode(TEXTS[i : i + 3])
            cached.loglikelihoods(queries("causal", i))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(5):
        time.sleep(0.005)
        codes.append(in_a_fork(same))
    over.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 5


@needs_fork
def test_a_fork_while_another_thread_is_inside_a_tokenizer_reads_on():
    made = tokenizer("WordPiece")
    plain, long = PlainTokenizer(made), [" ".join(TEXTS) * 20] * 40

    def read(texts):
        with plain.reading(made):
            return made(texts, truncation=True, max_length=9, padding="longest").input_ids

    expected, own = read(TEXTS[:2]), made.backend_tokenizer
    begun, rounds = threading.Event(), []

    def work():
        for _ in range(3):
            with plain.reading(made):
                begun.set()
                rounds.append(len(made(long).input_ids))  # its backend is locked, and neither cuts nor pads

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(20)
    time.sleep(0.05)
    codes = [in_a_fork(lambda: made.backend_tokenizer is own and read(TEXTS[:2]) == expected) for _ in range(2)]
    busy = not rounds
    thread.join()
    assert codes == [0, 0]
    assert busy  # else the forks found nobody at work
    assert made.backend_tokenizer is own


def of_the_same_file(path) -> list[list[float]]:
    lm = CachedLM(language_model("gpt2"), path)
    return [one.logprobs.tolist() for one in lm.loglikelihoods(queries("causal", 2))]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_score_as_their_parent(start, tmp_path):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system can't start processes by {start}")
    expected = of_the_same_file(tmp_path / "own.sqlite")
    with multiprocessing.get_context(start).Pool(2 if start == "fork" else 1) as pool:
        for found in pool.map_async(of_the_same_file, [tmp_path / "scores.sqlite"] * 4, 1).get(120):
            np.testing.assert_allclose(found, expected, atol=1e-4)


@no_mass
def test_scikit_learn_s_threads_find_what_a_lone_caller_finds():
    clf = Classifier(language_model("gpt2"), TEMPLATE, strategy=Prompting(2), random_state=0)
    given = {"X": TEXTS[:12], "y": LABELS, "cv": 3, "scoring": "neg_log_loss"}
    grid = GridSearchCV(clf, {"strategy__shots": [0, 2]}, cv=2, scoring="neg_log_loss")
    expected, one = cross_val_score(clf, **given), grid.fit(TEXTS[:12], LABELS).cv_results_["mean_test_score"]
    with parallel_config(backend="threading", n_jobs=2):  # test_contract.py has its processes
        np.testing.assert_allclose(cross_val_score(clf, **given), expected, atol=1e-4)
        found = grid.fit(TEXTS[:12], LABELS).cv_results_["mean_test_score"]
    np.testing.assert_allclose(found, one, atol=1e-4)
