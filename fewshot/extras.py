"""The optional parts of the package, as its own metadata names them."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import requires
from types import ModuleType

from fewshot.errors import NotInstalledError

__all__ = ["need", "pip_line"]


def need(library: str, what: str) -> ModuleType:
    """Import a library that an extra brings.

    Raises
    ------
    NotInstalledError
        When it is not installed; the message is ``what`` with the extra that brings it.
    """
    name = library.partition(".")[0]
    try:
        return import_module(library)
    except ImportError as error:
        raise NotInstalledError(f"{what} {name}, which is not installed: {pip_line(name)}") from error


def pip_line(library: str) -> str:
    """The command that installs the smallest extra which brings a library.

    Examples
    --------
    >>> pip_line("peft")
    "pip install 'fewshot[lora]'"
    """
    members: dict[str, list[str]] = {}
    for line in requires("fewshot") or ():
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line)
        if found:
            members.setdefault(found[2], []).append(found[1])
    extras = [name for name, own in members.items() if library in own]
    if not extras:  # the metadata are those of an older installation
        return f"pip install {library}"
    return f"pip install 'fewshot[{min(extras, key=lambda name: len(members[name]))}]'"
