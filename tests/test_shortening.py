"""Who gives how much where fields do not fit: stated token by token, and held on pair templates and real tokens."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewshot import Classifier, Embedding, FineTuning, Prompting, Template, gallery, load
from fewshot.errors import LabelMassWarning, ShortenedWarning
from fewshot.task.prompt import fit_to_window
from fewshot.task.shortening import kept_tokens
from tests.conftest import language_model, sentence_model

few = settings(max_examples=settings().max_examples // 2)  # where each example costs much
weights = st.floats(min_value=5e-324, max_value=1.7e308, allow_nan=False) | st.sampled_from([0.5, 1, 1, 2, 3])
fields = st.lists(st.tuples(st.integers(1, 40), weights, st.integers(0, 3)), min_size=1, max_size=5)


def taken_one_by_one(sizes, weights, fewest, room):
    """The definition: as long as too many are left, the heaviest field gives a token; its fewest are given last."""
    kept, shares = list(sizes), [weight / max(weights) for weight in weights]
    while sum(kept) > room:
        heavy = [w * n if n > f else -1.0 if n else -2.0 for n, w, f in zip(kept, shares, fewest, strict=True)]
        kept[max(range(len(kept)), key=lambda i: (heavy[i], i))] -= 1
    return kept


@given(fields=fields, room=st.integers(0, 120))
def test_the_heaviest_gives_first_token_by_token(fields, room):
    sizes, weights, fewest = zip(*fields, strict=True)
    fewest = [min(few, size) for few, size in zip(fewest, sizes, strict=True)]
    kept = kept_tokens(sizes, weights, fewest, room)
    assert kept == taken_one_by_one(sizes, weights, fewest, room)
    assert sum(kept) == min(sum(sizes), room)  # no more is cut than must be
    more = kept_tokens(sizes, weights, fewest, room + 1)
    assert all(a <= b for a, b in zip(kept, more, strict=True))
    if room >= sum(fewest):
        assert all(k >= few for k, few in zip(kept, fewest, strict=True))


words = st.lists(
    st.sampled_from(["parcel", "late", "naïve", "😀", "漢字", "e\u0301", "12.5", "\r\n", "a\x00b"]), max_size=40
)
KINDS = ["gpt2", "gpt2-chat", "llama", "llama-first", "bert", "roberta", "t5"]


@pytest.mark.parametrize("name", KINDS)
@given(a=words, b=words, share=st.floats(0.05, 1.2), side=st.sampled_from(["left", "right"]))
@few
def test_real_tokens_fit_and_no_more_is_cut_than_needed(name, a, b, share, side):
    lm = language_model(name)
    template = Template(f"A: {{{{ a | shorten(side='{side}') }}}}\nB: {{{{ b | shorten }}}}\nIt was {{{{ label }}}}.")
    prompt = template.prompt({"a": " ".join(a), "b": " ".join(b)})
    candidates = ("good", "very bad")
    (whole,) = lm.lengths([prompt.query(candidates)])
    (bare,) = lm.lengths([template.prompt({"a": "", "b": ""}).query(candidates)])

    class Narrow:
        limit = int(bare + share * (whole - bare)) + 3
        lengths, token_ends = lm.lengths, lm.token_ends

    fitted = fit_to_window(prompt, [()], candidates, Narrow())
    assert lm.lengths([fitted.prompt.query(candidates)])[0] == fitted.n_tokens <= max(Narrow.limit, whole)
    before, after = ([piece for piece in p.pieces if piece.place.kind == "field"] for p in (prompt, fitted.prompt))
    fixed = ([piece for piece in p.pieces if piece.place.kind != "field"] for p in (prompt, fitted.prompt))
    assert next(fixed) == next(fixed)
    if fitted.n_tokens < whole and fitted.n_cut:
        # a character of several tokens, and the seams that the cut makes, are the slack
        assert fitted.n_tokens >= Narrow.limit - 12
    sizes = [len(ends) for ends in lm.token_ends([piece.text for piece in after])]
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if new.text != old.text:
            assert old.text.endswith(new.text) if old.place.side == "left" else old.text.startswith(new.text)
            # the other one has hardly more, since the longest gave first; blanks and one character may be many tokens
            assert sizes[1 - i] <= max(sizes[i] + 6, 16)
            assert new.text.strip() or sum(sizes) < 16


PAIRS = [name for name in gallery.names() if name.startswith(("mnli/", "rte/", "qnli/"))]
PREMISE = "The parcel came late and nobody at the office could say why it did. " * 12
HYPOTHESES = ["Nobody knew the reason.", "The parcel was early.", "It rained in Paris on Monday."]


def probabilities(template, model, rows):
    clf = Classifier(model, template, strategy=Prompting()).fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ShortenedWarning, message=r".* tokens in the median\.$")
        warnings.filterwarnings("ignore", category=LabelMassWarning)
        return clf.predict_proba(rows), clf.preview(rows)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("model", ["bert", "gpt2"])
def test_a_pair_template_keeps_the_short_text_beside_a_long_one(name, model):
    long, short = ("text_b", "text_a") if name.startswith("qnli/") else ("text_a", "text_b")
    rows = [{long: PREMISE, short: text} for text in HYPOTHESES]
    found, shown = probabilities(gallery.get(name), language_model(model), rows)
    assert all(row.n_cut for row in shown)
    assert all(text[1:-1] in row.text for row, text in zip(shown, HYPOTHESES, strict=True))
    assert len(np.unique(found.round(9), axis=0)) == len(HYPOTHESES)


def test_the_warning_names_the_fields_that_nothing_is_left_of():
    template = Template("{{ a }} {{ b }} " + "word " * 50 + "{{ label }}", words={"n": "bad", "p": "good"})
    lm = language_model("gpt2")

    class Narrow:
        limit = int(lm.lengths([template.query({"a": "", "b": ""}, ["bad", "good"])])[0]) + 1
        fingerprint, kind = lm.fingerprint, lm.kind
        lengths, token_ends, loglikelihoods = lm.lengths, lm.token_ends, lm.loglikelihoods

    clf = Classifier(Narrow(), template, strategy=Prompting()).fit()
    row = {"a": "parcel", "b": "It came late."}
    warnings.filterwarnings("ignore", category=LabelMassWarning)
    with pytest.warns(ShortenedWarning, match=r"no room at all for the field '\w'.* in 1 of them"):
        clf.predict([row, {"a": "", "b": ""}])


def test_an_encoder_reads_the_short_field_beside_a_long_one():
    template = Template("{{ premise }} {{ hypothesis }}\n\nThe answer is {{ label }}.")
    rows = [{"premise": PREMISE * 2, "hypothesis": text} for text in HYPOTHESES]
    clf = Classifier(load(sentence_model()), template, strategy=Embedding()).fit(None, ["bad", "good"])
    with pytest.warns(ShortenedWarning, match="3 of 3 rows were cut") as caught:
        found = clf.predict_proba(rows)
    assert len(caught) == 1
    assert len(np.unique(found.round(9), axis=0)) == len(HYPOTHESES)
    for row, text in zip(clf.preview(rows), HYPOTHESES, strict=True):
        assert text in row.text
        assert row.n_cut > 0
        assert "".join(part.text for part in row.parts if part.kind in ("field", "cut")) == PREMISE * 2 + text


def test_a_tuned_layer_reads_the_short_field_beside_a_long_one():
    template = Template("{{ premise }} {{ hypothesis }}\n\nThe answer is {{ label }}.")
    rows = [{"premise": PREMISE * 2, "hypothesis": text} for text in HYPOTHESES]
    strategy = FineTuning(objective="head", steps=1)
    warnings.filterwarnings("ignore", message="A class has a single example")
    clf = Classifier(language_model("bert"), template, strategy=strategy, random_state=0)
    with pytest.warns(ShortenedWarning, match="6 of 6 texts exceed the model's window"):
        clf.fit([*rows, *rows], ["n", "p", "n"] * 2)
    with pytest.warns(ShortenedWarning, match="3 of 3 texts exceed the model's window"):
        found = clf.predict_proba(rows)
    assert len(np.unique(found.round(9), axis=0)) == len(HYPOTHESES)
