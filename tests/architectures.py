"""Tiny models with random weights of every architecture in transformers' auto mappings.

A default config is shrunk by the names of its numbers, so that an architecture that is new in transformers is built
without a line here; what a name can't tell stands in `SPECIAL`.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import torch

from fewshot.models.base import FloatArray, Query, Turn
from fewshot.models.engine.reads import Reads
from tests.conftest import tokenizer

MAPPINGS = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "entailment": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
}
TOKENIZERS = {"causal": "byte-level BPE", "masked": "WordPiece", "seq2seq": "Unigram", "entailment": "WordPiece"}
LABELS = {0: "contradiction", 1: "neutral", 2: "entailment"}
CANDIDATES = ("great", "terrible", "very good", "very bad")
LIMIT, WINDOW = 256, 12

#: Names of numbers, and what they become.
SMALL: dict[str, int] = {
    **dict.fromkeys(["hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_dim", "word_embed_proj_dim"], 32),
    **dict.fromkeys(["embedding_size", "input_embedding_size", "output_embedding_size", "lru_width"], 32),
    **dict.fromkeys(["attention_hidden_size", "backbone_hidden_size", "true_hidden_size"], 32),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"], 4),
    **dict.fromkeys(["decoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads"], 4),
    **dict.fromkeys(["swa_num_attention_heads", "attention_heads", "index_n_heads", "linear_num_heads"], 4),
    **dict.fromkeys(["num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"], 2),
    **dict.fromkeys(
        ["head_dim", "d_kv", "d_head", "dim_head", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim"], 8
    ),
    **dict.fromkeys(
        ["index_head_dim", "swa_head_dim", "attention_head_size", "kv_channels", "d_rel", "linear_head_dim"], 8
    ),
    **dict.fromkeys(["linear_key_head_dim", "linear_value_head_dim"], 8),
    **dict.fromkeys(["linear_num_key_heads", "linear_num_value_heads"], 4),
    **dict.fromkeys(["kv_lora_rank", "q_lora_rank", "o_lora_rank", "gated_norm_rank", "laurel_rank", "hc_lowrank"], 8),
    **dict.fromkeys(["intermediate_size", "moe_intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff"], 64),
    **dict.fromkeys(["ffn_dim", "hidden_dim", "n_inner", "dff", "dim_ff", "d_inner", "ffn_hidden_size"], 64),
    **dict.fromkeys(["shared_expert_intermediate_size", "shared_experts_intermediate_size"], 64),
    **dict.fromkeys(["moe_shared_expert_intermediate_size", "shared_intermediate_size", "intermediate_size_mlp"], 64),
    **dict.fromkeys(["dense_intermediate_size", "expert_ffn_hidden_size", "feed_forward_size"], 64),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"], 4),
    **dict.fromkeys(["num_encoder_layers", "num_decoder_layers"], 4),
    **dict.fromkeys(["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"], 2),
    **dict.fromkeys(["n_group", "topk_group", "n_groups", "num_expert_group"], 1),
    **dict.fromkeys(
        ["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_encoder_position_embeddings"], LIMIT
    ),
    **dict.fromkeys(["max_decoder_position_embeddings", "max_source_positions", "max_target_positions"], LIMIT),
    **dict.fromkeys(["context_length", "model_max_length", "rel_extent"], LIMIT),
    "original_max_position_embeddings": LIMIT // 4,
    **dict.fromkeys(
        ["sliding_window", "sliding_window_size", "attention_window_size", "window_size", "local_attention"], WINDOW
    ),
    **dict.fromkeys(["attention_chunk_size"], 16),
    **dict.fromkeys(["mamba_d_state", "state_size", "ssm_state_size"], 4),
    **dict.fromkeys(["mamba_n_heads", "mamba_num_heads"], 8),
    **dict.fromkeys(["mamba_d_head", "mamba_head_dim", "mamba_headdim"], 8),
    "mamba_d_ssm": 64,
    **dict.fromkeys(["chunk_size", "mamba_chunk_size"], 8),
    **dict.fromkeys(["time_step_rank", "mamba_dt_rank"], 4),
    "query_pre_attn_scalar": 8,
    "index_topk": 64,  # the limit of what is read, too: beyond it keys tie
    "hidden_size_per_layer_input": 8,
    "rotary_dim": 4,
}
_VOCABULARIES = ("vocab_size", "decoder_vocab_size", "src_vocab_size", "tgt_vocab_size", "vocab_size_per_layer_input")
_VOCABULARIES += ("vocab_size_per_layer", "unpadded_vocab_size")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_SINGULAR = {"num_attention_heads_per_layer": "num_attention_heads"}
_KINDS_OF_LAYERS = ("layer_types", "mlp_layer_types", "layers_block_type", "indexer_types")

#: Where None means that another number decides, and what that number's own rules don't find.
UNSET = {
    "head_dim": 8,
    "num_key_value_heads": 2,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
}
UNSET |= {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 16}
UNSET |= {"indexer_compress_ratio": 2}
#: What a name can't tell.
ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
_DOTS = {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "head_dim": 16}
_DOTS |= {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
SPECIAL: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE}},
    "dory": {"n_input_layers": 2, "n_recurrent_layers": 2, "n_output_layers": 2, "num_hidden_layers": 6}
    | {"layer_types": ["sliding_attention", "mlp", "full_attention", "mlp", "sliding_attention", "mlp"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "reformer": {"axial_pos_shape": [16, 16], "axial_pos_embds_dim": [8, 24], "hash_seed": 0}
    | {"local_attn_chunk_length": 16, "lsh_attn_chunk_length": 16, "attn_layers": ["local", "lsh", "local", "lsh"]},
    "blenderbot": {"encoder_layers": 4},
    "gpt2": {"pad_token_id": None},  # as it is published
    "longcat_flash": {"zero_expert_num": 2},
    "big_bird": {"block_size": 4, "num_random_blocks": 2},
    "bigbird_pegasus": {"block_size": 4, "num_random_blocks": 2},
    "longformer": {"attention_window": [8] * 4},
    "led": {"attention_window": [8] * 4},
    "longt5": {"local_radius": 7, "global_block_size": 4},
    "funnel": {"block_sizes": [1, 1], "block_repeats": [1, 1]},
    "mobilebert": {"intra_bottleneck_size": 32},
    "roc_bert": {"pronunciation_vocab_size": 40, "pronunciation_embed_dim": 8}
    | {"shape_vocab_size": 40, "shape_embed_dim": 8},
    "luke": {"entity_vocab_size": 40, "entity_emb_size": 8},
    "perceiver": {"num_latents": 16, "d_latents": 32, "num_self_attends_per_block": 2}
    | {"num_self_attention_heads": 2, "num_cross_attention_heads": 2},
    "nystromformer": {"num_landmarks": 64, "segment_means_seq_len": 64},  # as it is published
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "deberta": {"pooler_hidden_size": 32},
    "deberta-v2": {"pooler_hidden_size": 32},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4},
    "lilt": {"hidden_size": 48},
    "xmod": {"default_language": "en_XX"},
    "t5gemma": {"decoder_start_token_id": 1},  # hides padding from itself
    "fsmt": {"decoder_start_token_id": 1},
    "mistral4": {"head_dim": 16},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}},
    "hrm_text": {"num_layers_per_stack": None},
    "esmc": {"num_key_value_heads": 4},
    "dots3_note_text": {"num_key_value_heads": 4} | {"per_layer_config": dict.fromkeys(["1", "3"], _DOTS)},
    "neomme": {"rope_parameters": {"full_attention": {**ROPE, "partial_rotary_factor": 0.5}}},
    "nemo_speechlm": {},
    "gemma3n_text": {"intermediate_size": 64, "activation_sparsity_pattern": [0.0] * 4, "num_kv_shared_layers": 0},
}


def names(kind: str) -> list[str]:
    """The architectures of one kind."""
    from transformers.models.auto import modeling_auto

    return list(getattr(modeling_auto, MAPPINGS[kind]))


def config(name: str, tokens: Any) -> Any:
    """A shrunk config that goes with a tokenizer."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    made = CONFIG_MAPPING[name]
    values = shrunk(made().to_dict(), len(tokens))
    special = {**_special_tokens(values, tokens), **SPECIAL.get(name, {})}
    for key, value in values.items():  # the text model inside a model of several kinds of input
        if isinstance(value, dict) and "text" in key:
            special = {key: {**value, **SPECIAL.get(f"{name}_text", {})}} | special
    return made(**{**values, **special})


def _special_tokens(values: dict[str, Any], tokens: Any) -> dict[str, Any]:
    """The special tokens of a config, as the tokenizer has them."""
    end = tokens.eos_token_id if tokens.eos_token_id is not None else tokens.sep_token_id
    known = {"pad_token_id": tokens.pad_token_id, "pad_index": tokens.pad_token_id, "eos_token_id": end}
    known |= {"bos_token_id": tokens.bos_token_id, "cls_token_id": tokens.cls_token_id}
    known |= {"sep_token_id": tokens.sep_token_id, "mask_token_id": tokens.mask_token_id}
    found = {key: value for key, value in known.items() if key in values and value is not None}
    if values.get("is_encoder_decoder") and tokens.pad_token_id is not None:
        found["decoder_start_token_id"] = tokens.pad_token_id
    return found


def shrunk(values: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    """The numbers of a config, made small by their names."""
    small: dict[str, Any] = {}
    deep = next((values[key] for key in _LAYERS if values.get(key)), 0)
    for key, value in values.items():
        if key in ("transformers_version", "architectures", "model_type", "qk_head_dim"):
            continue
        if key == "per_layer_config":
            small |= {key: {"3": shrunk(next(iter(value.values())), vocabulary)}} if value else {}
        elif isinstance(value, dict) and key not in ("id2label", "label2id"):
            small[key] = shrunk(value, vocabulary)
        elif key == "vocab_size" or (key in _VOCABULARIES and value):
            small[key] = vocabulary
        elif isinstance(value, list) and (key in _KINDS_OF_LAYERS or len(value) == deep > 0):
            kinds = list(dict.fromkeys(value)) if all(isinstance(one, str) for one in value) else value[:1]
            numbers = [
                min(SMALL.get(_SINGULAR.get(key, key), 64), one) if isinstance(one, int) else one for one in kinds
            ]
            small[key] = (numbers * 4)[: max(4, len(kinds))] if value else value
        elif key.endswith(("_token_id", "_token_index")) and isinstance(value, int):
            small[key] = value if value < vocabulary else vocabulary - 1
        elif key == "num_key_value_heads" and values.get("kv_lora_rank"):  # latent attention
            small[key] = SMALL["num_attention_heads"]
        elif key in SMALL and isinstance(value, int) and not isinstance(value, bool):
            small[key] = min(SMALL[key], value) if value > 0 else value
        elif value is None and key in UNSET:
            small[key] = UNSET[key]
        else:
            small[key] = value
    return small


def spread(model: Any) -> Any:
    """Spread the random logits, so that an error shows."""
    for parameter in model.parameters():
        parameter.data.mul_(3.0 if parameter.dim() > 1 else 1.0)
    return model.float().eval()


def build(kind: str, name: str) -> tuple[Any, Any]:
    """A model of this architecture, and a tokenizer."""
    import transformers

    tokens = tokenizer(TOKENIZERS[kind])
    made = config(name, tokens)
    auto = {
        "causal": transformers.AutoModelForCausalLM,
        "masked": transformers.AutoModelForMaskedLM,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
        "entailment": transformers.AutoModelForSequenceClassification,
    }[kind]
    if kind == "entailment":
        made.id2label, made.label2id = LABELS, {label: i for i, label in LABELS.items()}
    torch.manual_seed(0)
    return spread(auto.from_config(made)), tokens


def warm_up() -> None:
    """Import and train what all builds share, before a process is forked for each."""
    import transformers.generation
    import transformers.modeling_layers

    from fewshot.models import causal, entailment, masked, seq2seq  # noqa: F401

    for kind in MAPPINGS:
        tokenizer(TOKENIZERS[kind])
    for auto in ("CausalLM", "MaskedLM", "Seq2SeqLM", "SequenceClassification"):
        getattr(transformers, f"AutoModelFor{auto}")


WORDS = (
    "parcel",
    "invoice",
    "update",
    "parking ticket",
    "app",
    "refund",
    "card",
    "page",
    "log",
    "error",
    "crash",
    "team",
)


def queries(lm: Any) -> dict[str, list[Query]]:
    """Short prompts, long ones up to the limit, and both."""
    rng = np.random.RandomState(0)

    def query(n_words: int) -> Query:
        text = " ".join(rng.choice(WORDS, n_words))
        if lm.kind == "entailment":
            return Query("It was ", CANDIDATES, ".", (Turn("premise", text),))
        return Query(f"{text}. It was ", CANDIDATES, "" if lm.kind == "seq2seq" else ".")

    def filling(room: int) -> Query:
        """The longest of some prompts that has at most this many tokens."""
        found = query(1)
        for n in range(2, room, max(1, room // 48)):
            longer = query(n)
            if int(lm.lengths([longer])[0]) > room:
                break
            found = longer
        return found

    limit = min(lm.limit, LIMIT)
    short = [query(n) for n in (1, 2, 4, 7, 3)]
    long = [filling(limit - spare) for spare in (0, 3, limit // 3, limit // 2)]
    return {"short": short, "long": long, "mixed": [*short[:2], *long[:3], *short[2:]]}


def largest_difference(lm: Any, *, brief: bool = False) -> float:
    """The largest difference, in nats a candidate, between a model's scores and those of one sequence at a time.

    ``brief``: of a few prompts in one call alone.
    """
    worst, calls = 0.0, queries(lm)
    few = [Query(q.prefix, q.candidates[1:3], q.suffix, q.context) for q in (*calls["short"][:2], calls["long"][2])]
    for asked in [few] if brief else calls.values():
        for query, scores in zip(asked, lm.loglikelihoods(asked), strict=True):
            difference = np.abs(scores.logprobs - brute_force(lm, query)).max()
            worst = max(worst, float("inf") if np.isnan(difference) else float(difference))
    return worst


def brute_force(lm: Any, query: Query) -> FloatArray:
    """Scores by the model's own forward pass over one unpadded sequence at a time, each by a fresh copy."""
    with torch.inference_mode():
        if lm.kind == "entailment":
            has_types = "token_type_ids" in inspect.signature(lm.model.forward).parameters
            has_types &= getattr(lm.model.config, "type_vocab_size", 2) > 1
            (pairs,) = lm._pairs([query])
            return np.array([_entails(lm, ids, types if has_types else None) for ids, types in pairs])
        reads = Reads()
        lm.plan([query], reads)
        inputs = lm._inputs([query])[0] if lm.kind == "seq2seq" else ()
        tables: dict[tuple[int, ...], torch.Tensor] = {}
        totals = np.zeros(len(query.candidates))
        for number, position, token, candidate, _ in reads._asked:
            row = reads.rows[number]
            # what follows a token is not given to a model that must not look at it
            seen = row if lm.kind == "masked" else row[: position + 1]
            if seen not in tables:
                tables[seen] = _logprobs(lm, seen, inputs)
            totals[candidate] += float(tables[seen][position - (lm.kind == "seq2seq"), token])
        return totals


def way(lm: Any) -> str:
    """How a model's scores are computed."""
    if getattr(lm, "_packed", None) is not None:
        return "packed"
    return {"padded": "padded rows", "equal lengths": "rows of equal length", "one by one": "one by one"}[
        lm.padding.way
    ]


def _entails(lm: Any, ids: tuple[int, ...], types: tuple[int, ...] | None) -> float:
    given = {} if types is None else {"token_type_ids": torch.tensor([types])}
    logits = copy.deepcopy(lm.model)(input_ids=torch.tensor([ids]), **given).logits
    return float(logits[0].float().log_softmax(-1)[2])


def _logprobs(lm: Any, row: tuple[int, ...], inputs: tuple[int, ...]) -> torch.Tensor:
    model = copy.deepcopy(lm.model)
    if lm.kind == "seq2seq":
        out = model(input_ids=torch.tensor([inputs]), decoder_input_ids=torch.tensor([row[1:]]), use_cache=False)
    else:
        out = model(input_ids=torch.tensor([row]))
    return out.logits[0].float().log_softmax(-1)
