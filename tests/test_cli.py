"""The command line: classify, templates, demo, and lint, from and to files."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from fewshot import Classifier, FakeLM
from fewshot.cli.predicting import Columns
from tests.command import _keyword_model, run  # noqa: F401 - a fixture
from tests.contract import HashEncoder

pytestmark = pytest.mark.long

ROWS = [{"id": "1", "text": "so good, a joy"}, {"id": "2", "text": "bad, it broke"}]


@pytest.fixture
def mail(tmp_path):
    path = tmp_path / "mail.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["id", "text"])
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def test_zero_shot_from_csv_to_csv(monkeypatch, capsys, mail, tmp_path):
    out = tmp_path / "out.csv"
    code, _, _ = run(monkeypatch, capsys, "classify", mail, "--labels", "good, bad", "--output", out)
    assert code == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["prediction"] for row in rows] == ["good", "bad"]
    assert [row["id"] for row in rows] == ["1", "2"]
    assert all(0.5 < float(row["probability"]) <= 1 for row in rows)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mail.csv", "out.csv"]


def test_few_shot_from_json_lines_to_the_screen(monkeypatch, capsys, tmp_path):
    file, examples = tmp_path / "mail.jsonl", tmp_path / "labelled.csv"
    file.write_text("\n".join(json.dumps({"body": row["text"]}) for row in ROWS) + "\n")
    examples.write_text("body,label\nvery good,good\nreally bad,bad\n")
    code, out, _ = run(monkeypatch, capsys, "classify", file, "--examples", examples, "--text-column", "body")
    assert code == 0
    assert [json.loads(line)["prediction"] for line in out.splitlines()] == ["good", "bad"]


def test_a_template_of_two_fields_reads_the_columns_it_names(monkeypatch, capsys, tmp_path):
    (tmp_path / "pairs.csv").write_text("a,b\ngood,Text: good\n")
    template = "{{ a }}\\n{{ b }} {{ label }}"
    code, out, _ = run(
        monkeypatch, capsys, "classify", tmp_path / "pairs.csv", "--labels", "good,bad", "--template", template
    )
    assert code == 0
    assert out.splitlines() == ["a,b,prediction,probability", "good,Text: good,good,0.7311"]
    (tmp_path / "own.jinja").write_text("Text: {{ a }} {{ label }}\n")
    arguments = ("classify", tmp_path / "pairs.csv", "--labels", "good,bad", "--template", tmp_path / "own.jinja")
    assert run(monkeypatch, capsys, *arguments)[0] == 0


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"body\nx\n", ["--labels", "a,b"], "no column 'text'; there are body. Choose one with --text-column."),
        (b"text\nx\n", ["--labels", "a,b", "--text-column", "msg"], "no column 'msg'"),
        (b"text\n\xff\xfe\n", ["--labels", "a,b"], "not UTF-8: byte 0xff at 5"),
        (b'text\n"open\n', ["--labels", "a,b"], "after line 1: not valid CSV"),
        (b"text,b\nonly one\n", ["--labels", "a,b"], "row 0: a row needs 2 columns"),
        (b"text\nnul\x00\n", ["--labels", "a,b"], "NUL"),
        (b"text\n", ["--labels", "a,b"], "holds no rows"),
        (b"text\nx\n", ["--labels", "only"], "at least two classes"),
        (b"text\nx\n", ["--labels", "a,b", "--template", "nope/nope"], "no template 'nope/nope'"),
        (b"text\nx\n", ["--labels", "a,b", "--template", "{{ text }}"], "exactly one hole"),
        (b"text\nx\n", ["--labels", "a,b", "--output", "no/such/folder/x.csv"], "does not exist"),
        (b"text\nx\n", ["--labels", "a,b", "--examples", "nothing.csv"], "can't be read: No such file"),
        (
            b"text\nx\n",
            ["--labels", "a,b", "--examples", "old.xls"],
            "must be .csv, .tsv, .txt, .json, .jsonl or .parquet",
        ),
        (b"text\nx\n", ["--labels", "a,b", "--template", "none.jinja"], "There is no file 'none.jinja'"),
        (b"text\nx\n", ["--labels", "0,1"], "numbers, not names that a model could know. Give their words: --words 0="),
        (b"text\nx\n", ["--labels", "a,c", "--words", "a=x,b=y"], "On the command line: --words 'class=word"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(monkeypatch, capsys, tmp_path, content, arguments, message):
    file = tmp_path / "mail.csv"
    file.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "classify", file, *arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("fewshot: ")
    assert message in err
    assert [p.name for p in tmp_path.iterdir()] == ["mail.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{\n", "line 1: not JSON"), ("[1]\n", "a row must be an object"), ('{"text": 3}\n', "must be text. Got int")],
)
def test_bad_json_lines_are_named(monkeypatch, capsys, tmp_path, content, message):
    file = tmp_path / "mail.jsonl"
    file.write_text(content)
    code, _, err = run(monkeypatch, capsys, "classify", file, "--labels", "a,b")
    assert code == 1
    assert message in err


LEARNED = "distillation(teacher=prompting(calibration=batch), student=embedding(), encoder=any)"


@pytest.fixture
def hashed(monkeypatch):
    """An encoder for the student of a distillation."""
    monkeypatch.setattr("fewshot.strategies.distillation.load", lambda name: HashEncoder())


@pytest.mark.parametrize("strategy", [LEARNED, "prompting(calibration=batch)"])
def test_rows_without_labels_teach(monkeypatch, capsys, mail, hashed, strategy):
    fitted = []
    real = Classifier.fit

    def watched(self, X=None, y=None, **options):
        fitted.append((X, y))
        return real(self, X, y, **options)

    monkeypatch.setattr(Classifier, "fit", watched)
    given = ("classify", mail, "--model", "any", "--strategy", strategy, "--unlabelled", mail)
    code, out, _ = run(monkeypatch, capsys, *given, "--labels", "good,bad_one", "--json")
    assert code == 0
    texts = [row["text"] for row in ROWS]
    assert fitted == [(texts, None)]
    assert [json.loads(line)["prediction"] in ("good", "bad_one") for line in out.splitlines()] == [True, True]
    code, _, err = run(monkeypatch, capsys, *given, "--words", "good=good,bad=bad", "--labels", "good,ugly")
    assert code == 1
    assert "The class 'ugly' has no label words" in err


def test_rows_without_labels_teach_beside_labelled_ones(monkeypatch, capsys, mail, hashed, tmp_path):
    file = tmp_path / "labelled.csv"
    file.write_text("text,label\nvery good,good\nreally bad,bad\na good one,good\na bad one,bad\n")
    given = ("--model", "any", "--unlabelled", mail, "--strategy")
    assert run(monkeypatch, capsys, "classify", mail, "--examples", file, *given, LEARNED)[0] == 0
    out = run(monkeypatch, capsys, "evaluate", file, "--held-out", "0.5", *given, LEARNED)[1]
    assert out.startswith("learned from 2 rows and 2 without labels\n")
    out = run(monkeypatch, capsys, "compare", file, "--shots", "0", *given, LEARNED, "--strategy", "prompting")[1]
    assert "learned from no rows and 2 without labels\nprompting: learned from no rows\n" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--strategy", "embedding", "--unlabelled", "x.csv"],
            "--unlabelled needs a strategy that learns from rows without",
        ),
        (["--unlabelled", "x.csv"], "--unlabelled needs a strategy that learns from rows without"),
        (["--strategy", "distillation"], "learns from rows without labels: give --unlabelled FILE"),
        (
            ["--examples", "x.csv", "--strategy", "prompting(calibration=batch)", "--unlabelled", "x.csv"],
            "--unlabelled needs a strategy that learns from rows without",
        ),
    ],
)
def test_rows_without_labels_need_a_strategy_that_learns_from_them(monkeypatch, capsys, mail, arguments, message):
    code, _, err = run(monkeypatch, capsys, "classify", mail, "--labels", "a,b", *arguments)
    assert code == 2
    assert message in err


def test_examples_must_cover_the_labels(monkeypatch, capsys, mail, tmp_path):
    examples = tmp_path / "labelled.csv"
    examples.write_text("text,label\nvery good,good\nreally bad,bad\n")
    code, _, err = run(monkeypatch, capsys, "classify", mail, "--examples", examples, "--labels", "good,bad,ugly")
    assert code == 1
    assert "['ugly'] have no example" in err


def test_templates_lists_and_shows_the_gallery(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "templates")
    assert code == 0
    assert "sst2/it_was" in out
    assert "masked language models" in out
    assert run(monkeypatch, capsys, "templates", "sst2")[1].count("\n") == 4  # two of them under a head
    assert "{{ text | shorten }} It was {{ label }}." in run(monkeypatch, capsys, "templates", "sst2/it_was")[1]
    code, _, err = run(monkeypatch, capsys, "templates", "sst3")
    assert code == 1
    assert "no task 'sst3'" in err


def test_templates_as_json(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "templates", "sst2", "--json")
    assert [one["name"] for one in json.loads(out)] == ["sst2/it_was", "sst2/review"]
    _, out, _ = run(monkeypatch, capsys, "templates", "sst2/it_was", "--json")
    assert json.loads(out)["fields"] == ["text"]
    assert json.loads(out)["words"] == {"negative": "terrible", "positive": "great"}
    assert json.loads(out)["template"].endswith("It was {{ label }}.")


@pytest.mark.long
def test_the_demo_runs_offline_and_saves_its_picture(mini, monkeypatch, tmp_path, capsys):
    import fewshot.cli.demo
    import fewshot.task.resolve

    monkeypatch.setattr(fewshot.task.resolve, "load", lambda model: mini)
    monkeypatch.setattr(fewshot.cli.demo, "SHOTS", 2)  # a third of the time, and every line is the same
    code, out, _ = run(monkeypatch, capsys, "demo", "--picture", tmp_path / "matrix.png")
    assert code == 0
    assert out.count("95 % interval") == 2
    assert "2 examples per class" in out
    assert (tmp_path / "matrix.png").read_bytes()[:4] == b"\x89PNG"


def test_the_demo_as_json(monkeypatch, tmp_path, capsys):
    import fewshot.cli.demo

    def short(picture, replaced):
        yield "Hello", {"messages": 2}
        yield "\nTen predictions:", {}
        yield "Done", {"picture": str(picture)}

    monkeypatch.setattr(fewshot.cli.demo, "run", short)
    _, out, _ = run(monkeypatch, capsys, "demo", "--picture", "x.png", "--json")
    assert json.loads(out) == {"messages": 2, "picture": "x.png"}
    assert run(monkeypatch, capsys, "demo")[1] == "Hello\n\nTen predictions:\nDone\n"


def test_lint_names_what_is_wrong_and_exits_with_1(monkeypatch, capsys, mail, tmp_path):
    good, misspelt, broken = (tmp_path / name for name in ("good.jinja", "misspelt.jinja", "broken.jinja"))
    good.write_text("{{ text }} It was {{ label }}\n")
    misspelt.write_text("{{ txt }} It was {{ label }}\n")
    broken.write_text("{{ text }}\nIt was {{ label x }}\n")
    code, out, _ = run(monkeypatch, capsys, "lint", good, "--data", mail, "--labels", "good,bad")
    assert code == 0
    assert "fields      text; unused: id" in out
    assert out.endswith("nothing found.\n")
    code, out, err = run(monkeypatch, capsys, "lint", misspelt, "--data", mail)
    assert code == 1
    assert "error: The template uses the field 'txt'" in out
    assert "cure: Write {{ text }}" in out
    assert err == ""
    code, out, err = run(monkeypatch, capsys, "lint", broken)
    assert code == 1
    assert "(line 2):\n    It was {{ label x }}\n           ^" in out
    assert err == ""
    code, out, _ = run(monkeypatch, capsys, "lint", broken, "--json")
    assert code == 1
    assert json.loads(out)["findings"][0]["level"] == "error"


def test_lint_asks_a_model_and_reads_the_gallery(monkeypatch, capsys, mail, tmp_path):
    import fewshot.linting

    monkeypatch.setattr(fewshot.linting, "load", lambda model: FakeLM(lambda query: [-1.0 for _ in query.candidates]))
    code, out, _ = run(monkeypatch, capsys, "lint", "sst2/it_was", "--model", "some/model", "--data", mail, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["ok"]
    assert report["tokens"]["longest"] == 7
    assert [line["label"] for line in report["words"]] == ["negative", "positive"]
    code, _, err = run(monkeypatch, capsys, "lint", tmp_path / "nothing.jinja")
    assert code == 1
    assert "There is no file" in err
    assert run(monkeypatch, capsys, "lint", "sst3")[0] == 1
    code, _, err = run(monkeypatch, capsys, "lint", "sst2/it_was", "--labels", "negative,neutral")
    assert code == 1
    assert "'neutral' has no label words" in err


# files


def test_tsv_and_parquet_are_read_and_tsv_is_written(monkeypatch, capsys, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "mail.tsv").write_text('id\ttext\n1\tso good, a joy\n2\t"it said ""bad"""\n')
    parquet.write_table(pyarrow.table({"text": ["bad one", "good one"], "n": [1, 2]}), tmp_path / "mail.parquet")
    code, out, _ = run(monkeypatch, capsys, "classify", tmp_path / "mail.tsv", "--labels", "good,bad")
    assert code == 0
    assert out.splitlines() == [
        "id\ttext\tprediction\tprobability",
        "1\tso good, a joy\tgood\t0.7311",
        '2\t"it said ""bad"""\tbad\t0.7311',
    ]
    out = run(monkeypatch, capsys, "classify", tmp_path / "mail.parquet", "--labels", "good,bad", "--json")[1]
    assert json.loads(out.splitlines()[0]) == {"text": "bad one", "n": 1, "prediction": "bad", "probability": 0.7311}


def test_what_is_no_parquet_or_can_not_be_read(monkeypatch, capsys, tmp_path):
    pytest.importorskip("pyarrow")
    file = tmp_path / "mail.parquet"
    assert "can't be read" in run(monkeypatch, capsys, "classify", file, "--labels", "a,b")[2]
    file.write_bytes(b"text\nno parquet at all\n")
    code, _, err = run(monkeypatch, capsys, "classify", file, "--labels", "a,b")
    assert code == 1
    assert "is not Parquet" in err
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install 'fewshot[parquet]'" in run(monkeypatch, capsys, "classify", file, "--labels", "a,b")[2]


def test_only_line_breaks_break_lines(monkeypatch, capsys, tmp_path):
    (tmp_path / "odd.csv").write_text("id,text\r\n1,so\u2028good\r\n2,bad\x85\r\n", newline="")
    code, out, _ = run(monkeypatch, capsys, "classify", tmp_path / "odd.csv", "--labels", "good,bad")
    assert code == 0
    assert out.count("0.7311") == 2


def test_the_output_is_as_readable_as_any_new_file(monkeypatch, capsys, mail, tmp_path):
    (tmp_path / "usual.csv").touch()
    run(monkeypatch, capsys, "classify", mail, "--labels", "good,bad", "--output", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").stat().st_mode == (tmp_path / "usual.csv").stat().st_mode


def test_a_template_with_label_words_needs_no_labels(monkeypatch, capsys, mail, tmp_path):
    (tmp_path / "own.jinja").write_text("---\nwords: {0: bad, 1: good}\n---\nText: {{ text }} {{ label }}\n")
    out = run(monkeypatch, capsys, "classify", mail, "--template", tmp_path / "own.jinja", "--json")[1]
    assert [json.loads(line)["prediction"] for line in out.splitlines()] == ["1", "0"]
    out = run(monkeypatch, capsys, "classify", mail, "--words", "0=bad|poor, 1=good|fine", "--json")[1]
    assert [json.loads(line)["prediction"] for line in out.splitlines()] == ["1", "0"]


# warnings


def test_warnings_are_one_line(monkeypatch, capsys, mail):
    import warnings

    from fewshot.errors import FewshotWarning, warn

    def careful(self, done, texts, found=Columns.found):
        warn("Mind the gap.", FewshotWarning)
        warnings.warn("Mind the step.", UserWarning, stacklevel=1)
        return found(self, done, texts)

    monkeypatch.setattr(Columns, "found", careful)
    with pytest.warns(UserWarning, match="Mind the step.") as others:
        code, _, err = run(monkeypatch, capsys, "classify", mail, "--labels", "good,bad")
    assert (code, err) == (0, "fewshot: warning: Mind the gap.\n")
    assert [str(one.message) for one in others] == ["Mind the step."]
