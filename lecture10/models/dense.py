"""Families whose layers all have an MLP: how to read each one's ``config.json``.

Notebook: book/Lecture10-Lab-Models.ipynb. Each follows its reference implementation in the library transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .config import MAX_LAYERS, Config
from .experts import MLP
from .layers import Attention, Layer
from .parts import (
    all_alike,
    assembled,
    biased,
    gated,
    grouped,
    head_normed,
    late_windows,
    mostly_local,
    num_layers,
    width_normed,
    windows_of,
)
from .transformer import Transformer
from .windows import Window


def _llama(c: Config) -> Transformer:
    attention, mlp = biased(c), replace(gated(c), bias=c.flag("mlp_bias", False))
    return assembled(c, attention, mlp, all_alike(c, None))


def _smollm3(c: Config) -> Transformer:
    c.demand("use_sliding_window", (False,), "local layers are not defined for smollm3")
    return _llama(c)


def _mistral(c: Config) -> Transformer:
    return assembled(c, grouped(c), gated(c), all_alike(c, c.size_or_null("sliding_window")))


def _phi3(c: Config) -> Transformer:
    c.demand("attention_bias", (False,), "phi3 has no biases")
    return assembled(c, grouped(c, fused=True), replace(gated(c), fused=True),
                     all_alike(c, c.size_or_null("sliding_window")))


def _qwen2(c: Config) -> Transformer:
    return assembled(c, grouped(c, qkv_bias=True), gated(c), late_windows(c))


def _qwen3(c: Config) -> Transformer:
    return assembled(c, head_normed(biased(c, explicit_head_dim=True)), gated(c), late_windows(c))


def _gemma2(c: Config) -> Transformer:
    windows = windows_of(c, c.size("sliding_window"), lambda i: i % 2 == 0)
    return assembled(c, biased(c, explicit_head_dim=True), gated(c), windows, norms=4)


def _gemma3(c: Config) -> Transformer:
    attention = head_normed(biased(c, explicit_head_dim=True))
    return assembled(c, attention, gated(c), mostly_local(c), norms=4)


def _olmo2(c: Config) -> Transformer:
    return assembled(c, width_normed(biased(c)), gated(c), all_alike(c, None))


def _olmo3(c: Config) -> Transformer:
    return assembled(c, width_normed(biased(c)), gated(c), mostly_local(c))


def _exaone4(c: Config) -> Transformer:
    return assembled(c, head_normed(grouped(c)), gated(c), _letters(c))


def _letters(c: Config) -> list[Window | None]:
    """Exaone writes its pattern as letters too, L for local, G for global; the last layer is global in any case."""
    local, pattern = c.size_or_null("sliding_window"), c.values.get("sliding_window_pattern")
    if local is None:
        return all_alike(c, None)
    if not isinstance(pattern, str):
        return mostly_local(c)
    if not pattern or {*pattern} - {"L", "G"}:
        raise c.wrong("sliding_window_pattern", "a whole number, or the letters L and G")
    last = num_layers(c) - 1
    return windows_of(c, local, lambda i: i != last and pattern[i % len(pattern)] == "L")


def _cohere(c: Config) -> Transformer:
    attention = biased(c)
    return _parallel(c, width_normed(attention) if c.flag("use_qk_norm", False) else attention, all_alike(c, None))


def _cohere2(c: Config) -> Transformer:
    for key in ("use_embedding_sharing", "use_gated_activation", "use_parallel_block"):
        c.demand(key, (True,), "as every released model has it")
    c.demand("use_qk_norm", (False,), "no norms on queries and keys")
    c.demand("order_of_interleaved_layers", ("local_attn_first",), "local layers first")
    key = "layer_switch" if c.given("layer_switch") else "sliding_window_pattern"
    c.demand("sliding_window_pattern", (c.values.get(key),), f"as {key} says")
    return _parallel(c, biased(c), mostly_local(c, key))


def _parallel(c: Config, attention: Attention, windows: list[Window | None]) -> Transformer:
    """Cohere: attention and MLP side by side behind one norm."""
    return assembled(c, attention, gated(c), windows, norms=1, parallel=True)


def _starcoder2(c: Config) -> Transformer:
    c.demand("mlp_type", ("default",), "two products")
    c.demand("norm_type", ("layer_norm",), "norms with a bias")
    bias = c.flag("use_bias", True)
    attention, mlp = grouped(c, qkv_bias=bias, output_bias=bias), replace(gated(c), gated=False, bias=bias)
    return assembled(c, attention, mlp, all_alike(c, c.size_or_null("sliding_window")), norm_bias=True)


def _gpt_neox(c: Config) -> Transformer:
    bias = c.flag("attention_bias", True)
    attention = grouped(c, qkv_bias=bias, output_bias=bias, fused=True)
    return assembled(c, attention, replace(gated(c), gated=False, bias=True), all_alike(c, None), norm_bias=True,
                     parallel=c.flag("use_parallel_residual", True))


def _gpt2(c: Config) -> Transformer:
    width, heads, layers = c.size("n_embd"), c.size("n_head"), c.size("n_layer", at_most=MAX_LAYERS)
    if width % heads:
        raise c.wrong("n_embd", f"a multiple of n_head = {heads}")
    c.demand("add_cross_attention", (False,), "decoders only")
    attention = Attention(width, heads, heads, width // heads, qkv_bias=True, output_bias=True, fused=True)
    mlp = MLP(width, c.size("n_inner") if c.given("n_inner") else 4 * width, gated=False, bias=True)
    return Transformer(width, c.size("vocab_size"), ((layers, Layer(attention, mlp, norm_params=4 * width)),),
                       tied=c.flag("tie_word_embeddings", True), positions=c.size("n_positions"), norm_params=2 * width)


DENSE: Mapping[str, Callable[[Config], Transformer]] = {
    "llama": _llama, "mistral": _mistral, "qwen2": _qwen2, "qwen3": _qwen3, "gemma2": _gemma2, "gemma3_text": _gemma3,
    "phi3": _phi3, "olmo2": _olmo2, "olmo3": _olmo3, "exaone4": _exaone4, "cohere": _cohere, "cohere2": _cohere2,
    "smollm3": _smollm3, "starcoder2": _starcoder2, "gpt_neox": _gpt_neox, "gpt2": _gpt2,
}
"""How to read each ``model_type``."""
