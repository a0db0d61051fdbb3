"""Models in a kept classifier. Each is kept by its name, as a folder of weights, or by its fingerprint alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fewshot.errors import FewshotWarning, InputError, ModelLoadError, UnsupportedError, warn
from fewshot.models import embedded
from fewshot.models.base import formats_of, is_encoder, is_extractive, is_language_model
from fewshot.models.kinds import OPTIONS, Kind, is_remote, kind_of_own
from fewshot.models.loading import DEFAULT_ENCODER, default_encoder, load, load_folder
from fewshot.models.recipe import Recipe
from fewshot.models.windows import Windows
from fewshot.models.wrappers import CachedLM, Wrapper
from fewshot.persistence.classes import construct
from fewshot.persistence.folder import Kept
from fewshot.persistence.formats import in_other_format
from fewshot.persistence.weights import Weights, dtype_of, foreign_part, known_dtype, open_weights, try_out

__all__ = ["Found", "Models", "Reach", "as_loadable", "name_of"]

#: Which arguments of ``from_pretrained`` are kept beside our own: no secret, and no code from a repository.
_CHOICES = {"attn_implementation": ("eager", "sdpa", "flash_attention_2"), "device_map": ("auto",)}
_GGUF_FILE = re.compile(r"([\w-][\w.-]*/)*[\w-][\w.-]*\.gguf", re.ASCII)
_DROPPED = frozenset({"token", "local_files_only", "cache_dir"})  # of one machine only
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_GIVE = "Classifier.load(folder, model=...), which takes a list where several are needed"


def as_loadable(value: Any) -> Any:
    """What a model is to be kept as: itself without a cache around it, a raw one as `load` wraps it; else None."""
    while isinstance(value, Wrapper):
        if isinstance(value, CachedLM):
            warn(
                f"{value!r}: the cache stays where it is, and the model in it is kept. To use the cache again, "
                "Classifier.load(folder, model=CachedLM(...)).",
                FewshotWarning,
            )
        value = value.lm
    if is_language_model(value) or is_encoder(value) or is_extractive(value):
        return value
    pair = type(value) is tuple and len(value) == 2 and hasattr(value[0], "config") and callable(value[1])
    if pair or type(value).__module__.startswith("sentence_transformers."):
        return load(value)
    return None


class Models:
    """Collects the models of a classifier, and has the weights of those written that have no name."""

    def __init__(self, weights: Weights) -> None:
        self.entries: list[dict[str, Any]] = []  # what config.json says of each
        self._weights = weights
        self._places: dict[tuple[int, str], int] = {}
        self._alive: list[Any] = []  # so that no two models share an id

    def add(self, model: Any, path: str) -> int:
        """The place of a model among the entries; the same weights read in the same way are one."""
        key = (id(getattr(model, "model", model)), f"{type(model).__name__}{_own(model)}")
        if key not in self._places:
            self._alive.append(model)
            self.entries.append(self._entry(model, path))
            self._places[key] = len(self.entries) - 1
        return self._places[key]

    def _entry(self, model: Any, path: str) -> dict[str, Any]:
        entry = {"class": type(model).__name__, "shown": repr(model), "fingerprint": model.fingerprint}
        kind = _local_kind(model)
        if is_remote(model):
            return {**entry, "kept": "fingerprint", "because": "it answers behind an address, which is not kept"}
        if kind is None:
            return {**entry, "kept": "fingerprint", "because": "it is not one of this library's own kinds"}
        if hasattr(model.model, "merge_and_unload"):
            raise UnsupportedError(f"{path}, {model!r}, has an adapter: merge it first, with merge_and_unload().")
        entry |= {"dtype": dtype_of(model.model), "options": _own(model)}
        recipe: Recipe | None = model.recipe
        if recipe is not None:
            named = _named(recipe)
            if named.get("name", "") is None:  # what it is called here is a folder of this machine
                entry["shown"] = f"{entry['class']}({DEFAULT_ENCODER!r})"
            return {**entry, **named}
        foreign = foreign_part(model.model)
        if foreign:
            warn(
                f"{path}, {model!r}: its weights are not kept, since reading them takes the code of {foreign}. Keep "
                f"them yourself, and give the model again: {_GIVE}.",
                FewshotWarning,
            )
            return {**entry, "kept": "fingerprint", "because": f"reading it takes the code of {foreign}"}
        parts = (model.model, model.tokenizer) if kind.auto is not None else (model.model,)
        if kind.name == "decision":  # it has settings beside its weights
            parts = (model,)
        return {**entry, "kept": "folder", "folder": self._weights.write(parts, f"{path}, {model!r},")}


def _local_kind(model: Any) -> Kind | None:
    """The kind of a model here whose class is this library's own; None of every other, subclasses among them."""
    kind = kind_of_own(model)
    return kind if kind is not None and type(model) is kind.load_class() else None


def _own(model: Any) -> dict[str, Any]:
    """What a model of ours was made with besides its weights."""
    kind = _local_kind(model)
    return {name: _plain(getattr(model, name)) for name in sorted(kind.options)} if kind else {}


def _named(recipe: Recipe) -> dict[str, Any]:
    """How a model that `load` made is loaded again."""
    options, other = {}, []
    for key, value in recipe.kwargs.items():
        if key in OPTIONS or _is_choice(key, value):
            options[key] = _plain(value)
        elif key not in _DROPPED:
            other.append(key)
    if other:
        return {"kept": "fingerprint", "because": f"it was loaded with {', '.join(other)}"}
    name, revision = _name(recipe)
    said = {"name": name, "revision": revision, "device": recipe.device, "asked_dtype": recipe.dtype}
    return {"kept": "name", **said, "options": options}


def _is_choice(key: str, value: Any) -> bool:
    """Whether an argument of ``from_pretrained`` is one that is kept."""
    if key == "gguf_file":
        return isinstance(value, str) and _GGUF_FILE.fullmatch(value) is not None
    return value in _CHOICES.get(key, ())


def _plain(value: Any) -> Any:
    """An option as JSON has it."""
    if isinstance(value, Windows):
        return {"stride": value.stride, "reduce": value.reduce}
    return dict(value) if isinstance(value, Mapping) else value


def _options(said: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an entry, as `load` takes them."""
    for key, value in said.items():
        if key not in OPTIONS and not _is_choice(key, value):
            raise InputError(f"config.json loads a model with {key}={value!r}, which a kept classifier can't ask for.")
        if key in OPTIONS and not OPTIONS[key](value):
            raise InputError(f"config.json loads a model with {key}={value!r:.80}, which is no such option.")
    found = dict(said)
    if found.get("windows") is not None:
        found["windows"] = construct(Windows, found["windows"])
    return found


def _name(recipe: Recipe) -> tuple[str | None, str | None]:
    """The name and revision of a model that another machine knows, as far as there is one."""
    if recipe.name == default_encoder():
        return None, recipe.revision
    if recipe.name in embedded.NAMES:
        return recipe.name, None
    if Path(recipe.name).exists():
        return str(Path(recipe.name).resolve()), recipe.revision
    return recipe.name, _commit(recipe) or recipe.revision


def _commit(recipe: Recipe) -> str | None:
    """The commit of a hub model as it lies in the cache, so that what is pushed there later changes nothing."""
    from huggingface_hub import try_to_load_from_cache

    cache = recipe.kwargs.get("cache_dir")
    file = recipe.kwargs.get("gguf_file", "config.json")
    found = try_to_load_from_cache(recipe.name, file, revision=recipe.revision, cache_dir=cache)
    return Path(found).parents[file.count("/")].name if isinstance(found, str) else None


@dataclass(frozen=True)
class Reach:
    """How far beyond its folder a kept classifier may reach for its models."""

    follow_paths: bool = False  # into folders of this machine that the classifier names
    local_files_only: bool = False
    hub: Mapping[str, Any] = field(default_factory=dict, repr=False)  # options of `load`; one may be a token


class Found:
    """The models of a kept classifier, each loaded when it is asked for, and once.

    Parameters
    ----------
    kept : Kept
    entries : list of dict
    offered : sequence of models
        Stand in for those of the entries that have their fingerprint; one that has none of theirs is refused.
    then : str
        The version of transformers that the classifier was kept with, which is a part of fingerprints.
    reach : Reach
    """

    def __init__(
        self, kept: Kept, entries: Sequence[dict[str, Any]], offered: Sequence[Any], then: str, reach: Reach
    ) -> None:
        self._kept, self._entries, self._then, self._reach = kept, entries, then, reach
        self._loaded: dict[int, Any] = {}
        for model in offered:
            both = [(own, own.fingerprint) for own in formats_of(model)]
            found = {i: own for own, its in both for i, entry in enumerate(entries) if self._same(entry, its)}
            if not found:
                wanted = "; ".join(f"{entry['shown']} has {entry['fingerprint']}" for entry in entries)
                raise ModelLoadError(
                    f"{model!r} is not a model that was kept. Its fingerprint is {model.fingerprint}; of the kept "
                    f"models, {wanted or 'there is none'}."
                )
            self._loaded |= found

    def _same(self, entry: Mapping[str, Any], fingerprint: str) -> bool:
        """Whether a fingerprint is an entry's; another version of transformers is spoken of elsewhere."""
        now = version("transformers")
        return str(entry["fingerprint"]).replace(f":{self._then}:", f":{now}:", 1) == fingerprint

    def get(self, place: Any) -> Any:
        """The model of an entry.

        InputError when there is no such entry, or it asks for what a kept classifier can't ask for; ModelLoadError when
        the model can't be loaded, or is not the one that was kept; UnsupportedError when it has to be given.
        """
        if type(place) is not int or not 0 <= place < len(self._entries):
            raise InputError(f"config.json names model {place!r}, and there is none.")
        if place not in self._loaded:
            entry = self._entries[place]
            twin = in_other_format(entry, [(self._entries[i], own) for i, own in self._loaded.items()])
            is_it = twin is not None and self._same(entry, twin.fingerprint)
            self._loaded[place] = twin if is_it else self._load(entry)
        return self._loaded[place]

    def _load(self, entry: Mapping[str, Any]) -> Any:
        if entry["kept"] == "name":
            model = _by_name(entry, self._reach)
        elif entry["kept"] == "folder":
            dtype, own = known_dtype(entry["dtype"]), _options(entry["options"])
            if "gguf_file" in own:
                raise InputError("config.json has a model both in a folder of weights and in a GGUF file.")
            with open_weights(self._kept, entry["folder"]) as folder:
                model = load_folder(folder, dtype=dtype, own=own)
                try_out(model)
        else:
            raise UnsupportedError(
                f"The model {entry['shown']} was not kept, only its fingerprint, since {entry['because']}. Give it: "
                f"{_GIVE}."
            )
        if not self._same(entry, model.fingerprint):
            raise ModelLoadError(
                f"The model {entry['shown']} is not the one that was kept: its weights, type or tokenizer differ. Kept "
                f"{entry['fingerprint']}, found {model.fingerprint}. Restore that model, and give it: {_GIVE}."
            )
        return model


def _by_name(entry: Mapping[str, Any], reach: Reach) -> Any:
    name, revision = entry["name"], entry["revision"]
    device, dtype = _device(entry["device"]), known_dtype(entry["dtype"])
    asked = entry["asked_dtype"] if entry["asked_dtype"] in ("auto", "fast") else dtype
    options = _options(entry["options"]) | _on_the_way(entry, reach)
    model = load(name, revision=revision, device=device, dtype=asked, **options)
    if dtype_of(model.model) != dtype:  # this machine would choose another one
        model = load(name, revision=revision, device=device, dtype=dtype, **options)
    return model


def _on_the_way(entry: Mapping[str, Any], reach: Reach) -> dict[str, Any]:
    """Check where a model's name leads, and return what else `load` needs to go there.

    A name that is neither a hub name nor a whole path is an InputError; one that leads to where the caller does not go,
    a ModelLoadError.
    """
    name, revision = entry["name"], entry["revision"]
    if name == embedded.NAME or (name == embedded.CAUSAL and embedded.find_causal() is not None):
        return {}
    if name == embedded.CAUSAL:
        name = embedded.HUB_CAUSAL
    if name is None:
        name = default_encoder()
        if name != DEFAULT_ENCODER:
            return {}
    if revision is not None and not (isinstance(revision, str) and _REVISION.fullmatch(revision)):
        raise InputError(f"config.json names the revision {revision!r:.80}, which is none.")
    whole = isinstance(name, str) and Path(name).is_absolute() and ".." not in Path(name).parts
    if not whole and not (isinstance(name, str) and _HUB_NAME.fullmatch(name)):
        raise InputError(f"config.json names the model {name!r:.200}, which is neither a hub name nor a whole path.")
    there, kind = Path(name).exists(), "the file" if name.endswith(".gguf") else "the folder"
    if whole and not there:
        raise ModelLoadError(
            f"The model {entry['shown']} came from {kind} {name!r}, which is not on this machine: give it, "
            f"Classifier.load(folder, model='its {kind.split()[1]}')."
        )
    if there and not reach.follow_paths:
        raise ModelLoadError(
            f"The model {entry['shown']} is not in the folder of the classifier, which names {kind} {name!r} of "
            "this machine. A path is followed only when you say so: Classifier.load(folder, follow_paths=True), or "
            "--follow-paths on the command line, where you know who made the classifier; or give the model, "
            f"Classifier.load(folder, model={name!r})."
        )
    if there:
        return {}
    files = [entry["options"]["gguf_file"]] if "gguf_file" in entry["options"] else ["config.json", "modules.json"]
    if not _is_cached(name, revision, files, reach.hub.get("cache_dir")):
        at = f" at revision {revision!r}" if revision else ""
        if reach.local_files_only:
            raise ModelLoadError(
                f"The classifier names the model {name!r}{at} of the Hugging Face hub, which is not on this machine, "
                "and local_files_only=True downloads nothing. Allow it, or give the model: Classifier.load(folder, "
                "model=...)."
            )
        warn(
            f"The classifier names the model {name!r}{at}, which is not on this machine: it is downloaded from the "
            "Hugging Face hub. Classifier.load(folder, local_files_only=True) refuses that.",
            FewshotWarning,
        )
    return {**reach.hub, **({"local_files_only": True} if reach.local_files_only else {})}


def _is_cached(name: str, revision: str | None, files: list[str], cache_dir: Any) -> bool:
    """Whether a model of the hub, which has one of the files, lies in the cache."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(name, file, revision=revision, cache_dir=cache_dir) for file in files)
    return any(isinstance(path, str) for path in found)


def _device(said: Any) -> str | None:
    """The device that was asked for, where this machine has it."""
    import torch

    if said is None:
        return None
    try:
        device = torch.device(said) if isinstance(said, str) else None
    except RuntimeError:
        device = None
    if device is None:
        raise InputError(f"config.json has a model on the device {said!r:.80}, and there is no such kind of device.")
    there = {"cpu": True, "mps": torch.backends.mps.is_available()}.get(device.type, False)
    cuda = device.type == "cuda" and (device.index or 0) < torch.cuda.device_count()
    return str(said) if there or cuda else None


def name_of(entry: Mapping[str, Any]) -> str:
    """What a card calls a model."""
    if entry["kept"] != "name":
        return str(entry["shown"])
    return DEFAULT_ENCODER if entry["name"] is None else str(entry["name"])
