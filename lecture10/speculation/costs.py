"""What verification costs an accelerator: its measured curve, and the context from which speculation pays.

Notebook: book/Lecture10-Lab-Speculative.ipynb.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files

from ..checks import checked, instance, mapping, refused, text, whole
from ..hardware import H100, Accelerator
from ..measurements.timings import Timing, timings
from ..notation import S, bindings
from ..speculative import batch_improvement

LONGEST_CONTEXT = 10**7
"""Tokens up to which a context is looked for."""


@cache
def _passes() -> tuple[Timing, ...]:
    return tuple(timing for timing in timings(files("lecture10.measurements") / "data" / "llama13b.csv")
                 if timing.what in ("pass", "decode"))


@checked(device=text, batch=whole)
def verification_curve(device: str, batch: int, context: int = 1024, kv_heads: int = 40) -> dict[int, Timing]:
    """The measured passes of Llama-2-13B over T = 1, 2, … tokens a sequence, by T: T = 1 a decoding step.

    Raises ValueError where nothing was measured.
    """
    rows = {int(timing.row["T"]): timing for timing in _passes()
            if (timing.row["device"], *(int(timing.row[key]) for key in "BSK")) == (device, batch, context, kv_heads)}
    if len(rows) < 2:
        known = sorted({(timing.row["device"], int(timing.row["B"])) for timing in _passes() if timing.what == "pass"})
        raise refused("(device, batch)", (device, batch), f"one of {known}")
    return dict(sorted(rows.items()))


@checked(config=mapping, window=partial(whole, at_least=1, at_most=LONGEST_CONTEXT), accelerator=instance(Accelerator))
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
