"""The wheel with and without each extra: in environments that hold what it requires and nothing else."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import venv
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("offline", "plot", "lora", "gguf", "eval", "skops")
#: What each extra is for, and the error that names the extra where it is missing.
USES = {
    "offline": """
        from fewshot.models.loading import DEFAULT_ENCODER, default_encoder
        missing = default_encoder() == DEFAULT_ENCODER
        """,
    "plot": """
        import numpy as np
        from fewshot.plotting import ReliabilityDisplay
        try:
            import matplotlib
        except ImportError:
            matplotlib = None
        else:
            matplotlib.use("agg")
        try:
            ReliabilityDisplay.from_predictions(["a", "b"], np.eye(2), classes=["a", "b"])
            missing = False
        except ImportError as error:
            missing = "fewshot[plot]" in str(error)
            assert missing, error
        """,
    "lora": """
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel
        from fewshot import LoRA, UnsupportedError
        from fewshot.training.copies import own_copy
        model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=1))
        try:
            own_copy(model, LoRA(rank=1))
            missing = False
        except UnsupportedError as error:
            missing = "fewshot[lora]" in str(error)
            assert missing, error
        """,
    "gguf": """
        from pathlib import Path
        from fewshot import ModelLoadError, load
        Path("x.gguf").write_bytes(b"GGUF" + bytes([3] + 19 * [0]))
        try:
            load("x.gguf")
        except ModelLoadError as error:
            missing = "fewshot[gguf]" in str(error)
            assert missing or "does not say which architecture" in str(error), error
        """,
    "eval": """
        from fewshot import Classifier, FakeLM, evaluate
        lm = FakeLM(lambda query: [-float(len(word)) for word in query.candidates])
        try:
            evaluate(Classifier(lm).fit(None, ["a", "bb"]), ["x", "y"], ["a", "bb"]).metrics
            missing = False
        except ImportError as error:
            missing = "fewshot[eval]" in str(error)
            assert missing, error
        """,
    "skops": """
        from sklearn.tree import DecisionTreeClassifier
        from fewshot.persistence.heads import dump
        try:
            dump(DecisionTreeClassifier().fit([[0.0], [1.0]], ["x", "y"]), "head.skops")
            missing = False
        except ImportError as error:
            missing = "fewshot[skops]" in str(error)
            assert missing, error
        """,
}


def closure(extras: tuple[str, ...]) -> set[str]:
    """The distributions that the package needs with these extras, as the installed metadata name them."""
    found: set[str] = set()
    waiting = [Requirement(f"fewshot[{','.join(extras)}]" if extras else "fewshot")]
    seen = set()
    while waiting:
        needed = waiting.pop()
        if str(needed) in seen:
            continue
        seen.add(str(needed))
        name = canonicalize_name(needed.name)
        found.add(name)
        for line in requires(name) or ():
            inner = Requirement(line)
            asked = [{"extra": extra} for extra in ("", *needed.extras)]
            if inner.marker is None or any(inner.marker.evaluate(one) for one in asked):
                waiting.append(inner)
    return found - {"fewshot"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built by the declared backend."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = place.glob("*.whl")
    return built


def environment(place: Path, wheel: Path, extras: tuple[str, ...]) -> Path:
    """A Python with the wheel and links to what it requires, and to nothing else; returns its interpreter."""
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin/python"
    where = ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run([python, *where], capture_output=True, text=True, check=True).stdout.strip())
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    for name in closure(extras):
        owner = distribution(name)
        for top in {file.parts[0] for file in owner.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(owner.locate_file(top))
    return python


@pytest.mark.long
@pytest.mark.parametrize("present", [(), *[(extra,) for extra in EXTRAS]], ids=lambda extras: "".join(extras) or "none")
def test_an_extra_serves_where_it_is_installed_and_is_named_where_not(wheel, present, tmp_path):
    python = environment(tmp_path / "env", wheel, present)
    asked = present or EXTRAS
    parts = ["import fewshot", "for name in fewshot.__all__: getattr(fewshot, name)"] if not present else []
    for extra in asked:
        parts += [textwrap.dedent(USES[extra]), f"print({extra!r}, bool(missing))"]
    run = subprocess.run([python, "-I", "-c", "\n".join(parts)], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"{extra} {extra not in present}" for extra in asked]
