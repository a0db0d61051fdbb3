"""Types that a model computes in: which the hardware has, which was asked for, and how weights are brought to it."""

from __future__ import annotations

import logging
from typing import TypeVar

import torch

from fewshot.errors import ParameterError

__all__ = ["autocast", "cast", "native_dtype", "own_dtype", "settle_dtype"]

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=torch.nn.Module)


def native_dtype(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the hardware computes in this type itself, rather than by way of float32."""
    if dtype == torch.float32:
        return True
    if device.type == "cuda":
        return dtype == torch.float16 or (dtype == torch.bfloat16 and torch.cuda.is_bf16_supported())
    if device.type == "mps":
        return dtype == torch.float16
    has = _processor_computes()
    if dtype == torch.bfloat16:
        return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    return bool(dtype == torch.float16 and has.get("amx_fp16"))


def _processor_computes() -> dict[str, bool]:
    """Which 16-bit types the processor multiplies itself; older versions of torch tell it by private functions."""
    if hasattr(torch.cpu, "get_capabilities"):
        return dict(torch.cpu.get_capabilities())
    return {
        "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),  # noqa: SLF001
        "amx_bf16": torch.cpu._is_amx_tile_supported(),  # noqa: SLF001
        "amx_fp16": torch.cpu._is_amx_fp16_supported(),  # noqa: SLF001
    }


def own_dtype(model: torch.nn.Module) -> torch.dtype:
    """The type that a model computes in."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Compute forward passes as a model of this type is trained: float32 in float32, 16 bits in bfloat16.

    The model decides, and so whoever loaded it, never the processor: it only decides how long this takes. float16 has
    too small a range for gradients, so it is trained in bfloat16 too.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype in (torch.bfloat16, torch.float16))


def cast(model: M, dtype: torch.dtype) -> M:
    """Bring a model's weights to a type, but not the frequencies of its rotary positions.

    Those stay in float32, as transformers has them in a checkpoint of 16 bits: rounded to 8 bits, the angles of the
    thousandth token are off by a radian.
    """
    frequencies = {name: buffer for name, buffer in model.named_buffers() if name.endswith("inv_freq")}
    model.to(dtype)
    for name, buffer in frequencies.items():
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, buffer)
    return model


def settle_dtype(model: torch.nn.Module, dtype: str, device: torch.device) -> None:
    """Bring a model to the type it shall compute in: "auto" its own where native, "fast" bfloat16 where native."""
    own = own_dtype(model)
    wanted = {"auto": own, "fast": torch.bfloat16}.get(dtype) or getattr(torch, dtype, None)
    if not isinstance(wanted, torch.dtype):
        raise ParameterError(f"dtype must be 'auto', 'fast' or the name of a torch type like 'float32'. Got {dtype!r}.")
    if dtype in ("auto", "fast") and not native_dtype(wanted, device):
        logger.info("%s does not compute %s natively: using float32", device, wanted)
        wanted = torch.float32
    if wanted != own:
        cast(model, wanted)
