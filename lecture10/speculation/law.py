"""The exact law of what a program draws: the program itself is run along every path of its random numbers.

Notebook: book/Lecture10-Lab-Speculative.ipynb. Nothing is assumed about the program except that it draws with
``rng.random()`` and does nothing with such a number but compare it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial

from ..checks import checked, function, number, refused, sequence, values, whole
from ..distributions import distribution
from ..speculative import Model, Random

MOST_PATHS = 100_000
"""Paths of a program that are followed at most."""

LONGEST_JOINT = 8
"""Tokens of a joint law at most: it has vocabulary^tokens entries."""


class _Uniform:
    """A uniform number known only to lie in [low, high); a comparison that this leaves open is a branch."""

    def __init__(self, path: _Path) -> None:
        self.low, self.high, self.path = Fraction(0), Fraction(1), path

    def __lt__(self, threshold: object) -> bool:
        threshold = min(max(Fraction(threshold), self.low), self.high)
        below = self.path.take((threshold - self.low) / (self.high - self.low))
        if below:
            self.high = threshold
        else:
            self.low = threshold
        return below

    def __ge__(self, threshold: object) -> bool:
        return not self < threshold


class _Path:
    """A source of randomness that follows one path through a program: ``script`` decides its first open comparisons."""

    def __init__(self, script: tuple[bool, ...]) -> None:
        self.script, self.taken, self.probability = script, [], Fraction(1)

    def random(self) -> _Uniform:
        return _Uniform(self)

    def take(self, chance: Fraction) -> bool:
        if chance in (0, 1):
            return chance == 1
        choice = self.script[len(self.taken)] if len(self.taken) < len(self.script) else True
        self.taken.append(choice)
        self.probability *= chance if choice else 1 - chance
        return choice


@checked(program=function)
def law(program: Callable[[Random], object]) -> dict:
    """The probability of every outcome of ``program(rng)``, exactly where it compares with rationals.

    Outcomes have to be hashable. Raises ValueError beyond ``MOST_PATHS`` paths.
    """
    outcomes: dict = {}
    scripts: list[tuple[bool, ...]] = [()]
    followed = 0
    while scripts:
        script, followed = scripts.pop(), followed + 1
        if followed > MOST_PATHS:
            raise refused("program", program, f"one of at most {MOST_PATHS:,} paths")
        path = _Path(script)
        outcome = program(path)
        outcomes[outcome] = outcomes.get(outcome, 0) + path.probability
        scripts += [(*path.taken[:i], False) for i in range(len(script), len(path.taken))]
    return outcomes


@checked(target=function, prefix=sequence, length=partial(whole, at_most=LONGEST_JOINT))
def joint_law(target: Model, prefix: Sequence[int], length: int) -> dict[tuple[int, ...], object]:
    """Π q(x_i | x_<i) of the next ``length`` tokens, those of probability 0 left out."""
    if length == 0:
        return {(): Fraction(1)}
    return {(x, *rest): b * chance for x, b in enumerate(distribution("q", target(tuple(prefix)))) if b
            for rest, chance in joint_law(target, (*prefix, x), length - 1).items()}


def _outcomes(name: str, value: object) -> dict:
    """Tuples of tokens with their probabilities."""
    found = values(number)(name, value)
    for tokens in found:
        if not isinstance(tokens, tuple):
            raise refused(name, value, "tuples of tokens with their probabilities")
    return found


@checked(outcomes=_outcomes, target=function, prefix=sequence, length=partial(whole, at_most=LONGEST_JOINT))
def continued(outcomes: Mapping[tuple[int, ...], object], target: Model, prefix: Sequence[int],
              length: int) -> dict[tuple[int, ...], object]:
    """The law of ``length`` tokens when each outcome of a round is continued by the target's own sampling: that of
    a lossless rule is ``joint_law``. Raises ValueError for an outcome that is longer."""
    joint: dict = {}
    for tokens, probability in outcomes.items():
        if len(tokens) > length:
            raise refused("outcomes", outcomes, f"tuples of at most length = {length} tokens")
        for rest, chance in joint_law(target, (*prefix, *tokens), length - len(tokens)).items():
            joint[(*tokens, *rest)] = joint.get((*tokens, *rest), 0) + probability * chance
    return joint


@checked(outcomes=_outcomes)
def mean_tokens(outcomes: Mapping[tuple[int, ...], object]) -> object:
    """E[tokens of a round] = Σ P(outcome)·len(outcome)."""
    return sum(probability * len(tokens) for tokens, probability in outcomes.items())


@checked(one=values(number), other=values(number))
def total_variation(one: Mapping[object, object], other: Mapping[object, object]) -> object:
    """½·Σ|one − other| of two laws by outcome."""
    return sum(abs(one.get(key, 0) - other.get(key, 0)) for key in {*one, *other}) / 2
