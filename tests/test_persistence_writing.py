"""How a classifier is kept: a folder is written whole or not at all; its card; to the hub and back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fewshot
from fewshot import (
    Auto,
    Classifier,
    Embedding,
    InputError,
    ModelLoadError,
    Prompting,
    Tagger,
    evaluate,
    load,
    push_to_hub,
)
from fewshot.persistence import folder as folders
from tests.conftest import sentence_model
from tests.contract import NEW, TEXTS, HashEncoder, data, keyword_lm
from tests.kept import LIGHT, asked, zero_shot

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning", "ignore::fewshot.NoAnswerWarning"),
    pytest.mark.filterwarnings("ignore:The classes .0, 1, 2. have no names:fewshot.FewshotWarning"),
]


# writing


def test_an_existing_target_is_refused(tmp_path):
    target = tmp_path / "target"
    first = zero_shot()
    assert first.save(target) == target
    with pytest.raises(InputError, match="exists: give another folder, or overwrite=True"):
        first.save(target)
    before = sorted(path.name for path in target.iterdir())
    zero_shot(max_new_tokens=3).save(target, overwrite=True)
    assert Classifier.load(target, model=keyword_lm()).strategy_.max_new_tokens == 3
    assert sorted(path.name for path in target.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_nothing_but_a_kept_classifier_is_overwritten(tmp_path):
    clf = zero_shot()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is not a folder"):
        clf.save(tmp_path / "file", overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    assert clf.save(other, overwrite=True) == other  # nothing is lost
    (other / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"also holds 'notes\.txt', which would be lost"):
        clf.save(other, overwrite=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    with pytest.raises(InputError, match="holds something else than a kept classifier"):
        clf.save(mine, overwrite=True)
    (tmp_path / "link").symlink_to(other)
    with pytest.raises(InputError, match="is not a folder"):
        clf.save(tmp_path / "link", overwrite=True)
    assert (mine / "config.json").read_text() == "{}"
    assert (other / "notes.txt").read_text() == "mine"


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "target"
    zero_shot().save(target)
    there = {path: path.read_bytes() for path in target.iterdir()}
    for where in ("_seal", "_check_target"):
        with monkeypatch.context() as patch:
            seen = []

            def fail(*args, seen=seen):
                seen.append(args)
                if len(args) == 1 or len(seen) > 1:
                    raise KeyboardInterrupt

            patch.setattr(folders, where, fail)
            with pytest.raises(KeyboardInterrupt):
                zero_shot(max_new_tokens=3).save(target, overwrite=True)
        assert {path: path.read_bytes() for path in target.iterdir()} == there
    renamed = Path.rename

    def fail_at_the_end(self, other):
        if self.suffix == ".part":
            raise OSError("no space")
        return renamed(self, other)

    monkeypatch.setattr(Path, "rename", fail_at_the_end)
    with pytest.raises(InputError, match=r"target' can't be written: no space\. What was kept there before"):
        zero_shot(max_new_tokens=3).save(target, overwrite=True)
    assert {path: path.read_bytes() for path in target.iterdir()} == there
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


KILL = """
import os, signal, sys
from pathlib import Path
from fewshot.persistence import folder
from tests.kept import zero_shot

def kill(*args):
    os.kill(os.getpid(), signal.SIGKILL)

where, target = sys.argv[1:]
if where == "writing":
    folder._seal = kill
else:
    rename = Path.rename
    Path.rename = lambda self, other: kill() if self.suffix == ".part" else rename(self, other)
zero_shot(max_new_tokens=3).save(target, overwrite=True)
"""


@pytest.mark.parametrize("where", ["writing", "between the renames"])
def test_a_kill_loses_nothing(tmp_path, where):
    target = tmp_path / "target"
    zero_shot().save(target)
    run = subprocess.run([sys.executable, "-c", KILL, where, str(target)], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    if where == "writing":
        assert Classifier.load(target, model=keyword_lm()).strategy_.max_new_tokens == 16
        (left,) = [path.name for path in tmp_path.iterdir() if path != target]
        assert re.fullmatch(r"\.target\.\w+\.part", left)
        return
    with pytest.raises(InputError, match=r"was interrupted\. What was kept before is whole: rename"):
        Classifier.load(target, model=keyword_lm())
    (before,) = tmp_path.glob(".target.*.before")
    assert Classifier.load(before, model=keyword_lm()).strategy_.max_new_tokens == 16
    before.rename(target)
    assert Classifier.load(target, model=keyword_lm()).strategy_.max_new_tokens == 16


# the card


def test_the_card_says_what_it_is(kept):
    _, _, folder, _ = kept("fields")
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: fewshot\npipeline_tag: text-classification\n")
    assert "# Text classifier: billing, bug report, praise" in card
    assert "{{ text_a }}: {{ text_b | shorten }}\n{{ label }}" in card
    assert "| billing | 5 |" in card
    assert "Fitted on 12 texts." in card
    assert f"fewshot {fewshot.__version__}" in card
    _, _, folder, _ = kept("contract zero-shot, no example")
    assert "Fitted without any text: zero-shot." in (folder / "README.md").read_text()


def test_the_card_with_metrics(tmp_path):
    clf = zero_shot()
    folder = clf.save(tmp_path / "a", metrics={"accuracy": 0.91234, "rows": 40})
    assert "| accuracy | 0.9123 |\n| rows | 40 |" in (folder / "README.md").read_text()
    result = evaluate(clf, *data(3), n_bootstrap=20)
    folder = clf.save(tmp_path / "b", metrics=result)
    assert str(result) in (folder / "README.md").read_text()
    for wrong in (0.9, {"accuracy": "high"}):
        with pytest.raises(InputError, match="metrics must be what evaluate"):
            clf.save(tmp_path / "c", metrics=wrong)


def test_text_in_the_card_is_never_markup(tmp_path):
    names = ["<script>alert(1)</script>", "a | b", "[x](javascript:y)", "```", *map(str, range(8))]
    template = "{{ text }}\n```\n# Out\n{{ label }}"
    clf = Classifier(keyword_lm(), template, {name: f"word{i}" for i, name in enumerate(names)}).fit(["a text"], None)
    card = (clf.save(tmp_path / "odd") / "README.md").read_text()
    assert "<script>" not in card
    assert "| a \\| b |" in card
    assert "\n````\n{{ text }}\n```\n# Out\n{{ label }}\n````\n" in card
    assert "and 6 more classes" in card
    assert "Fitted on 1 texts without labels." in card


def test_counts_of_the_data():
    clf = asked(Embedding, HashEncoder)().fit(*data(3))
    assert clf.n_texts_ == 12
    assert dict(zip(clf.classes_.tolist(), clf.class_counts_.tolist(), strict=True)) == {
        name: len(texts) for name, texts in TEXTS.items()
    }
    case = LIGHT["labels of vectors"]
    several = case.fitted()
    assert several.class_counts_.tolist() == case.fit()[1].sum(axis=0).tolist()
    empty = zero_shot()
    assert (empty.n_texts_, empty.class_counts_.tolist()) == (0, [0, 0, 0])


# the hub


class Hub:
    """Stands in for the hub: one repository, in a folder."""

    def __init__(self, root):
        self.root, self.calls = root, []

    def create_repo(self, repo_id, **options):
        self.calls.append(("create_repo", repo_id, options))

    def upload_folder(self, *, repo_id, folder_path, **options):
        self.calls.append(("upload_folder", repo_id, options))
        blobs = self.root / "blobs"
        snapshot = self.root / "snapshots" / ("a" * 40)
        blobs.mkdir(parents=True, exist_ok=True)
        for path in Path(folder_path).rglob("*"):
            if path.is_file():
                name = path.relative_to(folder_path)
                blob = blobs / name.as_posix().replace("/", "--")
                blob.write_bytes(path.read_bytes())
                link = snapshot / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(os.path.relpath(blob, link.parent))
        (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs")
        return "the commit"

    def snapshot_download(self, repo_id, **options):
        self.calls.append(("snapshot_download", repo_id, options))
        if repo_id != "user/tickets":
            raise FileNotFoundError("404: no such repository")
        return str(self.root / "snapshots" / ("a" * 40))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import huggingface_hub

    fake = Hub(tmp_path / "models--user--tickets")
    for name in ("create_repo", "upload_folder", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, getattr(fake, name))
    return fake


def test_to_the_hub_and_back(hub):
    clf = asked(lambda: Prompting(2))().fit(*data(3))
    info = push_to_hub(clf, "user/tickets", private=True, token="t", commit_message="Hello", metrics={"accuracy": 0.5})
    assert info == "the commit"
    again = Classifier.load("user/tickets", model=keyword_lm(), revision="main", token="t")
    np.testing.assert_array_equal(again.predict_proba(NEW), clf.predict_proba(NEW))
    create, upload, download = hub.calls
    assert create == ("create_repo", "user/tickets", {"private": True, "token": "t", "exist_ok": True})
    assert upload[2]["commit_message"] == "Hello"
    assert "models/*" in upload[2]["delete_patterns"]  # what an earlier push left would be refused
    assert download == ("snapshot_download", "user/tickets", {"revision": "main", "token": "t"})
    card = (hub.root / "blobs/README.md").read_text()
    assert 'Classifier.load("user/tickets", model=...)' in card
    assert "| accuracy | 0.5 |" in card


def test_a_tuned_model_to_the_hub_and_back(kept, hub):
    _, clf, _, found = kept("tiny encoder, tuned")
    push_to_hub(clf, "user/tickets")
    np.testing.assert_array_equal(Classifier.load("user/tickets").predict_proba(NEW), found)


def test_a_tagger_to_the_hub_and_back(hub):
    texts, spans = ["Ada left Rome.", "It rained."], [[(0, 3, "person"), (9, 13, "place")], []]
    tagger = Tagger(load(sentence_model()), strategy=Auto()).fit(texts, spans)
    found = evaluate(tagger, texts, spans, n_bootstrap=10)
    push_to_hub(tagger, "user/tickets", metrics=found)
    again = Tagger.load("user/tickets")
    assert again.predict_spans(texts) == tagger.predict_spans(texts)
    assert str(again.report_) == str(tagger.report_)
    assert hub.calls[1][2]["commit_message"] == "Keep a Tagger"
    card = (hub.root / "blobs/README.md").read_text()
    assert 'tagger = Tagger.load("user/tickets")\ntagger.predict([...])' in card
    assert str(found) in card
    with pytest.raises(InputError, match="holds a Tagger, not a Classifier"):
        Classifier.load("user/tickets")


def test_what_is_neither_here_nor_there(hub, tmp_path):
    with pytest.raises(ModelLoadError, match=r"The classifier 'user/nothing' can't be loaded. Tried: a folder.*404"):
        Classifier.load("user/nothing")
    for nothing in ("nowhere", tmp_path / "nowhere", "a/b/c"):
        with pytest.raises(InputError, match="holds no kept classifier"):
            Classifier.load(nothing)
    assert [call[1] for call in hub.calls] == ["user/nothing"]
    folder = zero_shot().save(tmp_path / "here")
    with pytest.raises(InputError, match=r"revision, force_download can only be given for the hub"):
        Classifier.load(folder, revision="main", token="t", force_download=True)
