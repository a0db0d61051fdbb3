"""The versions that a classifier was kept with, and which of them fit."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

import fewshot
from fewshot.errors import FewshotWarning, InputError, warn

__all__ = ["FORMAT", "check_versions", "read_versions"]

#: It rises when what is kept changes, so that an older library says so instead of reading something else.
FORMAT = 1
_LIBRARIES = ("numpy", "scikit-learn", "scipy", "sentence-transformers", "skops", "tokenizers", "torch", "transformers")


def read_versions() -> dict[str, str]:
    """Of this library, Python and whatever else decides a prediction."""
    found = {"fewshot": fewshot.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # skops is optional
            continue
    return found


def check_versions(said: Mapping[str, str], used: Iterable[str]) -> None:
    """Compare what `read_versions` gave then to the versions at hand, of this library and of those that are used.

    A newer version of this library is refused, and another major version of one that is used.
    """
    then, now = said["fewshot"], fewshot.__version__
    if _numbers(then) > _numbers(now):
        raise InputError(f"The classifier was kept by fewshot {then}, and this is {now}: update fewshot.")
    at_hand = read_versions()
    for name in used:
        if name not in at_hand:  # asked for where it is needed
            continue
        then, now = said[name], at_hand[name]
        if _numbers(then)[0] != _numbers(now)[0]:
            raise InputError(
                f"The classifier was kept with {name} {then}, and here is {now}, which may read it differently: "
                f"install {name}=={then}, or fit again."
            )
        if _numbers(then) != _numbers(now):
            warn(
                f"The classifier was kept with {name} {then}, and here is {now}: probabilities may differ a little.",
                FewshotWarning,
            )


def _numbers(text: str) -> tuple[int, int]:
    """Major and minor."""
    try:
        major, minor = text.split(".")[:2]
        return int(major), int(minor)
    except ValueError:
        raise InputError(f"config.json has the version {text!r}, which is none.") from None
