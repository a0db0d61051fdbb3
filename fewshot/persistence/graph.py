"""A classifier as data: a list of nodes, each made of plain values and of nodes before it, and back.

What two objects share is one node, so it is shared again. A node can't name one that comes later, so reading is one
pass, and ends. Numbers go into arrays of one safetensors file, templates into files of their own, models and foreign
heads wherever their own modules put them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.errors import FewshotError, InputError, UnsupportedError
from fewshot.persistence.classes import is_known, rebuild, take_state
from fewshot.persistence.limits import MISREAD, Sizes, check_width
from fewshot.task.template import Template

__all__ = ["Reader", "Writer"]

#: Kinds of numbers that safetensors holds: truth values, integers and floats.
_NUMBERS = "biuf"
_TEXT, _OBJECTS = "U", "O"
_CONTAINERS: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
Other = Callable[[Any, str], dict[str, Any] | None]


class Writer:
    """Turns an object into nodes; ``other(value, path)`` gives the node of a model or a foreign head, or else None."""

    def __init__(self, other: Other) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.templates: dict[str, str] = {}  # file name -> source
        self.written: list[Any] = []  # what became nodes; alive, so that no two objects share an id
        self._other = other
        self._places: dict[int, int] = {}
        self._open: set[int] = set()

    def value(self, value: Any, path: str) -> Any:
        """The JSON of a value; of anything that is not a plain one a reference to its node.

        What can't be kept is refused, and the message says where it is.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, np.generic) and (value.dtype.kind == _TEXT or _is_number(value.dtype)):
            return {"numpy": value.dtype.str, "value": self.value(value.item(), path)}
        if isinstance(value, Path):
            return {"path": str(value)}
        if id(value) not in self._places:
            if id(value) in self._open:
                raise UnsupportedError(f"{path} holds itself, and can't be kept.")
            self._open.add(id(value))
            node = self._node(value, path)
            self._open.discard(id(value))
            self.written.append(value)
            self._places[id(value)] = len(self.nodes)
            self.nodes.append(node)
        return {"ref": self._places[id(value)]}

    def _node(self, value: Any, path: str) -> dict[str, Any]:
        if type(value) is np.ndarray:
            return self._array(value, path)
        if type(value) is np.random.RandomState:
            return {"random_state": self.value(value.get_state(legacy=False), path)}
        if type(value) is Template:
            return self._template(value, path)
        if is_known(value):
            attributes = {name: self.value(own, f"{path}.{name}") for name, own in take_state(value).items()}
            return {"object": type(value).__name__, "attributes": attributes}
        found = self._other(value, path)
        if found is not None:
            return found
        for name, kind in _CONTAINERS.items():
            if type(value) is kind:
                return {name: [self.value(own, f"{path}[{i}]") for i, own in enumerate(value)]}
        if type(value) is dict:
            pairs = [
                [self.value(key, f"a key of {path}"), self.value(own, f"{path}[{key!r}]")] for key, own in value.items()
            ]
            return {"dict": pairs}
        raise UnsupportedError(
            f"{path} is of {type(value).__module__}.{type(value).__qualname__}, which can't be kept: a kept classifier "
            "holds data, this library's own classes, models, and scikit-learn estimators as heads. Use one of these "
            "there; text, numbers and truth values as fields of a row and as classes."
        )

    def _array(self, value: np.ndarray[Any, Any], path: str) -> dict[str, Any]:
        if _is_number(value.dtype):
            name = f"a{len(self.arrays)}"
            self.arrays[name] = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))
            # the order in memory decides the last bits of a product
            fortran = value.flags.f_contiguous and not value.flags.c_contiguous
            return {"array": name, "shape": list(value.shape), **({"order": "F"} if fortran else {})}
        if value.dtype.kind in (_TEXT, _OBJECTS):
            items = [self.value(one, f"{path}[{i}]") for i, one in enumerate(value.ravel().tolist())]
            return {"items": items, "dtype": value.dtype.str, "shape": list(value.shape)}
        raise UnsupportedError(
            f"{path} is an array of {value.dtype}, which can't be kept: numbers, truth values and text can."
        )

    def _template(self, template: Template, path: str) -> dict[str, Any]:
        source = template.source
        name = next((file for file, known in self.templates.items() if known == source), None)
        if name is None:
            name = f"template-{len(self.templates) + 1}.jinja"
            self.templates[name] = source
        kept = {key: self.value(own, f"{path}.{key}") for key, own in template.kept().items()}
        return {"template": name, "name": template.name, **kept}


class Reader:
    """Turns nodes into an object, and refuses a node that is not what `Writer` makes.

    ``template(file name)`` returns a source; ``others[key](node)``, by the key of a node, a model or a foreign head.
    """

    def __init__(
        self,
        nodes: Any,
        arrays: dict[str, np.ndarray[Any, Any]],
        template: Callable[[Any], str],
        others: Mapping[str, Callable[[dict[str, Any]], Any]],
    ) -> None:
        self._arrays, self._template_source = arrays, template
        self._made: list[Any] = []
        self._sizes = Sizes()
        for i, node in enumerate(nodes):
            other = next((others[key] for key in node if key in others), None)
            if other is not None:  # what may go wrong there is said there
                self._sizes.add(())
                self._made.append(other(node))
                continue
            try:
                self._sizes.add(_references(list(node.values())))
                self._made.append(self._object(node))
            except FewshotError as error:
                raise type(error)(f"config.json, node {i}: {error}") from error
            except MISREAD as error:
                raise InputError(f"config.json, node {i} is not what save writes: {node!r:.200} ({error!r})") from error

    def value(self, said: Any) -> Any:
        """The value of its JSON."""
        if said is None or isinstance(said, bool | int | float | str):
            return said
        if not isinstance(said, dict):
            raise InputError(f"a value is {said!r:.80}")
        if "ref" in said:
            place = said["ref"]
            if type(place) is not int or not 0 <= place < len(self._made):
                raise InputError(f"it names node {place!r}, which does not come before it")
            return self._made[place]
        if "float" in said:
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[said["float"]]
        if "path" in said:
            return Path(_text(said["path"]))
        kind = _dtype(said["numpy"])
        if kind.kind not in (*_NUMBERS, _TEXT):
            raise InputError(f"it holds a scalar of {kind}")
        value = self.value(said["value"])
        if isinstance(value, list | tuple | np.ndarray):
            raise InputError(f"it holds a scalar of {kind} that is none")
        return kind.type(value)

    def _object(self, node: dict[str, Any]) -> Any:
        if "object" in node:
            return rebuild(node["object"], {name: self.value(own) for name, own in node["attributes"].items()})
        if "array" in node:
            found = self._arrays[node["array"]]
            if math.prod(node["shape"]) != found.size or min(node["shape"], default=0) < 0:
                raise InputError(f"the array {node['array']!r} has {found.size} numbers, not of shape {node['shape']}")
            return found.reshape(node["shape"]).copy(order=node.get("order", "C"))
        if "items" in node:
            return self._items(node)
        if "dict" in node:
            return {self._key(key): self.value(own) for key, own in node["dict"]}
        if "template" in node:
            return self._template(node)
        if "random_state" in node:
            return _random_state(self.value(node["random_state"]))
        for name, kind in _CONTAINERS.items():
            if name in node:
                one = self._key if "set" in name else self.value
                return kind(one(own) for own in node[name])
        raise InputError(f"it is {node!r:.80}, which may be of a newer version")

    def _key(self, said: Any) -> Any:
        """The value of what is hashed."""
        if isinstance(said, dict) and type(said.get("ref")) is int and 0 <= said["ref"] < len(self._made):
            self._sizes.check_key(said["ref"])
        return self.value(said)

    def _items(self, node: dict[str, Any]) -> np.ndarray[Any, Any]:
        kind = _dtype(node["dtype"])
        if kind.kind not in (_TEXT, _OBJECTS):
            raise InputError(f"it holds an array of {kind}")
        if kind.kind == _TEXT:
            check_width(kind.itemsize // 4, node["items"])
        made = np.empty(len(node["items"]), dtype=kind)
        for i, one in enumerate(node["items"]):
            made[i] = self.value(one)
        return made.reshape(node["shape"])

    def _template(self, node: dict[str, Any]) -> Template:
        words, instruction = (self.value(node[key]) for key in ("words", "instruction"))
        described = self.value(node.get("descriptions"))  # a folder of before has none
        source, name = self._template_source(node["template"]), self.value(node["name"])
        template = Template(source, instruction=instruction, words=words, descriptions=described, name=name)
        renamed = self.value(node["renamed"])
        return template.rename(**renamed) if renamed else template


def _references(said: Any) -> Iterator[int]:
    """The places of the nodes that are named, each as often as it is named."""
    if isinstance(said, dict):
        if type(said.get("ref")) is int:
            yield said["ref"]
            return
        said = said.values()
    for one in said:
        if isinstance(one, list | dict):
            yield from _references(one)


def _random_state(state: Any) -> np.random.RandomState:
    """A random state; numpy reads beyond its numbers where the place in them is wrong."""
    place = state["state"]["pos"]
    if type(place) is not int or not 0 <= place <= 624:
        raise InputError(f"it holds a random state at place {place!r}")
    made = np.random.RandomState()
    made.set_state(state)
    return made


def _is_number(kind: np.dtype[Any]) -> bool:
    """Whether safetensors has this type; it has no wide floats."""
    return kind.kind in _NUMBERS and kind.itemsize <= 8


def _dtype(said: Any) -> np.dtype[Any]:
    if not re.fullmatch(r"[<>|=]?[a-zA-Z]\d{0,9}", _text(said)):
        raise InputError(f"it has the type {said!r:.80}")
    return np.dtype(said)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"it has {value!r:.80} where text should be")
    return value
