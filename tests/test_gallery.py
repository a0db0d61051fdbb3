"""The gallery: every template loads and says where it comes from; the published ones are what was published."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewshot import Template, TemplateError, Verbalizer, gallery
from fewshot.models.base import Turn

NAMES = gallery.names()
FOLDER = Path(__file__).resolve().parent.parent / "templates"

# name -> a row, the label word, what stands before, the whole prompt, and the label words
LM_BFF = {
    "sst2/it_was": (
        "a joy to watch.",
        "great",
        "",
        "a joy to watch. It was great.",
        {"negative": "terrible", "positive": "great"},
    ),
    "sst5/it_was": (
        "a joy to watch.",
        "okay",
        "",
        "a joy to watch. It was okay.",
        {
            "very negative": "terrible",
            "negative": "bad",
            "neutral": "okay",
            "positive": "good",
            "very positive": "great",
        },
    ),
    "subj/this_is": (
        "he leaves town.",
        "objective",
        "",
        "he leaves town. This is objective.",
        {"subjective": "subjective", "objective": "objective"},
    ),
    "mnli/maybe": (
        {"text_a": "A man sleeps.", "text_b": "He Rests."},
        "Maybe",
        "",
        "A man sleeps? Maybe, he Rests.",
        {"contradiction": "No", "entailment": "Yes", "neutral": "Maybe"},
    ),
    "trec/colon": (
        "Who wrote it ?",
        "Human",
        "",
        "Human: Who wrote it ?",
        {
            "description": "Description",
            "entity": "Entity",
            "abbreviation": "Expression",
            "human": "Human",
            "location": "Location",
            "number": "Number",
        },
    ),
    "mrpc/same": (
        {"text_a": "A man sleeps.", "text_b": "He Rests."},
        "Yes",
        "",
        "A man sleeps. Yes, he Rests.",
        {"not_equivalent": "No", "equivalent": "Yes"},
    ),
}
PET = {
    "ag_news/category": (
        "Shares rise again.",
        "Business",
        "",
        "[ Category: Business ] Shares rise again.",
        {"World": "World", "Sports": "Sports", "Business": "Business", "Sci/Tech": "Tech"},
    ),
    "ag_news/news": (
        "Shares rise again.",
        "Business",
        "",
        "Business News: Shares rise again.",
        {"World": "World", "Sports": "Sports", "Business": "Business", "Sci/Tech": "Tech"},
    ),
}
ZHAO = {
    "sst2/review": (
        "a joy to watch.",
        "Positive",
        "",
        "Review: a joy to watch.\nSentiment: Positive",
        {"negative": "Negative", "positive": "Positive"},
    ),
    "ag_news/article": (
        "Shares rise again.",
        "Technology",
        "Classify the news articles into the categories of World, Sports, Business, and Technology.\n\n",
        "Article: Shares rise again.\nAnswer: Technology",
        {"World": "World", "Sports": "Sports", "Business": "Business", "Sci/Tech": ["Technology", "Science"]},
    ),
    "trec/answer_type": (
        "Who wrote it ?",
        "Person",
        "Classify the questions based on whether their answer type is a Number, Location, Person, Description, Entity, "
        "or Abbreviation.\n\n",
        "Question: Who wrote it ?\nAnswer Type: Person",
        {
            "number": "Number",
            "location": "Location",
            "human": "Person",
            "description": "Description",
            "entity": "Entity",
            "abbreviation": "Ab",
        },
    ),
}
OTHERS = {
    "rte/true_or_false": (  # lm-evaluation-harness
        {"text_a": "It rained all day.", "text_b": "It was wet."},
        "True",
        "",
        "It rained all day.\nQuestion: It was wet. True or False?\nAnswer: True",
        {"entailment": "True", "not_entailment": "False"},
    ),
    "emotion/express": (  # promptsource
        "I won!",
        "joy",
        "",
        "What emotion does the following message express? I won!\nEmotion: joy",
        None,
    ),
    "generic/entailment": (  # transformers' zero-shot-classification
        "I won!",
        "joy",
        "",
        "I won!\n\nThis example is joy.",
        None,
    ),
    "generic/masked": ("I won!", "joy", "", "I won! [ Category: joy ]", None),  # PET's bracket, after the text
    "generic/causal": (  # instruction after Zhao et al.
        "I won!",
        "joy",
        "Classify each text into one of these categories: joy, fear.\n\n",
        "Text: I won!\nCategory: joy",
        None,
    ),
}
PUBLISHED = {**LM_BFF, **PET, **ZHAO, **OTHERS}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_template_is_the_published_string(name):
    row, word, before, prompt, words = PUBLISHED[name]
    template = gallery.get(name)
    assert template.context(labels=["joy", "fear"]) == ((Turn("system", before),) if before else ())
    assert template.render(row, word) == prompt
    assert template.words == words


@pytest.mark.parametrize(
    ("group", "cited"), [(LM_BFF, "LM-BFF (Gao et al. 2021)"), (PET, "PET (Schick"), (ZHAO, "Zhao et al. 2021")]
)
def test_a_published_template_cites_its_paper(group, cited):
    for name in group:
        assert gallery.get(name).metadata["source"].startswith(cited)


def test_every_template_that_is_not_our_own_is_in_the_table():
    ours = {name for name in NAMES if gallery.get(name).metadata["source"] == "fewshot"}
    assert set(NAMES) - ours == set(PUBLISHED)


def test_names_are_the_files():
    files = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*") if path.is_file()]
    assert sorted(files) == NAMES
    assert gallery.names("sst2") == ["sst2/it_was", "sst2/review"]
    assert gallery.names("sst") == []


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_what_it_is_for(name):
    metadata = gallery.get(name).metadata
    assert metadata["task"] == name.partition("/")[0]
    for key in ("task", "description", "source"):
        assert metadata[key].strip() == metadata[key] != ""
    assert metadata["description"].endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_template_renders(name):
    template = gallery.get(name)
    assert template.fields in (("text",), ("text_a", "text_b"), ("text", "candidate"))
    row = {field: f"Nice {field} here." for field in template.fields}
    verbalizer = Verbalizer(template.words or {"a": "joy", "b": "fear"})
    head = "".join(turn.text for turn in template.context(labels=verbalizer.labels))
    assert head == "" or head.endswith(template.separator)
    for word in verbalizer.candidates:
        prompt = template.render(row, word, verbalizer.labels)
        assert prompt.count(word) == template.render(row, "", verbalizer.labels).count(word) + 1
        assert all(f"ice {field} here" in prompt for field in template.fields)
        assert prompt.strip() == prompt
        assert word in template.frame(word, verbalizer.labels)


@pytest.mark.parametrize("name", NAMES)
def test_every_template_marks_what_may_be_cut(name):
    assert "| shorten" in gallery.get(name).source


@pytest.mark.parametrize(
    ("name", "near"),
    [("sst2/itwas", "sst2/it_was"), ("agnews/article", "ag_news/article"), ("causal", "generic/causal")],
)
def test_an_unknown_name_suggests_those_near(name, near):
    with pytest.raises(TemplateError, match=rf"no template '{name}' in the gallery; near it: .*{near}"):
        gallery.get(name)


def test_a_name_near_nothing_lists_them_all():
    with pytest.raises(TemplateError, match=", ".join(NAMES)):
        gallery.get("0")


@pytest.mark.parametrize("name", ["../x", "sst2/../sst2/review", "sst2/review.jinja", "/etc/passwd", "", "sst2", "."])
def test_a_path_is_no_name(name):
    with pytest.raises(TemplateError, match="There is no template"):
        gallery.get(name)


def test_a_template_carries_its_name_and_is_read_once():
    template = gallery.get("sst2/review")
    assert repr(template) == "Template('sst2/review')"
    assert gallery.get("sst2/review") is template
    assert template == Template.from_file(FOLDER / "sst2" / "review.jinja")
