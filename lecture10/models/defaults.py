"""What the library transformers (5.24) takes for keys that a file leaves out, where it has such a default.

A ``text_config`` inside a multimodal file is written as the difference to its class, so every default of the class may
be meant. A file of its own has its sizes written out; an absent one is damage and is refused, except for what published
files do leave out.
"""

from __future__ import annotations

from collections.abc import Mapping

from .config import Config
from .parts import EXPERTS

_LLAMA = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
          "num_attention_heads": 32, "max_position_embeddings": 2048}
_MISTRAL = _LLAMA | {"intermediate_size": 14336, "num_key_value_heads": 8, "max_position_embeddings": 131072}
_QWEN = _LLAMA | {"vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32,
                  "max_position_embeddings": 32768}
_QWEN_MOE = _QWEN | {"hidden_size": 2048, "num_hidden_layers": 24, "decoder_sparse_step": 1}
_GEMMA = {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
          "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096}
_GEMMA3N = {"num_attention_heads": 8, "head_dim": 256, "sliding_window": 512, "vocab_size_per_layer_input": 262144,
            "hidden_size_per_layer_input": 256}
_QWEN3_5 = {"vocab_size": 248320, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 16,
            "head_dim": 256, "max_position_embeddings": 32768, "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16,
            "linear_num_value_heads": 32}

CLASSES: Mapping[str, Mapping[str, object]] = {
    "llama": _LLAMA,
    "mistral": _MISTRAL | {"sliding_window": 4096},
    "ministral3": _MISTRAL | {"vocab_size": 131072, "num_hidden_layers": 34, "head_dim": 128, "sliding_window": None,
                              "max_position_embeddings": 262144},
    "mixtral": _MISTRAL | {"sliding_window": None, "num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen2": _QWEN | {"sliding_window": 4096, "max_window_layers": 28},
    "qwen3": _QWEN | {"head_dim": 128, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3_vl_text": _QWEN | {"head_dim": 128, "max_position_embeddings": 128000},
    "qwen3_moe": _QWEN_MOE | {"intermediate_size": 6144, "num_key_value_heads": 4, "num_experts": 128,
                              "num_experts_per_tok": 8, "moe_intermediate_size": 768},
    "qwen3_vl_moe_text": _QWEN_MOE | {
        "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 128,
        "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "max_position_embeddings": 128000},
    "gemma2": _GEMMA | {"vocab_size": 256000, "max_position_embeddings": 8192},
    "gemma3_text": _GEMMA | {"vocab_size": 262208, "max_position_embeddings": 131072},
    "qwen3_5_text": _QWEN3_5 | {"intermediate_size": 12288, "num_key_value_heads": 4},
    "qwen3_5_moe_text": _QWEN3_5 | {
        "hidden_size": 2048, "num_hidden_layers": 40, "num_key_value_heads": 2, "num_experts": 256,
        "num_experts_per_tok": 8, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512},
    "gemma3n_text": _GEMMA3N | {"vocab_size": 262400, "hidden_size": 2048, "intermediate_size": 16384,
                                "num_hidden_layers": 35, "num_key_value_heads": 2, "max_position_embeddings": 32768,
                                "num_kv_shared_layers": 15, "altup_num_inputs": 4, "laurel_rank": 64},
    "gemma4_text": _GEMMA3N | {"vocab_size": 262144, "hidden_size": 2304, "intermediate_size": 9216,
                               "num_hidden_layers": 30, "num_key_value_heads": 4, "max_position_embeddings": 131072,
                               "num_kv_shared_layers": 0, "global_head_dim": 512},
    "phi3": _LLAMA | {"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "sliding_window": None,
                      "max_position_embeddings": 4096},
    "llama4_text": {
        "vocab_size": 202048, "hidden_size": 5120, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
        "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
        "num_local_experts": 16, "num_experts_per_tok": 1, "interleave_moe_layer_step": 1,
        "attention_chunk_size": 8192, "max_position_embeddings": 131072},
}
"""Sizes that a class has by default."""
WRITTEN_AS_DIFFERENCE = ("gemma3_text",)
"""Families whose files of their own rely on their class too."""
SAME_HEADS = ("llama", "phi3", "olmo2", "olmo3", "exaone4", "cohere", "cohere2", "gpt_neox")
"""Families that take num_attention_heads for absent num_key_value_heads."""
TIED = ("gemma2", "gemma3_text", "gpt2", "cohere", "cohere2", "smollm3", "starcoder2", "gemma3n_text",
        "gemma4_text", "lfm2", "lfm2_moe")
"""Families whose output matrix is the input embedding unless the file says otherwise; all others have two."""
TIED_WIDTHS: Mapping[str, tuple[int, ...]] = {"starcoder2": (3072, 4608)}
"""Widths of the models of a family that are tied without a word; StarCoder2-15B's folder holds more than that."""
PATTERNS: Mapping[str, tuple[str, int]] = {
    "gemma3_text": ("sliding_window_pattern", 6), "olmo3": ("sliding_window_pattern", 4),
    "exaone4": ("sliding_window_pattern", 4), "cohere2": ("sliding_window_pattern", 4),
    "gemma3n_text": ("sliding_window_pattern", 5), "gemma4_text": ("sliding_window_pattern", 6),
    "qwen3_next": ("full_attention_interval", 4), "qwen3_5_text": ("full_attention_interval", 4),
    "qwen3_5_moe_text": ("full_attention_interval", 4), "afmoe": ("global_attn_every_n_layers", 4)}
"""Every which layer is global, where neither layer_types nor a key of the family's own says it."""


def fill(c: Config, kind: str, family: str, nested: bool) -> None:
    """Puts the defaults of ``kind``, a model_type that is read as ``family``, where ``c`` has no such key."""
    known = c.values.get("hidden_size") in TIED_WIDTHS.get(family, (c.values.get("hidden_size"),))
    found: dict[str, object] = {"tie_word_embeddings": family in TIED} if known else {}
    if family in PATTERNS and not c.given("layer_types") and not c.given("layer_switch"):
        found |= [PATTERNS[family]]
    if nested or family in WRITTEN_AS_DIFFERENCE:
        found |= CLASSES.get(kind, CLASSES.get(family, {}))
    named = EXPERTS if any(map(c.given, EXPERTS)) else ()  # one number under several names
    found = {key: value for key, value in found.items() if key not in c.values and key not in named}
    if family in SAME_HEADS and not c.given("num_key_value_heads"):
        found["num_key_value_heads"] = {**found, **c.values}.get("num_attention_heads")
    c.values, c.filled = {**c.values, **found}, c.filled | found
