"""Recipe: the arguments that a model was loaded with. Its pickles keep them instead of the weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from fewshot.models.kinds import OPTIONS
from fewshot.models.secrets import open_sealed, seal

__all__ = ["Recipe"]

_HUB = frozenset({"token", "local_files_only", "trust_remote_code", "cache_dir"})  # for every file of a repository


@dataclass(frozen=True)
class Recipe(ABC):
    """How a model was loaded, which is what a pickle of it keeps instead of its weights, and never a token."""

    name: str
    revision: str | None = None
    device: str | None = None
    dtype: str = "auto"
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kwargs", seal(self.kwargs))

    @property
    def own(self) -> dict[str, Any]:
        """Keyword arguments for our class."""
        return {key: value for key, value in self.kwargs.items() if key in OPTIONS}

    @property
    def passed(self) -> dict[str, Any]:
        """Keyword arguments for ``from_pretrained`` that the user gave."""
        return {key: value for key, value in open_sealed(self.kwargs).items() if key not in OPTIONS}

    @property
    def hub(self) -> dict[str, Any]:
        """Those of them that every file of the repository needs; its code is not run, nor asked about, by itself."""
        return {"trust_remote_code": False} | {k: value for k, value in open_sealed(self.kwargs).items() if k in _HUB}

    @abstractmethod
    def again(self, fingerprint: str) -> Any:
        """Load the model again, and refuse one whose fingerprint is another."""
