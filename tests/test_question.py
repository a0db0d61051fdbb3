"""Questions: what they refuse, what templates they become, and that every kind of model and strategy takes them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import normalize

from fewshot import (
    Choice,
    Classifier,
    Embedding,
    FakeLM,
    FewshotWarning,
    FineTuning,
    ParameterError,
    Prompting,
    Rating,
    Readout,
    Template,
    Verbalizer,
    VerbalizerError,
    YesNo,
    lint,
    load,
    select_template,
)
from fewshot.models.remote.planning import plan
from fewshot.models.remote.systemone import SYSTEM_ONE
from tests.conftest import language_model, sentence_model
from tests.contract import EXPECTED, NEW, HashEncoder, data, keyword_lm

KINDS = ["causal", "seq2seq", "masked", "entailment", "decision", "encoder"]
MEANT = {"billing": "money, prices.", "bug report": "something is broken", "praise": None}
TEAM = Choice("Which team?", MEANT)
URGENT = Rating("How urgent is it?", ["low", "medium", "high"])
ANGRY = YesNo("Is the customer angry?", true="they shout")
QUESTIONS = {"choice": TEAM, "plain": Choice("Which team?", list(MEANT)), "rating": URGENT, "yes-no": ANGRY}
every_question = pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
every_kind = pytest.mark.parametrize("kind", KINDS)

# --- what a question is -------------------------------------------------------------------------


def test_what_questions_say_of_themselves():
    assert TEAM.classes == ("billing", "bug report", "praise")
    assert TEAM.descriptions == {"billing": "money, prices.", "bug report": "something is broken"}
    assert TEAM.words == {name: name for name in TEAM.classes}
    assert not TEAM.ordered
    assert URGENT.classes == ("low", "medium", "high")
    assert URGENT.ordered
    assert Rating("?", {"low": "can wait", "high": None}).descriptions == {"low": "can wait"}
    assert ANGRY.classes == (False, True)
    assert ANGRY.descriptions == {True: "they shout"}
    assert ANGRY.words == {False: "No", True: "Yes"}
    assert YesNo("?", false="calm").descriptions == {False: "calm"}


@every_question
def test_a_question_is_a_value(question):
    for twin in (copy.deepcopy(question), pickle.loads(pickle.dumps(question)), clone(question, safe=False)):
        assert twin == question
        assert hash(twin) == hash(question)
    assert eval(repr(question)) == question
    assert question != "?"
    with pytest.raises(AttributeError):
        question.instructions = "Another?"


def test_options_in_another_order_are_another_question():
    assert Choice("?", ["a", "b"]) != Choice("?", ["b", "a"])
    assert Choice("?", ["a", "b"]) == Choice("?", {"a": None, "b": " "})
    assert Choice("?", ["a", "b"]) != Rating("?", ["a", "b"])


def test_what_is_changed_afterwards_changes_no_question():
    options = {"a": "one", "b": None}
    question = Choice("?", options)
    options["c"] = "three"
    assert question.classes == ("a", "b")


@pytest.mark.parametrize("make", [Choice, Rating], ids=["option", "level"])
@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("ab", "must be a list of names, or a mapping of names to descriptions. Got 'ab'"),
        (7, "must be a list of names, or a mapping of names to descriptions. Got 7"),
        ([], r"must be at least two, to choose between. Got \[\]"),
        (["a"], r"must be at least two, to choose between. Got \['a'\]"),
        (["a", "a"], "'a' is given twice"),
        (["a", ""], "text that is not blank. Got ''"),
        (["a", " \u200b"], "text that is not blank"),
        (["a", 1], "must be text. Got int: 1"),
        (["a", None], "must be text. Got NoneType"),
        ([False, True], "YesNo is for True and False"),
        (["a", "b\n- c"], "has a line break"),
        (["a", "b\r"], "has a line break"),
        (["a", "b\u2028c"], "has a line break"),
        (["a", "b\0"], "has a NUL"),
        ({"a": 1, "b": None}, "must be texts, or None. Got 1 for 'a'"),
        ({"a": ["x"], "b": None}, r"must be texts, or None. Got \['x'\]"),
    ],
)
def test_names_that_can_not_be_are_refused(make, names, said):
    with pytest.raises(ParameterError, match=said):
        make("Which?", names)


@pytest.mark.parametrize("instructions", ["", " \n", None, 5, b"x"])
def test_instructions_are_text(instructions):
    for make in (lambda said: Choice(said, ["a", "b"]), lambda said: Rating(said, ["a", "b"]), YesNo):
        with pytest.raises(ParameterError, match=r"instructions of a question must be text that is not blank\. Got"):
            make(instructions)


def test_what_true_and_false_mean_is_text():
    with pytest.raises(ParameterError, match=r"descriptions of a YesNo must be texts, or None\. Got 1 for True"):
        YesNo("Is it?", true=1)


def test_names_that_differ_hardly_are_two_options_and_a_warning():
    with pytest.warns(FewshotWarning, match="differ only in case"):
        clf = Classifier(HashEncoder(), Choice("?", ["Bug", "bug"])).fit()
    assert clf.classes_.tolist() == ["Bug", "bug"]


# --- the template that it becomes ---------------------------------------------------------------


def test_the_prompt_of_a_language_model_lists_the_options_after_the_text():
    for kind in ("causal", "seq2seq"):
        template = TEAM.template(kind)
        assert template.render("It {{ broke }}.", "billing", labels=sorted(TEAM.classes)) == (
            "Text: It {{ broke }}.\nQuestion: Which team?\nOptions:\n- billing: money, prices.\n"
            "- bug report: something is broken\n- praise\nAnswer: billing"
        )
        assert template.words == TEAM.words
        assert template.descriptions == TEAM.descriptions
        assert template.fields == ("text",)
        assert template.lists_labels()
        assert template.shows_descriptions
    with pytest.raises(ParameterError, match="kind must be one of"):
        TEAM.template("oracle")


def test_a_masked_model_is_told_no_options():
    for question in (TEAM, URGENT):
        shown = question.template("masked").prompt("Hello.", sorted(question.classes))
        assert (shown.prefix, shown.suffix) == (f"Hello.\n{question.instructions}\n", ".")


def test_class_prompts_and_hypotheses_say_what_a_class_means():
    prompts = ["Which team? billing.", "Which team? money, prices."]
    assert TEAM.template("encoder").class_prompts(["billing"]) == prompts
    assert TEAM.template("encoder").class_prompts(["praise"]) == ["Which team? praise."]
    embedded = Classifier(HashEncoder(), TEAM, strategy=Embedding()).fit()
    mean = normalize(HashEncoder().encode(prompts)).mean(axis=0)
    np.testing.assert_allclose(embedded.strategy_.prototypes_[0], mean / np.linalg.norm(mean))
    assert " | ".join(prompts) in str(embedded.explain("x"))
    assert " | ".join(prompts) in str(lint(TEAM.template("encoder"), HashEncoder()))
    asked = Classifier(keyword_lm("entailment"), TEAM, strategy=Prompting()).fit()
    (query,) = asked.strategy_.askings_[0].ask(["Hello."]).queries
    assert query.candidates == ("billing: money, prices", "bug report: something is broken", "praise")
    assert "candidates: billing: money, prices, bug report: something is broken, praise" in str(asked.preview(["x"]))


@pytest.mark.parametrize("given", [{"template": TEAM}, {"y": MEANT}], ids=["question", "names"])
def test_a_server_gets_what_options_mean_with_them(given):
    clf = Classifier(keyword_lm("decision"), given.get("template"), strategy=Prompting()).fit(None, given.get("y"))
    (query,) = clf.strategy_.askings_[0].ask(["Hello."]).queries
    (batch,) = plan([query], "jev", SYSTEM_ONE, "it")
    (asked,) = batch.request.questions
    assert batch.request.state == "Hello."
    assert asked.instructions == ("Which team?" if "template" in given else "Which of the options fits this text best?")
    means = [("billing", "money, prices"), ("bug report", "something is broken"), ("praise", None)]
    assert [(own.value, own.description) for own in asked.options] == means


def test_a_server_gets_a_yes_no_question_as_one():
    (query,) = (
        Classifier(keyword_lm("decision"), ANGRY, strategy=Prompting()).fit().strategy_.askings_[0].ask(["!"]).queries
    )
    (asked,) = plan([query], "jev", SYSTEM_ONE, "it")[0].request.questions
    assert asked.type == "yes_no"
    assert asked.instructions == "Is the customer angry?"
    assert [(own.value, own.description) for own in asked.options] == [(False, None), (True, "they shout")]


def test_a_rating_has_a_scale():
    clf = Classifier(HashEncoder(), URGENT).fit()
    assert clf.verbalizer_.scale == ("low", "medium", "high")
    assert Classifier(HashEncoder(), TEAM).fit().verbalizer_.scale is None
    given = Verbalizer({"high": "very", "medium": "rather", "low": "a little"}, ordered=True)
    clf = Classifier(keyword_lm(), URGENT, given, strategy=Prompting()).fit()
    assert "- very\n- rather\n- a little\n" in clf.preview(["x"])[0].text


def test_levels_are_listed_from_the_lowest_on_and_turned_as_they_are():
    assert URGENT.template().ordered
    assert list(URGENT.template().words) == ["low", "medium", "high"]
    clf = Classifier(keyword_lm(), URGENT, strategy=Prompting(shots=3)).fit(["a", "b", "c"], ["medium", "low", "high"])
    shown = "".join(text for _, text in clf.preview(["x"])[0].context)
    assert shown.count("Options:\n- low\n- medium\n- high\nAnswer:") == 3
    for text, word in [("a", "medium"), ("b", "low"), ("c", "high")]:
        assert f"Text: {text}\n" in shown
        assert f"Answer: {word}" in shown.split(f"Text: {text}\n")[1].split("Text:")[0]
    asked = Classifier(keyword_lm(), URGENT, strategy=Prompting(orders=2)).fit().strategy_.askings_[0].ask(["x"])
    assert ["low\n- medium\n- high" in own.prefix for own in asked.forms[0]] == [True, False]
    assert ["high\n- medium\n- low" in own.prefix for own in asked.forms[0]] == [False, True]


def test_descriptions_turn_with_their_options():
    strategy = Prompting(orders="all")
    asked = Classifier(keyword_lm(), TEAM, strategy=strategy).fit().strategy_.askings_[0].ask(["x"])
    prefixes = [query.prefix for query in asked.forms[0]]
    assert len(set(prefixes)) == 6
    for prefix in prefixes:
        assert "- billing: money, prices.\n" in prefix
        assert "- bug report: something is broken\n" in prefix
        assert "- praise\n" in prefix


def test_the_order_of_the_options_changes_no_answer():
    turned = Choice("Which team?", dict(reversed(MEANT.items())))
    first, second = (Classifier(keyword_lm(), one, strategy=Prompting()).fit() for one in (TEAM, turned))
    np.testing.assert_array_equal(first.predict_proba(NEW), second.predict_proba(NEW))


TEXTS_OF_ANY = st.text(st.characters(), max_size=12) | st.sampled_from(
    [
        "{{ x }}",
        "{% if a %}",
        "{# c #}",
        "%}",
        "}}",
        "'\"\\",
        "---",
        "a: [b",
        "null",
        "é\u0301",
        "\\n",
        "{{ '\\",
        "a\r\nb",
        "\ud83d",
    ]
)
NAMES = TEXTS_OF_ANY.filter(lambda text: text.strip() and text.splitlines() == [text] and "\0" not in text).filter(
    lambda text: any(char.isalnum() or char in "{%'}\\-" for char in text)
)


@every_kind
@given(
    asked=TEXTS_OF_ANY.filter(str.strip), names=st.lists(NAMES, min_size=2, max_size=4, unique=True), meant=TEXTS_OF_ANY
)
def test_no_text_is_parsed_or_changed(kind, asked, names, meant):
    question = Choice(asked, {name: meant if i else None for i, name in enumerate(names)})
    template = question.template(kind)
    assert tuple(template.words or ()) == question.classes == tuple(names)
    text = "a {{ text }} {% x"
    rendered = template.render(text, names[0], labels=names)
    assert asked in rendered
    assert text in rendered
    assert names[0].strip() in template.frame(names[0])
    described = question.descriptions.get(names[1], "")
    assert "\n" not in described
    if kind in ("causal", "seq2seq"):
        listed = [f"- {name}: {described}\n" if i and described else f"- {name}\n" for i, name in enumerate(names)]
        assert rendered == f"Text: {text}\nQuestion: {asked}\nOptions:\n{''.join(listed)}Answer: {names[0]}"


def test_as_many_options_as_anybody_has():
    names = [f"option {i}" for i in range(1000)]
    question = Choice("Which?", {name: f"the {name} of all " * 10 for name in names})
    clf = Classifier(FakeLM(lambda query: [-float(len(word)) for word in query.candidates], limit=100_000), question)
    assert clf.set_params(strategy=Prompting()).fit().predict(["x"]).tolist() == ["option 0"]


# --- every kind of model ------------------------------------------------------------------------

TINY = {"gpt2": "causal", "gpt2-chat": "causal", "bert": "masked", "t5": "seq2seq", "nli": "entailment"}


def model_of(name):
    return load(sentence_model()) if name == "encoder" else language_model(name)


@pytest.mark.filterwarnings("ignore::fewshot.LabelMassWarning", "ignore::fewshot.ShortenedWarning")
@pytest.mark.parametrize("name", [*TINY, "encoder"])
@every_question
def test_every_kind_of_model_is_asked(name, question, tmp_path):
    clf = Classifier(model_of(name), question).fit()
    assert clf.classes_.tolist() == sorted(question.classes)
    assert set(clf.predict(NEW).tolist()) <= set(question.classes)
    probabilities = clf.predict_proba(NEW)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert list(clf.template_.words) == list(question.classes if question.ordered else clf.classes_)
    assert str(clf.preview(NEW[:1]))
    assert str(clf.explain(NEW[0]))
    clf.save(tmp_path / "kept")
    twin = Classifier.load(tmp_path / "kept", model=model_of(name))
    np.testing.assert_array_equal(twin.predict_proba(NEW), probabilities)
    assert twin.template == question
    assert twin.template_ == clf.template_
    assert twin.fit().template_ == clf.template_


STRATEGIES = {
    "shots": lambda: Prompting(shots=2),
    "orders": lambda: Prompting(orders=2, calibration="batch"),
    "contextual": lambda: Prompting(calibration="contextual"),
    "learned": lambda: Prompting(calibration="learned"),
    "readout": lambda: Readout("labels"),
    "generate": lambda: Prompting(read="generate"),
    "auto": lambda: None,
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_take_a_question(name):
    clf = Classifier(keyword_lm(), TEAM, strategy=STRATEGIES[name](), random_state=0).fit(*data(3))
    assert clf.predict(NEW).tolist() == EXPECTED
    assert "- billing: money, prices.\n" in str(clf.preview(NEW[:1]))


def test_an_encoder_learns_from_rows_around_the_descriptions():
    plain, meant = (Classifier(HashEncoder(), one, strategy=Embedding()).fit() for one in (QUESTIONS["plain"], TEAM))
    assert not np.array_equal(plain.strategy_.prototypes_, meant.strategy_.prototypes_)
    assert meant.fit(*data(3)).score(*data(3)) == 1


@pytest.mark.filterwarnings("ignore::fewshot.FewshotWarning")  # the examples are few
def test_a_model_is_finetuned_on_a_question():
    clf = Classifier(language_model("bert"), URGENT, strategy=FineTuning(steps=2), random_state=0)
    assert clf.fit(["now", "later", "soon"] * 4, ["high", "low", "medium"] * 4).predict(["now"])[0] in URGENT.classes


def test_answers_of_a_yes_no_question_are_truth_values():
    lm = FakeLM(
        lambda query: [float((word == "Yes") == ("!" in query.prefix.splitlines()[0])) for word in query.candidates]
    )
    X, y = ["Nothing works!", "Thank you.", "Again!", "Fine."], [True, False, True, False]
    clf = Classifier(lm, ANGRY, strategy=Prompting())
    for labels in (y, np.array(y), np.array(y, dtype=object)):
        fitted = clone(clf).fit(X, labels)
        assert fitted.classes_.dtype == bool
        assert fitted.predict(X).tolist() == y
        assert fitted.score(X, y) == 1
    with pytest.raises(VerbalizerError, match="has no label words"):
        clone(clf).fit(X, ["no", "yes", "no", "yes"])


def test_a_mapping_of_front_matter_says_the_same_as_a_yes_no_question():
    source = '---\nwords: {"False": "No", "True": "Yes"}\ndescriptions: {"True": they shout}\n---\n'
    source += "{{ text }}{% for one in labels %} {{ one }}{{ descriptions.get(one, '') }}{% endfor %} {{ label }}"
    clf = Classifier(keyword_lm(), source, strategy=Prompting()).fit(["a", "b"], [True, False])
    assert clf.template_.descriptions == {True: "they shout"}
    assert clf.preview(["x"])[0].text.startswith("x No Yesthey shout")


# --- what takes templates takes questions -------------------------------------------------------


def test_questions_among_templates():
    template = Template("{{ text }}\nTopic: {{ label }}", words={name: name for name in MEANT})
    clf = Classifier(keyword_lm(), [TEAM, template, QUESTIONS["plain"]], strategy=Prompting()).fit()
    assert len(clf.strategy_.task_.wordings) == 3
    assert clf.predict(NEW).tolist() == EXPECTED
    ranking = select_template([TEAM, template], *data(3), model=keyword_lm())
    assert set(ranking.templates) == {TEAM.template(), template}
    assert "Which team?" in str(ranking)


def test_questions_in_a_search():
    search = GridSearchCV(
        Classifier(keyword_lm(), strategy=Prompting(), random_state=0),
        {"template": [TEAM, QUESTIONS["plain"], [TEAM, QUESTIONS["plain"]]], "strategy__shots": [0, 2]},
        cv=2,
        error_score="raise",
    ).fit(*data(3))
    assert search.best_score_ > 0.8
    assert clone(search.best_estimator_).template == search.best_params_["template"]


def test_other_label_words_keep_the_descriptions_of_the_classes():
    words = {"billing": ["money", "cash"], "bug report": "bug", "praise": "praise"}
    clf = Classifier(keyword_lm(), TEAM, words, strategy=Prompting()).fit()
    assert "- money: money, prices.\n- bug: something is broken\n- praise\n" in clf.preview(["x"])[0].text
    levels = {"low": "a little", "medium": "rather", "high": "very"}
    clf = Classifier(keyword_lm(), URGENT, levels, strategy=Prompting()).fit()
    assert "- a little\n- rather\n- very\n" in clf.preview(["x"])[0].text


def test_a_question_is_linted_and_its_field_renamed():
    assert lint(TEAM.template(), keyword_lm(), NEW).ok
    renamed = TEAM.template().rename(text="message")
    clf = Classifier(keyword_lm(), renamed, strategy=Prompting()).fit()
    assert clf.predict([{"message": text} for text in NEW]).tolist() == EXPECTED


def test_the_card_says_what_classes_mean(tmp_path):
    Classifier(HashEncoder(), TEAM, strategy=Embedding()).fit(*data(3)).save(tmp_path / "kept")
    card = (tmp_path / "kept/README.md").read_text(encoding="utf-8")
    assert "| class | label words | description |" in card
    assert "| billing | billing | money, prices. |" in card
