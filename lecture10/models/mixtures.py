"""Families with mixtures of experts: how to read each one's ``config.json``.

Notebook: book/Lecture10-Lab-Models.ipynb. Each follows its reference implementation in the library transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .config import Config
from .layers import MLP, LatentAttention
from .parts import GLOBAL, LOCAL, all_alike, assembled, gated, grouped, head_normed, mixture, windows_of
from .transformer import Transformer


def _mixtral(c: Config) -> Transformer:
    experts = mixture(c, gated(c), ("num_local_experts", "num_experts"))
    return assembled(c, grouped(c), experts, all_alike(c, c.size_or_null("sliding_window")))


def _qwen3_moe(c: Config) -> Transformer:
    c.demand("use_sliding_window", (False,), "local layers are not defined for qwen3_moe")
    windows, every = all_alike(c, None), c.size("decoder_sparse_step") if c.given("decoder_sparse_step") else 1
    dense = c.values["mlp_only_layers"] if c.given("mlp_only_layers") else []
    if not isinstance(dense, list) or not all(type(i) is int and 0 <= i < len(windows) for i in dense):
        raise c.wrong("mlp_only_layers", f"a list of layers between 0 and {len(windows) - 1}")
    moe = mixture(c, gated(c, "moe_intermediate_size"), ("num_experts", "num_local_experts"))
    sparse = [i not in dense and (i + 1) % every == 0 for i in range(len(windows))]
    mlp = None if all(sparse) else gated(c)  # only then is intermediate_size in use
    return assembled(c, head_normed(c), [moe if s else mlp for s in sparse], windows)


def _gpt_oss(c: Config) -> Transformer:
    bias, heads = c.flag("attention_bias", True), c.size("num_attention_heads")
    if c.given("experts_per_token"):
        c.demand("experts_per_token", (c.size("num_experts_per_tok"),), "as num_experts_per_tok says")
    attention = grouped(c, explicit_head_dim=True, qkv_bias=bias, output_bias=bias, sinks=heads)
    expert = replace(gated(c), bias=True)
    moe = replace(mixture(c, expert, ("num_local_experts", "num_experts")), router_bias=True)
    if not c.given("layer_types"):
        raise c.wrong("layer_types", f"a list of {LOCAL} or {GLOBAL}")
    return assembled(c, attention, moe, windows_of(c, c.size("sliding_window"), lambda i: None))


def _deepseek(c: Config, mlp_bias: bool = False) -> Transformer:
    width, heads = c.size("hidden_size"), c.size("num_attention_heads")
    c.demand("num_key_value_heads", (heads, None), "as num_attention_heads says: latent attention has no groups")
    c.demand("moe_layer_freq", (1,), "experts in every layer after the dense ones")
    attention = LatentAttention(width, heads, latent=c.size("kv_lora_rank"), rope=c.size("qk_rope_head_dim"),
                                nope=c.size("qk_nope_head_dim"), value=c.size("v_head_dim"),
                                query_latent=c.size_or_null("q_lora_rank"), bias=c.flag("attention_bias", False))
    windows, hidden = all_alike(c, None), c.size("moe_intermediate_size")
    dense = c.size("first_k_dense_replace", at_least=0, at_most=len(windows))
    shared = c.size_or_null("n_shared_experts", at_least=0) or 0
    moe = replace(mixture(c, MLP(width, hidden), ("n_routed_experts", "num_local_experts", "num_experts")),
                  shared=MLP(width, shared * hidden, bias=mlp_bias) if shared else None)
    first = replace(gated(c), bias=mlp_bias)
    return assembled(c, attention, [first] * dense + [moe] * (len(windows) - dense), windows)


def _deepseek_v2(c: Config) -> Transformer:
    return _deepseek(c, c.flag("mlp_bias", False))


MIXTURES: Mapping[str, Callable[[Config], Transformer]] = {
    "mixtral": _mixtral, "qwen3_moe": _qwen3_moe, "gpt_oss": _gpt_oss, "deepseek_v2": _deepseek_v2,
    "deepseek_v3": _deepseek,
}
"""How to read each ``model_type``."""
