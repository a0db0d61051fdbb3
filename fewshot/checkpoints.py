"""The folder of a training run: its checkpoint while it trains, an ordinary model at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fewshot.errors import InputError

__all__ = ["RunFolder"]

_CHECKPOINT = "checkpoint.pt"


class RunFolder:
    """Where a run keeps its checkpoint, and in the end its model.

    Parameters
    ----------
    folder : str, Path or None
        None keeps nothing.
    settings : dict
        Everything that decides the run's result. A checkpoint of other settings is refused.

    Raises
    ------
    InputError
        When the folder holds a model already, or is a file.
    """

    def __init__(self, folder: str | Path | None, settings: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self._settings = settings
        if self.folder is None:
            return
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.glob("*.safetensors"))):
            raise InputError(f"{str(self.folder)!r} already holds something: give another folder, or delete it.")
        self.folder.mkdir(parents=True, exist_ok=True)

    def restore(self) -> dict[str, Any] | None:
        """Return the state that was kept last, or None.

        Raises
        ------
        InputError
            When it is the state of a run with other settings.
        """
        if self.folder is None or not (self.folder / _CHECKPOINT).exists():
            return None
        state: dict[str, Any] = torch.load(self.folder / _CHECKPOINT, weights_only=True)
        other = sorted(k for k in self._settings if state["settings"].get(k) != self._settings[k])
        if other:
            raise InputError(
                f"{str(self.folder / _CHECKPOINT)!r} is of another run: {', '.join(other)} differ. To go on with that "
                "run, make the same call again; else give another folder."
            )
        return state

    def keep(self, **state: Any) -> None:
        """Write a checkpoint, whole or not at all."""
        if self.folder is None:
            return
        part = self.folder / f"{_CHECKPOINT}.part"
        torch.save({"settings": self._settings, **state}, part)
        part.replace(self.folder / _CHECKPOINT)

    def finish(self, model: Any, tokenizer: Any) -> None:
        """Save the model, and drop the checkpoint."""
        if self.folder is None:
            return
        tokenizer.save_pretrained(self.folder)
        model.save_pretrained(self.folder)
        (self.folder / _CHECKPOINT).unlink(missing_ok=True)
