"""The workflows of .github/ are YAML, and run what the Makefile has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split())


def read(name):
    return yaml.load((ROOT / ".github/workflows" / name).read_text(encoding="utf-8"), yaml.BaseLoader)  # "on" is a key


def commands(job):
    return [step["run"] for step in job.get("steps", ()) if "run" in step]


def test_both_are_there():
    assert [path.name for path in FILES] == ["ci.yml", "release.yml"]


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_what_make_is_asked_for_is_in_the_makefile(name):
    for job in read(name)["jobs"].values():
        assert set(job["needs"].split()) <= set(read(name)["jobs"]) if "needs" in job else True
        asked = [command.split()[1] for command in commands(job) if command.startswith("make ")]
        assert set(asked) <= TARGETS


def test_every_job_calls_one_target_alone():
    assert {key: commands(job) for key, job in read("ci.yml")["jobs"].items()} == {
        name: [f"make {name} PYTHON=python"] for name in ("test", "lowest", "bare", "docs")
    }


def test_every_system_has_every_python():
    matrix = read("ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_only_the_job_that_publishes_may_and_it_runs_no_code_of_ours():
    jobs = read("release.yml")["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    assert commands(jobs["publish"]) == []
    assert jobs["build"]["needs"] == "test"
    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in read("ci.yml")["on"]
