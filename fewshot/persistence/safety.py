"""What a model's folder may hold, so that nothing in it runs when it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewshot.errors import InputError
from fewshot.persistence.chats import check_chat_source, check_chat_template
from fewshot.persistence.limits import read_json
from fewshot.persistence.patterns import check_ids, check_tokenizer
from fewshot.persistence.sizes import check_numbers, check_sizes, read_shapes

__all__ = ["check_model_folder", "is_known_module"]

#: Text, JSON and safetensors; no pickled weights (.bin, .pt, .pkl), no code (.py).
_SUFFIXES = frozenset({".json", ".jinja", ".md", ".model", ".safetensors", ".txt"})
#: An adapter names another model, whose folder nobody has checked.
_REFUSED = frozenset({"adapter_config.json"})
#: JSON files whose keys are tokens or the names of weights.
_DATA = frozenset({"tokenizer.json", "vocab.json", "added_tokens.json"})
#: Settings that name code, here or on the hub, or that are handed on to whatever loads the model.
_RUNS = frozenset(
    {
        *("auto_map", "custom_pipelines", "trust_remote_code"),
        *("attn_implementation", "experts_implementation", "quantization_config", "use_kernels"),  # kernels are code
        *("model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs", "config_kwargs"),
    }
)
#: Functions of a layer: a name that transformers looks up in its own table, or a class of torch's own.
_FUNCTION = re.compile(
    r"[a-z][a-z0-9_]*|torch\.nn\.(modules\.(activation|linear)\.)?([A-Z][A-Za-z]*U|[LS]?[a-z]*Tanh|"
    r"Identity|Tanh|Sigmoid|Hardtanh|Mish|Softplus|Softsign|Tanhshrink|Softmax|LogSigmoid)"
)
#: The parts of a sentence encoder that read their folder without importing what it names.
_MODULE = re.compile(r"sentence_transformers(\.[a-z_]+)+\.(Transformer|Pooling|Normalize|Dense)")


def is_known_module(path: str) -> bool:
    """Whether a part of a sentence encoder may be loaded, by the import path of its class."""
    return _MODULE.fullmatch(path) is not None


def check_model_folder(folder: Path, files: Sequence[str]) -> None:
    """Refuse a folder that could run anything, or reach outside itself, when transformers loads it.

    ``files`` are all in it. The message names the file and what it is.
    """
    configs = {}
    for name in files:
        path = folder / name
        where = f"{path.parent.name}/{path.name}"
        if path.suffix not in _SUFFIXES or path.name in _REFUSED:
            raise InputError(f"{where}: a kept model has no {path.suffix} file of this name, which could run code.")
    for name in files:
        path = folder / name
        where = f"{path.parent.name}/{path.name}"
        if path.suffix == ".jinja":
            check_chat_template(path, where)
        if path.suffix == ".safetensors":
            read_shapes(path, where)
        if path.suffix == ".json":
            with _as_transformers_writes(where):
                found = read_json(path.read_bytes(), where)
                _check_json(found, name, where, files)
                if path.name == "config.json":
                    configs[name] = found
    for name, found in configs.items():  # last, since this takes the longest
        with _as_transformers_writes(f"{folder.name}/{name}"):
            check_sizes(folder, found, files, name)


@contextmanager
def _as_transformers_writes(where: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} is not what transformers writes ({error!r}).") from error


def _check_json(found: Any, name: str, where: str, files: Sequence[str]) -> None:
    """Check what a JSON file says."""
    own = name.rpartition("/")[2]
    if own == "tokenizer.json":
        check_tokenizer(found, where)
    if own in ("vocab.json", "added_tokens.json"):
        check_ids(found.values(), where)
    if own in _DATA:
        return
    for key, value in _settings(found):
        if key.lstrip("_") in _RUNS and value not in (None, {}, [], False):
            raise InputError(f"{where} sets {key!r}, which names code to run: a kept model has no such setting.")
    _check_names(found, name, files)
    if not own.endswith(".index.json"):
        check_numbers(found, where)
    if own in ("tokenizer_config.json", "decision.json"):
        check_chat_source(found.get("chat_template"), where)
    if own == "decision.json" and found.get("adapter"):
        raise InputError(f"{where} names the LoRA {found['adapter']!r:.80}: a kept model has no adapter.")


def _settings(found: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a JSON file, at whatever depth, with its value."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield str(key), value
            yield from _settings(value)
    elif isinstance(found, list):
        for value in found:
            yield from _settings(value)


def _check_names(found: Any, name: str, files: Sequence[str]) -> None:
    """Check the files and classes that a JSON file names."""
    if name == "modules.json":
        for module in found:
            if not is_known_module(module["type"]):
                raise InputError(f"{name} names the class {module['type']!r}, which is not loaded from a kept model.")
            inside = module["path"]
            if module["type"].endswith(".Normalize") and re.fullmatch(r"\w+", str(inside)):
                continue  # it has nothing to keep, and no folder by older versions of sentence-transformers
            if inside and not any(one.startswith(f"{inside}/") for one in files):
                raise InputError(f"{name} names the folder {inside!r}, which is not in the model's folder.")
    elif name.endswith(".index.json"):
        for part in found["weight_map"].values():
            if part not in files:
                raise InputError(f"{name} names the file {part!r}, which is not in the model's folder.")
    elif name.rpartition("/")[2] == "config.json":  # also of a part of a sentence encoder, such as a dense layer
        function = found.get("activation_function")
        if function is not None and not _FUNCTION.fullmatch(str(function)):
            raise InputError(f"{name} names the function {function!r}: only those of torch.nn are loaded.")
