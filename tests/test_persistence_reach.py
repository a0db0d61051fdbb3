"""How far a kept classifier reaches for its models, what of a token is left behind, and what a kill leaves."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

from fewshot import Classifier, FewshotWarning, InputError, ModelLoadError, adapt, load, push_to_hub
from fewshot.models.loading import Loaded
from fewshot.models.secrets import redact_errors
from tests.contract import NEW, TEXTS, keyword_lm
from tests.kept import REVIEW, edited, zero_shot

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_veryverysecret"


@pytest.fixture
def named(tmp_path):
    """One whose model is kept by a name of the hub, which this machine does not have."""
    folder = zero_shot().save(tmp_path / "named")
    said = {"kept": "name", "name": "stranger/model", "revision": "main", "device": None, "asked_dtype": "auto"}
    edited(folder, lambda c: c["models"][0].update(**said, dtype="float32", options={}))
    return folder


def test_a_download_is_named_and_can_be_refused(named, monkeypatch):
    asked = []

    def loaded(name, **options):
        asked.append((name, options))
        return keyword_lm()

    monkeypatch.setattr("fewshot.persistence.models.load", loaded)
    with pytest.raises(
        ModelLoadError, match="names the model 'stranger/model' at revision 'main' of the Hugging Face hub"
    ):
        Classifier.load(named, local_files_only=True)
    assert asked == []
    with (
        pytest.warns(
            FewshotWarning, match="'stranger/model' at revision 'main', which is not on this machine: it is down"
        ),
        pytest.raises(InputError, match=r"no attribute .model"),  # the one here has no weights
    ):
        Classifier.load(named, token=TOKEN)
    assert asked[0][0] == "stranger/model"
    assert asked[0][1]["token"] == TOKEN
    assert Classifier.load(named, model=keyword_lm(), local_files_only=True).model_.kind == "causal"


def test_a_hub_name_is_no_folder_of_this_place(named, tmp_path, monkeypatch):
    (tmp_path / "stranger/model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelLoadError, match=r"names the folder 'stranger/model' of this machine.*follow_paths=True"):
        Classifier.load(named)


def test_a_token_is_in_no_text_pickle_or_folder(tmp_path):
    from tests.conftest import pair

    model, tokenizer = pair("bert")
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    lm = load(tmp_path / "lm", token=TOKEN)
    clf = Classifier(lm, REVIEW).fit(None, list(TEXTS))
    folder = clf.save(tmp_path / "kept")
    joblib.dump(clf, tmp_path / "clf.joblib")
    written = [path.read_bytes() for path in [*folder.rglob("*"), tmp_path / "clf.joblib"] if path.is_file()]
    written += [pickle.dumps(lm), pickle.dumps(lm.recipe), repr(lm.recipe).encode(), repr(clf).encode()]
    written += [
        repr(list(load._kept)).encode(),
        repr(vars(lm.recipe)).encode(),
        repr(copy.deepcopy(lm.recipe)).encode(),
    ]
    assert not any(b"verysecret" in one for one in written)
    assert lm.recipe.hub["token"] == copy.deepcopy(lm.recipe).hub["token"] == TOKEN
    again = pickle.loads(pickle.dumps(lm))
    assert again.recipe.hub["token"] is None
    assert again.fingerprint == lm.fingerprint
    load.cache_clear()


def test_tokens_keep_models_apart():
    def of(token, **more):
        return repr(Loaded("a/b", kwargs={"token": token, **more}))

    assert of(TOKEN) == of(TOKEN) != of("hf_another") != of(None) != of(True)
    nested = Loaded(
        "a/b", kwargs={"model_kwargs": {"token": TOKEN, "x": 1}, "proxies": {"https": "http://u:verysecret@h"}}
    )
    assert "verysecret" not in repr(nested)
    assert nested.passed["model_kwargs"] == {"token": TOKEN, "x": 1}
    assert Loaded("a/b", kwargs={"chat_template_kwargs": {"token": "word"}}).own["chat_template_kwargs"] == {
        "token": "word"
    }


def test_no_error_quotes_a_token(monkeypatch):
    def refuse(*args, token=None, **options):
        try:
            raise OSError(f"Illegal header value b'Bearer {token}'")
        except OSError as error:
            raise ValueError("the hub said no") from error

    for name in ("hf_hub_download", "snapshot_download", "create_repo"):
        monkeypatch.setattr(f"huggingface_hub.{name}", refuse)
    for attempt in (
        lambda: load("user/none", token=TOKEN),
        lambda: Classifier.load("user/none", token=TOKEN),
        lambda: push_to_hub(zero_shot(), "user/none", token=TOKEN),
    ):
        with pytest.raises(ModelLoadError) as caught:
            attempt()
        assert "verysecret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    with pytest.raises(KeyError), redact_errors({"token": TOKEN}):
        raise KeyError("another thing")


def test_the_hub_out_of_reach_has_a_cure(monkeypatch):
    def offline(*args, **options):
        raise ConnectionError("Network is unreachable")

    monkeypatch.setattr("huggingface_hub.create_repo", offline)
    with pytest.raises(
        ModelLoadError, match=r"can't be put .* as 'user/x'.*hf auth login.*clf\.save\(folder\).*unreachable"
    ):
        push_to_hub(zero_shot(), "user/x")
    with pytest.raises(InputError, match=r"repo_id must be 'user/name'. Got 'x'"):
        push_to_hub(zero_shot(), "x")


# kills, and a full disk


def test_what_kills_have_left_is_taken_away(tmp_path):
    target = tmp_path / "target"
    zero_shot().save(target)
    for left in (".target.0123456789ab.part", ".target.ba9876543210.before"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "half").write_text("x")
    (tmp_path / ".target.mine.part").mkdir()  # not a name of ours
    zero_shot().save(target, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".target.mine.part", "target"]


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path):
    from fewshot.files import CAN_LOCK, locked

    if not CAN_LOCK:
        pytest.skip("this system has no locks of folders")
    part = tmp_path / ".target.0123456789ab.part"
    part.mkdir()
    with locked(part) as own:
        assert own
        zero_shot().save(tmp_path / "target")
        assert part.is_dir()


FULL = """
import resource, signal, sys
from fewshot import FewshotError
from tests.kept import EVERY
from tests.conftest import language_model
from fewshot import adapt

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
clf = EVERY["tiny encoder"].fitted()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for attempt in (
    lambda: clf.save(sys.argv[1], overwrite=True),
    lambda: adapt(language_model("bert"), ["one text", "another text"] * 9, folder=sys.argv[2], block_size=8),
):
    try:
        attempt()
    except FewshotError as error:
        print(error)
"""


def test_a_full_disk_leaves_what_was_whole(tmp_path):
    pytest.importorskip("resource", reason="this system has no limit on the size of files")
    target, run = tmp_path / "target", tmp_path / "run"
    zero_shot().save(target)
    said = subprocess.run(
        [sys.executable, "-c", FULL, str(target), str(run)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert f"{str(target)!r} can't be written" in said
    assert f"can't be written into {str(run)!r}" in said
    np.testing.assert_array_equal(
        Classifier.load(target, model=keyword_lm()).predict_proba(NEW), zero_shot().predict_proba(NEW)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "target"]
    assert list(run.iterdir()) == []


def test_adapt_refuses_what_it_would_mix_with(tmp_path, monkeypatch):
    from tests.conftest import pair

    monkeypatch.setattr("fewshot.training.adapt.load", lambda model: pytest.fail("refused before anything is loaded"))
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(InputError, match=r"already holds 'notes\.md', which is not of a run that was interrupted"):
        adapt(pair("bert"), ["one", "two"], folder=tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"already holds 'notes\.md'"):
        adapt(pair("bert"), ["one", "two"], folder=tmp_path)
    monkeypatch.undo()
    (tmp_path / "notes.md").unlink()
    with pytest.raises(InputError, match=r"checkpoint\.pt' is damaged, and nothing can go on from it: delete it"):
        adapt(pair("bert"), ["one", "two"], folder=tmp_path)


def test_a_kill_at_the_end_of_adapt_is_made_good(tmp_path, monkeypatch):
    """The model's files are moved one by one; without config.json nobody takes the folder for a model."""
    from tests.conftest import language_model

    replace, texts = Path.replace, ["one text", "another text"] * 9

    def killed(self, other):
        if other.name == "config.json":
            raise KeyboardInterrupt
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        adapt(language_model("bert"), texts, folder=tmp_path / "run", block_size=8)
    monkeypatch.undo()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"checkpoint.pt", "model.safetensors"} <= names
    assert "config.json" not in names
    with pytest.raises(ModelLoadError):
        load(tmp_path / "run")
    adapted = adapt(language_model("bert"), texts, folder=tmp_path / "run", block_size=8)
    assert load(tmp_path / "run").fingerprint == adapted.model.fingerprint
    assert "checkpoint.pt" not in {path.name for path in (tmp_path / "run").iterdir()}
