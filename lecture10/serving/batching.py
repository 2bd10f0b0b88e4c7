"""Serving: when the tokens of a request appear, what a cache saves, how requests share steps.

Notebook: book/Lecture10-Main.ipynb. Costs and times come from ``lecture10.stats.forward_pass``; schedules are counted
on an exact integer model in which a generation step takes one unit of time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import sympy as sp

from ..checks import checked, each, flag, instance, mapping, optional, size, whole
from ..cost import Cost, Step
from ..hardware import Accelerator
from ..intensity import causal_pairs
from ..notation import S, bindings
from ..stats import forward_pass

MOST_TOKENS = 10_000
"""Output tokens whose times are listed at most."""

MOST_SLOT_STEPS = 10**6
"""Slots times steps of the longest schedule."""

_AT_LEAST_1 = partial(whole, at_least=1)


@checked(config=mapping, prompt=_AT_LEAST_1, tokens=partial(whole, at_least=1, at_most=MOST_TOKENS),
         accelerator=instance(Accelerator))
def token_times(config: Mapping[sp.Symbol | str, object], prompt: int, tokens: int,
                accelerator: Accelerator) -> tuple[sp.Expr, ...]:
    """Seconds after the start at which each of ``tokens`` output tokens of B requests of equal shape appears.

    The first comes out of prefill (a dense pass over ``prompt`` positions with logits for the last one), the i-th out
    of a step with prompt + i − 1 positions in the cache. Lower bounds, as ``Cost.time``; queueing is not included. S in
    ``config`` is ignored. Raises ValueError for sizes below 1, more than ``MOST_TOKENS`` tokens, and when ``config``
    leaves a needed symbol open.
    """
    shape = {symbol: value for symbol, value in bindings(config).items() if symbol != S}
    prefill = forward_pass(prompt, logits=1).subs({**shape, S: prompt})
    step = forward_pass(1).subs(shape).time(accelerator)
    if missing := prefill.flops.free_symbols | prefill.bytes_transferred.free_symbols:
        raise ValueError(f"config leaves {', '.join(sorted(map(str, missing)))} open: expected a value for each")
    return tuple(accumulate((step.subs(S, prompt + i) for i in range(1, tokens)), initial=prefill.time(accelerator)))


@checked(prompt=size, tokens=size, cached=flag)
def generation_cost(prompt: sp.Expr, tokens: sp.Expr, *, cached: bool = True) -> Cost:
    """All ``tokens`` passes that generate as many tokens after ``prompt`` positions, summed exactly;
    both may be symbols.

    Pass i = 0, 1, … attends to prompt + i positions under a causal mask. With a cache, pass 0 processes the prompt
    and every later one a single token; without, every pass processes all prompt + i positions again. Logits for the
    last position only. Bytes as ``forward_pass``: the weights once a pass, K and V of the whole context once a pass,
    no activations. Raises ValueError for sizes that are not positive and whole.
    """
    i = sp.Dummy("i", integer=True, nonnegative=True)

    def one_pass(context: sp.Expr, new: sp.Expr) -> Cost:
        return forward_pass(new, logits=1, pairs=causal_pairs(context, new)).subs(S, context)

    if cached:
        return _merged(one_pass(prompt, prompt), _summed(one_pass(prompt + i, sp.Integer(1)), i, 1, tokens - 1))
    return _summed(one_pass(prompt + i, prompt + i), i, 0, tokens - 1)


def _summed(cost: Cost, index: sp.Symbol, first: sp.Expr, last: sp.Expr) -> Cost:
    return Cost(tuple(Step(step.name, *(sp.factor(sp.summation(sp.expand(quantity), (index, first, last)))
                                        for quantity in (step.flops, step.bytes_transferred))) for step in cost))


def _merged(a: Cost, b: Cost) -> Cost:
    """Two costs with the same steps, added step by step."""
    return Cost(tuple(Step(x.name, sp.factor(x.flops + y.flops), sp.factor(x.bytes_transferred + y.bytes_transferred))
                      for x, y in zip(a, b, strict=True)))


@checked(rows=each(each(optional(whole))))
@dataclass(frozen=True)
class Schedule:
    """Who was served when: ``rows[slot][step]`` is the index of the request, None where the slot idled.

    Raises ValueError without a slot or a step, and for rows of different lengths.
    """

    rows: tuple[tuple[int | None, ...], ...]

    def __post_init__(self) -> None:
        if len({len(row) for row in self.rows}) != 1 or not self.rows[0]:
            raise ValueError(f"rows have {[len(row) for row in self.rows][:5]} steps: "
                             "expected a slot, a step, and as many steps for every slot")

    @property
    def steps(self) -> int:
        """Steps until the last request is done."""
        return len(self.rows[0])

    @property
    def busy(self) -> int:
        """Slot-steps that produced a token: the sum of all lengths."""
        return sum(request is not None for row in self.rows for request in row)

    @property
    def idle(self) -> int:
        """Slot-steps that produced nothing."""
        return len(self.rows) * self.steps - self.busy

    @property
    def utilization(self) -> sp.Rational:
        """busy / (busy + idle), exact."""
        return sp.Rational(self.busy, self.busy + self.idle)

    @property
    def spans(self) -> dict[int, tuple[int, int]]:
        """For each request its first step and the step after its last one."""
        served: dict[int, list[int]] = {}
        for step, requests in enumerate(zip(*self.rows)):
            for request in requests:
                if request is not None:
                    served.setdefault(request, []).append(step)
        return {request: (steps[0], steps[-1] + 1) for request, steps in sorted(served.items())}


def static_batching(lengths: Sequence[int], slots: int, arrivals: Sequence[int] | None = None) -> Schedule:
    """Request-level scheduling: a batch is filled from the queue only when the one before it has finished entirely.

    ``lengths[i]`` is the number of steps that request i needs, ``arrivals[i]`` the step from which it may start (0 by
    default); first come, first served. Raises ValueError for an empty list, lengths that differ, sizes below 1,
    negative arrivals, and a schedule of more than ``MOST_SLOT_STEPS`` slots times steps.
    """
    return _schedule(lengths, slots, arrivals, lambda serving: all(request is None for request in serving))


def continuous_batching(lengths: Sequence[int], slots: int, arrivals: Sequence[int] | None = None) -> Schedule:
    """Iteration-level scheduling (Orca, OSDI 2022): before every step each empty slot takes
    the next request of the queue.

    Arguments and errors as ``static_batching``. Prefill is not modelled: it takes a step or is spread over several.
    """
    return _schedule(lengths, slots, arrivals, lambda serving: True)


@checked(lengths=each(_AT_LEAST_1), slots=partial(whole, at_least=1, at_most=MOST_SLOT_STEPS),
         arrivals=optional(each(whole)))
def _schedule(lengths: Sequence[int], slots: int, arrivals: Sequence[int] | None,
              may_join: Callable[[list[int | None]], bool]) -> Schedule:
    arrivals = [0] * len(lengths) if arrivals is None else arrivals
    if not lengths:
        raise ValueError("lengths is empty: expected at least one request")
    if len(arrivals) != len(lengths):
        raise ValueError(f"arrivals has {len(arrivals)} entries and lengths {len(lengths)}: "
                         "expected one for each request")
    _require_few(slots, max(arrival + length for arrival, length in zip(arrivals, lengths)))
    queue = deque(sorted(range(len(lengths)), key=lambda request: arrivals[request]))
    left, serving, history = list(lengths), [None] * slots, []
    while queue or any(request is not None for request in serving):
        if may_join(serving):
            for slot in (i for i, request in enumerate(serving) if request is None):
                if queue and arrivals[queue[0]] <= len(history):
                    serving[slot] = queue.popleft()
        history.append(tuple(serving))
        _require_few(slots, len(history))
        for slot, request in enumerate(serving):
            if request is not None:
                left[request] -= 1
                serving[slot] = request if left[request] else None
    return Schedule(tuple(zip(*history)))


def _require_few(slots: int, steps: int) -> None:
    if slots * steps > MOST_SLOT_STEPS:
        raise ValueError(f"{slots:,} slots are busy or idle for {steps:,} steps or more: "
                         f"expected at most {MOST_SLOT_STEPS:,} slots times steps")
