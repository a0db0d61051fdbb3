"""Training of the upper layers of a sentence encoder. The lower layers stay, and are computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fewshot.models.base import IntArray
from fewshot.models.dtypes import autocast, own_dtype
from fewshot.models.encoder import SentenceEncoder
from fewshot.models.engine.layers import find_layers

__all__ = ["Batch", "Tail"]

_TOLERANCE = 1e-3


@dataclass
class Batch:
    """Texts of like length, ready for the upper layers."""

    rows: IntArray  # which of the texts
    features: dict[str, Any]
    lower: Any = None  # what the last frozen layer said

    @property
    def size(self) -> int:
        """Tokens, padding included."""
        return int(self.features["input_ids"].numel())


class _Replay(torch.nn.Module):
    """Stands in for the frozen layers, and says again what they said."""

    def __init__(self, layer: torch.nn.Module, said: Any) -> None:
        super().__init__()
        self._layer = [layer]  # in a list, so that it is no submodule
        self._said = said

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._said

    def __getattr__(self, name: str) -> Any:  # such as the kind of attention that a body asks its layers for
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._layer[0], name)


class Tail:
    """An own copy of an encoder, of which the last layers (and what follows them) are trained.

    What is frozen depends on nothing that changes, so its output is kept and each step pays for the upper layers only.
    There is no code for particular architectures: the layers are the module list as long as the config says, and
    replaying them is checked against the plain model. The weights are trained in float32, and a step computes in the
    encoder's own type (16 bits: bfloat16). With all layers, or more than there are, everything but the word embeddings
    is trained.
    """

    def __init__(self, encoder: SentenceEncoder, n_layers: int) -> None:
        # what stays as it is need not be copied: most of a tuning's memory, and of its time where the texts are few
        self.encoder = encoder.copied(_fixed(encoder.model, n_layers))
        self._dtype = own_dtype(encoder.model)
        self.model: Any = self.encoder.model.float().eval()  # no dropout
        self.model.requires_grad_(True)
        for parameter in _fixed(self.model, n_layers):
            parameter.requires_grad_(False)
        self._parent, self._name, layers = find_layers(getattr(self.model[0], "model", None))
        self.frozen = _n_frozen(layers, n_layers)

    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def prepare(self, texts: Sequence[str], budget: int) -> list[Batch]:
        """Tokenise, group by length, and run the frozen layers."""
        prepared: list[Batch] = []
        for rows, features in self.encoder.tokenized(texts, budget):
            batch = Batch(np.array(rows, dtype=np.int64), features)
            if self.frozen:
                with torch.no_grad():
                    plain, batch.lower = self._recorded(features)
                    if not prepared and not torch.allclose(plain, self.vectors(batch), atol=_TOLERANCE):
                        self.frozen = 0  # an architecture whose layers do more than pass their output on
                        return self.prepare(texts, budget)
            prepared.append(batch)
        return prepared

    def _recorded(self, features: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        """The unit vectors of the whole model, and what its last frozen layer said."""
        said: list[Any] = []
        layer = getattr(self._parent, self._name)[self.frozen - 1]
        hook = layer.register_forward_hook(lambda module, args, output: said.append(output))
        try:
            return self._unit(features), said[0]
        finally:
            hook.remove()

    def vectors(self, batch: Batch) -> torch.Tensor:
        """Unit vectors of a batch, of shape (n_texts, dim), with gradient."""
        if not self.frozen:
            return self._unit(batch.features)
        with self._replaying(batch.lower):
            return self._unit(batch.features)

    def _unit(self, features: dict[str, Any]) -> torch.Tensor:
        model: Any = self.model
        with autocast(model.device, self._dtype):
            found = model(dict(features))["sentence_embedding"]
        return torch.nn.functional.normalize(found.float(), dim=-1)

    def finished(self) -> SentenceEncoder:
        """The tuned encoder, in the type that it had."""
        self.model.to(self._dtype).requires_grad_(True)
        return self.encoder

    @contextmanager
    def _replaying(self, said: Any) -> Iterator[None]:
        layers = getattr(self._parent, self._name)
        shorter = torch.nn.ModuleList([_Replay(layers[self.frozen - 1], said), *layers[self.frozen :]])
        setattr(self._parent, self._name, shorter)
        try:
            yield
        finally:
            setattr(self._parent, self._name, layers)


def _n_frozen(layers: Any, n_layers: int) -> int:
    return 0 if layers is None else max(0, len(layers) - n_layers)


def _fixed(model: Any, n_layers: int) -> list[torch.nn.Parameter]:
    """What is not trained: the word embeddings, and where some layers are not, everything before those that are."""
    _, _, layers = find_layers(getattr(model[0], "model", None))
    body: Any = getattr(model[0], "model", model)
    fixed: list[torch.nn.Parameter] = []
    n_frozen = _n_frozen(layers, n_layers)
    if n_frozen:
        trained = {id(p) for layer in layers[n_frozen:] for p in layer.parameters()}
        fixed += [p for p in body.parameters() if id(p) not in trained]
    embeddings = body.get_input_embeddings() if hasattr(body, "get_input_embeddings") else None
    return fixed + (list(embeddings.parameters()) if embeddings is not None else [])
