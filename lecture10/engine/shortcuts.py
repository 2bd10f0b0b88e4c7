"""Shortcuts of attention that change what a model says, made on a trained model without training it again.

Notebook: book/Lecture10-Lab-Attention.ipynb. What is measured is what they cost in quality and save in bytes; keys and
values that nobody sees are still kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, each, instance, refused, whole, within
from .kv_cache import KVCache
from .quantization import SCALE_BYTES, Scheme
from .weights import Layer, Weights

_AT_LEAST_1 = partial(whole, at_least=1)


@checked(window=_AT_LEAST_1, sinks=whole)
def windowed(window: int, sinks: int = 0) -> Callable[[NDArray, NDArray, NDArray, NDArray], NDArray]:
    """Attention to the last ``window`` positions and the first ``sinks`` (StreamingLLM, arXiv 2309.17453), for
    ``Engine.attend``. Positions keep the angles that they have in the text."""
    def attend(q: NDArray, keys: NDArray, values: NDArray, lengths: NDArray) -> NDArray:
        (B, T, N, H), (K, S) = q.shape, keys.shape[1:3]
        grouped = (q * H**-0.5).reshape(B, T, K, N // K, H)  # [B, T, K, G, H]
        own, at = (lengths[:, None] + np.arange(T))[:, :, None], np.arange(S)  # [B, T, 1] [S]
        visible = (at <= own) & ((at > own - window) | (at < sinks))  # [B, T, S]
        scores = np.einsum("btkgh,bksh->btkgs", grouped, keys)  # [B, T, K, G, S]
        scores = np.where(visible[:, :, None, None], scores, -np.inf)
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = np.einsum("btkgs,bksh->btkgh", p / p.sum(axis=-1, keepdims=True), values)
        return mixed.reshape(B, T, N, H).astype(q.dtype)

    return attend


@checked(scheme=instance(Scheme))
def rounded_cache(scheme: Scheme) -> type[KVCache]:
    """A kind of cache whose keys and values are rounded to ``scheme``, whose groups lie within a head."""
    class Rounded(KVCache):
        def write(self, layer: int, k: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:
            return super().write(layer, *(scheme(x.reshape(-1, x.shape[-1])).reshape(x.shape) for x in (k, v)))

        @property
        def bytes_per_token(self) -> int:
            vectors, size = 2 * self.keys.shape[0] * self.keys.shape[2], self.keys.shape[-1]
            group = size if scheme.group == "row" else scheme.group
            return vectors * size * scheme.bits // 8 + vectors * (size // group) * SCALE_BYTES

    return Rounded


@checked(layers=_AT_LEAST_1)
def shared_cache(layers: int) -> type[KVCache]:
    """A kind of cache that ``layers`` neighbours share: all but the first of them read what the first one wrote."""
    class Shared(KVCache):
        def write(self, layer: int, k: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:
            if layer % layers == 0:
                return super().write(layer, k, v)
            own, filled = layer - layer % layers, int(self.lengths.max()) + k.shape[1]
            return self.keys[own, :, :, :filled], self.values[own, :, :, :filled]

        @property
        def bytes_per_token(self) -> int:
            return KVCache.bytes_per_token.fget(self) * -(-len(self.keys) // layers) // len(self.keys)

    return Shared


@checked(weights=instance(Weights), dropped=each(whole))
def without_layers(weights: Weights, dropped: Sequence[int]) -> Weights:
    """The model without some of its layers, counted from 0."""
    for i in dropped:
        within("dropped", i, "the last layer", len(weights.layers) - 1)
    kept = tuple(layer for i, layer in enumerate(weights.layers) if i not in set(dropped))
    if not kept:
        raise refused("dropped", dropped, "at least one layer that stays")
    return replace(weights, layers=kept, shape=replace(weights.shape, L=len(kept)))


@checked(weights=instance(Weights), kept=_AT_LEAST_1)
def with_fewer_heads(weights: Weights, kept: int) -> Weights:
    """The model with ``kept`` query heads for each key/value head: those whose outputs are weighted most."""
    s = weights.shape
    within("kept", kept, "the queries of a group", s.N // s.K)

    def prune(layer: Layer) -> Layer:
        output = layer.output.reshape(s.D, s.K, s.N // s.K, s.H)  # [D, K, G, H]
        norms = np.sqrt(np.square(output).sum(axis=(0, 3)))  # [K, G]
        chosen = np.sort(np.argsort(-norms, axis=1, kind="stable")[:, :kept], axis=1)  # [K, g]
        at = (np.arange(s.K)[:, None], chosen)
        queries = layer.qkv[:s.N * s.H].reshape(s.K, s.N // s.K, s.H, s.D)[at]  # [K, g, H, D]
        qkv = np.concatenate([queries.reshape(-1, s.D), layer.qkv[s.N * s.H:]])
        return replace(layer, qkv=qkv, output=np.ascontiguousarray(output[:, *at].reshape(s.D, -1)))

    return replace(weights, layers=tuple(map(prune, weights.layers)), shape=replace(s, N=s.K * kept))


@checked(weights=instance(Weights))
def with_one_kv_head(weights: Weights) -> Weights:
    """Multi-query attention: the mean of all key heads, and of all value heads, for every query (arXiv 2305.13245,
    section 2.1, before it is trained further)."""
    s = weights.shape

    def pool(layer: Layer) -> Layer:
        pooled = layer.qkv[s.N * s.H:].reshape(2, s.K, s.H, s.D).mean(axis=1).reshape(-1, s.D)  # [2H, D]
        return replace(layer, qkv=np.concatenate([layer.qkv[:s.N * s.H], pooled]))

    return replace(weights, layers=tuple(map(pool, weights.layers)), shape=replace(s, K=1))
