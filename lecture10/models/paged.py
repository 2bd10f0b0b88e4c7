"""Three sizes of a KV cache: what is live, what a paged engine sets aside, and how many tokens its log reports.

Notebook: book/Lecture10-Lab-Attention.ipynb. Sizes are whole numbers. The rules are vLLM's (0.19), see ``Pool``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import sympy as sp

from ..checks import checked, instance, refused, values, whole
from .mixer import Cached
from .transformer import Transformer

_AT_LEAST_1 = partial(whole, at_least=1)
ALMOST_EQUAL = Fraction(3, 2)
"""Kinds of layers whose numbers differ by less than this factor go into groups of the larger number."""


@checked(block_size=_AT_LEAST_1, block_bytes=_AT_LEAST_1, growing=_AT_LEAST_1, fixed=whole)
@dataclass(frozen=True)
class Pool:
    """Memory cut into blocks of ``block_bytes``, each for ``block_size`` tokens of one group of layers.

    A sequence takes ⌈S/block_size⌉ blocks for each of ``growing`` groups, whose layers cache, and one for each of
    ``fixed`` groups, whose layers keep a state. Local layers take full pages, as without a manager for each kind.
    """

    block_size: int
    block_bytes: int
    growing: int = 1
    fixed: int = 0

    @checked(context=_AT_LEAST_1)
    def blocks(self, context: int) -> int:
        """Blocks of one sequence of ``context`` tokens."""
        return self.growing * -(-context // self.block_size) + self.fixed

    @checked(blocks=whole)
    def reported(self, blocks: int) -> int:
        """Tokens that the log prints as size of the cache: ``blocks`` divided evenly among the groups.

        With states it is no capacity: their groups need one block a sequence, and this gives them as many as the rest
        (vllm issue 40691). ``blocks`` over ``self.blocks(context)`` is how many sequences fit.
        """
        return blocks // (self.growing + self.fixed) * self.block_size


@checked(live=_AT_LEAST_1, allocated=_AT_LEAST_1, reported=whole)
@dataclass(frozen=True)
class CacheSizes:
    """Of one sequence: ``live`` and ``allocated`` bytes, and the tokens ``reported`` of a pool that just holds it."""

    live: int
    allocated: int
    reported: int


@checked(model=instance(Transformer), context=_AT_LEAST_1, block_size=_AT_LEAST_1, entry_bytes=values(_AT_LEAST_1))
def kv_cache(model: Transformer, context: int, block_size: int = 16,
             entry_bytes: Mapping[str, int] | None = None) -> CacheSizes:
    """The three sizes for a sequence of ``context`` tokens, states included.

    Live is what the mathematics needs: a local layer its window, a compressed one its entries. ``entry_bytes``: bytes
    of an entry as the engine stores it, by the name of what is cached (``mixer.Cached``); the model's ``kv_bytes`` an
    element otherwise. Raises ValueError as ``pool`` and for a context that the model does not allow.
    """
    model.kv_cache_elements(context)  # refuses a context beyond the model
    sizes = entry_bytes or {}
    live = model.state_bytes + sum(number * kept.entries(context) * _bytes(model, kept, sizes)
                                   for number, kept in _cached(model))
    own = pool(model, block_size, sizes)
    blocks = own.blocks(context)
    return CacheSizes(int(sp.ceiling(live)), blocks * own.block_bytes, own.reported(blocks))


@checked(model=instance(Transformer), block_size=_AT_LEAST_1, entry_bytes=values(_AT_LEAST_1))
def pool(model: Transformer, block_size: int = 16, entry_bytes: Mapping[str, int] | None = None) -> Pool:
    """How vLLM cuts the memory for the caches of ``model``.

    Without states all layers are one group. With states the pages of both kinds are made equal: ``block_size`` grows to
    block_size·⌈state/(block_size·bytes of a token in a layer)⌉, the state is padded to that page, and layers form
    groups of the smaller kind's number, or of the larger's when they are almost equal, the last one padded. Raises
    ValueError for a model without caches, for a name that it has none of, and for a block that cuts an entry.
    """
    sizes = entry_bytes or {}
    if unknown := {*sizes} - {kept.name for _, kept in _cached(model)}:
        raise refused("entry_bytes", sorted(unknown), "names of what the model caches")
    layers = [(number, sum(Fraction(_bytes(model, kept, sizes)) / kept.ratio for kept in layer.attention.caches))
              for number, layer in model.layers if layer.attention is not None and layer.attention.caches]
    if not layers:
        raise refused("model", model.name, "a model that caches keys and values")
    for _, kept in _cached(model):
        if block_size % kept.ratio:
            raise refused("block_size", block_size, f"a multiple of {kept.ratio}, the positions of an entry")
    states = [(number, layer.state.num_bytes) for number, layer in model.layers if layer.state.num_bytes]
    if not states:
        return Pool(block_size, int(block_size * sum(number * token for number, token in layers)))
    token, page = max(token for _, token in layers), max(size for _, size in states)
    block = block_size * -(-page // (block_size * token))
    counts = [sum(number for number, _ in kind) for kind in (layers, states)]
    group = max(counts) if max(counts) < ALMOST_EQUAL * min(counts) else min(counts)
    return Pool(int(block), int(block * token * group), *(-(-number // group) for number in counts))


def _cached(model: Transformer) -> list[tuple[int, Cached]]:
    """What is cached, with the number of layers that do."""
    return [(number, kept) for number, layer in model.layers if layer.attention is not None
            for kept in layer.attention.caches]


def _bytes(model: Transformer, kept: Cached, entry_bytes: Mapping[str, int]) -> int:
    return entry_bytes.get(kept.name, model.kv_bytes * kept.elements)
