"""Rules of verification beside the token-wise ``speculative_sampling``: one more that is lossless, two that are not.

Notebook: book/Lecture10-Lab-Speculative.ipynb. p is the draft and q the target; each rule has the arguments and the
result of ``speculative_sampling`` and raises as it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from ..checks import checked, number, real, refused, source
from ..distributions import acceptance, excess, residual, rows
from ..speculative import Distribution, Random, draw
from .loop import Rule


@checked(rng=source)
def block_verification(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution],
                       rng: Random) -> list[int]:
    """Verify the block as a whole (Sun et al., 2403.10444, Algorithm 2): lossless, and no rule keeps more on average.

    w_0 = 1, w_i = min(1, w_(i-1)·q(x_i)/p(x_i)). The first i draft tokens are tried with probability w_γ for i = γ,
    else m/(m + 1 − w_i), m = Σ max(w_i·q − p, 0) of the next rows; the longest success counts, and the token after it
    comes from max(w_i·q − p, 0) normalised.
    """
    draft_tokens, p, q = rows(draft_tokens, p, q)
    gamma, kept, weight, kept_weight = len(draft_tokens), 0, 1, 1
    for i, x in enumerate(draft_tokens, start=1):
        weight = min(1, weight * q[i - 1][x] / p[i - 1][x])
        missing = sum(excess(p[i], q[i], weight)) if i < gamma else None
        chance = weight if i == gamma else missing / (missing + 1 - weight) if missing else 1 - (weight < 1)
        if rng.random() < chance:
            kept, kept_weight = i, weight
    rest = residual(p[kept], q[kept], kept_weight) if kept < gamma else None
    return [*draft_tokens[:kept], draw(q[kept] if rest is None else rest, rng)]


def _lenience(name: str, value: object) -> object:
    plain = number(name, value, at_most=1)
    if plain == 0:
        raise refused(name, value, "a number above 0 and at most 1")
    return plain


@checked(lenience=_lenience)
def lenient(lenience: object) -> Rule:
    """A rule that takes ℓ·p for p (Leviathan et al., appendix A.5): more is accepted, and the output is no longer q.

    No token becomes more probable than q/ℓ; ℓ = 1 is the lossless rule.
    """
    @checked(rng=source)
    def rule(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution],
             rng: Random) -> list[int]:
        draft_tokens, p, q = rows(draft_tokens, p, q)
        for i, x in enumerate(draft_tokens):
            if rng.random() >= acceptance(p[i][x] * lenience, q[i][x]):
                rest = residual(p[i], q[i], 1 / lenience)
                return [*draft_tokens[:i], draw(q[i] if rest is None else rest, rng)]
        return [*draft_tokens, draw(q[-1], rng)]

    return rule


@checked(epsilon=partial(real, at_most=1), delta=real)
def typical_acceptance(epsilon: float = 0.09, delta: float = 0.3) -> Rule:
    """Medusa's rule (Cai et al., 2401.10774, section 2.3.1): a draft token is kept while q(x) > min(ε, δ·exp(−H(q))).

    Lossy by design: a token that is typical enough is kept for certain, whatever its probability. The token after the
    kept ones is drawn from q; Medusa takes the most probable. The defaults are Medusa's.
    """
    @checked(rng=source)
    def rule(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution],
             rng: Random) -> list[int]:
        draft_tokens, _, q = rows(draft_tokens, p, q)
        kept = 0
        for x, row in zip(draft_tokens, q):
            entropy = -sum(float(b) * math.log(b) for b in row if b > 0)
            if row[x] <= min(epsilon, delta * math.exp(-entropy)):
                break
            kept += 1
        return [*draft_tokens[:kept], draw(q[kept], rng)]

    return rule
