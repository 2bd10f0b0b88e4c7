"""The exact law of what the loop itself draws, on small models in rationals and on a real one that may say few words.

Notebook: book/Lecture10-Lab-Speculative.ipynb. The program that runs is ``loop.speculate``; ``law`` follows its paths.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, each, function, instance, refused, sequence, whole
from ..speculative import LONGEST_DRAFT, Distribution, Model, speculative_sampling
from .drafts import autoregressive, rows_of
from .law import LONGEST_JOINT, joint_law, law, total_variation
from .loop import Draft, Reader, Rows, Rule, greedy_rows, speculate, until

MOST_WORDS = 100
"""Words of a model that is made up at most."""


@checked(weights=each(whole))
def normalised(*weights: int) -> list[Fraction]:
    """Whole numbers divided by their sum. Raises ValueError when all are 0."""
    if not sum(weights):
        raise refused("weights", weights, "one above 0 at least")
    return [Fraction(weight, sum(weights)) for weight in weights]


@checked(rows=each(each(whole)))
def by_last(*rows: Sequence[int]) -> Model:
    """A model whose next token depends on the last one alone: ``rows[last]`` are the weights, and a token beyond them
    counts on from the first."""
    laws = [normalised(*row) for row in rows]
    return lambda prefix: laws[prefix[-1] % len(laws)]


@checked(seed=whole, vocabulary=partial(whole, at_least=1, at_most=MOST_WORDS))
def made_up(seed: int, vocabulary: int) -> Model:
    """A model whose every context has a distribution of its own, zeros among them: the same again for a ``seed``."""
    def next_token(prefix: Sequence[int]) -> list[Fraction]:
        rng = random.Random(f"{seed} {tuple(prefix)}")
        weights = [rng.choice((0, 1, 2, 5)) for _ in range(vocabulary)]
        weights[rng.randrange(vocabulary)] += 1
        return normalised(*weights)

    return next_token


@checked(draft=function, target=function, gamma=partial(whole, at_most=LONGEST_DRAFT), rule=function)
def first_round(draft: Model, target: Model, gamma: int, rule: Rule = speculative_sampling) -> dict:
    """The law of the tokens of the first round, by ``tokens``."""
    propose = autoregressive(rows_of(draft))
    return law(lambda rng: next(speculate((), propose, rows_of(target), gamma, rng, rule)).tokens)


@checked(draft=function, target=function, gamma=partial(whole, at_most=LONGEST_DRAFT),
         length=partial(whole, at_least=1, at_most=LONGEST_JOINT), rule=function, prompt=sequence)
def first_tokens(draft: Draft, target: Rows, gamma: int, length: int, rule: Rule = speculative_sampling,
                 prompt: Sequence[int] = ()) -> dict:
    """The law of the first ``length`` tokens after ``prompt``, over as many rounds as they take: of a lossless rule
    the target's own, ``joint_law``."""
    return law(lambda rng: tuple(until(speculate(prompt, draft, target, gamma, rng, rule), length)[0]))


@checked(reader=instance(Reader), prompt=sequence, words=sequence, rows_of_logits=function)
def over_words(reader: Reader, prompt: Sequence[int], words: Sequence[int],
               rows_of_logits: Callable[[NDArray], Sequence[Distribution]] = greedy_rows) -> Rows:
    """The model of ``reader`` after ``prompt`` when it may say only ``words``, in exact rationals: token i stands for
    words[i].

    ``rows_of_logits`` makes floats of the logits [n, words]; taken as the rationals that they are, they are divided by
    their sum. Every text is read once.
    """
    seen: dict[tuple, list[list[Fraction]]] = {}

    def rows(tokens: Sequence[int], count: int) -> list[list[Fraction]]:
        if (key := (*tokens, -count)) not in seen:
            given = rows_of_logits(reader.logits([*prompt, *(words[token] for token in tokens)], count)[:, words])
            exact = [[Fraction(float(p)) for p in row] for row in given]
            seen[key] = [[p / sum(row) for p in row] for row in exact]
        return seen[key]

    return rows


@checked(draft=instance(Reader), target=instance(Reader), prompt=sequence, rows_of_logits=function,
         width=partial(whole, at_least=1, at_most=MOST_WORDS))
def two_token_distance(draft: Reader, target: Reader, prompt: Sequence[int],
                       rows_of_logits: Callable[[NDArray], Sequence[Distribution]], width: int = 3) -> Fraction:
    """Total variation between two tokens of the loop, γ = 1, and two of the target alone.

    Both models may say only the ``width`` tokens that the target likes best after ``prompt``. The target reads two
    tokens a pass in the loop and one alone, whose logits differ by their rounding: not 0, but no more than that makes.
    """
    words = np.argsort(-target.logits(prompt, 1)[0])[:width].tolist()
    p, q = (over_words(reader, prompt, words, rows_of_logits) for reader in (draft, target))
    return total_variation(first_tokens(autoregressive(p), q, 1, 2), joint_law(lambda tokens: q(tokens, 1)[0], (), 2))
