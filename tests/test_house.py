"""The rules of the house: what is public, and what the package ships. Which way imports point is in pyproject.toml."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import fewshot

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fewshot"


@pytest.mark.parametrize("name", fewshot.__all__)  # type: ignore[attr-defined]
def test_a_public_name_is_there_and_says_what_it_is(name):
    assert (getattr(fewshot, name).__doc__ or "").strip()
    assert name in dir(fewshot)


def test_a_name_that_is_not_public_is_missed():
    with pytest.raises(AttributeError, match="no attribute 'Clasifier'"):
        fewshot.Clasifier  # type: ignore[attr-defined]  # noqa: B018


def test_the_stub_lists_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    listed = {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert listed == set(fewshot.__all__)  # type: ignore[attr-defined]


def test_import_needs_the_standard_library_only():
    code = "import sys; before = set(sys.modules); import fewshot; print(sorted(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in ast.literal_eval(out)}
    assert loaded - set(sys.stdlib_module_names) == {"fewshot"}


def test_the_extras_are_named_in_the_package_metadata():
    from importlib.metadata import metadata

    assert {"offline", "plot", "lora", "eval", "dev"} <= set(metadata("fewshot").get_all("Provides-Extra"))


def test_every_requirement_is_pinned_in_the_constraints():
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    files = [(ROOT / name).read_text() for name in ("constraints.txt", "constraints-docs.txt")]
    lines = [line for text in files for line in text.splitlines() if not line.startswith("#")]
    pinned = {Requirement(line).name.lower().replace("_", "-"): Requirement(line) for line in lines}
    for text in requires("fewshot"):
        needed = Requirement(text)
        if needed.name == "fewshot":
            continue
        (exact,) = pinned[needed.name.lower()].specifier
        assert exact.operator == "=="
        assert needed.specifier.contains(exact.version), text


def test_the_wheel_carries_gallery_data_and_types(tmp_path):
    """Built by the declared backend, installed without dependencies into an environment of its own."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env/bin/python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", where, str(wheel)], check=True
    )
    code = (
        "import json, fewshot, pathlib; root = pathlib.Path(fewshot.__file__).parent;"
        "print(json.dumps([str(root), [p.parent.name + '/' + p.stem for p in root.glob('templates/*/*.jinja')],"
        "(root / 'py.typed').is_file(), (root / 'datasets/tickets.csv').is_file(),"
        "sorted(p.name for p in (root / 'embedded/masked').iterdir())]))"
    )
    out = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    root, templates, typed, data, embedded = json.loads(out)
    assert Path(root).is_relative_to(tmp_path)
    from fewshot import gallery

    assert sorted(templates) == gallery.names()
    assert typed
    assert data
    assert embedded == sorted(path.name for path in (PACKAGE / "embedded/masked").iterdir())


def test_no_module_of_the_tests_hides_one_of_the_standard_library():
    """A script that is started in tests/ finds its neighbours first."""
    names = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    assert not names & set(sys.stdlib_module_names)


def test_no_file_of_the_tests_has_more_than_500_lines():
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert {name: n for name, n in lines.items() if n > 500} == {}, "split them by what their tests are about"
