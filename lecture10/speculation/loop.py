"""One loop for every draft, every rule and every model: propose γ tokens, check them in one pass, rewind.

Notebook: book/Lecture10-Lab-Speculative.ipynb. A model is a function (tokens, count) -> the distributions after each of
the last ``count`` tokens; a draft is a function (tokens, γ, rng) -> at most γ tokens and the distribution that each was
drawn from; a rule has the arguments and the result of ``speculative_sampling``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, function, instance, optional, refused, sequence, whole
from ..engine.decoder import Engine, greedy
from ..engine.kv_cache import KVCache
from ..speculative import LONGEST_DRAFT, Distribution, Random, speculative_sampling

Rows = Callable[[Sequence[int], int], Sequence[Distribution]]
Draft = Callable[[Sequence[int], int, Random], tuple[Sequence[int], Sequence[Distribution]]]
Rule = Callable[[Sequence[int], Sequence[Distribution], Sequence[Distribution], Random], Sequence[int]]

LONGEST_TEXT = 10**6
"""Tokens that are generated at most."""


@dataclass(frozen=True)
class Round:
    """One pass of the target: the tokens that were drafted and the 1 to γ + 1 tokens that came out."""

    drafted: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def accepted(self) -> int:
        """Draft tokens that were kept: all tokens but the last, which is the target's."""
        return len(self.tokens) - 1


@checked(prompt=sequence, draft=function, target=function, gamma=partial(whole, at_most=LONGEST_DRAFT), verify=function)
def speculate(prompt: Sequence[int], draft: Draft, target: Rows, gamma: int, rng: Random,
              verify: Rule = speculative_sampling) -> Iterator[Round]:
    """Rounds without end after ``prompt``. γ = 0 is plain decoding by the same code. Raises what ``verify`` raises."""
    tokens = list(prompt)
    while True:
        drafted, p = draft(tokens, gamma, rng) if gamma else ((), ())
        q = target([*tokens, *drafted], len(drafted) + 1)
        new = verify(drafted, p, q, rng)
        yield Round(tuple(drafted), tuple(new))
        tokens += new


@checked(length=partial(whole, at_least=1, at_most=LONGEST_TEXT), end=optional(whole))
def until(rounds: Iterable[Round], length: int, end: int | None = None) -> tuple[list[int], list[Round]]:
    """The first ``length`` tokens, or those up to and with the token ``end``, and the rounds that made them."""
    tokens, used = [], []
    for made in rounds:
        used.append(made)
        for token in made.tokens:
            tokens.append(token)
            if token == end or len(tokens) == length:
                return tokens, used
    raise refused("rounds", rounds, f"rounds with at least {length} tokens or the token {end}")


def _room(name: str, value: object) -> int | KVCache:
    if not isinstance(value, KVCache):
        return whole(name, value)
    if len(value.lengths) != 1:
        raise refused(name, value, f"a cache of one sequence, not of {len(value.lengths)}")
    return value


class Reader:
    """A model that reads a growing text and corrects its end: what the cache holds of another text is rewound.

    ``law`` makes distributions of logits [n, V], such as ``greedy_rows`` or ``engine.decoder.probabilities`` with its
    temperature and top-p. ``passes`` keeps the tokens T of every pass.
    """

    @checked(engine=instance(Engine), room=_room, law=function, read=sequence)
    def __init__(self, engine: Engine, room: int | KVCache, law: Callable[[NDArray], Sequence[Distribution]],
                 read: Sequence[int] = ()) -> None:
        """``room``: how many tokens fit, or the cache of one sequence that begins with the text ``read``, which is then
        not read again. Raises ValueError beyond the model's context length, and for more ``read`` than it holds."""
        self.engine, self.law = engine, law
        self.cache = room if isinstance(room, KVCache) else KVCache.empty(engine.shape, 1, room)
        if len(read) > (held := int(self.cache.lengths[0])):
            raise refused("read", read, f"at most {held} tokens, which the cache holds")
        self.read: Sequence[int] = read
        self.passes: list[int] = []

    def __call__(self, tokens: Sequence[int], count: int) -> Sequence[Distribution]:
        """Raises as ``logits``."""
        return self.law(self.logits(tokens, count))

    @checked(text=sequence)
    def has_read(self, text: Sequence[int]) -> bool:
        """Whether the text in the cache begins with ``text``."""
        return self._kept(text, len(text)) == len(text)

    @checked(tokens=sequence, count=partial(whole, at_least=1))
    def logits(self, tokens: Sequence[int], count: int) -> NDArray:  # -> [count, V]
        """After each of the last ``count`` tokens. Raises ValueError for more tokens than fit, and fewer than
        ``count``."""
        if count > len(tokens):
            raise refused("count", count, f"at most {len(tokens)}, the tokens of the text")
        kept = self._kept(tokens, len(tokens) - count)
        self.cache.lengths[:] = kept
        self.read = self.read[:kept]
        logits = self.engine.forward([tokens[kept:]], self.cache, count)[0]  # [count, V]
        self.passes.append(len(tokens) - kept)
        self.read = tokens
        return logits

    def _kept(self, tokens: Sequence[int], most: int) -> int:
        """The positions at the beginning that hold the same text."""
        for i, (old, new) in enumerate(zip(self.read[:most], tokens)):
            if old != new:
                return i
        return min(most, len(self.read))


@checked(tokens=sequence, vocabulary=partial(whole, at_least=1, at_most=10**7))
def certain(tokens: Sequence[int], vocabulary: int) -> NDArray:  # [n] -> [n, V]
    """Rows that give each of ``tokens`` the probability 1. Raises ValueError for a token outside the vocabulary."""
    for token in tokens:
        whole("tokens", token, 0, vocabulary - 1)
    rows = np.zeros((len(tokens), vocabulary), np.float32)
    rows[np.arange(len(tokens)), np.asarray(tokens, int)] = 1
    return rows


def greedy_rows(logits: NDArray) -> NDArray:  # [n, V] -> [n, V]
    """Greedy decoding as distributions: all mass on the largest logit. Raises as ``greedy``."""
    return certain(greedy(logits), logits.shape[-1])


def margins(logits: NDArray) -> NDArray:  # [n, V] -> [n]
    """The largest logit minus the second: what rounding has to bridge before a greedy token changes.
    Raises as ``greedy``."""
    best = greedy(logits), np.arange(len(logits))
    others = logits.copy()
    others[best[::-1]] = -np.inf
    return logits[best[::-1]] - others.max(axis=-1)


@checked(plain=sequence, other=sequence)
def first_difference(plain: Sequence[int], other: Sequence[int]) -> int | None:
    """The first position at which two texts part, or None; the end of the shorter one is no difference."""
    return next((i for i, (a, b) in enumerate(zip(plain, other)) if a != b), None)
