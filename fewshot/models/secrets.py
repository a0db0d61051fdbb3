"""Secrets among a model's options, such as tokens. Only the hub gets them: no message, pickle or file has one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fewshot.errors import FewshotError, ModelLoadError

__all__ = ["Secret", "open_sealed", "redact_errors", "seal"]

#: Options whose values are secret. Addresses of proxies may hold a password.
_NAMES = frozenset({"token", "use_auth_token", "hf_token", "api_key", "password", "proxies", "headers"})
#: Options whose entries belong to a prompt: none of them is a secret, whatever its name.
_DATA = frozenset({"chat_template_kwargs"})
_KEY = os.urandom(16)  # of this process, so that what is shown of a secret can't be looked up


class Secret:
    """A text that shows itself to nobody: not printed, and None once pickled.

    Two secrets print alike only where they are the same, so that a cache can tell them apart.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def reveal(self) -> Any:
        """The text itself."""
        return self._value

    def texts(self) -> Iterator[str]:
        """Every text in it that is long enough to be looked for in a message."""
        values = list(self._value.values()) if isinstance(self._value, Mapping) else [self._value]
        for value in values:
            text = str(value).strip()
            if len(text) >= 4 and not isinstance(value, bool):
                yield text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"<secret {hashlib.blake2b(repr(self._value).encode(), digest_size=8, key=_KEY).hexdigest()}>"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce__(self) -> Any:
        return _nothing, ()


def _nothing() -> None:
    """What is unpickled in a secret's place: whoever loads it uses their own."""


def seal(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with every secret in them closed up, at whatever depth."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if key in _NAMES and value is not None and not isinstance(value, bool | Secret):
            found[key] = Secret(value)
        else:
            found[key] = seal(value) if type(value) is dict and key not in _DATA else value
    return found


def open_sealed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were given."""
    return {key: _revealed(value) if key not in _DATA else value for key, value in options.items()}


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    return open_sealed(value) if type(value) is dict else value


def _hidden(text: str, options: Mapping[str, Any]) -> str:
    """A message without the secrets among the options, which other libraries may quote."""
    for secret in _secrets(options):
        text = text.replace(secret, "***")
    return text


@contextmanager
def redact_errors(options: Mapping[str, Any]) -> Iterator[None]:
    """Let no error leave that quotes a secret among these options, nor one that came from such an error.

    Raises
    ------
    ModelLoadError
        In the place of a foreign error that does.
    """
    try:
        yield
    except Exception as error:
        if not _tells(error, options):
            raise
        kind = type(error) if isinstance(error, FewshotError) else ModelLoadError
        said = _hidden(str(error) if isinstance(error, FewshotError) else f"{type(error).__name__}: {error}", options)
        raise kind(said) from None


def _tells(error: BaseException, options: Mapping[str, Any]) -> bool:
    """Whether an error, or one that it came from, quotes a secret."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if _hidden(f"{found!r} {found}", options) != f"{found!r} {found}":
            return True
        found = found.__cause__ or found.__context__
    return False


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for value in seal(options).values():
        if isinstance(value, Secret):
            yield from value.texts()
        elif type(value) is dict:
            yield from _secrets(value)
