"""The command line: evaluate, compare, and learning-curve."""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys

import pytest

import fewshot.cli as cli
from tests.command import _keyword_model, run  # noqa: F401 - a fixture

pytestmark = pytest.mark.long


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
    assert re.match(r"good +0\.800 +0\.800 +0\.800 +30 ", lines[-5])


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
    assert "can't be split with --held-out 0.5: " in err
    code, _, err = run(monkeypatch, capsys, "evaluate", file, "--test", file, "--shots", 2)
    assert code == 1
    assert "--shots 2 needs 2 rows of each class to learn from. The class 'bad' has 1:" in err
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


def test_the_wrong_rows_are_written_with_their_numbers_in_the_file(monkeypatch, capsys, reviews, tmp_path):
    rows = list(csv.DictReader(reviews.read_text().splitlines()))
    wrong = tmp_path / "wrong.csv"
    arguments = ("evaluate", reviews, "--strategy", "prompting", "--errors")
    code, out, err = run(monkeypatch, capsys, *arguments, wrong, "--shots", 0)
    assert (code, err) == (0, "")
    found = list(csv.DictReader(wrong.read_text().splitlines()))
    assert {int(one["row"]) for one in found} == set(range(0, 60, 5))
    assert all(one["text"] == rows[int(one["row"])]["text"] for one in found)
    assert all(one["true"] == rows[int(one["row"])]["label"] != one["predicted"] for one in found)
    assert [float(one["probability"]) for one in found] == sorted(
        (float(one["probability"]) for one in found), reverse=True
    )
    assert re.search(r"^true \\ predicted +bad +good\nbad +24 +6\n", out, re.MULTILINE)
    part = tmp_path / "wrong.jsonl.gz"
    assert run(monkeypatch, capsys, *arguments, part, "--held-out", "0.5")[0] == 0
    with gzip.open(part, "rt") as stream:
        found = [json.loads(line) for line in stream]
    assert found
    assert all(one["text"] == rows[one["row"]]["text"] for one in found)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_no_wrong_row_is_a_file_without_rows(monkeypatch, capsys, tmp_path, kind):
    (tmp_path / "few.csv").write_text("text,label\nso good,good\nso bad,bad\n")
    wrong = tmp_path / f"wrong.{kind}"
    arguments = ("evaluate", tmp_path / "few.csv", "--shots", 0, "--strategy", "prompting", "--errors", wrong)
    assert run(monkeypatch, capsys, *arguments)[0] == 0
    assert wrong.exists()
    if kind == "csv":
        assert wrong.read_text() == "row,text,true,predicted,probability,true probability\n"


def test_the_wrong_rows_replace_no_other_file(monkeypatch, capsys, reviews, tmp_path):
    before = reviews.read_text()
    for name, more in (("reviews.csv", ()), ("a.json", ("--output", tmp_path / "a.json"))):
        arguments = ("evaluate", reviews, "--shots", 0, "--errors", tmp_path / name, *more)
        code, _, err = run(monkeypatch, capsys, *arguments)
        assert code == 2
        assert "is the name of another file of this command" in err
    assert reviews.read_text() == before
    code, _, err = run(monkeypatch, capsys, "evaluate", reviews, "--shots", 0, "--errors", tmp_path / "a.xls")
    assert code == 2
    assert "--errors" in err
