"""Families whose attention chooses what it reads: how to read each one's ``config.json``.

Notebook: book/Lecture10-Lab-Attention.ipynb. Each follows its reference implementation in the library transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from .config import Config
from .experts import MLP, MixtureOfExperts
from .layers import Layer
from .mixtures import latent
from .parts import (
    GLOBAL,
    LOCAL,
    assembled,
    dense_or_sparse,
    gated,
    grouped,
    head_normed,
    kinds_of,
    mixture,
    num_layers,
    sharing,
    stacked,
)
from .passes import Weights
from .sparse import CompressedAttention, Indexer, SparseAttention
from .transformer import Transformer

FULL, SHARED = "full", "shared"
HEAVY = 128
"""DeepSeek-V4: from this many positions an entry on, all entries are used and there is no indexer."""
INDEXED = ("indexed_attention", "deepseek_sparse_attention")
"""What transformers 5.24 and earlier versions write for a layer with DeepSeek's indexer, its own or the last one's."""
RATES: Mapping[str, int] = {"compressed_sparse_attention": 4, "heavily_compressed_attention": HEAVY}
RATIOS: Mapping[str, int] = {LOCAL: 0, **RATES}
"""Positions an entry, by the kind that transformers 5.24 (DeepseekV4Config) makes of them when it reads a file."""
BLOCKS = "minimax_m3_sparse"
FLAT: Mapping[str, str] = {
    "sparse_num_index_heads": "index_n_heads", "sparse_index_dim": "index_head_dim",
    "sparse_block_size": "index_block_size", "sparse_topk_blocks": "index_topk_blocks"}
"""MiniMax-M3: keys in ``sparse_attention_config``, and where MiniMaxM3VLTextConfig of transformers 5.24 puts them."""


def _deepseek_v32(c: Config) -> Transformer:
    """DeepSeek-V3 with an indexer in every layer, or in those that ``indexer_types`` calls full (GLM-5.2)."""
    model, keys = latent(c, kinds=INDEXED), c.size("index_head_dim")
    indexer = Indexer(model.width, c.size("q_lora_rank"), c.size("index_n_heads"), keys, vectors=2 * keys)
    own = _indexers(c, model.num_layers)
    kept = c.size("index_topk")
    return replace(model, layers=tuple(
        (count, replace(layer, attention=SparseAttention(layer.attention, kept, indexer if kind == FULL else None)))
        for (count, layer), kind in zip(model.layers, own, strict=True)))


def _indexers(c: Config, layers: int) -> list[str]:
    """Which layers have an indexer of their own: all, or what ``indexer_types`` says.

    A rule may stand beside it (GlmMoeDsaConfig of transformers 5.24): every ``index_topk_freq``-th layer, counted from
    layer ``index_skip_topk_offset`` − 1, and all before.
    """
    instead = "indexer_types, which says the same layer by layer"
    c.demand("index_topk_pattern", (None,), instead)
    if not c.given("indexer_types"):
        c.demand("index_topk_freq", (None, 1), instead)
        return [FULL] * layers
    own = c.names("indexer_types", (FULL, SHARED))
    if len(own) != layers or own[0] != FULL:
        raise c.wrong("indexer_types", f"as many as num_hidden_layers = {layers}, the first one full")
    if c.given("index_topk_freq"):
        every, key = c.size("index_topk_freq"), "index_skip_topk_offset"
        offset = c.size(key, at_least=0) if c.given(key) else 2
        if own != [SHARED if max(i - offset + 1, 0) % every else FULL for i in range(layers)]:
            raise c.wrong("indexer_types", f"the pattern that index_topk_freq = {every} and {key} describe")
    return own


def _deepseek_v4(c: Config) -> Transformer:
    """A window in every layer; beside it compressed entries, chosen by an indexer or all, as ``compress_ratios`` say.

    ``hc_mult`` streams take the place of the residual one; small products mix them before and after each half. Layers
    that choose experts by the token alone (hash_moe) have the matrices of the others.
    """
    width, streams = c.size("hidden_size"), c.size("hc_mult")
    if c.given("mlp_layer_types"):
        c.names("mlp_layer_types", ("hash_moe", "moe"))
    c.demand("num_key_value_heads", (1,), "one vector, key and value of all heads")
    c.demand("mlp_bias", (False,), "experts without biases")
    mixing = (2 + streams) * streams
    beside = Weights("hyper-connections", ((streams * width, mixing),) * 2, 2 * (mixing + 3))
    last = Weights("hyper-connections", ((streams * width, streams),), streams + 1)
    moe = sharing(c, mixture(c, gated(c, "moe_intermediate_size"), "n_routed_experts"), "n_shared_experts")
    ratios = _ratios(c)
    mixers = {ratio: _compressed(c, ratio) for ratio in dict.fromkeys(ratios)}
    return stacked(c, [Layer(mixers[ratio], moe, 2 * width, beside=(beside,)) for ratio in ratios], beside=(last,))


def _ratios(c: Config) -> list[int]:
    """Positions an entry of every layer, 0 for none; files list those of the layers that predict ahead too.

    transformers 5.24 saves ``layer_types`` and ``compress_rates`` instead.
    """
    listed = _listed_ratios(c) if c.given("compress_ratios") or not c.given("layer_types") else None
    if (listed is None or c.given("compress_rates")) and c.values.get("compress_rates") != RATES:
        raise c.wrong("compress_rates", json.dumps(RATES))
    for key, rate in zip(("compress_rate_csa", "compress_rate_hca"), RATES.values(), strict=True):
        c.demand(key, (rate, None), "as compress_rates has it")
    kinds = {ratio: kind for kind, ratio in RATIOS.items()}
    return [RATIOS[kind] for kind in kinds_of(c, tuple(RATIOS), listed and (lambda i: kinds[listed[i]]))]


def _listed_ratios(c: Config) -> list[int]:
    layers = num_layers(c)
    more = c.size("num_nextn_predict_layers", at_least=0) if c.given("num_nextn_predict_layers") else 0
    ratios = c.values.get("compress_ratios")
    if not isinstance(ratios, list) or len(ratios) not in (layers, layers + more) or not all(
            type(ratio) is int and ratio in RATIOS.values() for ratio in ratios):
        raise c.wrong("compress_ratios", f"a list of 0, 4 or {HEAVY} for {layers} layers, or layer_types and "
                      "compress_rates")
    return ratios[:layers]


def _compressed(c: Config, ratio: int) -> CompressedAttention:
    width, latent, heads, size = (c.size(key) for key in ("hidden_size", "q_lora_rank", "num_attention_heads",
                                                          "head_dim"))
    if heads % c.size("o_groups"):
        raise c.wrong("o_groups", f"a divisor of num_attention_heads = {heads}")
    found = CompressedAttention(width, heads, size, latent, c.size("o_groups"), c.size("o_lora_rank"),
                                c.size("sliding_window"), ratio or None)
    if ratio in (0, HEAVY):
        return found
    indexer = Indexer(width, latent, c.size("index_n_heads"), c.size("index_head_dim"))
    return replace(found, kept=c.size("index_topk"), indexer=indexer)


def _minimax_m3(c: Config) -> Transformer:
    """Grouped attention; in the layers of ``sparse_attention_freq`` over blocks that an indexer chooses.

    transformers 5.24 saves the keys of ``FLAT``, ``layer_types`` and ``mlp_layer_types`` instead.
    """
    attention = head_normed(grouped(c, explicit_head_dim=True))
    for key, why in (("use_qk_norm", True), ("attention_output_gate", False)):
        c.demand(key, (why,), "as the reference has it")
    c.demand("qk_norm_type", ("per_head",), "norms over a head")
    (heads, size, block, blocks), kinds = _blocks(c)
    indexer = Indexer(attention.width, attention.width, heads, size, weighted=False, vectors=2 * size)
    chosen = SparseAttention(attention, blocks * block, indexer)
    mlps = dense_or_sparse(c, gated(c, "dense_intermediate_size"), _minimax_experts(c), "moe_layer_freq",
                           lambda: [bit == 1 for bit in c.bits("moe_layer_freq", len(kinds))])
    return assembled(c, [chosen if kind == BLOCKS else attention for kind in kinds], mlps, [None] * len(kinds))


def _blocks(c: Config) -> tuple[list[int], list[str]]:
    """The sizes that ``FLAT`` names, in its order, and the kind of every layer."""
    if c.given("layer_types") and not c.given("sparse_attention_config"):
        return [c.size(key) for key in FLAT.values()], kinds_of(c, (GLOBAL, BLOCKS), None)
    sparse = c.part("sparse_attention_config")
    sparse.demand("use_sparse_attention", (True,), "as the reference has it")
    for key, flat in FLAT.items():
        c.demand(flat, (sparse.size(key),), f"as {key} says")
    choosing = sparse.bits("sparse_attention_freq", num_layers(c))
    return [sparse.size(key) for key in FLAT], kinds_of(c, (GLOBAL, BLOCKS), lambda i: (GLOBAL, BLOCKS)[choosing[i]])


def _minimax_experts(c: Config) -> MixtureOfExperts:
    shared = MLP(c.size("hidden_size"), c.size("n_shared_experts") * c.size("shared_intermediate_size"))
    return replace(mixture(c, gated(c), "num_local_experts"), shared=shared)


CHOOSING: Mapping[str, Callable[[Config], Transformer]] = {
    "deepseek_v32": _deepseek_v32, "glm_moe_dsa": _deepseek_v32, "deepseek_v4": _deepseek_v4,
    "minimax_m3": _minimax_m3,
}
"""How to read each ``model_type``."""
