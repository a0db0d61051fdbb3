"""Serving: label batches of rows in many processes, and answer typed decisions over HTTP.

`Predictor` labels batches. ``application``, ``running`` and ``serve`` answer requests to ``/v1/systemone`` and
``/v1/decisions``. They need the extra ``serve``; `Predictor` does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fewshot.extras import need

if TYPE_CHECKING:
    from fewshot.serving.app import application
    from fewshot.serving.predicting import Predictor
    from fewshot.serving.server import running, serve

__all__ = ["Predictor", "application", "running", "serve"]

_HTTP = {"application": "fewshot.serving.app", "running": "fewshot.serving.server", "serve": "fewshot.serving.server"}
_HOME = {"Predictor": "fewshot.serving.predicting", **_HTTP}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fewshot.serving' has no attribute {name!r}")
    if name in _HTTP:  # what is missing is said first
        need("starlette", "Serving needs")
        need("uvicorn", "Serving needs")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
