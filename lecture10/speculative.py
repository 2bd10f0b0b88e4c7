"""Speculative sampling: the acceptance rule, its exactness and what it gains.

Notebooks: book/Lecture10-Theory-Speculative.ipynb and book/Lecture10-Code-Speculative.ipynb. p is the draft and q the
target, as in Chen et al., arXiv 2302.01318; Leviathan et al., arXiv 2211.17192, swap the letters. A distribution is a
sequence of probabilities over the vocabulary: rationals or symbols where a proof is meant, floats where it is a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from numbers import Rational
from typing import Protocol

import sympy as sp

Distribution = Sequence[object]
Model = Callable[[tuple[int, ...]], Distribution]
"""A language model: the tokens so far in, the distribution of the next token out."""

SUM_TOLERANCE = 1e-6
"""How far floats may sum from 1 (a float32 softmax does); rationals must sum to it exactly."""


class Random(Protocol):
    """Any source of uniform numbers: ``random.Random`` and ``numpy.random.Generator`` both are."""

    def random(self) -> float: ...


def acceptance_probability(p: Distribution, q: Distribution) -> list:
    """min(1, q(x)/p(x)) for every token x; 1 where p(x) = 0, which the draft never proposes.

    Raises ValueError when p or q is not a distribution or their lengths differ.
    """
    p, q = _pair(p, q)
    return [1 if a == 0 else _min(1, b / a) for a, b in zip(p, q)]


def residual_distribution(p: Distribution, q: Distribution) -> list:
    """max(q − p, 0) / Σ max(q − p, 0): where a rejected token is drawn again.

    Raises ValueError when p = q (nothing is ever rejected, nothing is left to draw from), and as ``acceptance_probability``.
    """
    p, q = _pair(p, q)
    excess = [_max(b - a, 0) for a, b in zip(p, q)]
    total = sum(excess)
    if total == 0:
        raise ValueError("p equals q: expected two different distributions, otherwise nothing is ever rejected")
    return [e / total for e in excess]


def overlap(p: Distribution, q: Distribution) -> object:
    """P(accept) = Σ min(p, q) = 1 − TV(p, q) (Leviathan et al., Corollary 3.6). Raises as ``acceptance_probability``."""
    p, q = _pair(p, q)
    return sum(_min(a, b) for a, b in zip(p, q))


def output_distribution(p: Distribution, q: Distribution) -> list:
    """What one round's first token is distributed as, by adding up both ways to it.

    Accepted: p(x)·min(1, q(x)/p(x)); rejected and drawn again: (1 − Σ p·accept)·residual(x). Equal to q, which is what the
    book proves: nothing here assumes it. Exact for rationals and symbols. Raises as ``acceptance_probability``.
    """
    p, q = _pair(p, q)
    accepted = [a * accept for a, accept in zip(p, acceptance_probability(p, q))]
    rejected = 1 - sum(accepted)
    if rejected == 0 or list(p) == list(q):
        return accepted
    return [a + rejected * r for a, r in zip(accepted, residual_distribution(p, q))]


def speculative_sampling(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution],
                         rng: Random) -> list[int]:
    """The tokens of one round (Chen et al., Algorithm 2): between 1 and γ + 1 of them, distributed as the target's.

    draft_tokens: γ tokens, the i-th drawn from p[i]; p: γ rows, q: γ + 1 rows, q[i] the target's distribution after the
    first i draft tokens. Draft tokens are accepted from the left with min(1, q/p); the first rejected one is replaced by a
    draw from the residual and ends the round; when all are accepted, the last row of q gives a bonus token.
    Raises ValueError for lengths that do not fit, rows that are no distributions, or a draft token with p = 0.
    """
    rows_p, rows_q = _round(draft_tokens, p, q)
    tokens: list[int] = []
    for token, row_p, row_q in zip(draft_tokens, rows_p, rows_q):
        if rng.random() >= acceptance_probability(row_p, row_q)[token]:
            return [*tokens, draw(residual_distribution(row_p, row_q), rng)]
        tokens.append(int(token))
    return [*tokens, draw(rows_q[-1], rng)]


def draw(distribution: Distribution, rng: Random) -> int:
    """A token from ``distribution`` by inversion of its cumulative sum, with one uniform number."""
    u, cumulative = rng.random(), 0
    for token, probability in enumerate(distribution):
        cumulative += probability
        if u < cumulative:
            return token
    return max(token for token, probability in enumerate(distribution) if probability > 0)  # floats may sum to 1 − ε


def speculative_decoding(prefix: Sequence[int], draft: Model, target: Model, gamma: int, length: int,
                         rng: Random) -> Iterator[list[int]]:
    """Rounds of speculative sampling until ``length`` new tokens exist: yields the tokens of each round.

    Each round asks the draft γ times and the target for γ + 1 distributions, which a Transformer computes in one pass. The
    last round may run past ``length``. Raises ValueError for gamma or length below 1, and as ``speculative_sampling``.
    """
    _positive_int("gamma", gamma), _positive_int("length", length)
    start, tokens = len(prefix), tuple(prefix)
    while len(tokens) - start < length:
        guesses = tokens
        p = []
        for _ in range(gamma):
            p.append(draft(guesses))
            guesses = (*guesses, draw(p[-1], rng))
        q = [target(guesses[:len(tokens) + i]) for i in range(gamma + 1)]
        accepted = speculative_sampling(guesses[len(tokens):], p, q, rng)
        yield accepted
        tokens = (*tokens, *accepted)


def round_distribution(prefix: Sequence[int], draft: Model, target: Model, gamma: int) -> dict[tuple[int, ...], object]:
    """Exact distribution of the tokens of one round, by following every draft and every rejection.

    Maps each possible outcome, 1 to γ + 1 tokens, to its probability. Vocabulary^γ drafts: for small vocabularies.
    """
    prefix, q = tuple(prefix), target(tuple(prefix))
    if gamma == 0:
        return {(x,): b for x, b in enumerate(q) if b != 0}
    p, outcomes, accepted = draft(prefix), {}, 0
    for x, accept in enumerate(acceptance_probability(p, q)):
        if (reached := p[x] * accept) != 0:
            accepted += reached
            for rest, probability in round_distribution((*prefix, x), draft, target, gamma - 1).items():
                outcomes[(x, *rest)] = reached * probability
    if accepted != 1:
        outcomes |= {(x,): (1 - accepted) * r for x, r in enumerate(residual_distribution(p, q)) if r != 0}
    return outcomes


def expected_tokens(alpha: object, gamma: object) -> object:
    """E[tokens per target pass] = 1 + α + … + α^γ = (1 − α^(γ+1))/(1 − α) (Leviathan et al., Eq. 1).

    Assumes every draft token is accepted independently with the same probability α in [0, 1]; from a measured trace
    it is an estimate. Exact for rationals; with a symbolic γ the closed form. Raises ValueError for α outside [0, 1] or
    γ that is negative or not whole.
    """
    alpha, gamma = _rate("alpha", alpha, upper=1), _count("gamma", gamma)
    if isinstance(gamma, int):
        return sum(alpha**i for i in range(gamma + 1))
    return (1 - alpha ** (gamma + 1)) / (1 - alpha)


def walltime_improvement(alpha: object, gamma: object, c: object) -> object:
    """E[tokens] / (γ·c + 1): how many times faster than plain decoding (Leviathan et al., Theorem 3.8).

    c is the time of one draft step over one target step. Assumes that the target checks γ + 1 tokens in the time of one,
    which holds while B·(γ + 1) stays below the critical batch. Raises as ``expected_tokens``, and for negative c.
    """
    return expected_tokens(alpha, gamma) / (_count("gamma", gamma) * _rate("c", c) + 1)


def operations_increase(alpha: object, gamma: object, c: object) -> object:
    """(γ·c + γ + 1) / E[tokens]: how many times more arithmetic a token costs (Leviathan et al., Theorem 3.11).

    c is the arithmetic of one draft token over one target token (ĉ in the paper). Raises as ``walltime_improvement``.
    """
    gamma = _count("gamma", gamma)
    return (gamma * _rate("c", c) + gamma + 1) / expected_tokens(alpha, gamma)


def best_gamma(alpha: object, c: object, largest: int = 64) -> int:
    """The γ ≤ ``largest`` with the greatest walltime improvement, 0 (no speculation) included; the smallest on a tie."""
    return max(range(largest + 1), key=lambda gamma: (walltime_improvement(alpha, gamma, c), -gamma))


def _pair(p: Distribution, q: Distribution) -> tuple[list, list]:
    p, q = _distribution("p", p), _distribution("q", q)
    if len(p) != len(q):
        raise ValueError(f"p has {len(p)} tokens and q has {len(q)}: expected the same vocabulary")
    return p, q


def _distribution(name: str, probabilities: Distribution) -> list:
    values = [Fraction(value) if isinstance(value, int) else value for value in probabilities]
    if not values:
        raise ValueError(f"{name} is empty: expected a probability for every token")
    for i, value in enumerate(values):
        symbolic = isinstance(value, sp.Expr) and not value.is_number
        if value is sp.nan or (value.is_negative if symbolic else not 0 <= value <= 1 + SUM_TOLERANCE):
            raise ValueError(f"{name}[{i}] is {value}: expected a probability between 0 and 1")
    total = sp.simplify(sum(values)) if any(isinstance(value, sp.Expr) for value in values) else sum(values)
    exact = isinstance(total, (Rational, sp.Rational))
    if getattr(total, "is_number", True) and (total != 1 if exact else abs(total - 1) > SUM_TOLERANCE):
        raise ValueError(f"{name} sums to {total}: expected 1")
    return values


def _round(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution]) -> tuple[list, list]:
    if len(p) != len(draft_tokens):
        raise ValueError(f"p has {len(p)} rows: expected one for each of the {len(draft_tokens)} draft tokens")
    if len(q) != len(draft_tokens) + 1:
        raise ValueError(f"q has {len(q)} rows: expected {len(draft_tokens) + 1}, one more than draft tokens")
    rows = [_pair(row_p, row_q) for row_p, row_q in zip(p, q)]
    for i, (token, (row_p, _)) in enumerate(zip(draft_tokens, rows)):
        if not 0 <= token < len(row_p):
            raise ValueError(f"draft_tokens[{i}] is {token}: expected a token between 0 and {len(row_p) - 1}")
        if row_p[token] == 0:
            raise ValueError(f"draft_tokens[{i}] is {token}, which p[{i}] gives probability 0: expected a token the draft can propose")
    return [row_p for row_p, _ in rows], [*(row_q for _, row_q in rows), _distribution(f"q[{len(q) - 1}]", q[-1])]


def _rate(name: str, value: object, upper: float = math.inf) -> object:
    if isinstance(value, sp.Expr) and not value.is_number:
        return value
    if not 0 <= value <= upper:
        raise ValueError(f"{name} is {value}: expected a number of at least 0" + (f" and at most {upper}" if upper < math.inf else ""))
    return value


def _count(name: str, value: object) -> object:
    if isinstance(value, sp.Expr) and not value.is_number:
        return value
    if value != int(value) or value < 0:
        raise ValueError(f"{name} is {value}: expected a whole number of at least 0")
    return int(value)


def _positive_int(name: str, value: int) -> None:
    if value != int(value) or value < 1:
        raise ValueError(f"{name} is {value}: expected a whole number of at least 1")


def _min(a: object, b: object) -> object:
    return sp.Min(a, b) if isinstance(a, sp.Expr) or isinstance(b, sp.Expr) else min(a, b)


def _max(a: object, b: object) -> object:
    return sp.Max(a, b) if isinstance(a, sp.Expr) or isinstance(b, sp.Expr) else max(a, b)
