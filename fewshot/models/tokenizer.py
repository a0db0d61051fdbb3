"""The tokenizer of a model whose weights are elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fewshot.errors import ModelLoadError
from fewshot.models import embedded
from fewshot.models.gguf import read_gguf_tokenizer

__all__ = ["load_tokenizer"]


def load_tokenizer(tokenizer: Any) -> Any:
    """Load a tokenizer, and no weights.

    Parameters
    ----------
    tokenizer : str, Path or PreTrainedTokenizerBase
        A folder, a hub name, a GGUF file, "embedded:causal", or a tokenizer of transformers, which is taken as it is.
        Code from a repository is not run.

    Raises
    ------
    ModelLoadError
        When it can't be loaded, or is no tokenizer.
    """
    if not isinstance(tokenizer, str | Path):
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise ModelLoadError(
                "tokenizer must be a folder, a name on the hub, a GGUF file, or a tokenizer of transformers with a "
                f"fast backend. Got {type(tokenizer).__name__}."
            )
        return tokenizer
    file = embedded.find_causal() if str(tokenizer) == embedded.CAUSAL else Path(tokenizer)
    if file is not None and file.suffix == ".gguf":
        if not file.is_file():
            raise ModelLoadError(f"There is no file {str(tokenizer)!r}.")
        return read_gguf_tokenizer(file)
    from transformers import AutoTokenizer

    name = embedded.HUB_CAUSAL if file is None else str(tokenizer)
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelLoadError(
            f"The tokenizer {name!r} can't be loaded: there is no such folder, and the hub does not give it. Pass a "
            f"folder that save_pretrained wrote, or the GGUF file that is served. ({type(error).__name__}: {reason})"
        ) from error
