"""The page on which a template is worked on: what its script may call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from fewshot.errors import InputError
from fewshot.pages.newest import Newest
from fewshot.pages.page import Page, page_application
from fewshot.pages.playing import Playing
from fewshot.pages.template_file import TemplateFile
from fewshot.task import gallery

__all__ = ["Opened", "play_page"]

_MOST = 2  # templates side by side


@dataclass(frozen=True)
class Opened:
    """A template that the page begins with: what it is called, its source, and the file that it is saved to."""

    name: str
    source: str
    file: TemplateFile | None = None


@contextmanager
def play_page(playing: Playing, opened: Sequence[Opened], *, token: str | None = None) -> Iterator[Page]:
    """The application of the playground, while the block runs.

    Parameters
    ----------
    playing : Playing
    opened : sequence of Opened
        One template, or two side by side.
    token : str, optional
        What stands in the address. None: drawn by chance.
    """
    worker = Newest(playing.score)
    calls = _Calls(playing, opened, worker)
    names = ("begin", "render", "score", "scores", "save", "read", "open")
    try:
        yield page_application("play", {name: getattr(calls, name) for name in names}, token=token)
    finally:
        worker.close()


class _Calls:
    def __init__(self, playing: Playing, opened: Sequence[Opened], worker: Newest) -> None:
        self._playing, self._opened, self._worker = playing, opened, worker
        self._rendering, self._saving = Lock(), Lock()

    def begin(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """What the page begins with; nothing of it changes but the sources."""
        sample = self._playing.sample
        return {
            "model": repr(self._playing.model),
            "classes": list(self._playing.names),
            "rows": [
                {"number": number, "label": label} for number, label in zip(sample.numbers, sample.labels, strict=True)
            ],
            "templates": [
                {
                    "name": one.name,
                    "source": (one.file and one.file.source) or one.source,
                    "file": None if one.file is None else str(one.file.path),
                    "saved": None if one.file is None else one.file.source,
                }
                for one in self._opened
            ],
            "gallery": gallery.names(),
        }

    def render(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The prompts of each source; one request at a time, so that costly templates do not pile up."""
        with self._rendering:
            return {"templates": [self._playing.render(source) for source in _sources(said)]}

    def score(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Begin to classify with each source, instead of what was begun before."""
        return {"ticket": self._worker.ask(_sources(said))}

    def scores(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What is known so far under a ticket."""
        ticket = said.get("ticket")
        if not isinstance(ticket, int):
            raise InputError(f"ticket must be a number. Got {ticket!r:.40}.")
        return self._worker.state(ticket)

    def save(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Write a source to its own file; says so where that has changed on the disk."""
        (source,) = _sources({"sources": [said.get("source")]})
        with self._saving:
            return {"changed": self._file(said).save(source, overwrite=said.get("overwrite") is True)}

    def read(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What is in the file now."""
        with self._saving:
            return {"source": self._file(said).read()}

    def open(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The source of a template of the gallery."""
        return {"source": gallery.get(str(said.get("name"))).source}

    def _file(self, said: Mapping[str, Any]) -> TemplateFile:
        """The file of one of the templates; the page names no path, so nothing else can be written."""
        side = said.get("side")
        file = self._opened[side].file if isinstance(side, int) and 0 <= side < len(self._opened) else None
        if file is None:
            raise InputError("This template has no file: begin again with --output FILE to save it.")
        return file


def _sources(said: Mapping[str, Any]) -> list[str]:
    sources = said.get("sources")
    if not isinstance(sources, list) or not 1 <= len(sources) <= _MOST or not all(isinstance(s, str) for s in sources):
        raise InputError(f"sources must be one or two texts. Got {sources!r:.80}.")
    return sources
