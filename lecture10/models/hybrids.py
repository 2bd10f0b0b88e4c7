"""Families that mix attention with layers of another kind: how to read each one's ``config.json``.

Notebook: book/Lecture10-Lab-Attention.ipynb. Each follows its reference implementation in the library transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .choosing import CHOOSING
from .config import MAX_LAYERS, Config
from .experts import MLP, MixtureOfExperts
from .gemmas import GEMMAS
from .layers import LatentAttention, Layer
from .mixer import Mixer
from .parts import (
    GLOBAL,
    assembled,
    biased,
    dense_first,
    gated,
    grouped,
    head_normed,
    kinds_of,
    mixture,
    num_layers,
    places,
    sharing,
    sparse_steps,
    stacked,
)
from .quantized import FLOATS
from .recurrent import GatedDelta, Mamba2, ShortConvolution
from .transformer import Transformer

LINEAR, CONV = "linear_attention", "conv"
BLOCKS: Mapping[str, str] = {
    "M": "mamba", "E": "moe", "*": "attention", "-": "mlp", "linear_attention": "mamba", "full_attention": "attention"}
"""Other names of the blocks of nemotron_h: the signs of a pattern, and those of transformers 5."""


def _state_bytes(c: Config, *keys: str) -> int:
    """Bytes of a number of a recurrent state: fp32 where no key says it, as the library transformers keeps it."""
    for key in keys:
        if c.given(key):
            name = c.values[key]
            if not isinstance(name, str) or name not in FLOATS:
                raise c.wrong(key, f"one of {', '.join(FLOATS)}")
            return FLOATS[name]
    c.filled[keys[0]] = "float32"
    return FLOATS["float32"]


def _qwen3_next(c: Config) -> Transformer:
    return _qwen(c, sparse_steps(c, _qwen_experts(c)), fused=True)


def _qwen3_5(c: Config) -> Transformer:
    return _qwen(c, gated(c))


def _qwen3_5_moe(c: Config) -> Transformer:
    return _qwen(c, sparse_steps(c, _qwen_experts(c)))


def _qwen_experts(c: Config) -> MixtureOfExperts:
    moe = mixture(c, gated(c, "moe_intermediate_size"), "num_experts")
    return replace(moe, shared=gated(c, "shared_expert_intermediate_size"), shared_gate=True)


def _qwen(c: Config, mlps: object, fused: bool = False) -> Transformer:
    """Gated DeltaNet, and gated attention in every ``full_attention_interval``-th layer."""
    attention = head_normed(biased(c, explicit_head_dim=True))
    if fused or c.flag("attn_output_gate", True):
        attention = replace(attention, gate=attention.heads * attention.head_dim)
    keys, values = c.size("linear_num_key_heads"), c.size("linear_num_value_heads")
    if values % keys:
        raise c.wrong("linear_num_value_heads", f"a multiple of linear_num_key_heads = {keys}")
    delta = GatedDelta(c.size("hidden_size"), values, keys, c.size("linear_key_head_dim"),
                       c.size("linear_value_head_dim"), c.size("linear_conv_kernel_dim"), fused=fused,
                       recurrent_bytes=_state_bytes(c, "mamba_ssm_dtype"))
    every = c.size("full_attention_interval") if c.given("full_attention_interval") else None
    kinds = kinds_of(c, (LINEAR, GLOBAL), every and (lambda i: LINEAR if (i + 1) % every else GLOBAL))
    return _mixed(c, [delta if kind == LINEAR else attention for kind in kinds], mlps)


def _mixed(c: Config, mixers: list[Mixer], mlps: object) -> Transformer:
    return assembled(c, mixers, mlps, [None] * len(mixers))


def _kimi_linear(c: Config) -> Transformer:
    """Kimi delta attention, and latent attention in the layers that ``linear_attn_config`` lists, counted from 1."""
    width, heads, linear = c.size("hidden_size"), c.size("num_attention_heads"), c.part("linear_attn_config")
    layers = num_layers(c)
    full, delta_layers = (places(linear, key, 1, layers) for key in ("full_attn_layers", "kda_layers"))
    if full & delta_layers or len(full | delta_layers) != layers:
        raise linear.wrong("kda_layers", f"all layers of {layers} that full_attn_layers leaves out")
    latent = LatentAttention(width, heads, c.size("kv_lora_rank"), c.size("qk_rope_head_dim"),
                             c.size("qk_nope_head_dim"), c.size("v_head_dim"), c.size_or_null("q_lora_rank"))
    own, size = linear.size("num_heads"), linear.size("head_dim")
    delta = GatedDelta(width, own, own, size, size, linear.size("short_conv_kernel_size"), rank=size,
                       recurrent_bytes=_state_bytes(c, "mamba_ssm_dtype"))
    c.demand("moe_layer_freq", (1,), "experts in every layer after the dense ones")
    moe = mixture(c, gated(c, "moe_intermediate_size"), "num_experts", "num_experts_per_token")
    mlps = dense_first(c, gated(c), sharing(c, moe, "num_shared_experts"), "first_k_dense_replace")
    return _mixed(c, [latent if i in full else delta for i in range(1, layers + 1)], mlps)


def _nemotron_h(c: Config) -> Transformer:
    """One block a layer: Mamba-2, attention, an MLP of two products, or a mixture of such, maybe in a latent space."""
    width, bias = c.size("hidden_size"), c.flag("mlp_bias", False)
    for key in ("attention_bias", "mamba_proj_bias"):
        c.demand(key, (False,), "as the reference has it")
    c.demand("sliding_window", (None,), "attention over all positions")
    head_dim = "head_dim" if c.given("head_dim") else "attention_head_dim"
    made: dict[str, Callable[[], Layer]] = {
        "attention": lambda: Layer(grouped(c, head_dim=head_dim, explicit_head_dim=True), None, width),
        "mamba": lambda: Layer(_mamba(c), None, width),
        "mlp": lambda: Layer(None, MLP(width, c.size("intermediate_size"), gated=False, bias=bias), width),
        "moe": lambda: Layer(None, _nemotron_experts(c, bias), width)}
    kinds = _blocks(c)
    layers = {kind: made[kind]() for kind in dict.fromkeys(kinds)}
    return stacked(c, [layers[kind] for kind in kinds])


def _blocks(c: Config) -> list[str]:
    key = "layers_block_type" if c.given("layers_block_type") else "hybrid_override_pattern"
    blocks = c.values.get(key)
    if isinstance(blocks, (str, list)) and len(blocks) in range(1, MAX_LAYERS):
        named = [BLOCKS.get(block, block) if isinstance(block, str) else None for block in blocks]
        if all(name in BLOCKS.values() for name in named):
            if c.given("num_hidden_layers"):
                c.demand("num_hidden_layers", (len(named),), f"as many as {key} lists")
            return named
    raise c.wrong(key, f"a list of {', '.join(dict.fromkeys(BLOCKS.values()))}, or a pattern of M E * -")


def _mamba(c: Config) -> Mamba2:
    heads, groups = c.size("mamba_num_heads"), c.size("n_groups")
    if heads % groups:
        raise c.wrong("n_groups", f"a divisor of mamba_num_heads = {heads}")
    return Mamba2(c.size("hidden_size"), heads, c.size("mamba_head_dim"), c.size("ssm_state_size"), groups,
                  c.size("conv_kernel"), conv_bias=c.flag("use_conv_bias", True), bias=c.flag("use_bias", False),
                  recurrent_bytes=_state_bytes(c, "mamba_ssm_cache_dtype"))


def _nemotron_experts(c: Config, bias: bool) -> MixtureOfExperts:
    width, latent = c.size("hidden_size"), c.size("moe_latent_size") if c.given("moe_latent_size") else None
    c.demand("n_shared_experts", (1,), "one shared MLP, of moe_shared_expert_intermediate_size")
    c.demand("mlp_bias", (False,), "experts without biases")
    expert = MLP(latent or width, c.size("moe_intermediate_size"), gated=False)
    shared = MLP(width, c.size("moe_shared_expert_intermediate_size"), gated=False)
    return replace(mixture(c, expert, "n_routed_experts"), shared=shared, width=latent and width)


def _lfm2(c: Config) -> Transformer:
    hidden = c.size("block_ff_dim" if c.given("block_ff_dim") else "intermediate_size")
    if c.flag("block_auto_adjust_ff_dim", True):
        hidden = _adjusted(c, hidden)
    return _lfm(c, MLP(c.size("hidden_size"), hidden))


def _adjusted(c: Config, hidden: int) -> int:
    """Two thirds of ``hidden``, times block_ffn_dim_multiplier, up to a multiple of block_multiple_of."""
    times, multiple = c.values.get("block_ffn_dim_multiplier"), c.size("block_multiple_of")
    if times is None:
        return 2 * hidden // 3
    if isinstance(times, bool) or not isinstance(times, (int, float)) or not 0 < times < 100:
        raise c.wrong("block_ffn_dim_multiplier", "a number between 0 and 100")
    return -(-int(times * (2 * hidden // 3)) // multiple) * multiple


def _lfm2_moe(c: Config) -> Transformer:
    moe = mixture(c, gated(c, "moe_intermediate_size"), "num_experts")
    return _lfm(c, dense_first(c, gated(c), moe, "num_dense_layers"))


def _lfm(c: Config, mlps: object) -> Transformer:
    """Short convolutions between two gates, and attention in the layers that are listed."""
    width, bias = c.size("hidden_size"), c.flag("conv_bias", False)
    full = places(c, "full_attn_idxs", 0, num_layers(c) - 1) if c.given("full_attn_idxs") else None
    kinds = kinds_of(c, (CONV, GLOBAL), None if full is None else lambda i: GLOBAL if i in full else CONV)
    attention = head_normed(grouped(c))
    conv = ShortConvolution(width, width, c.size("conv_L_cache", at_least=2), bias)
    return _mixed(c, [conv if kind == CONV else attention for kind in kinds], mlps)


HYBRIDS: Mapping[str, Callable[[Config], Transformer]] = {
    "qwen3_next": _qwen3_next, "qwen3_5_text": _qwen3_5, "qwen3_5_moe_text": _qwen3_5_moe,
    "kimi_linear": _kimi_linear, "nemotron_h": _nemotron_h, "lfm2": _lfm2, "lfm2_moe": _lfm2_moe, **CHOOSING, **GEMMAS,
}
"""How to read each ``model_type``."""
