"""What speculative sampling gains: tokens a target pass, times faster, and the γ at which it is fastest.

Notebooks: book/Lecture10-Theory-Speculative.ipynb and book/Lecture10-Code-Speculative.ipynb. α is the probability that
a draft token is accepted, γ the draft tokens of a round, c the time of a draft step over that of a target step.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from functools import partial

import sympy as sp

from .checks import checked, count, instance, mapping, number, rational, refused, whole, within
from .hardware import H100, Accelerator
from .notation import S, bindings
from .stats import forward_pass

LONGEST_EXACT = 10_000
"""Draft tokens up to which powers of an exact α are written out: they have as many digits times those of α."""

LONGEST_SUM = 64
"""Draft tokens up to which E[tokens] is a sum; beyond it the closed form, a float of which has other last digits."""


def expected_tokens(alpha: object, gamma: object) -> object:
    """E[tokens per target pass] = 1 + α + … + α^γ = (1 − α^(γ+1))/(1 − α) (Leviathan et al., Eq. 1).

    Assumes every draft token is accepted independently with the same probability α in [0, 1]; from a measured trace
    it is an estimate. Exact for rationals; with a symbolic γ the closed form. Raises ValueError for α outside [0, 1], γ
    that is negative or not whole, and an exact α with more than ``LONGEST_EXACT`` draft tokens.
    """
    alpha, gamma = number("alpha", alpha, 1), count("gamma", gamma)
    if isinstance(gamma, int) and gamma <= LONGEST_SUM:
        return sum(alpha**i for i in range(gamma + 1))
    if alpha in (0, 1):
        return 1 if alpha == 0 else gamma + 1
    if isinstance(gamma, int) and isinstance(alpha, float):
        return -math.expm1((gamma + 1) * math.log(alpha)) / (1 - alpha)
    if isinstance(gamma, int) and gamma > LONGEST_EXACT and getattr(alpha, "is_number", True):
        raise refused("gamma", gamma, f"at most {LONGEST_EXACT:,} with an exact alpha; a float has no limit")
    if not isinstance(gamma, int):
        alpha = sp.sympify(alpha)  # a Fraction raised to a symbol would become a float
    return (1 - alpha ** (gamma + 1)) / (1 - alpha)


def round_improvement(tokens: object, gamma: object, c: object, check: object = 1) -> object:
    """tokens / (γ·c + check): how many times faster than plain decoding, with ``tokens`` a target pass on average.

    c is the time of one draft step over one target step, check that of the target's pass over γ + 1 tokens: 1 while
    B·(γ + 1) stays below the critical batch. Raises ValueError for negative numbers, and for check that is not above 0.
    """
    tokens, c, check = number("tokens", tokens), number("c", c), number("check", check)
    if check == 0:
        raise refused("check", check, "a number above 0, for the target's pass takes time")
    return tokens / (count("gamma", gamma) * c + check)


def walltime_improvement(alpha: object, gamma: object, c: object, check: object = 1) -> object:
    """``round_improvement`` when every draft token is accepted independently with probability α (Leviathan et al.,
    Theorem 3.8: check = 1). Raises as it does, and as ``expected_tokens``."""
    return round_improvement(expected_tokens(alpha, gamma), gamma, c, check)


@checked(target=mapping, draft=mapping, accelerator=instance(Accelerator))
def batch_costs(gamma: object, target: Mapping, draft: Mapping, accelerator: Accelerator = H100) -> tuple:
    """(c, check) of a batch from the roofline, for ``round_improvement``.

    target and draft are configurations such as ``llama2_13b_config`` returns; B may stay open. Times are those of
    ``forward_pass``, without the input embedding, of which only B·(γ + 1) rows are read: lower bounds, so that
    launches, sampling and scheduling are left out. Raises ValueError for a γ that is negative or not whole or does not
    fit into the context, and as ``compute_transformer_stats`` for a configuration.
    """
    gamma = count("gamma", gamma)

    def seconds(config: Mapping, tokens: object) -> sp.Expr:
        shape = bindings(config)
        within("gamma + 1", tokens, "S", shape.get(S, tokens), ", the context that includes them")
        return forward_pass(tokens).without("input embedding").subs(shape).time(accelerator)

    step = seconds(target, 1)
    return seconds(draft, 1) / step, seconds(target, gamma + 1) / step


def batch_improvement(alpha: object, gamma: object, target: Mapping, draft: Mapping,
                      accelerator: Accelerator = H100) -> object:
    """Throughput with over without speculation for a batch:
    ``walltime_improvement`` with c and check from ``batch_costs``. Raises as they do."""
    alpha = number("alpha", alpha, 1)
    return walltime_improvement(alpha, gamma, *batch_costs(gamma, target, draft, accelerator))


def operations_increase(alpha: object, gamma: object, c: object) -> object:
    """(γ·c + γ + 1) / E[tokens]: how many times more arithmetic a token costs (Leviathan et al., Theorem 3.11).

    c is the arithmetic of one draft token over one target token (ĉ in the paper). Raises as ``walltime_improvement``.
    """
    gamma = count("gamma", gamma)
    return (gamma * number("c", c) + gamma + 1) / expected_tokens(alpha, gamma)


@checked(alpha=partial(rational, at_most=1), c=rational, largest=partial(whole, at_most=LONGEST_EXACT))
def best_gamma(alpha: object, c: object, largest: int = 64) -> int:
    """The γ ≤ ``largest`` with the greatest walltime improvement, 0 (no speculation) included; the smallest on a tie.

    With c = 0 and α > 0 every further draft token helps, and the answer is ``largest``. Decided exactly, on floats as
    the rationals that they are. Raises as ``walltime_improvement``, for symbols, and for ``largest`` above
    ``LONGEST_EXACT``.
    """
    def stops(gamma: int) -> bool:  # one more token does not help, and then no later one does: the gain only falls
        return alpha ** (gamma + 1) * (gamma * c + 1) <= c * expected_tokens(alpha, gamma)

    return bisect_left(range(largest), True, key=stops)
