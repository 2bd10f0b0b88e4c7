"""A model on accelerators: time per step, first token, throughput, memory and the largest batch, as ideal bounds.

Notebook: book/Lecture10-Lab-Models.ipynb. Every operation takes max(FLOPs / peak, bytes / bandwidth) with data-sheet
peaks, operations follow one another, nothing else costs time. ``bounds.assumptions`` says what that takes for
granted, ``Deployment.floor_time`` does with less, ``bounds.basis`` tells where each number comes from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType

import sympy as sp

from ..checks import checked, each, expression, flag, instance, real, record, refused, size, whole
from ..cost import Cost, Step
from ..hardware import PEAKS, Accelerator
from ..notation import B, S
from ..stats import TransformerStats
from ..table import Table
from .formats import Format, weight_format
from .parallel import ATTENTION, EXPERTS, Layout
from .passes import Pass, Size
from .transformer import Transformer
from .windows import visible_pairs

PEAK_OF: Mapping[str, str] = MappingProxyType({
    "bf16": "16-bit", "fp16": "16-bit", "fp16-fp16": "16-bit in fp16", "fp8": "fp8", "fp8-fp16": "fp8 in fp16",
    "int8": "int8", "fp4": "fp4", "int4": "int4"})
"""Which published peak arithmetic in a format can reach; after the dash the format of the sums, where it is not
fp32."""

ONCE = ("experts", "input embedding")
"""Operations whose bytes are an expectation: all tokens may need the same experts or the same row."""

Shape = tuple[Size, Size, Size]
"""(batch, tokens, context) of sequences that go through a pass together."""

EACH = 4096
"""How many contexts are summed one by one."""

_AT_LEAST_1, _PLAIN, _SIZES = partial(whole, at_least=1), partial(weight_format, plain=True), (size, size, size)


@checked(model=instance(Transformer), accelerator=instance(Accelerator), weight_bytes=weight_format, kv_bytes=_PLAIN,
         embedding_bytes=_PLAIN)
@dataclass(frozen=True)
class Deployment:
    """``model`` on ``devices`` of one node, divided between them as ``attention`` and ``experts`` say
    (``parallel.Layout``).

    Weights and cache are stored as the model says, or with ``weight_bytes`` and ``kv_bytes`` per element and
    ``embedding_bytes`` for the embeddings: a number, a name in ``BYTES``, for the weights also a ``Format`` or its
    name. ``arithmetic`` is one of ``hardware.PEAKS`` (weight-only quantization computes in 16-bit). Raises ValueError
    for a number of devices on which no engine starts, several devices without a known link, arithmetic that the chip
    does not have, and a size or format that is none.
    """

    model: Transformer
    accelerator: Accelerator
    devices: int = 1
    weight_bytes: Size | Format | None = None
    kv_bytes: Size | None = None
    embedding_bytes: Size | None = None
    arithmetic: str = PEAKS[0]
    attention: str = ATTENTION[0]
    experts: str = EXPERTS[0]

    def __post_init__(self) -> None:
        if self.kv_bytes is None:
            object.__setattr__(self, "kv_bytes", self.model.kv_bytes)
        object.__setattr__(self, "devices", self.layout.devices)  # the layout's rules refuse what is none
        self.layout.require_start(self.model)
        if self.devices > 1 and self.accelerator.link_bandwidth is None:
            raise ValueError(f"devices = {self.devices}: expected 1, no link bandwidth of {self.accelerator.name!r} "
                             "is known")
        self.accelerator.computing_in(self.arithmetic)

    @property
    def overridden(self) -> tuple[str, ...]:
        """What was asked for instead of the formats that the model's file tells, a line each."""
        asked = (("weights", self.weight_bytes, None), ("KV cache", self.kv_bytes, self.model.kv_bytes),
                 ("embeddings", self.embedding_bytes, None))
        return tuple(f"{name}: {_named(value)}, as asked" for name, value, stored in asked if value != stored)

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.devices, self.attention, self.experts)

    @cached_property
    def device(self) -> Accelerator:
        """One device, at the peak of the chosen arithmetic."""
        return self.accelerator.computing_in(self.arithmetic)

    @cached_property
    def node(self) -> Accelerator:
        """All devices as one."""
        return self.device.times(self.devices)

    @checked(batch=size, tokens=size, context=size, also=each(record(*_SIZES)))
    def cost(self, batch: Size = B, tokens: Size = 1, context: Size = S, *also: Shape) -> Cost:
        """Operations of one pass, each counted once: masked pairs skipped, logits for the last position only.

        ``also``: (batch, tokens, context) of other sequences in the same pass, as servers mix them.
        """
        return self.model.forward(*(self._pass(*part) for part in ((batch, tokens, context), *also)))

    @checked(batch=size, tokens=size, context=size, also=each(record(*_SIZES)))
    def device_cost(self, batch: Size = B, tokens: Size = 1, context: Size = S, *also: Shape) -> Cost:
        """What one device does of it: its share of what is divided, all of what is copied."""
        return self.layout.cost(self.model, *(self._pass(*part) for part in ((batch, tokens, context), *also)))

    def _pass(self, batch: Size, tokens: Size, context: Size) -> Pass:
        return Pass(batch, tokens, context, logits=1, weight_bytes=self.weight_bytes, kv_bytes=self.kv_bytes,
                    embedding_bytes=self.embedding_bytes, pairs=visible_pairs)

    @checked(batch=size, tokens=size)
    def traffic(self, batch: Size = B, tokens: Size = 1) -> dict[str, sp.Expr]:
        """Bytes that one device sends in a pass, by exchange (``Layout.traffic``). Raises ValueError as ``cost``."""
        self.model.require_context(tokens)
        return self.layout.traffic(self.model, batch, tokens)

    @checked(batch=size, tokens=size, in_switch=flag)
    def all_reduce_time(self, batch: Size = B, tokens: Size = 1, in_switch: bool = False) -> sp.Expr:
        """Seconds that the exchanges of a pass take on the links, without latency.

        A ring sends partial sums 2·(n − 1)/n times; a switch that adds them up gets each once, ``in_switch``.
        """
        sent = self.traffic(batch, tokens)
        if in_switch and "all-reduce" in sent:
            sent["all-reduce"] *= sp.Rational(self.devices, 2 * (self.devices - 1))
        return sum(sent.values(), sp.S.Zero) / self.accelerator.link_bandwidth if sent else sp.S.Zero

    @checked(batch=size, tokens=size, context=size, also=each(record(*_SIZES)))
    def step_time(self, batch: Size = B, tokens: Size = 1, context: Size = S, *also: Shape) -> sp.Expr:
        """Seconds of one pass: every operation in turn, then the exchanges; ``also`` as in ``cost``."""
        cost = self.device_cost(batch, tokens, context, *also)
        rows = sum((more * new for more, new, _ in also), batch * tokens)
        return cost.time(self.device) + self.all_reduce_time(rows)

    @checked(batch=size, tokens=size, context=size)
    def floor_cost(self, batch: Size = B, tokens: Size = 1, context: Size = S) -> Cost:
        """Operations of a pass on all devices as one: nothing is read twice, all tokens pick the same experts."""
        least = self.cost(1, 1, 1)
        return Cost(tuple(
            Step(step.name, step.flops, one.bytes_transferred if step.name in ONCE else step.bytes_transferred)
            for step, one in zip(self.cost(batch, tokens, context), least, strict=True)))

    @checked(batch=size, tokens=size, context=size)
    def floor_time(self, batch: Size = B, tokens: Size = 1, context: Size = S) -> sp.Expr:
        """Seconds that no layout and no overlap can undercut: max(all FLOPs / all peaks, all bytes / all bandwidths).

        Everything overlaps, nothing is stored or read twice, links are free, and all tokens pick the same experts.
        What is left of the ``assumptions`` are those about what has to be computed and read at all.
        """
        return self.floor_cost(batch, tokens, context).as_step("pass").time(self.node)

    @checked(batch=size, prompt=size)
    def time_to_first_token(self, batch: Size, prompt: Size) -> sp.Expr:
        """Seconds to prefill ``batch`` prompts together."""
        return self.step_time(batch, prompt, prompt)

    @checked(batch=_AT_LEAST_1, prompt=whole, generated=_AT_LEAST_1)
    def generation_time(self, batch: int, prompt: int, generated: int) -> float:
        """Seconds for all tokens after the first: ``generated`` − 1 steps at contexts from ``prompt`` + 1 on.

        ``summed`` over the contexts. ``prompt`` may be 0. Raises ValueError as ``step_time``.
        """
        self.model.require_context(max(1, prompt + generated - 1))  # at S the step is asked for none
        return summed([self.step_time(batch, 1, S)], range(prompt + 1, prompt + generated))[0]

    def stored_weights(self) -> sp.Expr:
        """Bytes of weights on one device."""
        return self._weights(self.layout)

    @checked(context=size)
    def stored_cache(self, context: Size = S) -> sp.Expr:
        """Bytes of one sequence on a device that holds it, the most until ``context`` tokens are there.

        Its KV cache, and the state of layers that have one instead (``stored_state``).
        """
        return self._cache(self.layout, context)

    def stored_state(self) -> sp.Expr:
        """Bytes of one sequence on a device that do not grow with the context."""
        return sp.sympify(self.layout.on_one_device(self.model).state_bytes)

    def _weights(self, layout: Layout) -> sp.Expr:
        total = self.model.weight_bytes(self.weight_bytes, self.embedding_bytes)
        return layout.stored_weights(self.model, self._pass(1, 1, 1), total)

    def _cache(self, layout: Layout, context: Size) -> sp.Expr:
        own = layout.on_one_device(self.model)
        return sp.sympify(self.kv_bytes * own.most_cache_elements(context) + own.state_bytes)

    @checked(context=size)
    def largest_batch(self, context: Size = S) -> sp.Expr:
        """Sequences whose caches fit beside the weights on every device, with nothing set aside for anything else."""
        free = self.accelerator.capacity - self.stored_weights()
        split = self.devices if self.layout.splits_sequences else 1
        return split * sp.Max(0, sp.floor(free / self.stored_cache(context)))

    @checked(seconds=real, context=_AT_LEAST_1)
    def largest_batch_within(self, seconds: float, context: int) -> int:
        """Sequences that fit and whose step takes at most ``seconds``; 0 when not even one does.

        A step with more sequences is never faster, so the number is found by bisection. Raises ValueError for
        ``seconds`` that are not positive, and as ``step_time``.
        """
        most = int(self.largest_batch(context))
        return bisect_right(range(1, most + 1), seconds, key=lambda batch: float(self.step_time(batch, 1, context)))

    @checked(batch=size, context=size)
    def device_memory(self, batch: Size = B, context: Size = S) -> sp.Expr:
        """Bytes on the fullest device: its weights and its caches, nothing else."""
        return self._memory(self.layout, batch, context)

    def _memory(self, layout: Layout, batch: Size, context: Size) -> sp.Expr:
        return self._weights(layout) + layout.sequences(batch) * self._cache(layout, context)

    @checked(batch=_AT_LEAST_1, context=_AT_LEAST_1)
    def devices_needed(self, batch: int, context: int) -> int | None:
        """The fewest devices on which the layout starts and the batch fits; None when no number of them is enough."""
        layouts = (replace(self.layout, devices=count) for count in self.layout.counts(self.model))
        return next((layout.devices for layout in layouts
                     if self._memory(layout, batch, context) <= self.accelerator.capacity), None)

    @checked(batch=size, context=size)
    def stats(self, batch: Size = B, context: Size = S) -> TransformerStats:
        """The record of the lecture for one decode step: memory over all devices, copies too, latency per step,
        tokens/s."""
        weights, copies = self.devices * self.stored_weights(), 1 if self.layout.splits_sequences else self.devices
        cache, latency = copies * self.stored_cache(context), self.step_time(batch, 1, context)
        fields = (self.model.num_params, weights, cache, weights + batch * cache, latency, batch / latency)
        return TransformerStats(*map(sp.sympify, fields))

    @checked(batch=size, tokens=size, context=size)
    def operation_costs(self, batch: Size = B, tokens: Size = 1,
                        context: Size = S) -> dict[str, tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr | None]]:
        """(FLOPs, bytes, seconds, seconds of the arithmetic less those of the transfers) of each operation on one
        device.

        Layer kinds with one operation are added up. An exchange has no FLOPs, no bytes and no difference, None.
        """
        found: dict[str, list[sp.Expr]] = {}
        for step in self.device_cost(batch, tokens, context):
            total = found.setdefault(step.name, [sp.S.Zero] * 4)
            parts = (step.flops, step.bytes_transferred, self.device.time(step.flops, step.bytes_transferred),
                     self.device.compute_time(step.flops) - self.device.memory_time(step.bytes_transferred))
            found[step.name] = [a + b for a, b in zip(total, parts)]
        links = {name: (sp.S.Zero, sp.S.Zero, sent / self.accelerator.link_bandwidth, None)
                 for name, sent in self.traffic(batch, tokens).items()}
        return {name: tuple(parts) for name, parts in found.items()} | links

    @checked(batch=_AT_LEAST_1, tokens=_AT_LEAST_1, context=_AT_LEAST_1)
    def operations(self, batch: int, tokens: int, context: int) -> tuple[tuple[str, float, float, float, str], ...]:
        """``operation_costs`` in numbers, as (operation, FLOPs, bytes, seconds, what limits it)."""
        costs = self.operation_costs(batch, tokens, context)
        return tuple((name, float(flops), float(moved), float(seconds),
                      "link" if gap is None else "compute" if gap > 0 else "memory")
                     for name, (flops, moved, seconds, gap) in costs.items())

    @checked(batch=_AT_LEAST_1, tokens=_AT_LEAST_1, context=_AT_LEAST_1)
    def table(self, batch: int, tokens: int, context: int) -> Table:
        """``operations`` in GFLOPs, GB and milliseconds, with the shares of the time in per cent."""
        rows = self.operations(batch, tokens, context)
        total = sum(row[3] for row in rows)
        limits = {"memory": "内存", "compute": "计算", "link": "链路"}
        return Table(("运算", "GFLOPs", "GB", "ms", "占 (%)", "受限于"),
                     [(name, f / 1e9, b / 1e9, 1e3 * t, 100 * t / total, limits[limit])
                      for name, f, b, t, limit in rows])


def _named(stored: Size | Format) -> str:
    if isinstance(stored, Format):
        return stored.name
    return f"{float(stored):.4g} bytes an element" if sp.sympify(stored).is_number else f"{stored} bytes an element"


@checked(terms=each(expression), contexts=instance(range))
def summed(terms: Sequence[sp.Expr], contexts: range) -> list[float]:
    """Each of ``terms``, which grow with the context S, summed over ``contexts``; every formula is compiled once.

    Exact for up to ``EACH`` contexts. Of more, each of a block of neighbours counts as its first: a lower bound.
    Raises ValueError for a term with another symbol than S.
    """
    if others := set().union(*(term.free_symbols for term in terms)) - {S}:
        raise refused("terms", terms, f"numbers in place of {', '.join(sorted(map(str, others)))}")
    values = sp.lambdify(S, [term.evalf() for term in terms], modules="math", cse=True)
    block = -(-len(contexts) // EACH) or 1
    blocks = [(values(contexts[i]), min(block, len(contexts) - i)) for i in range(0, len(contexts), block)]
    return [float(sum(count * row[i] for row, count in blocks)) for i in range(len(terms))]
