"""Runs of the loop on the book's model, timed, and what they will take, told before.

Notebook: book/Lecture10-Lab-Speculative.ipynb.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, each, function, instance, real, refused, sequence, values, whole
from ..speculative import LONGEST_DRAFT, speculative_sampling
from .loop import LONGEST_TEXT, Draft, Reader, Round, Rule, certain, speculate, until


@dataclass(frozen=True)
class Run:
    """The tokens that came out, the rounds that made them, the tokens T of each pass of the target, and the seconds
    from the end of prefill."""

    tokens: list[int]
    rounds: list[Round]
    passes: list[int]
    seconds: float

    @property
    def tokens_per_pass(self) -> float:
        return len(self.tokens) / len(self.passes)


@checked(target=instance(Reader), prompt=sequence, draft=function, gamma=partial(whole, at_most=LONGEST_DRAFT),
         length=partial(whole, at_least=1, at_most=LONGEST_TEXT), verify=function, seed=whole)
def generated(target: Reader, prompt: Sequence[int], draft: Draft, gamma: int, length: int,
              verify: Rule = speculative_sampling, seed: int = 0) -> Run:
    """``length`` tokens after ``prompt``, or those up to the end of the answer. What ``target`` has read of the prompt
    before is not read again. Raises ValueError for a text beyond its capacity, and as ``speculate``."""
    if not prompt:
        raise refused("prompt", prompt, "at least one token")
    if not target.has_read(prompt[:-1]):
        target(prompt[:-1], 1)  # the last token is read with the first draft
    read, start = len(target.passes), time.perf_counter()
    tokens, rounds = until(speculate(prompt, draft, target, gamma, random.Random(seed), verify), length,
                           target.engine.weights.eos)
    return Run(tokens, rounds, target.passes[read:], time.perf_counter() - start)


@checked(prompt=sequence, text=sequence, draft=function, gamma=partial(whole, at_most=LONGEST_DRAFT),
         vocabulary=partial(whole, at_least=1, at_most=10**7))
def replayed(prompt: Sequence[int], text: Sequence[int], draft: Draft, gamma: int, vocabulary: int) -> list[Round]:
    """The rounds in which greedy speculation will make a ``text`` that is known: the same loop, no model in it."""
    if not (prompt and text):
        raise refused("prompt and text", (prompt, text), "at least one token each")
    known = [*prompt, *text, text[-1]]

    def target(tokens: Sequence[int], count: int) -> NDArray:
        last = len(known) - 1
        return certain([known[min(i, last)] for i in range(len(tokens) - count + 1, len(tokens) + 1)], vocabulary)

    return until(speculate(prompt, draft, target, gamma, random.Random(0)), len(text))[1]


def _curve(name: str, value: object) -> dict[int, float]:
    """Seconds by the tokens of a pass."""
    found = values(real)(name, value)
    return {whole(f"tokens in {name}", size, at_least=1): seconds for size, seconds in found.items()}


@checked(curve=_curve, rounds=each(instance(Round)))
def passes_seconds(curve: Mapping[int, float], rounds: Sequence[Round]) -> float:
    """Σ curve(T) over the passes of ``rounds``, T = draft tokens + 1; straight lines between the points of the curve.

    Raises ValueError for a pass beyond its ends.
    """
    sizes = sorted(curve)
    asked = [len(made.drafted) + 1 for made in rounds]
    if not sizes or (asked and not sizes[0] <= min(asked) <= max(asked) <= sizes[-1]):
        raise refused("curve", curve, f"the seconds of passes over {min(asked, default=1)} to {max(asked, default=1)} "
                                      "tokens")
    return float(np.interp(asked, sizes, [curve[size] for size in sizes]).sum())


@checked(rounds=each(instance(Round)), gamma=partial(whole, at_most=LONGEST_DRAFT))
def observed_survival(rounds: Iterable[Round], gamma: int) -> tuple[Fraction, ...]:
    """The share of ``rounds`` in which the first i = 1 … γ draft tokens were accepted; a round that drafted fewer
    counts as one that did not accept them."""
    if not rounds:
        raise refused("rounds", rounds, "at least one round")
    return tuple(Fraction(sum(made.accepted >= i for made in rounds), len(rounds)) for i in range(1, gamma + 1))
