"""Whatever a template is made of and filled with: a template or a TemplateError, a text or a FewshotError, and soon."""

from __future__ import annotations

import pickle
import time

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fewshot import FewshotError, Template, TemplateError

# How many examples are tried is the profile's to say.
fuzzed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
SECONDS = 10  # of this process alone: a bomb would take minutes

FIELDS = ("text", "a", "b_1", "self", "loop", "range", "namespace", "items", "ﬁ", "名", "_x", "labels")
_FILTERS = """
upper lower title capitalize trim length list join first last reverse sort unique string int float abs round replace
default escape tojson urlencode truncate wordcount map select reject sum min max indent format items dictsort random
center attr batch slice wordwrap striptags shorten nope
"""
_TESTS = "defined undefined none string number mapping sequence iterable even odd in eq sameas divisibleby nope"
_METHODS = "strip split upper replace join get items keys startswith format zfill center encode __class__ pop"
FILTERS, TESTS, METHODS = _FILTERS.split(), _TESTS.split(), _METHODS.split()
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "and", "or", "in", "not in", "is", "if")
SCRAPS = (
    *("{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", "{{ label }}", "{{ text }}", "---\n", "\r\n", "\r", "\ufeff"),
    *("{% raw %}", "{% endraw %}", "{% if text %}", "{% endif %}", "{% for x in text %}", "{% endfor %}", "{text}"),
    *(
        "[MASK]",
        '{"mask"}',
        "|||",
        "\x00",
        "\ud800",
        "\u2028",
        "'",
        '"',
        "\\",
        "((((",
        "]]",
        "|",
        "x" * 300,
        "# ",
        "  ",
    ),
)
names = st.sampled_from(FIELDS)
numbers = st.integers(-3, 12).map(str) | st.sampled_from(["10**9", "3000000000", "1e999", "9" * 40, "1.5", "0"])
words = st.text(st.characters(), max_size=6).map(repr) | st.sampled_from(["'%99d'", "'%s'", "'upper'", "'__class__'"])


def grown(inner):
    """Larger expressions from smaller ones."""
    arguments = st.lists(inner | words, max_size=3).map(", ".join)
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(OPERATORS), inner),
        st.builds("({} | {}({}))".format, inner, st.sampled_from(FILTERS), arguments),
        st.builds("({} | {})".format, inner, st.sampled_from(FILTERS)),
        st.builds("({} is {})".format, inner, st.sampled_from(TESTS)),
        st.builds("{}.{}({})".format, inner, st.sampled_from(METHODS), arguments),
        st.builds("{}.{}".format, inner, names),
        st.builds("{}[{}]".format, inner, inner | words),
        st.builds("{}[{}:{}:{}]".format, inner, numbers, inner, numbers),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("(not {})".format, inner),
        st.builds("range({})".format, arguments),
        st.builds("[{}]".format, arguments),
        st.builds("{{'a': {}}}".format, inner),
    )


expressions = st.recursive(names | numbers | words, grown, max_leaves=8)
literals = st.text(st.characters(), max_size=8) | st.sampled_from(SCRAPS)


def nested(inner):
    """Statements around smaller ones."""
    dash = st.sampled_from(["", "-"])
    return st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.builds("{{% if {} {}%}}{}{{% else %}}{}{{% endif %}}".format, expressions, dash, inner, inner),
        st.builds("{{%{} for {} in {} %}}{}{{% endfor %}}".format, dash, names, expressions, inner),
        st.builds("{{% set {} = {} %}}{}".format, names, expressions, inner),
        st.builds("{{% set {} %}}{}{{% endset %}}".format, names, inner),
        st.builds("{{% with {} = {} %}}{}{{% endwith %}}".format, names, expressions, inner),
        st.builds("{{% filter {} %}}{}{{% endfilter %}}".format, st.sampled_from(FILTERS), inner),
        st.builds("{{% macro m({}) %}}{}{{% endmacro %}}".format, names, inner),
    )


outputs = st.builds("{{{{ {} }}}}".format, expressions)
bodies = st.recursive(literals | outputs, nested, max_leaves=6)
keys = st.sampled_from(["task", "words", "choices", "choice", "answers", "instruction", "separator", "fields", "nope"])
ODD = ("Yes", "~", "1.0", "2024-01-01", "&a x", "*a", "!!binary eA==", "|", ">", "{a: b, c: d}", "[a, b]", "[[[[", "'")
scalars = st.text(st.characters(), max_size=8) | st.sampled_from(ODD)
yamls = st.lists(st.builds("{}: {}".format, keys, scalars) | scalars, max_size=4).map("\n".join)
sources = st.one_of(
    st.lists(literals, max_size=12).map("".join),
    st.builds("{}{{{{ label }}}}{}".format, bodies, bodies),
    st.builds("{{{{ {} | shorten({}) }}}} {{{{ label }}}}".format, names, st.lists(numbers, max_size=2).map(",".join)),
    st.builds("---\n{}\n---\n{}{{{{ text }}}}{{{{ label }}}}".format, yamls, bodies),
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20) | st.binary()
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
rows = (
    st.text(max_size=20)
    | st.fixed_dictionaries(dict.fromkeys(FIELDS[:4], st.text(max_size=9)))
    | st.dictionaries(names, values, max_size=8)
)


def made(source):
    """The template of a source, or the sentence with which it is refused."""
    try:
        return Template(source)
    except TemplateError as error:
        return str(error)


def tried(call):
    """The result, or the sentence that says why there is none."""
    try:
        return call()
    except FewshotError as error:
        return str(error)


def rendered(template, row):
    """The prompt of a row, or the sentence that says why there is none."""
    prompt = tried(lambda: template.prompt(row, ["x", "y"]))
    return prompt if isinstance(prompt, str) else (prompt.prefix, prompt.suffix, prompt.fill("x"))


@given(sources, rows)
@example("{{ 'a' * 3000000000 }}{{ text }}{{ label }}", "x")
@example("---\nwords: &a [*a]\n---\n{{ text }}{{ label }}", "x")
@example("{% if text is mapping %}{{ text.items }}{% endif %}{{ label }}", {"text": {"items": [1]}})
@fuzzed
def test_a_source_is_a_template_or_an_error(source, row):
    start = time.process_time()
    template = made(source)
    if isinstance(template, str):
        assert template.strip()
        assert len(template) < 5_000
    else:
        for one in (row, dict.fromkeys(template.fields, "x")):
            first = rendered(template, one)
            assert rendered(template, one) == first
            assert rendered(pickle.loads(pickle.dumps(template)), one) == first
        assert Template(source) == template
        assert hash(Template(source)) == hash(template)
        assert len(repr(template)) < 300
        assert str(tried(template.lint))
        assert isinstance(tried(lambda: template.frame("x", ["x", "y"])), str)
        renamed = template.rename(**{name: f"{i} {name}" for i, name in enumerate(template.fields)})
        assert len(renamed.fields) == len(template.fields)
    assert time.process_time() - start < SECONDS


@given(st.sampled_from([*FIELDS, "word"]), st.lists(names, max_size=4, unique=True))
@fuzzed
def test_every_name_is_a_field(name, others):
    used = [one for one in dict.fromkeys([name, *others]) if one != "labels"] or ["text"]
    template = Template(" ".join(f"{{{{ {one} }}}}" for one in used) + " {{ label }}")
    assert template.fields == tuple(used)
    assert template.render({one: f"<{one}>" for one in used}, "y") == " ".join(f"<{one}>" for one in used) + " y"


barewords = st.from_regex(r"[\w.+][\w.+~-]{0,11}", fullmatch=True).filter(str.isprintable)


@given(st.dictionaries(barewords, barewords))
@fuzzed
def test_words_are_what_stands_there(words):
    lines = "".join(f"  {key}: {word}\n" for key, word in words.items())
    template = Template(f"---\nwords:\n{lines}---\n{{{{ text }}}} {{{{ label }}}}")
    assert (template.words or {}) == words
