"""A kept classifier from a stranger: it is refused where it was changed, and can execute nothing."""

from __future__ import annotations

import json
import operator
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from fewshot import Classifier, FewshotError, FewshotWarning, InputError, ModelLoadError, Prompting, TemplateError
from fewshot.persistence import folder as folders
from fewshot.persistence import libraries
from fewshot.persistence import load as load_kept
from fewshot.persistence.classes import KEPT, TABLE, is_known, rebuild
from tests.contract import NEW, HashEncoder, keyword_lm
from tests.kept import EVERY, edited, sealed

pytestmark = pytest.mark.long


# what was changed


def test_every_file_is_checked(folder):
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert len(names) > 12
    clf = Classifier.load(folder)
    for name in names:
        path = folder / name
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            if name in ("README.md", "LICENSE"):  # for people, and read by nobody
                Classifier.load(folder)
                continue
            if name == "checksums.json" and place == len(whole) - 1:  # the line break at its end
                continue
            with pytest.raises(InputError) as caught:
                Classifier.load(folder)
            assert str(caught.value).startswith(name)
        path.unlink()
        if name not in ("README.md", "LICENSE"):
            with pytest.raises(InputError, match=name):
                Classifier.load(folder)
        path.write_bytes(whole)
    np.testing.assert_allclose(Classifier.load(folder).predict_proba(NEW), clf.predict_proba(NEW), atol=1e-6)


def test_files_more_than_there_should_be(folder):
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / "evil.py").write_text("raise SystemExit")  # nothing reads it
    Classifier.load(folder)
    (folder / "models/0/pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"models/0/pytorch_model\.bin in .* is not a file of the kept classifier"):
        Classifier.load(folder)


def test_what_changes_while_it_is_read(light, monkeypatch):
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + (b" " if self.suffix == ".jinja" else b""))
    with pytest.raises(InputError, match=r"template-1\.jinja in .* is not as it was written"):
        Classifier.load(light, model=keyword_lm())


@pytest.mark.parametrize("name", ["/etc/passwd", "../other", "a/../../b", "a\\b", "", ".hidden", "a//b", "README.md"])
def test_checksums_name_files_of_the_folder_only(light, name):
    path = light / "checksums.json"
    sums = {**json.loads(path.read_text())["files"], name: "0"}
    path.write_text(json.dumps({"files": sums, "all": folders._sum_of(sums)}))
    with pytest.raises(InputError, match=r"lists .*, which can't be a file of it"):
        Classifier.load(light, model=keyword_lm())


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"files": [], "all": ""}', "[" * 100_000, "\udcff"])
def test_checksums_that_are_none(light, said):
    (light / "checksums.json").write_bytes(said.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"checksums\.json in .* is damaged"):
        Classifier.load(light, model=keyword_lm())


def test_links_are_refused(folder, tmp_path):
    outside = tmp_path / "outside"
    for name in ("template-1.jinja", "models/0/config.json", "checksums.json", "models/0", "models"):
        twin = shutil.copytree(folder, tmp_path / "twin")
        shutil.move(twin / name, outside)
        (twin / name).symlink_to(outside)
        with pytest.raises(InputError, match=f"{name}.* is a link: a kept classifier holds files only"):
            Classifier.load(twin)
        shutil.rmtree(twin)
        shutil.rmtree(outside) if outside.is_dir() else outside.unlink()
    (folder / "models/0/more").symlink_to(folder)
    with pytest.raises(InputError, match=r"models/0/more in .* is not a file of the kept classifier"):
        Classifier.load(folder)


def test_only_the_hub_s_own_links_are_followed(light, tmp_path):
    snapshot = tmp_path / "models--user--x/snapshots/1"
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(light, snapshot)
    blobs = tmp_path / "models--user--x/blobs"
    blobs.mkdir()
    shutil.move(snapshot / "template-1.jinja", blobs / "t")
    (snapshot / "template-1.jinja").symlink_to("../../blobs/t")
    Classifier.load(snapshot, model=keyword_lm())
    shutil.move(blobs / "t", tmp_path / "t")
    (snapshot / "template-1.jinja").unlink()
    (snapshot / "template-1.jinja").symlink_to(tmp_path / "t")
    with pytest.raises(InputError, match="is a link"):
        Classifier.load(snapshot, model=keyword_lm())


def test_what_is_no_file(light):
    (light / "template-1.jinja").unlink()
    os.mkfifo(light / "template-1.jinja")  # reading it would never end
    with pytest.raises(InputError, match=r"template-1\.jinja is missing"):
        Classifier.load(light, model=keyword_lm())


# heads


def with_head(folder, data):
    """Put other data where the heads are."""
    for path in (folder / "heads").iterdir():
        path.write_bytes(data)
    return sealed(folder)


class Evil:
    """Unpickled, or made by way of ``__reduce__``, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)

    def __setstate__(self, state):
        Path(state["path"]).touch()


def test_a_pickled_head_is_not_read(folder, marker):
    with pytest.raises(InputError, match=r"heads/0\.skops can't be read"):
        Classifier.load(with_head(folder, pickle.dumps(Evil(marker))))


@pytest.mark.parametrize("kind", ["function", "method", "class", "attribute"])
def test_a_head_that_would_run_something(folder, marker, kind):
    head = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    head.extra_ = {
        "function": os.system,
        "method": operator.methodcaller("touch"),
        "class": skops_object(marker),
        "attribute": Path(marker).touch,
    }[kind]
    with pytest.raises(InputError, match=r"heads/0\.skops (holds types that are not known to be safe|can't be read)"):
        Classifier.load(with_head(folder, skops.io.dumps(head)))


def skops_object(marker):
    evil = Evil(marker)
    evil.__class__ = type("Evil", (Evil,), {"__reduce__": object.__reduce__, "__module__": __name__})
    return evil


def test_trust_is_for_the_types_that_are_named(folder, marker):
    head = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    head.extra_ = [os.system, os.getcwd]
    with_head(folder, skops.io.dumps(head))
    with pytest.raises(InputError, match=r"safe: posix\.system\. If") as caught:
        Classifier.load(folder, trusted=["posix.getcwd"])
    assert "getcwd" not in str(caught.value)


# templates


@pytest.mark.parametrize(
    "attack",
    [
        "{{ cycler.__init__.__globals__.os.system('touch MARKER') }}",
        "{{ text.__class__.__mro__[1].__subclasses__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ''|attr('__class__') }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.system('touch MARKER') }}",
    ],
)
def test_a_template_that_would_run_something(light, marker, attack):
    source = f"{{{{ text }}}} {attack.replace('MARKER', str(marker))} {{{{ label }}}}"
    (light / "template-1.jinja").write_text(source)
    with pytest.raises((FewshotError, TypeError)) as caught:  # some don't even compile
        Classifier.load(sealed(light), model=keyword_lm()).predict(["a text"])
    assert isinstance(caught.value, TemplateError | InputError)


def test_a_template_that_is_none(light):
    (light / "template-1.jinja").write_text("no hole")
    with pytest.raises(TemplateError, match=r"config\.json, node \d+: A template has exactly one hole"):
        Classifier.load(sealed(light), model=keyword_lm())


# config.json


def refused(folder, change, match, error=InputError, **options):
    edited(folder, change)
    with pytest.raises(error, match=match):
        Classifier.load(folder, **{"model": keyword_lm(), **options})


def node(config, key, **values):
    """Change the first node of a kind."""
    found = next(one for one in config["nodes"] if key in one)
    found.update(values)
    return found


@pytest.mark.parametrize("name", ["../outside.jinja", "/etc/passwd", "README.md", 3, None, ["config.json"]])
def test_a_template_from_elsewhere(light, name):
    (light.parent / "outside.jinja").write_text("{{ text }} {{ label }}")
    refused(
        light, lambda c: node(c, "template", template=name), "names .* which is not a file of the folder|not what save"
    )


@pytest.mark.parametrize("name", ["../outside", "/tmp", "heads", "models", "models/..", "models/0/1_Pooling", 0])
def test_a_model_from_elsewhere(folder, name):
    refused(folder, lambda c: c["models"][0].update(folder=name), "names .* which is not a model's folder", model=None)


def test_a_head_from_elsewhere(folder):
    refused(folder, lambda c: node(c, "head", head="../x.skops"), r"names '\.\./x\.skops'", model=None)


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("../model", InputError, "neither a hub name nor a whole path"),
        ("/tmp/../etc", InputError, "neither a hub name nor a whole path"),
        ("a b", InputError, "neither a hub name nor a whole path"),
        (["x"], InputError, "neither a hub name nor a whole path"),
        ("/no/such/folder", ModelLoadError, "is not on this machine"),
    ],
)
def test_a_model_by_a_strange_name(light, name, error, match):
    said = {"kept": "name", "name": name, "revision": None, "device": None, "asked_dtype": "auto", "dtype": "float32"}
    refused(light, lambda c: c["models"][0].update(**said, options={}), match, error, model=None)


@pytest.mark.parametrize(
    "options",
    [
        {"trust_remote_code": True},
        {"attn_implementation": "stranger/kernel"},
        {"quantization_config": {}},
        {"device_map": {"": "disk"}},
        {"cache_dir": "/tmp"},
        {"token": "x"},
    ],
)
def test_a_model_with_options_that_run_something(light, options):
    said = {"kept": "name", "name": "a/b", "revision": None, "device": None, "asked_dtype": "auto", "dtype": "float32"}
    refused(
        light,
        lambda c: c["models"][0].update(**said, options=options),
        "which a kept classifier can't ask for",
        model=None,
    )
    refused(light, lambda c: c["models"][0].update(options={}, dtype="load"), "of the type 'load'", model=None)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: node(c, "object", object="CachedLM"), "holds no objects of a class 'CachedLM'"),
        (lambda c: node(c, "object", object=["Task"]), "not what save writes"),
        (lambda c: node(c, "object")["attributes"].update(__class__="x"), "can have no attribute '__class__'"),
        (lambda c: node(c, "object")["attributes"].update(fit=1), "can have no attribute 'fit'"),
        (lambda c: node(c, "object")["attributes"].update({"a b": 1}), "can have no attribute 'a b'"),
        (
            lambda c: [n["attributes"].update(more=1) for n in c["nodes"] if n.get("object") == "Task"],
            "Task has the attr",
        ),
        (lambda c: c["nodes"].append({"what": 1}), "which may be of a newer version"),
        (lambda c: c["nodes"].append(3), "not what save writes"),
        (lambda c: c["nodes"].append({"list": [{"ref": len(c["nodes"])}]}), "which does not come before it"),
        (lambda c: c["nodes"].append({"list": [{"ref": -1}]}), "which does not come before it"),
        (lambda c: c["nodes"].append({"list": [{"ref": True}]}), "which does not come before it"),
        (lambda c: c["nodes"].append({"list": [[1]]}), r"a value is \[1\]"),
        (lambda c: c["nodes"].append({"list": [{"what": 1}]}), "not what save writes"),
        (lambda c: c["nodes"].append({"list": [{"float": "1e9"}]}), "not what save writes"),
        (lambda c: c["nodes"].append({"list": [{"path": 3}]}), "3 where text should be"),
        (lambda c: c["nodes"].append({"list": [{"numpy": "O", "value": 1}]}), "holds a scalar of object"),
        (lambda c: c["nodes"].append({"items": [], "dtype": "V8", "shape": [0]}), r"holds an array of \|V8"),
        (lambda c: c["nodes"].append({"items": ["a"], "dtype": "U1", "shape": [2]}), "not what save writes"),
        (lambda c: c["nodes"].append({"array": "none", "shape": [1]}), "not what save writes"),
        (lambda c: c["nodes"].append({"dict": [[{"ref": 0}, {"ref": 1}], [{"ref": 2}]]}), "not what save writes"),
        (lambda c: c["nodes"].append({"model": 9}), "names model 9, and there is none"),
        (lambda c: c["nodes"].append({"model": True}), "names model True, and there is none"),
        (lambda c: c["nodes"].append({"head": 3}), "names 3, which is not a file"),
        (lambda c: c.update(root={"ref": 0}), "holds a FakeLM, not a Classifier"),
        (lambda c: c.update(root=3), "holds a int, not a Classifier"),
        (lambda c: c.update({"class": "Prompting"}), "holds a Prompting, not a Classifier"),
        (lambda c: c.update(library="other"), "was not written by fewshot"),
        (lambda c: c.update(format=2), "has the format 2, and this library reads 1"),
        (lambda c: c.pop("nodes"), r"config\.json in .* is not what save writes \(KeyError"),
        (lambda c: c["models"].append({}), r"config\.json in .* is not what save writes \(KeyError"),
        (lambda c: c["versions"].update(fewshot="99.0"), r"was kept by fewshot 99\.0, and this is .*: update fewshot"),
        (lambda c: c["versions"].update(fewshot="new"), "has the version 'new', which is none"),
    ],
)
def test_a_config_that_was_not_written_by_save(light, change, match):
    refused(light, change, match)


def test_a_parameter_without_a_default_must_be_there():
    with pytest.raises(InputError, match="ConformalClassifier has a parameter 'classifier', and the file has none"):
        rebuild("ConformalClassifier", {"alpha": 0.1})


def test_a_config_that_is_no_json(light):
    for said in (b"{", b"[]", b"[" * 100_000, b"\xff"):
        (light / "config.json").write_bytes(said)
        with pytest.raises(InputError, match=r"config\.json"):
            Classifier.load(sealed(light), model=keyword_lm())


def test_arrays_that_are_none(folder):
    (folder / "arrays.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match=r"arrays\.safetensors in .* can't be read"):
        Classifier.load(sealed(folder))


def test_an_object_that_refuses_its_attributes(light):
    windows = {"object": "Windows", "attributes": {"stride": -1, "reduce": "mean"}}
    refused(light, lambda c: c["nodes"].append(windows), "not what save writes.*stride must be at least 1")
    with pytest.raises(InputError, match="holds no objects of a class 'RunFolder'"):
        rebuild("RunFolder", {"folder": "/tmp/x"})


# versions


def test_versions_that_do_not_fit(folder, light, monkeypatch):
    then = libraries.read_versions()
    edited(folder, lambda c: c["versions"].update(torch="0.1"))  # which is not asked
    Classifier.load(folder)
    for name in ("scikit-learn", "transformers", "sentence-transformers"):
        monkeypatch.setattr(libraries, "read_versions", lambda name=name: {**then, name: "99.0.0"})
        with pytest.raises(
            InputError, match=f"was kept with {name} .*, and here is 99.0.0.* install {name}=={then[name]}"
        ):
            Classifier.load(folder)
        Classifier.load(light, model=keyword_lm())  # needs none of them
        minor = then[name].split(".")[0] + ".999.0"
        monkeypatch.setattr(libraries, "read_versions", lambda name=name, minor=minor: {**then, name: minor})
        with pytest.warns(
            FewshotWarning, match=f"was kept with {name} .*, and here is {minor}: probabilities may differ"
        ):
            Classifier.load(folder)
    monkeypatch.setattr(
        libraries, "read_versions", lambda: {key: value for key, value in then.items() if key != "scikit-learn"}
    )
    Classifier.load(folder)  # whoever needs it says that it is missing


def test_another_version_of_transformers_is_not_another_model(folder, monkeypatch):
    """It is a part of every fingerprint, and is spoken of as a version."""
    from importlib.metadata import version

    now = version("transformers")
    minor = now.split(".")[0] + ".999.1"

    def older(config):
        config["versions"]["transformers"] = minor
        for entry in config["models"]:
            entry["fingerprint"] = entry["fingerprint"].replace(now, minor)

    edited(folder, older)
    with pytest.warns(FewshotWarning, match=f"transformers {minor}"):
        Classifier.load(folder)


# kinds and trust


def test_a_classifier_is_loaded_as_what_it_is(light):
    class Other(Classifier):
        pass

    with pytest.raises(InputError, match="holds a Classifier, not a Other"):
        Other.load(light, model=keyword_lm())
    assert type(load_kept(Classifier, light, model=keyword_lm())) is Classifier


def test_every_case_needs_no_more_trust_than_it_says(tmp_path):
    """Without ``trusted``, only heads with types that skops does not know are refused."""
    for name in ("embedding", "trees", "pipeline with a head of ours"):
        case = EVERY.get(name) or EVERY[f"contract {name}"]
        folder = case.fitted().save(tmp_path / name)
        if case.trusted:
            with pytest.raises(InputError, match="not known to be safe"):
                Classifier.load(folder, model=HashEncoder())
        else:
            Classifier.load(folder, model=HashEncoder())


def test_the_public_lists_let_in_these_classes_and_no_other():
    """Whoever adds one to a public list adds it here, having seen that it opens no path and calls no name given."""
    derived = set(KEPT.items()) - set(TABLE.items())
    strategies = "Auto Channel Contrastive Distillation Embedding FineTuning Prompting Readout"
    calibrations = "Batch BestOf Contextual DomainContext Learned PMI Temperature"
    selectors = "First MMR Nearest Random Stratified"
    assert {name for name, _ in derived} == set(f"{strategies} {calibrations} {selectors}".split())
    assert not TABLE.keys() & {name for name, _ in derived}
    for name, module in KEPT.items():
        assert module.startswith("fewshot.") or name == "FrozenEstimator"
    assert not is_known(type("Prompting", (Prompting,), {"__module__": "evil"})())
    assert not {"Strategy", "Prior", "Selector"} & KEPT.keys()
