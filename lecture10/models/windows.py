"""Which positions a layer sees: all before a token, the last ones, or those of its chunk.

Notebook: book/Lecture10-Lab-Models.ipynb. The last ``tokens`` of ``context`` positions are queries; each sees itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import sympy as sp

from ..checks import amount, checked, optional, size
from ..intensity import causal_pairs
from .formats import Size


@checked(size=size)
@dataclass(frozen=True)
class Chunk:
    """Positions are cut into pieces of ``size``; a token sees its own piece, up to itself (Llama 4's local layers)."""

    size: Size

    def __str__(self) -> str:
        return f"chunk {self.size}"

    @checked(position=size)
    def start(self, position: Size) -> Size:
        """Where the piece begins that the position after ``position`` positions is in: C·⌊position/C⌋."""
        return self.size * sp.floor(sp.sympify(position) / self.size)


Window = Size | Chunk
"""The last positions that a token sees, itself among them, or a rule that cuts them into pieces."""
Pairs = Callable[[Size, Size, Window | None], Size]
"""(context, tokens, window) → query–key pairs of one sequence in one head."""


def span(name: str, value: object) -> Window:
    """A rule of ``checks``: a window."""
    return value if isinstance(value, Chunk) else size(name, value)


@checked(a=amount, b=amount)
def least(a: Size, b: Size) -> Size:
    """Min(a, b); SymPy's Min of two numbers needs a hundred times as long."""
    return min(a, b) if sp.sympify(a).is_Number and sp.sympify(b).is_Number else _least(a, b)


_least = cache(sp.Min)
"""Layers of a kind, and their shares on several devices, compare the same expressions, which SymPy takes long to do."""


@checked(context=size, tokens=size, window=optional(span))
def reach(context: Size, tokens: Size, window: Window | None) -> Size:
    """Positions whose keys a layer holds: all of the context, or those that ``tokens`` queries see.

    Through a window W: min(S, T + W − 1). In chunks of C: all from the first query's chunk on, S − C·⌊(S − T)/C⌋, in
    decode ((S − 1) mod C) + 1.
    """
    if window is None:
        return context
    if isinstance(window, Chunk):
        return context if context == tokens else context - window.start(context - tokens)
    return least(context, tokens + window - 1)


@checked(context=size, tokens=size, window=optional(span))
def all_pairs(context: Size, tokens: Size, window: Window | None = None) -> Size:
    """Pairs in a dense kernel: every query meets every key at hand, the masked ones too."""
    return tokens * reach(context, tokens, window)


@checked(context=size, tokens=size, window=optional(span))
def visible_pairs(context: Size, tokens: Size, window: Window | None = None) -> Size:
    """Pairs that a causal mask and a local window leave; the last ``tokens`` of ``context`` positions are queries."""
    if window is None:
        return causal_pairs(context, tokens)
    if tokens == 1:
        return reach(context, 1, window)
    return _pairs_up_to(context, window) - (_pairs_up_to(context - tokens, window) if context != tokens else 0)


def _pairs_up_to(position: Size, window: Window) -> Size:
    """Pairs of the first ``position`` queries: the first ``window`` see all before them, the rest a full window.

    In chunks: all pairs of every piece that is full, and those of the last.
    """
    if isinstance(window, Chunk):
        full, rest = window.start(position) / window.size, position - window.start(position)
        begun = causal_pairs(rest, rest) if rest != 0 else 0
        return full * causal_pairs(window.size, window.size) + begun
    growing = least(position, window)
    return causal_pairs(growing, growing) + (position - growing) * window
