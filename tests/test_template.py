"""Templates: the prompt is what plain Jinja2 writes, cut at one hole, and every mistake is named."""

from __future__ import annotations

import copy
import pickle

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from fewshot import InputError, Template, TemplateError
from fewshot.models.base import Turn

NASTY = ["{{ label }}", "{% raw %}", "[MASK]", "</s>", "<|im_end|>", "<think>", "\x00", "\ud800", "{{ 7*7 }}", "---\n"]
texts = st.text(st.characters(), max_size=12) | st.lists(st.sampled_from([*NASTY, " ", "a", "\n"]), max_size=4).map(
    "".join
)

FRONT_MATTER = "---\ntask: demo\nseparator: ' '\n---\n"
ONE_FIELD = {
    "plain": "Review: {{ text }}\nSentiment: {{ label }}",
    "hole first": "[ {{ label }} ] {{ text }}\n",
    "shorten": "{{ text | shorten }} It was {{ label }}.",
    "shorten with arguments": "{{ text[:5] }}{{ text[5:] | shorten(2, side='left') }} It was {{ label }}.",
    "conditional": "{% if text | length > 3 %}Long: {{ text }}{% else %}Short: {{- text -}}{% endif %} {{ label }}",
    "inline conditional": "{{ text if text.strip() else '(empty)' }} -> {{ label }}",
    "loop": "{% for w in text.split() %}{{ loop.index }}:{{ w | shorten }}|{% else %}-{% endfor %} {{ label }}",
    "nested loop": "{% for w in text.split() %}{% for c in w %}{{ c }}{% endfor %},{% endfor %}{{ label }}",
    "set": "{% set t = text | trim %}{{ t }}{% set u %}u{{ text }}{% endset %}{{ u }} {{ label }}",
    "with": "{% with t = text %}{{ t }} {{ t }}{% endwith %} {{ label }}",
    "filters": "{{ text | upper | replace('A', 'b') }}{{ text | tojson }}{{ text | e }} {{ label }}",
    "filter block": "{% filter upper %}x {{ text }}{% endfilter %} {{ label }}",
    "methods": "{{ text.strip('a').upper() }}{{ text.replace('a', 'bc') }}{{ ' '.join(text.split('a')) }} {{ label }}",
    "lists": "{{ text | map('upper') | join('-') }}{{ [text, 'x'] | list }}{{ range(3) | join }} {{ label }}",
    "comparisons": "{{ text == 'a' }}{{ text in ['a', 'b'] }}{{ text is defined and text != '' }} {{ label }}",
    "constants": "{{ 7 * 7 }}{{ 1.0 }}{{ [1, 'a'] }}{{ true }} {{ text }} {{ label }}",
    "raw and comment": "{% raw %}{{ label }}{% endraw %}{# {{ label }} #} {{ text }} {{ label }}",
    "whitespace control": "  {{- text -}}  \n {%- if true -%} x {%- endif %}\n{{ label -}} \n.\n\n",
    "line breaks": "a\r\nb\rc {{ text }}\n{{ label }}\r\n",
}
TWO_FIELDS = {
    "pair": "{{ a }}? {{ label }}, {{ b }}",
    "weighted": "{{ a | shorten(weight=2) }}\n{{ b | shorten }}\n{{ label }}",
    "first letter": "{{ a[:-1] | shorten }}? {{ label }}, {{ b[:1] | lower }}{{ b[1:] | shorten }}",
    "optional": "{% if b %}{{ b }}: {% endif %}{{ a }} {{ label }}{% if a %}!{% endif %}",
}


def plainly(body: str) -> jinja2.Template:
    env = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    env.filters["shorten"] = lambda value, *args, **kwargs: value
    return env.from_string(body)


def check_bytes(template, reference, row, variables, word):
    prompt = template.prompt(row)
    expected = reference.render(**variables, label=word)
    assert prompt.prefix + word + prompt.suffix == template.render(row, word) == prompt.fill(word) == expected
    assert "".join(piece.text for piece in prompt.pieces) == prompt.prefix + prompt.suffix
    assert [piece.place.kind for piece in prompt.pieces].count("hole") == 1


@pytest.mark.parametrize("body", ONE_FIELD.values(), ids=ONE_FIELD)
def test_one_field_renders_as_plain_jinja(body):
    template, with_front_matter, reference = Template(body), Template(FRONT_MATTER + body), plainly(body)

    @given(texts, texts)
    def check(text, word):
        check_bytes(template, reference, text, {"text": text}, word)
        check_bytes(with_front_matter, reference, {"text": text, "other": 1}, {"text": text}, word)

    check()


@pytest.mark.parametrize("body", TWO_FIELDS.values(), ids=TWO_FIELDS)
def test_two_fields_render_as_plain_jinja(body):
    template, reference = Template(body), plainly(body)

    @given(texts, texts, texts)
    def check(a, b, word):
        check_bytes(template, reference, {"a": a, "b": b}, {"a": a, "b": b}, word)

    check()


@given(st.lists(texts, max_size=3), texts)
def test_label_words_are_text_too(labels, word):
    body = "One of {{ labels | join(', ') }}. {{ text }} {{ label }}"
    expected = plainly(body).render(labels=labels, text="x", label=word)
    assert Template(body).render("x", word, labels) == expected


# rows and fields


def test_a_row_is_a_text_or_a_mapping():
    template = Template("{{ text }}: {{ label }}")
    assert template.fields == ("text",)
    assert template.render("x", "y") == template.render({"text": "x", "label": "no", "labels": 1}, "y") == "x: y"
    assert Template("{{ n }}: {{ label }}").render({"n": 3}, "y") == "3: y"


def test_fields_are_in_the_order_of_the_source():
    assert Template("{{ zeta }} {{ alpha }} {{ zeta }} {{ label }}").fields == ("zeta", "alpha")
    assert Template("{% set x = text %}{{ x }}{{ range(2) | list }} {{ labels }} {{ label }}").fields == ("text",)
    assert Template("{{ lipsum }} {{ label }}").fields == ("lipsum",)  # not Jinja2's generator of filler text


def test_rename_reads_the_fields_under_other_names():
    template = Template("{{ a }} / {{ b }} / {{ label }}", words={"y": "yes"})
    renamed = template.rename(a="premise")
    assert renamed.fields == ("premise", "b")
    assert template.fields == ("a", "b")
    assert renamed.render({"premise": 1, "b": 2}, "x") == "1 / 2 / x"
    assert renamed.rename(premise="p", b="h").render({"p": 1, "h": 2}, "x") == "1 / 2 / x"
    assert template.rename(a="b", b="a").render({"a": 1, "b": 2}, "x") == "2 / 1 / x"
    assert renamed.words == {"y": "yes"}


def test_rename_refuses_unknown_and_shared_names():
    template = Template("{{ a }} {{ b }} {{ label }}")
    with pytest.raises(TemplateError, match=r"no field 'c'.*\['a', 'b'\]"):
        template.rename(c="x")
    with pytest.raises(TemplateError, match="share one name"):
        template.rename(a="b")
    with pytest.raises(TemplateError, match="no field 'a'"):
        template.rename(a="x").rename(a="y")


def test_a_missing_field_is_named_with_what_the_row_has():
    template = Template("{{ a }} {{ b }} {{ label }}")
    with pytest.raises(TemplateError, match=r"'b' is undefined; the row has the fields \['a', 'c'\].*\['a', 'b'\]"):
        template.prompt({"a": "x", "c": "y"})
    with pytest.raises(TemplateError, match=r"'premise' is undefined.*\['premise', 'b'\]"):
        template.rename(a="premise").prompt({"b": "x"})
    with pytest.raises(TemplateError, match="'str object' has no attribute 'title_'; the row has a text"):
        Template("{{ text.title_ }} {{ label }}").prompt("x")


def test_an_optional_field_may_be_missing():
    template = Template("{% if title is defined %}{{ title }}: {% endif %}{{ text }} {{ label }}")
    assert template.render({"text": "x"}, "y") == "x y"
    assert template.render({"text": "x", "title": "t"}, "y") == "t: x y"


class NAType:
    """Stands for pandas.NA, which is recognised by its type's name."""


@pytest.mark.parametrize(
    "value", [None, float("nan"), b"x", NAType(), type("NaTType", (), {})()], ids=lambda value: type(value).__name__
)
def test_a_missing_value_or_bytes_is_refused(value):
    with pytest.raises(InputError, match="the field 'text' is"):
        Template("{{ text }} {{ label }}").prompt({"text": value})
    with pytest.raises(InputError, match="the field 'review' is"):
        Template("{{ text }} {{ label }}").rename(text="review").prompt({"review": value})


def test_rows_of_other_types_are_refused():
    with pytest.raises(InputError, match="must be a string or a mapping of fields"):
        Template("{{ text }} {{ label }}").prompt(3)
    with pytest.raises(TemplateError, match=r"uses 2 fields \['a', 'b'\], and the row is one text"):
        Template("{{ a }} {{ b }} {{ label }}").prompt("x")


# mistakes in the source


@pytest.mark.parametrize(
    ("source", "message", "line", "at"),
    [
        ("a\nb {{ text }} {{ label", "unexpected end", "b {{ text }} {{ label", "{{ label"),
        ("a\nb {{ text }} {% if %}\n{{ label }}", "Expected an expression", "b {{ text }} {% if %}", "{% if"),
        ("{{ text }}\n  {{ label | nope }}", "by itself: without a filter", "  {{ label | nope }}", "label | nope"),
        ("\u2028\n  {{ text | nope }}\n{{ label }}", "No filter named 'nope'", "  {{ text | nope }}", "nope"),
        ("{{ text is odder }} {{ label }}", "No test named 'odder'", "", "odder"),
        ("{{ text }}\n{{ label }} {{ label }}.", "exactly one hole.*Got 2", "{{ label }} {{ label }}.", "label }}."),
        ("{{ label }}\n{% set label = text %}", "exactly one hole.*Got 2", "{% set label = text %}", "label ="),
        ("{% if text %}\n{{ label }}{% endif %}", "outside any block", "{{ label }}{% endif %}", "label"),
        ("{% for x in text %}{{ label }}{% endfor %}", "outside any block", "", "label"),
        ("{% macro m() %}{{ label }}{% endmacro %}{{ m() }}{{ text }}", "outside any block", "", "label"),
        ("{% block b %}{{ label }}{% endblock %}{{ text }}", "outside any block", "", "label"),
        ("{{ text ~ label }}", "by itself", "", "label"),
        ("{{ text }} {{ label if text }}", "by itself", "", "label"),
        ("{{ text | shorten | upper }} {{ label }}", "'shorten' must be the last filter", "", "shorten"),
        ("{{ (text | shorten) ~ 'x' }} {{ label }}", "'shorten' must be the last filter", "", "shorten"),
        ("{% set t = text | shorten %}{{ t }} {{ label }}", "'shorten' must be the last filter", "", "shorten"),
        ("{% for t in [text] recursive %}{{ t }}{% endfor %}{{ label }}", "no recursive loops", "", "recursive"),
        ("---\ntask: x\n---\na\n{{ text | nope }} {{ label }}", r"\(line 5\)", "{{ text | nope }} {{ label }}", "nope"),
        ("{% filter shorten %}{{ text }}{% endfilter %} {{ label }}", "'shorten' must be the last", "", "shorten"),
    ],
)
def test_a_mistake_is_shown_with_its_line_and_a_caret(source, message, line, at):
    with pytest.raises(TemplateError, match=message) as caught:
        Template(source)
    *_, shown, caret = str(caught.value).splitlines()
    assert shown.strip() == (line or source).strip()
    assert caret.strip() == "^"
    assert shown[caret.index("^") :].startswith(at)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ text }}", "exactly one hole.*Got none"),
        ("", "exactly one hole.*Got none"),
        ("{{ label }}", "at least one field"),
        ("{{ labels | join }} {{ label }}", "at least one field"),
        ("{{ text | shorten(weight=0) }} {{ label }}", "a number above 0.*weight=0,"),
        ("{{ text | shorten(-1) }} {{ label }}", "weight=-1,"),
        ("{{ text | shorten(weight=1e999) }} {{ label }}", "finite.*weight=inf,"),
        ("{{ text | shorten(true) }} {{ label }}", "weight=True,"),
        ("{{ text | shorten('2') }} {{ label }}", "weight='2'"),
        ("{{ text | shorten(weight=text) }} {{ label }}", "both constants"),
        ("{{ text | shorten(*[1]) }} {{ label }}", "both constants"),
        ("{{ text | shorten(**{'weight': 1}) }} {{ label }}", "both constants"),
        ("{{ text | shorten(1, 'left', 2) }} {{ label }}", "a third argument"),
        ("{{ text | shorten(side='top') }} {{ label }}", "side='top'"),
        ("{{ text | shorten(length=3) }} {{ label }}", "length"),
        ("{{ text }} {{ 'x' | shorten }} {{ label }}", "must follow a field"),
        ("{{ text }} {{ labels | shorten }} {{ label }}", "must follow a field"),
        ("---\nnope: 1\n---\n{{ text }} {{ label }}", "Unknown front matter key 'nope'.*instruction"),
        ("---\nwords: [a\n---\n{{ text }} {{ label }}", "not valid YAML"),
        ("---\n- words\n---\n{{ text }} {{ label }}", "must be a mapping.*Got list"),
        ("---\nfields: [text, title]\n---\n{{ text }} {{ label }}", r"declares the fields \['text', 'title'\]"),
        ("---\nfields: text\n---\n{{ text }} {{ label }}", "declares the fields text"),
        ("---\nfields: 3\n---\n{{ text }} {{ label }}", "declares the fields 3"),
        ("---\nwords: {a: [[x]]}\n---\n{{ text }} {{ label }}", "'a' to a word or a list of words"),
        ("---\nwords: [a, b]\n---\n{{ text }} {{ label }}", "'words' must map each class.*Got list"),
        ("---\ninstruction: [3]\n---\n{{ text }} {{ label }}", r"'instruction' must be text. Got \['3'\]"),
        ("---\nseparator: [a]\n---\n{{ text }} {{ label }}", "'separator' must be text"),
        ("---\ninstruction: '{{ labels'\n---\n{{ text }} {{ label }}", "end of print statement"),
    ],
)
def test_a_bad_template_is_refused(source, message):
    with pytest.raises(TemplateError, match=message):
        Template(source)


@pytest.mark.parametrize("source", [None, 3, b"{{ text }} {{ label }}", ["{{ text }} {{ label }}"]])
def test_a_source_that_is_not_text_is_refused(source):
    with pytest.raises(TemplateError, match="source must be a string"):
        Template(source)


@pytest.mark.parametrize("words", [["ab", "cd"], ["good", "bad"], "good", 3])
def test_words_that_are_no_mapping_are_refused(words):
    with pytest.raises(TemplateError, match="'words' must map each class"):
        Template("{{ text }} {{ label }}", words=words)


def test_errors_carry_the_name_of_the_template():
    with pytest.raises(TemplateError, match=r"^In the template 'mine': A template has exactly one hole"):
        Template("{{ text }}", name="mine")
    with pytest.raises(TemplateError, match=r"^In the template 'mine': 'text' is undefined"):
        Template("{{ text }} {{ label }}", name="mine").prompt({})


@pytest.mark.parametrize(
    "field", ["text + 1", "1 // 0", "text.index('y')", "text.get('y')", "range(text | length * 1001)", "text[::0]"]
)
def test_whatever_fails_while_rendering_is_a_template_error(field):
    with pytest.raises(TemplateError, match="can't be rendered"):
        Template("{{ text }} {{ " + field + " }} {{ label }}").prompt("x")


def test_an_unknown_filter_or_test_is_found_even_in_a_branch():
    with pytest.raises(TemplateError, match="No filter named 'nope'"):
        Template("{% if text | length > 1 %}{{ text | nope }}{% endif %} {{ label }}")
    with pytest.raises(TemplateError, match="No test named 'nope'"):
        Template("{% if text is nope %}x{% endif %} {{ text }} {{ label }}")


# what stands before the prompt


def test_the_instruction_lists_the_labels():
    template = Template("{{ text }} {{ label }}", instruction="One of {{ labels | join(', ') }}.")
    assert template.instruction(["a", "b"]) == "One of a, b."
    assert template.context(labels=["a", "b"]) == (Turn("system", "One of a, b.\n\n"),)
    assert Template("{{ text }} {{ label }}").instruction(["a"]) == ""
    assert Template("{{ text }} {{ label }}").context() == ()


def test_arguments_override_the_front_matter():
    source = "---\ninstruction: old\nwords: {a: b}\n---\n{{ text }} {{ label }}"
    assert (Template(source).instruction(), Template(source).words) == ("old", {"a": "b"})
    assert Template(source, instruction="new").instruction() == "new"
    assert Template(source, instruction="").context() == ()
    assert Template(source, words={"a": "c"}).words == {"a": "c"}
    assert Template("{{ text }} {{ label }}").words is None


@pytest.mark.parametrize("instruction", ["{{ text }}", "{{ labels + 1 }}", "{{ labels | shorten }}"])
def test_an_instruction_that_does_not_render_is_a_template_error(instruction):
    with pytest.raises(TemplateError, match="The instruction can't be rendered"):
        Template("{{ text }} {{ label }}", instruction=instruction).context()


def test_system_text_and_separator():
    template = Template("---\nsystem: Be brief.\nseparator: ' | '\n---\n{{ text }} {{ label }}", instruction="Go.")
    assert template.separator == " | "
    assert template.context([("x", "y")]) == (
        Turn("system", "Be brief. | Go. | "),
        Turn("user", "x "),
        Turn("assistant", "y | "),
    )


@given(st.lists(st.tuples(texts, texts), max_size=3), texts)
def test_a_demonstration_is_the_template_rendered(demonstrations, text):
    template = Template("{{ text | shorten }}\nIt was {{ label }}, I think.", instruction="Say it.")
    head, *turns = template.context(demonstrations)
    assert head == Turn("system", "Say it.\n\n")
    assert [turn.role for turn in turns] == ["user", "assistant"] * len(demonstrations)
    for (row, word), user, assistant in zip(demonstrations, turns[::2], turns[1::2], strict=True):
        prompt = template.prompt(row)
        assert user.text == prompt.prefix
        assert assistant.text == word + prompt.suffix + "\n\n"
        assert user.text + assistant.text == template.render(row, word) + "\n\n"
    query = template.query(text, ["a", "b"], demonstrations=demonstrations)
    assert (query.prefix, query.candidates, query.suffix) == (f"{text}\nIt was ", ("a", "b"), ", I think.")
    assert query.context == (head, *turns)


# the frame, for encoders and entailment models


@pytest.mark.parametrize(
    ("source", "frame", "fields"),
    [
        ("{{ text }} It was {{ label }}.", "It was W.", "T"),
        ("{{ text | shorten }}\n\nThis is about {{ label }}.\n", "This is about W.", "T"),
        ("[ Category: {{ label }} ] {{ text }}", "[ Category: W ]", "T"),
        ("Article: {{ text }}\nAnswer: {{ label }}", "Answer: W", "Article: T"),
        ("{{ text }}. {{ label }}, {{ text }}!", ". W,", "T T!"),
        ("{{ text }} One of {{ labels | join(' ') }}: {{ label }}", "One of W V: W", "T"),
        ("{{ text }} {{ 7 * 7 }} {# no #}{{ label }}", "49 W", "T"),
        ("{{ text }} A{% if text %}b{% endif %}C {{ label }}.", "C W.", "T Ab"),
        ("{{ text }} A{% with x = 1 %}b{% endwith %}C {{ label }}.", "C W.", "T Ab"),
        ("{{ text }} {{ label }} A{% for x in text %}b{% endfor %}C", "W A", "T bC"),
        ("{% set m = 'm' %}{{ text }} {{ m }} A {{ label }}", "A W", "T m"),
    ],
)
def test_the_frame_is_the_run_without_fields_around_the_hole(source, frame, fields):
    template = Template(source)
    assert template.frame("W", ["W", "V"]) == frame
    assert template.prompt("T", ["W", "V"]).fields_text == template.text({"text": "T"}) == fields
    assert template.text("T") == "T"  # a plain text is read as it is


def test_a_frame_that_does_not_render_is_a_template_error():
    with pytest.raises(TemplateError, match="around the hole can't be rendered"):
        Template("{{ text }} {{ labels[5] }} {{ label }}").frame("x")


def test_an_entailment_query_is_a_premise_and_a_hypothesis():
    template = Template("{{ text | shorten }}\n\nThis example is {{ label }}.\n", instruction="Ignored.")
    query = template.query("It rains.", ["weather", "sport"], kind="entailment")
    assert query.context == (Turn("premise", "It rains."),)
    assert (query.prefix, query.candidates, query.suffix) == ("This example is ", ("weather", "sport"), ".")
    query = Template("A: {{ a }}. {{ label }}, {{ b }}!").query({"a": 1, "b": 2}, ["x"], kind="entailment")
    assert query.context == (Turn("premise", "A: 1 2!"),)
    assert (query.prefix, query.suffix) == (". ", ",")


# copies, files


@pytest.mark.parametrize("copied", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy, copy.copy])
def test_a_copy_is_the_same_template(copied):
    template = Template(FRONT_MATTER + "{{ text }} {{ label }}", instruction="Go.", words={0: "a"}, name="n")
    template = template.rename(text="review")
    before = template.render({"review": "x"}, "y")  # compiled parts must not travel
    twin = copied(template)
    assert twin is not template
    assert twin == template
    assert hash(twin) == hash(template)
    assert twin.render({"review": "x"}, "y") == before
    assert (twin.fields, twin.words, twin.name, twin.context()) == (("review",), {0: "a"}, "n", template.context())


def test_clone_shares_the_template():
    template = Template("{{ text }} {{ label }}")
    assert clone(template) is template


def test_templates_are_equal_when_they_ask_the_same():
    source = "{{ text }} {{ label }}"
    template = Template(source)
    assert template == Template(source, name="other")
    assert len({template, Template(source)}) == 1
    others = [
        Template(source + "."),
        Template(source, instruction="x"),
        Template(source, words={"a": "b"}),
        template.rename(text="x"),
        source,
    ]
    assert all(template != other for other in others)
    assert template.rename(text="x").rename(x="text") == template.rename() == template


def test_repr_shows_the_name_or_the_source():
    assert repr(Template("{{ text }} {{ label }}")) == "Template('{{ text }} {{ label }}')"
    assert repr(Template("{{ text }} {{ label }}", name="mine")) == "Template('mine')"


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
def test_from_file_drops_only_the_last_line_break(tmp_path, newline, start):
    path = tmp_path / "mine.jinja"
    source = "---\ntask: demo\n---\né {{ text }}\n{{ label }}\n\n"
    path.write_bytes(start + source.replace("\n", newline).encode())
    template = Template.from_file(path)
    assert template.render("x", "y") == "é x\ny\n"
    assert template.metadata == {"task": "demo"}
    assert repr(template) == "Template('mine.jinja')"
    assert Template.from_file(str(path), name="n") == template


def test_windows_line_breaks_do_not_hide_the_front_matter():
    template = Template("---\r\ntask: demo\r\n---\r\n{{ text }} {{ label }}")
    assert template.metadata == {"task": "demo"}
    assert template.render("x", "y") == "x y"


def test_dashes_without_an_end_are_text():
    assert Template("---\n{{ text }} {{ label }}").render("x", "y") == "---\nx y"
    assert Template("{{ text }}\n---\n{{ label }}\n---\n").render("x", "y") == "x\n---\ny\n---\n"


def test_from_file_names_the_file_that_cannot_be_read(tmp_path):
    with pytest.raises(TemplateError, match=r"none\.jinja.*can't be read"):
        Template.from_file(tmp_path / "none.jinja")
    path = tmp_path / "latin.jinja"
    path.write_bytes("é {{ text }} {{ label }}".encode("latin-1"))
    with pytest.raises(TemplateError, match=r"latin\.jinja.*is not UTF-8"):
        Template.from_file(path)
    (tmp_path / "bad.jinja").write_text("{{ text }}")
    with pytest.raises(TemplateError, match=r"In the template 'bad\.jinja'"):
        Template.from_file(tmp_path / "bad.jinja")


def test_a_hole_may_be_called_answer():
    template = Template("{{ context }}\nQ: {{ question }}\nA: {{ answer }}")
    assert template.fields == ("context", "question")
    prompt = template.prompt({"context": "It rained.", "question": "What?"})
    assert prompt.query(("Rain",)).prefix == "It rained.\nQ: What?\nA: "
    assert Template("{{ answer }} is {{ label }}").fields == ("answer",)  # beside a label it is a field
    with pytest.raises(TemplateError, match="by itself"):
        Template("{{ text }} {{ answer | upper }}")
