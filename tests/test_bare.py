"""What needs no extra. `make bare` runs this file where no extra is installed, and without tests/conftest.py."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

import fewshot
from fewshot import Classifier, embedded

pytestmark = pytest.mark.long

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1"}
WORDS = {"negative": "terrible", "positive": "great"}


@pytest.mark.parametrize("name", fewshot.__all__)  # type: ignore[attr-defined]
def test_a_public_name_takes_no_extra(name):
    assert getattr(fewshot, name).__doc__


def test_the_model_inside_the_package_classifies_and_is_kept(tmp_path):
    clf = Classifier(embedded.masked_lm(), template="sst2/it_was").fit()
    row = ["A wonderful evening, and I laughed all the way home."]
    assert clf.predict(row).tolist() == ["positive"]
    clf.save(tmp_path / "kept")
    again = Classifier.load(tmp_path / "kept")
    assert again.predict_proba(row).tolist() == clf.predict_proba(row).tolist()


def test_a_command_classifies_lines():
    words = ",".join(f"{name}={word}" for name, word in WORDS.items())
    command = ["classify", "-", "--model", "embedded:masked", "--template", "sst2/it_was", "--words", words]
    done = subprocess.run(
        [sys.executable, "-m", "fewshot", *command],
        input="text\nA wonderful evening and a great laugh.\n",
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    assert "positive" in done.stdout


@pytest.mark.parametrize(
    ("library", "arguments", "extra"),
    [
        ("pyarrow", ["classify", "mail.parquet", "--labels", "a,b"], "parquet"),
        ("starlette", ["play", "mail.jinja", "--data", "mail.csv"], "serve"),
    ],
)
def test_a_command_that_takes_an_extra_names_it(library, arguments, extra, tmp_path):
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed: `make bare` runs this where it is not")
    (tmp_path / "mail.parquet").write_bytes(b"PAR1")
    (tmp_path / "mail.jinja").write_text("{{ text }} It is about {{ label }}.")
    (tmp_path / "mail.csv").write_text("text\nhello\n")
    done = subprocess.run(
        [sys.executable, "-m", "fewshot", *arguments], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT
    )
    assert done.returncode != 0
    assert f"fewshot[{extra}]" in done.stderr
