"""Weights in a kept classifier: ordinary folders of transformers and sentence-transformers, read from safetensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.errors import InputError, ModelLoadError, UnsupportedError
from fewshot.models.base import Query, Turn, is_encoder, is_extractive, is_window
from fewshot.models.locks import lock_of
from fewshot.persistence.folder import MODELS, Kept
from fewshot.persistence.safety import check_model_folder, is_known_module

__all__ = ["Weights", "dtype_of", "foreign_part", "known_dtype", "open_weights", "read_weights", "try_out"]


class Weights:
    """Writes weights into the folders ``models/0``, ``models/1``, and so on, of a kept classifier."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n = 0
        self._written: dict[tuple[int, ...], str] = {}  # by the parts, which whoever writes them keeps alive

    def write(self, parts: tuple[Any, ...], path: str) -> str:
        """Write models and tokenizers into a folder that can be loaded safely, once, and return its name."""
        key = tuple(map(id, parts))
        if key not in self._written:
            self._written[key] = self._write(parts, path)
        return self._written[key]

    def _write(self, parts: tuple[Any, ...], path: str) -> str:
        name = f"{MODELS}/{self._n}"
        self._n += 1
        folder = self._folder / name
        folder.mkdir(parents=True)
        for part in parts:
            # a card of its own would tell of this machine
            options = {"create_model_card": False} if _is_a(part, "sentence_transformers.SentenceTransformer") else {}
            with lock_of(part):  # saving writes into the config for a while
                part.save_pretrained(str(folder), **options)
        files = [one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()]
        try:
            check_model_folder(folder, files)
        except InputError as error:
            raise UnsupportedError(f"{path} can't be kept so that it could be loaded safely: {error}") from error
        return name

    def node(self, value: Any, path: str) -> dict[str, Any] | None:
        """The node of a bare transformers model or tokenizer, as a strategy of its own kind may hold one; else None."""
        if _is_a(value, "transformers.PreTrainedModel"):
            if foreign_part(value):
                raise UnsupportedError(f"{path} runs code that is not of transformers, and can't be kept.")
            kept = self.write((value,), path)
            return {"weights": kept, "class": type(value).__name__, "dtype": dtype_of(value)}
        if _is_a(value, "transformers.PreTrainedTokenizerBase"):
            return {"tokenizer": self.write((value,), path)}
        return None


def read_weights(kept: Kept, node: dict[str, Any]) -> Any:
    """The model or tokenizer of a node that `Weights.node` made; no model of another class than transformers'."""
    import torch
    import transformers

    from fewshot.models.local import pick_device
    from fewshot.models.randomness import seeded

    with open_weights(kept, node.get("weights") or node["tokenizer"]) as folder:
        if "tokenizer" in node:
            return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        cls = getattr(transformers, str(node["class"]), None)
        if not isinstance(cls, type) or not issubclass(cls, transformers.PreTrainedModel):
            raise InputError(f"config.json names the class {node['class']!r}, which is not a model of transformers.")
        dtype = getattr(torch, known_dtype(node["dtype"]))
        with seeded(0):  # loading draws from torch's generator and sets its default type for a while
            made: Any = cls.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
        model, told = made
        lost = sorted(told["missing_keys"])
        if lost:
            raise InputError(f"its weights lack {lost[0]!r}, and {len(lost) - 1} more.")
        return model.to(pick_device(None)).eval()


@contextmanager
def open_weights(kept: Kept, name: Any) -> Iterator[Path]:
    """A model's folder, in which nothing could run; whatever goes wrong with it is said with its name.

    It is an InputError when the folder could run anything, or asks for more than there is; else a ModelLoadError.
    """
    files = kept.below(name)
    folder: Path = kept.folder / name
    check_model_folder(folder, files)
    try:
        yield folder
    except InputError:
        raise
    except BaseException as error:  # torch, tokenizers and a model's own code raise what they like
        panic = type(error).__name__ == "PanicException"  # of Rust, which is no Exception
        if not isinstance(error, Exception) and not panic:
            raise
        cause = error.__cause__ if isinstance(error, ModelLoadError) and error.__cause__ is not None else error
        raise ModelLoadError(
            f"{name} in {str(kept.folder)!r} makes no model that works: {type(cause).__name__}: {cause}. Get the "
            "folder again, or fit again."
        ) from error


def try_out(model: Any) -> None:
    """Ask a model one short thing, so that what can't compute, or gives NaN, is found now."""
    if is_window(model) and (int(model.limit) < 1 or not len(model.token_ends(["It is a test."])[0])):
        raise ModelLoadError("it reads no tokens")
    if is_encoder(model):
        found = model.encode(["It is a test."])
    elif is_extractive(model):
        found = np.array([said.none for said in model.answer_scores(["What?"], ["It is a test."], [[]])])
    else:
        asked = Query("It is a ", ("test", "word"), context=(Turn("premise", "A test."),))
        found = model.loglikelihoods([asked])[0].logprobs
    if not np.isfinite(found).all():
        raise ModelLoadError("its weights give NaN or infinite numbers")


def foreign_part(model: Any) -> str:
    """The part of a model whose class is not of transformers or sentence-transformers, by name; or nothing."""
    if _is_a(model, "sentence_transformers.SentenceTransformer"):
        parts = [f"{type(part).__module__}.{type(part).__name__}" for part in model.children()]
        return next((part for part in parts if not is_known_module(part)), "")
    kind = type(model)
    return "" if kind.__module__.startswith("transformers.models.") else f"{kind.__module__}.{kind.__name__}"


def dtype_of(model: Any) -> str:
    """The type that a torch model computes in."""
    first = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return "float32" if first is None else str(first).removeprefix("torch.")


def known_dtype(said: Any) -> str:
    """A type that a model may be loaded in."""
    if said not in ("float32", "float16", "bfloat16", "float64"):
        raise InputError(f"config.json has a model of the type {said!r}, which none can be loaded in.")
    return str(said)


def _is_a(value: object, name: str) -> bool:
    """Whether an object is of a library's class, asked without importing it."""
    return any(f"{base.__module__.partition('.')[0]}.{base.__name__}" == name for base in type(value).__mro__)
