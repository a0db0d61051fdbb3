"""The embedded masked language model: 22M parameters that know some English, inside the package, in 8-bit weights.

It is what its README says it is: a small model for demonstrations, tests and notebooks without a network. Anybody can
make it anew with ``python -m fewshot.embedded.build``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.errors import ModelLoadError

if TYPE_CHECKING:
    from fewshot.models.masked import MaskedLM

__all__ = ["NAME", "export", "masked_lm"]

#: What `load` calls the model.
NAME = "embedded:masked"
_FILES = Path(__file__).parent / "masked"
_SUMS = "checksums.json"
_SCALE = ".scale"


def masked_lm(**kwargs: Any) -> MaskedLM:
    """Return the embedded masked language model.

    Parameters
    ----------
    **kwargs
        What `load` takes: ``device``, ``dtype``, ``variant``.

    Raises
    ------
    ModelLoadError
        When its files are missing or are not those that the package was made with.

    Examples
    --------
    >>> from fewshot import Classifier, embedded
    >>> clf = Classifier(embedded.masked_lm(), template="sst2/it_was").fit()
    >>> clf.predict(["A wonderful evening, and I laughed all the way home."]).tolist()
    ['positive']
    """
    from fewshot.models.loading import load

    model: MaskedLM = load(NAME, **kwargs)
    return model


def export(folder: str | Path) -> Path:
    """Write the model as an ordinary ``BertForMaskedLM`` folder, in float32.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist; must be empty if it does.

    Returns
    -------
    Path
        The folder, which `load`, `adapt` and transformers' ``from_pretrained`` take.

    Raises
    ------
    FileExistsError
        When the folder holds something.

    Examples
    --------
    >>> from fewshot import embedded
    >>> embedded.export("embedded-bert")  # doctest: +SKIP
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{str(folder)!r} already holds something: give another folder, or empty it.")
    model, tokenizer = read()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def read(files: Path = _FILES) -> tuple[Any, Any]:
    """The model, its weights made float32 again, and its tokenizer.

    Raises
    ------
    ModelLoadError
        When a file is missing, or is not the one that the package was made with.
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


def write(model: Any, tokenizer: Any, files: Path = _FILES) -> None:
    """Store a model as 8-bit rows, each with its own scale, and everything that is not a matrix as 16-bit floats."""
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
