"""What is public stays: every name of the last release is there, and may be called as it was.

The list is in ``data/public.json``. ``python -m tests.test_public`` writes it anew, for a release.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import fewshot

LIST = Path(__file__).parent / "data" / "public.json"
PUBLIC: list[str] = vars(fewshot)["__all__"]  # the stub has none
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameters(function: Any) -> list[list[Any]]:
    """Name, kind and whether it may be left out, of each parameter."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [[one.name, one.kind.name, one.default is not one.empty or one.kind in _VARIADIC] for one in found]


def described(value: Any) -> dict[str, list[list[Any]]]:
    """How a public name may be called; of a class, also its public methods, but for those of other libraries."""
    if not callable(value):
        return {}
    found = {"": parameters(value)}
    if inspect.isclass(value) and value.__module__.startswith("fewshot"):
        methods = inspect.getmembers(value, inspect.isroutine)
        own = (
            (name, method) for name, method in methods if str(getattr(method, "__module__", "")).startswith("fewshot")
        )
        found |= {name: parameters(method) for name, method in own if not name.startswith("_")}
    return found


def everything() -> dict[str, dict[str, list[list[Any]]]]:
    return {name: described(getattr(fewshot, name)) for name in PUBLIC}


KEPT = json.loads(LIST.read_text(encoding="utf-8")) if LIST.exists() else {}


def broken(before: list[list[Any]], now: list[list[Any]]) -> list[str]:
    """Which calls of the former signature the new one does not take."""
    there = {name: (kind, optional) for name, kind, optional in now}
    open_names = any(kind == "VAR_KEYWORD" for _, kind, _ in now)
    found = []
    for name, kind, optional in before:
        if kind.startswith("VAR_"):
            continue
        if name not in there:
            if not (open_names and kind != "POSITIONAL_ONLY"):
                found.append(f"{name} is gone")
            continue
        if optional and not there[name][1]:
            found.append(f"{name} must be given now")
        if kind == "POSITIONAL_OR_KEYWORD" and there[name][0] != kind:
            found.append(f"{name} was {kind} and is {there[name][0]}")
    known = {name for name, _, _ in before}
    found += [f"{name} is new and must be given" for name, _, optional in now if name not in known and not optional]
    places = [name for name, kind, _ in before if kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    now_places = [name for name, kind, _ in now if kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    if not found and now_places[: len(places)] != places:
        found.append(f"the order was {places} and is {now_places}")
    return found


def test_there_is_a_list():
    assert len(KEPT) > 80


@pytest.mark.parametrize("name", sorted(KEPT))
def test_a_public_name_may_be_called_as_before(name):
    assert name in PUBLIC, "it is gone: let it warn for a version first"
    now = described(getattr(fewshot, name))
    for method, before in KEPT[name].items():
        assert method in now, f"{name}.{method} is gone: let it warn for a version first"
        assert broken(before, now[method]) == [], f"{name}.{method}"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([["a", "POSITIONAL_OR_KEYWORD", False], ["b", "POSITIONAL_OR_KEYWORD", True]], []),
        (
            [["a", "POSITIONAL_OR_KEYWORD", False], ["b", "POSITIONAL_OR_KEYWORD", True], ["c", "KEYWORD_ONLY", True]],
            [],
        ),
        ([["a", "POSITIONAL_OR_KEYWORD", False]], ["b is gone"]),
        ([["a", "POSITIONAL_OR_KEYWORD", False], ["b", "POSITIONAL_OR_KEYWORD", False]], ["b must be given now"]),
        ([["a", "POSITIONAL_OR_KEYWORD", False], ["b", "KEYWORD_ONLY", True]], ["b was POSITIONAL_OR_KEYWORD and is"]),
        ([["b", "POSITIONAL_OR_KEYWORD", True], ["a", "POSITIONAL_OR_KEYWORD", False]], ["the order was"]),
        (
            [["a", "POSITIONAL_OR_KEYWORD", False], ["b", "POSITIONAL_OR_KEYWORD", True], ["c", "KEYWORD_ONLY", False]],
            ["c is new and must be given"],
        ),
    ],
)
def test_what_breaks_a_call_is_found(now, said):
    before = [["a", "POSITIONAL_OR_KEYWORD", False], ["b", "POSITIONAL_OR_KEYWORD", True]]
    found = broken(before, now)
    assert len(found) == len(said)
    assert all(one.startswith(start) for one, start in zip(found, said, strict=True))


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(own, sort_keys=True)}" for name, own in sorted(everything().items())]
    LIST.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
