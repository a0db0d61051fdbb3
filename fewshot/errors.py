"""Every error and warning of the library, so that a caller can catch exactly one kind.

FewshotError
├── InputError (ValueError)          X, y or a file is not what was promised
├── TemplateError (ValueError)       a template does not parse, or a row does not fill it
├── VerbalizerError (ValueError)     classes and label words do not fit together
├── PromptTooLongError (ValueError)  a prompt exceeds the model's window even when shortened
├── ModelLoadError (OSError)         a model can't be had, or its kind is not supported
└── UnsupportedError (TypeError)     this model or strategy can't do what was asked of it

FewshotWarning (UserWarning)
├── ShortenedWarning                 rows were cut to fit the model's window
├── LabelMassWarning                 the model hardly expects any of the label words
└── NoAnswerWarning                  generated answers that name no class were scored instead
"""

from __future__ import annotations

import sys
import warnings

__all__ = [
    "FewshotError",
    "FewshotWarning",
    "InputError",
    "LabelMassWarning",
    "ModelLoadError",
    "NoAnswerWarning",
    "PromptTooLongError",
    "ShortenedWarning",
    "TemplateError",
    "UnsupportedError",
    "VerbalizerError",
    "warn",
]


class FewshotError(Exception):
    """Base of every error that this library raises on purpose."""


class InputError(FewshotError, ValueError):
    """X, y or a file is not what was promised."""


class TemplateError(FewshotError, ValueError):
    """A template does not parse, or a row does not fill it."""


class VerbalizerError(FewshotError, ValueError):
    """Classes and label words do not fit together."""


class PromptTooLongError(FewshotError, ValueError):
    """A prompt exceeds the model's window even when everything that may be cut is cut."""


class ModelLoadError(FewshotError, OSError):
    """A model can't be had, or its kind is not supported."""


class UnsupportedError(FewshotError, TypeError):
    """A model or strategy can't do what was asked of it."""


class FewshotWarning(UserWarning):
    """Base of every warning that this library issues."""


class ShortenedWarning(FewshotWarning):
    """Rows were cut to fit the model's window."""


class LabelMassWarning(FewshotWarning):
    """The model hardly expects any of the label words, so its scores compare unlikely events."""


class NoAnswerWarning(FewshotWarning):
    """Generated answers that name no class were scored instead."""


def warn(message: str, category: type[FewshotWarning]) -> None:
    """Issue a warning that points at the caller's own line, outside this library and scikit-learn."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("fewshot", "sklearn"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
