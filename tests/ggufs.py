"""GGUF files of tiny models under a seed, written as llama.cpp's converter writes them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.conftest import tokenizer

NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6
TRANSPOSED = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")  # GPT-2's Conv1D


@functools.cache
def tiny(architecture: str, tokens: str) -> Any:
    """A random model whose logits are spread, so that an error shows."""
    import transformers as t

    torch.manual_seed(0)
    n = len(tokenizer(tokens))
    if architecture == "gpt2":
        model = t.GPT2LMHeadModel(t.GPT2Config(vocab_size=n, n_embd=32, n_layer=2, n_head=4, n_positions=1024))
    else:
        small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        config = t.LlamaConfig(vocab_size=n, intermediate_size=96, max_position_embeddings=256, **small)
        model = t.LlamaForCausalLM(config)
    for parameter in model.parameters():
        parameter.data.mul_(3.0 if parameter.dim() > 1 else 1.0)
    return model.eval()


def metadata(architecture: str, config: Any) -> dict[str, Any]:
    """What the file says of the architecture."""
    said = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
    }
    if architecture == "gpt2":
        said |= {"feed_forward_length": 128, "attention.layer_norm_epsilon": config.layer_norm_epsilon}
    else:
        said |= {
            "feed_forward_length": config.intermediate_size,
            "attention.head_count_kv": config.num_key_value_heads,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
            "rope.freq_base": 10_000.0,
            "vocab_size": config.vocab_size,
        }
    return {f"{architecture}.{key}": value for key, value in said.items()}


def vocabulary(tokens: str) -> dict[str, Any]:
    """What the file says of the tokenizer."""
    made = tokenizer(tokens)
    state = json.loads(made.backend_tokenizer.to_str())
    added = {one["content"]: CONTROL if one["special"] else USER_DEFINED for one in state["added_tokens"]}
    spelt = made.convert_ids_to_tokens(list(range(len(made))))
    types = [BYTE if token.startswith("<0x") else added.get(token, NORMAL) for token in spelt]
    said = {
        "model": "gpt2" if tokens.startswith("byte") else "llama",
        "pre": "default",
        "tokens": spelt,
        "token_type": types,
        "scores": [-float(i) for i in range(len(spelt))],
        "merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]],
        "bos_token_id": made.bos_token_id,
        "eos_token_id": made.eos_token_id,
        "add_bos_token": not tokens.startswith("byte"),
    }
    return {f"tokenizer.ggml.{key}": value for key, value in said.items()} | {
        "tokenizer.chat_template": made.chat_template
    }


def tensors(architecture: str, model: Any) -> dict[str, Any]:
    """The weights under llama.cpp's names and in its order."""
    import gguf

    config = model.config
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), config.num_hidden_layers)
    found = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = str(names.get_name(name, try_suffixes=(".weight", ".bias")))
        value = tensor.numpy()
        if architecture == "gpt2" and name.endswith(TRANSPOSED):
            value = value.T
        if architecture == "llama" and name.endswith(("attn_q.weight", "attn_k.weight")):
            heads = config.num_attention_heads if "attn_q" in name else config.num_key_value_heads
            value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        found[name] = np.ascontiguousarray(value)
    return found


def write(
    path: Path,
    architecture: str = "llama",
    tokens: str = "byte-level BPE, chat",
    kind: str = "F32",
    said: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
) -> Path:
    """Write a file.

    Parameters
    ----------
    path : Path
    architecture : {"llama", "gpt2"}
    tokens : str
        The tokenizer of `tests.conftest`.
    kind : {"F32", "F16", "Q8_0"}
        The type of the matrices.
    said, weights : mapping, optional
        Written instead of what is right; None leaves something out.
    """
    import gguf

    model = tiny(architecture, tokens)
    right = {"general.name": "tiny", **metadata(architecture, model.config), **vocabulary(tokens), **(said or {})}
    writer = gguf.GGUFWriter(path, right.pop("general.architecture", architecture))
    for key, value in right.items():
        if value is None:
            continue
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            (writer.add_uint32 if isinstance(value, int) else writer.add_float32)(key, value)
    type_ = gguf.GGMLQuantizationType[kind]
    for name, value in {**tensors(architecture, model), **(weights or {})}.items():
        if value is None:
            continue
        if value.ndim > 1 and kind != "F32":
            writer.add_tensor(name, gguf.quants.quantize(value, type_), raw_dtype=type_)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
