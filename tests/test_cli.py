"""The command line on a tiny model: files in, files out, exit codes, and nothing half-written."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import fewshot.cli as cli
from fewshot import FakeLM

ROWS = [{"id": "1", "text": "so good, a joy"}, {"id": "2", "text": "bad, it broke"}]


@pytest.fixture(autouse=True)
def _keyword_model(monkeypatch):
    """Stand in for whatever --model names: the word that occurs in the row's own text wins."""
    import fewshot.classifier

    def score(query):
        return [float(word in query.prefix.rsplit("Text:", 1)[-1]) for word in query.candidates]

    monkeypatch.setattr(fewshot.classifier, "load", lambda model: FakeLM(score))


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
        (b"text\nx\n", [], "Give the classes"),
        (b"body\nx\n", ["--labels", "a,b"], "no column 'text'; there are body"),
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
        (b"text\nx\n", ["--labels", "a,b", "--examples", "nothing.csv"], "can't be read"),
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


def test_examples_must_cover_the_labels(monkeypatch, capsys, mail, tmp_path):
    examples = tmp_path / "labelled.csv"
    examples.write_text("text,label\nvery good,good\nreally bad,bad\n")
    code, _, err = run(monkeypatch, capsys, "classify", mail, "--examples", examples, "--labels", "good,bad,ugly")
    assert code == 1
    assert "['ugly'] have no example" in err


def test_a_run_that_fails_midway_leaves_the_old_output(monkeypatch, capsys, mail, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("old")
    monkeypatch.setattr(cli, "_CHUNK", 1)
    mail.write_text('id,text\n1,good\n2,bad\n3," "\n')

    def fail_late(stream, rows, suffix):
        written = []

        def write(row):
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(stream.write(repr(row)))

        return write

    monkeypatch.setattr(cli, "_writer", fail_late)
    result = CliRunner().invoke(cli.app, ["classify", str(mail), "--labels", "good,bad", "--output", str(out)])
    assert result.exit_code != 0
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mail.csv", "out.csv"]


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


def test_help_and_wrong_options():
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "fewshot", *arguments], capture_output=True, text=True, check=False
        )

    assert "classify" in call("--help").stdout
    assert call("classify").returncode == 2
    assert call().returncode == 2


def test_the_demo_runs_offline_and_saves_its_picture(mini, monkeypatch, tmp_path, capsys):
    import fewshot.classifier

    monkeypatch.setattr(fewshot.classifier, "load", lambda model: mini)
    code, out, _ = run(monkeypatch, capsys, "demo", "--picture", tmp_path / "matrix.png")
    assert code == 0
    assert out.count("95 % interval") == 2
    assert (tmp_path / "matrix.png").read_bytes()[:4] == b"\x89PNG"


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
    import fewshot.lint

    monkeypatch.setattr(fewshot.lint, "load", lambda model: FakeLM(lambda query: [-1.0 for _ in query.candidates]))
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
