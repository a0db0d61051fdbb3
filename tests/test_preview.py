"""Previews: prompts are shown as they are asked, with what is cut where it stood, in colours that can be read."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fewshot import Classifier, Embedding, FakeLM, Prompting, ShortenedWarning, Template
from fewshot.display.preview import _STYLES, Part, Preview, PreviewRow, cut_after
from tests.contract import HashEncoder, keyword_lm
from tests.moods import REVIEW, WORDS, classifier, moods

# --- vectors --------------------------------------------------------------------------------------


class Window(HashEncoder):
    """Reads 6 tokens, of which 2 are its own; a token is a word."""

    limit = 6
    _lm = keyword_lm()

    def token_ends(self, texts):
        return self._lm.token_ends(texts)

    def lengths(self, queries):
        return self._lm.lengths(queries) + 2


@pytest.mark.parametrize(
    ("row", "kept", "cut"),
    [
        ({"a": "one two", "b": "three"}, "one two / three", ""),
        ({"a": "one two", "b": "three four five"}, "one two / three", " four five"),
        ({"a": "one two three four five", "b": "six"}, "one two / six", " three four five"),
    ],
)
def test_what_an_encoder_does_not_read_is_shown_as_cut(row, kept, cut):
    template = "{{ a }} / {{ b }}\nThe topic is {{ label }}."
    clf = Classifier(Window(), template, strategy=Embedding()).fit(None, ["x", "y"])
    (shown,) = clf.preview([row])
    assert shown.text == f"{kept}\n\n~ The topic is ___."
    assert "".join(shown.cut) == cut
    words = len(f"{kept}{cut}".split())
    assert (shown.n_tokens, shown.n_cut) == (min(words, 4), max(0, words - 4))
    if cut:
        with pytest.warns(ShortenedWarning, match=f"6 tokens, 1 of 1 rows were cut, by {words - 4} tokens"):
            clf.predict([row])
    else:
        clf.predict([row])


def test_cutting_after_a_number_of_characters():
    parts = (Part("text", "ab"), Part("field", "cd"), Part("text", "ef"))
    assert cut_after(parts, 6) == parts
    assert cut_after(parts, 3) == (parts[0], Part("field", "c"), Part("cut", "d"), Part("cut", "ef"))
    assert cut_after(parts, 2) == (parts[0], Part("cut", "cd"), Part("cut", "ef"))


# --- prompts are shown as they are asked -------------------------------------------------------------

TEMPLATES = [
    REVIEW,
    "  {{ text }}  \n\n It was {{ label }}  ",
    "{{ label }}: {{ text }}",
    "Title {{ text }} is, {{ label }} I say {{ other }}!\n",
    "{% if other %}{{ other }} {% endif %}{{ text }}{{ label }}{% for x in [1, 2] %} {{ other }}{% endfor %}",
]


@pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq", "entailment"])
@pytest.mark.parametrize("source", TEMPLATES)
@pytest.mark.parametrize("values", [(" one two ", "three"), ("one two three four", ""), (" ", " x ")])
def test_the_parts_are_what_is_asked(kind, source, values):
    template = Template(source, instruction="Read.\n")
    row = dict(zip(("text", "other"), values, strict=True))
    clf = Classifier(FakeLM(moods, kind=kind), template, WORDS, Prompting()).fit()
    (shown,) = clf.preview([row])
    (query,) = clf.strategy_.askings_[0].ask([row]).queries
    before = "".join(turn.text + "\n" * (turn.role == "premise") for turn in query.context)
    assert shown.text == f"{before}{query.prefix}___{query.suffix}"
    assert [part.kind for part in shown.parts].count("hole") == 1
    fields = [part.text for part in shown.parts if part.kind == "field"]
    assert {text.strip() for text in fields} <= {value.strip() for value in values}


@pytest.mark.parametrize("kind", ["causal", "entailment"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_cut_is_shown_where_it_stood(kind, side):
    source = f"Review: {{{{ text | shorten(side='{side}') }}}} (end)\nIt was {{{{ label }}}}."
    clf = classifier(template=source, limit=12, kind=kind).fit()
    text = " ".join(f"w{i}" for i in range(12))
    (shown,) = clf.preview([text])
    assert shown.n_cut > 0
    (query,) = clf.strategy_.askings_[0].ask([text]).queries
    before = "".join(f"{turn.text}\n" for turn in query.context)
    assert shown.text == f"{before}{query.prefix}___{query.suffix}"
    pieces = [part for part in shown.parts if part.kind in ("field", "cut")]
    assert [part.kind for part in pieces] == (["cut", "field"] if side == "left" else ["field", "cut"])
    assert "".join(part.text for part in pieces) == text
    assert f"{shown.n_cut} cut" in shown.heading
    assert "line-through" in clf.preview([text])._repr_html_()


def test_the_colours_of_a_prompt():
    template = Template(REVIEW, instruction="Judge the reviews.")
    clf = classifier(Prompting(shots=2), template).fit(["fun", "dull"], ["good", "bad"])
    (shown,) = preview = clf.preview(["such fun"])
    assert [kind for kind, _ in shown.coloured] == [
        "instruction",
        *["demonstration", "answer"] * 2,
        *["text", "field", "text", "hole", "text"],
    ]
    assert "".join(text for _, text in shown.coloured) == shown.text.replace("___", "")
    said = preview._repr_html_()
    for kind in ("instruction", "demonstration", "answer", "field", "hole"):
        assert f"title='{kind}' style='{_STYLES[kind]}'" in said
    assert "cut" not in said
    assert "awful | lovely | great" in said
    assert f"<span title='field' style='{_STYLES['field']}'>such fun</span>" in said


def test_a_hole_shows_some_of_many_words():
    words = [f"w{i}" for i in range(40)]
    shown = PreviewRow((), (Part("hole", ""),), 1).html(words)
    assert "w11 | … 40" in shown
    assert "w12" not in shown


def _linear(colour):
    scaled = np.array(colour) / 255
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize(("page", "text"), [((255, 255, 255), (33, 33, 33)), ((17, 17, 17), (225, 225, 225))])
@pytest.mark.parametrize("kind", _STYLES)
def test_text_is_legible_on_light_and_on_dark_pages(page, text, kind):
    """Contrast as in the Web Content Accessibility Guidelines: 4.5 for text, 3 for what was cut."""
    *paint, alpha = map(float, re.search(r"rgba\((\d+),(\d+),(\d+),([.\d]+)\)", _STYLES[kind]).groups())
    opacity = float((re.search(r"opacity:([.\d]+)", _STYLES[kind]) or [0, 1])[1])
    behind = (1 - alpha) * np.array(page) + alpha * np.array(paint)
    ink = opacity * np.array(text) + (1 - opacity) * np.array(page)
    dark, light = sorted(float(_linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (behind, ink))
    assert (light + 0.05) / (dark + 0.05) > (3 if kind == "cut" else 4.5)


# --- what is a row, and who can explain ----------------------------------------------------------------


def test_a_preview_is_a_sequence_of_rows():
    row = PreviewRow((), (Part("field", "x"), Part("hole", "")), 0)
    preview = Preview([row], ["a"])
    assert list(preview) == [preview[0]] == [row]
    assert str(preview) == "[0]\nx___\ncandidates: a"
    own = PreviewRow((), row.parts, 3, candidates=("<b>", "c"))
    assert str(Preview([row, own], ())) == "[0]\nx___\n\n[1] 3 tokens\nx___\ncandidates: <b> | c"
    assert ">&lt;b&gt; | c</span>" in Preview([own], ["a"])._repr_html_()
