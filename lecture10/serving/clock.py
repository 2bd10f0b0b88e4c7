"""The clock of a server: seconds of exactly the tokens and contexts of a step, from ``Deployment.step_time``, compiled.

Notebook: book/Lecture10-Lab-Serving.ipynb. A step is one pass over sequences of different shapes: products take the
rows of all, attention the caches of all, every operation max(FLOPs / peak, bytes / bandwidth), one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from ..checks import checked, instance, number, real, refused
from ..cost import Cost
from ..hardware import Accelerator
from ..models.deployment import Deployment
from ..notation import B, S, T

Clock = Callable[[NDArray, NDArray, int], NDArray]
"""(new tokens [n], contexts with them [n], steps k) → seconds [k]; from the second step on every sequence adds one."""

_SHARE = partial(real, at_most=1, expected="a share of what the data sheet says, above 0 and at most 1")


@checked(bandwidth=_SHARE, compute=_SHARE, seconds_per_step=number)
@dataclass(frozen=True)
class Overhead:
    """What keeps an engine from the bound, in three constants: the shares of bandwidth and of peak arithmetic that its
    operations reach, and the seconds that every step takes beside them. The default is the bound itself."""

    bandwidth: float = 1
    compute: float = 1
    seconds_per_step: float = 0

    @checked(device=instance(Accelerator))
    def slowed(self, device: Accelerator) -> Accelerator:
        """``device`` with the rates that are reached."""
        return replace(device, peak_flops=_exact(self.compute) * device.peak_flops,
                       memory_bandwidth=_exact(self.bandwidth) * device.memory_bandwidth)


def _exact(value: float) -> sp.Expr:
    return sp.Rational(str(value)) if isinstance(value, float) else sp.sympify(value)


BOUND = Overhead()


def _sides(cost: Cost, device: Accelerator) -> list[sp.Expr]:
    """Seconds of the arithmetic and of the transfers of every step, in turn: which of the two is longer is found where
    they are numbers, SymPy would look for the answer at length."""
    return [sp.sympify(side).evalf() for step in cost
            for side in (device.compute_time(step.flops), device.memory_time(step.bytes_transferred))]


@checked(plan=instance(Deployment), overhead=instance(Overhead))
@lru_cache(64)
def compiled(plan: Deployment, overhead: Overhead = BOUND) -> Clock:
    """``plan.step_time`` of mixed steps as a function of arrays, plus ``overhead``; logits for one position a sequence.

    Compiled from the symbolic cost of one device, once for all who ask. Raises ValueError for data-parallel attention
    (which device holds which sequence is not modelled).
    """
    if plan.layout.splits_sequences:
        raise refused("deployment.attention", plan.attention, "tensor-parallel: where a sequence lies is not modelled")
    device = overhead.slowed(plan.device)
    cost = plan.device_cost(B, T, S)
    fixed = plan.all_reduce_time(B, T) + _exact(overhead.seconds_per_step)
    of_products = sp.lambdify((B, T), [fixed.evalf(), *_sides(cost.without("attention"), device)], modules="math",
                              cse=True)
    mixing = _sides(cost.only("attention").subs(B, 1), device)
    parts = sp.lambdify((T, S), mixing, modules="numpy", cse=True)

    @lru_cache(2**16)
    def products(sequences: int, tokens: float) -> float:
        always, *found = of_products(sequences, tokens)
        return always + sum(map(max, found[::2], found[1::2]))

    def seconds(tokens: NDArray, contexts: NDArray, steps: int = 1) -> NDArray:
        rows = contexts[:, None] + np.arange(steps) if steps > 1 else contexts[:, None]  # [n, k]
        found = parts(1 if steps > 1 else tokens[:, None], rows)
        found = [np.add.reduce(part if np.shape(part) == rows.shape else np.broadcast_to(part, rows.shape))
                 for part in found]  # [k] each
        attention = sum(map(np.maximum, found[::2], found[1::2]))
        return attention + products(len(tokens), int(tokens.sum()) / len(tokens))

    return seconds


def ticks(tokens: NDArray, contexts: NDArray, steps: int = 1) -> NDArray:
    """A clock on which every step takes one second, whatever it computes: for counting steps."""
    return np.ones(steps)
