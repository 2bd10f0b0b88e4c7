"""Acceptance that is not i.i.d.: measured lengths by draft tokens, survival by position, and schedules of equal mean.

Notebook: book/Lecture10-Lab-Speculative.ipynb. N is the number of tokens of a round, 1 to γ + 1; s_i, the survival, is
the probability that the first i draft tokens are accepted, so that E[N] = 1 + s_1 + … + s_γ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from importlib.resources import files
from itertools import pairwise

from ..checks import checked, each, function, number, rational, refused, values, whole
from ..speculative import LONGEST_DRAFT
from ..speedup import round_improvement

MOST_TOKENS = 10_000
"""Tokens of a request whose passes are counted at most."""

_share = partial(number, at_most=1)


def _law(name: str, value: object) -> dict:
    """Lengths with their probabilities."""
    found = values(_share)(name, value)
    return {whole(f"a length in {name}", n, at_least=1): chance for n, chance in found.items()}


def acceptance_lengths() -> dict[str, tuple[Fraction, ...]]:
    """E[N] for γ = 1, 2, … 8 by deployed model, as printed: ``data/acceptance.json``, measured by InferenceX."""
    text = (files(__package__) / "data" / "acceptance.json").read_text(encoding="utf-8")
    return {name: tuple(curve) for name, curve in json.loads(text, parse_float=Fraction)["curves"].items()}


@checked(lengths=each(number))
def survival(lengths: Sequence[object]) -> tuple:
    """s_γ = E[N at γ] − E[N at γ − 1], if a draft token does not care how many follow it.

    Differences of measured means: noise can make them rise or fall below 0, which ``length_law`` refuses.
    """
    return tuple(b - a for a, b in zip((1, *lengths), lengths))


@checked(survived=each(partial(rational, at_most=1)))
def length_law(survived: Sequence[object]) -> dict[int, object]:
    """P(N = n) = s_(n−1) − s_n. Raises ValueError where a survival is larger than the one before it."""
    steps = (1, *survived, 0)
    for i, (a, b) in enumerate(pairwise(steps[:-1])):
        if b > a:
            raise refused(f"survived[{i}]", b, f"at most {a}, as for the tokens before it")
    return {n: steps[n - 1] - steps[n] for n in range(1, len(steps))}


@checked(law=_law)
def mean_and_variance(law: Mapping[int, object]) -> tuple:
    """E[N] and E[N²] − E[N]² of a law of lengths."""
    mean = sum(n * chance for n, chance in law.items())
    return mean, sum(n * n * chance for n, chance in law.items()) - mean**2


@checked(alpha=_share, gamma=partial(whole, at_most=LONGEST_DRAFT))
def geometric(alpha: object, gamma: int) -> tuple:
    """The i.i.d. schedule: s_i = α^i."""
    return tuple(alpha**i for i in range(1, gamma + 1))


@checked(mean=rational, gamma=partial(whole, at_most=LONGEST_DRAFT))
def minimum_variance(mean: object, gamma: int) -> tuple:
    """The schedule with E[N] = ``mean`` whose N is one of the two whole numbers beside it (vLLM's synthetic mode).

    Raises ValueError for a mean below 1 or above γ + 1.
    """
    if not 1 <= mean <= gamma + 1:
        raise refused("mean", mean, f"1 to gamma + 1 = {gamma + 1}")
    return tuple(min(1, max(0, mean - i)) for i in range(1, gamma + 1))


@checked(law=_law, tokens=partial(whole, at_most=MOST_TOKENS))
def expected_passes(law: Mapping[int, object], tokens: int) -> object:
    """E[target passes] until ``tokens`` tokens are out, rounds independent: R(m) = 1 + Σ P(N = n)·R(m − n)."""
    passes = [0]
    for m in range(1, tokens + 1):
        passes.append(1 + sum(chance * passes[max(m - n, 0)] for n, chance in law.items()))
    return passes[-1]


@checked(lengths=each(rational), c=rational, check=function)
def improvements(lengths: Sequence[object], c: object, check: Callable[[int], object]) -> list:
    """``round_improvement`` for γ = 0, 1, 2, …: lengths[γ − 1] tokens, c a draft step, check(γ) the pass over γ + 1
    tokens, both as multiples of a plain step. Raises as ``round_improvement``."""
    return [round_improvement(tokens, gamma, c, check(gamma)) for gamma, tokens in enumerate((1, *lengths))]


@checked(lengths=each(rational), c=rational, check=function)
def best_length(lengths: Sequence[object], c: object, check: Callable[[int], object]) -> int:
    """The γ with the largest of ``improvements``, 0 (no speculation) included; the smallest on a tie."""
    gains = improvements(lengths, c, check)
    return gains.index(max(gains))
