"""The context from which a draft with part of the cache pays.

Notebook: book/Lecture10-Lab-Speculative.ipynb.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import partial

from ..checks import checked, instance, mapping, rational, whole
from ..hardware import H100, Accelerator
from ..notation import S, bindings
from ..speedup import batch_improvement

LONGEST_CONTEXT = 10**7
"""Tokens up to which a context is looked for."""


@checked(alpha=partial(rational, at_most=1), gamma=whole, config=mapping,
         window=partial(whole, at_least=1, at_most=LONGEST_CONTEXT), accelerator=instance(Accelerator))
def crossing_context(alpha: object, gamma: int, config: Mapping, window: int,
                     accelerator: Accelerator = H100) -> int | None:
    """The shortest context above ``window`` for which a batch gains from a draft that is the model itself with only the
    last ``window`` positions of its cache (MagicDec, Sadhukhan et al., 2408.11049); None where even ``LONGEST_CONTEXT``
    does not.

    config: sizes with a number for B, without S. c falls with the context, for the draft reads all weights but a part
    of the cache; check falls towards 1. Raises as ``batch_improvement``.
    """
    sizes = bindings(config)
    gain = batch_improvement(alpha, gamma, {**sizes, S: S}, {**sizes, S: window}, accelerator)

    def pays(context: int) -> bool:
        return bool(gain.subs(S, context) > 1)

    first = window + gamma + 1
    found = first + bisect_left(range(first, LONGEST_CONTEXT), True, key=pays)
    return found if found < LONGEST_CONTEXT else None
