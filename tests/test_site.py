"""The site builds without a warning, as `make docs` builds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.long
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="the site takes the extra docs")
    options = ["-q", "-E", "-n", "-W", "--keep-going", "-c", "docs", "-d", str(tmp_path / "doctrees")]
    assert " ".join(options[:7]) in (ROOT / "Makefile").read_text(encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", *options, ".", str(tmp_path / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html/docs/api/Classifier.html").is_file()
