"""The gallery: every template loads and says where it comes from; the published ones are what was published."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from fewshot import ParameterError, Template, TemplateError, Verbalizer, gallery
from fewshot.models.base import Turn

NAMES = gallery.names()
FOLDER = Path(__file__).resolve().parent.parent / "templates"
PROMPTS = FOLDER.parent / "docs" / "prompts.md"
DATA = Path(__file__).resolve().parent / "data"
SNAPSHOT = DATA / "gallery_snapshot.json"
RENEW = "python -m tests.test_gallery"
LICENCES = ("Apache-2.0", "MIT", "none stated")

# What the snapshot is rendered with: capitals, quotes, punctuation, markup and braces must come through.
ROW = {
    "text": 'The plot is thin, but "Rosa" shines: {{ 5 }} of 5 & <b>more</b>!',
    "text_a": "A man sleeps on a bench...",
    "text_b": 'He Rests, "at last".',
    "span": "Rosa",
    "candidate": "music",
    "premise": 'Rosa said "no": {{ 5 }} & <b>more</b>!',
    "choice1": "The man Rests...",
    "choice2": 'Élan "left", at last.',
    "question": "cause",
    "choices": ["The man Rests...", 'Élan "left", at last.', "{{ 5 }}"],
    "context": 'Rosa said "no": {{ 5 }} & <b>more</b>!',
    "title": 'Rosa & "no"',
}

WORDINGS = yaml.safe_load((DATA / "published.yaml").read_text(encoding="utf-8"))
PAPERS, OTHERS, COPA = (WORDINGS[key] for key in ("papers", "others", "copa"))
PUBLISHED = {name: wording for group in (*PAPERS.values(), OTHERS) for name, wording in group.items()}
ASKED_FOR = (
    "sst2 sst5 mr cr mpqa subj trec ag_news yahoo_answers yelp imdb dbpedia14 emotion amazon_reviews spam banking77 "
    "toxicity irony stance topic rte cb mnli snli qnli mrpc qqp boolq copa entity_typing"
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_template_is_the_published_string(name):
    published = PUBLISHED[name]
    before, words = published.get("before"), published.get("words")
    template = gallery.get(name)
    assert template.context(labels=["joy", "fear"]) == ((Turn("system", before),) if before else ())
    labels = () if template.choices else Verbalizer(words or ["joy", "fear"]).labels
    assert template.render(published["row"], published["word"], labels) == published["prompt"]
    assert template.words == words


@pytest.mark.parametrize("name", COPA["templates"])
def test_a_published_template_of_copa_is_the_published_string(name):
    template = gallery.get(name)
    assert template.choices == ("choice1", "choice2")
    published = COPA["templates"][name]
    for row, prompt in zip(COPA["rows"], published["prompts"], strict=True):
        assert template.render(row, template.choices_of(row)[1]) == prompt
    assert template.metadata["source"].startswith(published["source"])


@pytest.mark.parametrize("cited", PAPERS)
def test_a_published_template_cites_its_paper(cited):
    for name in PAPERS[cited]:
        assert gallery.get(name).metadata["source"].startswith(cited)


def test_every_template_that_is_not_our_own_is_in_the_table():
    ours = {name for name in NAMES if gallery.get(name).metadata["source"] == "fewshot"}
    assert set(NAMES) - ours == {*PUBLISHED, *COPA["templates"]}


def test_the_premise_that_was_published_with_a_template():
    published = {name: gallery.get(name).metadata.get("domain_premise") for name in NAMES}
    published = {name: premise for name, premise in published.items() if premise is not None}
    connective = " {{ 'because' if question == 'cause' else 'so' }} "
    assert published == {
        "sst5/tone": " The quote has a tone that is ",
        "copa/because": connective,
        "generic/answer": "Answer: ",
    }
    assert [gallery.get("copa/because").premise(row) for row in COPA["rows"]] == [" because ", " so "]


def test_the_gallery_is_as_large_as_it_says():
    tasks = {name.partition("/")[0] for name in NAMES}
    assert len(tasks) >= 25
    assert len(NAMES) >= 60
    assert tasks >= set(ASKED_FOR.split())
    said = f"The gallery has {len(NAMES)} templates for {len(tasks)} tasks"
    assert said in PROMPTS.read_text(encoding="utf-8")


def test_names_are_the_files():
    files = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.jinja")]
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
    assert metadata["licence"] in LICENCES  # of the source; "none stated" where its repository has none


@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_the_classes_are_distinct_and_say_something(name):
    words = gallery.get(name).words
    if words is None:
        return
    assert all(type(given) is str and given == given.strip() != "" for given in words)
    groups = [[value] if isinstance(value, str) else value for value in words.values()]
    said = [word for group in groups for word in group]
    assert all(groups)
    assert all(type(word) is str and word == word.strip() != "" for word in said)
    assert len(set(said)) == len(said)
    Verbalizer(words)


@pytest.mark.parametrize("task", sorted({name.partition("/")[0] for name in NAMES}))
def test_the_templates_of_a_task_share_its_classes(task):
    """So that any of them can be compared, and several averaged."""
    sets = {frozenset(words) for name in gallery.names(task) if (words := gallery.get(name).words)}
    assert len(sets) <= (2 if task == "emotion" else 1)  # the four classes of TweetEval, the six of dair-ai/emotion


def rendering(name):
    """A template with every label word, as the snapshot keeps it."""
    template = gallery.get(name)
    row = {field: ROW[field] for field in template.fields}
    own = dict(enumerate(template.choices_of(row))) if template.choices else None
    verbalizer = Verbalizer(own or template.words or {"joy": "joy", "fear": "fear"})
    return {
        "before": "".join(turn.text for turn in template.context(labels=verbalizer.labels)),
        "separator": template.separator,
        "prompts": {
            f"{given}: {word}": template.render(row, word, verbalizer.labels)
            for given, words in zip(verbalizer.classes, verbalizer.words, strict=True)
            for word in words
        },
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_template_renders_as_the_snapshot_says(name):
    stored = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert name in stored, f"{name} is not in {SNAPSHOT.name}. If it is new, add it: {RENEW}"
    assert rendering(name) == stored[name], (
        f"{name} no longer renders as {SNAPSHOT.name} says. Cached scores and published results are of the old text. "
        f"If the change is meant: {RENEW}, then read the difference in git."
    )


def test_the_snapshot_holds_no_template_that_is_gone():
    gone = set(json.loads(SNAPSHOT.read_text(encoding="utf-8"))) - set(NAMES)
    assert not gone, f"{sorted(gone)} are in {SNAPSHOT.name} but not in the gallery. If that is meant: {RENEW}"


@pytest.mark.parametrize("name", NAMES)
def test_a_template_renders(name):
    template = gallery.get(name)
    fields = ("text", "text_a text_b", "text span", "span", "text candidate", "question choices")
    fields += ("context question", "title context question")
    copa = {"premise", "choice1", "choice2", "question"}
    assert set(template.fields) in (*({*names.split()} for names in fields), copa)
    row = {field: f"Nice {field} here." for field in template.fields if field not in ("choices", "question")}
    if template.choices == "choices":
        row |= {"question": "Nice question here.", "choices": ["A choice", "Another one"]}
    elif "question" in template.fields:
        row["question"] = "effect"
    own = dict(enumerate(template.choices_of(row))) if template.choices else None
    verbalizer = Verbalizer(own or template.words or {"a": "joy", "b": "fear"})
    head = "".join(turn.text for turn in template.context(labels=verbalizer.labels))
    assert head == "" or head.endswith(template.separator)
    for word in verbalizer.candidates:
        prompt = template.render(row, word, verbalizer.labels)
        assert prompt.count(word) == template.render(row, "", verbalizer.labels).count(word) + 1
        texts = [text for field, text in row.items() if field not in ("question", "choices", *(template.choices or ()))]
        assert all(text[1:-1] in prompt for text in texts)  # PET's take off the last mark, and the first capital
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


def test_a_name_near_nothing_lists_the_tasks():
    with pytest.raises(TemplateError, match=r"no template '0' in the gallery; its tasks: ag_news, .*, yelp\."):
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


class _Cells(HTMLParser):
    """The texts of the cells of a table, row by row, and the tags."""

    def __init__(self, source):
        super().__init__()
        self.rows, self.tags = [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.rows[-1][-1] += data


def test_a_table_of_a_task():
    table = gallery.table("sst2")
    long = "Two-way sentiment of a sentence, for masked language models; also published for MR, CR and MPQA."
    assert str(table).splitlines() == [
        "name         fields  classes             description",
        f"-----------  ------  ------------------  {'-' * len(long)}",
        f"sst2/it_was  text    negative, positive  {long}",
        "sst2/review  text    negative, positive  Two-way sentiment of a review, for causal language models.",
    ]
    assert repr(table) == str(table)


def test_the_table_has_every_template_and_its_html_says_the_same():
    table = gallery.table()
    assert [row.name for row in table] == NAMES
    assert len(table) == len(NAMES)
    cells = _Cells(table._repr_html_())
    assert cells.rows == [["name", "fields", "classes", "description"], *[list(row) for row in table]]
    assert set(cells.tags) == {"table", "thead", "tbody", "tr", "th", "td", "code"}
    by_name = {row.name: row for row in table}
    assert by_name["entity_typing/is"].fields == "text, span"
    assert by_name["topic/about"].classes == "any"
    assert by_name["banking77/intent"].classes.endswith(", … (77)")
    assert by_name["copa/because"].classes == "each row's choice1, each row's choice2"
    assert by_name["generic/choices"].classes == "each row's choices"
    assert by_name["mnli/maybe"].classes == "contradiction, entailment, neutral"


def test_html_is_escaped_and_leaves_colours_to_the_notebook():
    rows = (gallery.Row("<b>&'\"", "<script>", "a < b", "</td>"),)
    source = gallery.Table(rows)._repr_html_()
    assert _Cells(source).rows[1] == list(rows[0])
    assert "<script>" not in source
    assert "&amp;" in source
    for word in ("color", "background", "white", "black", "#", "rgb"):
        assert word not in gallery.table()._repr_html_().partition("<tbody>")[0]
    assert "color" not in source


def test_a_table_of_no_task_suggests_those_near():
    with pytest.raises(TemplateError, match=r"no task 'sst' in the gallery; near it: .*sst2"):
        gallery.table("sst")


def test_a_name_that_is_no_text_is_named():
    with pytest.raises(ParameterError, match=r"The name of a template must be text, such as 'sst2/it_was'\. Got 3"):
        gallery.get(3)


if __name__ == "__main__":
    SNAPSHOT.write_text(
        json.dumps({name: rendering(name) for name in NAMES}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    sys.stdout.write(f"{SNAPSHOT}: {len(NAMES)} templates\n")
