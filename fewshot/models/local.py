"""What local torch models share: device, dtype, batches, fingerprint, and how they are copied and pickled."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
import transformers
from tqdm.auto import tqdm

from fewshot.errors import FewshotError
from fewshot.models.base import SCORING_VERSION, IntArray, Query
from fewshot.models.loading import Recipe, reload
from fewshot.models.tokens import PlainTokenizer

__all__ = ["LocalModel", "batches", "digest", "native_dtype", "place", "progress", "settle_dtype"]

logger = logging.getLogger(__name__)

#: Tokens per batch, padding included. Enough to fill a CPU or a small GPU, small enough for both.
TOKEN_BUDGET = 8192


def place(device: str | None) -> torch.device:
    """The device of that name; None is CUDA, else Apple's GPU, else the CPU."""
    if device is not None:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def native_dtype(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the hardware computes in this type itself, rather than by way of float32."""
    if dtype == torch.float32:
        return True
    if device.type == "cuda":
        return dtype == torch.float16 or (dtype == torch.bfloat16 and torch.cuda.is_bf16_supported())
    if device.type == "mps":
        return dtype == torch.float16
    has = torch.cpu.get_capabilities()
    if dtype == torch.bfloat16:
        return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    return bool(dtype == torch.float16 and has.get("amx_fp16"))


def settle_dtype(model: torch.nn.Module, dtype: str, device: torch.device) -> None:
    """Bring a model to the type it shall compute in: "auto" its own where native, "fast" bfloat16 where native."""
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    wanted = {"auto": own, "fast": torch.bfloat16}.get(dtype) or getattr(torch, dtype, None)
    if not isinstance(wanted, torch.dtype):
        raise ValueError(f"dtype must be 'auto', 'fast' or the name of a torch type such as 'float32'. Got {dtype!r}.")
    if dtype in ("auto", "fast") and not native_dtype(wanted, device):
        logger.info("%s does not compute %s natively: using float32", device, wanted)
        wanted = torch.float32
    if wanted != own:
        model.to(wanted)


def batches(lengths: Sequence[int] | IntArray, budget: int = TOKEN_BUDGET) -> Iterator[list[int]]:
    """Group items of like length, longest first, so that each padded batch stays within the token budget."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        yield [int(i) for i in order[start : start + size]]
        start += size


@contextlib.contextmanager
def progress(total: int, title: str) -> Iterator[tqdm[Any]]:
    """A progress bar that stays away for 2 seconds, and altogether when nobody is watching a terminal or notebook."""
    with tqdm(total=total, desc=title, delay=2, leave=False, disable=None) as bar:
        yield bar


class LocalModel:
    """A torch model with its tokenizer, put in order for inference.

    Parameters
    ----------
    model : PreTrainedModel
    tokenizer : PreTrainedTokenizerBase
    recipe : Recipe, optional
        How `load` made it. With one, a pickle keeps the recipe and the fingerprint; without one, the weights.
    """

    variant: str = ""

    def __init__(self, model: Any, tokenizer: Any, *, recipe: Recipe | None = None) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.plain = PlainTokenizer(tokenizer)
        self.recipe = recipe

    @property
    def name(self) -> str:
        """What messages call the model."""
        return str((self.recipe and self.recipe.name) or self.model.name_or_path or type(self.model).__name__)

    @property
    def device(self) -> torch.device:
        """Where the model's input goes."""
        device: torch.device = self.model.device
        return device

    @property
    def limit(self) -> int:
        """The most tokens that the model reads at once."""
        stated = [getattr(self.model.config, key, None) for key in ("max_position_embeddings", "n_positions")]
        # RoBERTa's positions begin after its padding id, so that many fewer can be used
        offset = self._position_offset()
        known = [int(n) - offset for n in stated if n] + [int(self.tokenizer.model_max_length)]
        return min(known)

    def _position_offset(self) -> int:
        embeddings = getattr(getattr(self.model, "base_model", None), "embeddings", None)
        positions = getattr(embeddings, "position_embeddings", None)
        padding = getattr(positions, "padding_idx", None)
        return 0 if padding is None else int(padding) + 1

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """For each text, the character offset at which each of its tokens ends."""
        return self.plain.token_ends(texts)

    def _pad(self, rows: Sequence[Sequence[int]], padding: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad on the right; return ids and mask, on the model's device."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), padding, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[i, : len(row)] = 1
        return ids.to(self.device), mask.to(self.device)

    @property
    def fingerprint(self) -> str:
        """Weights, dtype, tokenizer with its chat template, scoring variant and scoring version, as one hash."""
        tokens = self.tokenizer.backend_tokenizer.to_str() + repr(self.tokenizer.chat_template)
        said = f"{type(self).__name__}|{self.variant}|{SCORING_VERSION}|{tokens}"
        return digest(self.model, said)

    def __sklearn_clone__(self) -> Self:
        """Models are shared between clones, never copied."""
        return self

    def __reduce__(self) -> Any:
        if self.recipe is None:
            return super().__reduce__()
        return reload, (self.recipe, self.fingerprint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


@contextlib.contextmanager
def asked_of(model: LocalModel, queries: Sequence[Query]) -> Iterator[None]:
    """Add the model's name to what went wrong while scoring, once."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, FewshotError):
            raise
        raise ValueError(f"{model!r} can't score these {len(queries)} prompts: {error}") from error


def digest(model: torch.nn.Module, said: str) -> str:
    """Hash every weight of a model, and what else decides its numbers."""
    hashed = hashlib.blake2b(said.encode("utf-8", "backslashreplace"), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        hashed.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"{type(model).__name__}:{transformers.__version__}:{hashed.hexdigest()}"
