"""fewshot extract, and what lint_answers says of the files that it learns from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewshot import Extractor, FakeLM, lint_answers
from tests.command import run
from tests.conftest import language_model
from tests.test_extractor import ROWS, hash_scores


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("fewshot.extractor.load", lambda model: FakeLM(hash_scores))
        new = [
            {"question": "Who came?", "context": "Bob came."},
            {"question": "Who?", "context": "Eve left.", "title": "E"},
        ]
        (tmp_path / "new.jsonl").write_text("\n".join(map(json.dumps, new)))
        (tmp_path / "mail.csv").write_text("text\nBob came.\nEve left.\n")
        (tmp_path / "lines.txt").write_text("Bob came.\nEve left.\n")
        answered = [{**row, "answers": {"text": [], "answer_start": []}} for row in ROWS]
        answered[0]["answers"] = {"text": ["Paris"], "answer_start": [13]}
        (tmp_path / "answered.jsonl").write_text("\n".join(map(json.dumps, answered)))
        (tmp_path / "answered.csv").write_text(
            "context,question,answer,answer_start\nAda left.,Who left?,Ada,0\nIt rained.,Who left?,,\n"
        )
        (tmp_path / "wrong.csv").write_text("context,question,answer,answer_start\nAda left.,Who left?,Ada,1\n")
        (tmp_path / "words.csv").write_text("context,question,answer,answer_start\nAda left.,Who left?,Ada,one\n")
        return tmp_path

    def test_answers_come_as_lines_of_json(self, monkeypatch, capsys):
        code, out, _ = run(monkeypatch, capsys, "extract", "new.jsonl", "--json")
        assert code == 0
        rows = [json.loads(line) for line in out.splitlines()]
        X = [{"question": row["question"], "context": row["context"]} for row in rows]
        expected = Extractor(FakeLM(hash_scores)).fit().predict(X)
        assert [(row["answer"], row["start"], row["end"]) for row in rows] == [
            (o.text, o.start, o.end) for o in expected
        ]
        assert [row["probability"] for row in rows] == [round(one.probability, 4) for one in expected]

    @pytest.mark.parametrize("name", ["mail.csv", "lines.txt"])
    def test_one_question_about_all_texts(self, monkeypatch, capsys, name):
        code, out, _ = run(monkeypatch, capsys, "extract", name, "--question", "Who came?")
        expected = Extractor(FakeLM(hash_scores), question="Who came?").fit().explain(["Bob came.", "Eve left."])
        assert (code, out.strip()) == (0, str(expected))
        code, out, _ = run(monkeypatch, capsys, "extract", name, "--question", "Who came?", "--json")
        assert json.loads(out.splitlines()[1])["context"] == "Eve left."

    def test_examples_are_shown_and_kept(self, monkeypatch, capsys):
        given = ("extract", "new.jsonl", "--examples", "answered.jsonl", "--shots", "2", "--save", "kept", "--json")
        code, _, err = run(monkeypatch, capsys, *given)
        assert code == 0
        assert "the extractor is kept in" in err
        assert "hint about answered.jsonl: The answers of 1 rows stand in other places as well" in err
        card = (Path("kept") / "README.md").read_text()
        assert "3 questions, 1 of them with an answer" in card

    def test_a_kept_extractor_answers(self, monkeypatch, capsys):
        monkeypatch.setattr("fewshot.extractor.load", lambda model: model)
        Extractor(language_model("gpt2"), max_words=2).fit().save("own")
        Extractor(language_model("gpt2"), question="who ?", threshold=0.9).fit().save("asks")
        code, out, _ = run(monkeypatch, capsys, "extract", "new.jsonl", "--extractor", "own", "--json")
        assert (code, len(out.splitlines())) == (0, 2)
        code, out, _ = run(monkeypatch, capsys, "extract", "mail.csv", "--extractor", "asks", "--json")
        kept = Extractor.load("asks")
        assert [json.loads(line)["answer"] for line in out.splitlines()] == [
            one.text for one in kept.predict(["Bob came.", "Eve left."])
        ]
        given = ("--extractor", "asks", "--threshold", "0.0001", "--question", "where ?", "--json")
        code, out, _ = run(monkeypatch, capsys, "extract", "mail.csv", *given)
        assert all(json.loads(line)["answer"] for line in out.splitlines())
        assert json.loads(out.splitlines()[0])["question"] == "where ?"

    def test_a_table_of_answers_and_places(self, monkeypatch, capsys):
        code, out, _ = run(monkeypatch, capsys, "extract", "new.jsonl", "--examples", "answered.csv", "--json")
        assert (code, len(out.splitlines())) == (0, 2)

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["mail.csv"], 1, "there is no column 'context'"),
            (["new.jsonl", "--extractor", "kept", "--model", "x"], 2, "leave out --examples, --model"),
            (["new.jsonl", "--shots", "2"], 2, "--shots 2 needs answered questions to show"),
            (["new.jsonl", "--template", "squad/title"], 1, "there is no column 'title'"),
            (["new.jsonl", "--examples", "wrong.csv"], 1, "wrong.csv: 1 answers are not where they should be"),
            (["new.jsonl", "--examples", "words.csv"], 1, "the column 'answer_start' must be where the answer begins"),
            (["new.jsonl", "--examples", "mail.csv"], 1, "there is no column 'context'"),
        ],
    )
    def test_what_can_not_be_meant(self, monkeypatch, capsys, arguments, code, message):
        found = run(monkeypatch, capsys, "extract", *arguments)
        assert (found[0], found[1]) == (code, "")
        assert message in found[2]


class TestLint:
    def test_what_is_odd_is_counted(self):
        X = [
            *(dict(row) for row in ROWS),
            {"question": "Who left?", "context": "In spring Bob left Rome for $5."},
            {"question": " ", "context": "It rained."},
            {"question": "Who came?", "context": "It rained."},
            {"question": "Where?", "context": "Ada lives in Paris."},
        ]
        y = [(13, 18), "Bob", None, "Bob left", "It", None, {"text": ["Paris"], "answer_start": [12]}]
        report = lint_answers(X, y, max_words=1)
        assert [(one.level, one.kind, one.rows) for one in report.findings] == [
            ("error", "absent", (6,)),
            ("warning", "lost", (3,)),
            ("warning", "two ways", (1, 3)),
            ("hint", "duplicate", (5,)),
            ("hint", "several places", (0,)),
            ("hint", "blank", (4,)),
        ]
        assert (report.n_questions, report.n_empty, report.n_contexts, report.ok) == (7, 2, 4, False)
        assert str(report).startswith("questions   7, 2 (29 %) without an answer\ntexts       4\n\nerror: 1 answers")
        assert "Row 6: the answer 'Paris' is said to start at 12" in str(report).replace("\n    ", " ")
        assert lint_answers(X[:1], ["Paris"]).findings == ()
        assert "without an answer" in report._repr_html_()
        assert json.loads(report.to_json())["n_empty"] == 2
