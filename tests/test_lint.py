"""Lint: every mistake is found, named with its cure, and found before compute is spent."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from fewshot import FakeLM, InputError, Template, TemplateError, Verbalizer, Windows, gallery, load
from fewshot.linting import Finding, LintReport, lint, unparsed
from fewshot.models.base import Scores
from tests.conftest import language_model, sentence_model

WORDS = {"neg": "bad", "pos": "good"}
REVIEW = Template("Review: {{ text }}\nIt was {{ label }}", words=WORDS)


def even(query):
    return [math.log(0.1) for _ in query.candidates]


def levels(report: LintReport) -> list[str]:
    return [one.level for one in report.findings]


def said(report: LintReport) -> str:
    return "\n".join(f"{one.level}: {one.message} {one.cure}" for one in report.findings)


def test_a_good_template_has_no_findings():
    report = REVIEW.lint(FakeLM(even), ["Great fun.", "Dull and far too long."])
    assert report.findings == ()
    assert report.ok
    assert report.hole == ("Review: N/A\nIt was ", "")
    tokens = report.tokens
    assert (tokens.overhead, tokens.median, tokens.longest, tokens.share_cut) == (5, 8, 9, 0.0)
    assert [(line.label, line.word, line.n_tokens, line.first) for line in report.words] == [
        ("neg", "bad", 1, "bad"),
        ("pos", "good", 1, "good"),
    ]
    assert [line.share for line in report.words] == pytest.approx([0.5, 0.5])
    assert [line.probability for line in report.words] == pytest.approx([0.1, 0.1])
    with pytest.raises(FrozenInstanceError):
        report.n_rows = 3  # type: ignore[misc]
    assert REVIEW.lint().findings == ()


@pytest.mark.parametrize("name", gallery.names())
def test_the_gallery_has_no_findings_on_its_text(name):
    assert gallery.get(name).lint().findings == ()


# the three templates that docs/command-line.md shows


def test_a_misspelt_field():
    report = Template("Review: {{ txt }}\nIt was {{ label }}", words=WORDS).lint(
        FakeLM(even), [{"id": 1, "text": "Great fun."}]
    )
    assert levels(report) == ["error"]
    assert "uses the field 'txt', and no row has it. The columns are ['id', 'text']" in said(report)
    assert 'Write {{ text }}, or use template.rename(txt="text").' in said(report)
    assert (report.missing, report.unused) == (("txt",), ("id", "text"))
    assert not report.ok


def test_words_that_share_their_first_token():
    words = {"no": "not spam", "yes": "spam", "maybe": "not sure"}
    report = Template("{{ text }} This is {{ label }}", words=words).lint(FakeLM(even))
    assert levels(report) == ["warning", "hint"]
    assert "'not sure', 'not spam' share their first token 'not'" in said(report)
    assert "1 to 2 tokens" in said(report)
    text_only = Template("{{ text }} {{ label }}", words={"a": "spam", "b": "spam mail", "c": "Spam"}).lint()
    assert levels(text_only) == ["warning", "hint"]
    assert "'spam', 'Spam' differ only by case" in said(text_only)
    assert "'spam' begins 'spam mail'" in said(text_only)


def test_rows_that_exceed_the_window():
    rows = [" ".join(["word"] * n) for n in (5, 10, 30, 40)]
    report = REVIEW.lint(FakeLM(even, limit=20), rows)
    assert levels(report) == ["warning"]
    assert "2 of 4 rows exceed the window of 20 tokens, and no field is marked 'shorten'" in said(report)
    assert report.tokens.share_cut == 0.5
    assert report.tokens.median_cut == 19  # 14 and 24 words too many
    marked = Template("Review: {{ text | shorten }}\nIt was {{ label }}", words=WORDS)
    assert marked.lint(FakeLM(even, limit=20), rows).findings == ()
    eaten = Template("{{ text | shorten }} {{ label }}", instruction="Read with care. " * 5, words=WORDS)
    report = eaten.lint(FakeLM(even, limit=25), rows)
    assert levels(report) == ["warning"]
    assert "take 17 of the 25 tokens" in said(report)
    report = eaten.lint(FakeLM(even, limit=12), rows)
    assert levels(report) == ["error"]
    assert report.tokens.share_cut == 1.0
    assert report.mass is None


def test_rows_that_can_not_be_cut_enough():
    template = Template("{{ a | shorten }} {{ b }} {{ label }}", words=WORDS)
    report = template.lint(FakeLM(even, limit=20), [{"a": "x", "b": "long " * 30}, {"a": "x " * 30, "b": "y"}])
    assert levels(report) == ["error"]
    assert "1 of 2 rows exceed the window of 20 tokens even when" in said(report)
    assert report.tokens.share_cut == 1.0


# fields


def test_rows_that_do_not_fill_the_template():
    rows = [{"text": "Great fun."}, {"text": None}, {"other": 1}]
    report = REVIEW.lint(None, rows)
    assert levels(report) == ["error"]
    assert "2 of 3 rows can't fill the template; the first, row 1: the field 'text' is None" in said(report)
    pair = Template("{{ a }} {{ b }} {{ label }}")
    assert "rows are plain texts. Pass a DataFrame" in said(pair.lint(None, ["x"]))
    assert levels(pair.lint(None, ["x"])) == ["error"]
    with pytest.raises(InputError, match="X is empty"):
        REVIEW.lint(None, [])


def test_an_optional_field_may_be_missing():
    template = Template("{% if title is defined %}{{ title }}: {% endif %}{{ text }} {{ label }}")
    assert levels(template.lint(None, [{"text": "x"}])) == ["hint"]
    assert "guard it: {% if b is defined %}" in said(Template("{{ b }} {{ label }}").lint(None, [{"q": 1, "r": 2}]))


def test_an_instruction_that_uses_a_field():
    report = Template("{{ text }} {{ label }}", instruction="Read {{ text }}", words=WORDS).lint(FakeLM(even))
    assert levels(report) == ["error"]
    assert "An instruction may use {{ labels }} only" in said(report)


def test_long_fields_without_a_model():
    rows = [{"a": "x" * 3000, "b": "y" * 5000}]
    assert "up to 5,000 characters long, and none is marked" in said(
        Template("{{ a }} {{ b }} {{ label }}").lint(X=rows)
    )
    report = Template("{{ a }} {{ b | shorten }} {{ label }}").lint(X=rows)
    assert levels(report) == ["warning"]
    assert "up to 3,000 characters long. It is never cut" in said(report)


# blanks


@pytest.mark.parametrize(
    ("source", "level", "message"),
    [
        ("{{ text }}  {{ label }}", "warning", "'  ' stands before the hole"),
        ("{{ text }} was{{ label }}", "warning", "would read 'N/A wasbad'"),
        ("{{ text }} Answer:{{ label }}", "hint", "would read '… Answer:bad'"),
        ("{{ text }} {{ label }}film", "warning", "'film', runs into the word"),
        ("{{ text }} {{ label }} \n", "warning", "The template ends with ' \\n'"),
        ("{{ label }}: {{ text }}", "hint", "A field stands after the hole"),
    ],
)
def test_blanks_and_what_is_around_the_hole(source, level, message):
    report = Template(source, words=WORDS).lint(FakeLM(even))
    assert levels(report) == [level]
    assert message in said(report)


@pytest.mark.parametrize(
    "source",
    ["{{ text }}\n{{ label }}", '{{ text }} "{{ label }}"', "{{ text }}：{{ label }}", "{{ label }}, {{ text }}"],
)
def test_blanks_that_are_right(source):
    assert Template(source, words=WORDS).lint(FakeLM(even, kind="masked")).findings == ()


def test_blanks_in_words():
    words = {"neg": " bad", "pos": " good"}
    report = Template("{{ text }} It was{{ label }}", words=words).lint(FakeLM(even))
    assert levels(report) == ["hint"]
    doubled = Template("{{ text }} It was {{ label }}", words=words).lint(FakeLM(even))
    assert levels(doubled) == ["warning"]
    assert "stands a blank already" in said(doubled)


# words


def test_words_that_the_model_prefers_or_does_not_expect():
    def leaning(query):
        return Scores(np.log([0.004, 0.00004]), np.array([1, 1]), 0.00404)

    report = REVIEW.lint(FakeLM(leaning))
    assert levels(report) == ["warning", "hint"]
    assert "their total probability is 0.004" in said(report)
    assert "expects the class 'neg' 10 times" in said(report)
    assert "calibration='contextual'" in said(report)
    assert report.mass == pytest.approx(0.00404)


def test_words_that_are_no_words():
    assert "share the label word" in said(REVIEW.lint(verbalizer={"a": "x", "b": "x"}))
    assert "nothing to choose between" in said(REVIEW.lint(verbalizer={"a": "x"}))
    assert "No label words are known" in said(Template("{{ text }} {{ label }}").lint(FakeLM(even), ["x"]))
    assert "NaN" in said(REVIEW.lint(FakeLM(lambda query: [math.nan] * 2)))
    averaged = Verbalizer({"a": "x", "b": "y z"}, token_aggregation="mean")
    assert REVIEW.lint(FakeLM(even), verbalizer=averaged).findings == ()


def test_a_template_that_asks_about_each_label():
    report = gallery.get("generic/yes_no").lint(FakeLM(even), ["Charged twice."], ["billing", "bug report"])
    assert report.findings == ()
    assert [line.word for line in report.words] == ["No", "Yes"]
    assert report.missing == ()


# models


def test_a_real_causal_model():
    report = REVIEW.lint(language_model("gpt2"), ["Great fun.", "so good " * 200], {"a": "positive", "b": "posh"})
    assert report.tokens.limit == 256
    assert report.tokens.share_cut == 0.5
    assert "'positive', 'posh' share their first token 'pos'" in said(report)
    assert 0 < report.mass < 1
    assert all(line.n_tokens >= 2 for line in report.words)


def test_a_real_masked_model_refuses_words_that_are_one_to_it():
    report = REVIEW.lint(language_model("bert"), ["Great fun."], {"a": "Bad", "b": "bad"})
    assert levels(report) == ["error", "warning"]
    assert "are the same tokens to this model" in said(report)
    assert REVIEW.lint(language_model("bert"), ["Great fun."]).ok


def test_an_entailment_model_has_no_mass():
    report = gallery.get("generic/entailment").lint(language_model("nli"), ["Great fun."], ["good", "bad"])
    assert report.ok
    assert report.mass is None
    assert "first token" not in str(report)


def test_a_chat_model_is_told_the_words():
    template = Template("{{ text }}\nSentiment:{{ label }}", words=WORDS)
    assert "nothing tells it which label words there are" in said(template.lint(language_model("gpt2-chat")))
    told = Template(template.source, words=WORDS, instruction="Say {{ labels | join(' or ') }}.")
    report = told.lint(language_model("gpt2-chat"))
    assert "nothing tells" not in said(report)
    assert "separates" not in said(report)


def test_an_encoder_shows_its_frames():
    encoder, template = load(sentence_model()), gallery.get("generic/encoder")
    report = template.lint(encoder, ["Great fun.", "so good " * 200], ["bad", "good"])
    assert [line.frame for line in report.words] == ["The topic is bad.", "The topic is good."]
    assert report.tokens.share_cut == 0.5
    assert "1 of 2 texts exceed the encoder's window of 128 tokens" in said(report)
    windowed = load(sentence_model(), windows=Windows())
    assert template.lint(windowed, ["so good " * 200], ["bad", "good"]).findings == ()


# output


def test_the_report_as_text():
    report = REVIEW.lint(FakeLM(even, limit=8), [{"id": 1, "text": "so good"}, {"id": 2, "text": "a " * 9}])
    assert str(report) == repr(report)
    assert (
        str(report).splitlines()
        == """\
template    Template('Review: {{ text }}\\nIt was {{ label }}')
model       FakeLM(even)
fields      text; unused: id
rows        2
hole        'Review: N/A\\nIt was ' ___ ''
tokens      median 10, 95 % 13, max 13; the window is 8; 5 with 'N/A' in every field
cut         50.0% of the rows, by 6 tokens in the median

class  word    tokens  first token  probability  share
neg    'bad'   1       'bad'        0.1          0.50
pos    'good'  1       'good'       0.1          0.50

warning: The instruction, the template and the longest label word take 5 of the 8 tokens that the
    model reads, before any text.
  cure: Shorten the instruction or the label words, or use a model that reads more.

warning: 1 of 2 rows exceed the window of 8 tokens, and no field is marked 'shorten': the longest is
    cut first, from the right.
  cure: Mark what may be cut: {{ field | shorten }}, or shorten(side='left') to keep the end; or use
    a model that reads more.

2 warnings.""".splitlines()
    )


def test_the_report_as_html_is_escaped():
    report = Template("<b>{{ text }} {{ label }}", words={"a": "<script>", "b": "&"}).lint(FakeLM(even))
    html = report._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<b>{{" not in html
    assert "background" not in html  # whichever colours the notebook has
    finding = Finding("error", "<i>", "<u>")
    assert "&lt;i&gt;" in LintReport("t", findings=(finding,))._repr_html_()


def test_the_report_as_json():
    report = REVIEW.lint(FakeLM(even), ["Great fun."])
    loaded = json.loads(report.to_json())
    assert loaded["ok"] is True
    assert loaded["tokens"]["limit"] == 4096
    assert loaded["words"][0]["word"] == "bad"


def test_a_template_that_does_not_parse():
    with pytest.raises(TemplateError) as caught:
        Template("{{ text }}\n{{ label x }}")
    report = unparsed("bad.jinja", caught.value)
    assert not report.ok
    assert "{{ label x }}\n    ^" in str(report)


def test_source_is_no_template():
    with pytest.raises(InputError, match=r"template must be a Template\. Got '\{\{ text \}\} .*: Template\(source\)"):
        lint("{{ text }} It was {{ label }}.")


def test_a_model_by_name():
    report = lint(gallery.get("sst2/it_was"), "embedded:masked", ["A joy to watch."])
    assert report.ok
    assert report.mass > 0.01
