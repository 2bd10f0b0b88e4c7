"""The longest context that a file allows."""

from __future__ import annotations

import math

from .config import Config

LONGEST = 10**9
MULTIPLIED = ("linear", "dynamic", "yarn")
"""Rope scalings whose factor comes on top; yarn's on top of original_max_position_embeddings, as vLLM takes it."""
INCLUDED = ("default", "llama3", "longrope", "su", "mrope", "proportional")
"""Rope scalings, or none, whose max_position_embeddings is the length with the scaling."""
ALREADY_SCALED = ("gemma2", "gemma3_text")
"""Families whose max_position_embeddings holds with any scaling."""


def max_context(c: Config, family: str) -> int | None:
    """Positions that max_position_embeddings and the rope scaling of ``c`` allow together; None if the key is absent.

    Raises ValueError naming the key for a scaling that is not understood.
    """
    if not c.given("max_position_embeddings"):
        return None
    positions = c.size("max_position_embeddings", at_most=LONGEST)
    key = "rope_scaling" if c.given("rope_scaling") else "rope_parameters"
    if family in ALREADY_SCALED or not c.given(key):
        return positions
    rope = c.part(key)
    name = "rope_type" if rope.given("rope_type") else "type"
    kind = rope.values.get(name) or "default"
    if kind in INCLUDED:
        return positions
    if kind not in MULTIPLIED:
        raise rope.wrong(name, f"one of {', '.join(INCLUDED + MULTIPLIED)}")
    factor = rope.values.get("factor")
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 1 <= factor <= LONGEST:
        raise rope.wrong("factor", "a number of at least 1")
    original = rope.given("original_max_position_embeddings") and kind == "yarn"
    start = rope.size("original_max_position_embeddings", at_most=LONGEST) if original else positions
    return math.floor(start * factor)
