"""The command line on a tiny model: files in, files out, exit codes, and nothing half-written."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys

import pytest
import typer

import fewshot.cli as cli
from fewshot import Classifier, FakeLM
from fewshot.cli import classify as classifying
from fewshot.cli.app import WrongUsage
from fewshot.cli.options import as_shots, as_words
from fewshot.cli.setups import as_strategy
from tests.contract import HashEncoder

pytestmark = pytest.mark.long

ROWS = [{"id": "1", "text": "so good, a joy"}, {"id": "2", "text": "bad, it broke"}]


@pytest.fixture(autouse=True)
def _keyword_model(monkeypatch):
    """Stand in for whatever --model names: the word that occurs in the row's own text wins."""
    import fewshot.classifier
    import fewshot.evaluation.curve

    def score(query):
        return [float(word in query.prefix.rsplit("Text:", 1)[-1]) for word in query.candidates]

    def load(model):
        first = FakeLM(lambda query: [1.0, *[0.0] * (len(query.candidates) - 1)])
        return {"first": first, "any": FakeLM(score), None: FakeLM(score)}.get(model, model)

    for module in (fewshot.classifier, fewshot.evaluation.curve):
        monkeypatch.setattr(module, "load", load)


@pytest.fixture
def mail(tmp_path):
    path = tmp_path / "mail.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["id", "text"])
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def run(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fewshot", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    captured = capsys.readouterr()
    return int(done.value.code or 0), captured.out, captured.err


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
            "--unlabelled needs a strategy that learns from such rows",
        ),
        (["--unlabelled", "x.csv"], "--unlabelled needs a strategy that learns from such rows"),
        (["--strategy", "distillation"], "learns from rows without labels: give --unlabelled FILE"),
        (
            ["--examples", "x.csv", "--strategy", "prompting(calibration=batch)", "--unlabelled", "x.csv"],
            "--unlabelled needs a strategy that learns from such rows",
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
    import fewshot.classifier
    import fewshot.cli.demo

    monkeypatch.setattr(fewshot.classifier, "load", lambda model: mini)
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


# evaluate, compare, learning-curve


@pytest.fixture
def reviews(tmp_path):
    """30 rows of each class; every fifth text says the word of the other class."""
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "title"])
        for i in range(60):
            word = ("good", "bad")[(i % 2) ^ (i % 5 == 0)]
            writer.writerow([f"It was {word}, number {i}", ("good", "bad")[i % 2], f"title {i}"])
    return path


def test_evaluate_prints_tables_with_intervals(monkeypatch, capsys, reviews):
    code, out, err = run(monkeypatch, capsys, "evaluate", reviews, "--shots", 0, "--strategy", "prompting")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "learned from no rows"
    assert lines[1] == "60 rows, 95 % intervals of 1000 resamples"
    assert re.fullmatch(r"accuracy  0\.800  0\.[67]\d\d  0\.[89]\d\d", lines[4])
    assert re.match(r"good +0\.800 +0\.800 +0\.800 +30 ", lines[-1])


def test_evaluate_as_json_is_what_python_gives(monkeypatch, capsys, reviews):
    from fewshot import Classifier, Prompting, evaluate
    from fewshot.evaluation import Evaluation

    arguments = ("evaluate", reviews, "--shots", 0, "--strategy", "prompting", "--seed", 3, "--json")
    out = run(monkeypatch, capsys, *arguments)[1]
    rows = list(csv.DictReader(reviews.read_text().splitlines()))
    clf = Classifier(strategy=Prompting(), random_state=3).fit(None, ["bad", "good"])
    expected = evaluate(clf, [row["text"] for row in rows], [row["label"] for row in rows], random_state=3)
    assert out == expected.to_json() + "\n"
    assert Evaluation.from_json(out).to_json() == expected.to_json()


def test_rows_are_held_out_or_come_from_another_file(monkeypatch, capsys, reviews, tmp_path):
    shown = ("--strategy", "prompting(shots=4)")
    out = run(monkeypatch, capsys, "evaluate", reviews, "--held-out", "0.5", *shown)[1]
    assert out.startswith("learned from 30 rows\n30 rows, ")
    out = run(monkeypatch, capsys, "evaluate", reviews, "--held-out", "0.25", "--shots", 3, *shown)[1]
    assert out.startswith("learned from 6 rows\n15 rows, ")
    test = tmp_path / "test.jsonl"
    test.write_text('{"body": "so good", "class": "good"}\n{"body": "so bad", "class": "bad"}\n')
    code, _, err = run(monkeypatch, capsys, "evaluate", reviews, "--test", test, *shown)
    assert code == 1
    assert "test.jsonl', line 1, row 0: there is no column 'text'; there are body, class" in err
    test.write_text('{"text": "so good", "label": "good"}\n{"text": "so bad", "label": "bad"}\n')
    out = run(monkeypatch, capsys, "evaluate", reviews, "--test", test, *shown)[1]
    assert out.startswith("learned from 60 rows\n2 rows, ")
    out = run(monkeypatch, capsys, "evaluate", reviews, "--held-out", "0.5", "--text-column", "title", *shown)[1]
    assert re.search(r"accuracy +0\.500 ", out)  # the titles say nothing


def test_what_auto_chose_is_said(monkeypatch, capsys, reviews):
    out = run(monkeypatch, capsys, "evaluate", reviews, "--shots", 0)[1]
    assert out.splitlines()[0] == "learned from no rows; chosen: Prompting(calibration='auto')"


def test_the_drawn_rows_are_balanced_and_those_of_fewer_are_among_those_of_more():
    from fewshot.cli.data import Data

    data = Data([f"text {i}" for i in range(30)], [("a", "b", "a")[i % 3] for i in range(30)])
    few, many = data.drawn(2, 0), data.drawn(5, 0)
    assert (few.y, many.y) == (["a", "b"] * 2, ["a", "b"] * 5)
    assert set(few.X) < set(many.X)
    assert all(data.y[data.X.index(text)] == label for text, label in zip(many.X, many.y, strict=True))
    assert data.drawn(5, 1).X != many.X
    assert data.drawn(None, 0) is data


def test_compare_two_templates(monkeypatch, capsys, reviews):
    (reviews.parent / "blind.jinja").write_text("Text: {{ title }} {{ label }}\n")
    monkeypatch.chdir(reviews.parent)
    templates = ("--template", "blind.jinja", "--template", "Text: {{ text }}\\n{{ label }}")
    code, out, err = run(monkeypatch, capsys, "compare", reviews, "--shots", 0, "--strategy", "prompting", *templates)
    assert (code, err) == (0, "")
    named = "'Text: {{ text }}\\\\n{{ label }}'"  # repr doubles the backslash
    assert f"{named} beats blind.jinja by 30.0 points [" in out
    assert re.search(rf"^{re.escape(named)} +0\.800  0\.[67]\d\d  0\.[89]\d\d$", out, re.MULTILINE)
    assert "blind.jinja: learned from no rows\n" in out


def test_compare_every_combination_and_more(monkeypatch, capsys, reviews):
    from fewshot.evaluation import Comparison

    arguments = ("compare", reviews, "--held-out", "0.5", "--metric", "log loss", "--json")
    grid = ("--model", "first", "--model", "any", "--strategy", "prompting(shots=2)", "--strategy", "auto")
    out = run(monkeypatch, capsys, *arguments, *grid, "--shots", "4", "--with", "none: shots=0 model=first")[1]
    result = Comparison.from_json(out)
    assert result.metric == "log loss"
    assert set(result.values.index) == {
        "first, prompting(shots=2)",
        "first, auto",
        "any, prompting(shots=2)",
        "any, auto",
        "none",
    }


def test_compare_by_number_of_rows_and_by_name(monkeypatch, capsys, reviews):
    arguments = ("compare", reviews, "--held-out", "0.5")
    out = run(monkeypatch, capsys, *arguments, "--shots", "0,4")[1]
    assert "4 shots: learned from 8 rows; chosen: " in out
    assert "0 shots: learned from no rows; chosen: " in out
    own = "own: shots=0 strategy='prompting()' words='good=good,bad=bad' template='{{ text }} {{ label }}'"
    named = ("--with", "names: shots=0 strategy=prompting", "--with", own, "--with", "calibrated:")
    once = ("--strategy", "prompting(calibration=batch)", "--seed", 1)
    code, out, err = run(monkeypatch, capsys, *arguments, *once, *named)
    assert (code, err) == (0, "")
    assert "no difference shown between names and own: 0.0 points [0.0, 0.0]" in out
    assert "calibrated: learned from 30 rows\n" in out


def test_learning_curve(monkeypatch, capsys, reviews):
    from fewshot.evaluation import LearningCurve

    arguments = ("learning-curve", reviews, "--shots", "0,2", "--draws", 2)
    strategies = ("--strategy", "prompting(shots=2)", "--with", "calibrated: strategy=prompting(calibration=batch)")
    code, out, _ = run(monkeypatch, capsys, *arguments, *strategies)
    assert code == 0
    assert out.startswith("30 held-out rows, mean ± standard deviation over the draws\nname ")
    out = run(monkeypatch, capsys, *arguments, "--strategy", "prompting(shots=2)", "--strategy", "auto", "--json")[1]
    curve = LearningCurve.from_json(out)
    counts = curve.draws.groupby(["name", "shots"]).size().to_dict()
    assert counts == {("auto", 0): 1, ("auto", 2): 2, ("prompting(shots=2)", 2): 2}
    assert run(monkeypatch, capsys, *arguments, "--held-out", "1.5")[0] == 2


def test_learning_curve_as_a_picture(monkeypatch, capsys, reviews, tmp_path):
    arguments = ("learning-curve", reviews, "--shots", "2,4", "--draws", 1, "--strategy", "prompting(shots=2)")
    assert run(monkeypatch, capsys, *arguments, "--picture", tmp_path / "curve.png")[0] == 0
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    code, out, err = run(monkeypatch, capsys, *arguments, "--picture", tmp_path / "curve.csv")
    assert (code, out) == (2, "")
    assert "--picture must be .png, .pdf or .svg" in err
    code, out, err = run(monkeypatch, capsys, *arguments, "--picture", tmp_path / "no/curve.png")
    assert (code, out) == (1, "")
    assert "does not exist" in err


def test_classes_that_are_numbers_need_words(monkeypatch, capsys, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "stars.parquet"
    texts = ["so good", "so bad", "all good", "all bad"]
    parquet.write_table(pyarrow.table({"text": texts, "stars": [1, 0, 1, 0]}), file)
    arguments = ("evaluate", file, "--label-column", "stars", "--shots", 0, "--strategy", "prompting")
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "The classes ['0', '1'] are numbers" in err
    code, out, _ = run(monkeypatch, capsys, *arguments, "--words", "0=bad,1=good")
    assert code == 0
    assert re.search(r"accuracy +1\.000", out)


def test_rows_that_bring_their_own_choices(monkeypatch, capsys, tmp_path):
    file, listed = tmp_path / "quiz.csv", tmp_path / "quiz.jsonl"
    rows = [("good or bad", "good", "bad", 0), ("so bad", "good", "bad", 1), ("so good", "bad", "good", 1)] * 4
    file.write_text("q,a,b,label\n" + "".join(f"{q},{a},{b},{label}\n" for q, a, b, label in rows))
    listed.write_text("".join(json.dumps({"q": q, "o": [a, b], "label": i}) + "\n" for q, a, b, i in rows))
    named, one = "---\nchoices: [a, b]\n---\n{{ q }} {{ label }}", "---\nchoices: o\n---\n{{ q }} {{ label }}"
    zero = ("--shots", 0, "--strategy", "prompting", "--template")
    for path, template in ((file, named), (listed, one)):
        out = run(monkeypatch, capsys, "evaluate", path, *zero, template)[1]
        assert re.search(r"accuracy +1\.000", out)
        out = run(monkeypatch, capsys, "classify", path, "--strategy", "prompting", "--template", template, "--json")[1]
        assert [json.loads(line)["prediction"] for line in out.splitlines()[:3]] == ["0", "1", "1"]
        shown = ("--examples", path, "--strategy", "prompting(shots=2)", "--template", template)
        assert run(monkeypatch, capsys, "classify", path, *shown)[0] == 0
    file.write_text("q,a,b,label\nso good,good,bad,a\n")
    code, _, err = run(monkeypatch, capsys, "evaluate", file, *zero, named)
    assert code == 1
    assert "row 0: the column 'label' must be the number of the right choice, from 0. Got 'a'." in err


def test_rows_that_are_wrong_are_named(monkeypatch, capsys, tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("text,label\na,good\nb,good\nc,bad\n")
    code, _, err = run(monkeypatch, capsys, "evaluate", file, "--held-out", "0.5")
    assert code == 1
    assert "can't be split with --held-out 0.5, since both parts need rows of each class" in err
    code, _, err = run(monkeypatch, capsys, "evaluate", file, "--test", file, "--shots", 2)
    assert code == 1
    assert "There are 1 rows of the class 'bad' to learn from. --shots is 2." in err
    file.write_text("text,label\na,good\nb,\n")
    assert "row 1: the column 'label' is empty" in run(monkeypatch, capsys, "evaluate", file, "--shots", 0)[2]
    file.write_text("text,class\na,good\n")
    assert "Choose one with --label-column." in run(monkeypatch, capsys, "evaluate", file, "--shots", 0)[2]


def test_pandas_is_asked_for_in_one_line(monkeypatch, capsys, reviews):
    monkeypatch.setitem(sys.modules, "pandas", None)
    code, _, err = run(monkeypatch, capsys, "evaluate", reviews, "--shots", 0, "--strategy", "prompting")
    assert code == 1
    assert err.count("\n") == 1
    assert "pip install 'fewshot[eval]'" in err


def test_a_wrong_parameter_is_one_line_and_a_mistake_of_ours_is_none(monkeypatch, capsys, reviews):
    code, _, err = run(monkeypatch, capsys, "evaluate", reviews, "--shots", 0, "--strategy", "prompting(read=write)")
    assert (code, err) == (1, "fewshot: read must be 'score' or 'generate'. Got 'write'.\n")
    monkeypatch.setattr(cli, "app", lambda **options: json.loads("{"))
    monkeypatch.setattr(sys, "argv", ["fewshot"])
    with pytest.raises(json.JSONDecodeError):
        cli.main()


# usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "mail.csv"], "Give the classes: --labels a,b,c"),
        (["classify", "mail.csv", "--labels", "a,b", "--output", "x.xls"], "It must end with .csv, .tsv"),
        (
            ["classify", "mail.csv", "--labels", "a,b", "--strategy", "magic"],
            "one of auto, channel, distillation, embedding,",
        ),
        (["classify", "mail.csv", "--words", "a=x,a=y"], "--words must give every class its word, once"),
        (["classify"], "Missing argument 'file'. See fewshot classify --help."),
        (["clasify"], "No such command 'clasify'"),
        (["evaluate", "x.csv", "--lables", "a"], "No such option"),
        (["evaluate", "x.csv", "--shots", "-1"], "Invalid value for '--shots'"),
        (["evaluate", "x.csv"], "Say which rows to test on: --test FILE, or --held-out 0.5"),
        (["evaluate", "x.csv", "--held-out", "0.5", "--test", "y.csv"], "not both"),
        (
            ["evaluate", "x.csv", "--held-out", "50"],
            "--held-out must be a share above 0 and below 1, such as 0.5. Got 50",
        ),
        (
            ["evaluate", "x.csv", "--held-out", "0.5", "--shots", "4", "--strategy", "Prompting()"],
            "'prompting(shots=4)'",
        ),
        (["evaluate", "x.csv", "--held-out", "0.5", "--shots", "4", "--strategy", "channel"], "'channel(shots=4)'"),
        (["compare", "x.csv", "--held-out", "0.5", "--strategy", "auto"], "There is one classifier, and nothing to"),
        (["compare", "x.csv", "--shots", "0,0"], "Two of the classifiers are called '0 shots'"),
        (["compare", "x.csv", "--shots", "0,x"], "--shots must be whole numbers of at least 0, such as 0,8. Got '0,x'"),
        (["compare", "x.csv", "--with", "a"], "--with must be 'NAME: key=value ...'"),
        (["compare", "x.csv", "--with", "a: modle=b"], "with keys among model, template, strategy, shots, words"),
        (["compare", "x.csv", "--with", "a: model='b"], "--with must be"),
        (["compare", "x.csv", "--with", "a: shots=0,8"], "--with takes one number of shots"),
        (["learning-curve", "x.csv", "--strategy", "prompting"], "--shots 32 would change nothing"),
        (
            ["evaluate", "x.csv", "--shots", "0", "--text-column", "a", "--template", "{{ a }} {{ b }} {{ label }}"],
            "--text",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)  # there are no files: nothing is read
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("fewshot: ")
    assert message.casefold() in err.casefold()  # versions of click differ in capitals
    assert err.count("\n") == 1


def test_strategies_are_written_as_in_python():
    from fewshot import Contrastive, Distillation, Embedding, FineTuning, LoRA, Prompting, Readout

    assert repr(as_strategy("Prompting(shots=4, calibration=contextual)")) == repr(
        Prompting(shots=4, calibration="contextual")
    )
    assert repr(as_strategy(" prompting(8, 'nearest', order='lowest bias')")) == repr(
        Prompting(8, "nearest", order="lowest bias")
    )
    assert repr(as_strategy("embedding(tuning=contrastive(steps=4))")) == repr(Embedding(tuning=Contrastive(steps=4)))
    assert repr(as_strategy("readout('labels', shots=2)")) == repr(Readout("labels", shots=2))
    assert repr(as_strategy("finetuning(parameters=lora(rank=4))")) == repr(FineTuning(parameters=LoRA(rank=4)))
    assert repr(as_strategy("distillation(prompting(calibration=batch))")) == repr(
        Distillation(Prompting(calibration="batch"))
    )
    assert as_strategy(None) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "contrastive",
        "open('x')",
        "os.system('true')",
        "prompting(",
        "prompting(shots=open('x'))",
        "prompting(shots=x+1)",
        "prompting(shot=4)",
        "prompting(**{'shots': 1}, *x)",
        "prompting(1)(2)",
        "[auto][0]",
        "auto\0",
    ],
)
def test_nothing_else_is_a_strategy(text):
    with pytest.raises(WrongUsage, match="--strategy"):
        as_strategy(text)


def test_lists_in_options():
    assert as_shots(["0,2", "4"]) == [0, 2, 4]
    assert as_shots(None) == []
    assert as_words("a = x | y , b=z") == {"a": ["x", "y"], "b": ["z"]}
    assert as_words(None) is None


def test_warnings_are_one_line(monkeypatch, capsys, mail):
    import warnings

    from fewshot.errors import FewshotWarning, warn

    def careful(n):
        warn("Mind the gap.", FewshotWarning)
        warnings.warn("Mind the step.", UserWarning, stacklevel=1)
        yield 0

    monkeypatch.setattr(classifying, "_steps", careful)
    with pytest.warns(UserWarning, match="Mind the step.") as others:
        code, _, err = run(monkeypatch, capsys, "classify", mail, "--labels", "good,bad")
    assert (code, err) == (0, "fewshot: warning: Mind the gap.\n")
    assert [str(one.message) for one in others] == ["Mind the step."]


# help


def commands():
    found = typer.main.get_command(cli.app)
    return found, sorted(found.commands)


def shell_lines(help_text):
    examples = help_text.partition("Examples:\n")[2].replace("\\\n", " ")
    return [shlex.split(line) for line in examples.splitlines() if line.strip()]


@pytest.mark.parametrize("name", commands()[1])
def test_every_help_ends_with_examples_whose_options_exist(monkeypatch, capsys, name):
    code, out, _ = run(monkeypatch, capsys, name, "--help")
    assert code == 0
    lines = shell_lines(out)
    assert len(lines) >= 3
    command = commands()[0].commands[name]
    for program, own, *arguments in lines:
        assert (program, own) == ("fewshot", name)
        command.make_context(name, arguments)  # raises where an option is unknown or an argument missing


def test_every_command_has_json():
    root, names = commands()
    assert len(names) == 8
    for name in names:
        assert "--json" in {option for parameter in root.commands[name].params for option in parameter.opts}


def test_the_first_help_lists_the_commands_whole(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "--help")
    assert code == 0
    listed = out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == [
        "demo",
        "classify",
        "evaluate",
        "compare",
        "learning-curve",
        "fit",
        "lint",
        "templates",
    ]
    assert "..." not in listed
    assert len(shell_lines(out)) == 4


def call(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "fewshot", *arguments], capture_output=True, text=True, check=False, **options
    )


def test_as_a_program():
    assert call("--version").stdout.strip() == __import__("fewshot").__version__
    done = call()
    assert done.returncode == 2
    assert "Commands:" in done.stderr
    done = call("compare", "no.csv")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-m", "fewshot", "templates"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"], ["compare", "x.csv"], ["templates"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        f"sys.argv = ['fewshot', *{arguments!r}]\n"
        "from fewshot.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    err = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    heavy = {"torch", "transformers", "sentence_transformers", "pandas", "sklearn", "scipy"}
    assert not heavy & set(re.findall(r"'(\w+)'", err.splitlines()[-1]))
