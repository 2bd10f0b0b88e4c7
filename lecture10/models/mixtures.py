"""Families with mixtures of experts: how to read each one's ``config.json``.

Notebook: book/Lecture10-Lab-Models.ipynb. Each follows its reference implementation in the library transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .config import Config
from .experts import MixtureOfExperts
from .layers import Attention, LatentAttention
from .parts import (
    GLOBAL,
    LOCAL,
    all_alike,
    assembled,
    biased,
    dense_first,
    either,
    gated,
    grouped,
    head_normed,
    kinds_of,
    mixture,
    mostly_local,
    num_layers,
    sharing,
    sparse_steps,
    sparse_types,
    width_normed,
    windows_of,
)
from .transformer import Transformer
from .windows import Chunk


def _mixtral(c: Config) -> Transformer:
    experts = mixture(c, gated(c), "num_local_experts")
    return assembled(c, grouped(c), experts, all_alike(c, c.size_or_null("sliding_window")))


def _phimoe(c: Config) -> Transformer:
    experts = mixture(c, gated(c), "num_local_experts")
    model = assembled(c, biased(c), experts, all_alike(c, c.size_or_null("sliding_window")), norm_bias=True)
    return replace(model, head_bias=c.flag("lm_head_bias", False))


def _qwen2_moe(c: Config) -> Transformer:
    moe = replace(_qwen_experts(c), shared=gated(c, "shared_expert_intermediate_size"), shared_gate=True)
    return _qwen(c, grouped(c, qkv_bias=c.flag("qkv_bias", True)), moe)


def _qwen3_moe(c: Config) -> Transformer:
    return _qwen(c, head_normed(biased(c, explicit_head_dim=True)), _qwen_experts(c))


def _qwen_experts(c: Config) -> MixtureOfExperts:
    return mixture(c, gated(c, "moe_intermediate_size"), "num_experts")


def _qwen(c: Config, attention: Attention, moe: MixtureOfExperts) -> Transformer:
    c.demand("use_sliding_window", (False,), f"local layers are not defined for {c.values.get('model_type')}")
    return assembled(c, attention, sparse_steps(c, moe), all_alike(c, None))


def _gpt_oss(c: Config) -> Transformer:
    bias, heads = c.flag("attention_bias", True), c.size("num_attention_heads")
    if c.given("experts_per_token"):
        c.demand("experts_per_token", (c.size("num_experts_per_tok"),), "as num_experts_per_tok says")
    attention = grouped(c, explicit_head_dim=True, qkv_bias=bias, output_bias=bias, sinks=heads)
    expert = replace(gated(c), bias=True)
    moe = replace(mixture(c, expert, "num_local_experts"), router_bias=True)
    if not c.given("layer_types"):
        raise c.wrong("layer_types", f"a list of {LOCAL} or {GLOBAL}")
    return assembled(c, attention, moe, windows_of(c, c.size("sliding_window"), lambda i: None))


def latent(c: Config, mlp_bias: bool = False, kinds: tuple[str, ...] = (GLOBAL,)) -> Transformer:
    """Latent attention and experts; every layer is one of ``kinds`` where ``layer_types`` says what it is."""
    width, heads = c.size("hidden_size"), c.size("num_attention_heads")
    c.demand("num_key_value_heads", (heads, None), "as num_attention_heads says: latent attention has no groups")
    c.demand("moe_layer_freq", (1,), "experts in every layer after the dense ones")
    attention = LatentAttention(width, heads, latent=c.size("kv_lora_rank"), rope=c.size("qk_rope_head_dim"),
                                nope=c.size("qk_nope_head_dim"), value=c.size("v_head_dim"),
                                query_latent=c.size_or_null("q_lora_rank"), bias=c.flag("attention_bias", False))
    moe = sharing(c, _routed(c), "n_shared_experts", mlp_bias)
    mlps = dense_first(c, replace(gated(c), bias=mlp_bias), moe, "first_k_dense_replace")
    if c.given("layer_types"):
        kinds_of(c, kinds, None)
    return assembled(c, attention, mlps, [None] * num_layers(c))


def _deepseek_v2(c: Config) -> Transformer:
    return latent(c, c.flag("mlp_bias", False))


def _routed(c: Config) -> MixtureOfExperts:
    return mixture(c, gated(c, "moe_intermediate_size"), "n_routed_experts")


def _glm4_moe(c: Config) -> Transformer:
    attention = grouped(c, qkv_bias=c.flag("attention_bias", False))
    attention = head_normed(attention) if c.flag("use_qk_norm", False) else attention
    mlps = dense_first(c, gated(c), sharing(c, _routed(c), "n_shared_experts"), "first_k_dense_replace")
    return assembled(c, attention, mlps, all_alike(c, None))


def _minimax_m2(c: Config) -> Transformer:
    c.demand("shared_intermediate_size", (0, None), "no shared expert")
    c.demand("qk_norm_type", ("per_layer",), "norms over all heads")
    c.demand("attn_type_list", ([1] * num_layers(c),), "full attention in every layer")
    c.demand("use_qk_norm", (True,), "norms on queries and keys")
    return assembled(c, width_normed(grouped(c)), mixture(c, gated(c), "num_local_experts"), all_alike(c, None))


def _llama4(c: Config) -> Transformer:
    """The norms on queries and keys have no weights; local layers are those with rotary embedding."""
    layers, chunk = num_layers(c), Chunk(c.size("attention_chunk_size"))
    moe = replace(mixture(c, gated(c), "num_local_experts"), shared=gated(c))
    local = c.bits("no_rope_layers", layers) if c.values.get("no_rope_layers") else None
    every = c.size("no_rope_layer_interval") if c.given("no_rope_layer_interval") else 4
    windows = windows_of(c, chunk, lambda i: bool(local[i]) if local else (i + 1) % every != 0, "chunked_attention")
    step = c.size("interleave_moe_layer_step")
    sparse = [i % step == step - 1 for i in range(layers)]
    c.demand("moe_layers", (None, [], [i for i, s in enumerate(sparse) if s]), "as interleave_moe_layer_step says")
    mlp = None if all(sparse) else gated(c, "intermediate_size_mlp")
    return assembled(c, biased(c), [moe if s else mlp for s in sparse], windows)


def _mimo(c: Config) -> Transformer:
    """Keys and values of different sizes, and other heads in the local layers, which alone have sinks."""
    c.demand("attention_bias", (False,), "no biases")
    c.demand("n_shared_experts", (None, 0), "no shared expert")
    layers, key = num_layers(c), either(c, "sliding_window_size", "sliding_window")
    window = c.size(key)  # transformers 5 saves one more as sliding_window: the token itself
    c.demand("sliding_window", (window, window + 1), f"as {key} says")
    c.demand("attention_chunk_size", (window, None), f"as {key} says")
    local = c.bits("hybrid_layer_pattern", layers)
    near = _mimo_heads(c, "swa_", "add_swa_attention_sink_bias")
    far = _mimo_heads(c, "", "add_full_attention_sink_bias")
    sparse, moe = c.bits("moe_layer_freq", layers), _routed(c)
    mlp = None if all(sparse) else gated(c)
    return assembled(c, [near if i else far for i in local], [moe if s else mlp for s in sparse],
                     windows_of(c, window, lambda i: bool(local[i])))


def _mimo_heads(c: Config, prefix: str, sinks: str) -> Attention:
    heads = f"{prefix}num_attention_heads"
    return grouped(c, heads=heads, kv_heads=f"{prefix}num_key_value_heads", head_dim=f"{prefix}head_dim",
                   explicit_head_dim=True, value_dim=c.size(f"{prefix}v_head_dim"),
                   sinks=c.size(heads) if c.flag(sinks) else 0)


def _step(c: Config) -> Transformer:
    """Other numbers of heads in the local layers, a gate for each head; transformers 5 has other names for it all."""
    c.demand("moe_every_n_layer", (1,), "the layers of moe_layers_enum")
    layers, window, gate = num_layers(c), c.size("sliding_window"), c.flag("use_head_wise_attn_gate", True)
    far, near = (replace(attention, gate=attention.heads if gate else 0) for attention in (_step_heads(c), _near(c)))
    types = c.names("layer_types", (LOCAL, GLOBAL))
    expected = layers + (c.size("num_nextn_predict_layers", at_least=0) if c.given("num_nextn_predict_layers") else 0)
    if len(types) not in (layers, expected):
        raise c.wrong("layer_types", f"as many as num_hidden_layers = {layers}, or with further predictions {expected}")
    local = [kind == LOCAL for kind in types[:layers]]
    sparse = sparse_types(c) if c.given("mlp_layer_types") else c.marked("moe_layers_enum", layers)
    used = either(c, "moe_top_k", "num_experts_per_tok")
    moe = mixture(c, gated(c, "moe_intermediate_size"), "moe_num_experts", used)
    moe = replace(moe, shared=gated(c, "share_expert_dim"))
    return assembled(c, [near if i else far for i in local], [moe if s else gated(c) for s in sparse],
                     [window if i else None for i in local])


def _near(c: Config) -> Attention:
    """The heads of Step's local layers."""
    if c.given("num_sliding_attention_heads"):
        return _step_heads(c, "num_sliding_attention_heads")
    other = c.part("attention_other_setting")
    other.demand("attention_type", (LOCAL,), "the heads of the local layers")
    other.values = {"hidden_size": c.size("hidden_size")} | dict(other.values)
    return _step_heads(other)


def _step_heads(c: Config, heads: str = "num_attention_heads") -> Attention:
    groups = either(c, "num_attention_groups", "num_key_value_heads")
    return head_normed(grouped(c, heads=heads, kv_heads=groups, explicit_head_dim=True))


def _laguna(c: Config) -> Transformer:
    """Query heads that differ from layer to layer, a gate for each; the correction of the router is a parameter."""
    layers, key = num_layers(c), "num_attention_heads_per_layer"
    c.demand("gating", (True, "per-head"), "a gate for each head")
    c.demand("gating_types", (["per_head"] * layers,), "a gate for each head")
    if not c.given("mlp_layer_types"):
        raise c.wrong("mlp_layer_types", "a list of dense or sparse")
    attention = head_normed(biased(c, explicit_head_dim=True))
    heads = c.sizes(key, layers) if c.given(key) else [attention.heads] * layers
    if any(number % attention.kv_heads for number in heads):
        raise c.wrong(key, f"multiples of num_key_value_heads = {attention.kv_heads}")
    moe = replace(_qwen_experts(c), shared=gated(c, "shared_expert_intermediate_size"), router_bias=True)
    windows = windows_of(c, c.size("sliding_window"), lambda i: None if c.given("layer_types") else False)
    return assembled(c, [replace(attention, heads=number, gate=number) for number in heads],
                     [moe if sparse else gated(c) for sparse in sparse_types(c)], windows)


def _afmoe(c: Config) -> Transformer:
    """A gate for every element that the heads return; the correction of the router is a parameter here."""
    attention = head_normed(grouped(c, explicit_head_dim=True))
    moe = replace(mixture(c, gated(c, "moe_intermediate_size"), "num_experts"), router_bias=True)
    mlps = dense_first(c, gated(c), sharing(c, moe, "num_shared_experts"), "num_dense_layers")
    return assembled(c, replace(attention, gate=attention.heads * attention.head_dim), mlps,
                     mostly_local(c, "global_attn_every_n_layers"), norms=4)


MIXTURES: Mapping[str, Callable[[Config], Transformer]] = {
    "mixtral": _mixtral, "phimoe": _phimoe, "qwen2_moe": _qwen2_moe, "qwen3_moe": _qwen3_moe, "gpt_oss": _gpt_oss,
    "deepseek_v2": _deepseek_v2, "deepseek_v3": latent, "glm4_moe": _glm4_moe, "minimax_m2": _minimax_m2,
    "llama4_text": _llama4, "mimo_v2_flash": _mimo, "step3p5": _step, "afmoe": _afmoe,
    "laguna": _laguna,
}
"""How to read each ``model_type``."""
