"""Families whose layers all have an MLP: how to read each one's ``config.json``.

Notebook: book/Lecture10-Lab-Models.ipynb. Each follows its reference implementation in the library transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .config import MAX_LAYERS, Config
from .layers import MLP, Attention
from .parts import all_alike, assembled, gated, grouped, head_normed, late_windows, windows_of
from .transformer import Layer, Transformer


def _llama(c: Config) -> Transformer:
    bias = c.flag("attention_bias", False)
    mlp = MLP(c.size("hidden_size"), c.size("intermediate_size"), bias=c.flag("mlp_bias", False))
    return assembled(c, grouped(c, qkv_bias=bias, output_bias=bias), mlp, all_alike(c, None))


def _mistral(c: Config) -> Transformer:
    return assembled(c, grouped(c), gated(c), all_alike(c, c.size_or_null("sliding_window")))


def _phi3(c: Config) -> Transformer:
    c.demand("attention_bias", (False,), "phi3 has no biases")
    return assembled(c, grouped(c, fused=True), replace(gated(c), fused=True),
                     all_alike(c, c.size_or_null("sliding_window")))


def _qwen2(c: Config) -> Transformer:
    return assembled(c, grouped(c, qkv_bias=True), gated(c), late_windows(c))


def _qwen3(c: Config) -> Transformer:
    return assembled(c, head_normed(c), gated(c), late_windows(c))


def _gemma2(c: Config) -> Transformer:
    bias, local = c.flag("attention_bias", False), c.size("sliding_window")
    attention = grouped(c, explicit_head_dim=True, qkv_bias=bias, output_bias=bias)
    return assembled(c, attention, gated(c), windows_of(c, local, lambda i: i % 2 == 0), norms=4, tied=True)


def _gemma3(c: Config) -> Transformer:
    bias, local, head_dim = c.flag("attention_bias", False), c.size("sliding_window"), c.size("head_dim")
    every = (c.size("sliding_window_pattern") if c.given("sliding_window_pattern") or not c.given("layer_types")
             else None)
    windows = windows_of(c, local, lambda i: (i + 1) % every != 0 if every else None)
    attention = grouped(c, qkv_bias=bias, output_bias=bias, norm_params=2 * head_dim)
    return assembled(c, attention, gated(c), windows, norms=4, tied=True)


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
    "phi3": _phi3, "gpt2": _gpt2,
}
"""How to read each ``model_type``."""
