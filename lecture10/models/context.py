"""The longest context that a file allows."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .config import Config

LONGEST = 10**9
MULTIPLIED = ("linear", "dynamic", "yarn")
"""Rope scalings whose factor comes on top; yarn's on top of original_max_position_embeddings, as vLLM takes it."""
INCLUDED = ("default", "llama3", "longrope", "su", "mrope", "proportional")
"""Rope scalings, or none, whose max_position_embeddings is the length with the scaling."""
ALREADY_SCALED = ("gemma2", "gemma3_text")
"""Families whose max_position_embeddings holds with any scaling."""
LENGTH: Mapping[str, str] = {
    "cohere": "model_max_length", "cohere2": "model_max_length", "kimi_linear": "model_max_length"}
"""Keys that hold instead of max_position_embeddings where a file has them."""


def max_context(c: Config, family: str) -> int | None:
    """Positions that max_position_embeddings and the rope scaling of ``c`` allow together; None if the key is absent.

    Where kinds of layers rotate differently, those that are scaled decide, as in vLLM: the others see a window.
    Raises ValueError naming the key for a scaling that is not understood.
    """
    length = LENGTH.get(family, "")
    length = length if c.given(length) else "max_position_embeddings"
    if not c.given(length):
        return None
    positions = c.size(length, at_most=LONGEST)
    key = "rope_scaling" if c.given("rope_scaling") else "rope_parameters"
    if family in ALREADY_SCALED or not c.given(key):
        return positions
    rope = c.part(key)
    kinds = [kind for kind, rotation in rope.values.items() if isinstance(rotation, Mapping)]
    parts = [rope.part(kind) for kind in kinds] or [rope]  # transformers 5 writes one for each kind of layer
    return max(_scaled(part, positions) for part in parts)


def _scaled(rope: Config, positions: int) -> int:
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
