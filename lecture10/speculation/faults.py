"""Faults of published speculative loops, planted one at a time: each looks right, runs, and draws from another law.

Notebook: book/Lecture10-Lab-Speculative.ipynb. A fault is a draft and a rule, whose exact law tells, or
a reader.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from types import MappingProxyType

from ..checks import checked, function, sequence, whole
from ..distributions import acceptance, residual
from ..speculative import Distribution, Model, Random, draw, speculative_sampling
from .drafts import autoregressive, rows_of
from .loop import Draft, Reader, Rule


def _normalised(weights: Sequence[object]) -> list:
    total = sum(weights)
    return [weight / total for weight in weights]


def _told(model: Model, drawn_from: Callable[[Distribution], Distribution]) -> Draft:
    """A draft that draws from ``drawn_from(p)`` and says that it drew from p."""
    def draft(tokens: Sequence[int], gamma: int, rng: Random) -> tuple[list[int], list]:
        guesses, p = [], []
        for _ in range(gamma):
            p.append(model((*tokens, *guesses)))
            guesses.append(draw(drawn_from(p[-1]), rng))
        return guesses, p

    return draft


def _sharper(p: Distribution) -> list:
    """Temperature ½: p² normalised."""
    return _normalised([a * a for a in p])


def _cut(p: Distribution) -> list:
    """Top-p with a share of one half."""
    kept, total = [0] * len(p), 0
    for token in sorted(range(len(p)), key=lambda token: -p[token]):
        if 2 * total < 1:
            kept[token], total = p[token], total + p[token]
    return _normalised(kept)


def _most(p: Distribution) -> list:
    return [int(token == max(range(len(p)), key=p.__getitem__)) for token in range(len(p))]


def _stored_in_half(p: Distribution) -> list[Fraction]:
    return [Fraction(*struct.unpack("e", struct.pack("e", float(a)))[0].as_integer_ratio()) for a in p]


def _tokenwise(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution], rng: Random,
               rest: Callable[[int, Distribution, Distribution], Distribution]) -> list[int]:
    """The token-wise rule without a check of its rows; ``rest`` is what a rejected token is drawn again from."""
    for i, (x, a, b) in enumerate(zip(draft_tokens, p, q)):
        if rng.random() >= acceptance(a[x], b[x]):
            return [*draft_tokens[:i], draw(_normalised(rest(x, a, b)), rng)]
    return [*draft_tokens, draw(q[-1], rng)]


def _only_the_rejected(x: int, _p: Distribution, q: Distribution) -> list:
    return [0 if token == x else b for token, b in enumerate(q)]


def _from_the_target(_x: int, _p: Distribution, q: Distribution) -> list:
    return list(q)


def _excess(_x: int, p: Distribution, q: Distribution) -> list:
    return residual(list(p), list(q)) or list(q)


def _in_half(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution],
             rng: Random) -> list[int]:
    rows = [[*map(_stored_in_half, matrix)] for matrix in (p, q)]
    return _tokenwise(draft_tokens, rows[0], [*rows[1][:-1], q[-1]], rng, _excess)


def _entry_by_entry(draft_tokens: Sequence[int], p: Sequence[Distribution], q: Sequence[Distribution],
                    rng: Random) -> list[int]:
    """The draft's rows end with a token that the target does not have: it is cut off, and proposed as another."""
    cut = [row[:len(q[0])] for row in p]
    tokens = [min(x, len(q[0]) - 1) for x in draft_tokens]
    return _tokenwise(tokens, cut, q, rng, _excess)


def _longer(model: Model) -> Model:
    """The model with one more token in its vocabulary, of one quarter of the mass."""
    return lambda prefix: [*(a * Fraction(3, 4) for a in model(prefix)), Fraction(1, 4)]


FAULTS: Mapping[str, Callable[[Model], tuple[Draft, Rule]]] = MappingProxyType({
    "redrawn from q": lambda p: (autoregressive(rows_of(p)), partial(_tokenwise, rest=_from_the_target)),
    "only the rejected token taken out of q": lambda p: (
        autoregressive(rows_of(p)), partial(_tokenwise, rest=_only_the_rejected)),
    "draft at another temperature": lambda p: (_told(p, _sharper), speculative_sampling),
    "draft with another top-p": lambda p: (_told(p, _cut), speculative_sampling),
    "draft token by argmax, its row by softmax": lambda p: (_told(p, _most), speculative_sampling),
    "vocabularies of different length": lambda p: (autoregressive(rows_of(_longer(p))), _entry_by_entry),
    "probabilities in half precision": lambda p: (autoregressive(rows_of(p)), _in_half),
})
"""By name: what makes a faulty (draft, rule) of a draft model."""


@checked(model=function)
def right(model: Model) -> tuple[Draft, Rule]:
    """The same without a fault."""
    return autoregressive(rows_of(model)), speculative_sampling


class Forgetful(Reader):
    """Leaves what was rejected in its cache and appends what comes next: it reads a text that nobody wrote."""

    @checked(tokens=sequence, count=partial(whole, at_least=1))
    def __call__(self, tokens: Sequence[int], count: int) -> Sequence[Distribution]:
        new = tokens[-count:] if self.passes else tokens
        self.passes.append(len(new))
        return self.law(self.engine.forward([new], self.cache, min(count, len(new)))[0])
