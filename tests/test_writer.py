"""Writer: texts that a model writes up to a stop text, demonstrations, confidence, kept, measured and documented."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fewshot import (
    Embedding,
    FakeLM,
    FewshotWarning,
    InputError,
    ParameterError,
    Prompting,
    Query,
    ShortenedWarning,
    Template,
    UnsupportedError,
    Writer,
    Written,
    estimate,
    load,
)
from fewshot.models.base import Turn
from fewshot.models.generating import generate_texts
from fewshot.models.text.stops import cut_at_stop
from fewshot.task.written import read_references
from tests.conftest import pair, sentence_model
from tests.kept import edited
from tests.lm_peers import DIALECTS, LMPeer, asking, serving_lm

TEMPLATE = "English: {{ text }}\nGerman: {{ answer }}"
ENGLISH = ["a dog runs", "a cat sleeps", "two dogs run", "the sun shines", "a dog sleeps"]
GERMAN = ["ein Hund läuft", "eine Katze schläft", "zwei Hunde laufen", "die Sonne scheint", "ein Hund schläft"]


def shout(query):
    """Answers with the last word before the line break, and goes on with a further demonstration."""
    source = query.prefix.rpartition("English: ")[2].splitlines()[0]
    return f" {source.upper()} \nEnglish: another\nGerman: noch eins"


@pytest.fixture
def lm():
    return FakeLM(lambda query: [-2.0 * len(query.candidates[0].split())], answer=shout)


@pytest.fixture(scope="module")
def encoder():
    return load(sentence_model())


def nearest(shots, encoder, **more):
    return Prompting(shots=shots, selection="nearest", encoder=encoder, **more)


def shown(writer, text):
    return [turn for role, turn in writer.preview([text])[0].context if role == "assistant"]


# what is written


def test_a_text_ends_before_the_next_demonstration(lm):
    writer = Writer(lm, TEMPLATE).fit()
    assert writer.predict(["a dog", "two cats"]) == ["A DOG", "TWO CATS"]
    assert writer.stop_ == ("\n",)
    assert (writer.n_texts_, writer.template_) == (0, Template(TEMPLATE))


def test_written_texts_have_the_mean_log_probability_of_a_token(lm):
    (one,) = Writer(lm, TEMPLATE).fit().predict_written(["a dog"])
    assert one == Written("A DOG")
    assert one.logprob == -2.0  # -4 over two tokens


def test_the_confidence_is_that_of_the_text_alone():
    asked = []
    lm = FakeLM(lambda query: [asked.append(query) or -1.0], answer=lambda query: ' Hund" .')
    writer = Writer(lm, '{{ text }} "{{ answer }}".').fit()
    assert writer.stop_ == ('".', "\n")
    assert writer.predict(["a dog"]) == [one.text for one in writer.predict_written(["a dog"])] == ['Hund" .']
    assert asked[-1] == Query('a dog "', ('Hund" .',))


def test_nothing_written_is_counted_and_has_no_confidence():
    lm = FakeLM(lambda query: [-1.0], answer=lambda query: "\nlater" if "dog" in query.prefix else "x")
    writer = Writer(lm, TEMPLATE).fit()
    with pytest.warns(FewshotWarning, match=r"1 of 2 texts are empty: .* stop=\('\\n',\)"):
        assert writer.predict_written(["a dog", "a cat"]) == [Written(""), Written("x")]
    with pytest.warns(FewshotWarning, match="1 of 1 texts are empty"):
        assert writer.predict_written(["dog"])[0].logprob is None


@pytest.mark.parametrize(
    ("template", "answers", "stop"),
    [
        (TEMPLATE, [], ("\n",)),
        (TEMPLATE, ["two\nlines"], ("\n\n",)),
        ('---\nseparator: "###"\n---\n' + TEMPLATE, ["two\nlines"], ("###",)),
        (TEMPLATE, ["two\n\nparagraphs"], ()),
        ("{{ text }} = ({{ answer }})\nand", [], (")", "\n")),
    ],
)
def test_what_ends_a_text_by_default(lm, template, answers, stop):
    X = ["a", "b"][: len(answers)] or None
    assert Writer(lm, template, strategy=Prompting(shots=len(answers))).fit(X, answers or None).stop_ == stop


def test_stop_texts_are_given_as_one_or_several(lm):
    assert Writer(lm, TEMPLATE, stop="DOG").fit().predict(["a dog"]) == ["A"]
    assert Writer(lm, TEMPLATE, stop=["OG", "A D"]).fit().predict(["go a dog"]) == ["GO"]
    whole = Writer(lm, TEMPLATE, stop=()).fit().predict(["a"])[0]
    assert whole == "A \nEnglish: another\nGerman: noch eins"


def test_a_text_that_holds_a_stop_is_said(lm):
    with pytest.warns(FewshotWarning, match=r"1 texts of y hold one of stop=\('un',\), such as y\[1\]"):
        Writer(lm, TEMPLATE, strategy=Prompting(shots=2), stop="un").fit(["a", "b"], ["x", "Hund"])


def test_a_model_without_stop_is_cut_afterwards():
    class Plain:
        fingerprint = "plain"

        def loglikelihoods(self, queries):
            raise AssertionError

        def generate(self, queries, max_new_tokens):
            return [f"{max_new_tokens} a\nb"] * len(queries)

    assert Writer(Plain(), TEMPLATE, max_new_tokens=7).fit().predict(["x"]) == ["7 a"]
    with pytest.raises(UnsupportedError, match="must write one text for each of 2 queries"):
        generate_texts(type("Bad", (Plain,), {"generate": lambda self, q, n: ["a"]})(), [Query("a", ("b",))] * 2, 3)


def test_cut_at_the_first_stop():
    assert cut_at_stop("abcabc", ["c", "bc"]) == "a"
    assert cut_at_stop("abc", ["x"]) == cut_at_stop("abc", []) == "abc"


# demonstrations


def test_the_nearest_rows_are_shown_and_never_the_row_itself(lm, encoder):
    writer = Writer(lm, TEMPLATE, strategy=nearest(2, encoder)).fit(ENGLISH, GERMAN)
    for text in [*ENGLISH, "a dog swims"]:
        numbers = writer.asking_.selector.select([text])[0]
        assert shown(writer, text) == [f"{GERMAN[i]}\n\n" for i in numbers]
        assert len(numbers) == 2
        assert text not in [ENGLISH[i] for i in numbers]


def test_without_a_strategy_the_nearest_are_shown_or_all(lm):
    writer = Writer(lm, TEMPLATE).fit(ENGLISH, GERMAN)
    assert repr(writer.strategy_) == "Prompting(selection='nearest', shots=5)"
    assert len(shown(writer, "a dog swims")) == 5
    assert len(shown(writer, ENGLISH[0])) == 4


def test_shared_demonstrations(lm):
    writer = Writer(lm, TEMPLATE, strategy=Prompting(shots=2, selection="first")).fit(ENGLISH, GERMAN)
    assert shown(writer, "x") == shown(writer, "y") == [f"{one}\n\n" for one in GERMAN[:2]]
    drawn = Writer(lm, TEMPLATE, strategy=Prompting(shots=3), random_state=0).fit(ENGLISH, GERMAN)
    assert len(shown(drawn, "x")) == 3  # "stratified", with one class
    assert shown(drawn, "x") == shown(clone(drawn).fit(ENGLISH, GERMAN), "x")


def test_the_first_reference_is_shown(lm):
    many = [[one, "other"] for one in GERMAN]
    writer = Writer(lm, TEMPLATE, strategy=Prompting(shots=1, selection="first")).fit(ENGLISH, many)
    assert shown(writer, "x") == ["ein Hund läuft\n\n"]


def test_rows_of_fields(lm):
    template = "To: {{ who }}\nEnglish: {{ en }}\nGerman: {{ answer }}"
    frame = pd.DataFrame({"who": ["Ada", "Bob"], "en": ["a dog", "a cat"], "de": GERMAN[:2]})
    writer = Writer(lm, template, strategy=Prompting(shots=2, selection="first")).fit(frame, frame["de"])
    assert writer.predict(frame) == ["A DOG", "A CAT"]
    text = writer.preview([{"who": "Eve", "en": "two dogs"}])[0].text
    assert text == (
        "To: Ada\nEnglish: a dog\nGerman: ein Hund läuft\n\nTo: Bob\nEnglish: a cat\nGerman: eine Katze schläft\n\n"
        "To: Eve\nEnglish: two dogs\nGerman: ___"
    )


def test_prompts_leave_room_for_the_text():
    lm = FakeLM(lambda query: [-1.0], answer=lambda query: "x", limit=40)
    writer = Writer(lm, TEMPLATE, strategy=Prompting(shots=3, selection="first"), max_new_tokens=24)
    writer.fit(ENGLISH, GERMAN)
    with pytest.warns(ShortenedWarning, match="window of 40 tokens, 1 of 1 rows show fewer than 3 demonstrations"):
        writer.predict(["a dog swims"])
    (row,) = writer.preview(["a dog swims"])
    assert row.n_tokens + 24 <= 40
    assert row.n_demonstrations == 1
    assert "candidates" not in str(writer.preview("a dog swims"))


def test_max_shot_tokens_limits_demonstrations(lm):
    strategy = Prompting(shots=3, selection="first", max_shot_tokens=12)
    writer = Writer(lm, TEMPLATE, strategy=strategy).fit(ENGLISH, GERMAN)
    assert len(shown(writer, "x")) == 1


# models


@pytest.fixture(scope="module", params=["packed", "rows"])
def causal(request):
    made = load(pair("gpt2"))
    if request.param == "rows":
        made.__dict__["_packed"] = None
    return made


def test_a_causal_model_stops_where_generate_would_be_cut(causal):
    """Equal to all that transformers generates, cut afterwards, for stops in the middle of what it says."""
    texts = ["a dog", "the invoice", "I was charged twice", "Great", "it crashes when I save"]
    queries = [Query(f"English: {text}\nGerman:", (".",)) for text in texts]
    whole = causal.generate(queries, 24)
    ids = [causal.tokenizer(query.prefix, return_tensors="pt").input_ids for query in queries]
    expected = [
        causal.tokenizer.decode(
            causal.model.generate(one, max_new_tokens=24, do_sample=False)[0, one.shape[1] :], skip_special_tokens=True
        )
        for one in ids
    ]
    assert whole == expected
    assert all(len(text) > 6 for text in whole)
    for at in (0, 2, 5):
        stops = [text[at : at + 2] for text in whole]
        for stop in stops:
            assert causal.generate(queries, 24, [stop]) == [cut_at_stop(text, [stop]) for text in whole]


def test_no_token_is_computed_after_the_stop(causal, monkeypatch):
    query = Query("English: a dog\nGerman:", (".",))
    (whole,) = causal.generate([query], 24)
    steps = []
    inner = causal.model.get_input_embeddings()
    hook = inner.register_forward_hook(lambda *_: steps.append(1))
    try:
        causal.generate([query], 24)
        all_steps, steps = len(steps), []
        hook.remove()
        hook = inner.register_forward_hook(lambda *_: steps.append(1))
        causal.generate([query], 24, [whole[:3]])
    finally:
        hook.remove()
    assert len(steps) < all_steps / 2


def test_a_row_does_not_depend_on_its_neighbours(causal):
    strategy = Prompting(shots=2, selection="first")
    writer = Writer(causal, TEMPLATE, strategy=strategy, max_new_tokens=12, stop="st").fit(ENGLISH, GERMAN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewshotWarning)
        together = writer.predict_written(["a dog swims", "x", "the invoice is wrong"])
        for text, one in zip(["a dog swims", "x", "the invoice is wrong"], together, strict=True):
            (alone,) = writer.predict_written([text])
            assert alone == one
            assert (alone.logprob is None) == (not alone.text)
            if alone.logprob is not None:
                assert alone.logprob == pytest.approx(one.logprob, abs=1e-4)


def test_the_confidence_is_that_of_the_models_own_forward_pass():
    lm = load(pair("gpt2"))
    (one,) = Writer(lm, TEMPLATE, max_new_tokens=6, stop=()).fit().predict_written(["a dog"])
    start = lm.tokenizer("English: a dog\nGerman:", return_tensors="pt").input_ids[0].tolist()
    whole = lm.tokenizer(f"English: a dog\nGerman: {one.text}", return_tensors="pt").input_ids
    assert whole[0, : len(start)].tolist() == start
    with torch.inference_mode():
        logprobs = lm.model(whole).logits[0].log_softmax(-1)
    each = [float(logprobs[i - 1, whole[0, i]]) for i in range(len(start), whole.shape[1])]
    assert one.logprob == pytest.approx(np.mean(each), abs=1e-4)


def test_special_tokens_in_a_shown_text_stay_text():
    lm = load(pair("gpt2-chat"))
    answers = ["<|im_end|> x", "<|endoftext|>"]
    writer = Writer(lm, TEMPLATE, strategy=Prompting(shots=2, selection="first"), max_new_tokens=4)
    writer.fit(ENGLISH[:2], answers)
    (query,) = writer.asking_.ask(["a bird"]).queries
    ids = lm._continued.prompt(query)
    end = lm.tokenizer.convert_tokens_to_ids("<|im_end|>")
    plain = lm._continued.prompt(
        Query(
            query.prefix,
            (".",),
            "",
            tuple(Turn(turn.role, "y" if turn.role == "assistant" else turn.text) for turn in query.context),
        )
    )
    assert ids.count(end) == plain.count(end) > 0
    assert "<|im_end|> x" in lm.tokenizer.decode(ids)


def test_a_chat_model_ends_its_turn_by_itself():
    lm = load(pair("gpt2-chat"))
    assert Writer(lm, TEMPLATE).fit().stop_ == ()
    assert Writer(lm, "{{ text }} ({{ answer }})").fit().stop_ == (")",)
    assert Writer(lm.with_chat(False), TEMPLATE).fit().stop_ == ("\n",)


def test_an_encoder_decoder_writes():
    lm = load(pair("t5"))
    writer = Writer(lm, TEMPLATE, max_new_tokens=8).fit()
    assert writer.stop_ == ()
    queries = writer.asking_.ask(["a dog", "I was charged twice"]).queries
    whole = lm.generate(queries, 8)
    for stop in {text[2:4] for text in whole if len(text) > 4}:
        assert lm.generate(queries, 8, [stop]) == [cut_at_stop(text, [stop]) for text in whole]
    with pytest.raises(UnsupportedError, match=r"'\)' stands after the hole"):
        Writer(lm, "{{ text }} ({{ answer }})").fit()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_server_writes_the_same_and_says_its_price(dialect):
    with serving_lm(LMPeer(dialect)) as peer:
        there = asking(peer)
        strategy = Prompting(shots=2, selection="first")
        whole = Writer(peer.lm, TEMPLATE, strategy=strategy, max_new_tokens=8, stop=()).fit(ENGLISH, GERMAN)
        stop = whole.predict(["a bird"])[0][3:5]
        texts = ["a bird", "the sun"]
        here, far = (clone(whole).set_params(model=lm, stop=stop).fit(ENGLISH, GERMAN) for lm in (peer.lm, there))
        said, before = estimate(far, texts), there.usage
        assert far.predict(texts) == here.predict(texts)
        assert said.requests == there.usage.requests - before.requests == 2
        assert said.output_tokens >= there.usage.output_tokens - before.output_tokens
        expected = [one.logprob for one in here.predict_written(texts)]
        assert [one.logprob for one in far.predict_written(texts)] == pytest.approx(expected, abs=1e-3)


# what is refused


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"template": None}, ParameterError, "template is missing"),
        ({"verbalizer": {"a": "b"}}, ParameterError, "A Writer has no classes"),
        ({"max_new_tokens": 0}, ParameterError, "max_new_tokens"),
        ({"stop": ["a", ""]}, ParameterError, "none of them empty"),
        ({"stop": ""}, ParameterError, "none of them empty"),
        ({"strategy": Embedding()}, ParameterError, r"strategy must be Prompting\(...\) or None"),
        ({"strategy": Prompting(calibration="pmi")}, UnsupportedError, "calibration='pmi' is about scores of"),
        ({"strategy": Prompting(order="lowest bias")}, UnsupportedError, "order='lowest bias'"),
        ({"strategy": Prompting(max_shot_tokens=0)}, ParameterError, "max_shot_tokens"),
        ({"strategy": Prompting(shots=3)}, InputError, "needs labelled rows"),
        ({"template": "generic/causal"}, UnsupportedError, "shows what may fill its hole"),
        ({"template": "generic/letters"}, UnsupportedError, "shows what may fill its hole"),
        ({"template": "generic/answer"}, UnsupportedError, "shows what may fill its hole"),
    ],
)
def test_parameters_that_are_refused(lm, parameters, error, message):
    with pytest.raises(error, match=message):
        Writer(lm, **{"template": TEMPLATE, **parameters}).fit()


def test_models_that_write_nothing(encoder):
    with pytest.raises(UnsupportedError, match="can't write text: give a causal or an encoder-decoder"):
        Writer(encoder, TEMPLATE).fit()
    with pytest.raises(UnsupportedError, match="can't write text"):
        Writer(load("http://127.0.0.1:9/v1", model="m", api="chat"), TEMPLATE).fit()


def test_a_field_after_the_hole_is_refused(lm):
    writer = Writer(lm, "{{ answer }} is what {{ text }} means").fit()
    with pytest.raises(UnsupportedError, match="has a field after its hole"):
        writer.predict(["a dog"])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (None, ["a"], "X is missing"),
        (["a"], None, "y is missing"),
        (["a"], "b", "y must be a list"),
        (["a", "b"], ["c"], "X has 2 rows and y has 1"),
        (["a", "b"], ["c", " "], r"y\[1\] must be text, or a list of texts. Got ' '"),
        (["a", "b"], ["c", None], r"y\[1\] must be text"),
        (["a", "b"], [["c"], []], r"y\[1\] is empty"),
        (["a", "b"], [["c", 3], ["d"]], r"y\[0\] must be text.* Got 3"),
    ],
)
def test_rows_that_are_refused(lm, X, y, message):
    with pytest.raises(InputError, match=message):
        Writer(lm, TEMPLATE).fit(X, y)


def test_a_failed_fit_leaves_the_previous_state(lm):
    writer = Writer(lm, TEMPLATE).fit()
    before = vars(writer).copy()
    with pytest.raises(InputError):
        writer.fit(["a"], [""])
    assert vars(writer) == before
    with pytest.raises(NotFittedError):
        Writer(lm, TEMPLATE).predict(["a"])


def test_a_prediction_is_a_valid_y(lm):
    writer = Writer(lm, TEMPLATE).fit()
    written = writer.predict_written(ENGLISH)
    assert read_references(written, 5) == [(text,) for text in writer.predict(ENGLISH)]
    assert writer.score(ENGLISH, writer.predict(ENGLISH)) == 100.0


# kept


@pytest.mark.parametrize("selection", ["first", "nearest", "mmr", None])
def test_a_kept_writer_writes_the_same(tmp_path, lm, encoder, selection):
    strategy = None if selection is None else Prompting(shots=2, selection=selection, encoder=encoder)
    X, y = (None, None) if selection is None else (ENGLISH, GERMAN)
    writer = Writer(lm, TEMPLATE, strategy=strategy, max_new_tokens=9).fit(X, y)
    again = Writer.load(writer.save(tmp_path / "w"), model=[lm, encoder][: 1 if selection in (None, "first") else 2])
    for text in ("a dog swims", ENGLISH[1]):
        assert again.preview(text)[0].text == writer.preview(text)[0].text
    assert again.predict_written(["a dog"]) == writer.predict_written(["a dog"])
    assert (again.stop_, again.n_texts_, again.max_new_tokens) == (writer.stop_, writer.n_texts_, 9)
    card = (tmp_path / "w/README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "writer = Writer.load(" in card
    assert 'ends before `"\\n"`' in card
    if selection == "first":  # of the rows that are never shown, nothing is kept
        assert "holds 2 of the labelled texts" in card
        assert "Sonne" not in "".join(path.read_text() for path in (tmp_path / "w").glob("*.json"))


def test_a_kept_causal_model_writes_the_same(tmp_path):
    writer = Writer(load(pair("gpt2")), TEMPLATE, max_new_tokens=6, stop=()).fit()
    assert Writer.load(writer.save(tmp_path / "w")).predict(["a dog"]) == writer.predict(["a dog"])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda asking, labels: asking.update(room=0), "leaves 0 tokens"),
        (lambda asking, labels: labels.pop(), "other labels than rows"),
        (lambda asking, labels: labels[0].__setitem__(1, 3), "shows an answer that is no text"),
    ],
)
def test_a_changed_folder_is_refused(tmp_path, lm, edit, message):
    writer = Writer(lm, TEMPLATE, strategy=Prompting(shots=2, selection="first")).fit(ENGLISH, GERMAN)
    folder = writer.save(tmp_path / "w")

    def change(config):
        (asking,) = [one["attributes"] for one in config["nodes"] if one.get("object") == "FreeAsking"]
        edit(asking, config["nodes"][asking["_labels"]["ref"]]["dict"])

    edited(folder, change)
    with pytest.raises(InputError, match=message):
        Writer.load(folder, model=lm)


def test_a_pickled_writer_writes_the_same():
    writer = Writer(load(pair("gpt2")), TEMPLATE, max_new_tokens=6, stop=()).fit()
    assert pickle.loads(pickle.dumps(writer)).predict(["a dog"]) == writer.predict(["a dog"])


@pytest.mark.parametrize("stop", [3, "", ["a", ""], [1]])
def test_a_stop_that_is_no_text_is_named(stop):
    with pytest.raises(InputError, match=r"stop must be a text or a list of texts, none of them empty\. Got "):
        Writer(load(pair("gpt2")), TEMPLATE, stop=stop).fit()
