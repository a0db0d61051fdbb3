"""Copies of models for training: which of their parameters are trained, and the attention that trains fastest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from typing import Any

import torch

from fewshot.errors import UnsupportedError
from fewshot.extras import pip_line
from fewshot.models.dtypes import cast, own_dtype
from fewshot.models.local import sharing_copy
from fewshot.training.lora import LoRA, Parameters

__all__ = ["as_for_training", "own_copy"]


def own_copy(
    model: Any, parameters: Parameters, *, fresh: tuple[str, ...] = (), fixed: Collection[str] = ()
) -> tuple[Any, Callable[[], Any]]:
    """A copy of a transformers model, ready to be trained, and a function that ends the training.

    The model stays as it is. Parameters named in ``fresh`` are not pretrained, and trained in any case; those named in
    ``fixed`` are not trained, but for LoRA's. What is trained is kept in float32, whatever type was given: a step is
    often smaller than 16 bits can tell. The function returns an ordinary model of the class and the type that was
    given.

    Raises
    ------
    UnsupportedError
        When the model has no such parameters, or peft is missing.
    """
    dtype = own_dtype(model)
    if isinstance(parameters, LoRA):
        copied = sharing_copy(model, (p for name, p in model.named_parameters() if name not in fresh))
        own = [p for name, p in copied.named_parameters() if name in fresh]
        adapted = _adapted(copied.base_model, parameters)
        for p in own:
            p.data = p.data.float()
            p.requires_grad_(True)

        def merge() -> Any:
            adapted.merge_and_unload(safe_merge=True)  # into copies of the matrices, which are shared
            return cast(copied, dtype).eval().requires_grad_(True)

        return copied, merge

    def trained(name: str) -> bool:
        return name in fresh or (name not in fixed and (parameters == "all" or name.rpartition(".")[2] == "bias"))

    if not any(trained(name) and name not in fresh for name, _ in model.named_parameters()):
        raise UnsupportedError(
            f"{type(model).__name__} has no parameters named bias: use parameters='all' or LoRA(...)."
        )
    copied = sharing_copy(model, (p for name, p in model.named_parameters() if not trained(name))).float()
    for name, p in copied.named_parameters():
        p.requires_grad_(trained(name))
    return copied, lambda: cast(copied, dtype).eval().requires_grad_(True)


def _adapted(body: Any, lora: LoRA) -> Any:
    if find_spec("peft") is None:
        raise UnsupportedError(f"LoRA needs peft, which is not installed: {pip_line('peft')}")
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in body.modules()),
    )
    try:
        return get_peft_model(body, config)
    except ValueError as error:  # peft found none of the targets
        raise UnsupportedError(f"{type(body).__name__} has no modules {lora.targets!r} for LoRA: {error}") from error


@contextlib.contextmanager
def as_for_training(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """With the attention that trains a model of this type fastest, and, until somebody says else, without dropout.

    In bfloat16 on a CPU the fused attention's backward pass takes twice the time of plain attention's; in float32 they
    are alike (`benchmarks/training_step.py`).
    """
    attention = model.config._attn_implementation  # noqa: SLF001 - nothing public tells it
    model.eval()
    if model.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
