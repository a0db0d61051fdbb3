"""The optional parts of the package, as its own metadata names them."""

from __future__ import annotations

import re
from importlib.metadata import requires

__all__ = ["pip_line"]


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
