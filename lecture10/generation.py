"""A whole request: when its tokens appear, and what the cache saves over all of its passes.

Notebook: book/Lecture10-Main.ipynb. Costs and times come from ``lecture10.stats.forward_pass``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import accumulate

import sympy as sp

from .checks import checked, flag, instance, mapping, size, whole
from .cost import Cost, Step
from .hardware import Accelerator
from .intensity import causal_pairs
from .notation import S, bindings
from .stats import forward_pass

MOST_TOKENS = 10_000
"""Output tokens whose times are listed at most."""

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
    steps = (step.xreplace({S: sp.Integer(prompt + i)}) for i in range(1, tokens))  # as subs, without its search
    return tuple(accumulate(steps, initial=prefill.time(accelerator)))


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
    """Polynomials in ``index``, power by power: the few sums of a power are the same for all."""
    def total(quantity: sp.Expr) -> sp.Expr:
        return sp.factor(sum(coefficient * sp.summation(index**power, (index, first, last))
                             for (power,), coefficient in sp.Poly(quantity, index).terms()))

    return Cost(tuple(Step(step.name, total(step.flops), total(step.bytes_transferred)) for step in cost))


def _merged(a: Cost, b: Cost) -> Cost:
    """Two costs with the same steps, added step by step."""
    return Cost(tuple(Step(x.name, sp.factor(x.flops + y.flops), sp.factor(x.bytes_transferred + y.bytes_transferred))
                      for x, y in zip(a, b, strict=True)))
