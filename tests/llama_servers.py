"""llama-server on loopback, from the package xllamacpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WHY_NOT = "xllamacpp is not installed: pip install --no-deps xllamacpp"


def start(file: Path, *, kv: str = "F32", flash: bool = False, n_ctx: int = 256, slots: int = 1) -> Any:
    """A server of a GGUF file, while the object lives; by default it computes attention as transformers does."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.verbosity = str(file), n_ctx * slots, slots, 0
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kv}")
    kinds = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = getattr(kinds, f"LLAMA_FLASH_ATTN_TYPE_{'ENABLED' if flash else 'DISABLED'}")
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # two would wait for each other in tests
    return xllamacpp.Server(params)
