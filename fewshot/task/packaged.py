"""Where the files of the gallery are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_templates"]

_PACKAGE = Path(__file__).resolve().parent.parent


def find_templates() -> Path:
    """The folder of the gallery: in a wheel it lies inside the package, in a checkout beside it."""
    inside = _PACKAGE / "templates"
    return inside if inside.is_dir() else _PACKAGE.parent / "templates"
