"""Device memory for the KV cache, slot by slot: who holds what, who fits, and what the slots are good for.

Notebook: book/Lecture10-Main.ipynb. Counted on an exact integer model in which a token takes one slot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import sympy as sp

from ..checks import checked, each, function, optional, pair, pairs, sequence, text, values, whole

Memory = tuple[str | None, ...]
"""Device memory for the KV cache, one entry per token slot: the request that holds it, None when it is free."""

_AT_LEAST_1 = partial(whole, at_least=1)
_STORED = pair(whole, whole)


def _memory(name: str, value: object) -> Memory:
    """A rule: the slots of a memory, of which there are many, so their types are looked at all together."""
    slots = tuple(sequence(name, value))
    return slots if set(map(type, slots)) <= {str, type(None)} else each(optional(text))(name, slots)


@checked(memory=_memory, name=text, slots=_AT_LEAST_1, piece=_AT_LEAST_1)
def allocate(memory: Memory, name: str, slots: int, piece: int) -> Memory | None:
    """``memory`` after ``name`` took ``slots`` slots or more in pieces of ``piece`` neighbouring ones;
    None if they do not fit.

    First fit. ``piece = slots`` is contiguous allocation; ``piece = 16`` is PagedAttention with blocks of 16, where
    slots are rounded up to whole blocks and a block may lie anywhere. Raises ValueError for sizes below 1.
    """
    taken, pieces = list(memory), -(-slots // piece)
    for start, length in _holes(memory):
        for begin in range(start, start + length - piece + 1, piece)[:pieces]:
            taken[begin:begin + piece] = [name] * piece
            pieces -= 1
    return None if pieces else tuple(taken)


@checked(memory=_memory, requests=pairs(whole, whole), size=function, piece=optional(_AT_LEAST_1))
def admit(memory: Memory, requests: Sequence[tuple[int, int]], size: Callable[[int, int], int],
          piece: int | None = None) -> tuple[Memory, dict[str, tuple[int, int]]]:
    """Place ``requests`` in order until one does not fit: the memory, and the requests in it by name ("0", "1", …).

    ``size(now, final)`` is the number of slots a request asks for, in one piece or in pieces of ``piece``.
    """
    held: dict[str, tuple[int, int]] = {}
    for now, final in requests:
        slots, name = size(now, final), str(len(held))
        if (after := allocate(memory, name, slots, piece or slots)) is None:
            break
        memory, held[name] = after, (now, final)
    return memory, held


@checked(memory=_memory, name=text)
def release(memory: Memory, name: str) -> Memory:
    """``memory`` after ``name`` has given back all it holds. Raises ValueError when it holds nothing."""
    if name not in memory:
        raise ValueError(f"{name!r} holds no slot: "
                         f"expected one of {sorted({owner for owner in memory if owner is not None})}")
    return tuple(None if owner == name else owner for owner in memory)


@checked(token_states=whole, reserved=whole, internal=whole, external=whole, free=whole)
@dataclass(frozen=True)
class Usage:
    """Slots of a KV-cache memory by what they are good for; the five add up to its size.

    ``token_states``: hold a token. ``reserved``: kept for tokens that the same request will still produce.
    ``internal``: held by a request that will never fill them. ``external``: free, but in holes too small to use.
    ``free``: usable at once.
    """

    token_states: int
    reserved: int
    internal: int
    external: int
    free: int

    @property
    def share(self) -> sp.Rational:
        """Part of the memory that holds tokens, exact. Raises ValueError for a memory without slots."""
        slots = self.token_states + self.reserved + self.internal + self.external + self.free
        if not slots:
            raise ValueError("the memory has 0 slots: expected at least one, a share of nothing is undefined")
        return sp.Rational(self.token_states, slots)


@checked(memory=_memory, requests=values(_STORED), piece=_AT_LEAST_1)
def memory_usage(memory: Memory, requests: Mapping[str, tuple[int, int]], piece: int) -> Usage:
    """What the slots of ``memory`` are good for (the terms of Kwon et al., arXiv 2309.06180, section 3.1).

    ``requests[name]`` = (tokens stored now, tokens when finished). ``piece`` is what the next allocation asks for
    in one run: free slots left over when every hole is cut into such runs are external fragmentation. Raises
    ValueError when a request holds fewer slots than tokens, will finish with fewer tokens than it has now, or is
    missing from ``requests``.
    """
    held = {name: memory.count(name) for name in {*memory, *requests} - {None}}
    if missing := held.keys() - requests.keys():
        raise ValueError(f"no entry for {sorted(missing)} in requests: expected (tokens now, tokens when finished)")
    for name, (now, final) in requests.items():
        if not 0 <= now <= min(held[name], final):
            raise ValueError(f"{name!r} stores {now} of {final} tokens in {held[name]} slots: "
                             "expected no more than either")
    useful = {name: min(held[name], final) for name, (_, final) in requests.items()}
    tokens = sum(now for now, _ in requests.values())
    kept, holes = sum(useful.values()), [length for _, length in _holes(memory)]
    external = sum(length % piece for length in holes)
    return Usage(tokens, kept - tokens, sum(held.values()) - kept, external, sum(holes) - external)


def _holes(memory: Memory) -> list[tuple[int, int]]:
    """Start and length of every run of free slots."""
    holes = []
    for free, run in groupby(enumerate(memory), key=lambda entry: entry[1] is None):
        if free:
            entries = list(run)
            holes.append((entries[0][0], len(entries)))
    return holes
