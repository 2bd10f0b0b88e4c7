"""A model on accelerators: time per step, first token, throughput, memory and the largest batch, as ideal bounds.

Notebook: book/Lecture10-Lab-Models.ipynb. Every operation takes max(FLOPs / peak, bytes / bandwidth) with data-sheet
peaks, operations follow one another, nothing else costs time: no real system is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import sympy as sp

from ..cost import Cost
from ..hardware import PEAKS, Accelerator
from ..notation import B, S
from ..stats import TransformerStats, largest_batch
from ..table import Table
from .formats import BYTES, Format, weight_format
from .layers import Pass, Size, visible_pairs
from .transformer import Transformer

PEAK_OF: Mapping[str, str] = MappingProxyType({name: f"{8 * size}-bit" for name, size in BYTES.items() if size <= 2})
"""Which published peak arithmetic in a format can reach."""


@dataclass(frozen=True)
class Deployment:
    """``model`` on ``devices`` of one node, every matrix and the cache cut evenly between them (tensor parallelism).

    Weights and cache are stored as the model says, or with ``weight_bytes`` and ``kv_bytes`` per element and
    ``embedding_bytes`` for the embeddings: a number, a name in ``BYTES``, for the weights also a ``Format`` or its
    name. ``arithmetic`` is the width in ``hardware.PEAKS`` (weight-only quantization computes in 16-bit). Even cuts are
    ideal: fewer key/value heads than devices, or a latent cache, are stored several times in practice. Raises
    ValueError for ``devices`` that are no positive whole number, for several devices without a known link, for an
    unknown peak, and for a size or format that is none.
    """

    model: Transformer
    accelerator: Accelerator
    devices: int = 1
    weight_bytes: Size | Format | None = None
    kv_bytes: Size | None = None
    embedding_bytes: Size | None = None
    arithmetic: str = PEAKS[0]

    def __post_init__(self) -> None:
        for name in ("weight_bytes", "kv_bytes", "embedding_bytes"):
            object.__setattr__(self, name, weight_format(name, getattr(self, name), plain=name != "weight_bytes"))
        if self.kv_bytes is None:
            object.__setattr__(self, "kv_bytes", self.model.kv_bytes)
        if not isinstance(self.devices, int) or isinstance(self.devices, bool) or self.devices < 1:
            raise ValueError(f"devices = {self.devices!r}: expected a positive whole number")
        if self.devices > 1 and self.accelerator.link_bandwidth is None:
            raise ValueError(f"devices = {self.devices}: "
                             f"expected 1, no link bandwidth of {self.accelerator.name!r} is known")
        self.accelerator.computing_in(self.arithmetic)

    @property
    def overridden(self) -> tuple[str, ...]:
        """What was asked for instead of the formats that the model's file tells, a line each."""
        asked = (("weights", self.weight_bytes, None), ("KV cache", self.kv_bytes, self.model.kv_bytes),
                 ("embeddings", self.embedding_bytes, None))
        return tuple(f"{name}: {value.name if isinstance(value, Format) else f'{value} bytes an element'}, as asked"
                     for name, value, stored in asked if value != stored)

    @property
    def node(self) -> Accelerator:
        """All devices as one, at the peak of the chosen arithmetic."""
        return self.accelerator.computing_in(self.arithmetic).times(self.devices)

    def cost(self, batch: Size = B, tokens: Size = 1, context: Size = S) -> Cost:
        """Operations of one pass over all devices: masked pairs skipped, logits for the last position only."""
        return self.model.forward(Pass(batch, tokens, context, logits=1, weight_bytes=self.weight_bytes,
                                       kv_bytes=self.kv_bytes, embedding_bytes=self.embedding_bytes,
                                       pairs=visible_pairs))

    def all_reduce_time(self, batch: Size = B, tokens: Size = 1) -> sp.Expr:
        """Seconds to add up the devices' partial results, twice a layer, B·T·D activations of 2 bytes each.

        A device has to send 2·(n − 1)/n times the data (ring or any other algorithm without a summing switch); latency
        and the exchange of the logits are left out.
        """
        if self.devices == 1:
            return sp.S.Zero
        data = 2 * self.model.num_layers * 2 * batch * tokens * self.model.width
        return sp.Rational(2 * (self.devices - 1), self.devices) * data / self.accelerator.link_bandwidth

    def step_time(self, batch: Size = B, tokens: Size = 1, context: Size = S) -> sp.Expr:
        """Seconds of one pass: every operation in turn, then the all-reduces."""
        return self.cost(batch, tokens, context).time(self.node) + self.all_reduce_time(batch, tokens)

    def time_to_first_token(self, batch: Size, prompt: Size) -> sp.Expr:
        """Seconds to prefill ``batch`` prompts together."""
        return self.step_time(batch, prompt, prompt)

    def generation_time(self, batch: int, prompt: int, generated: int) -> float:
        """Seconds for all tokens after the first: ``generated`` − 1 steps at contexts from ``prompt`` + 1 on.

        The step's formula, compiled once, summed over the contexts.
        """
        step = sp.lambdify(S, self.step_time(batch, 1, S).evalf(), modules="math", cse=True)
        return float(sum(step(context) for context in range(prompt + 1, prompt + generated)))

    def stats(self, batch: Size = B, context: Size = S) -> TransformerStats:
        """The record of the lecture for one decode step: memory over all devices, latency per step, tokens/s."""
        weights = self.model.weight_bytes(self.weight_bytes, self.embedding_bytes)
        cache = self.kv_bytes * self.model.kv_cache_elements(context)
        latency = self.step_time(batch, 1, context)
        fields = (self.model.num_params, weights, cache, weights + batch * cache, latency, batch / latency)
        return TransformerStats(*map(sp.sympify, fields))

    def largest_batch(self, context: Size = S) -> sp.Expr:
        """Sequences whose caches fit beside the weights, with nothing set aside for anything else."""
        return largest_batch(self.stats(1, context), self.node.memory_bytes)

    def operations(self, batch: int, tokens: int, context: int) -> tuple[tuple[str, float, float, float, str], ...]:
        """(operation, FLOPs, bytes, seconds, what limits it) for each;
        layer kinds with the same operation are added up."""
        found: dict[str, list[sp.Expr]] = {}
        for step in self.cost(batch, tokens, context):
            total = found.setdefault(step.name, [sp.S.Zero] * 4)
            parts = (step.flops, step.bytes_transferred, self.node.time(step.flops, step.bytes_transferred),
                     self.node.compute_time(step.flops) - self.node.memory_time(step.bytes_transferred))
            found[step.name] = [a + b for a, b in zip(total, parts)]
        rows = [(name, float(f), float(b), float(t), "compute" if gap > 0 else "memory")
                for name, (f, b, t, gap) in found.items()]
        link = float(self.all_reduce_time(batch, tokens))
        return tuple(rows) + ((("all-reduce", 0.0, 0.0, link, "link"),) if self.devices > 1 else ())

    def table(self, batch: int, tokens: int, context: int) -> Table:
        """``operations`` in GFLOPs, GB and milliseconds, with the shares of the time in per cent."""
        rows = self.operations(batch, tokens, context)
        total = sum(row[3] for row in rows)
        return Table(("operation", "GFLOPs", "GB", "ms", "share (%)", "limited by"),
                     [(name, f / 1e9, b / 1e9, 1e3 * t, 100 * t / total, limit) for name, f, b, t, limit in rows])
