"""TorchModel: device, dtype, batches, fingerprint, copies and pickles; LocalModel: one that scores candidates."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import torch
import transformers

from fewshot.errors import ParameterError
from fewshot.models.base import SCORING_VERSION, IntArray, Query, Scores, scored_once
from fewshot.models.engine.layers import in_own_modules
from fewshot.models.engine.padding import TOKEN_BUDGET, Padding, batches, is_out_of_memory, padded
from fewshot.models.locks import after_fork, alone, lock_of
from fewshot.models.naming import name_in_errors
from fewshot.models.progress import show_progress
from fewshot.models.recipe import Recipe
from fewshot.models.text.tokens import PlainTokenizer, as_text

__all__ = [
    "LocalModel",
    "TorchModel",
    "batches",
    "compute_within_memory",
    "cut_into_chunks",
    "hash_weights",
    "in_eval_mode",
    "padding_token_of",
    "pick_device",
    "size_of",
]

logger = logging.getLogger(__name__)

#: Characters times candidates that are tokenised and planned at once: memory does not grow with the data.
CHUNK_SIZE = 4_000_000

#: Names of the context length in configs.
_LIMITS: tuple[str, ...] = ("max_position_embeddings", "n_positions", "max_encoder_position_embeddings", "max_seq_len")
# attention to the best of an index (DeepSeek 3.2) looks ahead in transformers, on rows longer than it picks
_LIMITS += ("index_topk",)

T = TypeVar("T")


@after_fork
def _alone_again() -> None:
    """In a forked process, where OpenMP's own threads are lost."""
    torch.set_num_threads(1)  # as in torch's own workers: with more, the first product of matrices would wait for ever


def pick_device(device: str | None) -> torch.device:
    """The device of that name; None is CUDA, else Apple's GPU, else the CPU."""
    if device is not None:
        return _named(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _named(device: Any) -> torch.device:
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ParameterError(
            f"device must be the name of a torch device, such as 'cpu', 'cuda' or 'cuda:1'. Got {device!r}."
        ) from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ParameterError(
            f"device={device!r} asks for a GPU, and torch finds none here: leave device out, or install torch with "
            f"CUDA."
        )
    return found


def size_of(model: Any, *names: str, otherwise: int) -> int:
    """A size that a model's config states under one of these names."""
    config = model.config.get_text_config()
    return next((int(getattr(config, name)) for name in names if getattr(config, name, None)), otherwise)


def padding_token_of(model: Any, tokenizer: Any) -> int:
    """What fills up a batch: the model's own word before the tokenizer's, since some find a text's end by it."""
    named = (getattr(model.config, "pad_token_id", None), tokenizer.pad_token_id)
    return next((int(token) for token in named if isinstance(token, int) and token >= 0), 0)


def cut_into_chunks(queries: Sequence[Query], size: int = CHUNK_SIZE) -> Iterator[Sequence[Query]]:
    """Cut a long list of queries into runs of bounded size, in order."""
    start = total = 0
    for i, query in enumerate(queries):
        length = sum(len(turn.text) for turn in query.context) + len(query.prefix) + len(query.suffix) + 16
        total += length * len(query.candidates)
        if total > size and i > start:
            yield queries[start:i]
            start, total = i, length * len(query.candidates)
    if start < len(queries):
        yield queries[start:]


def available_memory(device: torch.device) -> int:
    """Bytes that are free on a device, as far as it tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every system tells
        return 4 * 2**30


def compute_within_memory(compute: Callable[[int], T], budget: int, what: str, device: torch.device) -> tuple[T, int]:
    """Call ``compute(budget)``, and again with half the budget for as long as memory runs out; also its last budget."""
    while True:
        try:
            return compute(budget), budget
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or budget <= 16:
                raise
        budget //= 2
        logger.warning("%s ran out of memory: going on with batches of %d tokens", what, budget)
        if device.type == "cuda":
            torch.cuda.empty_cache()


class TorchModel:
    """A torch model with its tokenizer, put in order for inference.

    With a recipe, which says how `load` made it, a pickle keeps that and the fingerprint; without one, the weights.
    """

    variant: str = ""

    def __init__(self, model: Any, tokenizer: Any, *, recipe: Recipe | None = None) -> None:
        self.model = in_eval_mode(model)
        self.tokenizer = tokenizer
        self.plain = PlainTokenizer(tokenizer)
        self.recipe = recipe

    @property
    def name(self) -> str:
        """The name of the model in messages."""
        return str((self.recipe and self.recipe.name) or self.model.name_or_path or type(self.model).__name__)

    @property
    def device(self) -> torch.device:
        """The device of the model's input."""
        return self.model.device

    @property
    def limit(self) -> int:
        """The most tokens that the model reads at once."""
        stated = [getattr(self.model.config, key, None) for key in _LIMITS]
        embeddings = getattr(getattr(self.model, "base_model", None), "embeddings", None)
        padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
        # RoBERTa's positions begin after its padding id, so that many fewer can be used
        offset = 0 if padding is None else int(padding) + 1
        known = [n - offset for n in stated if isinstance(n, int) and n > 0]  # -1 is no limit (XLNet)
        return min([*known, int(self.tokenizer.model_max_length)])

    def _forget(self) -> None:
        """Drop what was kept between the chunks of one call; between calls the weights may change."""

    @cached_property
    def budget(self) -> int:
        """Tokens per padded batch that memory has room for; it halves when that proves too many."""
        width = size_of(self.model, "hidden_size", "d_model", otherwise=1024)
        # a layer's activations: about 16 hidden states a token (attention, the wide layer, residuals), in float32
        room = available_memory(self.device) // (4 * 64 * width)
        return int(min(TOKEN_BUDGET, max(room, 256)))

    def within_memory(self, compute: Callable[[int], T]) -> T:
        """Call ``compute(budget)``; if memory runs out, try again with half the budget."""
        result, self.budget = compute_within_memory(compute, self.budget, repr(self), self.device)
        return result

    @cached_property
    def padding(self) -> Padding:
        """Which rows may share a forward pass."""
        return Padding(self.model)

    @property
    def padding_token(self) -> int:
        """The token that pads the rows of a batch."""
        return padding_token_of(self.model, self.tokenizer)

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """Return, for each text, the character offset at which each of its tokens ends."""
        return self.plain.token_ends(texts)

    def _pad(self, rows: Sequence[Sequence[int]], padding: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad on the right; return ids and mask, on the model's device."""
        return padded(rows, self.padding_token if padding is None else padding, self.device)

    @property
    def fingerprint(self) -> str:
        """Weights, dtype, tokenizer with its chat template, scoring variant and scoring version, as one hash."""
        tokens = as_text(self.tokenizer) + repr(self.tokenizer.chat_template)
        said = f"{type(self).__name__}|{self.variant}|{SCORING_VERSION}|{tokens}"
        return hash_weights(self.model, said)

    def around(self, model: Any, recipe: Recipe | None) -> Self:
        """Return a model like this one with other weights."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__getstate__(), model=model.eval(), recipe=recipe)
        return other

    def __sklearn_clone__(self) -> Self:
        """Models are shared between clones, never copied."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        # what is derived from the model is derived again where it is unpickled
        derived = {
            name for kind in type(self).__mro__ for name, a in vars(kind).items() if isinstance(a, cached_property)
        }
        # of a copy, since another thread may derive something meanwhile
        return {name: value for name, value in dict(self.__dict__).items() if name not in derived}

    def __reduce__(self) -> Any:
        if self.recipe is None:
            return super().__reduce__()
        return type(self.recipe).again, (self.recipe, self.fingerprint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class LocalModel(TorchModel, ABC):
    """A torch model that scores candidates."""

    @alone
    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Score every candidate; see the class for the exact definition. Equal queries are scored once."""
        with name_in_errors(self, queries):
            return scored_once(self._in_chunks, queries)

    def _in_chunks(self, queries: Sequence[Query]) -> list[Scores]:
        scores: list[Scores] = []
        with show_progress(len(queries), "Scoring") as bar:
            for chunk in cut_into_chunks(queries):
                scores += self._score(chunk)
                bar.update(len(chunk))
        return scores

    @abstractmethod
    def _score(self, queries: Sequence[Query]) -> list[Scores]:
        """Score queries that are few enough to be planned at once."""

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Return the number of tokens of each query with its longest candidate, special tokens included."""
        with name_in_errors(self, queries):
            sizes = [size for chunk in cut_into_chunks(queries) for size in self._sizes(chunk)]
        return np.array(sizes, dtype=np.int64)

    @abstractmethod
    def _sizes(self, queries: Sequence[Query]) -> list[int]:
        """Tokens of queries that are few enough to be planned at once."""


def in_eval_mode(model: Any) -> Any:
    """The model itself where it is in evaluation mode; else the same weights in modules of their own that are.

    So a model that is being trained stays in training mode, whichever thread asks what, and its steps count at once.
    """
    return in_own_modules(model) if any(module.training for module in model.modules()) else model


def hash_weights(model: torch.nn.Module, said: str) -> str:
    """Hash every weight of a model, and what else decides its numbers."""
    hashed = hashlib.blake2b(said.encode("utf-8", "backslashreplace"), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        hashed.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"{type(model).__name__}:{transformers.__version__}:{hashed.hexdigest()}"


def sharing_copy(model: Any, fixed: Iterable[Any]) -> Any:
    """A copy of a module that shares the numbers of these parameters with it: nobody may change them."""
    shared: dict[int, Any] = {id(p): type(p)(p.detach(), requires_grad=False) for p in fixed}
    with lock_of(model):  # what it does for another thread, such as a flag of its tokenizer, is not copied
        return copy.deepcopy(model, shared)
