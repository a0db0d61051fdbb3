"""CachedLM under harm: flipped bits, kills, full disks, strangers, and a crowd of threads and processes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import warnings

import numpy as np
import pytest

from fewshot import CachedLM, InputError, UnsupportedError
from fewshot.errors import FewshotWarning
from fewshot.models.base import Query, Scores

pytestmark = pytest.mark.long

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def right(query: Query) -> list[float]:
    return [float(len(query.prefix) + i) / 7 for i, _ in enumerate(query.candidates)]


class Steady:
    """A model whose right scores any test can tell, and which counts what it is asked."""

    fingerprint = "steady:1"

    def __init__(self) -> None:
        self.asked: list[Query] = []

    def loglikelihoods(self, queries):
        self.asked += queries
        return [Scores(np.array(right(q)), np.arange(1, 1 + len(q.candidates)), 0.5) for q in queries]


def queries(n: int, start: int = 0) -> list[Query]:
    return [Query(f"{'x' * (i % 5)} text {i}", ("a", "b", "c")[: 2 + i % 2]) for i in range(start, start + n)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.sqlite"


def check(found: list[Scores], asked: list[Query]) -> None:
    assert [one.logprobs.tolist() for one in found] == [right(query) for query in asked]


def emptied(path) -> None:
    """Bring what SQLite has beside the file into the file."""
    file = sqlite3.connect(path)
    file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.close()


def test_a_flipped_bit_is_never_served(path, tmp_path):
    asked, rng = queries(60), random.Random(0)
    CachedLM(Steady(), path).loglikelihoods(asked)
    emptied(path)
    whole = path.read_bytes()
    again = refused = 0
    for i in range(60):
        harmed = bytearray(whole)
        for _ in range(1 + i % 3):
            harmed[rng.randrange(len(harmed))] ^= 1 << rng.randrange(8)
        copy = tmp_path / f"{i}.sqlite"
        copy.write_bytes(harmed)
        lm = Steady()
        said = ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                check(CachedLM(lm, copy).loglikelihoods(asked), asked)
            except InputError as error:
                said = str(error)
        assert not said or copy.name in said
        refused += bool(said)
        assert not caught or copy.name in str(caught[0].message)
        again += bool(lm.asked)
    assert again  # what was hit in its numbers is scored again
    assert again + refused < 60  # and what hit nothing that is used is served


def test_an_entry_that_is_not_what_was_written_is_scored_again(path):
    asked = queries(3)
    for harm in ("x'0011'", "NULL", "'text'", "7", "substr(value, 1, length(value) - 8)", "value || x'00'"):
        CachedLM(Steady(), path).loglikelihoods(asked)
        with sqlite3.connect(path) as file:
            file.execute(f"UPDATE scores SET value = {harm}")
        file.close()
        lm = Steady()
        with pytest.warns(FewshotWarning, match=r"scores\.sqlite' is damaged: 3 of its entries"):
            check(CachedLM(lm, path).loglikelihoods(asked), asked)
        assert lm.asked == asked


def test_an_entry_under_another_key_is_not_that_keys(path):
    asked = queries(4)
    CachedLM(Steady(), path).loglikelihoods(asked)
    with sqlite3.connect(path) as file:
        (one, first), (other, second) = file.execute("SELECT key, value FROM scores LIMIT 2").fetchall()
        file.execute("UPDATE scores SET value = ? WHERE key = ?", (second, one))
        file.execute("UPDATE scores SET value = ? WHERE key = ?", (first, other))
    file.close()
    with pytest.warns(FewshotWarning, match="2 of its entries"):
        check(CachedLM(Steady(), path).loglikelihoods(asked), asked)


def test_scores_for_another_number_of_candidates_are_neither_kept_nor_handed_out(path):
    class Short(Steady):
        def loglikelihoods(self, queries):
            return [Scores(np.zeros(2), np.ones(2, dtype=np.int64)) for _ in queries]

    asked = [Query("t", ("a", "b", "c"))]
    with pytest.raises(UnsupportedError, match=r"two numbers a candidate.*\[3\] candidates. Got \[\(2, 2\)\]"):
        CachedLM(Short(), path).loglikelihoods(asked)
    lm = Steady()
    check(CachedLM(lm, path).loglikelihoods(asked), asked)
    assert lm.asked == asked


def test_entries_without_checksums_are_set_aside(path):
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("CREATE TABLE scores (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        file.execute("PRAGMA application_id = 0x66657773")
        file.execute("PRAGMA user_version = 1")
    asked = queries(5)
    probe = CachedLM(Steady(), path.with_name("probe.sqlite"))
    with sqlite3.connect(path) as file:
        rows = [(probe._key(query), np.zeros(5 + 2 * (i % 2)).tobytes()) for i, query in enumerate(asked)]
        file.executemany("INSERT INTO scores VALUES (?, ?)", rows)
    file.close()
    lm = Steady()
    check(CachedLM(lm, path).loglikelihoods(asked), asked)
    assert lm.asked == asked
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM scores_without_checksums").fetchone() == (5,)
    file.close()
    check(CachedLM(lm, path).loglikelihoods(asked), asked)
    assert lm.asked == asked


def test_what_is_known_is_written_while_the_call_is_at_work(path):
    class Dying(Steady):
        def loglikelihoods(self, queries):
            if len(self.asked) >= 40:
                raise KeyboardInterrupt
            return super().loglikelihoods(queries)

    asked = queries(200)
    with pytest.raises(KeyboardInterrupt):
        CachedLM(Dying(), path).loglikelihoods(asked)
    lm = Steady()
    check(CachedLM(lm, path).loglikelihoods(asked), asked)
    assert lm.asked == asked[48:]  # the first 16, and the next 32


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_process_killed_at_any_moment_leaves_a_whole_file(path):
    class Telling(Steady):
        def loglikelihoods(self, queries):
            os.write(tell, b".")
            return super().loglikelihoods(queries)

    asked, rng, kept = queries(2000), random.Random(1), 0
    for _ in range(30):
        hear, tell = os.pipe()
        child = os.fork()
        if not child:
            try:
                CachedLM(Telling(), path).loglikelihoods(asked)
            finally:
                os._exit(0)
        os.close(tell)
        for _ in range(rng.randrange(1, 5)):
            os.read(hear, 1)  # it is at work
        time.sleep(rng.random() * 0.003)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(hear)
        cached = CachedLM(Steady(), path)
        known = cached._known({cached._key(query): query for query in asked})
        assert len(known) >= kept
        kept = len(known)
        with sqlite3.connect(path) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        file.close()
    assert kept
    lm = Steady()
    check(CachedLM(lm, path).loglikelihoods(asked), asked)
    assert len(lm.asked) == len(asked) - kept


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_two_processes_and_eight_threads_begin_one_file_at_once(path):
    wrong: list[BaseException] = []

    def crowd(offset: int) -> None:
        def work(i: int) -> None:
            try:
                for start in range(0, 60, 20):
                    own = queries(40, offset + start + 5 * i)
                    check(CachedLM(Steady(), path).loglikelihoods(own), own)
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    child = os.fork()
    if not child:
        crowd(0)
        os._exit(len(wrong))
    crowd(30)
    assert not wrong
    assert os.waitpid(child, 0)[1] == 0
    lm = Steady()
    CachedLM(lm, path).loglikelihoods(queries(120))
    assert not lm.asked


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_and_leaves_no_half_entry(small_disk):
    path, asked = small_disk / "scores.sqlite", queries(4000)
    with pytest.warns(FewshotWarning, match=r"scores\.sqlite' can't be written to"):
        check(CachedLM(Steady(), path).loglikelihoods(asked), asked)
    lm = Steady()
    with pytest.warns(FewshotWarning, match="can't be written to"):
        check(CachedLM(lm, path).loglikelihoods(asked), asked)
    assert 0 < len(lm.asked) < 4000  # what was written is used
    with pytest.raises(InputError, match="can't be used"):
        CachedLM(Steady(), small_disk / "other.sqlite")


def test_what_can_only_be_read_is_used_and_not_added_to(path, monkeypatch):
    asked = queries(6)
    CachedLM(Steady(), path).loglikelihoods(asked[:4])
    emptied(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK)  # the superuser may write anywhere
    lm = Steady()
    with pytest.warns(FewshotWarning, match=r"can't be written to \(attempt to write a readonly database\): 2 scores"):
        check(CachedLM(lm, path).loglikelihoods(asked), asked)
    assert lm.asked == asked[4:]
    assert path.read_bytes() == before
