"""What a template may do is a list, and what it makes is bounded: hostile sources and rows, other tools' syntax."""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
import types

import pytest

from fewshot import Classifier, InputError, Template, TemplateError
from fewshot.task.front_matter import split_front_matter
from fewshot.task.gallery import template_of
from fewshot.task.resolve import words_of
from tests.contract import keyword_lm

END = " {{ text }} {{ label }}"


def headed(yaml):
    return f"---\n{yaml}\n---\n{{{{ text }}}} {{{{ label }}}}"


def refused(source, message):
    start = time.process_time()
    with pytest.raises(TemplateError, match=message) as caught:
        Template(source)
    assert time.process_time() - start < 2
    assert len(str(caught.value)) < 1200
    return str(caught.value)


# --- what is refused when a template is made ----------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message", "at"),
    [
        ("{{ 'a' * 3000000000 }}", r"'\*' takes numbers", "*"),
        ("{{ [text] * 3000000000 }}", r"'\*' takes numbers", "*"),
        ("{{ 10**100000000 }}", "no powers", "**"),
        ("{{ '%9999999999d' % 3 }}", "'%' takes numbers", "%"),
        ("{{ '%9999999999d' | format(3) }}", "'format' fills a text", "format"),
        ("{{ '%*d' | format(3, 3) }}", "'format' fills a text", "format"),
        ("{{ text | format(3) }}", "'format' fills a text", "format"),
        ("{{ '{0.__class__}'.format(text) }}", "nothing else. Write the filter, | format", "format("),
        ("{{ text.zfill(9999999999) }}", "calls range and some methods", "zfill("),
        ("{{ text | center(9999999999) }}", "No filter named 'center'", "center"),
        ("{{ text | random }}", "No filter named 'random'.*each time", "random"),
        ("{{ text | choice }}", "No filter named 'choice'.*each time", "choice"),
        ("{{ text | attr('__class__') }}", "No filter named 'attr'", "attr"),
        ("{{ text | map('upper') }}", r"'map' makes a list.*join it, \| join", "map"),
        ("{{ text | map('format', 3) | join }}", "constant name of a filter", "map"),
        ("{{ text | select(text) | join }}", "constant name of a test", "select"),
        ("{{ text.__class__ }}", "no names that begin with __", "__class__"),
        ("{{ text['__class__'] }}", "no names that begin with __", "__class__"),
        ("{{ lipsum(3) }}", "calls range and some methods", "lipsum("),
        ("{{ text() }}", "calls range and some methods", "text("),
        ("{% set ns = namespace(a=1) %}", "calls range and some methods", "namespace("),
        ("{{ range(10 ** 9) }}", "no powers", "**"),
        ("{{ range(1001) | join }}", "A range has 1,000 numbers at most", "range"),
        ("{{ text | upper(*text) }}", "written out, without", ""),
        ("{{ {text: 1} }}", "keys of a mapping are constants", "{"),
        ("{{ 1e999 }}", "too large", ""),
        ("{{ " + "9" * 5000 + " }}", "A number has 30 digits at most", "9"),
        ("{% macro m() %}x{% endmacro %}", "no macros", "macro"),
        ("{% call x() %}{% endcall %}", "no calls", "call"),
        ("{% block b %}x{% endblock %}", "no blocks", "block"),
        ("{% include 'x' %}", "no includes", "include"),
        ("{% import 'x' as x %}", "no imports", "import"),
        ("{% from 'x' import y %}", "no imports", "from"),
        ("{% extends 'x' %}", "no parents", "extends"),
        ("{% autoescape true %}x{% endautoescape %}", "no autoescape", "autoescape"),
        ("{% do text %}", "unknown tag 'do'", "{%"),
        ("{% for x in text %}{{ loop }}{% endfor %}", r"write \{\{ loop.index \}\}", "loop"),
        ("{% for x in text recursive %}x{% endfor %}", "no recursive loops", "recursive"),
        ("{# never closed", "Missing end of comment", ""),
        ("{% raw %} never closed", "Missing end of raw", ""),
    ],
)
def test_what_is_not_on_the_list_is_refused_when_a_template_is_made(source, message, at):
    *_, shown, caret = refused(source + END, message).splitlines()
    assert caret.strip() == "^"
    assert shown[caret.index("^") :].startswith(at)


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 5000 + "text" + ")" * 5000 + " }}",
        "{{ " + "[" * 21 + "]" * 21 + " }}",
        "{{ " + "not " * 5000 + "text }}",
        "{{ text" + " | upper" * 3000 + " }}",
        "{{ text" + ".a" * 3000 + " }}",
        "{{ text" + " + 'a'" * 3000 + " }}",
        "{{ " + "text if text else " * 3000 + "text }}",
        "{% if text %}" * 600 + "{% endif %}" * 600,
        "{% for x in text %}" * 30 + "{% endfor %}" * 30,
        "{% set x %}" * 300 + "{% endset %}" * 300,
    ],
    ids=["brackets", "lists", "not", "filters", "attributes", "sums", "choices", "ifs", "fors", "sets"],
)
def test_what_is_too_deep_is_refused(source):
    refused(source + END, "nested too deeply")


def test_the_depth_does_not_hang_on_the_limit_of_python():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        refused("{% if text %}" * 1200 + "{% endif %}" * 1200 + END, "nested too deeply")
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("start", ["{{ ", "{% ", "---\n ", "{# ", "{{ 'x' ", "{ ", "{{ a }}", "\n", "{%- if "])
def test_many_blanks_do_not_make_it_slow(start):
    start_s = time.process_time()
    for source in (start + " " * 60_000, start + " " * 60_000 + "x" + END):
        with contextlib.suppress(TemplateError):
            Template(source).lint()
    assert time.process_time() - start_s < 4


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x" * 200_001 + END, "200,000 characters at most"),
        ("{{ a }}" * 3334 + END, "10,000 names and signs"),
        ("{% if a %}" + "{% elif a %}" * 201 + "{% endif %}" + END, "200 branches"),
        ("---\ndescription: " + "x" * 100_000 + "\n---\n" + END, "may have 100,000"),
    ],
)
def test_what_is_too_long_is_refused(source, message):
    refused(source, message)


def test_a_long_line_is_shown_around_the_caret():
    *_, shown, caret = refused("x" * 5000 + "{{ text | nope }}\x1b[31m" + END, "No filter named 'nope'").splitlines()
    assert shown[caret.index("^") :].startswith("nope }} [31m")
    assert len(shown) < 140


@pytest.mark.parametrize(
    "arguments",
    ["1e999", "0", "true", "weight=0", "side=1", "wieght=2", "2, weight=2", "weight=text", "1, '', 2"],
)
def test_arguments_of_shorten_are_checked(arguments):
    refused("{{ text | shorten(" + arguments + ") }} {{ label }}", "shorten takes weight|too large")


# --- what is bounded while it renders -----------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% set a = text ~ text %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}", "20,000,000 characters"),
        ("{% set a = text + text %}" + "{% set a = a + a %}" * 60 + "{{ a }}", "20,000,000 characters"),
        ("{% set a = [text] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}", "20,000,000 characters"),
        ("{% set a %}{{ text }}{% endset %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60, "20,000,000 characters"),
        ("{% set a = text %}" + "{% set a = a | replace('x', a ~ a) %}" * 60, "20,000,000 characters"),
        ("{% set a = [text] * 1 %}", "takes numbers"),
        ("{% set a = 99999999 %}" + "{% set a = a * a %}" * 60 + "{{ a }}", "bits|digits"),
        ("{% for i in range(1000) %}{% for j in range(1000) %}{{ text }}{% endfor %}{% endfor %}", "1,000,000 steps"),
        ("{{ text * 1000000000 }}", "takes numbers, and got a str"),
        ("{{ range(text | length * 9999) | join }}", "1,000 numbers at most"),
        ("{{ text | indent(1000000000) }}", "width of 100"),
        ("{{ [text] | tojson(indent=1000000000) }}", "indent of 8"),
        ("{{ 1.5 | round(1000000000) }}", "precision of 20"),
        ("{% set a = text | map('upper') %}{{ a }}", r"join it, \| join"),
        ("{{ [text] | map(attribute='nope') | list }}", "nope"),
        ("{% for x in text %}{{ loop.cycle }}{% endfor %}", "has no text of its own"),
    ],
)
def test_a_rendering_has_bounds(source, message):
    start = time.process_time()
    with pytest.raises(TemplateError, match=message):
        Template(source + END, name="bomb").prompt("x")
    assert time.process_time() - start < 5


def test_an_error_of_a_bound_names_the_template():
    source = "{% for i in range(1000) %}{% for j in range(1000) %}x{% endfor %}{% endfor %}" + END
    with pytest.raises(TemplateError, match=r"In the template 'bomb'.*its loops take more than 1,000,000 steps"):
        Template(source, name="bomb").prompt("x")
    with pytest.raises(TemplateError, match=r"rendered in Template\('\{\{ 1 // 0"):
        Template("{{ 1 // 0 }}" + END).prompt("x")


class Plain:
    pass


class Failing:
    def __str__(self):
        raise OSError("no text")


@pytest.mark.parametrize(
    "value",
    [Plain(), print, Plain, iter("abc"), (x for x in "abc"), [Plain()], [0] * 2_000_000, Failing(), 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_text_is_refused(value):
    with pytest.raises(TemplateError, match="can't be rendered"):
        Template("{{ a }} {{ label }}").prompt({"a": value})


def test_a_generator_is_refused_in_a_loop_too():
    with pytest.raises(TemplateError, match="gives its items only once"):
        Template("{% for x in a %}{{ x }}{% endfor %}{{ label }}").prompt({"a": iter("ab")})


def test_a_long_text_is_no_fault():
    text = "word " * 100_000
    assert Template("{{ text | trim | lower }} {{ label }}").render(text, "x") == text.strip() + " x"


# --- names --------------------------------------------------------------------------------------

KNOWN = [
    "namespace",
    "range",
    "dict",
    "lipsum",
    "cycler",
    "joiner",
    "loop",
    "self",
    "caller",
    "varargs",
    "kwargs",
    "super",
]


@pytest.mark.parametrize("name", [*KNOWN, "_", "_x", "context", "environment", "class", "ﬁ", "名前", "x" * 10_000])
def test_a_name_that_jinja_knows_is_a_field(name):
    template = Template(f"{{{{ {name} }}}} {{{{ text }}}} {{{{ label }}}}")
    assert template.fields == (name, "text")
    assert template.render({name: "a", "text": "b"}, "c") == "a b c"
    with pytest.raises(TemplateError, match=f"'{name[:20]}"):
        template.prompt({"text": "b"})


def test_names_that_python_takes_for_one_are_two():
    template = Template("{{ ﬁ }} {{ fi }} {% set ﬀ = 3 %}{{ ff }}{{ ﬀ }} {{ label }}")
    assert template.fields == ("ﬁ", "fi", "ff")
    assert template.render({"ﬁ": 1, "fi": 2, "ff": 4}, "x") == "1 2 43 x"


def test_fields_stand_in_the_order_of_the_source_whatever_their_letters():
    assert Template("Read a text: {{ text_b }} {{ text }} {{ a }} {{ label }}").fields == ("text_b", "text", "a")


def test_items_of_mappings_come_before_their_methods():
    row = {"meta": {"items": 3, "keys": ["k"], "pop": 4}}
    assert Template("{{ meta.items }}{{ meta['keys'][0] }}{{ meta.pop }} {{ label }}").render(row, "x") == "3k4 x"
    listed = Template("{% for k, v in meta.items() %}{{ k }}={{ v }};{% endfor %}{{ meta.get('no', '-') }} {{ label }}")
    assert listed.render({"meta": {"a": 1, "b": 2}}, "x") == "a=1;b=2;- x"
    with pytest.raises(TemplateError, match="has no attribute 'real'"):
        Template("{{ n.real }} {{ label }}").prompt({"n": 3})


# --- front matter -------------------------------------------------------------------------------


def test_words_are_text_whatever_yaml_takes_them_for():
    odd = [
        "Yes",
        "No",
        "on",
        "off",
        "true",
        "null",
        "~",
        "1.0",
        "1_000",
        "0x1F",
        "0o17",
        "017",
        ".inf",
        "1:30",
        "2024-01-01",
    ]
    pairs = ", ".join(f"{word}: {word}" for word in odd)
    assert Template(headed(f"words: {{{pairs}}}")).words == {word: word for word in odd}
    assert Template(headed("words: {a: [Yes, 1.0], b: No}")).words == {"a": ["Yes", "1.0"], "b": "No"}
    assert Template(headed("answers: {no: No, yes: Yes}")).metadata == {"answers": {"no": "No", "yes": "Yes"}}
    assert Template(headed("separator: 1.0")).separator == "1.0"
    assert Template(headed("words:\nchoices: ~")).words is None


def test_classes_of_a_front_matter_are_those_of_the_labels():
    def classes(words, labels):
        found = words_of(None, Template(headed(f"words: {words}")), labels)
        return found[1].tolist(), found[0].labels

    assert classes("{0: bad, 1: good}", [1, 0]) == ([0, 1], ("bad", "good"))
    assert classes("{0: bad, 1: good, 2: best}", [1, 0]) == ([0, 1, 2], ("bad", "good", "best"))
    assert classes("{False: bad, True: good}", [True, False]) == ([False, True], ("bad", "good"))
    assert classes("{0: bad, 1: good}", ["0", "1"]) == (["0", "1"], ("bad", "good"))
    assert classes("{0: bad, 1: good}", None) == (["0", "1"], ("bad", "good"))


@pytest.mark.parametrize(
    ("yaml", "message", "line"),
    [
        ("task: x\nwords: &a {b: c}", "no anchors and aliases", "words: &a {b: c}"),
        ("task: *a", "no anchors and aliases", "task: *a"),
        ("words: " + "[" * 6 + "]" * 6, "5 levels deep", "words: [[[[[[]]]]]]"),
        ("words: {a: x, a: y}", "the key 'a' twice", "words: {a: x, a: y}"),
        ("task: a\ntask: b", "the key 'task' twice", "task: b"),
        ("words: !!python/name:os.system x", "no tags of YAML", "words: !!python/name:os.system x"),
        ("words: !!binary aGk=", "no tags of YAML", "words: !!binary aGk="),
        ("? [a]\n: b", "A key of the front matter must be text", "? [a]"),
        ("task: a\x00b", "not valid YAML: it holds the character", "task: a b"),
        ("words: [a", "not valid YAML", "words: [a"),
    ],
)
def test_hostile_yaml_is_refused_where_it_stands(yaml, message, line):
    *_, shown, caret = refused(headed(yaml), message).splitlines()
    assert caret.strip() == "^"
    assert line in shown or message == "not valid YAML"


@pytest.mark.parametrize("yaml", ["words: " + "[" * 20_000, "words: {a: " + "9" * 5000 + "}", "? " * 2000, "- " * 2000])
def test_deep_and_odd_yaml_ends_soon(yaml):
    start = time.process_time()
    with contextlib.suppress(TemplateError):
        Template(headed(yaml))
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("---\ntask: x\n{{ text }} {{ label }}", "not closed"),
        ("---\n# mine\nwords: {a: b}\n {{ text }} {{ label }}", "not closed"),
        ("\n---\ntask: x\n---\n{{ text }} {{ label }}", "must begin with the source"),
        ("  ---\n  task: x\n  ---\n  {{ text }} {{ label }}", "must begin with the source"),
    ],
)
def test_front_matter_that_would_be_text_is_refused(source, message):
    refused(source, message)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_front_matter_is_found_with_any_line_break(newline, start):
    source = start + newline.join(["---", "task: x", "---", "a", "{{ text | nope }} {{ label }}"])
    assert split_front_matter(source)[0] == {"task": "x"}
    refused(source, r"\(line 5\)")


# --- other tools' syntax ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{text} is [MASK]", r"^Write \{\{ text \}\} instead of \{text\}, \{\{ label \}\} instead of \[MA"),
        ("{text}: <mask>", r"^Write .*\{\{ label \}\} instead of <mask>"),
        (
            '{"placeholder":"text_a"} was {"mask"}.',
            r"^Write \{\{ text_a \}\} instead of .*\{\{ label \}\} inst",
        ),
        ('{"soft"} {"placeholder":"text_a"}', r'^Write plain words instead of \{"soft"\}'),
        (
            "*cls**sent_0*_It_was*mask*.*sep+*",
            r"\{\{ text \}\} instead of \*sent_0.*\{\{ label \}\} instead of \*m",
        ),
        ("{{ text }} ||| {{ answer_choices[label] }}", r"^Write .*\{\{ label \}\} instead of answer_choices\[label\]"),
        ("{{ text }} ||| {{ answer_choices[target] }}", r"^Write .*\{\{ label \}\} instead of answer_choices"),
        ("doc_to_text: '{{ text }}'", r"\{\{ label \}\} after it"),
        ("{{ label }} {text}", r"^Write \{\{ text \}\} instead of \{text\}\. A template must use at least one field"),
        ("{{ label }} {0}", r"^Write \{\{ text \}\} instead of \{0\}"),
        ("{{ label }} %s", r"^Write \{\{ text \}\} instead of %s"),
        ("{{ label }} ${review}", r"^Write \{\{ review \}\} instead of \$\{review\}"),
        ("{{ label }} <text>", r"^Write \{\{ text \}\} instead of <text>"),
        ("{text}: { label }", r"\{\{ label \}\} instead of \{ label \}"),
        ("{{ Customer message }} {{ label }}", r"write \{\{ Customer_message \}\}, and template.rename\(Customer_mes"),
        ("{{ 1st }} {{ label }}", r"template.rename\(_1st='1st'\)"),
        ("{{ my-text }} {{ label }}", r"no hyphen: write \{\{ my_text \}\} and template.rename\(my_text='my-text'\)"),
        ("{{ my-long-text | lower }} {{ label }}", r"template.rename\(my_long_text='my-long-text'\)"),
    ],
)
def test_the_syntax_of_other_tools_is_translated(source, message):
    refused(source, message)
    with pytest.raises(TemplateError, match=message) as caught:
        template_of(source)
    assert "gallery" not in str(caught.value)


def test_the_cure_for_a_column_with_a_blank_works():
    template = Template("{{ Customer_message }} {{ label }}").rename(Customer_message="Customer message")
    assert template.render({"Customer message": "a"}, "b") == "a b"
    assert Template("{{ total - used }} {{ label }}").render({"total": 3, "used": 1}, "x") == "2 x"


@pytest.mark.parametrize(
    "text", ['{"text": "a", "mask": 1}', "{}", "[x]", "100 %", "$5", "<br>", "a | b", "{ }", "{{'{{'}}"]
)
def test_braces_and_marks_in_a_text_are_text(text):
    assert Template(f"{text}\n{{{{ text }}}} {{{{ label }}}}").render("x", "y").endswith("x y")


def test_lint_finds_what_was_hardly_meant():
    def found(source):
        return [(one.message, one.cure) for one in Template(source).lint().findings]

    (line,) = found("A {{ text }}\n{% if text %}\nB\n{% endif %}\nC {{ label }}")
    assert line[0] == "The line '{% if text %}' holds nothing that is shown, and leaves a line break, as 1 more do."
    assert line[1].startswith("Begin it with {%-")
    cured = Template("A {{ text }}\n{%- if text %}\nB\n{%- endif %}\nC {{ label }}")
    assert cured.render("x", "y") == "A x\nB\nC y"
    assert not cured.lint().findings
    ((_, cure),) = found("{% set a = text %}\n{{ a }} {{ label }}")
    assert cure.startswith("End it with -%}")
    assert Template("{% set a = text -%}\n{{ a }} {{ label }}").render("x", "y") == "x y"
    ((message, cure),) = found("[MASK] {{ text }} {{ label }}")
    assert "'[MASK]' stands in the template as text" in message
    assert "{{ label }}" in cure
    ((message, _),) = found("---\n{{ text }} {{ label }}")
    assert "begins with a line of dashes" in message
    assert not found('{"text": "{{ text }}"}\n<b> {{ label }} </b>')


# --- templates as objects -----------------------------------------------------------------------


def test_names_and_columns_are_text():
    with pytest.raises(TemplateError, match=r"name must be a string\. Got list"):
        Template(END, name=["x"])
    with pytest.raises(TemplateError, match="names of columns, which are text"):
        Template(END).rename(text=["x"])


def test_a_long_source_has_a_short_repr():
    template = Template("x" * 100_000 + END)
    assert len(repr(template)) < 300
    assert pickle.loads(pickle.dumps(template)) == template


@pytest.mark.parametrize("name", ["a\0b.jinja", "."])
def test_a_file_that_can_not_be_read_is_named(name):
    with pytest.raises(TemplateError, match="can't be read"):
        Template.from_file(name)


def test_a_file_in_another_encoding_is_told_how(tmp_path):
    (tmp_path / "a.jinja").write_text(END, encoding="utf-16")
    with pytest.raises(TemplateError, match="Save it as UTF-8"):
        Template.from_file(tmp_path / "a.jinja")
    (tmp_path / "b.jinja").write_text("x" * 1_000_001)
    with pytest.raises(TemplateError, match="more than 1,000,000 characters"):
        Template.from_file(tmp_path / "b.jinja")


def test_a_classifier_says_what_is_wrong_with_a_row():
    clf = Classifier(keyword_lm(), "{% for x in a %}{{ x }}{% endfor %} {{ label }}").fit(None, ["no", "yes"])
    with pytest.raises((TemplateError, InputError), match="Row 0"):
        clf.predict([{"a": types.SimpleNamespace()}])
