"""The folder of a training run: its checkpoint while it trains, an ordinary model at the end."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fewshot.checks import check_path
from fewshot.errors import FewshotError, InputError
from fewshot.files import CAN_LOCK, locked, sync

__all__ = ["RunFolder", "check_run_folder"]

_CHECKPOINT, _PART, _MODEL = "checkpoint.pt", "checkpoint.pt.part", "model.part"
#: The file that makes a folder a model. It is written last.
_LAST = "config.json"
#: Files of a model, which a run that was killed at its very end may have written beside its checkpoint.
_OF_A_MODEL = re.compile(
    r"(model|generation_config|config|tokenizer|special_tokens|added_tokens|vocab|merges|chat_template|spiece|sentencepiece)"
    r"[\w.-]*\.(safetensors|json|txt|jinja|model)"
)


def check_run_folder(folder: str | Path | None) -> None:
    """Refuse a folder that holds anything but a run that was interrupted, before anything is computed."""
    if folder is None:
        return
    check_path("folder", folder)
    path = Path(folder)
    if path.is_symlink() and not path.exists():
        raise InputError(f"{str(folder)!r} is a link that leads nowhere: give another folder.")
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder, and is left as it is: give another one.")
    begun = (path / _CHECKPOINT).is_file()
    for one in sorted(path.iterdir()):
        own = one.name in (_CHECKPOINT, _PART, _MODEL) or one.name.startswith(".")
        if not own and not (begun and _OF_A_MODEL.fullmatch(one.name)):
            raise InputError(
                f"{str(folder)!r} already holds {one.name!r}, which is not of a run that was interrupted: give another "
                "folder, or move it away."
            )


class RunFolder:
    """Where a run keeps its checkpoint, and in the end its model; None keeps nothing.

    The settings are everything that decides the run's result: a checkpoint of other settings is refused.
    """

    def __init__(self, folder: str | Path | None, settings: dict[str, Any]) -> None:
        check_run_folder(folder)
        self.folder = None if folder is None else Path(folder)
        self._settings = settings

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and let no other process train in it; refuse one that another process trains in."""
        if self.folder is None:
            yield
            return
        with self._writing("The folder"):
            self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder) as own:
            if CAN_LOCK and not own:
                raise InputError(
                    f"Another process trains in {str(self.folder)!r}: wait for it, or give another folder."
                )
            yield

    def restore(self) -> dict[str, Any] | None:
        """Return the state that was kept last, or None; refuse one of other settings, or a damaged one."""
        if self.folder is None or not (self.folder / _CHECKPOINT).exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.folder / _CHECKPOINT, weights_only=True, map_location="cpu")
            other = sorted(k for k in self._settings if state["settings"].get(k) != self._settings[k])
        except Exception as error:  # a damaged file may make torch raise anything
            raise InputError(
                f"{str(self.folder / _CHECKPOINT)!r} is damaged, and nothing can go on from it: delete it to begin "
                f"again. ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
            ) from error
        if other:
            raise InputError(
                f"{str(self.folder / _CHECKPOINT)!r} is of another run: {', '.join(other)} differ. To go on with that "
                "run, make the same call again; else give another folder."
            )
        return state

    def keep(self, **state: Any) -> None:
        """Write a checkpoint, whole or not at all: where it can't be written, the one before stays."""
        if self.folder is None:
            return
        part = self.folder / _PART
        with self._writing("The checkpoint"):
            try:
                torch.save({"settings": self._settings, **state}, part)
                sync(part)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            part.replace(self.folder / _CHECKPOINT)
            sync(self.folder)

    def finish(self, model: Any, tokenizer: Any) -> None:
        """Save the model, then drop the checkpoint; a kill before that leaves the checkpoint and no config.json."""
        if self.folder is None:
            return
        part = self.folder / _MODEL
        shutil.rmtree(part, ignore_errors=True)
        with self._writing("The model"):
            try:
                tokenizer.save_pretrained(part)
                model.save_pretrained(part)
                for path in [*part.rglob("*"), part]:
                    sync(path)
                for path in sorted(part.iterdir(), key=lambda path: path.name == _LAST):
                    path.replace(self.folder / path.name)
                sync(self.folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            (self.folder / _CHECKPOINT).unlink(missing_ok=True)
            (self.folder / _PART).unlink(missing_ok=True)

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            yield
        except FewshotError:
            raise
        except Exception as error:  # torch and libraries in Rust have errors of their own here
            if not isinstance(error, OSError | RuntimeError) and "(os error " not in str(error):
                raise
            raise InputError(
                f"{what} can't be written into {str(self.folder)!r}: {str(error).partition(chr(10))[0]}. What was "
                "there is as it was: with room on the disk, the same call goes on from it."
            ) from error
