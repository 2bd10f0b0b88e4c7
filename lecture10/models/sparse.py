"""Attention that chooses: an indexer picks positions, or compressed entries stand for several of them.

Notebook: book/Lecture10-Lab-Attention.ipynb. They stand where ``Attention`` stands in a layer and have the same
interface (``mixer.Mixer``). Sizes are whole numbers or symbols. Choosing the largest scores, and making a compressed
entry out of its positions, are left out, as softmax is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from ..checks import checked, count, flag, instance, optional, size
from ..cost import Step
from ..intensity import attention, products
from .formats import Size
from .layers import Attention, LatentAttention
from .mixer import Cached, Mixer, shares
from .passes import Pass, Weights
from .windows import all_pairs, reach


@checked(context=size, tokens=size, ratio=size, kept=optional(size))
def entry_pairs(context: Size, tokens: Size, ratio: Size, kept: Size | None = None) -> Size:
    """Pairs of a query and an entry of ``ratio`` positions that it uses: min(⌊p/ratio⌋, kept) of the query at p.

    The last ``tokens`` of ``context`` positions are queries.
    """
    if tokens == 1:
        found = sp.floor(sp.sympify(context) / ratio)
        return found if kept is None else sp.Min(found, kept)
    before = _pairs_up_to(context - tokens, ratio, kept) if context != tokens else 0
    return _pairs_up_to(context, ratio, kept) - before


def _pairs_up_to(position: Size, ratio: Size, kept: Size | None) -> Size:
    growing = position if kept is None else sp.Min(position, kept * ratio)
    full = sp.floor(sp.sympify(growing) / ratio)
    pairs = ratio * full * (full - 1) / 2 + full * (growing - ratio * full + 1)
    return pairs if kept is None else pairs + (position - growing) * kept


@checked(width=size, query_width=size, heads=size, head_dim=size, weighted=flag, vectors=count)
@dataclass(frozen=True)
class Indexer:
    """Scores every position with ``heads`` small heads on one shared key of ``head_dim``, which is cached.

    Queries are made of ``query_width`` numbers, keys of the model's ``width``. ``weighted``: a score is the sum over
    heads with weights that the token itself gives (DeepSeek-V3.2); otherwise each head chooses alone.
    """

    width: Size
    query_width: Size
    heads: Size
    head_dim: Size
    weighted: bool = True
    vectors: Size = 0

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        shapes = ((self.query_width, self.heads * self.head_dim), (self.width, self.head_dim))
        shapes += ((self.width, self.heads),) if self.weighted else ()
        return (Weights("indexer projections", shapes, self.vectors),)

    @checked(run=instance(Pass), entries=count, pairs=count)
    def step(self, run: Pass, entries: Size, pairs: Size) -> Step:
        """2·pairs·heads·(head_dim + 1) FLOPs, without the weights 2·pairs·heads·head_dim; all keys are read."""
        if pairs == 0:
            return Step("indexer")
        scores = attention(run.batch, entries, 1, query_width=self.heads * self.head_dim, kv_width=self.head_dim,
                           kv_bytes=run.kv_bytes, pairs=pairs).only("read K", "A = Q Kᵀ")
        if self.weighted:
            scores += products(run.batch * pairs, ((self.heads, 1),)).only("Y = X W")
        return scores.as_step("indexer").steps[0]


@checked(attention=instance(Attention, LatentAttention), kept=size, indexer=optional(instance(Indexer)))
@dataclass(frozen=True)
class SparseAttention(Mixer):
    """``attention`` in which every query uses the ``kept`` positions that an ``indexer`` scores highest.

    DeepSeek sparse attention (DeepSeek-V3.2, section 2.1) and MiniMax-M3's, which keeps whole blocks of positions.
    Without an indexer the layer uses the choice of the one before (GLM-5.2). The cache keeps all positions, and the
    indexer's keys beside them. Queries of one pass are taken to choose as if through a window: T + kept − 1 positions.
    """

    attention: Attention | LatentAttention
    kept: Size
    indexer: Indexer | None = None

    @property
    def kind(self) -> str:
        return f"sparse {self.attention.kind}"

    @property
    def heads(self) -> Size:
        return self.attention.heads

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        return self.attention.weights + (() if self.indexer is None else self.indexer.weights)

    @property
    def caches(self) -> tuple[Cached, ...]:
        keys = () if self.indexer is None else (Cached("indexer keys", self.indexer.head_dim),)
        return self.attention.caches + keys

    @checked(run=instance(Pass))
    def steps(self, run: Pass) -> tuple[Step, ...]:
        """Scores of all positions, then attention over those that are kept."""
        scoring = ()
        if self.indexer is not None:
            scoring = (self.indexer.step(run, run.context, run.pairs(run.context, run.tokens, None)),)
        return (*scoring, *self.attention.over(run, self.kept))

    @checked(devices=size)
    def share(self, devices: int) -> SparseAttention | None:
        """The attention's heads on one of ``devices``; the indexer is copied, as engines do it."""
        own = self.attention.share(devices)
        return own and replace(self, attention=own)


@checked(width=size, heads=size, head_dim=size, query_latent=size, groups=size, output_latent=size, window=size,
         ratio=optional(size), kept=optional(size), indexer=optional(instance(Indexer)))
@dataclass(frozen=True)
class CompressedAttention(Mixer):
    """DeepSeek-V4: one vector of ``head_dim`` is key and value of all heads; far positions share one.

    The last ``window`` positions are seen one by one, all before as entries that stand for ``ratio`` positions each,
    none without it. With an ``indexer`` (compressed sparse attention) a query uses ``kept`` entries, and an entry is
    made of twice ``ratio`` positions, half of them the last entry's; without one (heavily compressed) it uses all.
    Queries and output pass bottlenecks; ``groups`` groups of heads go down to ``output_latent`` numbers each. What is
    gathered for an unfinished entry, at most ratio + 3 rows, is left out, as the book's source of sizes does.
    """

    width: Size
    heads: Size
    head_dim: Size
    query_latent: Size
    groups: Size
    output_latent: Size
    window: Size
    ratio: Size | None = None
    kept: Size | None = None
    indexer: Indexer | None = None

    @property
    def kind(self) -> str:
        if self.ratio is None:
            return f"local {self.window} MQA"
        return f"{'heavily compressed' if self.indexer is None else 'compressed sparse'} {self.ratio}"

    @property
    def _series(self) -> int:
        """Vectors that a position gives to entries: its own, and the next one where entries overlap."""
        return 1 if self.indexer is None else 2

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        made = self.heads * self.head_dim
        shapes = ((self.width, self.query_latent), (self.query_latent, made), (self.width, self.head_dim),
                  (made // self.groups, self.groups * self.output_latent),
                  (self.groups * self.output_latent, self.width))
        own = Weights("attention projections", shapes, self.query_latent + self.head_dim + self.heads)
        if self.ratio is None:
            return (own,)
        found = (own, self._compressor("compressor", self.head_dim))
        if self.indexer is None:
            return found
        queries, _, scales = self.indexer.weights[0].shapes
        keys = self._compressor("indexer compressor", self.indexer.head_dim)
        return (*found, keys, Weights("indexer projections", (queries, scales)))

    def _compressor(self, name: str, size: Size) -> Weights:
        """Values and their gates for entries of ``size`` numbers, a bias for each place in one, and a norm."""
        made = self._series * size
        return Weights(name, ((self.width, made),) * 2, self.ratio * made + size)

    @property
    def caches(self) -> tuple[Cached, ...]:
        near = Cached("window", self.head_dim, window=self.window)
        if self.ratio is None:
            return (near,)
        keys = () if self.indexer is None else (Cached("indexer keys", self.indexer.head_dim, ratio=self.ratio),)
        return (near, Cached("entries", self.head_dim, ratio=self.ratio), *keys)

    @checked(run=instance(Pass))
    def steps(self, run: Pass) -> tuple[Step, ...]:
        """Scores of all entries, then attention over the window and the entries that are kept, read once each."""
        rows = reach(run.context, run.tokens, self.window)
        pairs = run.pairs(run.context, run.tokens, self.window)
        if self.ratio is None:
            return self._over(run, rows, pairs)
        entries, used = self.caches[1].entries(run.context), self._pairs(run, self.kept)
        read = entries if self.kept is None else sp.Min(entries, run.tokens + self.kept - 1)
        scoring = () if self.indexer is None else (self.indexer.step(run, entries, self._pairs(run, None)),)
        return (*scoring, *self._over(run, rows + read, pairs + used))

    def _pairs(self, run: Pass, kept: Size | None) -> Size:
        """Pairs of a query and an entry; in a dense kernel every query meets as many as the last."""
        if run.pairs is all_pairs:
            return run.tokens * entry_pairs(run.context, 1, self.ratio, kept)
        return entry_pairs(run.context, run.tokens, self.ratio, kept)

    def _over(self, run: Pass, rows: Size, pairs: Size) -> tuple[Step, ...]:
        cost = attention(run.batch, rows, 1, query_width=self.heads * self.head_dim, kv_width=self.head_dim,
                         kv_bytes=run.kv_bytes, pairs=pairs)
        return cost.as_step("attention", "read K").steps

    @checked(devices=size)
    def share(self, devices: int) -> CompressedAttention | None:
        """Its heads and their groups on one of ``devices``; entries and the indexer are copied, as engines do it."""
        found = shares(devices, (self.heads, self.groups))
        return found and replace(self, heads=found[0], groups=found[1])
