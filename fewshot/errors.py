"""Every error and warning of the library, so that a caller can catch exactly one kind.

FewshotError
├── InputError (ValueError)          X, y or a file is not what was promised
│   ├── ParameterError               a parameter of a class or function is not what it may be
│   └── FolderExistsError (FileExistsError)  a folder to be written holds something
├── TemplateError (ValueError)       a template does not parse, or a row does not fill it
├── VerbalizerError (ValueError)     classes and label words do not fit together
├── PromptTooLongError (ValueError)  a prompt exceeds the model's window even when shortened
├── ModelLoadError (OSError)         a model can't be loaded, or its kind is not supported
├── ServerError (OSError)            a server refuses, can't be reached, or gives no usable answer
└── UnsupportedError (TypeError)     this model or strategy can't do what was asked of it
    └── NotInstalledError (ImportError)  it takes a library of an extra that is not there

FewshotWarning (UserWarning)
├── ShortenedWarning                 rows were cut to fit the model's window
├── LabelMassWarning                 the model hardly expects any of the label words
└── NoAnswerWarning                  generated answers that name no class were scored instead
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

__all__ = [
    "FewshotError",
    "FewshotWarning",
    "FolderExistsError",
    "InputError",
    "LabelMassWarning",
    "ModelLoadError",
    "NoAnswerWarning",
    "NotInstalledError",
    "ParameterError",
    "PromptTooLongError",
    "ServerError",
    "ShortenedWarning",
    "TemplateError",
    "UnsupportedError",
    "VerbalizerError",
    "at_file",
    "at_question",
    "at_row",
    "broken",
    "printable",
    "warn",
]

#: What a terminal obeys instead of showing it: control characters but line breaks and tabs, marks that turn the
#: direction of text, and lone surrogates, which no terminal can be sent.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with what a terminal would obey written out, as an escape sequence."""
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)


class FewshotError(Exception):
    """Base class of every error that this library raises on purpose.

    A message may quote text from an untrusted source. Its control characters are shown as escape sequences, so that
    they can't affect a terminal.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(printable(one) if isinstance(one, str) else one for one in args))


class InputError(FewshotError, ValueError):
    """X, y or a file is not valid."""


class ParameterError(InputError):
    """A parameter of a class or function has a value that is not allowed.

    It is also an `InputError`, and therefore a ValueError, so that code which catches these still works.
    """


class FolderExistsError(InputError, FileExistsError):
    """A folder to be written holds something."""


class TemplateError(FewshotError, ValueError):
    """A template does not parse, or a row lacks one of its fields."""


class VerbalizerError(FewshotError, ValueError):
    """Classes and label words do not fit together."""


class PromptTooLongError(FewshotError, ValueError):
    """A prompt exceeds the model's window even when everything that may be cut is cut."""


class ModelLoadError(FewshotError, OSError):
    """A model can't be loaded, or its kind is not supported."""


class ServerError(FewshotError, OSError):
    """A server refuses, can't be reached, or gives no usable answer."""


class UnsupportedError(FewshotError, TypeError):
    """A model or strategy can't do what the call asks for."""


class NotInstalledError(UnsupportedError, ImportError):
    """What was asked takes a library of an extra that is not installed."""


class FewshotWarning(UserWarning):
    """Base class of every warning that this library issues."""


class ShortenedWarning(FewshotWarning):
    """Rows were cut to fit the model's window."""


class LabelMassWarning(FewshotWarning):
    """The model hardly expects any of the label words, so its scores compare unlikely events."""


class NoAnswerWarning(FewshotWarning):
    """Generated answers that name no class were scored instead."""


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning that points at the caller's own line, outside this library and scikit-learn."""
    level, frame = 1, sys._getframe(0)  # noqa: SLF001 - the documented way to the caller's line
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("fewshot", "sklearn"):
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(message), category, stacklevel=level)


def at_row(i: int) -> AbstractContextManager[None]:
    """Add the row's index to an error on its way out."""
    return _placed(f"Row {i}")


def at_file(path: object) -> AbstractContextManager[None]:
    """Add the file's name to an error on its way out."""
    return _placed(str(path))


def at_question(name: str) -> AbstractContextManager[None]:
    """Add the question's name to an error on its way out."""
    return _placed(f"The question {name!r}")


@contextmanager
def _placed(where: str) -> Iterator[None]:
    try:
        yield
    except FewshotError as error:
        raise type(error)(f"{where}: {error}") from error.__cause__


def broken(model: object, what: str) -> UnsupportedError:
    """The error of a model whose numbers are no numbers."""
    return UnsupportedError(f"{model!r} gave NaN or infinite {what}: its weights or its number type are broken.")
