"""Serving: when the tokens of a request appear, what a cache saves, how requests share steps and device memory.

Notebook: book/Lecture10-Main.ipynb. Costs and times come from ``lecture10.stats.forward_pass``; schedules and
memory maps are counted on exact integer models in which a generation step takes one unit of time and a token one
slot of the cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby

import sympy as sp

from ..checks import (
    checked,
    each,
    flag,
    function,
    instance,
    mapping,
    optional,
    pair,
    pairs,
    sequence,
    size,
    text,
    values,
    whole,
)
from ..cost import Cost, Step
from ..hardware import Accelerator
from ..intensity import causal_pairs
from ..notation import S, bindings
from ..stats import forward_pass

Memory = tuple[str | None, ...]
"""Device memory for the KV cache, one entry per token slot: the request that holds it, None when it is free."""

MOST_TOKENS = 10_000
"""Output tokens whose times are listed at most."""

MOST_SLOT_STEPS = 10**6
"""Slots times steps of the longest schedule."""

_AT_LEAST_1 = partial(whole, at_least=1)
_STORED = pair(whole, whole)


def _memory(name: str, value: object) -> Memory:
    """A rule: the slots of a memory, of which there are many, so their types are looked at all together."""
    slots = tuple(sequence(name, value))
    return slots if set(map(type, slots)) <= {str, type(None)} else each(optional(text))(name, slots)



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


@checked(memory=_memory, name=text, slots=_AT_LEAST_1, piece=_AT_LEAST_1)
def allocate(memory: Memory, name: str, slots: int, piece: int) -> Memory | None:
    """``memory`` after ``name`` took ``slots`` slots or more in pieces of ``piece`` neighbouring ones;
    None if they do not fit.

    First fit. ``piece = slots`` is contiguous allocation; ``piece = 16`` is PagedAttention with blocks of 16, where
    slots are rounded up to whole blocks and a block may lie anywhere. Raises ValueError for sizes below 1.
    """
    taken, pieces = list(memory), -(-slots // piece)
    for start, length in _holes(memory):
        for begin in range(start, start + length - piece + 1, piece)[:pieces]:
            taken[begin:begin + piece] = [name] * piece
            pieces -= 1
    return None if pieces else tuple(taken)


@checked(memory=_memory, requests=pairs(whole, whole), size=function, piece=optional(_AT_LEAST_1))
def admit(memory: Memory, requests: Sequence[tuple[int, int]], size: Callable[[int, int], int],
          piece: int | None = None) -> tuple[Memory, dict[str, tuple[int, int]]]:
    """Place ``requests`` in order until one does not fit: the memory, and the requests in it by name ("0", "1", …).

    ``size(now, final)`` is the number of slots a request asks for, in one piece or in pieces of ``piece``.
    """
    held: dict[str, tuple[int, int]] = {}
    for now, final in requests:
        slots, name = size(now, final), str(len(held))
        if (after := allocate(memory, name, slots, piece or slots)) is None:
            break
        memory, held[name] = after, (now, final)
    return memory, held


@checked(memory=_memory, name=text)
def release(memory: Memory, name: str) -> Memory:
    """``memory`` after ``name`` has given back all it holds. Raises ValueError when it holds nothing."""
    if name not in memory:
        raise ValueError(f"{name!r} holds no slot: "
                         f"expected one of {sorted({owner for owner in memory if owner is not None})}")
    return tuple(None if owner == name else owner for owner in memory)


@checked(token_states=whole, reserved=whole, internal=whole, external=whole, free=whole)
@dataclass(frozen=True)
class Usage:
    """Slots of a KV-cache memory by what they are good for; the five add up to its size.

    ``token_states``: hold a token. ``reserved``: kept for tokens that the same request will still produce.
    ``internal``: held by a request that will never fill them. ``external``: free, but in holes too small to use.
    ``free``: usable at once.
    """

    token_states: int
    reserved: int
    internal: int
    external: int
    free: int

    @property
    def share(self) -> sp.Rational:
        """Part of the memory that holds tokens, exact. Raises ValueError for a memory without slots."""
        slots = self.token_states + self.reserved + self.internal + self.external + self.free
        if not slots:
            raise ValueError("the memory has 0 slots: expected at least one, a share of nothing is undefined")
        return sp.Rational(self.token_states, slots)


@checked(memory=_memory, requests=values(_STORED), piece=_AT_LEAST_1)
def memory_usage(memory: Memory, requests: Mapping[str, tuple[int, int]], piece: int) -> Usage:
    """What the slots of ``memory`` are good for (the terms of Kwon et al., arXiv 2309.06180, section 3.1).

    ``requests[name]`` = (tokens stored now, tokens when finished). ``piece`` is what the next allocation asks for
    in one run: free slots left over when every hole is cut into such runs are external fragmentation. Raises
    ValueError when a request holds fewer slots than tokens, will finish with fewer tokens than it has now, or is
    missing from ``requests``.
    """
    held = {name: memory.count(name) for name in {*memory, *requests} - {None}}
    if missing := held.keys() - requests.keys():
        raise ValueError(f"no entry for {sorted(missing)} in requests: expected (tokens now, tokens when finished)")
    for name, (now, final) in requests.items():
        if not 0 <= now <= min(held[name], final):
            raise ValueError(f"{name!r} stores {now} of {final} tokens in {held[name]} slots: "
                             "expected no more than either")
    useful = {name: min(held[name], final) for name, (_, final) in requests.items()}
    tokens = sum(now for now, _ in requests.values())
    kept, holes = sum(useful.values()), [length for _, length in _holes(memory)]
    external = sum(length % piece for length in holes)
    return Usage(tokens, kept - tokens, sum(held.values()) - kept, external, sum(holes) - external)


def _holes(memory: Memory) -> list[tuple[int, int]]:
    """Start and length of every run of free slots."""
    holes = []
    for free, run in groupby(enumerate(memory), key=lambda entry: entry[1] is None):
        if free:
            entries = list(run)
            holes.append((entries[0][0], len(entries)))
    return holes
