"""Drafts that need no second download: the prompt itself, counted words, a part of the model, a rougher copy of it.

Notebook: book/Lecture10-Lab-Speculative.ipynb. Each is a ``Draft`` of ``loop``, or a model that ``autoregressive``
makes one of.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, function, instance, refused, sequence, whole
from ..engine.weights import Weights
from ..speculative import Model, Random, draw
from .loop import Draft, Rows, certain

LONGEST_MATCH = 10
"""Tokens of an ending that is looked up, or of a context that is counted, at most."""


@checked(tokens=sequence, gamma=whole, longest=partial(whole, at_least=1, at_most=LONGEST_MATCH))
def looked_up(tokens: Sequence[int], gamma: int, longest: int = 3) -> list[int]:
    """What followed the last earlier occurrence of the text's ending, at most ``gamma`` tokens (prompt look-up; Saxena
    2023): of the last ``longest`` tokens, or of fewer where so many do not occur; nothing where none does."""
    for size in range(min(longest, len(tokens) - 1), 0, -1):
        ending = tokens[-size:]
        for start in range(len(tokens) - size - 1, -1, -1):
            if tokens[start:start + size] == ending:
                return tokens[start + size:start + size + gamma]
    return []


def prompt_lookup(vocabulary: int, longest: int = 3) -> Draft:
    """``looked_up`` as a draft: it draws nothing, so each token's distribution is one-hot."""
    def draft(tokens: Sequence[int], gamma: int, _rng: Random) -> tuple[list[int], NDArray]:
        found = looked_up(tokens, gamma, longest)
        return found, certain(found, vocabulary)

    return draft


@checked(text=sequence, order=partial(whole, at_least=1, at_most=LONGEST_MATCH),
         vocabulary=partial(whole, at_least=1, at_most=10**7))
def ngram(text: Sequence[int], order: int, vocabulary: int) -> Rows:
    """A model of counts: what follows the longest context, of up to ``order`` − 1 tokens, that occurs in ``text``.

    Raises ValueError for an empty text and tokens outside the vocabulary.
    """
    if not text:
        raise refused("text", text, "at least one token")
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for i, token in enumerate(text):
        whole("text", token, 0, vocabulary - 1)
        for size in range(min(order, i + 1)):
            counts[tuple(text[i - size:i])][token] += 1

    def after(context: Sequence[int]) -> NDArray:  # -> [V]
        known = next(found for size in range(min(order - 1, len(context)), -1, -1)
                     if (found := counts.get(tuple(context[len(context) - size:]))))
        row = np.zeros(vocabulary)
        row[list(known)] = list(known.values())
        return row / known.total()

    return lambda tokens, count: [after(tokens[:len(tokens) - i]) for i in range(count - 1, -1, -1)]


@checked(model=function)
def most_probable(model: Rows) -> Rows:
    """The model's greedy version: each row with all mass on its largest entry."""
    def rows(tokens: Sequence[int], count: int) -> NDArray:
        given = np.asarray(model(tokens, count))
        return certain(given.argmax(axis=-1), given.shape[-1])

    return rows


@checked(model=function)
def rows_of(model: Model) -> Rows:
    """A model of the proof module, (tokens) -> the next token's distribution, as one of ``loop``."""
    return lambda tokens, count: [model(tuple(tokens[:len(tokens) - i])) for i in range(count - 1, -1, -1)]


@checked(model=function)
def autoregressive(model: Rows) -> Draft:
    """γ tokens one after the other, each drawn from the model's distribution after the ones before it."""
    def draft(tokens: Sequence[int], gamma: int, rng: Random) -> tuple[list[int], list]:
        guesses, p = [], []
        for _ in range(gamma):
            p.extend(model([*tokens, *guesses], 1))
            guesses.append(draw(p[-1], rng))
        return guesses, p

    return draft


@checked(weights=instance(Weights), count=partial(whole, at_least=1))
def first_layers(weights: Weights, count: int) -> Weights:
    """The model's own first layers with its last norm and output matrix: an early exit. Raises ValueError for more
    layers than there are."""
    if count > weights.shape.L:
        raise refused("count", count, f"at most {weights.shape.L}, the layers of the model")
    return replace(weights, shape=replace(weights.shape, L=count), layers=weights.layers[:count])


def prompts() -> dict[str, tuple[str, ...]]:
    """The lab's nine prompts by kind: editing code, rewriting a text, chat (``data/prompts.json``)."""
    text = (files(__package__) / "data" / "prompts.json").read_text(encoding="utf-8")
    return {kind: tuple(some) for kind, some in json.loads(text)["prompts"].items()}
