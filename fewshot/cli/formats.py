"""Which kinds of file there are, how a file's name says its kind, and how the user says what no name tells."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace
from pathlib import Path

from fewshot.cli.app import WrongUsage

__all__ = ["DELIMITERS", "READ", "WRITTEN", "Format", "guess_kind", "guess_packing", "kind_of"]

READ = ("csv", "tsv", "txt", "json", "jsonl", "parquet")
_ENDINGS = {**{f".{kind}": kind for kind in READ}, ".ndjson": "jsonl"}
_PACKED = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # the first bytes of what is packed
WRITTEN = "It must end with .csv, .tsv, .json, .jsonl or .parquet; all but the last also with .gz or .zst after it."
#: The delimiter of each kind that has one, where none is said or sniffed.
DELIMITERS = {"csv": ",", "tsv": "\t"}
_NO_TEXT = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")  # whatever Python calls them
_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|"}


def kind_of(path: Path) -> tuple[str | None, str]:
    """The kind of a file by the ending of its name, "" where it has none, None where it is another; and its packing."""
    packing = _PACKED.get(path.suffix.lower(), "")
    ending = (path.with_suffix("") if packing else path).suffix.lower()
    return _ENDINGS.get(ending) if ending else "", packing


def guess_packing(data: bytes) -> str:
    """The packing of what comes without an ending, by its first bytes."""
    return next((packing for magic, packing in _MAGIC.items() if data.startswith(magic)), "")


def guess_kind(data: bytes) -> str:
    """The kind of what comes without an ending, as from a pipe: lines of JSON, or an array, begin like nothing else."""
    if data[:4] == b"PAR1":
        return "parquet"
    first = data[:1000].removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return {b"{": "jsonl", b"[": "json"}.get(first, "csv")


@dataclass(frozen=True)
class Format:
    """What the user says of a file, where its name and its content do not."""

    kind: str | None = None  # None: by the ending of the name
    delimiter: str | None = None  # None: by the first rows
    encoding: str | None = None  # None: UTF-8, or as a byte order mark says
    header: bool = True  # whether the first line of a delimited file names the columns

    @classmethod
    def said(cls, kind: str | None, delimiter: str | None, encoding: str | None, no_header: bool) -> Format:
        """From the options, each of them checked."""
        if kind is not None and kind not in READ:
            raise WrongUsage(f"--format must be one of {', '.join(READ)}. Got {kind!r}.")
        if delimiter is not None:
            delimiter = _NAMED.get(delimiter, delimiter)
            if len(delimiter) != 1 or delimiter in '"\r\n\0 ' or not (delimiter.isprintable() or delimiter == "\t"):
                raise WrongUsage(f"--delimiter must be one character, such as ';', or tab. Got {delimiter!r}.")
        if encoding is not None and not _is_encoding(encoding):
            raise WrongUsage(f"--encoding must name an encoding of text, such as cp1252 or utf-16. Got {encoding!r}.")
        return cls(kind, delimiter, encoding, not no_header)

    def check(self, name: str, kind: str) -> None:
        """Refuse what would say nothing about a file of this kind."""
        if self.delimiter is not None and kind not in DELIMITERS:
            raise WrongUsage(
                f"--delimiter is for .csv and .tsv files, and {name!r} is read as {kind}: leave it out, or give "
                "--format csv."
            )
        if not self.header and kind in ("json", "jsonl", "parquet"):
            raise WrongUsage(f"--no-header is for .csv and .tsv files, and {name!r} is read as {kind}: leave it out.")
        if self.encoding is not None and kind == "parquet":
            raise WrongUsage(f"--encoding is for files of text, and {name!r} is read as {kind}: leave it out.")

    def beside(self) -> Format:
        """The same for another file of the command, of which neither kind nor header was said."""
        return replace(self, kind=None, header=True)

    def fits(self, kind: str) -> Format:
        """What of it another file of this kind can use."""
        delimiter = self.delimiter if kind in DELIMITERS else None
        return Format(kind, delimiter, None if kind == "parquet" else self.encoding)


def _is_encoding(name: str) -> bool:
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    is_text = found._is_text_encoding  # noqa: SLF001 - nothing public tells base64 from UTF-8
    return is_text and found.name.replace("-", "_") not in _NO_TEXT
