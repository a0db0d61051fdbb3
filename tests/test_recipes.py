"""docs/batches.md: every recipe labels the rows that an earlier run has left, while a process or a task is lost."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.batched import Given, failing, fitted, killed, lost
from tests.contract import NEW

pytestmark = pytest.mark.long

PAGE = (Path(__file__).resolve().parent.parent / "docs/batches.md").read_text(encoding="utf-8")
BLOCKS = {
    part.partition("\n")[0]: "".join(re.findall(r"^```python\n(.*?)^```", part, re.DOTALL | re.MULTILINE))
    for part in PAGE.split("\n## ")[1:]
}
N = 2000


def test_every_block_of_the_page_is_run():
    assert list(BLOCKS) == ["What every recipe uses", "Processes", "datasets", "Ray Data", "Spark"]
    assert PAGE.count("```") == 2 * len(BLOCKS)


@pytest.fixture(scope="module")
def clf():
    return fitted()


@pytest.fixture(scope="module")
def tickets(clf, tmp_path_factory):
    return clf.save(tmp_path_factory.mktemp("kept") / "tickets")


@pytest.fixture(scope="module")
def mail():
    return pa.table({"id": np.random.RandomState(0).permutation(N), "text": [f"{NEW[i % 6]} ({i})" for i in range(N)]})


@pytest.fixture
def begun(mail, clf, tickets, tmp_path, monkeypatch):
    """A folder in which an earlier run was killed when half was done; its last file is cut off."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tickets").symlink_to(tickets)
    pq.write_table(mail, "mail.parquet")
    (tmp_path / "labelled").mkdir()
    half = Given("tickets")(mail.slice(0, N // 2))
    pq.write_table(half.slice(0, 700), "labelled/a.parquet")
    pq.write_table(half.slice(700), "labelled/b.parquet")
    whole = Path("labelled/b.parquet").read_bytes()
    Path("labelled/c.parquet").write_bytes(whole[:-9])
    return tmp_path


def run(recipe, monkeypatch, made=Given):
    """Run a block, after the one that all use."""
    monkeypatch.setattr("fewshot.serving.Predictor", made)
    space = {"__name__": "__main__"}
    for name in ("What every recipe uses", recipe):
        exec(compile(BLOCKS[name], f"docs/batches.md, {name}", "exec"), space)
    return space


def check(mail, clf, space):
    """All ids are there once, with what one process says; what was labelled before was not labelled again."""
    found = pa.concat_tables(pq.read_table(path) for path in Path("labelled").glob("*.parquet")).to_pandas()
    assert len(space["done"]) == N // 2
    assert sorted(found["id"]) == list(range(N))
    found = found.set_index("id").loc[mail["id"].to_pylist()]
    texts = mail["text"].to_pylist()
    assert found["text"].tolist() == texts
    assert found["prediction"].tolist() == clf.predict(texts).tolist()
    np.testing.assert_allclose(found["probability"], clf.predict_proba(texts).max(axis=1), rtol=1e-9)


def test_processes(begun, mail, clf, monkeypatch):
    check(mail, clf, run("Processes", monkeypatch))


def test_datasets(begun, mail, clf, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", begun / "cache")
    space = run("datasets", monkeypatch)
    check(mail, clf, space)
    plain = space["rows"].with_format(None).select(range(5)).map(space["predictor"], batched=True)
    assert plain["prediction"][:] == clf.predict(plain["text"][:]).tolist()


@pytest.fixture
def ray(monkeypatch):
    """A cluster of Ray on this machine: two actors, and a place for the tasks that read and write."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


def test_ray_goes_on_when_an_actor_is_killed(ray, begun, mail, clf, monkeypatch):
    marker = begun / "killed"
    check(mail, clf, run("Ray Data", monkeypatch, failing(killed, marker)))
    assert marker.exists()


@pytest.fixture
def spark(monkeypatch):
    """What a session of Spark needs on this machine; it is stopped afterwards."""
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed: no extra brings its 450 MB")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # of its workers
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    few = "spark.sql.execution.arrow.maxRecordsPerBatch=50"  # so that a task has several batches
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", f"--conf {few} --conf spark.ui.enabled=false pyspark-shell")
    yield
    if session := sql.SparkSession.getActiveSession():
        session.stop()


@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
def test_spark_goes_on_when_a_task_fails(spark, begun, mail, clf, monkeypatch):
    marker = begun / "failed"
    space = run("Spark", monkeypatch, failing(lost, marker))
    check(mail, clf, space)
    assert marker.exists()
    few, predictor = space["rows"].limit(5), space["predictor"]
    found = few.mapInArrow(lambda batches: map(predictor, batches), space["labelled"].schema).toPandas()
    assert found["prediction"].tolist() == clf.predict(found["text"].tolist()).tolist()
