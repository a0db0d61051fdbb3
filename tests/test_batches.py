"""fewshot.serving.Predictor: batches of every kind, and one object for many processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fewshot import (
    Classifier,
    ConformalClassifier,
    InputError,
    ParameterError,
    Questionnaire,
    UnsupportedError,
)
from fewshot.serving import Predictor, kept
from tests.batched import Given, fitted
from tests.contract import NEW, HashEncoder, data
from tests.kept import EVERY, PAIRS, indicator

ROOT = Path(__file__).resolve().parent.parent
ROWS = [f"{NEW[i % len(NEW)]} ({i})" for i in range(24)]


@pytest.fixture(scope="module")
def clf():
    return fitted()


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
