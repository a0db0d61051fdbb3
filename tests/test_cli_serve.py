"""The command that answers over HTTP."""

from __future__ import annotations

import json

import pytest

from fewshot import Classifier, FakeLM, Questionnaire, Windows
from tests.command import _keyword_model, run  # noqa: F401 - a fixture
from tests.contract import HashEncoder
from tests.served import ask


@pytest.fixture
def served(monkeypatch):
    """What the command would serve: names with objects, and how."""
    found = {}
    monkeypatch.setattr("fewshot.serving.application", lambda made, **limits: found.update(made=made, limits=limits))
    monkeypatch.setattr("fewshot.models.loading.load", lambda name=None, **options: f"the model {name}{options or ''}")

    def serve(app, host, port, ready):
        found.update(host=host, port=port)
        ready(f"http://{host}:{port}")

    monkeypatch.setattr("fewshot.serving.serve", serve)
    return found


@pytest.fixture
def tickets(tmp_path, monkeypatch):
    """The folder of a kept classifier."""
    clf = Classifier(HashEncoder()).fit(None, ["billing", "bug"])
    monkeypatch.setattr("fewshot.Classifier.load", lambda folder, follow_paths: clf)
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / "config.json").write_text('{"library": "fewshot", "class": "Classifier"}')
    return tmp_path / "tickets"


def test_folders_are_served_under_their_names_and_models_under_theirs(served, tickets, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "serve", tickets, "embedded:causal", "--port", "9", "--max-waiting", "5")
    assert (code, err) == (0, "")
    assert out == "tickets, embedded:causal: http://127.0.0.1:9/v1/systemone, http://127.0.0.1:9/v1/decisions\n"
    assert isinstance(served["made"]["tickets"], Classifier)
    assert served["made"]["embedded:causal"] == "the model embedded:causal"
    assert served["limits"] == {"key": None, "max_waiting": 5}


def test_a_questionnaire_is_served_under_its_folders_name(served, tmp_path, monkeypatch, capsys):
    both = Questionnaire({"team": Classifier(HashEncoder()), "mood": Classifier(HashEncoder())})
    both.fit(None, {"team": ["billing", "bug"], "mood": ["calm", "angry"]})
    monkeypatch.setattr("fewshot.Questionnaire.load", lambda folder, follow_paths: both)
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "config.json").write_text('{"library": "fewshot", "class": "Questionnaire"}')
    assert run(monkeypatch, capsys, "serve", tmp_path / "mail")[0] == 0
    assert served["made"] == {"mail": both}


def test_without_anything_it_is_the_default_encoder(served, monkeypatch, capsys):
    assert run(monkeypatch, capsys, "serve")[0] == 0
    assert served["made"] == {"default": "the model None"}
    assert (served["host"], served["port"]) == ("127.0.0.1", 8000)
    out = run(monkeypatch, capsys, "serve", "--json")[1]
    assert json.loads(out) == {"url": "http://127.0.0.1:8000", "served": ["default"]}


def test_encoders_may_read_in_windows(served, monkeypatch, capsys):
    assert run(monkeypatch, capsys, "serve", "--windows")[0] == 0
    assert served["made"] == {"default": f"the model None{ {'windows': Windows()} }"}


def test_windows_are_no_option_of_a_language_model(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "serve", "embedded:masked", "--windows")
    assert (code, "MaskedLM takes no option 'windows'" in err) == (1, True)


def test_the_key_is_in_the_environment_and_nowhere_else(served, monkeypatch, capsys):
    monkeypatch.setenv("SERVER_KEY", "s3cret\n")
    code, out, err = run(monkeypatch, capsys, "serve", "any", "--host", "0.0.0.0", "--key-env", "SERVER_KEY")
    assert (code, err, served["limits"]["key"]) == (0, "", "s3cret")
    assert "s3cret" not in out
    code, _, err = run(monkeypatch, capsys, "serve", "any", "--key-env", "NO_SUCH_KEY")
    assert (code, "NO_SUCH_KEY: this environment variable is not set" in err) == (2, True)


def test_an_open_address_without_a_key_is_noted(served, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "serve", "any", "--host", "0.0.0.0")
    assert (code, err) == (
        0,
        "fewshot: note: everybody who can reach 0.0.0.0 gets answers. To require a key, give --key-env NAME.\n",
    )


def test_two_of_a_name_are_refused(served, tickets, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "serve", tickets, tickets)
    assert (code, "Two of the classifiers and models are called 'tickets'" in err) == (1, True)


def test_the_models_of_a_questionnaire_answer_by_the_name_of_the_question():
    from fewshot.serving import application, running

    lm = FakeLM(lambda query: [float(query.prefix.count(word)) for word in query.candidates])
    asked = {"team": ["billing", "bug"], "mood": ["calm", "angry"], "tone": ["angry", "calm"]}
    form = Questionnaire({name: Classifier(lm, f"{{{{ text }}}} {name}: {{{{ label }}}}") for name in asked})
    with running(application({"mail": form.fit(None, asked)})) as url:
        questions = {
            name: {"type": "choice", "instructions": "?", "criteria": dict.fromkeys(own)} for name, own in asked.items()
        }
        answers = ask(url, "an angry bug", questions, model="mail")["answers"]
        assert [answers[name]["choice"] for name in asked] == ["bug", "angry", "angry"]
        assert {one["x_answered_by"] for one in answers.values()} == {"fitted"}
        renamed = {"other": questions["team"]}
        assert ask(url, "an angry bug", renamed, model="mail")["answers"]["other"] == answers["team"]
