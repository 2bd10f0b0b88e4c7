"""What the files of hybrid families call the matrices of a layer, by operation, in the order of ``Weights.shapes``.

Notebook: book/Lecture10-Lab-Attention.ipynb. None stands for a matrix that folders leave as it is.
"""

from __future__ import annotations

from collections.abc import Mapping


def _in(place: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{place}.{name}" for name in names)


_GATED = ("gate_proj", "up_proj", "down_proj")
_NUMBERED = ("w1", "w3", "w2")
_QKV = ("q_proj", "k_proj", "v_proj")
_QWEN = {"attention projections": _in("self_attn", *_QKV, "o_proj", "q_proj"),  # the gate comes with the queries
         "recurrent projections": _in("linear_attn", "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"),
         "shared experts": _in("mlp.shared_expert", *_GATED)}
_INDEXED = {"indexer projections": (*_in("self_attn.indexer", "wq_b", "wk"), None)}
_LFM2 = {"attention projections": _in("self_attn", *_QKV, "out_proj"),
         "recurrent projections": _in("conv", "in_proj", "out_proj"), "MLP": _in("feed_forward", *_NUMBERED),
         "experts": _in("feed_forward.experts.*", *_NUMBERED)}
_GEMMA = {"second embedding in a layer": ("per_layer_input_gate", "per_layer_projection")}

HYBRID_NAMES: Mapping[str, Mapping[str, tuple[str | None, ...]]] = {
    "qwen3_5_text": _QWEN, "qwen3_5_moe_text": _QWEN,
    "qwen3_next": _QWEN | {"recurrent projections": _in("linear_attn", "in_proj_qkvz", "in_proj_ba", "out_proj")},
    "kimi_linear": {
        "recurrent projections": _in("self_attn", *_QKV, "f_a_proj", "f_b_proj", "b_proj", "g_a_proj", "g_b_proj",
                                     "o_proj"),
        "experts": _in("block_sparse_moe.experts.*", *_NUMBERED),
        "shared experts": _in("block_sparse_moe.shared_experts", *_GATED)},
    "nemotron_h": {
        "attention projections": _in("mixer", *_QKV, "o_proj"),
        "recurrent projections": _in("mixer", "in_proj", "out_proj"), "MLP": _in("mixer", *_GATED[1:]),
        "experts": _in("mixer.experts.*", *_GATED[1:]), "shared experts": _in("mixer.shared_experts", *_GATED[1:]),
        "latent projections": _in("mixer", "fc1_latent_proj", "fc2_latent_proj")},
    "lfm2": _LFM2, "lfm2_moe": _LFM2, "deepseek_v32": _INDEXED, "glm_moe_dsa": _INDEXED,
    "deepseek_v4": {
        "attention projections": _in("self_attn", "q_a_proj", "q_b_proj", "kv_proj", "o_a_proj", "o_b_proj"),
        "indexer projections": ("self_attn.compressor.indexer.q_b_proj", None), "compressor": (None, None),
        "indexer compressor": (None, None), "hyper-connections": (None, None)},
    "minimax_m3": {
        "experts": _in("block_sparse_moe.experts.*", *_NUMBERED),
        "shared experts": _in("block_sparse_moe.shared_experts", *_GATED),
        "indexer projections": _in("self_attn", "index_q_proj", "index_k_proj")},
    "gemma4_text": _GEMMA | {"shared experts": _in("mlp", *_GATED), "experts": ()},
    "gemma3n_text": _GEMMA | {"AltUp and LAuReL": ()},
}
"""Operations that are not here are called what most families call them; an empty name is not known."""
