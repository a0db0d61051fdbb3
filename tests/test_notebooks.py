"""Every notebook runs from top to bottom, and prints what its committed outputs say."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.conftest import NO_CAUSAL, has_causal
from tests.printed import says_the_same

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


def printed(notebook) -> list[str]:
    """What the cells print, without progress bars."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return ["".join(o.text) for o in outputs if o.output_type == "stream" and o.name == "stdout"]


def test_there_is_a_first_notebook():
    assert next(path.name for path in NOTEBOOKS) == "01_first_classifier.ipynb"


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")  # jupyter's own
def test_a_notebook_runs_and_prints_what_is_committed(path, mini, tmp_path):
    import nbclient
    import nbformat

    committed = nbformat.read(path, as_version=4)
    if "embedded:causal" in path.read_text(encoding="utf-8") and not has_causal():
        pytest.skip(NO_CAUSAL)
    if 'method="temperature"' in path.read_text(encoding="utf-8").replace('\\"', '"'):
        pytest.importorskip("sklearn", minversion="1.8", reason="temperature scaling is of scikit-learn 1.8")
    fresh = copy.deepcopy(committed)
    nbclient.NotebookClient(fresh, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert printed(committed)
    assert says_the_same("".join(printed(fresh)), "".join(printed(committed)))
    pictures = [
        o for c in committed.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})
    ]
    assert pictures
