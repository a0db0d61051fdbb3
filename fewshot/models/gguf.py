"""GGUF, the files of llama.cpp: checked, and read by transformers into an ordinary model in float32."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fewshot.errors import FewshotWarning, ModelLoadError, NotInstalledError, warn
from fewshot.extras import need
from fewshot.models.gguf_header import Header, read_header
from fewshot.models.recipe import Recipe

__all__ = ["find_gguf", "names_of_gguf", "read_gguf", "read_gguf_tokenizer"]

_ENDING = ".gguf"
_MOST_LETTERS = 300
_MERGE = "Merge its parts first: llama-gguf-split --merge FIRST_PART WHOLE.gguf"


def find_gguf(recipe: Recipe) -> Path | None:
    """The GGUF file that a recipe names: a file itself, or ``gguf_file`` in a folder or a repository of the hub.

    Returns
    -------
    Path or None
        None where it names no file.

    Raises
    ------
    ModelLoadError
        When there is no such file, or ``gguf_file`` names none.
    OSError
        When the hub has none, or can't be reached.
    """
    place, name = Path(recipe.name), recipe.passed.get("gguf_file")
    if name is None:
        if place.suffix == _ENDING and not place.exists():
            raise ModelLoadError(f"There is no file {recipe.name!r}.")
        return place if place.is_file() else None
    if not isinstance(name, str) or not name.endswith(_ENDING):
        raise ModelLoadError(f"gguf_file must be the name of a file that ends in {_ENDING}. Got {name!r}.")
    if place.is_file():
        raise ModelLoadError(f"{recipe.name!r} is a file itself, so leave gguf_file={name!r} out.")
    if place.is_dir():
        if not (place / name).is_file():
            there = ", ".join(names_of_gguf(place)) or "none"
            raise ModelLoadError(f"The folder {recipe.name!r} has no file {name!r}. Its GGUF files: {there}.")
        return place / name
    from huggingface_hub import hf_hub_download

    options = {key: value for key, value in recipe.hub.items() if key != "trust_remote_code"}
    return Path(hf_hub_download(recipe.name, name, revision=recipe.revision, **options))


def names_of_gguf(folder: Path) -> list[str]:
    """The GGUF files in a folder."""
    return sorted(path.name for path in folder.glob(f"*{_ENDING}"))


def read_gguf(path: Path, **options: Any) -> tuple[Any, Any]:
    """Read the model of a GGUF file, its weights as float32, and its tokenizer with its chat template.

    Parameters
    ----------
    path : Path
    **options
        For transformers' ``from_pretrained`` of the model.

    Raises
    ------
    ModelLoadError
        When it is no whole GGUF file, or of an architecture or with a tokenizer that transformers can't read.
    """
    with _ready(path) as (header, given):
        config = _read_config(path, header, given)
        tokenizer = _read_tokenizer(path, header, config, given)
        return _read_model(path, config, given, options), tokenizer


def read_gguf_tokenizer(path: Path) -> Any:
    """Read the tokenizer of a GGUF file with its chat template, and none of its weights.

    Raises
    ------
    ModelLoadError
        When it is no whole GGUF file, or of an architecture or with a tokenizer that transformers can't read.
    """
    with _ready(path) as (header, given):
        return _read_tokenizer(path, header, _read_config(path, header, given), given)


@contextmanager
def _ready(path: Path) -> Iterator[tuple[Header, dict[str, str]]]:
    """The header of a file that is whole, and how transformers is told to read it."""
    header = read_header(path)
    try:
        need("gguf", f"{str(path)!r} is a GGUF file, and reading it needs")
        need("accelerate", f"{str(path)!r} is a GGUF file, and reading it needs")
    except NotInstalledError as error:
        raise ModelLoadError(str(error)) from error
    _check_transformers(path)
    _check_whole(path, header)
    with _parsed_once(), _alone(path) as place:
        yield header, {"pretrained_model_name_or_path": str(place.parent), "gguf_file": place.name}


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """The file in a folder of its own: transformers takes a tokenizer's settings also from files that lie beside it."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / f"model{_ENDING}"
        try:
            place.symlink_to(path.resolve())
        except OSError:  # Windows lets few users make links
            os.link(path, place)
        yield place


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Parse a file, and make its map of names, once: transformers asks for both anew at every step, 300 times in all.

    Models are loaded one at a time, so that nobody else sees the change.
    """
    library: Any = importlib.import_module("gguf")
    reader, names = library.GGUFReader, library.get_tensor_name_map
    library.GGUFReader, library.get_tensor_name_map = functools.cache(reader), functools.cache(names)
    try:
        yield
    finally:
        library.GGUFReader, library.get_tensor_name_map = reader, names


def _check_transformers(path: Path) -> None:
    """Refuse versions of transformers, such as 5.0, that make other tokens of a text than the file's tokenizer."""
    if find_spec("transformers.integrations.gguf") is None:
        raise ModelLoadError(
            f"{str(path)!r} is a GGUF file, and transformers {version('transformers')} reads other tokens from it than "
            "it holds; 5.24 does not: pip install --upgrade transformers"
        )


def _check_whole(path: Path, header: Header) -> None:
    """Refuse a part of a model, one that lacks something, and a vocabulary that does not fit the embeddings."""
    said = header.said
    parts = said.get("split.count")
    if isinstance(parts, int) and parts > 1:
        raise ModelLoadError(f"The GGUF file {str(path)!r} is one of {parts} parts of a model. {_MERGE}.")
    if not isinstance(said.get("general.architecture"), str):
        raise ModelLoadError(f"The GGUF file {str(path)!r} does not say which architecture it is of.")
    if "tokenizer.ggml.model" not in said or "tokenizer.ggml.tokens" not in header.lengths:
        raise ModelLoadError(f"The GGUF file {str(path)!r} holds no tokenizer, so it is not a whole model.")
    header.check_data()
    n_tokens = header.lengths["tokenizer.ggml.tokens"]
    embedding = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    if embedding is not None and n_tokens > embedding.dims[-1]:
        raise ModelLoadError(
            f"The GGUF file {str(path)!r} has {n_tokens} tokens and embeddings for {embedding.dims[-1]}, so its "
            "vocabulary is not that of its weights."
        )
    ropes = [tensor.name for tensor in header.tensors if tensor.name.startswith("rope_")]
    if ropes:
        warn(
            f"The GGUF file {str(path)!r} holds {', '.join(ropes)}, which transformers leaves out: scores differ from "
            "llama.cpp's, the more the longer the text.",
            FewshotWarning,
        )


@contextmanager
def _refused(path: Path, what: str) -> Iterator[None]:
    """Make a sentence of whatever is raised: transformers, numpy and the Rust library have no class in common."""
    try:
        yield
    except ModelLoadError:
        raise
    except Exception as error:
        raise ModelLoadError(f"{what} of the GGUF file {str(path)!r} can't be read: {_brief(error)}.") from error


def _brief(error: Exception) -> str:
    """A foreign error in one line."""
    return " ".join((str(error) or type(error).__name__).split())[:_MOST_LETTERS].rstrip(" .!")


def _read_config(path: Path, header: Header, given: dict[str, str]) -> Any:
    from transformers import AutoConfig, __version__
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    try:
        return AutoConfig.from_pretrained(**given, trust_remote_code=False)
    except Exception as error:  # whatever the metadata make of a config
        reads = sorted(set(GGUF_SUPPORTED_ARCHITECTURES) - {"general", "tokenizer"})
        raise ModelLoadError(
            f"The GGUF file {str(path)!r} is of the architecture {header.said['general.architecture']!r}, which "
            f"transformers {__version__} can't read from it ({_brief(error)}). It reads {', '.join(reads)}."
        ) from error


def _read_tokenizer(path: Path, header: Header, config: Any, given: dict[str, str]) -> Any:
    from transformers import AutoTokenizer

    with _refused(path, f"The tokenizer, of kind {header.said['tokenizer.ggml.model']!r},"):
        tokenizer = AutoTokenizer.from_pretrained(**given, config=config, trust_remote_code=False)
    tokenizer.name_or_path = str(path)
    length = header.said.get(f"{header.said['general.architecture']}.context_length")
    if isinstance(length, int) and length > 0:
        tokenizer.model_max_length = length
    return tokenizer


def _read_model(path: Path, config: Any, given: dict[str, str], options: dict[str, Any]) -> Any:
    import torch
    import transformers

    auto: Any = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    packed = getattr(transformers, "GgufConfig", None)  # where transformers may leave weights as they are in the file
    dense = {} if packed is None else {"quantization_config": packed(dequantize=True)}
    with _refused(path, "The model"):
        read, found = auto.from_pretrained(
            **given,
            **options,
            **dense,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # which are named here, and not in a table on the screen
        )
        _check_found(path, found)
        # made again from its weights: what knows that it came from GGUF can't be saved
        config = type(config).from_dict({**config.to_dict(), "architectures": [type(read).__name__]})
        vars(config).pop("quantization_config", None)
        model = type(read).from_pretrained(None, config=config, state_dict=read.state_dict(), **options)
    model.name_or_path = str(path)
    return model.eval()


def _check_found(path: Path, found: dict[str, Any]) -> None:
    """Refuse a model with weights that were drawn, since the file has none for them or some of another size."""
    missing = sorted(map(str, found["missing_keys"]))
    if missing:
        raise ModelLoadError(
            f"The GGUF file {str(path)!r} has no weights for {_some(missing)}, so it is no whole model."
        )
    mismatched = sorted(str(one[0]) for one in found["mismatched_keys"])
    if mismatched:
        raise ModelLoadError(
            f"The GGUF file {str(path)!r} has weights of another size than its metadata say: {_some(mismatched)}."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
