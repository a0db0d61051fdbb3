"""Fitting to the window: demonstrations go first, then the longest fields, and nothing else is ever touched."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot import FakeLM, PromptTooLongError, Template
from fewshot.models.base import Turn
from fewshot.task.prompt import fit_to_window

WORDS = ("good", "very bad")


def count(text):
    return len(re.findall(r"\s*\S+|\s+$", text))


class Words(FakeLM):
    """Words are tokens; counts how often it was asked for lengths."""

    def __init__(self, limit, kind="causal"):
        super().__init__(lambda query: [0.0] * len(query.candidates), limit=limit, kind=kind)
        self.asked = 0

    def lengths(self, queries):
        self.asked += 1
        return super().lengths(queries)


class Bytes(Words):
    """Bytes are tokens, so that one character may be several tokens, which all end at the same offset."""

    def lengths(self, queries):
        texts = ["".join(t.text for t in q.context) + q.prefix + max(q.candidates, key=len) + q.suffix for q in queries]
        return np.array([len(text.encode()) for text in texts])

    def token_ends(self, texts):
        return [np.array([i for i, c in enumerate(text, 1) for _ in c.encode()], dtype=np.int64) for text in texts]


def fit(source, row, window, demonstrations=(), **options):
    template = Template(source, instruction=options.pop("instruction", None))
    shown = list(demonstrations)
    contexts = [template.context(shown[len(shown) - k :]) for k in range(len(shown) + 1)]
    return fit_to_window(template.prompt(row), contexts, WORDS, window, **options)


def numbered(n, prefix="w"):
    return " ".join(f"{prefix}{i}" for i in range(n))


# (text) It was (very bad): 4 words and those of the text
SOURCE = "{{ text | shorten }} It was {{ label }}"


@pytest.mark.parametrize("limit", [14, 15, 1000])
def test_a_prompt_that_fits_is_left_alone(limit):
    fitted = fit(SOURCE, numbered(10), Words(limit))
    assert fitted.prompt == Template(SOURCE).prompt(numbered(10))
    assert (fitted.n_tokens, fitted.n_cut, fitted.cut_texts, fitted.shortened) == (14, 0, (), False)


@pytest.mark.parametrize("excess", range(1, 11))
def test_a_field_is_cut_by_exactly_what_is_too_much(excess):
    fitted = fit(SOURCE, numbered(10), Words(14 - excess))
    kept = " ".join(numbered(10).split()[: 10 - excess])
    assert fitted.prompt.prefix == kept + " It was "
    assert kept + "".join(fitted.cut_texts) == numbered(10)
    assert (fitted.n_tokens, fitted.n_cut, fitted.shortened) == (14 - excess, excess, True)


@pytest.mark.parametrize(("limit", "shots"), [(36, 3), (35, 2), (28, 2), (27, 1), (20, 1), (19, 0), (12, 0)])
def test_demonstrations_are_dropped_one_by_one_before_anything_is_cut(limit, shots):
    # 2 words of instruction, 10 of the prompt, and 8 of each demonstration
    demonstrations = [(f"demonstration {i} is here", "very good") for i in range(3)]
    fitted = fit(SOURCE, numbered(6), Words(limit), demonstrations, instruction="Say it.")
    assert fitted.n_demonstrations == shots
    assert fitted.n_tokens == 2 + 10 + 8 * shots
    assert fitted.prompt.prefix == numbered(6) + " It was "
    assert not fitted.shortened


def test_fields_are_cut_once_no_demonstration_is_left():
    fitted = fit(SOURCE, numbered(6), Words(10), [("x", "good")] * 2, instruction="Say it.")
    assert fitted.n_demonstrations == 0
    assert fitted.prompt.prefix == numbered(4) + " It was "
    assert (fitted.n_tokens, fitted.n_cut) == (10, 2)


def lengths_after(source, limit, **fields):
    pieces = fit(source, fields, Words(limit)).prompt.pieces
    return [count(piece.text) for piece in pieces if piece.place.kind == "field"]


@pytest.mark.parametrize(
    ("a", "b", "left"),
    [
        ("shorten", "shorten", [16, 16]),
        ("shorten(2)", "shorten", [12, 20]),
        ("shorten(1.5)", "shorten", [13, 19]),
        ("shorten(weight=1)", "shorten(weight=2.5)", [20, 12]),
        ("shorten(0.4)", "shorten(0.5)", [18, 14]),
        ("shorten", "trim", [12, 20]),
        ("trim", "shorten(0.1)", [20, 12]),
        ("trim", "trim", [16, 16]),  # none is marked: all may be cut
    ],
)
def test_fields_are_cut_until_weight_times_length_is_equal(a, b, left):
    source = f"{{{{ a | {a} }}}} and {{{{ b | {b} }}}}: {{{{ label }}}}"
    assert lengths_after(source, 43 - 8, a=numbered(20), b=numbered(20)) == left


@pytest.mark.parametrize(
    ("a", "b", "limit", "left"),
    [
        (30, 5, 19, [7, 5]),  # the longest gives first
        (30, 5, 13, [3, 3]),  # until they are equal
        (30, 5, 9, [1, 1]),
        (2, 30, 16, [2, 7]),
    ],
)
def test_the_longest_field_gives_first_until_they_are_equal(a, b, limit, left):
    source = "{{ a | shorten }} and {{ b | shorten }}: so it is now {{ label }}"
    assert lengths_after(source, limit, a=numbered(a), b=numbered(b)) == left


@pytest.mark.parametrize("weight", ["1", "50", "0.001", "1e300", "1e-300"])
def test_no_weight_cuts_a_field_to_nothing_while_another_has_more(weight):
    source = f"{{{{ a | shorten(weight={weight}) }}}} and {{{{ b | shorten }}}}: {{{{ label }}}}"
    for limit in range(6, 20):
        assert min(lengths_after(source, limit, a=numbered(20), b=numbered(4))) >= 1


def test_a_field_is_emptied_only_where_there_is_no_room_and_is_then_named():
    source = "{{ a | shorten }} and {{ b | shorten }} {{ label }}"
    row = {"a": numbered(20), "b": numbered(4)}
    assert fit(source, row, Words(5)).emptied == ()
    assert fit(source, row, Words(4)).emptied == ("b",)
    assert fit(source, row, Words(3)).emptied == ("a", "b")
    assert fit(source, {**row, "a": " "}, Words(4)).emptied == ()  # it had nothing to lose


@pytest.mark.parametrize(
    ("filters", "kept", "cut"),
    [("shorten", "w0 w1 w2", " w3 w4"), ("shorten(side='left')", " w2 w3 w4", "w0 w1")],
)
def test_the_side_that_is_cut_away(filters, kept, cut):
    fitted = fit(f"Text: {{{{ text | {filters} }}}} It was {{{{ label }}}}.", numbered(5), Words(8))
    assert fitted.prompt.prefix == f"Text: {kept} It was "
    assert fitted.cut_texts == (cut,)
    assert fitted.prompt.suffix == "."


def test_every_turn_of_a_loop_may_be_cut():
    source = "{% for w in text.split(',') %}- {{ w | shorten }}\n{% endfor %}It was {{ label }}"
    fitted = fit(source, "a b c,d e f", Words(8))
    assert fitted.prompt.prefix == "- a\n- d\nIt was "
    assert fitted.cut_texts == (" b c", " e f")


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        (SOURCE, 5),
        ("{{ text | shorten }} {{ text }} It was {{ label }}", 14),
        ("{% filter upper %}{{ text }}{% endfilter %} It was {{ label }}", 14),
        ("Always here: {{ text }} It was {{ label }}", 6),
    ],
)
def test_what_is_never_cut_must_fit(source, limit):
    instruction = "One." if source == SOURCE else None
    fit(source, numbered(10), Words(limit), instruction=instruction)
    with pytest.raises(PromptTooLongError, match=rf"has {limit} tokens after .* the model reads {limit - 1}\."):
        fit(source, numbered(10), Words(limit - 1), instruction=instruction)


def test_the_longest_label_word_must_fit():
    prompt = Template(SOURCE).prompt("x")
    assert fit_to_window(prompt, [()], ("good", "bad"), Words(4)).n_tokens == 4
    with pytest.raises(PromptTooLongError, match="has 7 tokens"):
        fit_to_window(prompt, [()], ("good", "bad and worse than bad"), Words(6))


def test_an_entailment_model_reads_the_premise_and_the_hypothesis():
    fitted = fit("{{ text }}\n\nIt is {{ label }}.", numbered(10), Words(9, "entailment"), kind="entailment")
    query = fitted.prompt.query(WORDS, kind="entailment")
    assert query.context == (Turn("premise", "w0 w1 w2 w3 w4 w5"),)
    assert query.prefix == "It is "


def test_a_length_that_is_known_is_not_measured_again():
    window = Words(14)
    assert fit(SOURCE, numbered(10), window, n_tokens=14).n_tokens == 14
    assert window.asked == 0
    assert fit(SOURCE, numbered(10), Words(13), n_tokens=14).n_cut == 1


@pytest.mark.parametrize(("side", "kept", "cut"), [("right", "ab", "😀é"), ("left", "é", "ab😀")])
def test_the_tokens_of_one_character_are_cut_together(side, kept, cut):
    fitted = fit(f"{{{{ text | shorten(side='{side}') }}}}|{{{{ label }}}}", "ab😀é", Bytes(8 + 1 + 4))
    assert fitted.prompt.prefix == kept + "|"
    assert fitted.cut_texts == (cut,)
    assert fitted.n_cut == len(cut.encode())


def test_a_token_without_text_does_not_stop_the_cut():
    class Prepended(Words):
        def token_ends(self, texts):  # as where a tokenizer puts a token before the text
            return [np.concatenate([[0], ends]) for ends in super().token_ends(texts)]

    for side, kept in (("left", " w4 It was "), ("right", "w0 It was ")):
        fitted = fit(f"{{{{ text | shorten(side='{side}') }}}} It was {{{{ label }}}}", numbered(5), Prepended(5))
        assert fitted.prompt.prefix == kept


PROPERTY_SOURCES = [
    "{{ a }} {{ b }} It was {{ label }}.",
    "{{ a | shorten }} It was {{ label }}. {{ b | shorten(2) }}",
    "A: {{ a | shorten(side='left') }}\nB: {{ b | shorten(0.3) }}\n{{ label }}",
    "A: {{ a | shorten(5, 'left') }}{{ b }} {{ label }}",
    "{% for x in a.split('w') %}{{ x | shorten }};{% endfor %}{{ b | shorten(side='left') }} {{ label }}",
]
texts = st.text(st.sampled_from(["w", "é", "😀", " ", "\n", ".", "\x00"]), max_size=40)


@pytest.mark.parametrize("window", [Words, Bytes])
@pytest.mark.parametrize("source", PROPERTY_SOURCES)
@given(a=texts, b=texts, limit=st.integers(1, 60), shots=st.integers(0, 2))
def test_the_result_fits_and_only_marked_fields_lost_an_end(source, window, a, b, limit, shots):
    template, row, model = Template(source, instruction="Say it."), {"a": a, "b": b}, window(limit)
    contexts = [template.context([(row, "good")] * k) for k in range(shots + 1)]
    prompt = template.prompt(row)
    try:
        fitted = fit_to_window(prompt, contexts, WORDS, model)
    except PromptTooLongError:
        bare = [piece._replace(text="") if piece.place.weight else piece for piece in prompt.pieces]
        assert model.lengths([type(prompt)(tuple(bare)).query(WORDS, contexts[0])])[0] > limit
        return
    shots_kept = fitted.n_demonstrations
    assert model.lengths([fitted.prompt.query(WORDS, contexts[shots_kept])])[0] == fitted.n_tokens <= limit
    if shots_kept < shots:
        assert model.lengths([prompt.query(WORDS, contexts[shots_kept + 1])])[0] > limit
    assert not (fitted.shortened and shots_kept)
    cut = []
    for old, new in zip(prompt.pieces, fitted.prompt.pieces, strict=True):
        assert old.place == new.place
        if old.text != new.text:
            assert old.place.weight
            left = old.place.side == "left"
            cut.append(old.text[: len(old.text) - len(new.text)] if left else old.text[len(new.text) :])
            assert (cut[-1] + new.text if left else new.text + cut[-1]) == old.text
    assert Counter(cut) == Counter(fitted.cut_texts)
    assert fitted.n_cut == sum(len(ends) for ends in model.token_ends(cut))
