"""fewshot.serving.Predictor on batches of every kind, and docs/batches.md: Ray, Spark, datasets and processes."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fewshot import (
    Classifier,
    ConformalClassifier,
    Embedding,
    InputError,
    ParameterError,
    Questionnaire,
    UnsupportedError,
)
from fewshot.serving import Predictor, kept
from tests.contract import NEW, HashEncoder, data
from tests.kept import EVERY, PAIRS, indicator

ROOT = Path(__file__).resolve().parent.parent
ROWS = [f"{NEW[i % len(NEW)]} ({i})" for i in range(24)]


class Given(Predictor):
    """A Predictor with the model that the classifier of these tests was kept without, so that torch is not needed."""

    def __init__(self, folder, column="text", *, threads=None, **more):
        super().__init__(folder, column, model=HashEncoder(), **more)


@pytest.fixture(scope="module")
def clf():
    return Classifier(HashEncoder(), strategy=Embedding(), random_state=0).fit(*data(3))


@pytest.fixture(scope="module")
def tickets(clf, tmp_path_factory):
    return clf.save(tmp_path_factory.mktemp("kept") / "tickets")


def frame(n=24, **more):
    return pd.DataFrame({"id": np.arange(n), "text": ROWS[:n], **more}, index=np.arange(n) + 100)


KINDS = {
    "lists": lambda given: given.to_dict("list"),
    "arrays": lambda given: {name: np.array(given[name].tolist(), dtype=object) for name in given},
    "frame": lambda given: given,
    "table": lambda given: pa.Table.from_pandas(given, preserve_index=False),
    "record batch": lambda given: pa.RecordBatch.from_pandas(given, preserve_index=False),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def columns(batch):
    """A batch of any kind as lists, with None where there is nothing."""
    found = batch.to_pydict() if hasattr(batch, "to_pydict") else {name: list(batch[name]) for name in batch}
    return {name: [None if pd.isna(cell) else cell for cell in cells] for name, cells in found.items()}


def types(batch):
    """The types of the added columns."""
    if hasattr(batch, "schema"):
        return [batch.schema.field(name).type for name in ("prediction", "probability")]
    return [getattr(batch[name], "dtype", type(batch[name])) for name in ("prediction", "probability")]


@kinds
def test_a_batch_comes_back_with_what_the_classifier_says(kind, clf, tickets):
    batch = KINDS[kind](frame())
    found = Given(tickets, probabilities=True)(batch)
    assert type(found) is type(batch)
    by_name = columns(found)
    proba = clf.predict_proba(ROWS)
    added = [f"probability_{name}" for name in clf.classes_]
    assert list(by_name) == ["id", "text", "prediction", "probability", *added]
    assert (by_name["id"], by_name["text"]) == (list(range(len(ROWS))), ROWS)
    assert by_name["prediction"] == clf.predict(ROWS).tolist()
    np.testing.assert_allclose(by_name["probability"], proba.max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(np.transpose([by_name[name] for name in added]), proba, rtol=1e-12)
    assert list(columns(batch)) == ["id", "text"]  # it is not changed


def test_a_frame_keeps_its_index_and_a_table_its_types(tickets):
    assert Given(tickets)(frame()).index.tolist() == frame().index.tolist()
    table = pa.table({"text": pa.array(ROWS).dictionary_encode(), "when": pa.array([1] * len(ROWS), pa.date32())})
    assert Given(tickets)(table).schema.types[:2] == table.schema.types


@kinds
def test_types_are_the_same_in_every_batch(kind, tickets):
    predictor = Given(tickets, skip_empty=True)
    nothing = frame(2).assign(text=[None, " "])
    found = [predictor(KINDS[kind](given)) for given in (frame(), frame(1), frame(0), nothing)]
    assert len({str(types(one)) for one in found}) == 1
    assert [list(columns(one)) for one in found] == [["id", "text", "prediction", "probability"]] * 4
    assert columns(found[3]) == {"id": [0, 1], "text": [None, " "], "prediction": [None] * 2, "probability": [None] * 2}


@kinds
@pytest.mark.parametrize("missing", [None, float("nan"), "", " \n"])
def test_a_row_without_text_is_named_or_passed_over(kind, missing, clf, tickets):
    batch = KINDS[kind](frame(3).assign(text=np.array([ROWS[0], missing, ROWS[2]], dtype=object)))
    with pytest.raises(InputError, match=r"Row 1 of the batch has no text in the column 'text'.*skip_empty=True"):
        Given(tickets)(batch)
    found = columns(Given(tickets, skip_empty=True, probabilities=True)(batch))
    first, last = clf.predict([ROWS[0], ROWS[2]])
    assert found["prediction"] == [first, None, last]
    assert [cell is None for cell in found["probability"]] == [False, True, False]
    assert found["probability_praise"][1] is None


def test_what_is_no_text_is_named(tickets):
    with pytest.raises(InputError, match=r"Row 1 of the batch: the column 'text' must be text\. Got int: 5\."):
        Given(tickets)({"text": ["a", 5]})
    with pytest.raises(InputError, match=r"Row 0 .*Got bytes: b'a'"):
        Given(tickets)({"text": [b"a"]})


@kinds
def test_a_column_of_the_users_is_never_overwritten(kind, tickets):
    batch = KINDS[kind](frame(2, prediction=["x", "y"]))
    with pytest.raises(InputError, match=r"column 'prediction' of its own.*prefix=\.\.\."):
        Given(tickets)(batch)
    found = columns(Given(tickets, prefix="fewshot_")(batch))
    assert list(found) == ["id", "text", "prediction", "fewshot_prediction", "fewshot_probability"]
    assert found["prediction"] == ["x", "y"]
    with pytest.raises(InputError, match="column 'probability_praise' of its own"):
        Given(tickets, probabilities=True)(KINDS[kind](frame(2, probability_praise=[1, 2])))


def test_columns_that_are_not_there_or_there_twice(tickets):
    with pytest.raises(InputError, match=r"no column 'body'\. Got the columns \['id', 'text'\]"):
        Given(tickets, "body")(frame())
    for twice in (frame()[["text", "text"]], pa.Table.from_arrays([pa.array(["a"])] * 2, names=["text", "text"])):
        with pytest.raises(InputError, match="has 2 columns 'text'"):
            Given(tickets)(twice)
    with pytest.raises(InputError, match=r"one length\. Got \{'id': 1, 'text': 2\}"):
        Given(tickets)({"id": [1], "text": ["a", "b"]})
    for wrong in (["a text"], "a text", None, [{"text": "a"}]):
        with pytest.raises(InputError, match=r"A batch must be a mapping of columns.*Got builtins\."):
            Given(tickets)(wrong)


def test_parameters_are_checked(tickets):
    for threads in (0, True, 1.5):
        with pytest.raises(ParameterError, match="threads must be an integer of at least 1, or None"):
            Predictor(tickets, threads=threads)
    with pytest.raises(ParameterError, match="folder must be that of a kept classifier"):
        Predictor(" ")
    with pytest.raises(ParameterError, match="trusted must be a list"):
        Predictor(tickets, trusted="all")


def test_what_a_folder_holds_decides_what_is_loaded(tmp_path):
    with pytest.raises(InputError, match="holds no kept classifier"):
        Predictor(tmp_path / "nothing")(frame())
    folder = Classifier(HashEncoder(), verbalizer={"billing": "billing", "bug report": "bug", "praise": "praise"})
    folder = folder.fit(data(3)[0], indicator()).save(tmp_path / "labels")
    with pytest.raises(UnsupportedError, match="gives a text several labels"):
        Given(folder)(frame())


def test_a_conformal_classifier_answers_as_the_one_inside(clf, tmp_path):
    conformal = ConformalClassifier(Classifier(HashEncoder(), random_state=0), 0.3, random_state=0).fit(*data(3))
    found = Given(conformal.save(tmp_path / "conformal"))(frame())
    assert found["prediction"].tolist() == conformal.predict(ROWS).tolist()


def test_a_questionnaire_adds_columns_for_each_question(tmp_path):
    asked = {"team": ["billing", "support"], "angry": ["yes", "no"]}
    both = Questionnaire({name: Classifier(HashEncoder()) for name in asked}).fit(None, asked)
    folder = both.save(tmp_path / "both")
    found = Given(folder, probabilities=True, prefix="our ")(frame())
    assert list(found)[2:] == [
        *("our team_prediction", "our team_probability", "our team_probability_billing"),
        *("our team_probability_support", "our angry_prediction", "our angry_probability"),
        *("our angry_probability_no", "our angry_probability_yes"),
    ]
    assert found["our team_prediction"].tolist() == both.predict(ROWS)["team"].tolist()
    proba = both.predict_proba(ROWS)["angry"]
    np.testing.assert_allclose(found[["our angry_probability_no", "our angry_probability_yes"]], proba)
    with pytest.raises(InputError, match="column 'angry_prediction' of its own"):
        Given(folder)(frame(angry_prediction="x"))


@kinds
def test_fields_are_read_from_the_columns_of_their_names(kind, tmp_path):
    case = EVERY["fields"]
    fitted = case.fitted()
    folder = fitted.save(tmp_path / "fields")
    batch = KINDS[kind](pd.DataFrame(PAIRS).assign(id=range(len(PAIRS))))
    given = {"model": case.given()}
    found = columns(Predictor(folder, None, **given)(batch))
    assert found["prediction"] == fitted.predict(PAIRS).tolist()
    with pytest.raises(InputError, match=r"'text', and the classifier in .* reads the fields title, body: with "):
        Predictor(folder, **given)(batch)
    gap = KINDS[kind](pd.DataFrame(PAIRS[:2]).assign(body=pd.Series([PAIRS[0]["body"], None], dtype=object)))
    with pytest.raises(InputError, match="Row 1 of the batch has no text in the column 'body'"):
        Predictor(folder, None, **given)(gap)
    found = columns(Predictor(folder, None, skip_empty=True, **given)(gap))
    assert found["prediction"] == [fitted.predict(PAIRS[:1])[0], None]


@pytest.mark.parametrize("kind", ["lists", "frame", "table"])
def test_choices_of_each_row_are_numbered(kind, tmp_path):
    case = EVERY["choices"]
    fitted = case.fitted()
    batch = KINDS[kind](pd.DataFrame(list(case.ask)))
    found = Predictor(fitted.save(tmp_path / "choices"), None, model=case.given())(batch)["prediction"]
    found = found.to_pylist() if kind == "table" else list(found)
    assert found == list(map(str, fitted.predict(list(case.ask))))


def test_a_foreign_head_is_trusted_by_name(tmp_path):
    case = EVERY["trees"]
    fitted = case.fitted()
    folder = fitted.save(tmp_path / "trees")
    with pytest.raises(InputError, match=r"sklearn\.tree\._tree\.Tree"):
        Given(folder)(frame())
    predictor = Given(folder, trusted=(one for one in case.trusted))
    assert pickle.loads(pickle.dumps(predictor))(frame())["prediction"].tolist() == fitted.predict(ROWS).tolist()


def test_numbers_and_truth_values_are_text(tmp_path):
    for classes in ([False, True], [7, 8]):
        y = [classes[name == "billing"] for name in data(2)[1]]
        fitted = Classifier(HashEncoder(), random_state=0).fit(data(2)[0], y)
        found = Given(fitted.save(tmp_path / str(classes[0])))({"text": ROWS})["prediction"]
        assert found == list(map(str, fitted.predict(ROWS).tolist()))


# one object for many processes


def test_it_is_small_and_loads_when_it_is_called(tickets, monkeypatch, tmp_path):
    loads = []
    monkeypatch.setattr(Classifier, "load", _counted(Classifier.load, loads))
    monkeypatch.setattr(kept, "_LOADED", kept._Loaded())
    assert len(pickle.dumps(Predictor(tickets))) < 500
    predictor = Given(tickets)
    copy = pickle.loads(pickle.dumps(predictor))
    assert loads == []
    assert str(tickets) in repr(predictor)
    monkeypatch.chdir(tmp_path)
    found = predictor(frame())
    assert loads == [str(tickets)]
    assert copy(frame()).equals(found)
    assert pickle.loads(pickle.dumps(predictor))(frame()).equals(found)
    assert len(pickle.dumps(predictor)) < 500
    assert loads == [str(tickets)]  # once a process


def _counted(load, loads):
    def counted(folder, **options):
        loads.append(folder)
        return load(folder, **options)

    return counted


def test_a_relative_path_is_that_of_where_it_was_made(tickets, monkeypatch, tmp_path):
    monkeypatch.chdir(tickets.parent)
    predictor = Given("tickets")
    monkeypatch.chdir(tmp_path)
    assert predictor.folder == str(tickets)
    assert len(predictor(frame())) == len(ROWS)


def test_threads_share_one(clf, tickets, monkeypatch):
    loads = []
    monkeypatch.setattr(Classifier, "load", _counted(Classifier.load, loads))
    monkeypatch.setattr(kept, "_LOADED", kept._Loaded())
    predictor, barrier = Given(tickets), threading.Barrier(8)

    def ask(i):
        barrier.wait()
        return predictor({"text": ROWS[i:]})["prediction"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(loads) == 1
    expected = clf.predict(ROWS).tolist()
    assert found == [expected[i:] for i in range(8)]


def test_the_last_two_classifiers_of_a_process_are_kept(clf, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_LOADED", kept._Loaded())
    for i in range(3):
        Given(clf.save(tmp_path / str(i)))(frame(1))
    assert [Path(key[0]).name for key in kept._LOADED._kept] == ["1", "2"]


def test_another_classifier_in_its_folder_is_refused_or_loaded_anew(clf, tmp_path):
    folder = clf.save(tmp_path / "tickets")
    before = Given(folder)
    copy = pickle.loads(pickle.dumps(before))
    expected = before(frame())["prediction"].tolist()
    other = Classifier(HashEncoder()).fit(None, ["yes", "no"])
    other.save(folder, overwrite=True)
    assert before(frame())["prediction"].tolist() == expected  # it has loaded its own
    with pytest.raises(InputError, match="does not hold the classifier that this Predictor was made for"):
        copy(frame())
    assert Given(folder)(frame())["prediction"].tolist() == other.predict(ROWS).tolist()


def test_a_folder_that_is_elsewhere_is_looked_for_when_it_is_called(clf, tmp_path):
    predictor = Given(tmp_path / "later")
    clf.save(tmp_path / "later")
    assert predictor(frame())["prediction"].tolist() == clf.predict(ROWS).tolist()


@pytest.mark.long
def test_threads_of_torch_are_set_where_it_loads(clf, tickets):
    """In a process of its own, in which nothing is loaded before."""
    code = (
        "import sys\n"
        "from fewshot.serving import Predictor\n"
        "from tests.contract import HashEncoder\n"
        f"predictor = Predictor({str(tickets)!r}, model=HashEncoder(), threads=3)\n"
        "assert 'torch' not in sys.modules and 'starlette' not in sys.modules\n"
        f"print(predictor({{'text': {NEW!r}}})['prediction'])\n"
        "import torch\n"
        "print(torch.get_num_threads())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-2:] == [str(clf.predict(NEW).tolist()), "3"]


# docs/batches.md

PAGE = (ROOT / "docs/batches.md").read_text(encoding="utf-8")
BLOCKS = {
    part.partition("\n")[0]: "".join(re.findall(r"^```python\n(.*?)^```", part, re.DOTALL | re.MULTILINE))
    for part in PAGE.split("\n## ")[1:]
}
N = 2000


def test_every_block_of_the_page_is_run():
    assert list(BLOCKS) == ["What every recipe uses", "Processes", "datasets", "Ray Data", "Spark"]
    assert PAGE.count("```") == 2 * len(BLOCKS)


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


def check(mail, clf, recipe, space):
    """All ids are there once, with what one process says; what was labelled before was not labelled again."""
    found = pa.concat_tables(pq.read_table(path) for path in Path("labelled").glob("*.parquet")).to_pandas()
    assert len(space["done"]) == N // 2
    assert sorted(found["id"]) == list(range(N))
    found = found.set_index("id").loc[mail["id"].to_pylist()]
    texts = mail["text"].to_pylist()
    assert found["text"].tolist() == texts
    assert found["prediction"].tolist() == clf.predict(texts).tolist()
    np.testing.assert_allclose(found["probability"], clf.predict_proba(texts).max(axis=1), rtol=1e-9)


@pytest.mark.long
def test_processes(begun, mail, clf, monkeypatch):
    check(mail, clf, "Processes", run("Processes", monkeypatch))


@pytest.mark.long
def test_datasets(begun, mail, clf, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", begun / "cache")
    space = run("datasets", monkeypatch)
    check(mail, clf, "datasets", space)
    plain = space["rows"].with_format(None).select(range(5)).map(space["predictor"], batched=True)
    assert plain["prediction"][:] == clf.predict(plain["text"][:]).tolist()


def failing(fail, marker):
    """A Predictor that fails in the middle of the work, once of all processes; it is sent whole, and not by name."""
    parent = Given

    class Failing(parent):
        calls = 0

        def __call__(self, batch):
            type(self).calls += 1
            if self.calls == 2:
                try:
                    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    fail()
            return super().__call__(batch)

    return Failing


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def lost():
    raise ConnectionError("a machine is lost")


@pytest.fixture
def ray(monkeypatch):
    """A cluster of Ray on this machine: two actors, and a place for the tasks that read and write."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


@pytest.mark.long
def test_ray_goes_on_when_an_actor_is_killed(ray, begun, mail, clf, monkeypatch):
    marker = begun / "killed"
    check(mail, clf, "Ray Data", run("Ray Data", monkeypatch, failing(killed, marker)))
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


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
def test_spark_goes_on_when_a_task_fails(spark, begun, mail, clf, monkeypatch):
    marker = begun / "failed"
    space = run("Spark", monkeypatch, failing(lost, marker))
    check(mail, clf, "Spark", space)
    assert marker.exists()
    few, predictor = space["rows"].limit(5), space["predictor"]
    found = few.mapInArrow(lambda batches: map(predictor, batches), space["labelled"].schema).toPandas()
    assert found["prediction"].tolist() == clf.predict(found["text"].tolist()).tolist()
