"""What a GGUF file says before its weights: read within the bounds of the file, whatever its counts claim."""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot.errors import ModelLoadError

__all__ = ["Header", "Tensor", "read_header"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_DIMS = 4
_ALIGNMENT = 32  # where the file names none


@dataclass(frozen=True)
class Tensor:
    """A row of the tensor table; the first dimension is that of neighbours in memory."""

    name: str
    dims: tuple[int, ...]
    kind: int
    offset: int


@dataclass
class Header:
    """What a file says.

    Parameters
    ----------
    path : Path
    size : int
        Bytes of the file.
    said : dict
        Its metadata without the arrays.
    lengths : dict of str to int
        How long its arrays are.
    tensors : list of Tensor
    data : int
        Where the weights begin.
    """

    path: Path
    size: int
    said: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    data: int = 0

    def check_data(self) -> None:
        """Refuse a file that ends before its weights do.

        Raises
        ------
        ModelLoadError
            When it does, or a tensor is of a type that the package gguf does not know.
        """
        from gguf import GGML_QUANT_SIZES

        sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
        for tensor in self.tensors:
            if tensor.kind not in sizes:
                raise ModelLoadError(
                    f"The GGUF file {str(self.path)!r} has the tensor {tensor.name!r} of type {tensor.kind}, which the "
                    "installed package gguf does not know."
                )
            elements, n_bytes = sizes[tensor.kind]
            end = self.data + tensor.offset + math.prod(tensor.dims) // elements * n_bytes
            if end > self.size:
                raise ModelLoadError(
                    f"The GGUF file {str(self.path)!r} is cut off or damaged: its tensor {tensor.name!r} ends at byte "
                    f"{end:,}, and the file has {self.size:,}."
                )


class _Reader:
    """Takes values from a file, one after another, and never beyond its end."""

    def __init__(self, file: mmap.mmap) -> None:
        self.file = file
        self.at = 0

    def take(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.file, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def skip(self, n: int) -> None:
        if n > len(self.file) - self.at:
            raise EOFError
        self.at += n

    def text(self) -> str:
        n = self.take("Q")
        self.skip(n)
        return self.file[self.at - n : self.at].decode("utf-8", "replace")

    def array(self) -> int:
        """Go over an array, and return its length."""
        kind, n = self.take("I"), self.take("Q")
        if kind in _SCALARS:
            self.skip(n * struct.calcsize(f"<{_SCALARS[kind]}"))
        elif kind == _STRING:
            for _ in range(n):
                self.skip(self.take("Q"))
        else:
            raise EOFError
        return int(n)


def read_header(path: Path) -> Header:
    """Read what a GGUF file says.

    Raises
    ------
    ModelLoadError
        When it is no GGUF file, or ends before its weights begin.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ModelLoadError(
                f"The file {str(path)!r} is no GGUF file: it does not begin with {_MAGIC.decode()}. A single file must "
                "be one; of any other model give the folder."
            )
        header = Header(path, path.stat().st_size)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            reader = _Reader(mapped)
            reader.skip(len(_MAGIC))
            where = "beginning"
            try:
                version, n_tensors, n_said = reader.take("I"), reader.take("Q"), reader.take("Q")
                if version not in _VERSIONS:
                    raise ModelLoadError(
                        f"The GGUF file {str(path)!r} is of version {version}; versions {_VERSIONS[0]} and "
                        f"{_VERSIONS[1]} can be read."
                    )
                where = "metadata"
                for _ in range(n_said):
                    _read_said(reader, header)
                where = "table of tensors"
                for _ in range(n_tensors):
                    header.tensors.append(_read_tensor(reader))
            except (EOFError, struct.error, OverflowError) as error:
                raise ModelLoadError(
                    f"The GGUF file {str(path)!r} is cut off or damaged: its {where} can't be read to the end."
                ) from error
        said = header.said.get("general.alignment")
        alignment = said if isinstance(said, int) and said > 0 else _ALIGNMENT
        header.data = -(-reader.at // alignment) * alignment
    return header


def _read_said(reader: _Reader, header: Header) -> None:
    key, kind = reader.text(), reader.take("I")
    if kind == _ARRAY:
        header.lengths[key] = reader.array()
    elif kind == _STRING:
        header.said[key] = reader.text()
    elif kind in _SCALARS:
        header.said[key] = reader.take(_SCALARS[kind])
    else:
        raise EOFError


def _read_tensor(reader: _Reader) -> Tensor:
    name, n_dims = reader.text(), reader.take("I")
    if not 0 < n_dims <= _MOST_DIMS:
        raise EOFError
    return Tensor(name, tuple(reader.take("Q") for _ in range(n_dims)), reader.take("I"), reader.take("Q"))
