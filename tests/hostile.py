"""Hostile changes to a kept classifier: what a stranger, a broken disk or a broken download may do to its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fewshot import ConformalClassifier, FewshotError
from fewshot.persistence import folder as folders

#: Values in the place of others.
VALUES = [
    *(None, True, False, -1, 0, 1, 3, 2**31, 10**9, 10**30, 0.5, -1e308, 1e308),
    *("", "x", "label", "\x1b[31m\x07", "/etc/passwd", "../x", "a\x00b", "é" * 3000, "<U500000000", "score", "none"),
    *([], {}, [[]], [None], [0] * 300, ["x", "x"], {"x": {"x": []}}, [[[[[[[[]]]]]]]]),
    *({"ref": 0}, {"ref": 3}, {"ref": -1}, {"ref": 10**9}, {"float": "nan"}, {"float": "inf"}, {"float": "-inf"}),
    *({"numpy": "<f8", "value": 1}, {"numpy": "<i8", "value": 10**30}, {"numpy": "|b1", "value": True}, {"path": "/"}),
    {"numpy": "<U9", "value": {"ref": 0}},
]


def places(said: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in JSON."""
    inside = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    return [path, *(place for key, value in inside for place in places(value, (*path, key)))]


def replaced(said: Any, path: tuple[Any, ...], change: str, value: Any) -> Any:
    """JSON with another value, key or order at a place."""
    if not path:
        return value
    key, *rest = path
    if rest:
        said[key] = replaced(said[key], tuple(rest), change, value)
    elif change == "drop":
        del said[key]
    elif change == "add":
        said.insert(key, value) if isinstance(said, list) else said.update({"unknown": value})
    elif change == "number" and type(said[key]) in (int, float):
        said[key] = said[key] * 1000 + 7
    else:
        said[key] = value
    return said


changes = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["value", "value", "drop", "add", "number"]),
    st.sampled_from(VALUES),
)
damages = st.tuples(
    st.sampled_from(["flip", "cut", "drop", "insert"]), st.floats(0, 1, exclude_max=True), st.integers(0, 255)
)


def damaged(data: bytes, how: str, where: float, number: int) -> bytes:
    """Bytes of which something was lost or changed."""
    i = int(where * len(data))
    if how == "flip":
        return data[:i] + bytes([data[i] ^ (1 << number % 8)]) + data[i + 1 :] if data else b"\x00"
    if how == "cut":
        return data[:i]
    return data[:i] + (data[i + number + 1 :] if how == "drop" else bytes([number]) * 7 + data[i:])


class Twin:
    """A copy of a kept classifier, of which one file at a time is changed and made whole again."""

    def __init__(self, folder: Path, place: Path, case: Any, cls: type) -> None:
        self.folder, self.case, self.cls = shutil.copytree(folder, place), case, cls
        self.whole = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        self.expected = self.answer(self.load())

    def load(self) -> Any:
        return self.cls.load(self.folder, model=self.case.given(), trusted=self.case.trusted)  # type: ignore[attr-defined]

    def answer(self, clf: Any) -> Any:
        found = clf.predict_proba(list(self.case.ask))
        if isinstance(clf, ConformalClassifier):
            assert clf.predict_set(list(self.case.ask)).shape == found.shape
        return found

    def json_files(self) -> list[str]:
        return [name for name in self.whole if name.endswith(".json") and name != "checksums.json"]

    def attempt(self, name: str, data: bytes, *, sealed: bool) -> str:
        """Load and predict with one file changed: how it ended."""
        path = self.folder / name
        path.write_bytes(data)
        try:
            if sealed:
                folders._seal(self.folder)
            found = self.answer(self.load())
        except FewshotError as error:
            return f"{type(error).__name__}: {error}"
        finally:
            path.write_bytes(self.whole[name])
            (self.folder / "checksums.json").write_bytes(self.whole["checksums.json"])
        assert not np.isnan(found).any()
        return (
            "same" if found.shape == self.expected.shape and np.allclose(found, self.expected, atol=1e-6) else "other"
        )

    def mutated(self, name: str, where: float, change: str, value: Any) -> bytes:
        said = json.loads(self.whole[name])
        ways = places(said)
        return json.dumps(replaced(said, ways[int(where * len(ways))], change, value)).encode()
