"""The file of a template that is being edited: what was read of it, and how it is saved."""

from __future__ import annotations

from pathlib import Path

from fewshot.errors import InputError
from fewshot.files import save_text
from fewshot.task.source import read_source

__all__ = ["TemplateFile"]


class TemplateFile:
    r"""A template's file, which is not saved over what another program has written meanwhile.

    Parameters
    ----------
    path : Path
        Read if it is there; else it is made when it is first saved.

    Attributes
    ----------
    path : Path
    source : str
        As it was last read or saved, with line breaks as ``\n`` and without the one that ends the file.

    Raises
    ------
    TemplateError
        When the file is there and can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = ""
        self._seen: bytes | None = None
        if path.exists():
            self.read()

    def read(self) -> str:
        """Read what is on the disk now, which may be saved over from then on; returns the source."""
        self.source = read_source(self.path)
        self._seen = self.path.read_bytes()
        return self.source

    def save(self, source: str, *, overwrite: bool = False) -> str | None:
        """Write the source; where the file is no longer what was read, say so instead, unless it is to be overwritten.

        Raises
        ------
        InputError
            When the source is no text that UTF-8 can hold, or the file can't be written.
        """
        changed = None if overwrite else self._changed()
        if changed is not None:
            return changed
        breaks = "\r\n" if self._seen is not None and b"\r\n" in self._seen else "\n"
        text = f"{source}\n".replace("\n", breaks)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"The template holds {error.object[error.start]!r}, which is no character.") from error
        save_text(self.path, text)
        self.source, self._seen = source, self.path.read_bytes()
        return None

    def _changed(self) -> str | None:
        """What has become of the file since it was read or saved."""
        now = self.path.read_bytes() if self.path.exists() else None
        if now == self._seen:
            return None
        if now is None:
            return f"The file {str(self.path)!r} is gone."
        return f"The file {str(self.path)!r} has been changed since it was read here."
