"""Typed decisions over HTTP: fitted classifiers and models behind ``/v1/systemone`` and ``/v1/decisions``."""

from fewshot.extras import need

need("starlette", "Serving takes")
need("uvicorn", "Serving takes")

from fewshot.serving.app import application  # noqa: E402 - what is missing is said first
from fewshot.serving.running import running, serve  # noqa: E402

__all__ = ["application", "running", "serve"]
