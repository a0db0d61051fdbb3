"""The command that says what is kept in a folder."""

from __future__ import annotations

import json

import pytest

from fewshot import Classifier, Questionnaire
from tests.command import run
from tests.contract import HashEncoder


@pytest.fixture
def tickets(tmp_path):
    """A kept classifier, whose model is loaded by nobody here."""
    return Classifier(HashEncoder()).fit(["a bill", "a crash"], ["billing", "bug"]).save(tmp_path / "tickets")


def test_the_card_and_the_files_are_shown(tickets, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "show", tickets)
    assert (code, err) == (0, "")
    assert out.startswith("# Text classifier: billing, bug\n")
    assert "HashEncoder" in out
    assert "## Files of this Classifier, all as they were written" in out
    size = (tickets / "config.json").stat().st_size
    assert f"{size:>12,}  config.json\n" in out


def test_a_machine_is_told_the_same(tickets, monkeypatch, capsys):
    found = json.loads(run(monkeypatch, capsys, "show", tickets, "--json")[1])
    assert (found["class"], found["format"]) == ("Classifier", 1)
    assert found["card"] == (tickets / "README.md").read_text()
    assert found["files"] == {name: (tickets / name).stat().st_size for name in found["files"]}
    assert "config.json" in found["files"]


def test_a_card_that_a_person_wrote_is_shown_and_one_may_be_missing(tickets, monkeypatch, capsys):
    (tickets / "README.md").write_text("Ask Ada.\n")
    assert run(monkeypatch, capsys, "show", tickets)[1].startswith("Ask Ada.\n")
    (tickets / "README.md").unlink()
    assert run(monkeypatch, capsys, "show", tickets)[1].startswith("\n## Files of this Classifier")


def test_a_questionnaire_is_shown(tmp_path, monkeypatch, capsys):
    both = Questionnaire({"team": Classifier(HashEncoder()), "mood": Classifier(HashEncoder())})
    folder = both.fit(None, {"team": ["billing", "bug"], "mood": ["calm", "angry"]}).save(tmp_path / "mail")
    code, out, _ = run(monkeypatch, capsys, "show", folder)
    assert (code, "## Files of this Questionnaire" in out, "mood" in out) == (0, True, True)


def test_a_folder_that_is_not_as_it_was_is_refused(tickets, tmp_path, monkeypatch, capsys):
    (tickets / "config.json").write_text("{}")
    code, out, err = run(monkeypatch, capsys, "show", tickets)
    assert (code, out, "config.json" in err and "is not as it was written" in err) == (1, "", True)
    code, _, err = run(monkeypatch, capsys, "show", tmp_path / "nothing")
    assert (code, err.count("\n")) == (1, 1)
