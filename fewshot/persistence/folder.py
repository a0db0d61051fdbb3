"""The folder on disk: written whole or not at all, and read only as it was written."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from fewshot.errors import FewshotError, InputError
from fewshot.files import CAN_LOCK, locked, sync
from fewshot.persistence.limits import MAX_TEXT, read_json

__all__ = [
    "ARRAYS",
    "CARD",
    "CONFIG",
    "HEADS",
    "MODELS",
    "Kept",
    "digest_of",
    "find_interrupted",
    "write_folder",
    "write_model_folder",
]

CONFIG, CARD, ARRAYS, HEADS, MODELS = "config.json", "README.md", "arrays.safetensors", "heads", "models"
_SUMS = "checksums.json"
#: How folders beside the target end: those that are being written, and those that are being replaced.
_PART, _BEFORE = ".part", ".before"
#: Names of files below the folder: no part begins with a dot, so none leads out of it.
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)


@contextmanager
def write_folder(target: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder to fill, which becomes the target when all is well, and is gone when anything went wrong.

    A kill leaves the target as it was, and the unfinished folder beside it, named ``.<target>.<random>.part``, which
    the next save takes away. A target is refused that is there and may not be overwritten, that is not a kept
    classifier, or that can't be written, as on a full disk.
    """
    with _written(target, lambda path: _check_target(path, overwrite), _seal) as part:
        yield part


@contextmanager
def write_model_folder(target: str | Path) -> Iterator[Path]:
    """The same for a model that others read: nothing is there yet, and no checksums are written beside its files."""
    with _written(target, _check_new, _sync) as part:
        yield part


@contextmanager
def _written(target: str | Path, check: Callable[[Path], None], end: Callable[[Path], None]) -> Iterator[Path]:
    target = Path(target).expanduser().absolute()
    try:
        check(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        clear(target)
        with _new_folder(target) as part:
            yield part
            end(part)
            check(target)  # writing takes its time
            _put(part, target)
        clear(target)
    except FewshotError:
        raise
    except Exception as error:  # libraries in Rust have errors of their own for what the system refuses
        if not isinstance(error, OSError) and "(os error " not in str(error):
            raise
        raise InputError(
            f"{str(target)!r} can't be written: {error}. What was kept there before, if anything, is as it was."
        ) from error


def _put(part: Path, target: Path) -> None:
    """Let a finished folder take its place."""
    before = part.with_suffix(_BEFORE)
    if target.exists():
        target.rename(before)
    try:
        part.rename(target)
    except BaseException:
        if before.exists():
            before.rename(target)
        raise
    sync(target.parent)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A new folder beside the target, locked while it is written, and gone afterwards."""
    part = target
    try:
        while True:
            part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}{_PART}")
            part.mkdir()
            with locked(part) as own:
                if not own or not part.exists():  # somebody has taken it for one that a kill left
                    continue
                yield part
            return
    finally:
        if part != target:
            shutil.rmtree(part, ignore_errors=True)


def clear(target: Path) -> None:
    """Take away what kills have left beside a target: folders that nobody writes any more, and what was replaced."""
    for path in target.parent.glob(f".{escape(target.name)}.*"):
        if not re.fullmatch(r"[0-9a-f]{12}", path.stem.rpartition(".")[2]) or path.is_symlink():
            continue
        if path.suffix == _PART and CAN_LOCK:
            with locked(path) as own:
                if own:
                    shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == _BEFORE and (target / _SUMS).is_file():
            shutil.rmtree(path, ignore_errors=True)


def _check_new(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise InputError(f"{str(target)!r} exists: give a new folder.")


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not overwrite:
        raise InputError(f"{str(target)!r} exists: give another folder, or overwrite=True to replace what was kept.")
    if target.is_symlink() or not target.is_dir():
        raise InputError(f"{str(target)!r} is not a folder, and is left as it is: give another one.")
    if not any(target.iterdir()):
        return
    try:
        listed = _sums(target)
    except InputError as error:
        raise InputError(
            f"{str(target)!r} holds something else than a kept classifier, and is left as it is: give another folder. "
            f"({error})"
        ) from error
    others = sorted(set(_files(target)) - set(listed) - {CARD, _SUMS})
    if others:
        raise InputError(
            f"{str(target)!r} also holds {others[0]!r}, which would be lost: move it away, or give another folder."
        )


def _seal(folder: Path) -> None:
    """Write the checksum of every file, and bring all of them to the disk."""
    names = [name for name in _files(folder) if name not in (CARD, _SUMS)]
    odd = [name for name in names if not _NAME.fullmatch(name)]
    if odd:
        raise InputError(f"The file name {odd[0]!r} can't be kept: letters, digits, '.', '-' and '_' can.")
    sums = {name: _sum(folder / name) for name in names}
    said = json.dumps({"files": sums, "all": _sum_of(sums)}, indent=1)
    (folder / _SUMS).write_text(said + "\n", encoding="utf-8")
    _sync(folder)


def _sync(folder: Path) -> None:
    """Bring everything to the disk."""
    for path in [folder, *folder.rglob("*")]:
        sync(path)


def _files(folder: Path) -> list[str]:
    """Everything below a folder that is not itself a folder; links are not followed."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_of(sums: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def _sums(folder: Path) -> dict[str, str]:
    """The checksums of a folder, where they are whole and name files below it."""
    path = folder / _SUMS
    if not path.is_file():
        raise InputError(
            f"{str(folder)!r} holds no kept classifier: there is no {_SUMS if folder.is_dir() else 'such folder'}"
            f"{' in it' * folder.is_dir()}. Give the folder that save() or fewshot fit wrote."
        )
    _check_link(folder, _SUMS)
    try:
        found = read_json(path.read_bytes(), _SUMS)
        sums, total = found["files"], found["all"]
        damaged = not isinstance(sums, dict) or _sum_of(sums) != total
    except (ValueError, KeyError, TypeError):
        damaged = True
    if damaged:
        raise InputError(f"{_SUMS} in {str(folder)!r} is damaged, so nothing can be checked: get the folder again.")
    for name in sums:
        if not _NAME.fullmatch(name) or name in (CARD, _SUMS):
            raise InputError(f"{_SUMS} in {str(folder)!r} lists {name!r}, which can't be a file of it.")
    return dict(sums)


def digest_of(folder: Path) -> str | None:
    """A digest of all that is kept in a folder, which no other classifier has; None where nothing is kept."""
    try:
        return hashlib.sha256((folder / _SUMS).read_bytes()).hexdigest()
    except OSError:
        return None


def find_interrupted(folder: Path) -> str:
    """Where a kill has left what was kept before, if it came between the two renames of a replacement."""
    before = sorted(folder.absolute().parent.glob(f".{escape(folder.name)}.*{_BEFORE}"))
    return str(before[-1]) if before and not folder.exists() else ""


def _check_link(folder: Path, name: str) -> None:
    """Refuse a link, unless it is how the hub's cache keeps its files: one into its own ``blobs``."""
    root = folder.resolve()
    blobs = root.parent.parent / "blobs"
    path = folder
    parts = name.split("/")
    for i, part in enumerate(parts):
        path = path / part
        if path.is_symlink():
            cached = root.parent.name == "snapshots" and path.resolve().parent == blobs and i == len(parts) - 1
            if not cached:
                raise InputError(f"{name} in {str(folder)!r} is a link: a kept classifier holds files only.")


class Kept:
    """A kept classifier's files, all of which are as they were written.

    A file that is missing, changed, a link, or one more than there should be is refused by name. The card is for
    people, and may be edited. Other files at the top of the folder are ignored, since nothing reads them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sums = _sums(folder)
        for name, said in self._sums.items():
            _check_link(folder, name)
            path = folder / name
            if not path.is_file():
                raise InputError(f"{name} is missing in {str(folder)!r}: get the folder again.")
            if _sum(path) != said:
                raise self._changed(name)
        known = set(self._sums)
        extra = [name for name in _files(folder) if name.startswith(f"{MODELS}/") and name not in known]
        if extra:  # what loads a model reads whatever lies beside it
            raise InputError(f"{extra[0]} in {str(folder)!r} is not a file of the kept classifier: delete it.")

    def _changed(self, name: str) -> InputError:
        return InputError(f"{name} in {str(self.folder)!r} is not as it was written: get the folder again.")

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each file that the folder lists."""
        return {name: (self.folder / name).stat().st_size for name in self._sums}

    def has(self, name: object) -> bool:
        """Whether the folder lists this file."""
        return name in self._sums

    def read(self, name: Any) -> bytes:
        """The bytes of a file that the folder lists."""
        if not self.has(name):
            raise InputError(f"{CONFIG} in {str(self.folder)!r} names {name!r}, which is not a file of the folder.")
        if str(name).endswith(".jinja") and (self.folder / name).stat().st_size > MAX_TEXT:
            raise InputError(f"{name} in {str(self.folder)!r} is larger than any template: at most {MAX_TEXT} bytes.")
        found: bytes = (self.folder / name).read_bytes()
        if hashlib.sha256(found).hexdigest() != self._sums[name]:  # what is used is what was checked
            raise self._changed(name)
        return found

    def below(self, name: Any) -> list[str]:
        """The files of a model's folder in it, by their names within that folder."""
        own = [one.removeprefix(f"{name}/") for one in self._sums if one.startswith(f"{name}/")]
        if not own or not isinstance(name, str) or not re.fullmatch(rf"{MODELS}/\d+", name):
            raise InputError(f"{CONFIG} in {str(self.folder)!r} names {name!r}, which is not a model's folder in it.")
        return own
