"""The KV cache: an explicit object that a pass of the engine reads and grows.

Notebook: book/Lecture10-Lab-Engine.ipynb. Shapes in the book's letters: B sequences, T new tokens each, S positions,
K, H, L.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, instance, refused, shown, whole
from .weights import Shape


@dataclass
class KVCache:
    """The keys and values of B sequences, each of its own length; ``lengths`` counts the positions filled."""

    keys: NDArray  # [L, B, K, capacity, H]
    values: NDArray  # [L, B, K, capacity, H]
    lengths: NDArray  # [B]

    @classmethod
    @checked(shape=instance(Shape), batch=whole, capacity=whole)
    def empty(cls, shape: Shape, batch: int, capacity: int) -> KVCache:
        """Room for ``capacity`` positions of ``batch`` sequences.
        Raises ValueError beyond the model's context length, and for more than the memory holds."""
        if not 1 <= capacity <= shape.context_length:
            raise ValueError(f"capacity is {shown(capacity)} tokens: "
                             f"expected 1 to {shape.context_length}, the model's context length")
        if batch < 1:
            raise ValueError(f"batch is {shown(batch)}: expected at least one sequence")
        dims = (shape.L, batch, shape.K, capacity, shape.H)
        try:
            return cls(np.zeros(dims, np.float32), np.zeros(dims, np.float32), np.zeros(batch, int))
        except (MemoryError, ValueError):
            size = shown(8 * math.prod(dims) // 10**9)
            raise refused("batch", batch, f"a cache that fits into memory, not {size} GB") from None

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one position of one sequence takes: 2·L·K·H elements."""
        return (self.keys.nbytes + self.values.nbytes) // (self.keys.shape[1] * self.capacity)

    @checked(some=instance(slice))
    def rows(self, some: slice) -> KVCache:
        """Some of the sequences alone; what is written to them is written here."""
        return replace(self, keys=self.keys[:, some], values=self.values[:, some], lengths=self.lengths[some])

    def write(self, layer: int, k: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:  # [B,T,K,H] x2 -> [B,K,S,H] x2
        """Store the new positions of one layer; returns all filled ones, up to the longest sequence."""
        new, lengths = k.shape[1], self.lengths.tolist()
        for b, start in enumerate(lengths):
            self.keys[layer, b, :, start:start + new] = k[b].swapaxes(0, 1)  # [K, T, H]
            self.values[layer, b, :, start:start + new] = v[b].swapaxes(0, 1)  # [K, T, H]
        filled = max(lengths) + new
        return self.keys[layer, :, :, :filled], self.values[layer, :, :, :filled]


class LaterPositions:
    """The cache as one of several threads sees it that fill consecutive positions in the same pass,
    ``start`` after the first.

    ``write`` waits until the thread with the positions before these has written the same layer: a query needs the
    keys and values of all positions before its own. On leaving ``with``, after an error too, nobody waits for
    this one any more.
    """

    def __init__(self, cache: KVCache, start: int, earlier: LaterPositions | None) -> None:
        self.cache, self.earlier = replace(cache, lengths=cache.lengths + start), earlier
        self.lengths, self.written = self.cache.lengths, [Event() for _ in cache.keys]

    @classmethod
    def chain(cls, cache: KVCache, parts: Sequence[slice]) -> list[LaterPositions]:
        """One view for each of the consecutive ``parts`` of the new positions."""
        views: list[LaterPositions] = []
        for part in parts:
            views.append(cls(cache, part.start, views[-1] if views else None))
        return views

    def write(self, layer: int, k: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:  # [B,T,K,H] x2 -> [B,K,S,H] x2
        filled = self.cache.write(layer, k, v)
        if self.earlier:
            self.earlier.written[layer].wait()
        self.written[layer].set()
        return filled

    def __enter__(self) -> LaterPositions:
        return self

    def __exit__(self, *_error: object) -> None:
        for event in self.written:
            event.set()
