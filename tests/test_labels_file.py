"""Labels on the disk: each from the moment it is given, a usable CSV at any moment, and nobody else's data."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys

import pandas as pd
import pytest

from fewshot import InputError, UnsupportedError
from fewshot.pages.labels_file import NONE, SKIPPED, Given, LabelsFile
from tests.labelled import HOSTILE


def kept(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.csv"


@pytest.fixture
def opened(path):
    files = []

    def make(rows=HOSTILE):
        files.append(LabelsFile(path, rows))
        return files[-1]

    yield make
    for file in files:
        file.close()


def test_each_label_is_in_the_file_at_once_and_hostile_texts_come_back_as_they_were(path, opened):
    file = opened()
    for i, text in enumerate(HOSTILE):
        file.give(Given(i, f"class {i % 2}", "", "class 0", by_chance=i == 0))
        rows = kept(path)
        assert len(rows) == i + 1
        assert rows[-1] == {
            "row": str(i),
            "text": text,
            "label": f"class {i % 2}",
            "guess": "class 0",
            "chosen": "by chance" if i == 0 else "by the model",
        }
    assert pd.read_csv(path)["label"].tolist() == [f"class {i % 2}" for i in range(len(HOSTILE))]
    said = dict(file.given)
    file.close()
    again = opened()
    assert again.given == said
    assert again.notes == []


def test_the_commands_read_the_file(path, opened):
    from pathlib import Path

    from fewshot.cli.data import read_labelled

    file = opened()
    file.give(Given(1, "a"))
    file.give(Given(4, "b"))
    data = read_labelled(Path(path), [None], None, "label")
    assert (data.X, data.y) == ([HOSTILE[1], HOSTILE[4]], ["a", "b"])


def test_a_label_that_is_replaced_or_taken_back(path, opened):
    file = opened()
    file.give(Given(0, "a"))
    file.give(Given(1, "b"))
    file.give(Given(0, "c"))
    assert [(row["row"], row["label"]) for row in kept(path)] == [("1", "b"), ("0", "c")]
    file.take_back(1)
    assert [(row["row"], row["label"]) for row in kept(path)] == [("0", "c")]
    file.take_back(0)
    assert kept(path) == []
    file.give(Given(2, "d"))
    assert [(row["row"], row["label"]) for row in kept(path)] == [("2", "d")]


def test_rows_without_a_label_are_kept_beside(path, opened):
    file = opened()
    file.give(Given(0, None, SKIPPED))
    file.give(Given(1, None, NONE))
    assert not path.exists()
    beside = path.with_name("labels.skipped.csv")
    assert [(row["row"], row["why"]) for row in kept(beside)] == [("0", SKIPPED), ("1", NONE)]
    file.give(Given(0, "a"))
    assert [row["row"] for row in kept(path)] == ["0"]
    assert [row["row"] for row in kept(beside)] == ["1"]
    file.close()
    assert {row: one.label for row, one in opened().given.items()} == {0: "a", 1: None}


def test_fields_are_columns(path, opened):
    rows = [{"title": "a", "body": 'b"c'}, {"title": "d", "body": "e"}]
    opened(rows).give(Given(1, "x"))
    assert {name: kept(path)[0][name] for name in ("row", "title", "body", "label")} == {
        "row": "1",
        "title": "d",
        "body": "e",
        "label": "x",
    }


@pytest.mark.parametrize("cut", [1, 2, 5, 40])
def test_a_line_that_was_torn_is_dropped_and_said(path, opened, cut):
    file = opened()
    file.give(Given(0, "a"))
    file.give(Given(4, "bill"))  # a text of several lines
    file.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = opened()
    assert list(again.given) == [0]
    assert "cut off" in again.notes[0]
    assert [row["row"] for row in kept(path)] == ["0"]
    again.give(Given(1, "b"))
    assert [row["row"] for row in kept(path)] == ["0", "1"]


def test_a_header_that_was_torn_begins_anew(path, opened):
    path.write_text("row,te")
    file = opened()
    assert file.given == {}
    file.give(Given(0, "a"))
    assert len(kept(path)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,b\n", "has the columns text, label"),
        ("row,text,label,guess,chosen\n0,another,a,,\n", "line 2: row 0 of the data is another text"),
        ("row,text,label,guess,chosen\n99,x,a,,\n", "has no row '99'"),
        ("row,text,label,guess,chosen\n-1,x,a,,\n", "has no row '-1'"),
        ("row,text,label,guess,chosen\n0,x,a\n", "3 cells"),
        ('row,text,label,guess,chosen\n0,"x" y,a,,\n', "not valid CSV"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(path, content, message):
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        LabelsFile(path, HOSTILE)
    assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]  # the lock is gone as well


def test_a_file_that_is_no_text_is_refused(path):
    path.write_bytes(b"row,text\n\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        LabelsFile(path, HOSTILE)


def test_an_empty_label_and_a_wrong_name_are_refused(path, tmp_path):
    path.write_text(f"row,text,label,guess,chosen\n0,{'x'},,,\n")
    with pytest.raises(InputError, match="the label is empty"):
        LabelsFile(path, ["x"])
    with pytest.raises(InputError, match=r"must end with \.csv"):
        LabelsFile(tmp_path / "labels.txt", ["x"])
    with pytest.raises(UnsupportedError, match="'row'"):
        LabelsFile(tmp_path / "other.csv", [{"row": "x"}])


def test_two_at_one_file_are_refused_also_two_processes(path, opened):
    opened()
    with pytest.raises(InputError, match="Another page uses"):
        LabelsFile(path, HOSTILE)
    code = "import sys; from pathlib import Path; from fewshot.pages.labels_file import LabelsFile\n"
    code += "try: LabelsFile(Path(sys.argv[1]), ['x'])\nexcept Exception as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert "Another page uses" in done.stdout


def test_what_another_program_changed_is_not_written_over(path, opened):
    file = opened()
    file.give(Given(0, "a"))
    with path.open("a") as other:
        other.write("1,x,b,,\n")
    before = path.read_bytes()
    for act in (lambda: file.give(Given(2, "c")), lambda: file.take_back(0)):
        with pytest.raises(InputError, match="Another program has changed"):
            act()
    assert path.read_bytes() == before
    assert list(file.given) == [0]


def test_a_file_that_was_removed_is_written_whole_with_the_next_label(path, opened):
    file = opened()
    file.give(Given(0, "a"))
    path.unlink()
    file.give(Given(1, "b"))
    assert [row["row"] for row in kept(path)] == ["0", "1"]


def test_a_full_disk_is_an_error_and_the_label_does_not_count(path, opened, monkeypatch):
    file = opened()
    file.give(Given(0, "a"))
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for one in (Given(1, "b"), Given(0, "c"), Given(1, None, SKIPPED)):
        with pytest.raises(InputError, match="can't be written: No space left"):
            file.give(one)
        assert path.read_bytes() == before
        assert list(file.given) == [0]
    monkeypatch.undo()
    file.give(Given(1, "b"))
    assert [row["label"] for row in kept(path)] == ["a", "b"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="can't be written"):
        LabelsFile(tmp_path / "none" / "labels.csv", HOSTILE)
