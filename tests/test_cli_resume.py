"""Output that a kill, a full disk or Ctrl-C can't spoil: old files stay, and what is done is not done again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from fewshot import FakeLM
from fewshot.cli import predicting
from fewshot.cli.part import kept_part
from fewshot.errors import InputError
from fewshot.files import save_text
from tests.command import run

FINGERPRINT = {"now": "slow"}
RUN = {"input": "x", "labels": ["a", "b"]}


@pytest.fixture
def slow(monkeypatch, tmp_path):
    """Twenty rows in steps of two, and a model that counts its rows and fails where it is told to."""
    import fewshot.task.resolve

    asked, fail = [], {}

    def score(query):
        text = query.prefix.rsplit("Text:", 1)[-1].strip().split("\n")[0]
        if text in fail:
            raise fail.pop(text)
        asked.append(text)
        return [float(word in text) for word in query.candidates]

    monkeypatch.setattr(predicting, "STEP", 2)

    def load(model):
        made = FakeLM(score)
        made.fingerprint = FINGERPRINT["now"]  # its own would change with what it has counted
        return made

    monkeypatch.setitem(FINGERPRINT, "now", "slow")
    monkeypatch.setattr(fewshot.task.resolve, "load", load)
    file = tmp_path / "mail.csv"
    file.write_text("text\n" + "".join(f"{('good', 'bad')[i % 3 > 0]} {i}\n" for i in range(20)))
    command = ("classify", file, "--labels", "good,bad", "--strategy", "prompting", "--output", tmp_path / "out.csv")
    return command, asked, fail


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_interrupted_run_goes_on_and_leaves_the_old_output_until_it_is_whole(slow, monkeypatch, capsys, tmp_path):
    command, asked, fail = slow
    out = tmp_path / "out.csv"
    (tmp_path / ".out.csv.0123456789ab.tmp.csv").touch()  # what a kill in the very last step leaves
    assert run(monkeypatch, capsys, *command)[0] == 0
    whole = out.read_bytes()
    assert len(asked) == 20
    out.write_text("old")
    fail["good 9"] = KeyboardInterrupt()
    code, _, err = run(monkeypatch, capsys, *command)
    assert code == 130
    assert "8 of 20 rows are finished and kept in" in err
    assert out.read_text() == "old"
    assert names(tmp_path) == ["mail.csv", "out.csv", "out.csv.part"]
    asked.clear()
    code, _, err = run(monkeypatch, capsys, *command)
    assert code == 0
    assert "holds 8 of 20 rows that an earlier run finished. This run continues from there" in err
    assert asked[0] == "bad 8"
    assert len(asked) == 12
    assert out.read_bytes() == whole
    assert names(tmp_path) == ["mail.csv", "out.csv"]


def test_a_part_of_another_run_is_not_mixed_in(slow, monkeypatch, capsys, tmp_path):
    command, _, fail = slow
    fail["good 9"] = KeyboardInterrupt()
    run(monkeypatch, capsys, *command)
    left = (tmp_path / "out.csv.part").read_bytes()
    other = [word.replace("good,bad", "good,ugly") if isinstance(word, str) else word for word in command]
    code, _, err = run(monkeypatch, capsys, *other)
    assert code == 1
    assert "holds the finished rows of an earlier run with other values of labels" in err
    assert (tmp_path / "out.csv.part").read_bytes() == left
    (tmp_path / "mail.csv").write_text("text\nso good\n")
    assert "with other values of input" in run(monkeypatch, capsys, *command)[2]
    assert (tmp_path / "out.csv.part").read_bytes() == left
    code, _, err = run(monkeypatch, capsys, *command, "--restart")
    assert code == 0
    assert (tmp_path / "out.csv").read_text() == "text,prediction,probability\nso good,good,0.7311\n"
    assert names(tmp_path) == ["mail.csv", "out.csv"]


def test_another_model_of_the_same_name_is_another_run(slow, monkeypatch, capsys, tmp_path):
    command, _, fail = slow
    fail["good 9"] = KeyboardInterrupt()
    run(monkeypatch, capsys, *command)
    monkeypatch.setitem(FINGERPRINT, "now", "another")
    code, _, err = run(monkeypatch, capsys, *command)
    assert code == 1
    assert "with other values of model fingerprint" in err
    assert (tmp_path / "out.csv.part").stat().st_size


def test_a_run_that_fails_before_anything_is_done_leaves_nothing(slow, monkeypatch, capsys, tmp_path):
    command, _, fail = slow
    fail["good 0"] = InputError("this row is odd")
    assert run(monkeypatch, capsys, *command)[0] == 1
    assert names(tmp_path) == ["mail.csv"]


def test_a_message_about_a_row_counts_from_its_step(slow, monkeypatch, capsys):
    command, _, fail = slow
    fail["good 9"] = InputError("Row 1 is odd.")
    assert "fewshot: Counting from row 8: Row 1 is odd.\n" in run(monkeypatch, capsys, *command)[2]


def test_a_part_that_is_cut_anywhere_or_damaged_gives_whole_steps_only(tmp_path):
    steps = [[["a", 0.5], ["b", 0.75]], [["b", 1.0], [None, None]], [["a", 0.25]]]
    path = tmp_path / "out.csv.part"

    def left() -> list:
        with kept_part(tmp_path / "out.csv", RUN, 5, restart=False) as part:
            found = list(part.steps())
            if found:
                part.finished = False
            return found

    with kept_part(tmp_path / "out.csv", RUN, 5, restart=False) as part:
        for step in steps:
            part.add(step)
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    assert len(ends) == 4
    for cut in {*range(0, len(data), 3), *ends, *(end - 1 for end in ends)}:
        path.write_bytes(data[:cut])
        assert left() == steps[: max(sum(end <= cut for end in ends) - 1, 0)]
    for at in range(ends[0], len(data), 5):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        found = left()
        assert found == steps[: len(found)]
        assert len(found) < 3
    for cut in (ends[1] + 3, ends[2]):  # what is torn is written over
        path.write_bytes(data[:cut])
        with kept_part(tmp_path / "out.csv", RUN, 5, restart=False) as part:
            for step in steps[part.n_steps :]:
                part.add(step)
        assert path.read_bytes() == data


def test_what_is_no_part_is_not_touched(slow, monkeypatch, capsys, tmp_path):
    command, _, _ = slow
    part = tmp_path / "out.csv.part"
    part.write_text("my own notes\n")
    for more in ([], ["--restart"]):
        code, _, err = run(monkeypatch, capsys, *command, *more)
        assert code == 1
        assert "holds something else: move it away" in err
        assert part.read_text() == "my own notes\n"


def test_two_runs_are_not_at_one_output(tmp_path):
    pytest.importorskip("fcntl", reason="this system has no such locks")
    with (
        kept_part(tmp_path / "out.csv", RUN, 5, restart=False),
        pytest.raises(InputError, match="Another run uses"),
        kept_part(tmp_path / "out.csv", RUN, 5, restart=False),
    ):
        pass
    assert names(tmp_path) == []


PROGRAM = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    from fewshot.cli import learning, main, predicting

    class Slow:
        template_ = report_ = None
        multi_label_ = False
        classes_ = np.array(["bad", "good"])
        def __init__(self, pause): self.pause, self.model_ = pause, self
        fingerprint = "slow"
        def predict_proba(self, X):
            time.sleep(self.pause)
            p = np.array([(int(x) * 7919 % 1000) / 1000 for x in X])
            return np.stack([p, 1 - p], axis=1)

    predicting.STEP = 5
    pause = float(sys.argv.pop())
    learning.Lesson.fitted = lambda self, *rest: Slow(pause)
    main()
    """
)


def program(tmp_path, pause):
    """A command of 200 rows on a model that only waits."""
    file = tmp_path / "numbers.csv"
    file.write_text("text\n" + "".join(f"{i}\n" for i in range(200)))
    command = ["classify", str(file), "--labels", "bad,good", "--output", str(tmp_path / "out.jsonl"), str(pause)]
    return [sys.executable, "-c", PROGRAM, *command]


def test_what_a_kill_leaves_is_whole_and_the_next_run_goes_on(tmp_path):
    subprocess.run(program(tmp_path, 0), check=True, capture_output=True)
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    expected = out.read_bytes()
    assert expected.count(b"\n") == 200
    out.write_bytes(b"what was before\n")
    rng, kept = random.Random(0), 0
    for _ in range(2):
        with subprocess.Popen(program(tmp_path, 0.01), stderr=subprocess.DEVNULL) as process:
            before = time.monotonic()
            while (not part.exists() or part.stat().st_size <= kept) and time.monotonic() < before + 60:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        assert out.read_bytes() == b"what was before\n"
        assert part.stat().st_size > kept
        kept = part.stat().st_size
    done = subprocess.run(program(tmp_path, 0), check=True, capture_output=True, text=True)
    assert "that an earlier run finished" in done.stderr
    assert out.read_bytes() == expected
    assert names(tmp_path) == ["numbers.csv", "out.jsonl"]


@contextlib.contextmanager
def largest_file(size):
    """No file may grow beyond so many bytes: what a full disk is like."""
    resource = pytest.importorskip("resource", reason="this system has no such limit")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room", [0, 10, 600, 700, 800])
def test_a_full_disk_loses_nothing_that_is_done(slow, monkeypatch, capsys, tmp_path, room):
    command, asked, _ = slow
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    run(monkeypatch, capsys, *command)
    whole = out.read_bytes()
    out.write_text("old")
    asked.clear()
    with largest_file(room):
        code, _, err = run(monkeypatch, capsys, *command)
    assert code == 1
    assert "can't be written: File too large" in err
    assert out.read_text() == "old"
    assert part.exists() == ("rows are finished and kept in" in err)
    assert run(monkeypatch, capsys, *command)[0] == 0
    assert out.read_bytes() == whole
    assert len(asked) <= 22  # the step that did not fit is done again, the others are not
    assert names(tmp_path) == ["mail.csv", "out.csv"]


def test_a_full_disk_at_the_last_moment(slow, monkeypatch, capsys, tmp_path):
    command, asked, _ = slow
    run(monkeypatch, capsys, *command)
    whole = (tmp_path / "out.csv").read_bytes()
    (tmp_path / "mail.csv").write_text((tmp_path / "mail.csv").read_text().replace("good 0", "good 0" + "!" * 9000))
    with largest_file(4000):
        code, _, err = run(monkeypatch, capsys, *command)
    assert (code, "20 of 20 rows are finished" in err) == (1, True)
    assert (tmp_path / "out.csv").read_bytes() == whole
    asked.clear()
    assert run(monkeypatch, capsys, *command)[0] == 0
    assert asked == []
    assert names(tmp_path) == ["mail.csv", "out.csv"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target, link = tmp_path / "result.json", tmp_path / "link.json"
    save_text(target, "one")
    link.symlink_to(target)
    save_text(link, "two")
    assert link.is_symlink()
    assert target.read_text() == "two"
    with largest_file(2), pytest.raises(InputError, match="can't be written"):
        save_text(target, "three")
    with pytest.raises(UnicodeEncodeError):
        save_text(target, "half " + "x" * 9999 + "\udc00")
    assert target.read_text() == "two"
    assert names(tmp_path) == ["link.json", "result.json"]
    (tmp_path / f".result.json.{os.getpid()}").touch()  # of an earlier process of the same number
    save_text(target, json.dumps(3))
    assert target.read_text() == "3"
