"""A classifier that is exported answers through transformers' own pipeline as it does by itself."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

from fewshot import (
    Auto,
    Classifier,
    InputError,
    LocalDecisionsLM,
    Prompting,
    Readout,
    UnsupportedError,
    export_decisions,
    load,
)
from tests.conftest import pair

transformers = pytest.importorskip("transformers")
decision = pytest.importorskip("transformers.decision")

pytestmark = pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")  # the models are random
TEXTS = ["I was charged twice.", "It crashes on start.", "Thank you!", "Charged again.", "A crash.", "Lovely."]
LABELS = ["billing", "bugs", "praise"] * 2
TEMPLATE = "{% for o in question.options %}{{ question.labels[loop.index0] }} {{ o }}\n{% endfor %}{{ state }} <|mark|>"


@pytest.fixture(scope="module")
def models():
    """A chat model with settings of its own, and with those of transformers."""
    model, tokens = pair("gpt2-decides")
    own = decision.DecisionConfig(
        labels={"choice": list("KLMNOP")}, temperature={"choice": 2.5, "noul": 0.5}, chat_template=TEMPLATE
    )
    return {"own": LocalDecisionsLM(model, tokens, own), "default": LocalDecisionsLM(model, tokens)}


def fitted(lm, calibration="temperature", labels=LABELS, template=None, **params):
    return Classifier(lm, template, strategy=Prompting(calibration=calibration, **params)).fit(TEXTS, labels)


def answers(folder, question):
    decide = transformers.pipeline("decision", model=str(folder))
    found = [decide({"state": text, "questions": {"q": question}})["q"] for text in TEXTS]
    if question["type"] == "noul":
        return np.array([[1 - one["noul"], one["noul"]] for one in found])
    return np.array([[one["probabilities"][name] for name in question["criteria"]] for one in found])


@pytest.mark.parametrize("calibration", ["temperature", None])
@pytest.mark.parametrize("name", ["own", "default"])
def test_the_pipeline_answers_as_the_classifier_does(models, tmp_path, name, calibration):
    lm = models[name]
    before = dict(lm.config.temperature)
    clf = fitted(lm, calibration)
    question = export_decisions(clf, tmp_path / "new" / "folder")
    assert list(question["criteria"]) == clf.classes_.tolist()
    expected = clf.predict_proba(TEXTS)
    np.testing.assert_allclose(answers(tmp_path / "new" / "folder", question), expected, atol=1e-5)
    assert lm.config.temperature == before
    written = json.loads((tmp_path / "new" / "folder" / "decision.json").read_text())["temperature"]
    if calibration:
        learnt = clf.strategy_.calibration_.temperature_
        assert not np.isclose(learnt, 1.0, rtol=1e-3)  # else nothing is shown
        assert written["choice"] == pytest.approx(learnt * before.get("choice", 1.0))
    assert written.get("noul") == before.get("noul")
    again = Classifier(load(tmp_path / "new" / "folder")).fit(None, clf.classes_.tolist())
    np.testing.assert_allclose(again.predict_proba(TEXTS), expected, atol=1e-6)


@contextmanager
def served_by_transformers(folder, log):
    """The address of ``transformers serve``, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--device", "cpu", "--port", str(port)]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            deadline = time.monotonic() + 120
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                try:
                    urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except URLError:
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def test_transformers_serves_it_and_our_client_reads_the_same(models, tmp_path):
    clf = fitted(models["own"])
    export_decisions(clf, tmp_path / "new")
    with served_by_transformers(tmp_path / "new", tmp_path / "log.txt") as url:
        lm = load(url, model=str(tmp_path / "new"), api="systemone")
        there = Classifier(lm, strategy=Prompting()).fit(None, clf.classes_.tolist())
        np.testing.assert_allclose(there.predict_proba(TEXTS), clf.predict_proba(TEXTS), atol=1e-5)


def test_a_question_of_yes_and_no_is_a_noul(models, tmp_path):
    clf = fitted(models["own"], labels=["no", "yes", "yes"] * 2, template="{{ text }}\n\nIs it good? {{ label }}")
    question = export_decisions(clf, tmp_path / "new")
    assert question["type"] == "noul"
    assert question["instructions"] == "Is it good?"
    np.testing.assert_allclose(answers(tmp_path / "new", question), clf.predict_proba(TEXTS), atol=1e-5)


def test_what_auto_chose_is_exported(models, tmp_path):
    clf = Classifier(models["own"], strategy=Auto()).fit(None, ["billing", "bugs", "praise"])
    assert clf.strategy_.chosen_.calibration is None  # a decision model has no label words to be biased towards
    question = export_decisions(clf, tmp_path / "new")
    np.testing.assert_allclose(answers(tmp_path / "new", question), clf.predict_proba(TEXTS), atol=1e-5)


REFUSED = {
    "is calibrated by Batch": lambda lm: fitted(lm, "batch"),
    "is calibrated by Learned": lambda lm: fitted(lm, "learned"),
    "averages several templates": lambda lm: Classifier(
        lm, ["{{ text }}\n\nA? {{ label }}", "{{ text }}\n\nB? {{ label }}"], strategy=Prompting()
    ).fit(None, ["a", "b"]),
    "writes 'Text: A text.' where the text is 'A text.'": lambda lm: fitted(
        lm, template="Text: {{ text }}\n\nWhich? {{ label }}"
    ),
    "writes the fields title, text into one state": lambda lm: Classifier(
        lm, "{{ title }} {{ text }}\n\nWhich? {{ label }}", strategy=Prompting()
    ).fit(None, ["a", "b"]),
    "has other options than one label word a class": lambda lm: Classifier(
        lm, verbalizer={"a": ["x", "y"], "b": "z"}, strategy=Prompting()
    ).fit(None, ["a", "b"]),
    "asks CausalLM": lambda lm: fitted(load(pair("gpt2-decides"), decision=False)),
    "has learnt what Readout learns": lambda lm: Classifier(lm, strategy=Readout("labels")).fit(TEXTS, LABELS),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_the_settings_can_not_say_is_refused(models, tmp_path, why):
    clf = REFUSED[why](models["own"])
    with pytest.raises(
        UnsupportedError, match=f"can't be exported: it {why}.*the settings of a decision model can't express that"
    ):
        export_decisions(clf, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_exists_stays_as_it_is(models, tmp_path):
    (tmp_path / "decision.json").write_text("mine")
    with pytest.raises(InputError, match="exists: give a new folder"):
        export_decisions(fitted(models["own"]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["decision.json"]
    assert (tmp_path / "decision.json").read_text() == "mine"


def test_what_fails_halfway_leaves_nothing(models, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decision.DecisionConfig, "save_pretrained", full)
    with pytest.raises(InputError, match=r"can't be written.*No space left on device"):
        export_decisions(fitted(models["own"]), tmp_path / "new")
    assert not list(tmp_path.iterdir())
