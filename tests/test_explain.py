"""Explanations: they are of the prediction, for words, vectors and several labels, and text in them is never markup."""

from __future__ import annotations

import html
import re
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.exceptions import NotFittedError

from fewshot import (
    Auto,
    Channel,
    Classifier,
    Embedding,
    FakeLM,
    InputError,
    Prompting,
    Readout,
    Template,
    UnsupportedError,
)
from fewshot.display.explanation import ClassLine, Explanation, Neighbor
from fewshot.display.preview import strip_controls
from fewshot.errors import NoAnswerWarning
from fewshot.evaluation import compare, evaluate, learning_curve
from fewshot.models.base import Scores
from tests.contract import NEW, HashEncoder, data, every_case
from tests.moods import REVIEW, WORDS, classifier, moods

ATTACK = "<script>alert('1')</script> & <b onclick=\"x\">bold</b>"


def probabilities(explanation):
    return [one.probability for one in explanation.classes]


# --- an explanation is of the prediction -----------------------------------------------------------


@every_case
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_classes_have_the_probabilities_of_the_prediction(make, n_classes):
    clf = make().fit(*data(n_classes))
    for text in NEW[:3]:
        shown = clf.explain(text)
        assert [one.label for one in shown.classes] == clf.classes_.tolist()
        np.testing.assert_allclose(probabilities(shown), clf.predict_proba([text])[0], rtol=1e-12)
        assert shown.predicted == clf.predict([text])[0]
        assert all(question.prompt == clf.preview([text])[0] for question in shown.questions[:1])
        for rendered in (str(shown), repr(shown)):
            assert rendered.startswith(f"{shown.predicted} (")
            assert text in rendered
        assert text in shown._repr_html_()


def test_the_shares_of_the_words_before_and_after_calibration():
    clf = classifier(Prompting(calibration="contextual")).fit()
    plain = classifier().fit()
    (question,) = (shown := clf.explain("so much fun")).questions
    (query,) = clf.strategy_.askings_[0].ask(["so much fun"]).queries
    logprobs = np.array(moods(query))
    prior = clf.strategy_.calibration_.log_prior_
    assert [(line.label, line.word) for line in question.words] == [
        ("bad", "awful"), ("good", "lovely"), ("good", "great")
    ]  # fmt: skip
    np.testing.assert_allclose([line.logprob for line in question.words], logprobs)
    np.testing.assert_allclose([line.share for line in question.words], softmax(logprobs))
    np.testing.assert_allclose([line.calibrated for line in question.words], softmax(logprobs - prior))
    np.testing.assert_allclose([one.before for one in shown.classes], plain.predict_proba(["so much fun"])[0])
    assert {one.before for one in plain.explain("so much fun").classes} == {None}
    assert "before calibration" in str(shown)
    assert "before calibration" not in str(plain.explain("so much fun"))
    assert f"'awful'   {np.exp(logprobs[0]):.2g} " in str(shown)


def test_the_label_mass():
    lm = FakeLM(lambda query: Scores(np.log([0.2, 0.3, 0.1]), np.ones(3, dtype=int), 0.6))
    shown = Classifier(lm, REVIEW, WORDS, Prompting()).fit().explain("fun")
    assert shown.questions[0].mass == 0.6
    assert "\n5 tokens, label mass 0.6\n" in str(shown)
    assert "label mass 0.6" in shown._repr_html_()
    assert classifier().fit().explain("fun").questions[0].mass is None


def test_several_wordings_are_several_questions():
    wordings = [REVIEW, "{{ text }} All in all {{ label }}"]
    clf = classifier(Prompting(calibration="contextual", ensemble="learned"), wordings)
    clf.fit(["fun", "dull", "fun fun", "grey"], ["good", "bad", "good", "bad"])
    shown = clf.explain("some fun")
    np.testing.assert_allclose(probabilities(shown), clf.predict_proba(["some fun"])[0])
    assert [question.prompt.text for question in shown.questions] == [
        "Review: some fun\nIt was ___.",
        "some fun All in all ___",
    ]
    assert "\n\n[0] 6 tokens\nReview" in str(shown)
    assert str(shown).endswith("\n\n[1] 6 tokens\nsome fun All in all ___")
    each = [one.class_scores(one.ask(["some fun"])) for one in clf.strategy_.askings_]
    assert not np.allclose(each[0], each[1])


def test_a_row_is_asked_about_once():
    asked = []

    def score(query):
        asked.append(query)
        return moods(query)

    clf = Classifier(FakeLM(score), [REVIEW, "{{ text }} {{ label }}"], WORDS, Prompting()).fit()
    clf.explain("fun")
    assert len(asked) == 2


def test_a_generated_answer_is_told():
    lm = {"answer": lambda query: "lovely" if "fun" in query.prefix else "who knows"}
    clf = classifier(Prompting(read="generate"), **lm).fit()
    shown = clf.explain("fun")
    assert shown.notes == ("The model wrote 'lovely'.",)
    assert shown.before == "by the scores"
    np.testing.assert_allclose(probabilities(shown), clf.predict_proba(["fun"])[0])
    np.testing.assert_allclose([one.before for one in shown.classes], classifier().fit().predict_proba(["fun"])[0])
    assert str(shown).endswith("note: The model wrote 'lovely'.")
    assert html.escape("The model wrote 'lovely'.") in shown._repr_html_()
    with pytest.warns(NoAnswerWarning):
        assert clf.explain("dull").notes == ("The model wrote 'who knows'.",)


def test_a_readout_beside_what_the_words_say_alone():
    clf = classifier(Readout("labels")).fit(["fun", "dull", "fun fun", "grey"], ["good", "bad", "good", "bad"])
    shown = clf.explain("fun")
    assert shown.before == "by the label words alone"
    np.testing.assert_allclose([one.before for one in shown.classes], classifier().fit().predict_proba(["fun"])[0])
    np.testing.assert_allclose(probabilities(shown), clf.predict_proba(["fun"])[0])


def test_a_channel_explains_the_text_by_the_words():
    lm = FakeLM(lambda query: [-20.0 - 5.0 * ("awful" in query.prefix) * ("fun" in query.candidates[0])])
    clf = Classifier(lm, "A {{ label }} review: {{ text }}", WORDS, Channel()).fit()
    shown = clf.explain("so much fun")
    (question,) = shown.questions
    assert [line.logprob for line in question.words] == [-25.0, -20.0, -20.0]
    np.testing.assert_allclose([line.share for line in question.words], softmax([-25.0, -20.0, -20.0]))
    np.testing.assert_allclose(probabilities(shown), clf.predict_proba(["so much fun"])[0])
    assert "log-probability of the text" in str(shown)
    assert "-25.00" in str(shown)


LABELS = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize("kind", ["causal", "masked", "entailment"])
def test_several_labels_a_text(kind):
    y = pd.DataFrame(LABELS, columns=["praise", "billing", "bug report"])
    lm = FakeLM(lambda query: [-0.3 - i - ("fun" in query.prefix) for i in range(len(query.candidates))], kind=kind)
    clf = Classifier(lm).fit(["a", "b", "c", "d"], y)
    shown = clf.explain("fun")
    assert [one.label for one in shown.classes] == ["praise", "billing", "bug report"]
    np.testing.assert_allclose(probabilities(shown), clf.predict_proba(["fun"])[0])
    assert shown.predicted == tuple(clf.classes_[clf.predict(["fun"])[0] > 0])
    assert len(shown.questions) == 1
    assert len(shown.questions[0].words) == 3
    by_class = {line.label: line.share for line in shown.questions[0].words}  # a word a class
    assert [by_class[one.label] for one in shown.classes] == pytest.approx(probabilities(shown))
    assert bool(shown.notes) == (kind != "entailment")
    assert "yes against no" in str(shown)
    nothing = Explanation((ClassLine("a", 0.2), ClassLine("b", 0.1)), (), multi_label=True)
    assert nothing.predicted == ()
    assert str(nothing).startswith("no label\n")


# --- vectors --------------------------------------------------------------------------------------


def test_the_nearest_examples_and_the_prompts_of_the_classes():
    X, y = data(3)
    encoder = HashEncoder()
    clf = Classifier(encoder, strategy=Embedding()).fit(X, y)
    shown = clf.explain(NEW[0])
    (vector,) = encoder.encode([NEW[0]])
    cosines = encoder.encode(X) @ vector  # unit vectors
    nearest = np.argsort(-cosines, kind="stable")[:5]
    assert [(one.text, one.label) for one in shown.neighbors] == [(X[i], y[i]) for i in nearest]
    assert [one.similarity for one in shown.neighbors] == pytest.approx(cosines[nearest].tolist())
    prompts = [f"The topic is {name}." for name in clf.classes_]
    assert [one.prompt for one in shown.classes] == prompts
    assert [one.similarity for one in shown.classes] == pytest.approx((encoder.encode(prompts) @ vector).tolist())
    assert f"{cosines[nearest[0]]:.3f}       billing  {X[nearest[0]]}" in str(shown)


def test_without_examples_there_are_none():
    clf = Classifier(HashEncoder()).fit(None, ["a", "b"])
    assert clf.explain("x").neighbors == ()
    X, y = data(3)
    clf = Classifier(HashEncoder(), strategy=Embedding()).fit(X, y)
    del clf.strategy_.examples_  # as in a model that was kept without them
    assert clf.explain("x").neighbors == ()
    assert "nearest examples" not in str(clf.explain("x"))


def test_examples_with_several_labels_and_prompts():
    y = pd.DataFrame(LABELS, columns=["praise", "billing", "bug report"])
    words = {"praise": ["praise", "thanks"], "billing": "billing", "bug report": "bug report"}
    clf = Classifier(HashEncoder(), verbalizer=words).fit(["a love", "my invoice", "love the invoice", "a crash"], y)
    shown = clf.explain("love the invoice")
    assert shown.neighbors[0] == Neighbor("love the invoice", ("billing", "praise"), pytest.approx(1.0))
    assert "billing, praise" in str(shown)
    np.testing.assert_allclose(probabilities(shown), clf.predict_proba(["love the invoice"])[0])
    assert shown.classes[0].prompt == "The topic is praise. | The topic is thanks."


# --- text is never markup ---------------------------------------------------------------------------


def well_formed(said: str) -> str:
    """The text of HTML that has no element but ours."""
    root = ElementTree.fromstring(f"<div>{said}</div>")
    allowed = {"div", "small", "span", "pre", "b", "table", "tr", "th", "td"}
    assert {element.tag for element in root.iter()} <= allowed
    for element in root.iter():
        assert set(element.attrib) <= {"style", "title"}
        assert "#" not in element.attrib.get("style", "")  # no colour that covers the page's own
    return "".join(root.itertext())


@every_case
def test_a_text_is_never_markup(make):
    X, y = data(3)
    clf = make().fit([*X, ATTACK], [*y, "praise"])
    assert ATTACK in well_formed(clf.explain(ATTACK)._repr_html_())
    assert ATTACK in well_formed(clf.preview([ATTACK, "plain"])._repr_html_())


@pytest.mark.parametrize(
    "model", [lambda: FakeLM(lambda query: [0.0] * len(query.candidates)), HashEncoder], ids=["words", "vectors"]
)
def test_the_names_of_classes_are_never_markup(model):
    names = [ATTACK, "<i>two</i>"]
    clf = Classifier(model(), strategy=Auto()).fit(["x", "y", "v", "w"], [names[i % 2] for i in range(4)])
    for said in (clf.explain("x")._repr_html_(), clf.preview(["x"])._repr_html_()):
        assert ATTACK in well_formed(said)
        assert "<i>" not in said
    assert "<script>alert(" not in clf._repr_html_()
    for said in (
        evaluate(clf, ["x", "y"], names, n_bootstrap=5)._repr_html_(),
        compare({ATTACK: clf, "b": clf}, ["x", "y"], names, n_bootstrap=5)._repr_html_(),
        learning_curve({ATTACK: clf}, ["x", "y"] * 4, names * 4, shots=[1, 90], draws=1)._repr_html_(),
    ):
        assert "alert(" in said
        assert "<script>alert(" not in said
        assert "<i>two" not in said
        assert "<b onclick" not in said


def test_words_and_answers_are_never_markup():
    words = {"a": ATTACK, "b": "<i>two</i>"}
    template = Template("{{ text }} {{ label }}", instruction="<u>{{ labels | join }}</u>")
    clf = Classifier(FakeLM(lambda query: [0.0, 0.0]), template, words, Prompting(read="generate"))
    said = clf.fit().explain("x")._repr_html_()
    assert "<u>" in well_formed(said)
    assert "<i>" not in said
    lint = template.lint(FakeLM(lambda query: [0.0, 0.0]), [{"text": "x", ATTACK: "y"}], words)._repr_html_()
    assert "alert(" in lint
    assert "<script>" not in lint
    assert "<i>two" not in lint


def test_a_text_can_not_steer_a_terminal():
    clf = classifier().fit()
    text = "a\x1b[31m red \x9b31m\r\nb\rc\td\x00"
    for said in (str(clf.preview([text])), str(clf.explain(text))):
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", said)
        assert "a\ufffd[31m red \ufffd31m\r\nb\ufffdc\td\ufffd" in said
    assert clf.preview([text])[0].text.count(text) == 1  # what is asked is not changed
    assert strip_controls("plain\ntext é") == "plain\ntext é"


# --- tables ------------------------------------------------------------------------------------------


def test_of_many_classes_the_most_probable_are_shown():
    names = [f"class {i:02}" for i in range(30)]
    lm = FakeLM(lambda query: [0.1 * i for i in range(len(query.candidates))])
    shown = Classifier(lm, "{{ text }} {{ label }}", strategy=Prompting()).fit(None, names).explain("x")
    assert len(shown.classes) == len(shown.questions[0].words) == 30
    lines = str(shown).splitlines()
    assert lines[3].startswith("class 29  0.")
    assert lines[2 + 13] == "… and 18 more"
    assert "class 17" not in str(shown)
    assert str(shown).count("… and 18 more") == 2
    assert shown._repr_html_().count("… and 18 more") == 2


def test_a_long_text_is_one_line_of_a_table():
    X, y = data(3)
    long = "I was charged for\n" + "a very long text " * 20
    clf = Classifier(HashEncoder(), strategy=Embedding()).fit([*X, long], [*y, "billing"])
    shown = clf.explain(long)
    assert shown.neighbors[0].text == long
    assert any(line.endswith("…") and "charged for a very" in line for line in str(shown).splitlines())


def test_a_score_that_is_no_log_probability_is_shown_all_the_same():
    lm = FakeLM(lambda query: [1000.0, -1000.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = Classifier(lm, "{{ text }} {{ label }}", strategy=Prompting()).fit(None, ["a", "b"]).explain("x")
        assert "1.000 ████" in str(shown)


# --- what is a row, and who can explain ----------------------------------------------------------------


def test_one_row():
    clf = classifier(template="{{ a }} and {{ b }}: {{ label }}").fit()
    row = {"a": "one", "b": "two"}
    wanted = clf.explain(row).questions[0].prompt
    assert wanted.text == "one and two: ___"
    assert clf.explain(pd.DataFrame([row]).iloc[0]).questions[0].prompt == wanted
    for wrong, name in [([row], "list"), (pd.DataFrame([row]), "DataFrame"), (3, "int"), (None, "NoneType")]:
        with pytest.raises(InputError, match=rf"Give one row, a text or a mapping of fields\. Got {name}"):
            clf.explain(wrong)


def test_who_can_not_explain():
    class Silent(Prompting):
        explain = None

    with pytest.raises(NotFittedError):
        classifier().explain("x")
    with pytest.raises(UnsupportedError, match="Silent has no explain"):
        classifier(Silent()).fit().explain("x")


def test_choices_of_the_row_are_explained_as_its_own():
    lm = FakeLM(lambda query: [-float(len(choice)) for choice in query.candidates])
    clf = Classifier(
        lm, "---\nchoices: options\n---\n{{ q }} {{ label }}", strategy=Prompting(calibration="contextual")
    )
    rows = [{"q": "Which is wet?", "options": ["water", "sand", "a stone"]}, {"q": "Warm?", "options": ["sun", "ice"]}]
    clf.fit(rows)
    shown = clf.explain(rows[1])
    assert [line.word for line in shown.questions[0].words] == ["sun", "ice"]
    np.testing.assert_allclose([line.probability for line in shown.classes], clf.predict_proba([rows[1]])[0])
    assert shown.classes[2].probability == 0
    assert "sun" in str(shown)
