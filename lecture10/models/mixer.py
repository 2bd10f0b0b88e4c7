"""What carries information from one position of a sequence to another, and what it keeps for that: caches and states.

Notebook: book/Lecture10-Lab-Attention.ipynb. ``layers`` has attention, ``recurrent`` and ``sparse`` the other kinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from ..checks import amount, checked, count, each, optional, size, text
from .formats import Size
from .windows import Window, reach, span


@checked(name=text, elements=size, window=optional(span), ratio=size)
@dataclass(frozen=True)
class Cached:
    """``elements`` numbers that a layer keeps for every ``ratio`` positions, of those in its ``window`` if it has one.
    """

    name: str
    elements: Size
    window: Window | None = None
    ratio: Size = 1

    @checked(context=size)
    def entries(self, context: Size) -> Size:
        """How many there are after ``context`` positions; ⌊S/ratio⌋: one counts once all its positions are there."""
        positions = reach(context, 1, self.window)
        return positions if self.ratio == 1 else sp.floor(sp.sympify(positions) / self.ratio)


@checked(recurrent=count, convolution=count, recurrent_bytes=amount)
@dataclass(frozen=True)
class State:
    """What a layer keeps of a sequence whatever its length.

    ``recurrent`` numbers of ``recurrent_bytes`` each, and the last columns of a ``convolution`` in 16 bits.
    """

    recurrent: Size = 0
    convolution: Size = 0
    recurrent_bytes: Size = 4

    @property
    def num_bytes(self) -> Size:
        return self.recurrent_bytes * self.recurrent + 2 * self.convolution


class Mixer:
    """A layer's half that mixes positions; each kind is a dataclass of sizes.

    It keeps ``caches``, which grow with the context, and a ``state``, which does not. Each kind has a name, ``kind``;
    ``heads`` and ``share(devices)``, what one of several devices holds, None where it cannot be divided whole;
    ``weights``; and ``steps(run)``, its operations in a pass but for the products with its weights.
    """

    caches: tuple[Cached, ...] = ()
    state = State()

    @checked(context=size)
    def kv_elements(self, context: Size) -> Size:
        """Cached numbers of one sequence."""
        return sum(kept.elements * kept.entries(context) for kept in self.caches)


@checked(devices=size, divided=each(size), copied=each(size))
def shares(devices: int, divided: Iterable[Size], copied: Iterable[Size] = ()) -> tuple[Size, ...] | None:
    """Each of these numbers on one of ``devices``, first the ``divided`` ones; None where one cannot be cut whole.

    Of ``copied`` ones, such as key/value heads, every device has one at least: they divide, or are divided.
    """
    if any(n % devices for n in divided) or any(n % devices and devices % n for n in copied):
        return None
    return (*(n // devices for n in divided), *(max(1, n // devices) for n in copied))
