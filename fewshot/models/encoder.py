"""SentenceEncoder: a sentence-transformers model as an encoder and as a scikit-learn transformer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from fewshot.models.base import SCORING_VERSION, FloatArray, IntArray, Kind, Query
from fewshot.models.local import batches, digest, progress
from fewshot.models.recipe import Recipe, reload
from fewshot.models.tokens import PlainTokenizer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["SentenceEncoder"]


class SentenceEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A sentence-transformers model; texts in, vectors out.

    Repeated texts are encoded once, and a bounded cache keeps vectors between calls, so that cross-validation and grid
    search pay for each text once. It is itself a scikit-learn transformer: put it into a `Pipeline`.

    Parameters
    ----------
    model : SentenceTransformer
    recipe : Recipe, optional
        How `load` made it. With one, a pickle keeps the recipe and the fingerprint; without one, the weights.
    cache_bytes : int
        The most memory that cached vectors may take; 0 keeps none.

    Examples
    --------
    >>> from fewshot import load
    >>> encoder = load("sentence-transformers/all-mpnet-base-v2")  # doctest: +SKIP
    >>> encoder.encode(["one text", "another"]).shape  # doctest: +SKIP
    (2, 768)
    """

    kind: Kind = "encoder"

    def __init__(
        self, model: SentenceTransformer, *, recipe: Recipe | None = None, cache_bytes: int = 64 * 2**20
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.cache_bytes = cache_bytes
        self._prepare()

    def _prepare(self) -> None:
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        self._plain: PlainTokenizer | None = None

    @property
    def name(self) -> str:
        """What messages call the model."""
        return str(
            (self.recipe and self.recipe.name) or self.model.model_card_data.base_model or type(self.model).__name__
        )

    @property
    def fingerprint(self) -> str:
        """Weights, dtype, tokenizer and pooling, as one hash."""
        tokens = self.model.tokenizer.backend_tokenizer.to_str()
        return digest(self.model, f"{SCORING_VERSION}|{self.model}|{tokens}")

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return one vector per text.

        Parameters
        ----------
        texts : sequence of str

        Returns
        -------
        ndarray of shape (n_texts, dim)
            Float64, as the model gives them: normalised only if the model normalises.
        """
        if not len(texts):
            return np.empty((0, int(self.model.get_embedding_dimension() or 0)), dtype=np.float64)
        distinct = list(dict.fromkeys(texts))
        with self._lock:
            known = {text: self._cache[text] for text in distinct if text in self._cache}
            for text in known:
                self._cache.move_to_end(text)
        new = [text for text in distinct if text not in known]
        if new:
            known |= dict(zip(new, self._compute(new), strict=True))
            self._remember({text: known[text] for text in new})
        return np.stack([known[text] for text in texts]).astype(np.float64)

    def _compute(self, texts: list[str]) -> NDArray[np.float32]:
        """Encode in batches of like length under a token budget, with a progress bar when it takes long."""
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        lengths = [min(len(ends) + 2, self.limit) for ends in self.token_ends(clean)]
        tokenizer = self.model.tokenizer
        split, tokenizer.split_special_tokens = tokenizer.split_special_tokens, True  # "[SEP]" in a text is text
        vectors: dict[int, NDArray[np.float32]] = {}
        try:
            with progress(len(texts), "Encoding") as bar:
                for batch in batches(lengths):
                    part = [clean[i] for i in batch]
                    found = self.model.encode(part, batch_size=len(part), show_progress_bar=False)
                    vectors |= zip(batch, np.asarray(found, dtype=np.float32), strict=True)
                    bar.update(len(batch))
        finally:
            tokenizer.split_special_tokens = split
        return np.stack([vectors[i] for i in range(len(texts))])

    def _remember(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        with self._lock:
            self._cache |= {text: vector.copy() for text, vector in vectors.items()}
            size = sum(vector.nbytes + len(text) for text, vector in self._cache.items())
            while size > self.cache_bytes and self._cache:
                text, vector = self._cache.popitem(last=False)
                size -= vector.nbytes + len(text)

    @property
    def limit(self) -> int:
        """The most tokens that the model reads at once."""
        return int(self.model.max_seq_length or self.model.tokenizer.model_max_length)

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """For each text, the character offset at which each of its tokens ends."""
        if self._plain is None:
            self._plain = PlainTokenizer(self.model.tokenizer)
        return self._plain.token_ends(texts)

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Tokens of each query's prefix and suffix, special tokens included."""
        extra = int(self.model.tokenizer.num_special_tokens_to_add())
        return np.array([extra + len(ends) for ends in self.token_ends([q.prefix + q.suffix for q in queries])])

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Do nothing: the model is pretrained."""
        return self

    def transform(self, X: Iterable[str]) -> FloatArray:
        """Return one vector per text, of shape (n_texts, dim)."""
        from fewshot.rows import as_texts

        return self.encode(as_texts(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the dimensions, ``sentenceencoder0`` and so on."""
        dim = int(self.model.get_embedding_dimension() or 0)
        return np.array([f"sentenceencoder{i}" for i in range(dim)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        """Models are shared between clones, never copied."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model, "recipe": self.recipe, "cache_bytes": self.cache_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def __reduce__(self) -> Any:
        if self.recipe is None:
            return super().__reduce__()
        return reload, (self.recipe, self.fingerprint)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return f"SentenceEncoder({self.name!r})"
