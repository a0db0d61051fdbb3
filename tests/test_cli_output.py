"""What commands write: no column of the user's and no input is lost, every format, kept classifiers, nothing half."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fewshot.cli as cli
from fewshot import Classifier
from fewshot.cli import reading
from fewshot.cli.parquet import Schema
from fewshot.cli.writing import save_rows
from tests.command import _keyword_model, run  # noqa: F401 - a fixture

NAMES = ("--labels", "good,bad", "--strategy", "prompting")


@pytest.fixture
def mail(tmp_path):
    path = tmp_path / "mail.csv"
    path.write_text("id,text\n1,good\n2,bad\n")
    return path


def test_columns_of_the_user_stay(monkeypatch, capsys, tmp_path):
    file = tmp_path / "again.csv"
    file.write_text("prediction,text\nmine,good\n")
    code, out, err = run(monkeypatch, capsys, "classify", file, *NAMES)
    assert code == 0
    assert out == "prediction,text,fewshot_prediction,fewshot_probability\nmine,good,good,0.7311\n"
    assert "has a column 'prediction' of its own, which stays: what is added is called fewshot_prediction and" in err
    assert "Choose with --prefix." in err
    file.write_text(out)
    out = run(monkeypatch, capsys, "classify", file, *NAMES)[1]
    assert out.splitlines()[0].endswith(",fewshot2_prediction,fewshot2_probability")
    code, out, err = run(monkeypatch, capsys, "classify", file, *NAMES, "--prefix", "new ")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].endswith(",new prediction,new probability")
    code, out, err = run(monkeypatch, capsys, "classify", file, *NAMES, "--prefix", "fewshot_")
    assert (code, out) == (1, "")
    assert "has a column 'fewshot_prediction' of its own: give another --prefix." in err
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "good"}\n{"text": "bad", "probability": "mine"}\n')
    out = run(monkeypatch, capsys, "classify", rows, *NAMES)[1]
    assert json.loads(out.splitlines()[1])["probability"] == "mine"


def test_an_input_is_never_the_output(monkeypatch, capsys, mail, tmp_path):
    before = mail.read_bytes()
    (tmp_path / "soft.csv").symlink_to(mail)
    os.link(mail, tmp_path / "hard.csv")
    (tmp_path / "sub").mkdir()
    for output in (mail, tmp_path / "soft.csv", tmp_path / "hard.csv", tmp_path / "sub" / ".." / "mail.csv"):
        code, out, err = run(monkeypatch, capsys, "classify", mail, *NAMES, "--output", output)
        assert (code, out) == (1, "")
        assert "give another name." in err
    examples = tmp_path / "examples.csv"
    examples.write_text("text,label\na,good\nb,bad\n")
    more = ("--strategy", "prompting(calibration=batch)")
    for option in ("--examples", "--unlabelled"):
        command = ("classify", mail, "--labels", "good,bad", option, examples, "--output", examples, *more)
        assert (
            "is the same file as the input"
            in run(monkeypatch, capsys, *command if option == "--unlabelled" else command[:-2])[2]
        )
    assert mail.read_bytes() == before
    labelled = tmp_path / "labelled.json"
    labelled.write_text('[{"text": "good", "label": "good"}]')
    code, _, err = run(monkeypatch, capsys, "evaluate", labelled, "--shots", 0, "--output", labelled)
    assert (code, "is the same file as the input" in err) == (1, True)


def test_the_screen_is_not_a_file_that_is_read(mail):
    before = mail.read_bytes()
    command = [sys.executable, "-m", "fewshot", "classify", str(mail), *NAMES]
    with mail.open("ab") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "Standard output goes into the input" in done.stderr
    assert mail.read_bytes() == before


def test_where_nothing_can_be_written_is_found_out_first(monkeypatch, capsys, mail, tmp_path):
    monkeypatch.setattr(Classifier, "fit", lambda *rest: pytest.fail("computed"))
    (tmp_path / "folder.csv").mkdir()
    cases = {
        tmp_path / "folder.csv": "is a folder: give the name of a file in it",
        mail / "out.csv": "does not exist",
        tmp_path / ("x" * 300 + ".csv"): "can't be written: File name too long",
    }
    if Path("/proc/self").is_dir():  # where not even root may write
        cases[Path("/proc/out.csv")] = "can't be written"
    for output, message in cases.items():
        code, out, err = run(monkeypatch, capsys, "classify", mail, *NAMES, "--output", output)
        assert (code, out) == (1, "")
        assert message in err
        code, out, err = run(monkeypatch, capsys, "learning-curve", mail, "--picture", output.with_suffix(".png"))
        assert code == 1
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    (tmp_path / "old.csv").touch()
    code, _, err = run(monkeypatch, capsys, "classify", mail, *NAMES, "--output", tmp_path / "old.csv")
    assert (code, "exists, and you may not write to it" in err) == (1, True)


def test_rows_are_written_as_the_name_says(monkeypatch, capsys, mail, tmp_path):
    def written(name):
        assert run(monkeypatch, capsys, "classify", mail, *NAMES, "--output", tmp_path / name)[0] == 0
        return (tmp_path / name).read_bytes()

    expected = [
        {"id": "1", "text": "good", "prediction": "good", "probability": 0.7311},
        {"id": "2", "text": "bad", "prediction": "bad", "probability": 0.7311},
    ]
    assert json.loads(written("a.json")) == expected
    assert [json.loads(line) for line in written("a.jsonl").splitlines()] == expected
    assert [json.loads(line) for line in gzip.decompress(written("a.jsonl.gz")).splitlines()] == expected
    assert written("a.csv") == gzip.decompress(written("a.csv.gz"))
    assert written("a.tsv").splitlines()[1] == b"1\tgood\tgood\t0.7311"
    assert written("a.csv.gz") == written("b.csv.gz")  # no time and no name is in it
    pq = pytest.importorskip("pyarrow.parquet")
    written("a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == expected


def test_parquet_keeps_its_types(monkeypatch, capsys, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"text": ["good", None], "n": pa.array([1, None], pa.int8()), "x": [float("nan"), 1.5]})
    pq.write_table(table, tmp_path / "in.parquet")
    command = ("classify", tmp_path / "in.parquet", *NAMES, "--skip-empty")
    assert run(monkeypatch, capsys, *command, "--output", tmp_path / "out.parquet")[0] == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.schema.field("n").type == pa.int8()
    assert found.select(["prediction", "probability"]).to_pylist()[1] == {"prediction": None, "probability": None}
    assert found.schema.field("probability").type == pa.float64()
    assert json.loads(run(monkeypatch, capsys, *command, "--json")[1].splitlines()[0])["x"] is None
    assert run(monkeypatch, capsys, *command)[1].splitlines()[1] == "good,1,,good,0.7311"
    rows = tmp_path / "mixed.jsonl"
    rows.write_text('{"text": "good", "n": 1}\n{"text": "bad", "n": "one"}\n')
    code, _, err = run(monkeypatch, capsys, "classify", rows, *NAMES, "--output", tmp_path / "mixed.parquet")
    assert (code, "the column 'n' can't be a column of Parquet" in err) == (1, True)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = run(monkeypatch, capsys, "classify", rows, *NAMES, "--output", tmp_path / "x.parquet")
    assert (code, "pip install" in err) == (1, True)


def test_what_parquet_can_not_hold_is_found_out_first(monkeypatch, capsys, tmp_path):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(Classifier, "fit", lambda *rest: pytest.fail("computed"))
    file = tmp_path / "big.jsonl"
    file.write_text('{"text": "good", "n": 123456789012345678901234567890}\n')
    code, _, err = run(monkeypatch, capsys, "classify", file, *NAMES, "--output", tmp_path / "x.parquet")
    assert (code, "the column 'n' can't be a column of Parquet" in err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["big.jsonl"]


def test_the_picture_of_the_demo_is_checked_first(monkeypatch, capsys, tmp_path):
    import fewshot.cli.demo

    monkeypatch.setattr(fewshot.cli.demo, "run", lambda *rest: pytest.fail("computed"))
    assert run(monkeypatch, capsys, "demo", "--picture", tmp_path / "x.csv")[0] == 2
    assert run(monkeypatch, capsys, "demo", "--picture", tmp_path / "no" / "x.png")[0] == 1


def test_nested_values_are_json_in_a_cell(monkeypatch, capsys, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "good", "tags": ["a", {"b": null}]}\n{"text": "bad"}\n')
    run(monkeypatch, capsys, "classify", file, *NAMES, "--output", tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert json.loads(rows[0]["tags"]) == ["a", {"b": None}]
    assert rows[1]["tags"] == ""


def test_a_device_is_written_as_it_is(monkeypatch, capsys, mail):
    if not Path(os.devnull).is_char_device():
        pytest.skip("this system has no such device")
    assert run(monkeypatch, capsys, "classify", mail, *NAMES, "--output", os.devnull)[0] == 0
    assert Path(os.devnull).is_char_device()


def test_a_pipe_is_written_as_it_is(mail, tmp_path):
    if not Path("/dev/fd").is_dir():
        pytest.skip("this system does not name its pipes")
    read, write = os.pipe()
    with os.fdopen(read) as stream, os.fdopen(write, "w"):
        rows = reading.open_rows(mail)
        added = [(rows.table(), {"prediction": ["a", "b"]})]
        columns = [*(rows.columns or ()), "prediction"]
        save_rows(Path(f"/dev/fd/{write}"), rows, columns, added, schema=Schema(), types={"prediction": "text"})
        found = [stream.readline() for _ in range(3)]
    assert found == ["id,text,prediction\n", "1,good,a\n", "2,bad,b\n"]


def test_a_screen_that_is_closed(monkeypatch, capsys, mail, tmp_path):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "argv", ["fewshot", "classify", str(mail), *NAMES])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 1
    assert capsys.readouterr().err == "fewshot: Standard output is closed: give --output FILE.\n"
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--output", str(tmp_path / "out.csv")])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0
    assert (tmp_path / "out.csv").read_text().count("\n") == 3


@pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")
def test_a_classifier_is_kept_and_used_again(monkeypatch, capsys, tmp_path):
    import fewshot.task.resolve
    from fewshot.models.loading import load

    monkeypatch.setattr(fewshot.task.resolve, "load", load)
    labelled, mail, folder = tmp_path / "labelled.csv", tmp_path / "mail.csv", tmp_path / "kept"
    labelled.write_text(
        "text,label\nMy invoice is wrong,billing\nLovely work,praise\nPaid twice,billing\nGreat,praise\n"
    )
    mail.write_text("text\nI was charged twice\nThank you so much\n")
    words = ("--template", "{{ text }} It was {{ label }}.", "--words", "billing=bad,praise=good")
    once = ("--model", "embedded:masked", "--strategy", "prompting", *words)
    expected = run(monkeypatch, capsys, "classify", mail, "--examples", labelled, *once)[1]
    code, out, _ = run(monkeypatch, capsys, "fit", labelled, "--save", folder, *once)
    assert code == 0
    assert out == f"learned from 4 rows\n2 classes, kept in {folder}: fewshot classify FILE --classifier {folder}\n"
    assert run(monkeypatch, capsys, "classify", mail, "--classifier", folder)[1] == expected
    out = run(monkeypatch, capsys, "evaluate", labelled, "--classifier", folder, "--output", tmp_path / "r.json")[1]
    assert out.startswith(f"kept in {folder}\n4 rows, ")
    code, _, err = run(monkeypatch, capsys, "fit", labelled, "--save", folder, *once)
    assert (code, "exists already: give another folder with --save, or --overwrite" in err) == (1, True)
    command = ("fit", "--labels", "billing,praise", "--save", folder, "--overwrite", "--json", *once)
    assert json.loads(run(monkeypatch, capsys, *command)[1])["classes"] == ["billing", "praise"]
    from fewshot.evaluation import Evaluation

    assert Evaluation.from_json((tmp_path / "r.json").read_text()).n == 4
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "kept"
    run(monkeypatch, capsys, "fit", "--labels", "billing,praise", "--save", tmp_path / "names", *once)
    run(monkeypatch, capsys, "fit", "--labels", "billing,praise", "--save", other, *once)
    kept = ("--classifier", folder, "--classifier")
    code, out, _ = run(monkeypatch, capsys, "compare", labelled, *kept, tmp_path / "names")
    assert (code, out.startswith(f"kept: kept in {folder}\nnames: kept in {tmp_path / 'names'}\n")) == (0, True)
    assert "on 4 rows" in out
    code, _, err = run(monkeypatch, capsys, "compare", labelled, *kept, other)
    assert (code, "Two folders of --classifier have the same name" in err) == (2, True)
    mail.write_text("text,label\nI was charged twice,refund\n")
    code, _, err = run(monkeypatch, capsys, "evaluate", mail, "--classifier", folder)
    assert (code, "does not know ['refund']" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["classify", "m.csv", "--classifier", "d", "--labels", "a,b"],
            "--classifier gives a fitted classifier: leave out --labels.",
        ),
        (["classify", "m.csv", "--classifier", "d", "--model", "m", "--seed", "1"], "leave out --model, --seed."),
        (["evaluate", "m.csv", "--classifier", "d", "--held-out", "0.5"], "leave out --held-out."),
        (["evaluate", "m.csv", "--classifier", "d", "--strategy", "auto"], "leave out --strategy."),
        (["compare", "m.csv", "--classifier", "a", "--classifier", "b", "--shots", "8"], "leave out --shots."),
        (["compare", "m.csv", "--classifier", "a"], "There is one classifier, and nothing to compare it with."),
        (["evaluate", "m.csv", "--shots", "0", "--output", "x.csv"], "--output must end with .json"),
        (
            ["classify", "m.csv", "--labels", "a,b", "--label-column", "c"],
            "--label-column is for labelled examples",
        ),
        (["classify", "m.csv", "--labels", "a,b", "--restart"], "--restart discards the rows"),
        (["compare", "m.csv", "--shots", "0,1", "--metric", "F1"], "--metric must be one of accuracy, macro-F1"),
        (["compare", "m.csv", "--shots", "9" * 5000], "--shots must be whole numbers"),
        (["fit", "m.csv"], "Missing option '--save'"),
        (["fit", "--save", "d"], "Give the classes: --labels a,b,c, or"),
    ],
)
def test_a_kept_classifier_has_learned(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_results_are_kept_as_json(monkeypatch, capsys, tmp_path):
    from fewshot.evaluation import Comparison, Evaluation, LearningCurve

    file, out = tmp_path / "labelled.csv", tmp_path / "result.json"
    file.write_text("text,label\n" + "".join(f"{word} {i},{word}\n" for i in range(8) for word in ("good", "bad")))
    zero = ("--shots", 0, "--strategy", "prompting")
    for command, kind in (
        (("evaluate", file, *zero), Evaluation),
        (("compare", file, *zero, "--model", "any", "--model", "first"), Comparison),
        (("learning-curve", file, "--shots", "0,2", "--draws", 1, "--strategy", "prompting(shots=2)"), LearningCurve),
    ):
        code, said, _ = run(monkeypatch, capsys, *command, "--output", out)
        assert code == 0
        assert kind.from_json(out.read_text()).to_json() + "\n" == out.read_text() != said
        printed = run(monkeypatch, capsys, *command, "--json", "--output", out)[1]
        assert printed == out.read_text()


# no traceback


def test_a_full_screen_is_one_line():
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("this system has no device that is always full")
    with full.open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "fewshot", "--version"],
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "fewshot: The output: No space left on device.\n")


def test_what_a_screen_without_utf8_gets():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    program = (
        "import typer\nfrom fewshot.cli import main\nfrom fewshot.cli.app import command\n"
        "@command('x')\ndef odd() -> None:\n    typer.echo('é')\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", program, "odd"], capture_output=True, env=environment, check=True)
    assert done.stdout.decode() == "é\n"


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(28, "No space left on device"), UnicodeEncodeError("ascii", "é", 0, 1, "x")]
)
def test_what_the_machine_lacks_is_one_line(monkeypatch, capsys, error):
    def fail(**options):
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(cli, "_silenced", lambda code: code)
    code, _, err = run(monkeypatch, capsys, "templates")
    assert code == 1
    assert err.startswith("fewshot: ")
    assert err.count("\n") == 1


def test_every_model_that_a_message_recommends_exists():
    from fewshot import load
    from fewshot.models.embedded import CAUSAL, NAMES, find_causal

    package = Path(cli.__file__).parent.parent
    named = {one for path in package.rglob("*.py") for one in re.findall(r"embedded:\w+", path.read_text("utf-8"))}
    assert named == set(NAMES)
    for name in NAMES:
        if name != CAUSAL or find_causal() is not None:
            load(name)
