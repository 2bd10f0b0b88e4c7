"""Speculative sampling: the acceptance rule and its exactness; what it gains is in ``speedup``.

Notebooks: book/Lecture10-Theory-Speculative.ipynb and book/Lecture10-Code-Speculative.ipynb. p is the draft and q the
target, as in Chen et al., arXiv 2302.01318; Leviathan et al., arXiv 2211.17192, swap the letters. A distribution is a
sequence of probabilities over the vocabulary: rationals or symbols where a proof is meant, floats where it is a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from importlib.resources import files
from typing import Protocol

import sympy as sp

from .checks import checked, function, refused, sequence, whole
from .checks import source as _source
from .distributions import acceptance, distribution, pair, residual, row, rows, smaller

Distribution = Sequence[object]
Model = Callable[[tuple[int, ...]], Distribution]
"""A language model: the tokens so far in, the distribution of the next token out."""


class Random(Protocol):
    """Any source of uniform numbers: ``random.Random`` and ``numpy.random.Generator`` both are."""

    def random(self) -> float: ...


LONGEST_DRAFT = 1000
"""Draft tokens of one round beyond which nobody drafts: a limit against endless loops."""

LONGEST_ENUMERATED, MOST_OUTCOMES = 64, 10**6
"""Draft tokens and outcomes of a round that is enumerated."""


def acceptance_probability(p: Distribution, q: Distribution) -> list:
    """min(1, q(x)/p(x)) for every token x; 1 where p(x) = 0, which the draft never proposes.

    Raises ValueError when p or q is not a distribution or their lengths differ.
    """
    return [acceptance(a, b) for a, b in zip(*pair(p, q))]


def residual_distribution(p: Distribution, q: Distribution) -> list:
    """max(q − p, 0) / Σ max(q − p, 0): where a rejected token is drawn again.

    Raises ValueError when p = q (nothing is ever rejected, nothing is left to draw from),
    and as ``acceptance_probability``.
    """
    rest = residual(*pair(p, q))
    if rest is None:
        raise ValueError("p equals q: expected two different distributions, otherwise nothing is ever rejected")
    return rest


def overlap(p: Distribution, q: Distribution) -> object:
    """P(accept) = Σ min(p, q) = 1 − TV(p, q) (Leviathan et al., Corollary 3.6).
    Raises as ``acceptance_probability``."""
    return sum(smaller(a, b) for a, b in zip(*pair(p, q)))


def sampling_paths(p: Distribution, q: Distribution) -> tuple[list, list]:
    """Both ways to each token x: drafted and accepted, or drawn again after a rejection, of whatever token.

    Accepted: p(x)·min(1, q(x)/p(x)); drawn again: (1 − Σ p·accept)·residual(x). Raises as ``acceptance_probability``.
    """
    p, q = pair(p, q)
    accepted = [a * acceptance(a, b) for a, b in zip(p, q)]
    rest = residual(p, q)
    if rest is None:
        return accepted, [0] * len(p)
    rejection = 1 - sum(accepted)
    return accepted, [rejection * r for r in rest]


def two_token_paths() -> dict[str, tuple[sp.Expr, sp.Expr]]:
    """The lecture's ``speculative_sampling()``: two tokens, of which the draft overrates A by delta > 0.

    p(A) = q(A) + delta, q(B) = p(B) + delta. Maps each token to the probabilities of its two paths, drawn and accepted
    or redrawn after a rejection, in q_A and delta; their sums are q(A) and q(B) = 1 - q(A). The lecture's name is
    taken here by the general algorithm.
    """
    q_a, p_b, delta = sp.symbols("q_A p_B delta", positive=True)
    paths = sampling_paths([q_a + delta, p_b], [q_a, p_b + delta])
    return {token: tuple(sp.expand(sp.sympify(path).subs(p_b, 1 - q_a - delta)) for path in both)
            for token, both in zip("AB", zip(*paths))}


def output_distribution(p: Distribution, q: Distribution) -> list:
    """What one round's first token is distributed as: the sum of both paths to it.

    Equal to q, which is what the book proves: nothing here assumes it. Exact for rationals and symbols. Raises as
    ``acceptance_probability``.
    """
    return [accepted + redrawn for accepted, redrawn in zip(*sampling_paths(p, q))]


@checked(rng=_source)
def speculative_sampling(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution],
                         rng: Random) -> list[int]:
    """The tokens of one round (Chen et al., Algorithm 2): between 1 and γ + 1 of them, distributed as the target's.

    draft_tokens: γ tokens, the i-th drawn from p[i]; p: γ rows, q: γ + 1 rows, q[i] the target's distribution after the
    first i draft tokens. Draft tokens are accepted from the left with min(1, q/p); the first rejected one is replaced
    by a draw from the residual and ends the round; when all are accepted, the last row of q gives a bonus token. Raises
    ValueError for lengths that do not fit, rows that are no distributions, or a draft token with p = 0.
    """
    draft_tokens, rows_p, rows_q = rows(draft_tokens, p, q)
    tokens: list[int] = []
    for x, row_p, row_q in zip(draft_tokens, rows_p, rows_q):
        rejected = rng.random() >= acceptance(row_p[x], row_q[x])
        # rounding alone may reject where p = q: nothing is left to redraw
        if rejected and (rest := residual(row_p, row_q)) is not None:
            return [*tokens, draw(rest, rng)]
        tokens.append(x)
    return [*tokens, draw(rows_q[-1], rng)]


@checked(rng=_source)
def draw(distribution: Distribution, rng: Random) -> int:
    """A token from ``distribution`` by inversion of its cumulative sum, with one uniform number.

    Raises ValueError for what is no distribution, or one that holds symbols.
    """
    probabilities, u = row("distribution", distribution), rng.random()
    if not isinstance(probabilities, list):
        cumulative = probabilities.cumsum(dtype=float)
        last = cumulative.searchsorted(cumulative[-1])
        return int(min(cumulative.searchsorted(u, side="right"), last))
    if isinstance(u, float) and isinstance(probabilities[0], Fraction):
        u = Fraction(u)  # once, not in every comparison
    cumulative = 0
    for token, probability in enumerate(probabilities):
        cumulative += probability
        if u < cumulative:
            return token
    return max(token for token, probability in enumerate(probabilities) if probability > 0)  # floats may sum to 1 − ε


@checked(prefix=sequence, draft=function, target=function, gamma=partial(whole, at_least=1, at_most=LONGEST_DRAFT),
         length=partial(whole, at_least=1), rng=_source)
def speculative_decoding(prefix: Sequence[int], draft: Model, target: Model, gamma: int, length: int,
                         rng: Random) -> Iterator[list[int]]:
    """Rounds of speculative sampling until ``length`` new tokens exist: yields the tokens of each round.

    Each round asks the draft γ times and the target for γ + 1 distributions, which a Transformer computes in one pass.
    The last round may run past ``length``. Raises ValueError for gamma or length below 1, gamma above
    ``LONGEST_DRAFT``, and as ``speculative_sampling``.
    """
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


@checked(prefix=sequence, draft=function, target=function, gamma=partial(whole, at_most=LONGEST_ENUMERATED))
def round_distribution(prefix: Sequence[int], draft: Model, target: Model, gamma: int) -> dict[tuple[int, ...], object]:
    """Exact distribution of the tokens of one round, by following every draft and every rejection.

    Maps each possible outcome, 1 to γ + 1 tokens, to its probability. Vocabulary^γ drafts: for small vocabularies.
    Raises ValueError for a gamma that is negative or not whole, more than ``MOST_OUTCOMES`` outcomes, and as
    ``acceptance_probability``.
    """
    prefix = tuple(prefix)
    if gamma == 0:
        q = distribution("q", target(prefix))
        return {(x,): probability for x, probability in enumerate(q) if probability != 0}
    accepted, redrawn = sampling_paths(draft(prefix), target(prefix))
    if len(accepted) ** gamma > MOST_OUTCOMES:
        raise refused("gamma", gamma, f"at most {MOST_OUTCOMES:,} outcomes, not {len(accepted)}^{gamma}")
    outcomes = {(x,): probability for x, probability in enumerate(redrawn) if probability != 0}
    for x, reached in enumerate(accepted):
        if reached != 0:
            for rest, probability in round_distribution((*prefix, x), draft, target, gamma - 1).items():
                outcomes[(x, *rest)] = reached * probability
    return outcomes


def speculative_results() -> dict:
    """Published tables of Leviathan et al., Chen et al. and EAGLE-3 from ``data/speculative.json``,
    as the papers print them."""
    return json.loads((files(__package__) / "data" / "speculative.json").read_text(encoding="utf-8"))
