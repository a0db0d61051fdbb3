"""SentenceEncoder: a sentence-transformers model as an encoder and as a scikit-learn transformer."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from fewshot.checks import check_texts
from fewshot.errors import ModelLoadError, UnsupportedError
from fewshot.inputs import as_texts
from fewshot.models.base import SCORING_VERSION, FloatArray, IntArray, Query
from fewshot.models.engine.padding import TOKEN_BUDGET, Padding, scale_vectors
from fewshot.models.local import compute_within_memory, hash_weights, sharing_copy
from fewshot.models.locks import lock_of
from fewshot.models.progress import show_progress
from fewshot.models.recipe import Recipe
from fewshot.models.text.tokens import PlainTokenizer, as_text, without_surrogates
from fewshot.models.token_vectors import TokenReader
from fewshot.models.tokens import ReadsTokens, TokenVectors
from fewshot.models.windows import Windows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["SentenceEncoder"]


class SentenceEncoder(ReadsTokens, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A sentence-transformers model, which turns texts into vectors.

    Equal texts are encoded once, and a bounded cache keeps vectors between calls. So cross-validation and grid search
    encode each text once. The class is also a scikit-learn transformer, for use in a ``Pipeline``. If memory runs out,
    it continues with smaller batches.

    It computes in the dtype of its weights: float32 for nearly every checkpoint, so that a text has the same vector on
    every machine. ``load(dtype="fast")`` computes in bfloat16 if the processor does so natively. That takes about half
    the time, with the same mean accuracy, but changes a few predictions in a hundred.

    Parameters
    ----------
    model : SentenceTransformer
    recipe : Recipe, optional
        How `load` made the model. With a recipe, a pickle has the recipe and the fingerprint; without one, it has the
        weights.
    cache_bytes : int
        The most memory that cached vectors may take; 0 keeps none.
    windows : Windows, optional
        How to read texts longer than the model's window. None: only their beginning is read; `Embedding` then warns.

    Examples
    --------
    >>> from fewshot import load
    >>> encoder = load("sentence-transformers/all-mpnet-base-v2")  # doctest: +SKIP
    >>> encoder.encode(["one text", "another"]).shape  # doctest: +SKIP
    (2, 768)
    """

    kind = "encoder"

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        recipe: Recipe | None = None,
        cache_bytes: int = 64 * 2**20,
        windows: Windows | None = None,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.cache_bytes = cache_bytes
        self.windows = windows
        self._prepare()

    def _prepare(self) -> None:
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._cached = 0  # bytes in the cache
        self._budget = TOKEN_BUDGET  # tokens of a batch; it halves when memory runs out

    @cached_property
    def padding(self) -> Padding:
        """How rows share a forward pass, as far as it is known."""
        return Padding(self.model)

    def check_options(self) -> Self:
        """Raise an error for invalid options, else return the encoder.

        Raises
        ------
        ModelLoadError
            When an option has a wrong type or is below 0.
        """
        size, windows = self.cache_bytes, self.windows
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 0:
            raise ModelLoadError(f"cache_bytes must be a number of bytes, at least 0. Got {size!r}.")
        if not isinstance(windows, Windows | None):
            raise ModelLoadError(f"windows must be Windows(...) or None. Got {windows!r}.")
        return self

    @property
    def name(self) -> str:
        """The name of the model in messages."""
        return str(
            (self.recipe and self.recipe.name) or self.model.model_card_data.base_model or type(self.model).__name__
        )

    @property
    def fingerprint(self) -> str:
        """Weights, dtype, tokenizer, pooling, prompt and window, as one hash."""
        prompt = self.model.prompts.get(self.model.default_prompt_name or "")
        read = f"{as_text(self.model.tokenizer)}|{prompt}|{self.limit}|{self.windows}"
        return hash_weights(self.model, f"{SCORING_VERSION}|{self.model}|{read}")

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return one vector per text.

        Parameters
        ----------
        texts : sequence of str

        Returns
        -------
        ndarray of shape (n_texts, dim)
            Float64. The vectors are of unit length only if the model normalises them.
        """
        self.check_options()
        check_texts(texts)
        if not len(texts):
            return np.empty((0, int(self.model.get_embedding_dimension() or 0)), dtype=np.float64)
        distinct = list(dict.fromkeys(texts))
        with lock_of(self):
            known = {text: self._cache[text] for text in distinct if text in self._cache}
            for text in known:
                self._cache.move_to_end(text)
        new = [text for text in distinct if text not in known]
        if new:
            known |= dict(zip(new, self._compute(new), strict=True))
            self._remember({text: known[text] for text in new})
        return np.stack([known[text] for text in texts]).astype(np.float64)

    def _read_tokens(
        self, texts: Sequence[str], layer: int | None, questions: Sequence[str] | None
    ) -> list[TokenVectors]:
        with lock_of(self.model):
            return self.token_reader.read(texts, layer, self.limit, self._within_memory, questions)

    @cached_property
    def token_reader(self) -> TokenReader:
        """What reads the tokens of texts, with their hidden states."""
        body = getattr(self.model[0], "model", None)
        if body is None:
            raise UnsupportedError(
                f"{self!r} has no transformer, and so no hidden states of tokens. Choose another encoder."
            )
        return TokenReader(repr(self), body, self._plain)

    def _compute(self, texts: list[str]) -> NDArray[np.float32]:
        """Encode each text, or each of its windows."""
        clean = [without_surrogates(text) for text in texts]
        if self.windows is None:
            return self._batches(clean)
        size = self.limit - int(self.model.tokenizer.num_special_tokens_to_add())
        pieces, bounds = [], [0]
        for text, ends in zip(clean, self.token_ends(clean), strict=True):
            cuts = self.windows.cut(ends, text, size) if len(ends) > size else [(0, len(text))]
            pieces += [text[start:stop] for start, stop in cuts]
            bounds.append(len(pieces))
        vectors = self._batches(pieces)
        return np.stack([self.windows.join(vectors[a:b]) for a, b in itertools.pairwise(bounds)])

    def _batches(self, clean: list[str]) -> NDArray[np.float32]:
        """Encode in batches of like length, smaller ones when memory runs out; with a bar when it takes long."""
        vectors: dict[int, NDArray[np.float32]] = {}
        sizes = self._sizes(clean)

        def compute(batch: list[int]) -> list[torch.Tensor]:
            part = [clean[i] for i in batch]
            found = self.model.encode(part, batch_size=len(part), show_progress_bar=False, convert_to_tensor=True)
            return list(found)

        def encode(budget: int) -> None:
            left = [i for i in range(len(clean)) if i not in vectors]  # what an earlier attempt has not done

            def receive(batch: list[int], found: list[torch.Tensor]) -> None:
                made = torch.stack(found).float().cpu().numpy()
                vectors.update(zip([left[i] for i in batch], made, strict=True))
                bar.update(len(batch))

            lengths = [sizes[i] for i in left]
            self.padding.run(lengths, budget, lambda batch: compute([left[i] for i in batch]), receive, scale_vectors)

        with show_progress(len(clean), "Encoding") as bar, self._plain_text():
            self._within_memory(encode)
        return np.stack([vectors[i] for i in range(len(clean))])

    def _within_memory(self, compute: Callable[[int], None]) -> None:
        _, self._budget = compute_within_memory(compute, self._budget, repr(self), self.model.device)

    def _sizes(self, texts: list[str]) -> list[int]:
        return [min(len(ends) + 2, self.limit) for ends in self.token_ends(texts)]

    @contextmanager
    def _plain_text(self) -> Iterator[None]:
        """Let "[SEP]" in a text be text; only one thread at a time may."""
        with lock_of(self.model), self._plain.reading(self.model.tokenizer):  # others may share the tokenizer
            yield

    @cached_property
    def _plain(self) -> PlainTokenizer:
        return PlainTokenizer(self.model.tokenizer)

    def tokenized(self, texts: Sequence[str], budget: int) -> list[tuple[list[int], dict[str, Any]]]:
        """Return the model's input in batches of similar length within a token budget, with the row numbers of each."""
        clean = [without_surrogates(text) for text in texts]
        prompt = self.model.prompts.get(self.model.default_prompt_name or "", None)
        with self._plain_text():
            return [
                (batch, self._placed(self.model.preprocess([clean[i] for i in batch], prompt=prompt)))
                for batch in self.padding.batches(self._sizes(clean), budget)
            ]

    def _placed(self, features: dict[str, Any]) -> dict[str, Any]:
        return {k: v.to(self.model.device) if hasattr(v, "to") else v for k, v in features.items()}

    def copied(self, fixed: Iterable[Any] = ()) -> Self:
        """Return a copy of the model whose weights may change. It has no recipe, so its pickles have the weights.

        The values of the ``fixed`` parameters are shared with this model, not copied, so they must not be changed.
        """
        own = type(self)(sharing_copy(self.model, fixed), cache_bytes=self.cache_bytes, windows=self.windows)
        own._plain, own.padding = self._plain, self.padding  # noqa: SLF001 - its own class; what is known stays true
        return own

    def save(self, folder: str | Path) -> None:
        """Write an ordinary sentence-transformers folder, which `load` can read."""
        with lock_of(self.model):
            self.model.save_pretrained(str(folder))

    def _remember(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        with lock_of(self):
            for text, vector in vectors.items():
                if text in self._cache:  # another thread was faster
                    continue
                self._cache[text] = vector.copy()
                self._cached += _bytes(text, vector)
                while self._cached > self.cache_bytes:
                    self._cached -= _bytes(*self._cache.popitem(last=False))

    @property
    def limit(self) -> int:
        """The most tokens that the model reads at once."""
        return int(self.model.max_seq_length or self.model.tokenizer.model_max_length)

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """Return, for each text, the character offset at which each of its tokens ends."""
        return self._plain.token_ends(texts)

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Return the number of tokens of each query's prefix and suffix, special tokens included."""
        extra = int(self.model.tokenizer.num_special_tokens_to_add())
        return np.array([extra + len(ends) for ends in self.token_ends([q.prefix + q.suffix for q in queries])])

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Do nothing: the model is pretrained."""
        return self

    def transform(self, X: Iterable[str]) -> FloatArray:
        """Return one vector per text, of shape (n_texts, dim)."""
        return self.encode(as_texts(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the dimensions: ``sentenceencoder0`` and so on."""
        dim = int(self.model.get_embedding_dimension() or 0)
        return np.array([f"sentenceencoder{i}" for i in range(dim)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        """Models are shared between clones, never copied."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "recipe", "cache_bytes", "windows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def __reduce__(self) -> Any:
        if self.recipe is None:
            return super().__reduce__()
        return type(self.recipe).again, (self.recipe, self.fingerprint)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return f"SentenceEncoder({self.name!r})"


def _bytes(text: str, vector: NDArray[np.float32]) -> int:
    """What a text and its vector take in the cache."""
    return vector.nbytes + len(text.encode("utf-8", "surrogatepass"))
