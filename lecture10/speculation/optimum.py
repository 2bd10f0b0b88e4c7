"""What the best lossless rule can do, by linear programming over rationals: for small vocabularies.

Notebook: book/Lecture10-Lab-Speculative.ipynb. SymPy's simplex keeps the numbers exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product

import sympy as sp
from sympy.solvers.simplex import linprog

from ..checks import checked, function, rational, refused, sequence, values, whole
from ..distributions import distribution
from ..speculative import Distribution, Model

MOST_VARIABLES = 200
"""Variables of a program at most: the exact simplex takes seconds beyond."""


@checked(draws=values(rational))
def optimal_acceptance(draws: Mapping[frozenset[int], object], q: Distribution) -> Fraction:
    """The largest probability with which a token distributed as q can be one of the drafts (Sun et al., 2310.15141).

    draws: the probability of each set of draft tokens. max Σ f(s, y) over the mass f(s, y) ≥ 0 that set s gives to its
    token y: Σ_y f(s, y) ≤ P(s), Σ_s f(s, y) ≤ q(y). Raises ValueError beyond ``MOST_VARIABLES``.
    """
    q = distribution("q", q)
    for drafts in draws:
        if not isinstance(drafts, frozenset) or not drafts <= {*range(len(q))}:
            raise refused("draws", draws, f"sets of tokens below {len(q)} with their probabilities")
    flows = [(drafts, y) for drafts in draws for y in sorted(drafts)]
    limits = [({flow for flow in flows if flow[0] == drafts}, chance) for drafts, chance in draws.items()]
    limits += [({flow for flow in flows if flow[1] == y}, b) for y, b in enumerate(q)]
    return _largest_sum(flows, [({flow: 1 for flow in some}, limit) for some, limit in limits])


@checked(prefix=sequence, draft=function, target=function, gamma=whole)
def optimal_tokens(prefix: Sequence[int], draft: Model, target: Model, gamma: int) -> Fraction:
    """The largest E[tokens of a round] of a lossless rule for a chain of γ draft tokens (Sun et al., 2403.10444).

    A(s), the probability that the draft begins with s and s is kept, satisfies A(s) ≤ P(s) and, since what is not kept
    can only be replaced, never taken back, A(s·y) ≤ A(s)·q(y|s), A(∅) = 1; E = 1 + Σ A(s). Raises ValueError beyond
    ``MOST_VARIABLES``.
    """
    vocabulary = len(distribution("q", target(tuple(prefix))))
    if sum(vocabulary**n for n in range(1, min(gamma, MOST_VARIABLES) + 1)) > MOST_VARIABLES:
        raise refused("gamma", gamma, f"at most {MOST_VARIABLES} drafts of a vocabulary of {vocabulary}")
    starts = [s for n in range(1, gamma + 1) for s in product(range(vocabulary), repeat=n)]
    reach, limits = {(): Fraction(1)}, []
    for start in starts:
        *before, y = start
        p, q = (distribution(name, model((*prefix, *before)))[y] for name, model in (("p", draft), ("q", target)))
        reach[start] = reach[tuple(before)] * p
        limits.append(({start: 1}, reach[start]))
        limits.append(({start: 1, tuple(before): -q}, 0) if before else ({start: 1}, q))
    return 1 + _largest_sum(starts, limits)


def _largest_sum(variables: Sequence[object], limits: Sequence[tuple[Mapping[object, object], object]]) -> Fraction:
    """max of the sum of non-negative ``variables`` with Σ coefficient·variable ≤ limit for each of ``limits``."""
    if not variables:
        return Fraction(0)
    if len(variables) > MOST_VARIABLES:
        raise refused("variables", len(variables), f"at most {MOST_VARIABLES}")
    matrix = sp.Matrix([[_rational(row.get(variable, 0)) for variable in variables] for row, _ in limits])
    bounds = sp.Matrix([_rational(rational("a probability", limit)) for _, limit in limits])
    value, _ = linprog([-1] * len(variables), matrix, bounds)
    return Fraction(int(-value.p), int(value.q))


def _rational(value: object) -> sp.Rational:
    return sp.Rational(*Fraction(value).as_integer_ratio())
