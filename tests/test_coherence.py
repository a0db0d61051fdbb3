"""coherence: what does not change the question should not change the answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from fewshot import (
    Auto,
    Channel,
    Choice,
    Classifier,
    ConformalClassifier,
    Embedding,
    FakeLM,
    ParameterError,
    Prompting,
    Rating,
    UnsupportedError,
    Verbalizer,
    YesNo,
)
from fewshot.evaluation import Coherence, coherence
from fewshot.evaluation.perturbed import with_copy, without
from tests.contract import HashEncoder

WORDS = ["bad", "fair", "good"]
TEXTS = ["a good one", "bad, so bad", "fair", "good and bad"]
RELATIONS = ["reversed options", "rotated options", "cloned option", "dropped option", "negation"]


def knows(query):
    """A word's score is how often the text has it, whatever is listed."""
    text = query.prefix.partition("Categories")[0]
    return [float(text.count(word.partition(" (")[0])) for word in query.candidates]


def listens(query):
    """The first option that is listed, whatever the text."""
    return [2.0 * query.prefix.split("\n- ")[1].startswith(word) for word in query.candidates]


def asked(score, template="generic/listed", strategy=None, words=WORDS):
    clf = Classifier(FakeLM(score), template, strategy=Prompting() if strategy is None else strategy)
    return clf.fit(None, words)


def test_who_reads_the_text_alone_flips_nothing_but_loses_to_a_clone():
    found = coherence(asked(knows), TEXTS, paraphrases=["{{ text }}: {{ label }}"])
    assert found.relations.index.tolist() == [*RELATIONS[:4], "paraphrase 1"]
    assert found.relations["flips"].tolist()[:2] == [0.0, 0.0]
    np.testing.assert_allclose(found.relations["total variation"].drop("cloned option"), 0.0, atol=1e-12)
    # the clone's share by hand: each score counted twice for one class, in turn
    scores = np.array([[text.count(word) for word in WORDS] for text in TEXTS], dtype=float)
    base, gaps = softmax(scores, axis=1), []
    for i in range(3):
        twice = np.exp(scores) * (1 + np.eye(3)[i])
        gaps.append(np.abs(base - twice / twice.sum(axis=1, keepdims=True)).sum(axis=1) / 2)
    np.testing.assert_allclose(found.relations.loc["cloned option", "total variation"], np.mean(gaps))
    assert found.n == len(TEXTS)


def test_who_takes_the_first_option_flips_with_the_order():
    found = coherence(asked(listens), TEXTS).relations
    first, other = softmax([2.0, 0.0, 0.0])[:2]
    for relation in RELATIONS[:2]:
        assert found.loc[relation].tolist() == pytest.approx([1.0, first - other])
    # without "fair" or "good" the first stays the first; it is never dropped itself, since it is the answer
    assert found.loc["dropped option"].tolist() == pytest.approx([0.0, 0.0])


def test_a_uniform_answerer_is_coherent_but_for_clones():
    found = coherence(asked(lambda query: [0.0 for _ in query.candidates]), TEXTS).relations
    assert found["flips"].drop("cloned option").max() == 0.0
    assert found.loc["cloned option", "total variation"] == pytest.approx(1 / 6)
    assert found["total variation"].drop("cloned option").max() == pytest.approx(0.0)


def test_averaged_orders_are_turned_together():
    one, both = (coherence(asked(listens, strategy=Prompting(orders=n)), TEXTS).relations for n in (1, "all"))
    for relation in RELATIONS[:2]:
        assert both.loc[relation, "total variation"] < 1e-9 < one.loc[relation, "total variation"]


def test_the_opposite_question():
    def contrary(query):
        denied = "not" in query.prefix
        yes = 1.0 if denied else 2.0
        return [yes if word == "yes" else 0.0 for word in query.candidates]

    clf = asked(contrary, "{{ text }} New? {{ label }}", words=["no", "yes"])
    found = coherence(clf, TEXTS, negation="{{ text }} Is it not new? {{ label }}")
    p, q = softmax([0.0, 2.0])[1], softmax([0.0, 1.0])[1]
    assert found.relations.loc["negation"].tolist() == pytest.approx([1.0, abs(p + q - 1)])
    assert found.not_measured.loc["dropped option", "reason"] == "there are two options, and one alone is certain"
    assert found.not_measured.loc["reversed options", "reason"].startswith("no prompt lists the options")
    assert "negation" in coherence(clf, TEXTS).not_measured.index


def test_with_labelled_rows_the_orders_alone_are_measured():
    clf = Classifier(FakeLM(listens), "generic/listed", strategy=Prompting(shots=3), random_state=0)
    clf.fit([*TEXTS[:3]], ["good", "bad", "fair"])
    found = coherence(clf, TEXTS, paraphrases=["{{ text }} {{ label }}"])
    assert found.relations.index.tolist() == RELATIONS[:2]
    for name in ("cloned option", "dropped option", "paraphrase 1"):
        assert found.not_measured.loc[name, "reason"].startswith("labelled rows took part in the fit")


def test_demonstrations_list_the_options_in_the_same_order_as_the_question():
    seen = []

    def watch(query):
        seen.append(query)
        return [0.0 for _ in query.candidates]

    clf = Classifier(FakeLM(watch), "generic/listed", strategy=Prompting(shots=3), random_state=0)
    clf.fit([*TEXTS[:3]], ["good", "bad", "fair"])
    coherence(clf, TEXTS[3:])
    orders = [[part.split("\nCategory")[0] for part in _prompt(query).split("Categories:\n")[1:]] for query in seen]
    assert {len(own) for own in orders} == {4}
    assert all(len(set(own)) == 1 for own in orders)
    assert {own[0] for own in orders} == {"- bad\n- fair\n- good", "- good\n- fair\n- bad", "- fair\n- good\n- bad"}


def _prompt(query):
    return "".join(turn.text for turn in query.context) + query.prefix


def test_texts_without_labels_calibrate_both_sides():
    strategy = Prompting(calibration="batch")
    words = {word: word for word in WORDS}
    clf = Classifier(FakeLM(knows), "generic/listed", words, strategy).fit(["other", "texts", "good"])
    found = coherence(clf, TEXTS, paraphrases=["{{ text }}: {{ label }}"]).relations
    assert found.loc["paraphrase 1"].tolist() == [0.0, 0.0]  # fitted on X, as its base


def test_auto_and_encoders_and_channels_are_asked():
    found = coherence(Classifier(FakeLM(knows), "generic/listed", strategy=Auto()).fit(None, WORDS), TEXTS)
    assert found.relations.index.tolist() == RELATIONS[:4]
    vectors = coherence(Classifier(HashEncoder(), strategy=Embedding()).fit(None, WORDS), TEXTS)
    assert vectors.relations.index.tolist() == ["cloned option", "dropped option"]
    assert vectors.relations.loc["dropped option", "total variation"] == pytest.approx(0.0)
    assert "Embedding asks in no one prompt" in vectors.not_measured.loc["reversed options", "reason"]
    channel = Classifier(FakeLM(lambda query: [0.0]), "A {{ label }} one: {{ text }}", strategy=Channel())
    assert coherence(channel.fit(None, WORDS), TEXTS).relations.index.tolist() == ["cloned option", "dropped option"]


def test_some_of_many_options():
    calls: list = []
    many = [f"class {chr(97 + i)}" for i in range(20)]
    clf = asked(lambda query: calls.append(len(query.candidates)) or [0.0] * len(query.candidates), words=many)
    coherence(clf, ["a text"], max_options=3)
    assert (calls.count(21), calls.count(19)) == (3, 2)  # the answer, the first, is not dropped


def test_it_prints_and_goes_through_json():
    found = coherence(asked(knows), TEXTS)
    assert str(found).startswith("4 texts\n\nrelation")
    assert "not measured: negation, since only a question with two answers has an opposite" in str(found)
    assert "<table" in found._repr_html_()
    again = Coherence.from_json(found.to_json())
    assert str(again) == str(found)


def test_integer_classes_are_cloned():
    words = {0: "bad", 1: "fair", 2: "good"}
    clf = Classifier(FakeLM(knows), "generic/listed", words, Prompting()).fit()
    assert coherence(clf, TEXTS).relations.index.tolist() == RELATIONS[:4]


def test_levels_of_a_scale_stay_one():
    scale = Verbalizer({"poor": "bad", "mixed": "fair", "fine": "good"}, ordered=True)
    clf = Classifier(FakeLM(knows), "generic/listed", scale, Prompting()).fit()
    task, twin = with_copy(clf.strategy_.task_, "mixed")
    assert task.verbalizer.scale == ("poor", "mixed", twin, "fine")
    assert without(task, "poor").verbalizer.scale == ("mixed", twin, "fine")
    assert coherence(clf, TEXTS).relations.index.tolist() == RELATIONS[:4]


def test_copies_and_what_is_left_keep_what_options_mean():
    team = Choice("Which team?", {"bug": "it is broken", "help": None, "praise": "they like it"})
    clf = Classifier(FakeLM(knows), team, strategy=Prompting()).fit()
    task, twin = with_copy(clf.strategy_.task_, "bug")
    listed = task.template.render("x", "bug", labels=task.verbalizer.labels)
    assert "- bug: it is broken\n- bug (copy): it is broken\n- help\n- praise: they like it\n" in listed
    assert task.classes.tolist() == ["bug", twin, "help", "praise"]
    listed = without(clf.strategy_.task_, "bug").template.render("x", "help", labels=["help", "praise"])
    assert "Options:\n- help\n- praise: they like it\n" in listed
    levels = Classifier(FakeLM(knows), Rating("How?", ["low", "mid", "high"]), strategy=Prompting()).fit()
    left = Prompting().fit(without(levels.strategy_.task_, "mid"), levels.model_)
    assert "Options:\n- low\n- high\nAnswer: " in left.preview(["x"])[0].text
    again = Choice("What is it about?", {"bug": "a fault", "help": "a question", "praise": None})
    found = coherence(clf, TEXTS, paraphrases=[again])
    assert found.relations.index.tolist() == [*RELATIONS[:4], "paraphrase 1"]


def answers_turned(query):
    """Yes where the text has an exclamation mark, and the other answer where the question asks for that."""
    text, _, question = query.prefix.partition("Question: ")
    yes = ("!" in text) != question.startswith("Answer yes if the correct answer to the following question is no")
    return [float((word == "Yes") == yes) for word in query.candidates]


def test_a_yes_no_question_knows_its_opposite():
    angry = YesNo("Is {{ it }} angry?", true="they shout")
    assert angry.opposite().descriptions == {False: "they shout"}
    assert angry.opposite().instructions.endswith("Question: Is {{ it }} angry?")
    for scores, flips, distance in (
        (answers_turned, 0.0, 0.0),
        (lambda query: [float(word == "Yes") for word in query.candidates], 1.0, 0.4621172),
    ):
        clf = Classifier(FakeLM(scores), angry, strategy=Prompting()).fit()
        found = coherence(clf, ["Go away!", "Thank you."])
        assert found.relations.loc["negation"].tolist() == pytest.approx([flips, distance])
    with_own = coherence(clf, ["Go away!"], negation=YesNo("Is it calm?", false="they shout"))
    assert with_own.relations.loc["negation", "flips"] == 1
    assert "no opposite question" in str(coherence(asked(knows, words=["bad", "good"]), TEXTS))


def test_what_can_not_be_changed_is_refused():
    with pytest.raises(UnsupportedError, match="coherence needs a Classifier"):
        coherence(ConformalClassifier(Classifier()), TEXTS)
    with pytest.raises(ParameterError, match="paraphrases must be a list"):
        coherence(asked(knows), TEXTS, paraphrases="{{ text }} {{ label }}")
    with pytest.raises(ParameterError, match="max_options must be an integer of at least 1"):
        coherence(asked(knows), TEXTS, max_options=0)
