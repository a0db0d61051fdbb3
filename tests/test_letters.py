"""Templates whose answers are letters: in any order a letter's score is that of the class of its line."""

from __future__ import annotations

from itertools import product
from string import ascii_uppercase

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from fewshot import (
    Auto,
    AutomaticVerbalizer,
    Channel,
    Classifier,
    Embedding,
    FakeLM,
    FineTuning,
    Prompting,
    Query,
    Readout,
    Template,
    TemplateError,
    UnsupportedError,
    Verbalizer,
    VerbalizerError,
    gallery,
    lint,
    load,
)
from fewshot.calibration import PMI, Batch, Contextual
from fewshot.evaluation import coherence
from fewshot.models.base import Turn
from fewshot.task.label_orders import label_orders
from tests.architectures import brute_force
from tests.conftest import language_model
from tests.own_choices import lm, score

#: Random weights expect no letter.
pytestmark = pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")

NAME = "generic/letters"
WORDS = ["billing", "bug report", "praise"]
TEXTS = ["I was charged twice", "The app crashed again", "Lovely work", "A refund, please", "It hangs", "Thank you all"]
CLASSES = WORDS * 2
INSTRUCTED = (
    '---\nanswers: letters\ninstruction: "{% for one in labels %}{{ letters[one] }} is {{ one }}. {% endfor %}"\n---\n'
    "{{ text }} It is {{ label }}."
)


def prompt(text, listing, letter=""):
    """The prompt as it should be, written by hand."""
    lines = "".join(f"{ascii_uppercase[i]}. {word}\n" for i, word in enumerate(listing))
    return f"Text: {text}\nCategories:\n{lines}Answer: {letter}"


def asked(text, words, shown=(), n_orders=1):
    """For each order of the listed words the query by hand, and for each class the place of its letter there."""
    found = []
    for order in label_orders(len(words), n_orders):
        listing = [words[i] for i in order]
        context = []
        for row, name in shown:
            letter = ascii_uppercase[listing.index(name)]
            context += [Turn("user", prompt(row, listing)), Turn("assistant", f"{letter}\n\n")]
        letters = tuple(ascii_uppercase[: len(words)])
        places = [listing.index(word) for word in words]
        found.append((Query(prompt(text, listing), letters, "", tuple(context)), places))
    return found


def by_hand(text, words=WORDS, shown=(), n_orders=1, say=score):
    """The score of each class in each order, (n_orders, n_classes)."""
    return np.array([np.array(say(query))[places] for query, places in asked(text, words, shown, n_orders)])


def classifier(model=None, words=None, template=NAME, **params):
    return Classifier(model or lm(), template, words, Prompting(**params), random_state=0)


@pytest.mark.parametrize(("n", "orders"), product([2, 3, 26], [1, 2, 5, "all"]))
def test_a_class_has_the_score_of_its_letter_in_each_order(n, orders):
    words = [f"class {i:02}" for i in range(n)]
    clf = classifier(orders=orders).fit(None, words)
    wanted = [log_softmax(by_hand(text, words, n_orders=orders).mean(axis=0)) for text in TEXTS]
    assert clf.classes_.tolist() == words
    np.testing.assert_allclose(clf.predict_log_proba(TEXTS), wanted, atol=1e-12)


@pytest.mark.parametrize("orders", [1, 4])
def test_demonstrations_are_answered_by_the_letter_of_their_own_list(orders):
    clf = classifier(shots=3, orders=orders).fit(TEXTS, CLASSES)
    shown = [(TEXTS[i], CLASSES[i]) for i in clf.strategy_.demonstrations_]
    new = [f"{text}?" for text in TEXTS]
    wanted = [log_softmax(by_hand(text, shown=shown, n_orders=orders).mean(axis=0)) for text in new]
    np.testing.assert_allclose(clf.predict_log_proba(new), wanted, atol=1e-12)


@pytest.mark.parametrize("name", ["llama", "gpt2-chat", "bert", "t5"])
def test_of_a_real_model_it_is_that_of_one_sequence_at_a_time(name):
    model = load(language_model(name))
    clf = classifier(model, orders="all", shots=0).fit(None, WORDS)
    wanted = []
    for text in TEXTS[:2]:
        each = [brute_force(model, query)[places] for query, places in asked(text, WORDS, n_orders="all")]
        wanted.append(log_softmax(np.mean(each, axis=0)))
    np.testing.assert_allclose(clf.predict_log_proba(TEXTS[:2]), wanted, atol=2e-4)


def test_a_calibration_takes_the_mean_over_orders_class_by_class():
    clf = classifier(orders=4, calibration=Contextual(["N/A", ""])).fit(None, WORDS)
    each = [by_hand(text, n_orders=4).mean(axis=0) for text in ("N/A", "")]
    prior = logsumexp(log_softmax(each, axis=1), axis=0) - np.log(2)
    np.testing.assert_allclose(clf.strategy_.calibration_.log_prior_, prior, atol=1e-12)
    wanted = log_softmax([by_hand(text, n_orders=4).mean(axis=0) - prior for text in TEXTS], axis=1)
    np.testing.assert_allclose(clf.predict_log_proba(TEXTS), wanted, atol=1e-12)


@pytest.mark.parametrize("calibration", [Batch(), PMI("Answer: "), "learned", "temperature"], ids=repr)
def test_other_calibrations_go_on(calibration):
    clf = classifier(orders=2, calibration=calibration).fit(TEXTS, CLASSES)
    assert np.isfinite(clf.predict_log_proba(TEXTS)).all()


def test_levels_are_listed_in_their_order():
    words = Verbalizer({"poor": "bad", "fair": "okay", "good": "great"}, ordered=True)
    clf = classifier(words=words).fit()
    said = by_hand(TEXTS[0], ["bad", "okay", "great"])[0]
    assert clf.classes_.tolist() == ["fair", "good", "poor"]
    np.testing.assert_allclose(clf.predict_log_proba(TEXTS[:1])[0], log_softmax(said[[1, 2, 0]]), atol=1e-12)


def test_the_list_may_stand_in_the_instruction_and_text_after_the_hole():
    clf = classifier(template=INSTRUCTED, orders=2).fit(None, WORDS)
    (queries,) = clf.strategy_.askings_[0].ask(["x"]).forms
    assert queries[0].context[0].text == "A is billing. B is bug report. C is praise. \n\n"
    assert queries[1].context[0].text == "A is praise. B is bug report. C is billing. \n\n"
    assert [query.candidates for query in queries] == [("A", "B", "C"), ("C", "B", "A")]
    wanted = log_softmax(np.mean([score(query) for query in queries], axis=0))
    np.testing.assert_allclose(clf.predict_log_proba(["x"])[0], wanted, atol=1e-12)


def test_descriptions_stand_in_the_list():
    clf = classifier().fit(None, {"billing": "charges, invoices", "praise": None})
    assert clf.preview(["x"])[0].text.endswith("A. billing: charges, invoices\nB. praise\nAnswer: ___")


def test_a_wording_beside_it_is_asked_for_its_words():
    both = classifier(template=[NAME, "generic/listed"]).fit(None, WORDS)
    alone = [classifier(template=name).fit(None, WORDS).predict_log_proba(TEXTS) for name in (NAME, "generic/listed")]
    np.testing.assert_allclose(both.predict_log_proba(TEXTS), log_softmax(np.mean(alone, axis=0), axis=1), atol=1e-12)


def test_bytes_are_those_of_the_letter():
    words = {"a": "billing", "b": "a much longer name"}
    clf = classifier(words=Verbalizer(words, token_aggregation="per-byte")).fit()
    plain = classifier(words=words).fit()
    assert (clf.predict_proba(TEXTS) == plain.predict_proba(TEXTS)).all()


def test_what_is_shown_of_it():
    clf = classifier(orders=2, shots=1).fit(TEXTS, CLASSES)
    preview = clf.preview(["x"])
    assert preview.candidates == ("A", "B", "C")
    said = str(clf.explain("x"))
    assert "bug report  'B'" in said
    report = lint(gallery.get(NAME), lm(), ["x"], WORDS)
    assert [(line.label, line.word) for line in report.words] == list(zip(WORDS, "ABC", strict=True))
    assert not report.findings


def test_a_kept_folder_answers_alike(tmp_path):
    model = language_model("gpt2")
    clf = classifier(model, orders=2, shots=2, calibration="batch").fit(TEXTS, CLASSES)
    clf.save(tmp_path / "kept")
    again = Classifier.load(tmp_path / "kept", model=load(model))
    np.testing.assert_array_equal(again.predict_proba(TEXTS), clf.predict_proba(TEXTS))


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("B", "bug report"),
        ("b.", "bug report"),
        ("B. bug report", "bug report"),
        ("The answer is C", "praise"),
        ("bug report", "bug report"),
        ("A. praise", None),
        ("A or B", None),
        ("A dog", None),
    ],
)
def test_a_written_answer_is_a_letter_or_the_word(answer, name):
    model = FakeLM(lambda query: [0.0, 0.0, 1.0])
    model.generate = lambda queries, max_new_tokens, stop=(): [answer for _ in queries]
    clf = classifier(model, read="generate").fit(None, WORDS)
    if name is None:
        with pytest.warns(UserWarning, match="name no class"):
            assert clf.predict(["x"]) == ["praise"]
    else:
        assert clf.predict(["x"]) == [name]


@pytest.mark.filterwarnings("ignore::fewshot.errors.ShortenedWarning")
@pytest.mark.parametrize("strategy", [Auto(), Readout(), FineTuning(steps=2)], ids=["auto", "readout", "fine-tuning"])
def test_other_strategies_ask_for_letters(strategy):
    clf = Classifier(language_model("llama"), NAME, strategy=strategy, random_state=0).fit(TEXTS * 2, CLASSES * 2)
    assert np.isfinite(clf.predict_log_proba(TEXTS)).all()


def test_channel_conditions_on_the_letter():
    first = "---\nanswers: letters\ninstruction: {}\n---\n{{{{ label }}}}: {{{{ text }}}}".format(
        '"{% for one in labels %}{{ letters[one] }} is {{ one }}. {% endfor %}"'
    )
    model = FakeLM(lambda query: [float(query.prefix.startswith("B")) for _ in query.candidates])
    clf = Classifier(model, first, strategy=Channel()).fit(None, WORDS)
    assert clf.predict(["x"]) == ["bug report"]
    assert "'B'" in str(clf.explain("x"))


def test_an_encoder_compares_with_the_words():
    from tests.conftest import sentence_model

    clf = Classifier(sentence_model(), NAME, strategy=Embedding()).fit(None, WORDS)
    said = Classifier(sentence_model(), "{{ text }} Answer: {{ label }}", strategy=Embedding()).fit(None, WORDS)
    np.testing.assert_allclose(clf.predict_proba(TEXTS), said.predict_proba(TEXTS), atol=1e-6)


def test_how_much_it_hangs_on_the_order_is_measured():
    """A model that likes one class changes nothing with the order, one that likes a letter does."""
    likes = FakeLM(lambda query: [3.0 * (f"{letter}. praise" in query.prefix) for letter in query.candidates])
    lazy = FakeLM(lambda query: [3.0 * (letter == "A") for letter in query.candidates])
    found = [coherence(classifier(model).fit(None, WORDS), TEXTS).relations for model in (likes, lazy)]
    moved = [relations.loc["reversed options", "flips"] for relations in found]
    assert moved == [0.0, 1.0]


def test_what_it_refuses():
    with pytest.raises(TemplateError, match=r"26 classes at most, A to Z\. Got 27"):
        classifier().fit(None, [f"class {i}" for i in range(27)])
    with pytest.raises(VerbalizerError, match=r"the class 'a' has the label words \['x', 'y'\]: give it one"):
        classifier(words={"a": ["x", "y"], "b": "z"}).fit()
    with pytest.raises(TemplateError, match=r"needs the field \{\{ candidate \}\}"):
        classifier(words=Verbalizer(["x", "y"], multi_label=True)).fit(None, ["x", "y"])
    with pytest.raises(UnsupportedError, match="does not read the list that says what they mean"):
        classifier(language_model("nli")).fit(None, WORDS)
    with pytest.raises(VerbalizerError, match="there are no label words to find"):
        classifier(language_model("bert"), words=AutomaticVerbalizer(2)).fit(TEXTS, CLASSES)
    for source in (
        "{{ text }} {{ label }}",
        "{{ labels }} {{ text }} {{ label }}",
        "{{ letters }} {{ text }} {{ label }}",
    ):
        with pytest.raises(TemplateError, match="list them all"):
            Template(f"---\nanswers: letters\n---\n{source}")
    listed = gallery.get(NAME).source.replace("Text: ", "{{ candidate }} ")
    with pytest.raises(TemplateError, match=r"without \{\{ candidate \}\}"):
        Template(listed)
    with pytest.raises(TemplateError, match=r"or letters\. Got 'numbers'"):
        Template("---\nanswers: numbers\n---\n{{ text }} {{ label }}")
    with pytest.raises(TemplateError, match="give 'answers' or 'choices'"):
        Template(
            gallery.get(NAME).source.replace("answers:", "choices: options\nanswers:").replace("descriptions: {}\n", "")
        )
    assert "27" in str(lint(gallery.get(NAME), lm(), ["x"], [f"class {i}" for i in range(27)]))


def test_letters_is_a_field_elsewhere():
    template = Template("{{ letters }} {{ label }}")
    assert template.fields == ("letters",)
    assert not template.by_letter
