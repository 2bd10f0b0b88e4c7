"""Gemma 3n and Gemma 4, whose last layers read the caches of earlier ones: how to read each one's ``config.json``.

Notebook: book/Lecture10-Lab-Attention.ipynb. Each follows its reference implementation in the library transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .config import MAX_LAYERS, Config
from .experts import MLP, MixtureOfExperts
from .layers import Attention, Layer
from .parts import GLOBAL, LOCAL, grouped, kinds_of, stacked
from .passes import Weights
from .transformer import Transformer


def _gemma4(c: Config) -> Transformer:
    """Two head sizes, for local and global layers; maybe experts beside the MLP, and embeddings for every layer."""
    kinds, first, width = *_kinds(c), c.size("hidden_size")
    halves = {kind: _gemma4_attention(c, kind, kinds) for kind in dict.fromkeys(kinds)}
    wide = c.flag("use_double_wide_mlp", False)
    routed, per_layer = c.flag("enable_moe_block", False), c.size("hidden_size_per_layer_input", at_least=0)
    beside, beyond = _per_layer(c, len(kinds), per_layer)
    layers = []
    for i, kind in enumerate(kinds):
        mlp = MLP(width, c.size("intermediate_size") * (2 if wide and i >= first else 1))
        norms = (7 if routed else 4) * width
        if routed:
            norms += width  # the scale of the router's input
            mlp = _experts_beside(c, mlp)
        layers.append(Layer(_own_or_shared(halves[kind], i < first), mlp, norms, beside=beside))
    return stacked(c, layers, **beyond)


def _gemma4_attention(c: Config, kind: str, kinds: list[str]) -> Attention:
    attention = grouped(c, explicit_head_dim=True)
    if kind == LOCAL:
        return replace(attention, window=c.size("sliding_window"), norm_params=2 * attention.head_dim)
    own, head_dim_key, groups_key = c, "global_head_dim", "num_global_key_value_heads"
    if c.given("per_layer_config"):
        own, head_dim_key, groups_key = _global_layer(c, kinds), "head_dim", "num_key_value_heads"
    same, head_dim, groups = c.flag("attention_k_eq_v", False), own.size(head_dim_key), attention.kv_heads
    if same and own.given(groups_key):
        groups = own.size(groups_key)
        if attention.heads % groups:
            raise own.wrong(groups_key, f"a divisor of num_attention_heads = {attention.heads}")
    return replace(attention, kv_heads=groups, head_dim=head_dim, norm_params=2 * head_dim,
                   kv_projections=1 if same else 2)


def _global_layer(c: Config, kinds: list[str]) -> Config:
    """What transformers 5.24 writes of every global layer in ``per_layer_config``: the same of each, of no other."""
    c.filled.pop("global_head_dim", None)
    each = c.part("per_layer_config").parts()
    places = sorted(int(name) if name.isdecimal() else -1 for name, _ in each)
    first = each[0][1]
    if (places != [i for i, kind in enumerate(kinds) if kind == GLOBAL]
            or any(layer.values != first.values for _, layer in each)
            or {*first.values} - {"head_dim", "num_key_value_heads"}):
        raise c.wrong("per_layer_config", "head_dim and num_key_value_heads of the global layers, all alike")
    return first


def _experts_beside(c: Config, mlp: MLP) -> MixtureOfExperts:
    """Experts whose results are added to those of ``mlp``; each has a scale."""
    experts = c.size("num_experts")
    expert = MLP(mlp.width, c.size("moe_intermediate_size"))
    return MixtureOfExperts(expert, experts, c.size("top_k_experts", at_most=experts), shared=mlp, router_bias=True)


def _gemma3n(c: Config) -> Transformer:
    """Several streams through all layers (AltUp), a low-rank path beside each attention (LAuReL), and as gemma4."""
    kinds, first, width = *_kinds(c), c.size("hidden_size")
    streams, rank = c.size("altup_num_inputs", at_least=2), c.size("laurel_rank")
    hidden = c.values.get("intermediate_size")
    hidden = c.sizes("intermediate_size", len(kinds)) if isinstance(hidden, list) else (
        [c.size("intermediate_size")] * len(kinds))
    attention = grouped(c, explicit_head_dim=True)
    attention = replace(attention, norm_params=2 * attention.head_dim)
    local = replace(attention, window=c.size("sliding_window"))
    beside, beyond = _per_layer(c, len(kinds), c.size("hidden_size_per_layer_input"))
    mixing = Weights("AltUp and LAuReL", ((streams, streams), (streams, streams**2), (width, streams), (width, rank),
                                          (rank, width)), 3 * width)
    ends = Weights("AltUp", ((width, width),) * (2 * (streams - 1)))
    layers = [Layer(_own_or_shared(local if kind == LOCAL else attention, i < first), MLP(width, hidden[i]), 4 * width,
                    beside=(*beside, mixing)) for i, kind in enumerate(kinds)]
    return stacked(c, layers, **beyond | {"beside": (*beyond["beside"], ends)})


def _kinds(c: Config) -> tuple[list[str], int]:
    """Local or global for every layer, and the first layer that owns no cache."""
    c.demand("attention_bias", (False,), "projections without biases")
    every = None if c.given("layer_types") else c.size("sliding_window_pattern")
    kinds = kinds_of(c, (LOCAL, GLOBAL), every and (lambda i: LOCAL if (i + 1) % every else GLOBAL))
    first = len(kinds) - c.size("num_kv_shared_layers", at_least=0, at_most=MAX_LAYERS)
    if first < 1 or {*kinds[:first]} != {*kinds}:
        raise c.wrong("num_kv_shared_layers", "layers before them that own a cache, of each of their kinds")
    return kinds, first


def _own_or_shared(attention: Attention, own: bool) -> Attention:
    """Without keys and values, and the norm of keys, where the cache of an earlier layer is read."""
    return attention if own else replace(attention, kv_projections=0, norm_params=attention.head_dim)


def _per_layer(c: Config, layers: int, size: int) -> tuple[tuple[Weights, ...], dict[str, object]]:
    """A second embedding of ``size`` numbers for each layer: what it needs in a layer, and outside of them."""
    if size == 0:
        return (), {"beside": ()}
    width = c.size("hidden_size")
    inside = Weights("second embedding in a layer", ((width, size), (size, width)), width)
    outside = Weights("second embedding's projection", ((width, layers * size),), size)
    return (inside,), {"beside": (outside,), "table": (c.size("vocab_size_per_layer_input"), layers * size)}


GEMMAS: Mapping[str, Callable[[Config], Transformer]] = {"gemma3n_text": _gemma3n, "gemma4_text": _gemma4}
"""How to read each ``model_type``."""
