"""What a ``config.json`` says about the parts that families share: heads, MLPs, experts, windows, the order of layers.

Notebook: book/Lecture10-Lab-Models.ipynb. Every function takes the file and returns a part of a ``Transformer``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .config import MAX_LAYERS, Config
from .layers import MLP, Attention, LatentAttention, MixtureOfExperts
from .transformer import Layer, Transformer

LOCAL, GLOBAL = "sliding_attention", "full_attention"


def grouped(c: Config, *, explicit_head_dim: bool = False, **details: object) -> Attention:
    """Multi-head, grouped or multi-query attention; ``details`` are further fields of ``Attention``."""
    width, heads = c.size("hidden_size"), c.size("num_attention_heads")
    groups = c.size("num_key_value_heads", what="num_attention_heads for multi-head attention, or a divisor of it,")
    if heads % groups:
        raise c.wrong("num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    if explicit_head_dim or c.given("head_dim"):
        return Attention(width, heads, groups, c.size("head_dim"), **details)
    if width % heads:
        raise c.wrong("hidden_size", f"a multiple of num_attention_heads = {heads}, since head_dim is not given")
    return Attention(width, heads, groups, width // heads, **details)


def head_normed(c: Config) -> Attention:
    """Grouped attention with a norm over the head dimension of queries and one of keys."""
    bias, head_dim = c.flag("attention_bias", False), c.size("head_dim")
    return grouped(c, qkv_bias=bias, output_bias=bias, norm_params=2 * head_dim)


def gated(c: Config, key: str = "intermediate_size") -> MLP:
    """An MLP of three products, as wide as ``key`` says."""
    return MLP(c.size("hidden_size"), c.size(key))


def mixture(c: Config, expert: MLP, names: tuple[str, ...]) -> MixtureOfExperts:
    """Experts whose number stands under one of ``names``, which versions of transformers write differently."""
    first, *others = [name for name in names if c.given(name)] or names[:1]
    experts = c.size(first)
    for name in others:
        c.demand(name, (experts,), f"as {first} says")
    return MixtureOfExperts(expert, experts, c.size("num_experts_per_tok", at_most=experts))


def windows_of(c: Config, local: int | None, rule: Callable[[int], bool | None]) -> list[int | None]:
    """The window of every layer: what ``layer_types`` says, else ``rule`` (layer → is it local; None: no rule)."""
    layers = range(c.size("num_hidden_layers", at_most=MAX_LAYERS))
    if not c.given("layer_types"):
        return [local if rule(i) else None for i in layers]
    types = c.names("layer_types", (LOCAL, GLOBAL))
    if len(types) != len(layers):
        raise c.wrong("layer_types", f"as many as num_hidden_layers = {len(layers)}")
    if any(rule(i) not in (None, types[i] == LOCAL) for i in layers):
        raise c.wrong("layer_types", "the pattern that the other keys describe")
    return [local if kind == LOCAL else None for kind in types]


def all_alike(c: Config, window: int | None) -> list[int | None]:
    """The same window, or none, in every layer."""
    return windows_of(c, window, lambda i: window is not None)


def late_windows(c: Config) -> list[int | None]:
    """Qwen: from layer ``max_window_layers`` on, and only if ``use_sliding_window``."""
    if not c.flag("use_sliding_window", False):
        return all_alike(c, None)
    start = c.size("max_window_layers", at_least=0)
    return windows_of(c, c.size("sliding_window"), lambda i: i >= start)


def assembled(c: Config, attention: Attention | LatentAttention, mlps: object, windows: list[int | None], *,
              norms: int = 2, tied: bool | None = None) -> Transformer:
    """The model of these parts; ``mlps`` one for all layers or a list, ``norms`` of the model's width in each layer."""
    width = c.size("hidden_size")
    mlps = mlps if isinstance(mlps, list) else [mlps] * len(windows)
    layers = tuple((1, Layer(attention if window is None else replace(attention, window=window), mlp, norms * width))
                   for window, mlp in zip(windows, mlps))
    return Transformer(width, c.size("vocab_size"), layers, tied=c.flag("tie_word_embeddings", tied), norm_params=width)


def stacked(c: Config, layers: list[Layer], **details: object) -> Transformer:
    """The model of ``layers`` in their order; ``details`` are further fields of ``Transformer``."""
    width = c.size("hidden_size")
    return Transformer(width, c.size("vocab_size"), tuple((1, layer) for layer in layers),
                       tied=c.flag("tie_word_embeddings"), **{"norm_params": width, **details})


def kinds_of(c: Config, kinds: tuple[str, ...], rule: Callable[[int], str] | None) -> list[str]:
    """What every layer is, one of ``kinds``: as ``layer_types`` says, and else as ``rule`` (layer → kind) does.

    Raises ValueError naming the key where neither says it, or both and not the same.
    """
    layers = range(c.size("num_hidden_layers", at_most=MAX_LAYERS))
    if not c.given("layer_types") and rule is not None:
        return [rule(i) for i in layers]
    types = c.names("layer_types", kinds)
    if len(types) != len(layers):
        raise c.wrong("layer_types", f"as many as num_hidden_layers = {len(layers)}")
    if rule is not None and types != [rule(i) for i in layers]:
        raise c.wrong("layer_types", "the pattern that the other keys describe")
    return types


def places(c: Config, key: str, first: int, last: int) -> set[int]:
    """A list of layers, each between ``first`` and ``last``."""
    value = c.values.get(key)
    if not isinstance(value, list) or not all(type(i) is int and first <= i <= last for i in value):
        raise c.wrong(key, f"a list of layers between {first} and {last}")
    return set(value)
