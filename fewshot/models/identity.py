"""The identity of a Python function: its code and all that it uses, as a text that is equal in every process."""

from __future__ import annotations

import copyreg
import dis
import hashlib
import sys
import sysconfig
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["identity"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, types.EllipsisType, types.NotImplementedType)
_DESCRIPTORS = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.ClassMethodDescriptorType,
)
#: What a class has besides what its author wrote into it.
_INCIDENTAL = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "_abc_impl"}


def identity(*values: Any) -> str:
    """Hash functions and other objects by what they do: code, defaults, closures, used globals, bound state.

    What is installed counts by its name and version. Where it can't be told what an object does (an open file, a lock,
    a generator), the hash is one that nothing else ever has.
    """
    try:
        text = _Teller().text(values)
    except Exception:  # whatever a strange object raises when it is asked for its state
        text = _unlike_any()
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def _unlike_any() -> str:
    return f"unlike any other {uuid.uuid4().hex}"


class _Teller:
    """Tells one object after another; one that was told before is named by its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no two objects share an id

    def text(self, value: Any) -> str:
        """What an object is."""
        if type(value) in _PLAIN:
            return f"{type(value).__name__} {value!r}"
        if id(value) in self._numbers:
            return f"again {self._numbers[id(value)]}"
        self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        return f"{type(value).__name__}({', '.join(self._parts(value))})"

    def _parts(self, value: Any) -> Iterator[str]:
        if type(value) in (tuple, list):
            yield from map(self.text, value)
        elif type(value) in (set, frozenset):
            yield from sorted(_Teller().text(one) for one in value)  # in no order of theirs, so with no shared numbers
        elif type(value) is dict:
            yield from (self.text(part) for item in value.items() for part in item)
        elif isinstance(value, types.CodeType):
            yield from map(self.text, _code(value))
        elif isinstance(value, types.ModuleType):
            yield _named(value.__name__, "")
        elif isinstance(value, types.MethodType | types.BuiltinMethodType):
            yield str(value.__qualname__)
            yield self.text(value.__self__)
            yield self.text(getattr(value, "__func__", None))
        elif isinstance(value, _DESCRIPTORS):
            yield f"{value.__objclass__.__qualname__}.{value.__name__}"
        elif isinstance(value, type | types.FunctionType) and _is_installed(value.__module__):
            yield _named(value.__module__, value.__qualname__)
        elif isinstance(value, types.FunctionType):
            yield from map(self.text, self._function(value))
        elif isinstance(value, type):
            own = {name: part for name, part in vars(value).items() if name not in _INCIDENTAL}
            yield from map(self.text, (value.__qualname__, value.__bases__, own))
        elif isinstance(value, property | staticmethod | classmethod):
            names = ("fget", "fset", "fdel", "__func__")
            yield from (self.text(getattr(value, name, None)) for name in names)
        else:
            yield from self._state(value)

    @staticmethod
    def _function(f: types.FunctionType) -> Iterator[Any]:
        """Everything that decides what a function returns."""
        yield from (f.__qualname__, f.__code__, f.__defaults__, f.__kwdefaults__, vars(f))
        for cell in f.__closure__ or ():
            yield _content(cell)
        for name in sorted(set(_globals_of(f.__code__)) & set(f.__globals__)):
            used = f.__globals__[name]
            yield from (name, used)
            if isinstance(used, types.ModuleType) and not _is_installed(used.__name__):
                yield {part: getattr(used, part) for part in sorted(_names(f.__code__)) if hasattr(used, part)}

    def _state(self, value: Any) -> Iterator[str]:
        """What a pickle would keep of an object, told instead of pickled."""
        registered = copyreg.dispatch_table.get(type(value))
        reduced = registered(value) if registered else value.__reduce_ex__(4)
        if isinstance(reduced, str):  # it is found by its name, which tells nothing of what it does
            inner = getattr(value, "__wrapped__", None)
            known = _is_installed(getattr(value, "__module__", None) or type(value).__module__)
            yield reduced if inner is not None or known else _unlike_any()
            yield self.text(inner)
            return
        made, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        yield from map(self.text, (made, arguments, state))
        yield from (self.text(list(rest)) for rest in (items, pairs) if rest is not None)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is filled later, as that of a function which calls itself may be
        return None


def _code(code: types.CodeType) -> Iterator[Any]:
    yield from (code.co_code, code.co_consts, code.co_names, code.co_freevars, code.co_flags)
    yield from (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_varnames[: code.co_argcount])


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions inside it."""
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _codes(one)


def _globals_of(code: types.CodeType) -> Iterator[str]:
    for one in _codes(code):
        for step in dis.get_instructions(one):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield step.argval


def _names(code: types.CodeType) -> set[str]:
    return {name for one in _codes(code) for name in one.co_names}


def _named(module: str, name: str) -> str:
    top = sys.modules.get(module.partition(".")[0])
    return f"{module}.{name} {getattr(top, '__version__', '')}"


def _is_installed(module: str | None) -> bool:
    """Whether a module comes with Python, this library or another package, so that its version says what it does."""
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names or top == "fewshot":
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return file is not None and any(Path(file).is_relative_to(place) for place in places)
