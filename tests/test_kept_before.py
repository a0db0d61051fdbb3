"""What users have of earlier versions goes on working: folders, import paths, and commands with their options."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from fewshot import Template
from fewshot.cli import app
from tests import kept_before
from tests.kept import TORCH
from tests.kept_before import CASES, FOLDER, path_of, said

COMMANDS = Path(__file__).resolve().parent / "data" / "command_line.json"
RENEW = "python -m tests.test_kept_before"
#: What users import from other public modules than `fewshot` itself, whose names are in its stub.
IMPORTED = {
    "fewshot.calibration": "PMI Batch BestOf Contextual DomainContext Learned Prior as_prior",
    "fewshot.datasets": "load_tickets",
    "fewshot.demonstrations": (
        "MMR First Nearest Order Random Selection Selector Stratified as_selector least_biased orders select"
    ),
    "fewshot.embedded": "NAME export masked_lm",
    "fewshot.errors": (
        "FewshotError FewshotWarning InputError LabelMassWarning ModelLoadError NoAnswerWarning PromptTooLongError "
        "ShortenedWarning TemplateError UnsupportedError VerbalizerError"
    ),
    "fewshot.evaluation": "Comparison Evaluation LearningCurve calibration_error compare evaluate learning_curve",
    "fewshot.models.base": "Encoder Generator LanguageModel Query Reader Scores Turn Window",
    "fewshot.persistence": "load push_to_hub save",
    "fewshot.plotting": "CoverageDisplay LearningCurveDisplay PriorDisplay ReliabilityDisplay TemplateDisplay",
    "fewshot.serving": "Predictor application running serve",
    "fewshot.strategies.base": "Strategy",
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings(
    "ignore:The classifier was kept with:fewshot.FewshotWarning",  # another version of transformers, scikit-learn
    "ignore::sklearn.exceptions.InconsistentVersionWarning",
    "ignore::fewshot.LabelMassWarning",
)
def test_a_classifier_kept_before_says_what_it_said(name, tmp_path):
    folder = path_of(name)
    then = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    clf = kept_before.load(name, folder)
    again = kept_before.load(name, clf.save(tmp_path / "again"))
    for loaded in (clf, again):
        now = said(loaded, then["rows"])
        assert now["classes"] == then["classes"]
        assert now.get("sets") == then.get("sets")
        found, wanted = np.array(now["probabilities"]), np.array(then["probabilities"])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 if name in TORCH else 1e-6)


def test_every_folder_is_a_case():
    assert {path.stem for path in FOLDER.glob("*.json")} == {path_of(name).name for name in CASES}
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} == {path_of(name).name for name in CASES}


@pytest.mark.parametrize("module", IMPORTED)
def test_what_users_import_is_where_it_was(module):
    there = import_module(module)
    assert [name for name in IMPORTED[module].split() if not hasattr(there, name)] == []


def test_a_template_checks_itself():
    report = Template("Text: {{ text }}Topic: {{ label }}", words={"a": "good", "b": "good news"}).lint()
    assert type(report).__name__ == "LintReport"
    assert "good" in str(report)


def commands() -> dict[str, list[str]]:
    """Of each command, and of the program itself, the arguments in order and the options."""
    root: Any = typer.main.get_command(app)
    found = {"fewshot": root, **{f"fewshot {name}": one for name, one in root.commands.items()}}
    return {name: [*_arguments(one), *sorted(_options(one))] for name, one in sorted(found.items())}


def _arguments(command: Any) -> list[str]:
    return [param.name for param in command.params if param.param_type_name == "argument"]


def _options(command: Any) -> list[str]:
    options = [param for param in command.params if param.param_type_name == "option"]
    return [said for param in options for said in (*param.opts, *param.secondary_opts)]


def test_the_command_line_takes_what_it_took():
    stored = json.loads(COMMANDS.read_text(encoding="utf-8"))
    assert commands() == stored, f"If the change is meant: {RENEW}, then read the difference in git."


if __name__ == "__main__":
    COMMANDS.write_text(json.dumps(commands(), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{COMMANDS}: {len(commands())} commands\n")
