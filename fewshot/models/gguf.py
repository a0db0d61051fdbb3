"""GGUF, the files of llama.cpp: checked, and read by transformers into an ordinary model in float32."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewshot.errors import ModelLoadError, NotInstalledError
from fewshot.extras import need
from fewshot.models.recipe import Recipe

__all__ = ["find_gguf", "read_gguf"]

_MAGIC = b"GGUF"
_ENDING = ".gguf"
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
        When the folder has no such file.
    OSError
        When the hub has none, or can't be reached.
    """
    place, name = Path(recipe.name), recipe.passed.get("gguf_file")
    if name is None:
        return place if place.is_file() else None
    if not isinstance(name, str) or not name.endswith(_ENDING):
        raise ModelLoadError(f"gguf_file must be the name of a file that ends in {_ENDING}. Got {name!r}.")
    if place.is_dir():
        if not (place / name).is_file():
            there = ", ".join(sorted(path.name for path in place.glob(f"*{_ENDING}"))) or "none"
            raise ModelLoadError(f"The folder {recipe.name!r} has no file {name!r}. Its GGUF files: {there}.")
        return place / name
    from huggingface_hub import hf_hub_download

    options = {key: value for key, value in recipe.hub.items() if key != "trust_remote_code"}
    return Path(hf_hub_download(recipe.name, name, revision=recipe.revision, **options))


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
    _check_begin(path)
    try:
        need("gguf", f"{str(path)!r} is a GGUF file, and reading it needs")
        need("accelerate", f"{str(path)!r} is a GGUF file, and reading it needs")
    except NotInstalledError as error:
        raise ModelLoadError(str(error)) from error
    with _parsed_once():
        _check_header(path)
        config = _read_config(path)
        tokenizer = _read_tokenizer(path, config)
        return _read_model(path, config, options), tokenizer


def _check_begin(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ModelLoadError(
                f"The file {str(path)!r} is no GGUF file: it does not begin with {_MAGIC.decode()}. A single file must "
                "be one; of any other model give the folder."
            )


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Parse a file, and make its map of names, once: transformers asks for both anew at every step, 300 times in all.

    Models are loaded one at a time, so that nobody else sees the change.
    """
    import gguf

    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = functools.cache(reader), functools.cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


def _check_header(path: Path) -> None:
    """Refuse a part of a model, a file that was cut off, and a vocabulary that does not fit the embeddings."""
    import gguf

    try:
        reader = gguf.GGUFReader(str(path))
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise ModelLoadError(
            f"The GGUF file {str(path)!r} can't be read: it is cut off or damaged ({error})."
        ) from error
    parts = _field(reader, "split.count")
    if parts is not None and int(parts) > 1:
        raise ModelLoadError(f"The GGUF file {str(path)!r} is one of {int(parts)} parts of a model. {_MERGE}.")
    if _field(reader, "general.architecture") is None:
        raise ModelLoadError(f"The GGUF file {str(path)!r} does not say which architecture it is of.")
    if _field(reader, "tokenizer.ggml.model") is None:
        raise ModelLoadError(f"The GGUF file {str(path)!r} holds no tokenizer: it is not a whole model.")
    n_tokens = len(reader.fields["tokenizer.ggml.tokens"].data) if "tokenizer.ggml.tokens" in reader.fields else 0
    rows = next((int(tensor.shape[-1]) for tensor in reader.tensors if tensor.name == "token_embd.weight"), None)
    if rows is not None and n_tokens > rows:
        raise ModelLoadError(
            f"The GGUF file {str(path)!r} has {n_tokens} tokens and embeddings for {rows}: its vocabulary is not that "
            "of its weights."
        )


def _field(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()


def _read_config(path: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
    except (ValueError, KeyError, NotImplementedError) as error:
        import gguf
        from transformers import __version__
        from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

        architecture = _field(gguf.GGUFReader(str(path)), "general.architecture")
        raise ModelLoadError(
            f"The GGUF file {str(path)!r} is of the architecture {architecture!r}, which transformers {__version__} "
            f"can't read from GGUF. It reads {', '.join(sorted(GGUF_SUPPORTED_ARCHITECTURES))}. ({error})"
        ) from error


def _read_tokenizer(path: Path, config: Any) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, config=config)
    except Exception as error:  # the Rust library's errors have no class of their own
        import gguf

        kind = _field(gguf.GGUFReader(str(path)), "tokenizer.ggml.model")
        raise ModelLoadError(
            f"The tokenizer of the GGUF file {str(path)!r}, of kind {kind!r}, can't be read: {error}."
        ) from error


def _read_model(path: Path, config: Any, options: dict[str, Any]) -> Any:
    import torch
    import transformers

    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    try:
        read = auto.from_pretrained(
            str(path.parent), gguf_file=path.name, config=config, dtype=torch.float32, **options
        )
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise ModelLoadError(f"The weights of the GGUF file {str(path)!r} can't be read: {error}.") from error
    # made again from its weights: what knows that it came from GGUF can't be saved
    config.architectures = [type(read).__name__]
    model = type(read).from_pretrained(None, config=config, state_dict=read.state_dict(), **options)
    model.name_or_path = str(path)
    return model.eval()
