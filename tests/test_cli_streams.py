"""Files of any size: read part by part as if they were read whole, several of them too, in memory that is bounded."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc

import numpy as np
import pytest

from fewshot import Classifier, ConformalClassifier, Questionnaire
from fewshot.cli import content, learning, predicting
from fewshot.cli.formats import Format
from fewshot.cli.parquet import Schema
from fewshot.cli.reading import joined, open_rows, read
from fewshot.errors import InputError
from fewshot.models.loading import load
from tests.command import _keyword_model, run  # noqa: F401 - a fixture
from tests.contract import HashEncoder

NAMES = ("--labels", "good,bad")
ROWS = [{"id": str(i), "text": text} for i, text in enumerate(["good", 'so "bad"', "two\nlines", "ü" * 9, "bad", " "])]


def packed(data, packing):
    """Bytes as a file of a packing holds them."""
    if packing == ".zst":
        pa = pytest.importorskip("pyarrow")
        return pa.compress(data, "zstd", asbytes=True)
    return gzip.compress(data) if packing else data


def written(kind):
    """The rows as a file of a kind."""
    if kind == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(ROWS), stream)
        return stream.getvalue()
    if kind == "json":
        return json.dumps(ROWS, indent=1).encode()
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n\n" for row in ROWS).encode()
    if kind == "txt":
        return "".join(row["text"].replace("\n", " ") + "\n" for row in ROWS).encode()
    lines = io.StringIO(newline="")
    table = csv.DictWriter(lines, ["id", "text"], delimiter="\t" if kind == "tsv" else ",", lineterminator="\n")
    table.writeheader()
    for row in ROWS:
        table.writerow(row)
        lines.write("\n")  # a blank line
    return lines.getvalue().encode()


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "json", "jsonl", "parquet"])
def test_parts_are_the_whole(tmp_path, monkeypatch, kind, packing):
    for block in (3, 1 << 20):
        monkeypatch.setattr(content, "_BLOCK", block)
        monkeypatch.setattr("fewshot.cli.json_rows._BLOCK", block)
        path = tmp_path / f"mail.{kind}{packing}"
        path.write_bytes(packed(written(kind), packing))
        whole, rows = read(path), open_rows(path)
        expected = [row["text"] for row in ROWS]
        if kind == "txt":
            expected[2] = "two lines"
        assert [row["text"] for row in whole.rows] == expected
        for size in (1, 2, 4, 100):
            parts = list(rows.parts(size))
            assert [len(part.rows) for part in parts[:-1]] == [size] * (len(parts) - 1)
            assert [row for part in parts for row in part.rows] == whole.rows
            places = [part.where(i) for part in parts for i in range(len(part.rows))]
            assert places == [whole.where(i) for i in range(len(whole.rows))]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1000])
def test_a_byte_that_is_no_character_is_found_where_it_is(tmp_path, monkeypatch, block):
    monkeypatch.setattr(content, "_BLOCK", block)
    path = tmp_path / "mail.csv"
    for data in ("text\nüü\n".encode() + b"a\xffb\n", "text\nüü\n".encode() + b"a\xe2\x82"):
        path.write_bytes(data)
        byte = "0xff" if b"\xff" in data else "0xe2"
        with pytest.raises(InputError, match=rf"is not UTF-8: byte {byte} at 11 \(line 3\)"):
            open_rows(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_byte_order_mark_is_no_character(tmp_path, encoding):
    path = tmp_path / "mail.csv"
    path.write_bytes(("\ufeff" * encoding.endswith(("8", "le")) + "text\ngood\n").encode(encoding))
    assert read(path, Format(encoding=encoding)).rows == [{"text": "good"}]


def test_a_file_that_is_no_longer_what_it_was(tmp_path):
    path = tmp_path / "mail.csv"
    path.write_text("text\ngood\n")
    rows = open_rows(path)
    path.write_text("text\nsomething else\n")
    with pytest.raises(InputError, match="has changed while it was read"):
        rows.table()


def test_what_is_packed_and_damaged(tmp_path):
    for ending, name in ((".gz", "gzip"), (".zst", "zstd")):
        path = tmp_path / f"mail.csv{ending}"
        data = packed(b"text\n" + b"".join(b"good %d\n" % i for i in range(9999)), ending)
        for cut in (data[: len(data) // 2], b"text\ngood\n"):
            path.write_bytes(cut)
            with pytest.raises(InputError, match=f"is not a {name} file, or it is damaged"):
                open_rows(path).table()


# several files


@pytest.fixture
def files(tmp_path):
    """Two files that are alike."""
    (tmp_path / "a.csv").write_text("id,text\n1,good\n2,bad\n")
    (tmp_path / "b.csv").write_text("id,text\n3,so good\n")
    return tmp_path


def test_several_files_are_one(files, monkeypatch, capsys):
    for given in ([files / "a.csv", files / "b.csv"], [files / "*.csv"]):
        code, out, _ = run(monkeypatch, capsys, "classify", *given, *NAMES)
        assert code == 0
        assert [line.split(",")[:3] for line in out.splitlines()] == [
            ["id", "text", "prediction"],
            ["1", "good", "good"],
            ["2", "bad", "bad"],
            ["3", "so good", "good"],
        ]


def test_a_row_without_text_is_named_with_its_file(files, monkeypatch, capsys):
    (files / "b.csv").write_text("id,text\n3,\n")
    _, _, err = run(monkeypatch, capsys, "classify", files / "a.csv", files / "b.csv", *NAMES)
    assert "'2 files': row '" in err
    assert "b.csv', line 2, row 0 has no text" in err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "text,id\ngood,1\n", "has the columns text, id, and "),
        ("b.tsv", "id\ttext\n1\tgood\n", "is tsv, and "),
        ("b.csv", "id,text\n", "holds no rows"),
    ],
)
def test_files_that_are_not_alike(files, monkeypatch, capsys, name, text, message):
    (files / name).write_text(text)
    code, _, err = run(monkeypatch, capsys, "classify", files / "a.csv", files / name, *NAMES)
    assert (code, message in err) == (1, True)


def test_patterns_and_names_that_do_not_fit(files, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "classify", files / "*.tsv", *NAMES)
    assert (code, "No file matches" in err) == (1, True)
    code, _, err = run(monkeypatch, capsys, "classify", files / "a.csv", files / "*.csv", *NAMES)
    assert (code, "a.csv' is given twice: give each file once" in err) == (1, True)
    (files / "[draft].csv").write_text("text\ngood\n")  # a name, and no pattern
    assert run(monkeypatch, capsys, "classify", files / "[draft].csv", *NAMES)[0] == 0
    monkeypatch.chdir(files)
    code, _, err = run(monkeypatch, capsys, "classify", "a.csv", "b.csv", *NAMES, "--output", "b.csv")
    assert (code, "give another name" in err) == (1, True)


def test_parquet_files_have_the_same_types(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, values in (("a", [1]), ("b", [1.5])):
        pq.write_table(pa.table({"text": ["good"], "n": values}), tmp_path / f"{name}.parquet")
    first, second = joined([open_rows(tmp_path / "a.parquet"), open_rows(tmp_path / "b.parquet")]).parts(10)
    schema = Schema()
    schema.add(first)
    with pytest.raises(InputError, match=r"b\.parquet' has columns of other types"):
        schema.add(second)


# what is added


def test_the_probability_of_each_class(files, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "classify", files / "a.csv", *NAMES, "--probabilities")
    rows = list(csv.DictReader(out.splitlines()))
    assert (code, list(rows[0])) == (
        0,
        ["id", "text", "prediction", "probability", "probability_bad", "probability_good"],
    )
    for row in rows:
        assert row["probability"] == row[f"probability_{row['prediction']}"]
        assert float(row["probability_good"]) + float(row["probability_bad"]) == pytest.approx(1, abs=2e-4)


def test_a_column_of_the_rows_own_stays(files, monkeypatch, capsys):
    (files / "a.csv").write_text("text,probability_good\ngood,mine\n")
    code, out, err = run(monkeypatch, capsys, "classify", files / "a.csv", *NAMES, "--probabilities")
    assert (code, "what is added is called fewshot_prediction" in err) == (0, True)
    assert next(csv.DictReader(out.splitlines()))["probability_good"] == "mine"
    code, _, err = run(monkeypatch, capsys, "classify", files / "a.csv", *NAMES, "--probabilities", "--prefix", "")
    assert (code, "has a column 'probability_good' of its own: give another --prefix" in err) == (1, True)


def test_choices_of_the_rows_have_no_columns(files, monkeypatch, capsys):
    form = "--- \nchoices: [a, b]\n---\n{{ text }} {{ label }}"
    code, _, err = run(monkeypatch, capsys, "classify", files / "a.csv", "--template", form, "--probabilities")
    assert (code, "here each row has its own choices" in err) == (2, True)


def test_a_machine_is_told_how_far_it_is(files, monkeypatch, capsys):
    monkeypatch.setattr(predicting, "STEP", 1)
    monkeypatch.setattr(predicting, "_TOLD", -1)
    code, out, err = run(monkeypatch, capsys, "classify", files / "a.csv", *NAMES, "--json")
    assert (code, [json.loads(line) for line in err.splitlines()]) == (0, [{"rows": 1, "of": 2}, {"rows": 2, "of": 2}])
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_classifier_with_sets_says_them(tmp_path, monkeypatch, capsys, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    labelled, folder, output = tmp_path / "labelled.csv", tmp_path / "kept", tmp_path / f"out.{ending}"
    rows = [(f"{word} {i}", name) for i in range(12) for word, name in (("invoice", "billing"), ("thanks", "praise"))]
    labelled.write_text("text,label\n" + "".join(f"{text},{name}\n" for text, name in rows))
    (tmp_path / "mail.csv").write_text("text\nan invoice\n\nthank you\n")
    fit = ("fit", labelled, "--save", folder, "--alpha", "0.2", "--strategy", "embedding")
    monkeypatch.setattr("fewshot.task.resolve.load", load)
    code, out, err = run(monkeypatch, capsys, *fit)
    assert (code, "learned from 12 rows; sets calibrated on 12 more" in out) == (0, True), err
    command = ("classify", tmp_path / "mail.csv", "--classifier", folder, "--skip-empty", "--output", output)
    assert run(monkeypatch, capsys, *command, "--probabilities")[0] == 0
    names = ["prediction", "probability", "prediction_set", "probability_billing", "probability_praise"]
    table = read(output)
    assert table.columns == ["text", *names]
    kept = ConformalClassifier.load(folder)
    for row, chosen in zip([table.rows[0], table.rows[2]], kept.predict_set(["an invoice", "thank you"]), strict=True):
        found = json.loads(row["prediction_set"]) if ending == "csv" else row["prediction_set"]
        assert found == kept.classes_[chosen].tolist()
    assert not any(table.rows[1].values())
    assert run(monkeypatch, capsys, "evaluate", labelled, "--classifier", folder)[0] == 0


def test_sets_take_labelled_rows(tmp_path, monkeypatch, capsys):
    for more, message in (
        (("--labels", "a,b", "--alpha", "0.1"), "--alpha calibrates on labelled rows"),
        (("--labels", "a,b", "--sets", "aps"), "--sets names the method for the sets of --alpha"),
    ):
        code, _, err = run(monkeypatch, capsys, "fit", "--save", tmp_path / "kept", *more)
        assert (code, message in err) == (2, True)
    (tmp_path / "few.csv").write_text("text,label\na,x\nb,y\n")
    code, _, err = run(monkeypatch, capsys, "fit", tmp_path / "few.csv", "--save", tmp_path / "kept", "--alpha", "0.1")
    assert (code, "alpha=0.1 needs at least 9 calibration rows" in err) == (1, True)


def test_a_questionnaire_is_not_for_rows_of_one_answer(tmp_path, monkeypatch, capsys):
    both = Questionnaire({"team": Classifier(HashEncoder())}).fit(None, {"team": ["billing", "bug"]})
    (tmp_path / "mail.csv").write_text("text\ngood\n")
    folder = both.save(tmp_path / "kept")
    code, _, err = run(monkeypatch, capsys, "classify", tmp_path / "mail.csv", "--classifier", folder)
    assert (code, "holds a Questionnaire" in err) == (1, True)


# types, over the borders of parts


@pytest.mark.parametrize(
    ("values", "type_name"),
    [([1, 2.5], "double"), ([None, "x"], "string"), ([None, None], "null"), ([[1], [2]], "list<element: int64>")],
)
def test_a_column_has_one_type(tmp_path, monkeypatch, capsys, values, type_name):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(predicting, "STEP", 1)
    rows = [{"text": "good", "own": value} for value in values]
    (tmp_path / "mail.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "out.parquet"
    assert run(monkeypatch, capsys, "classify", tmp_path / "mail.jsonl", *NAMES, "--output", output)[0] == 0
    found = pq.read_table(output)
    assert [str(one) for one in found.schema.types] == ["string", type_name, "string", "double"]
    assert found["own"].to_pylist() == values


def test_a_column_of_several_types_is_refused_at_first(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(predicting, "STEP", 1)
    (tmp_path / "mail.jsonl").write_text('{"text": "good", "own": 1}\n{"text": "bad", "own": "x"}\n')
    output = tmp_path / "out.parquet"
    code, _, err = run(monkeypatch, capsys, "classify", tmp_path / "mail.jsonl", *NAMES, "--output", output)
    assert (code, "the column 'own' can't be a column of Parquet" in err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["mail.jsonl"]


@pytest.mark.parametrize("ending", ["csv", "json.gz", "jsonl.zst", "parquet"])
def test_what_goes_on_is_what_was_never_stopped(tmp_path, monkeypatch, capsys, ending):
    """Byte for byte."""
    if ending.endswith(("zst", "parquet")):
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(predicting, "STEP", 3)
    (tmp_path / "mail.csv").write_text("text\n" + "".join(f"{('good', 'bad')[i % 3 > 0]} {i}\n" for i in range(20)))
    whole, output = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    command = ("classify", tmp_path / "mail.csv", *NAMES, "--probabilities", "--output")
    assert run(monkeypatch, capsys, *command, whole)[0] == 0
    found, n = predicting.Columns.found, 0

    def failing(self, done, texts):
        nonlocal n
        n += 1
        if n == 4:
            raise KeyboardInterrupt
        return found(self, done, texts)

    monkeypatch.setattr(predicting.Columns, "found", failing)
    code, _, err = run(monkeypatch, capsys, *command, output)
    assert (code, "9 of 20 rows are finished" in err) == (130, True)
    assert run(monkeypatch, capsys, *command, output)[0] == 0
    assert output.read_bytes() == whole.read_bytes()
    assert n == 4 + 4


class Instant:
    """A classifier that costs nothing."""

    template_ = report_ = None
    multi_label_, fingerprint, classes_ = False, "instant", np.array(["bad", "good"])

    def __init__(self):
        self.model_ = self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, capsys, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
        monkeypatch.setattr("fewshot.cli.parquet._GROUP", 500)
    monkeypatch.setattr(learning.Lesson, "fitted", lambda self, *rest: Instant())
    monkeypatch.setattr(content, "_BLOCK", 1 << 14)
    peaks = []
    for n in (500, 8000):
        file, output = tmp_path / f"{n}.csv", tmp_path / f"{n}.out.{ending}"
        file.write_text("text\n" + "".join(f"row {i} {'x' * 200}\n" for i in range(n)))
        tracemalloc.start()
        assert run(monkeypatch, capsys, "classify", file, *NAMES, "--output", output)[0] == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(read(output).rows) == n
    assert peaks[1] - peaks[0] < 200_000  # the rows alone are 2 MB
