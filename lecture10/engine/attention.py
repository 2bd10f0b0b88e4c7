"""Attention of the engine: a block of queries at a time, over what a cache holds.

Notebook: book/Lecture10-Lab-Engine.ipynb. Shapes in the book's letters, as in ``decoder``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .threads import equal_shares, has_helpers, spread

Attend = Callable[[NDArray, NDArray, NDArray, NDArray], NDArray]
"""(queries, keys, values, lengths before the queries) -> what is mixed, as ``attention``."""
QUERY_BLOCK = 64  # queries whose scores are computed at a time
SHARED_SCORES = 50_000  # from here on sharing attention among threads saves more than waking them costs


def attention(q: NDArray, keys: NDArray, values: NDArray, lengths: NDArray) -> NDArray:
    """Causal softmax(q Kᵀ/√H) V of T new tokens: [B,T,N,H] [B,K,S,H] [B,K,S,H] [B] -> [B,T,N,H].

    Query t of sequence b sees positions 0 … lengths[b] + t. Queries go in blocks, so that scores stay in cache and a
    block skips the keys that all of it must not see.
    """
    (B, T, N, H), K = q.shape, keys.shape[1]
    filled = lengths.tolist()
    shortest, longest = min(filled), max(filled)
    grouped = (q * H**-0.5).reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)  # [B, K, G, T, H]
    out = np.empty_like(q)  # [B, T, N, H]
    for start in range(0, T, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, T)
        block, seen, common = grouped[:, :, :, start:stop], longest + stop, shortest + start + 1
        scores = block.reshape(B, K, -1, H) @ keys[:, :, :seen].swapaxes(2, 3)  # [B, K, G·t, S]
        if common < seen:  # beyond the positions that all queries see, each has its own last one
            own = (lengths[:, None] + np.arange(start, stop))[:, None, None, :, None]  # [B, 1, 1, t, 1]
            hidden = np.arange(common, seen) > own  # [B, 1, 1, t, S - common]
            np.copyto(scores.reshape(B, K, N // K, -1, seen)[..., common:], -np.inf, where=hidden)
        scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        total = np.einsum("bkts->bkt", scores)  # [B, K, G·t]: three times as fast as scores.sum(axis=-1)
        mixed = scores @ values[:, :, :seen] / total[..., None]  # [B, K, G·t, H]
        out[:, start:stop] = mixed.reshape(B, N, stop - start, H).swapaxes(1, 2)  # [B, t, N, H]
    return out


def shared_attention(q: NDArray, lengths: NDArray, seen: int,
                     read: Callable[[slice], tuple[NDArray, NDArray]], attend: Attend = attention) -> NDArray:
    """``attend`` over ``seen`` positions, its sequences shared among the threads where that pays; ``read(some)``
    gives the keys and values of some of them."""
    def some(b: slice) -> NDArray:
        return attend(q[b], *read(b), lengths[b])  # [b, T, N, H]

    if has_helpers() and q[..., 0].size * seen > SHARED_SCORES:
        return np.concatenate(spread(some, equal_shares(len(q))))
    return some(slice(None))
