"""Which names of the classes separate texts best, without a label."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

from fewshot import Classifier, Embedding, FakeLM, InputError, NameComparison, Prompting, compare_names, datasets

TEMPLATE = "{{ text }} It was {{ label }}"
TEXTS = ["fun", "dull", "great fun", "so dull", "fun fun fun"]


def score(query):
    """It knows good and bad; decent is half a word of the first."""
    fun, dull = query.prefix.count("fun"), query.prefix.count("dull")
    known = {"good": 3.0 * fun, "bad": 3.0 * dull, "decent": 1.0 * fun}
    return [known.get(name.strip(), 0.0) for name in query.candidates]


SETS = {"unknown": ["xx", "yy"], "known": ["good", "bad"], "half": ["decent", "yy"]}


def test_it_is_the_mutual_information_by_a_plain_loop():
    lm = FakeLM(score)
    found = compare_names(TEXTS, SETS, model=lm, template=TEMPLATE)
    assert isinstance(found, NameComparison)
    assert found.sets == ("known", "half", "unknown")
    assert found.best == "known"
    parts = {}
    for name, own in SETS.items():
        proba = Classifier(lm, TEMPLATE, strategy=Prompting()).fit(None, own).predict_proba(TEXTS)
        mean = proba.mean(axis=0)
        parts[name] = np.array([sum(p * np.log(p / q) for p, q in zip(row, mean, strict=True)) for row in proba])
    assert found.values == pytest.approx([parts[name].mean() for name in found.sets], abs=1e-12)
    wanted = [(parts[name] - parts["known"]).std() / np.sqrt(len(TEXTS)) for name in found.sets]
    assert found.errors == pytest.approx(wanted, abs=1e-12)
    assert found.errors[0] == 0


def test_it_prints():
    found = compare_names(TEXTS, {**SETS, "<i>": ["x", "y"]}, model=FakeLM(score), template=TEMPLATE)
    lines = str(found).splitlines()
    assert lines[0].split() == ["names", "mutual", "information", "less", "than", "the", "best"]
    assert lines[1].split()[0] == "known"
    assert "&lt;i&gt;" in found._repr_html_()
    assert "<i>" not in found._repr_html_()


def test_an_encoder_prefers_names_with_a_meaning():
    texts, _ = datasets.load_tickets()
    sets = {"numbered": ["class one", "class two", "class three"], "named": ["billing", "bug report", "praise"]}
    found = compare_names(texts[:40], sets)
    assert found.best == "named"
    assert found.values == compare_names(texts[:40], sets, strategy=Embedding()).values


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"a": ["x", "y"]}, "at least two sets.* Got 1"),
        (["x", "y"], "at least two sets.* Got list"),
        ({"a": ["x", "y"], "b": "xy"}, r"The names of the set 'b' must be a list or a mapping\. Got 'xy'"),
        ({"a": ["x", "y"], "b": ["x", "y", "z"]}, r"the same number of names.* Got \{'a': 2, 'b': 3\}"),
    ],
)
def test_bad_input(sets, said):
    with pytest.raises(InputError, match=said):
        compare_names(TEXTS, sets, model=FakeLM(score), template=TEMPLATE)


def test_the_blocks_of_the_page_print_what_they_say():
    page = (Path(__file__).resolve().parent.parent / "docs/labelling.md").read_text(encoding="utf-8")
    own = page.partition("## Names of classes")[2].partition("\n## ")[0]
    source = "\n".join(re.findall(r"^```python\n(.*?)^```", own, re.DOTALL | re.MULTILINE))
    test = doctest.DocTestParser().get_doctest(source, {}, "labelling.md", "labelling.md", 0)
    report: list[str] = []
    runner = doctest.DocTestRunner()
    runner.run(test, out=report.append)
    assert runner.tries > 3
    assert not runner.failures, "".join(report)
