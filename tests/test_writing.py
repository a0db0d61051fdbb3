"""Written texts: measured by sacrebleu, compared, written on the command line, and documented."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import numpy as np
import pytest

from fewshot import (
    Classifier,
    FakeLM,
    InputError,
    ParameterError,
    UnsupportedError,
    Writer,
    compare,
    evaluate,
    learning_curve,
    load,
)
from fewshot.evaluation import WritingEvaluation, evaluate_texts
from fewshot.task.written import as_streams, corpus_chrf
from tests.command import run
from tests.printed import Tolerant
from tests.test_writer import ENGLISH, TEMPLATE, shout


@pytest.fixture
def lm():
    return FakeLM(lambda query: [-1.0 for _ in query.candidates], answer=shout)


def test_references_with_fewer_texts_are_left_out():
    assert as_streams([("a",), ("b", "c")]) == [["a", "b"], [None, "c"]]


def test_measures_are_those_of_sacrebleu(lm):
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    texts = ["ein Hund läuft schnell durch den Park", "", "zwei Hunde laufen", "die Sonne scheint hell heute"]
    references = [
        ["ein Hund läuft schnell durch den Wald", "der Hund rennt durch den Park"],
        ["eine Katze"],
        ["zwei Hunde laufen"],
        ["die Sonne scheint heute hell"],
    ]
    result = evaluate_texts(references, texts, n_bootstrap=50)
    streams = [[own[0] for own in references], [own[1] if len(own) > 1 else None for own in references]]
    bleu, chrf = BLEU(), CHRF()
    assert result.metrics.loc["BLEU", "value"] == pytest.approx(bleu.corpus_score(texts, streams).score)
    assert result.metrics.loc["chrF", "value"] == pytest.approx(chrf.corpus_score(texts, streams).score)
    assert result.metrics.loc["chrF", "value"] == corpus_chrf(references, texts)
    assert result.signatures["signature"].to_dict() == {
        "chrF": str(chrf.get_signature()),
        "BLEU": str(bleu.get_signature()),
    }
    score = bleu.corpus_score(texts, streams)
    assert result.metrics.loc["length ratio", "value"] == pytest.approx(score.sys_len / score.ref_len)
    assert (result.n, result.n_empty) == (4, 1)
    assert (result.metrics["low"] <= result.metrics["high"]).all()
    again = WritingEvaluation.from_json(result.to_json())
    assert again.metrics.equals(result.metrics)
    assert "#:var" not in str(result)
    assert "nrefs:var|" in str(result)


def test_resamples_are_those_of_the_texts():
    """Each resample is what sacrebleu says of the drawn texts themselves."""
    from sacrebleu.metrics.chrf import CHRF

    from fewshot.evaluation.metrics import compute_percentiles, draw_resamples

    texts, true = ["ein Hund", "eine Katze", "die Sonne"], ["ein Hund", "keine Tatze", "der Mond"]
    (drawn,) = draw_resamples(3, 40, 0)
    values = []
    for counts in drawn:
        rows = np.repeat(np.arange(3), counts)
        values.append(CHRF().corpus_score([texts[i] for i in rows], [[true[i] for i in rows]]).score)
    low, high = compute_percentiles(np.array(values), 0.9)
    found = evaluate_texts(true, texts, n_bootstrap=40, level=0.9).metrics.loc["chrF"]
    assert (found["low"], found["high"]) == pytest.approx((low, high))


def test_writers_are_evaluated_and_compared(lm):
    good = Writer(lm, TEMPLATE).fit()
    poor = Writer(FakeLM(lambda query: [0.0], answer=lambda query: "x"), TEMPLATE).fit()
    X = [f"{text} in the garden" for text in ENGLISH]
    y = [text.upper() for text in X]
    assert evaluate(good, X, y, n_bootstrap=20).metrics.loc["chrF", "value"] == 100
    for metric in (None, "BLEU"):
        result = compare({"poor": poor, "good": good}, X * 4, y * 4, metric=metric, n_bootstrap=50)
        assert result.metric == (metric or "chrF")
        assert result.values.index.tolist() == ["good", "poor"]
        assert result.pairs["beats"].tolist() == [True]
    with pytest.raises(UnsupportedError, match="'w' predict texts; 'c' predict classes: these have no metric in"):
        compare({"w": good, "c": Classifier(lm, "{{ text }} {{ label }}", {"a": "a", "b": "b"}).fit()}, X, y)
    with pytest.raises(ParameterError, match="metric must be"):
        compare({"a": good, "b": poor}, X, y, metric="accuracy")
    with pytest.raises(UnsupportedError, match="use compare for writers"):
        learning_curve(good, X, y)


def test_foreign_writers_are_checked():
    class Odd:
        said: tuple[object, ...] = ("a",)

        def predict(self, X):
            return self.said

        def predict_written(self, X):
            raise AssertionError

    with pytest.raises(InputError, match=r"Odd predicts 1 texts\. It was given 2 rows"):
        evaluate(Odd(), ["a", "b"], ["a", "b"])
    Odd.said = ("a", 3)
    with pytest.raises(InputError, match=r"what Odd predicts\[1\] must be text"):
        evaluate(Odd(), ["a", "b"], ["a", "b"])
    with pytest.raises(InputError, match="texts is empty"):
        evaluate_texts([], [])


def test_the_page_prints_what_it_says():
    page = (Path(__file__).resolve().parent.parent / "docs/writing.md").read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(source, {}, "writing.md", "writing.md", 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(checker=Tolerant(), optionflags=doctest.ELLIPSIS)
    runner.run(test, out=report.append)
    assert runner.tries == len(test.examples) >= 15
    assert not runner.failures, "".join(report)


class TestCommandLine:
    @pytest.fixture
    def files(self, tmp_path, monkeypatch, lm):
        import fewshot.writer

        monkeypatch.setattr(fewshot.writer, "load", lambda model: lm if model == "fake" else load(model))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "en.csv").write_text("text\na dog\ntwo cats\n")
        (tmp_path / "pairs.csv").write_text("text,de\na bird,ein Vogel\nthe sun,die Sonne\n")
        return tmp_path

    def test_a_line_a_row(self, files, monkeypatch, capsys):
        common = ("write", "en.csv", "--model", "fake", "--template", TEMPLATE.replace("\n", "\\n"))
        assert run(monkeypatch, capsys, *common) == (0, "A DOG\nTWO CATS\n", "")
        code, out, _ = run(
            monkeypatch,
            capsys,
            *common,
            "--examples",
            "pairs.csv",
            "--answer-column",
            "de",
            "--selection",
            "first",
            "--stop",
            "CATS",
            "--json",
        )
        assert code == 0
        assert [json.loads(line) for line in out.splitlines()] == [
            {"text": "a dog", "answer": "A DOG \nEnglish: another\nGerman: noch eins", "logprob": -0.1429},
            {"text": "two cats", "answer": "TWO", "logprob": -1.0},
        ]
        code, out, _ = run(monkeypatch, capsys, *common, "--stop", "\\nGerman")
        assert out.splitlines()[0] == "A DOG  English: another"

    def test_a_kept_writer(self, files, monkeypatch, capsys):
        from tests.conftest import pair

        writer = Writer(load(pair("gpt2")), TEMPLATE, max_new_tokens=4, stop=()).fit()
        writer.save("kept")
        code, out, _ = run(monkeypatch, capsys, "write", "en.csv", "--writer", "kept", "--json")
        assert code == 0
        assert [json.loads(line)["answer"] for line in out.splitlines()] == writer.predict(["a dog", "two cats"])
        template = ("--template", "translation/en_de")
        code, out, err = run(
            monkeypatch, capsys, "write", "en.csv", "--model", "embedded:masked", *template, "--save", "no"
        )
        assert (code, out) == (1, "")
        assert "can't write text" in err

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            ([], 2, "Give --template, with --model and other options, or --writer DIR"),
            (["--writer", "kept", "--model", "fake"], 2, "or --writer DIR alone"),
            (["--model", "fake", "--template", "title/headline", "--shots", "2"], 2, "--shots 2 needs rows with"),
            (["--model", "fake", "--template", "title/headline", "--examples", "pairs.csv"], 1, "'answer'"),
        ],
    )
    def test_what_can_not_be_meant(self, files, monkeypatch, capsys, arguments, code, message):
        found = run(monkeypatch, capsys, "write", "en.csv", *arguments)
        assert (found[0], found[1]) == (code, "")
        assert message in found[2]
