"""Small classifiers as an earlier commit kept them, with what they said then; run as a script, it keeps them anew.

    python -m tests.kept_before

Their folders are a promise to whoever has kept a classifier: they are kept anew when they cover too little, or when the
format rises, and never so that a test passes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fewshot import Classifier, ConformalClassifier, FakeLM
from tests.kept import EVERY, given_to

FOLDER = Path(__file__).resolve().parent / "data" / "kept"
#: Cases of `tests.kept`, together with nearly every class that can be kept but those that come with weights, which are
#: large. Of foreign heads there is one, as others depend on the version of scikit-learn.
CASES = (
    "contract calibrated",
    "calibration domain-context",
    "calibration PMI",
    "contract auto-lm",
    "contract readout-knn",
    "readout prototypes",
    "shown to several wordings",
    "shown Nearest",
    "shown Random",
    "shown First",
    "fields",
    "choices",
    "classes without names",
    "words found",
    "labels",
    "channel",
    "distilled",
    "conformal",
    "pipeline with a head of ours",
    "embedded",
    "embedded, readout",
)


def path_of(name: str, root: Path = FOLDER) -> Path:
    """The folder of a case."""
    return root / re.sub(r"\W+", "-", name.lower())


def made(name: str) -> Any:
    """A case's classifier whose FakeLM goes by the case's name.

    The fingerprint that a FakeLM gives itself covers its function's code, so it is another one when the function moves,
    and under another Python. What the function does is compared with the probabilities.
    """
    clf = EVERY[name].make()
    for model in given_to(clf):
        if isinstance(model, FakeLM):
            model.fingerprint = f"fake:{name}"
    return clf


def said(clf: Any, rows: list[Any]) -> dict[str, Any]:
    """What a classifier says of rows, as plain JSON."""
    sets = {"sets": clf.predict_set(rows).tolist()} if isinstance(clf, ConformalClassifier) else {}
    return {"classes": clf.classes_.tolist(), "probabilities": clf.predict_proba(rows).tolist(), **sets}


def keep(name: str, root: Path = FOLDER) -> None:
    """Fit a case, and keep it with what it says."""
    case = EVERY[name]
    clf = made(name).fit(*case.fit())
    rows = list(case.ask)
    folder = clf.save(path_of(name, root), overwrite=True)
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in {"rows": rows, **said(clf, rows)}.items()]
    folder.with_suffix(".json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def load(name: str, folder: Path) -> Any:
    """The classifier of a case, from a folder that holds it."""
    kind = ConformalClassifier if name.startswith("conformal") else Classifier
    return kind.load(folder, model=given_to(made(name)), trusted=EVERY[name].trusted)


if __name__ == "__main__":
    for case in CASES:
        keep(case)
