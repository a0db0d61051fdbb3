"""Descriptions of classes: in templates, in front matter, and as ``fit(None, {name: description})``."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from fewshot import Classifier, Embedding, FewshotWarning, InputError, Prompting, Template, TemplateError, Verbalizer
from fewshot.task.question import phrase
from fewshot.task.resolve import _say_once
from tests.contract import EXPECTED, NEW, TEXTS, HashEncoder, data, keyword_lm
from tests.test_question import MEANT, TEAM


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_names_with_descriptions_are_short_for_a_choice(kind):
    clf = Classifier(keyword_lm(kind), strategy=Prompting()).fit(None, MEANT)
    assert clf.classes_.tolist() == list(MEANT)
    assert "- billing: money, prices." in clf.preview(["x"])[0].text
    assert clf.predict(NEW).tolist() == EXPECTED


def test_a_masked_model_reads_descriptions_in_templates_of_ones_own_alone(caplog):
    lm = keyword_lm("masked")
    plain = Classifier(lm, strategy=Prompting()).fit(None, list(MEANT))
    _say_once.cache_clear()
    for clf in (
        Classifier(lm, strategy=Prompting()).fit(None, MEANT),
        Classifier(lm, TEAM, strategy=Prompting()).fit(),
    ):
        assert "money" not in str(clf.preview(["x"]))
        assert clf.predict(NEW).tolist() == EXPECTED
    assert plain.template_ == Classifier(lm).fit(None, MEANT).template_
    assert caplog.text.count("is not told what the classes mean") == 1
    shows = "{% for one in labels %}{{ one }} ({{ descriptions.get(one, '') }}) {% endfor %}{{ text }} {{ label }}"
    assert "billing (money, prices.)" in str(
        Classifier(lm, shows, strategy=Prompting()).fit(None, MEANT).preview(["x"])
    )
    with pytest.raises(TemplateError, match="shows none to"):
        Classifier(lm, "{{ text }} {{ label }}").fit(None, MEANT)


def test_an_encoder_reads_the_descriptions_of_any_template():
    for template in (None, "{{ text }} About {{ label }}."):
        clf = Classifier(HashEncoder(), template, strategy=Embedding()).fit(None, MEANT)
        assert " money, prices." in str(clf.explain("x"))
    without = Classifier(HashEncoder(), strategy=Embedding()).fit(None, dict.fromkeys(MEANT))
    listed = Classifier(HashEncoder(), strategy=Embedding()).fit(None, list(MEANT))
    np.testing.assert_array_equal(without.strategy_.prototypes_, listed.strategy_.prototypes_)


def test_a_template_that_shows_no_descriptions_is_refused_by_a_language_model():
    clf = Classifier(keyword_lm(), "{{ text }} About {{ label }}", strategy=Prompting())
    with pytest.raises(TemplateError, match=r"shows none to .*list them in it"):
        clf.fit(None, MEANT)
    with pytest.raises(TemplateError, match="shows none to"):
        clone(clf).set_params(template=Template("{{ text }} {{ label }}", descriptions=MEANT)).fit(*data(3))
    clf.fit(None, dict.fromkeys(MEANT))  # nothing is lost
    shows = "{{ text }}{% for one in labels %} {{ one }} ({{ descriptions.get(one, '') }}){% endfor %} {{ label }}"
    clf = Classifier(keyword_lm(), shows, strategy=Prompting()).fit(None, MEANT)
    assert "billing (money, prices.)" in clf.preview(["x"])[0].text


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ({"a": 1, "b": "x"}, "descriptions in y must be texts, or None. Got 1 for 'a'"),
        ({"a": "x", "b\nc": "y"}, "has a line break"),
        ({"a": "x", None: "y"}, r"y\[1\] is None"),
        ({"a": "x"}, "at least two classes"),
    ],
)
def test_names_with_descriptions_are_checked(y, said):
    with pytest.raises(InputError, match=said):
        Classifier(HashEncoder()).fit(None, y)
    with pytest.raises(InputError, match=r"descriptions of classes into fit\(None, "):
        Classifier(HashEncoder()).fit(["x"], y)


@pytest.mark.parametrize("kind", ["causal", "decision"])
def test_where_a_text_may_have_several_labels_the_template_says_what_they_mean(kind):
    several = Verbalizer({name: name for name in MEANT}, multi_label=True)
    clf = Classifier(keyword_lm(kind), None, several, strategy=Prompting())
    with pytest.raises(TemplateError, match="shows none to"):
        clf.fit(None, MEANT)
    clf.set_params(template="{{ text }}\n{{ candidate }} ({{ descriptions.get(candidate, '') }})? {{ label }}")
    assert "billing (money, prices.)?" in str(clf.fit(None, MEANT).preview(["x"]))


def test_descriptions_of_numbered_classes():
    clf = Classifier(HashEncoder(), verbalizer={0: "bad", 1: "good"}, strategy=Embedding())
    clf.fit(None, {0: "they hate it", 1: "they love it"})
    assert clf.template_.class_prompts(["good"]) == ["The topic is good.", "The topic is they love it."]


def test_front_matter_describes_classes():
    source = "---\nwords: {a: x, b: y}\ndescriptions:\n  a: |\n    one\n    two\n  b: ' '\nordered: true\n---\n"
    template = Template(source + "{{ text }} {{ label }}{{ descriptions['x'] }}")
    assert template.descriptions == {"a": "one two"}
    assert template.ordered
    assert template.fields == ("text",)
    assert template.render("t", "y") == "t yone two"
    assert Template(source.replace("true", "false") + "{{ text }} {{ label }}").ordered is False
    with pytest.raises(TemplateError, match=r"'ordered' must be true or false\. Got 'yes'"):
        Template(source.replace("true", "yes") + "{{ text }} {{ label }}")
    with pytest.raises(TemplateError, match=r"'descriptions' must map each class to what it means\. Got list"):
        Template("{{ text }} {{ label }}", descriptions=["a"])
    with pytest.raises(TemplateError, match="'descriptions' must be texts, or None"):
        Template("---\ndescriptions: {a: [b]}\n---\n{{ text }} {{ label }}")
    with pytest.raises(TemplateError, match="give 'descriptions' or 'choices'"):
        Template("---\nchoices: c\ndescriptions: {a: b}\n---\n{{ c }} {{ label }}")


def test_a_field_of_that_name_is_a_field_where_nothing_is_described():
    template = Template("{{ descriptions }} {{ label }}")
    assert template.fields == ("descriptions",)
    assert template.render({"descriptions": "x"}, "y") == "x y"


def test_a_description_of_no_class_is_a_warning():
    template = Template("{{ text }} {{ label }}", words={"a": "x", "b": "y"}, descriptions={"c": "z"})
    with pytest.warns(FewshotWarning, match="describes 'c', which is no class"):
        Classifier(HashEncoder(), template).fit()


def test_a_fold_without_a_class_keeps_the_others_descriptions():
    X, y = data(2)
    clf = Classifier(keyword_lm(), TEAM, strategy=Prompting()).fit(X, y)
    assert clf.classes_.tolist() == list(MEANT)


def test_a_template_keeps_its_descriptions_when_it_is_renamed_copied_and_bound():
    template = phrase("Which?", "causal", words={"a": "x", "b": "y"}, descriptions={"a": "one"})
    for twin in (template.rename(text="t"), pickle.loads(pickle.dumps(template)), clone(template, safe=False)):
        assert twin.descriptions == {"a": "one"}
    bound = template.bind({"a": ["p", "q"], "b": ["r"]}, {"b": "two"})
    assert bound.prompt("t", ["p", "r"]).prefix.count("- p\n- r: two\n") == 1
    assert template.descriptions == {"a": "one"}
    assert TEXTS.keys() == MEANT.keys()
