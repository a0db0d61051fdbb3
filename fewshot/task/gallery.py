"""The gallery: templates by name, kept as files ``templates/<task>/<name>.jinja``."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path

from fewshot.errors import TemplateError
from fewshot.task.template import Template

__all__ = ["get", "names"]

_PACKAGE = Path(__file__).resolve().parent.parent


def _folder() -> Path:
    """In a wheel the gallery lies inside the package, in a checkout beside it."""
    inside = _PACKAGE / "templates"
    return inside if inside.is_dir() else _PACKAGE.parent / "templates"


def names(task: str | None = None) -> list[str]:
    """Names of all templates, or of one task's.

    Examples
    --------
    >>> from fewshot import gallery
    >>> gallery.names("generic")
    ['generic/causal', 'generic/encoder', 'generic/entailment', 'generic/masked']
    """
    paths = sorted(_folder().glob("*/*.jinja"))
    found = [path.relative_to(_folder()).with_suffix("").as_posix() for path in paths]
    return [name for name in found if task is None or name.partition("/")[0] == task]


@lru_cache(maxsize=256)
def get(name: str) -> Template:
    """Return the template of that name.

    Raises
    ------
    TemplateError
        When there is none; the nearest names are given.

    Examples
    --------
    >>> from fewshot import gallery
    >>> gallery.get("sst2/it_was").render("A joy to watch.", "great")
    'A joy to watch. It was great.'
    """
    if name not in names():  # a listing, not a path: a name can't climb out of the gallery
        close = difflib.get_close_matches(name, names(), n=3, cutoff=0.4) or names()
        raise TemplateError(
            f"There is no template {name!r} in the gallery; near it: {', '.join(close)}. A template's own source has "
            "a hole, {{ label }}."
        )
    return Template.from_file(_folder() / f"{name}.jinja", name=name)
