"""What is raised on purpose is a FewshotError, and a parameter's fault a ParameterError."""

from __future__ import annotations

import ast
import builtins
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import fewshot
from fewshot import errors
from fewshot.checks import above, at_least, between, one_of
from fewshot.errors import FewshotError, InputError, ParameterError

PACKAGE = Path(fewshot.__file__).parent
#: Files that raise errors of Python's own, with the reason.
OWN = {
    ("__init__.py", "AttributeError"): "the protocol of __getattr__",
    ("models/wrappers.py", "AttributeError"): "the protocol of __getattr__",
    ("serving/__init__.py", "AttributeError"): "the protocol of __getattr__",
    ("cli/__init__.py", "SystemExit"): "the exit code of a command",
    ("cli/json_rows.py", "RecursionError"): "as the JSON parser's own; it becomes an InputError in the same function",
    ("models/gguf_header.py", "EOFError"): "it becomes a ModelLoadError in the same file",
    ("models/text/continued.py", "ValueError"): "name_in_errors adds the model's name, and makes an InputError of it",
    ("models/text/tokens.py", "ValueError"): "name_in_errors adds the model's name, and makes an InputError of it",
    ("models/engine/trial.py", "TypeError"): "it becomes a ModelLoadError in the same function",
    ("persistence/limits.py", "ValueError"): "the JSON parser's caller makes an InputError of it",
    ("task/sandbox/environment.py", "TypeError"): "as Jinja2's own operators; it becomes a TemplateError",
    ("task/sandbox/filters.py", "TypeError"): "as Jinja2's own filters; it becomes a TemplateError",
}
BUILTIN = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)}


def raised(path):
    """The builtin errors that a file raises by name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(kind, ast.Name) and kind.id in BUILTIN:
                yield path.relative_to(PACKAGE).as_posix(), kind.id


def test_what_is_raised_on_purpose_is_an_error_of_the_library():
    assert {found for path in PACKAGE.rglob("*.py") for found in raised(path)} == set(OWN)


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FewshotError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_keeps_its_message(kind):
    error = pickle.loads(pickle.dumps(kind("why \x1b[31m")))
    assert str(error) == r"why \x1b[31m"
    assert type(error) is kind
    assert kind.__name__ in errors.__doc__
    assert kind.__name__ in errors.__all__


def test_a_parameters_fault_is_what_it_was():
    assert issubclass(ParameterError, InputError)
    assert issubclass(ParameterError, ValueError)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda value: at_least("n", value, 2, whole=True), np.int8(2)),
        (lambda value: at_least("n", value, 2, whole=True, optional=True), None),
        (lambda value: at_least("n", value, 2), np.float32(2.5)),
        (lambda value: at_least("n", value, 2), Fraction(5, 2)),
        (lambda value: above("n", value, 0), 1e-9),
        (lambda value: above("n", value, 0, optional=True), None),
        (lambda value: between("n", value, 0, 1), np.float64(0.5)),
        (lambda value: between("n", value, 0, 1, with_high=True), 1),
        (lambda value: one_of("n", value, (True, "auto")), np.True_),
    ],
)
def test_what_fits_passes(check, value):
    check(value)


@pytest.mark.parametrize("odd", [True, float("nan"), np.float32("nan"), "2", None, [2], np.array([3, 4]), object(), -1])
@pytest.mark.parametrize(
    ("check", "allowed"),
    [
        (lambda value: at_least("n", value, 2, whole=True, more=" rows"), "an integer of at least 2 rows"),
        (lambda value: at_least("n", value, 0), "at least 0"),
        (lambda value: above("n", value, 0), "greater than 0"),
        (lambda value: between("n", value, 0, 1), "above 0 and below 1"),
        (
            lambda value: between("n", value, 0, 5, with_high=True, more=", as 3"),
            "above 0 and at most 5, as 3",
        ),
        (lambda value: one_of("n", value, ("a", "b")), "'a' or 'b'"),
        (lambda value: one_of("n", value, ("a", "b", "c", "d")), "one of 'a', 'b', 'c' or 'd'"),
    ],
)
def test_what_does_not_fit_is_refused(check, allowed, odd):
    with pytest.raises(ParameterError) as caught:
        check(odd)
    assert str(caught.value) == f"n must be {allowed}. Got {odd!r}."


@pytest.mark.parametrize("odd", [2.0, 1, np.float64(3)])
def test_whole_numbers_are_integers(odd):
    with pytest.raises(ParameterError, match="n must be an integer of at least 2, or None"):
        at_least("n", odd, 2, whole=True, optional=True)
