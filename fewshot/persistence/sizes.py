"""A model's folder, measured before anything of it is made: its config can ask for no more than its weights are."""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fewshot.errors import InputError, printable

__all__ = ["bound_weights", "check_numbers", "check_sizes", "read_shapes"]

#: Numbers in a config: how many there are of something, and what may be larger, such as the base of a rotation.
_MAX_COUNT, _MAX_NUMBER = 2**20, 2**40
_MAY_BE_LARGE = re.compile(
    r"position|length|seq|window|ctx|context|theta|base|freq|size|seed|scale|factor|budget|token"
)
#: A weight may be used in several places (words, and the head over them), and what is not kept is small.
_TIMES, _MORE = 4, 2**20
#: Bytes of what a model works out for itself, such as masks over all its positions.
_MAX_BUFFERS = 2**30


def read_shapes(path: Path, where: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in a whole safetensors file, of which nothing but the header is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{where} is not a whole safetensors file: {error}.") from error
    odd = [name for name in found if printable(name) != name or "\n" in name]
    if odd:  # loggers print them as they are
        raise InputError(f"{where} holds an array of the name {odd[0]!r:.80}.")
    return found


def check_numbers(config: Any, where: str, key: str = "") -> None:
    """Refuse numbers that no model has, which would have lists made and loops run."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            check_numbers(value, where, str(name))
    elif isinstance(config, list):
        for value in config:
            check_numbers(value, where, key)
    elif isinstance(config, str) and key != "chat_template" and printable(config) != config:
        raise InputError(f"{where} sets {key!r} to {config!r:.80}, which holds control characters.")
    elif isinstance(config, int) and not isinstance(config, bool):
        most = _MAX_NUMBER if _MAY_BE_LARGE.search(key) and not key.startswith(("num_", "n_lay")) else _MAX_COUNT
        if abs(config) > most:
            raise InputError(f"{where} sets {key!r} to {config!r:.40}: at most {most} is read.")


def check_sizes(folder: Path, found: Mapping[str, Any], files: Sequence[str], name: str) -> None:
    """Refuse a model, or a part of a sentence encoder, that its config makes larger than its weights.

    ``files`` are all in the model's folder, and ``name`` is that of the config within it.
    """
    own = name.rpartition("/")[0]
    prefix = f"{own}/" if own else ""
    where = f"{folder.name}/{name}"
    weights = [one for one in files if one.startswith(prefix) and one.endswith(".safetensors")]
    arrays = [shape for one in weights for shape in read_shapes(folder / one, f"{folder.name}/{one}").values()]
    if "model_type" in found:
        if not weights:
            raise InputError(f"{where} is a model's, and its folder has no safetensors file.")
        _check_built(folder / own, arrays, where)
        return
    made = math.prod(int(found[key]) for key in ("in_features", "out_features") if key in found)
    if "in_features" in found and made > sum(map(math.prod, arrays)):
        raise InputError(f"{where} asks for a layer of {made} numbers, and there are {sum(map(math.prod, arrays))}.")


def _check_built(folder: Path, arrays: list[tuple[int, ...]], where: str) -> None:
    """Build the model without memory for its weights, and stop where it becomes larger than they are."""
    import torch
    import transformers

    try:
        config: Any = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        cls = getattr(transformers, str((config.architectures or [""])[0]), None)
        with bound_weights(sum(map(math.prod, arrays)), len(arrays), where), torch.device("meta"):
            if isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel):
                cls._from_config(config)  # type: ignore[no-untyped-call]
            else:
                transformers.AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except InputError:
        raise
    except Exception as error:  # a config may make a model's code raise anything
        raise InputError(f"{where} makes no model: {type(error).__name__}: {error}.") from error


@contextmanager
def bound_weights(n_numbers: int, n_arrays: int, where: str) -> Iterator[None]:
    """While a model is built by this thread, refuse more weights than a file holds."""
    from torch.nn.modules import module

    count, thread = Counter[str](), threading.get_ident()

    def add(found: dict[str, int]) -> None:
        count.update(found)
        if count["numbers"] > _TIMES * n_numbers + _MORE or count["arrays"] > _TIMES * n_arrays + 100:
            raise InputError(
                f"{where} asks for more than there is: the weights beside it are {n_arrays} arrays of {n_numbers} "
                f"numbers, and {count['arrays']} arrays of {count['numbers']} numbers were asked for before it was "
                "stopped."
            )
        if count["bytes"] > _MAX_BUFFERS or count["parts"] > 100 * n_arrays + 1000:
            raise InputError(f"{where} asks for {count['parts']} parts and {count['bytes']} bytes beside its weights.")

    def parameter(own: Any, name: str, value: Any) -> None:
        if value is not None and threading.get_ident() == thread:
            add({"numbers": value.numel(), "arrays": 1})

    def buffer(own: Any, name: str, value: Any) -> None:
        if value is not None and threading.get_ident() == thread:
            add({"bytes": value.numel() * value.element_size()})

    def part(own: Any, name: str, value: Any) -> None:
        if threading.get_ident() == thread:
            add({"parts": 1})

    with ExitStack() as stack:
        for register, hook in (
            (module.register_module_parameter_registration_hook, parameter),
            (module.register_module_buffer_registration_hook, buffer),
            (module.register_module_module_registration_hook, part),
        ):
            stack.callback(register(hook).remove)
        yield
