"""Layers that keep a state of one size instead of a cache: gated DeltaNet, Kimi delta attention, Mamba-2, convolutions.

Notebook: book/Lecture10-Lab-Attention.ipynb. They stand where ``Attention`` stands in a layer and have the same
interface (``mixer.Mixer``). Sizes are whole numbers or symbols.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ..checks import amount, checked, flag, instance, optional, size
from ..cost import Cost, Step
from ..intensity import recurrence, short_convolution
from .formats import Size
from .mixer import Mixer, State, shares
from .passes import Pass, Weights

KERNEL = 4
"""Positions that the convolution in front of a recurrence sees, in every published model so far."""


def _convolved(run: Pass, channels: Size, kernel: Size) -> Cost:
    """The convolution with the bytes of what it keeps, in and out."""
    cost = short_convolution(run.batch, run.tokens, channels=channels, kernel=kernel)
    return cost.as_step("recurrence", "read the last columns", "write the last columns")


def _recurrent(run: Pass, cost: Cost, channels: Size, kernel: Size) -> tuple[Step, ...]:
    """One operation: the recurrence ``cost`` and the convolution before it, with the bytes of their states."""
    cost = _convolved(run, channels, kernel) + cost.as_step("recurrence", "read M", "write M")
    return cost.as_step("recurrence").steps


@checked(width=size, heads=size, key_heads=size, key=size, value=size, kernel=size, rank=optional(size), fused=flag,
         recurrent_bytes=amount)
@dataclass(frozen=True)
class GatedDelta(Mixer):
    """Linear attention with decay and the delta rule: gated DeltaNet (Qwen3-Next), or with ``rank`` Kimi's.

    ``heads`` heads keep a matrix of ``key`` × ``value`` numbers each; ``key_heads`` heads of q and k. Both pass, with
    v, a convolution over ``kernel`` positions. One decay a head, and an output gate as wide as the output; with
    ``rank`` a decay for every key channel, and both made through a bottleneck. ``fused``: two projections instead of
    four. Sources: arXiv 2412.06464 and 2510.26692; counted as ``intensity.recurrence``.
    """

    width: Size
    heads: Size
    key_heads: Size
    key: Size
    value: Size
    kernel: Size = KERNEL
    rank: Size | None = None
    fused: bool = False
    recurrent_bytes: Size = 4

    @property
    def kind(self) -> str:
        return "gated DeltaNet" if self.rank is None else "KDA"

    @property
    def channels(self) -> Size:
        """What passes the convolution: q, k and v."""
        return 2 * self.key_heads * self.key + self.heads * self.value

    @property
    def state(self) -> State:
        return State(self.heads * self.key * self.value, (self.kernel - 1) * self.channels, self.recurrent_bytes)

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        keys, values = self.key_heads * self.key, self.heads * self.value
        into, steps = [self.channels, values, self.heads, self.heads], self.heads
        if self.fused:
            into = [self.channels + values, 2 * self.heads]
        shapes = [(self.width, outputs) for outputs in into]
        if self.rank is not None:
            down, decays = (self.width, self.rank), self.heads * self.key
            shapes = [(self.width, keys), (self.width, keys), (self.width, values), down, (self.rank, decays),
                      (self.width, self.heads), down, (self.rank, values)]
            steps = decays
        vectors = self.channels * self.kernel + steps + self.heads + self.value  # convolution, time steps, decay, norm
        return (Weights("recurrent projections", (*shapes, (values, self.width)), vectors),)

    @checked(run=instance(Pass))
    def steps(self, run: Pass) -> tuple[Step, ...]:
        """The delta rule and the convolution, with the bytes of the state alone, in and out, at any context."""
        rule = recurrence(run.batch, run.tokens, heads=self.heads, key_heads=self.key_heads, key=self.key,
                          value=self.value, state_bytes=self.recurrent_bytes)
        return _recurrent(run, rule, self.channels, self.kernel)

    @checked(devices=size)
    def share(self, devices: int) -> GatedDelta | None:
        """Its heads on one of ``devices``; None: not divided whole."""
        found = shares(devices, (self.heads, self.key_heads))
        return found and replace(self, heads=found[0], key_heads=found[1])


@checked(width=size, heads=size, head_dim=size, size=size, groups=size, kernel=size, conv_bias=flag, bias=flag,
         recurrent_bytes=amount)
@dataclass(frozen=True)
class Mamba2(Mixer):
    """A state space of ``heads`` × ``head_dim`` × ``size`` numbers (arXiv 2405.21060, section 7).

    Linear attention with one decay a head and no correction, in which C, B and x are queries, keys and values;
    ``groups`` heads of B and C. Counted as ``intensity.recurrence``.
    """

    width: Size
    heads: Size
    head_dim: Size
    size: Size
    groups: Size
    kernel: Size = KERNEL
    conv_bias: bool = True
    bias: bool = False
    recurrent_bytes: Size = 4

    kind = "Mamba-2"

    @property
    def channels(self) -> Size:
        """What passes the convolution: x, B and C."""
        return self.heads * self.head_dim + 2 * self.groups * self.size

    @property
    def state(self) -> State:
        return State(self.heads * self.head_dim * self.size, (self.kernel - 1) * self.channels, self.recurrent_bytes)

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        inner = self.heads * self.head_dim
        made = inner + self.channels + self.heads  # gate; x, B and C; time steps
        convolution = self.channels * (self.kernel + (1 if self.conv_bias else 0))
        vectors = convolution + 3 * self.heads + inner  # time steps, decays, what passes by; norm
        biases = made + self.width if self.bias else 0
        return (Weights("recurrent projections", ((self.width, made), (inner, self.width)), vectors + biases),)

    @checked(run=instance(Pass))
    def steps(self, run: Pass) -> tuple[Step, ...]:
        """The recurrence and the convolution, with the bytes of the state alone, in and out, at any context."""
        rule = recurrence(run.batch, run.tokens, heads=self.heads, key_heads=self.groups, key=self.size,
                          value=self.head_dim, corrected=False, state_bytes=self.recurrent_bytes)
        return _recurrent(run, rule, self.channels, self.kernel)

    @checked(devices=size)
    def share(self, devices: int) -> Mamba2 | None:
        """Its heads on one of ``devices``, a group copied where there are fewer; None: not divided whole."""
        found = shares(devices, (self.heads,), (self.groups,))
        return found and replace(self, heads=found[0], groups=found[1])


@checked(width=size, channels=size, kernel=size, bias=flag)
@dataclass(frozen=True)
class ShortConvolution(Mixer):
    """A convolution between two gates instead of attention (LFM2): y = C * conv(B * x), all made of the input."""

    width: Size
    channels: Size
    kernel: Size
    bias: bool = False

    kind = "short convolution"

    @property
    def heads(self) -> Size:
        """Channels are independent of each other, as heads are."""
        return self.channels

    @property
    def state(self) -> State:
        return State(0, (self.kernel - 1) * self.channels)

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        shapes = (self.width, 3 * self.channels), (self.channels, self.width)
        vectors = self.kernel * self.channels + (4 * self.channels + self.width if self.bias else 0)
        return (Weights("recurrent projections", shapes, vectors),)

    @checked(run=instance(Pass))
    def steps(self, run: Pass) -> tuple[Step, ...]:
        """The convolution, with the bytes of the columns that it keeps, in and out."""
        return _convolved(run, self.channels, self.kernel).steps

    @checked(devices=size)
    def share(self, devices: int) -> ShortConvolution | None:
        """Its channels on one of ``devices``; None: not divided whole."""
        found = shares(devices, (self.channels,))
        return found and replace(self, channels=found[0])
