"""Kept folders whose files were changed at random: refused with a sentence, or what they were."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import hostile
from tests.kept import EVERY

pytestmark = [
    pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning", "ignore::fewshot.FewshotWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of numbers that overflow on the way to a refusal
]
NAMES = ["shown MMR", "conformal", "several wordings", "a head of ours"]
QUIET = settings(suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    made = []
    for i, name in enumerate(NAMES):
        clf = EVERY[name].fitted()
        made.append(hostile.Twin(clf.save(root / f"{i}"), root / f"twin {i}", EVERY[name], type(clf)))
    return made


@QUIET
@given(st.integers(0, len(NAMES) - 1), st.integers(0, 99), hostile.damages)
def test_files_that_were_damaged_are_refused_or_unread(twins, which, file, damage):
    twin = twins[which]
    names = [name for name in twin.whole if name != "README.md"]
    name = names[file % len(names)]
    assert twin.attempt(name, hostile.damaged(twin.whole[name], *damage), sealed=False) != "other"


@QUIET
@given(st.integers(0, len(NAMES) - 1), st.integers(0, 99), hostile.damages)
def test_files_that_were_damaged_on_purpose_are_refused_or_work(twins, which, file, damage):
    twin = twins[which]
    names = [name for name in twin.whole if name not in ("README.md", "checksums.json")]
    name = names[file % len(names)]
    twin.attempt(name, hostile.damaged(twin.whole[name], *damage), sealed=True)


@QUIET
@given(st.integers(0, len(NAMES) - 1), st.integers(0, 99), hostile.changes)
def test_json_that_was_rewritten_is_refused_or_works(twins, which, file, change):
    twin = twins[which]
    names = twin.json_files()
    # config.json of the classifier has most to say
    name = names[file % len(names)] if file < 50 else "config.json"
    twin.attempt(name, twin.mutated(name, *change), sealed=True)
