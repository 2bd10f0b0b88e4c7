"""The formats of compressed-tensors, the layout that llm-compressor writes and vLLM reads.

Notebook: book/Lecture10-Lab-Models.ipynb. A group of modules has a format; scales are in the number format of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from .config import Config
from .formats import MXFP4, NVFP4, Format, Scale

LAYOUTS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "pack-quantized": (("int", 4), ("int", 8)), "int-quantized": (("int", 8),), "float-quantized": (("float", 8),),
    "naive-quantized": (("int", 8), ("float", 8)), "nvfp4-pack-quantized": (("float", 4),),
    "mxfp4-pack-quantized": (("float", 4),)}
"""The layouts that are understood, and the kinds and bits of their payload."""


def packed(group: Config, layout: object, element: int) -> Format:
    """What a group stores of a matrix, in ``layout`` unless it names its own; ``element`` bytes a scale.

    Raises ValueError naming the key of what is not understood.
    """
    layout, w = group.values.get("format") or layout, group.part("weights")
    kind, bits = w.values.get("type"), w.size("num_bits", at_least=2, at_most=8)
    if not isinstance(layout, str) or (kind, bits) not in LAYOUTS.get(layout, ()):
        raise ValueError(f"{group.where}: {bits}-bit {kind!r} in format {layout!r}: expected one of {_known()}")
    if layout == "nvfp4-pack-quantized":
        w.demand("group_size", (16, None), "as nvfp4 has it")
        return NVFP4 if group.given("input_activations") else Format("nvfp4a16", 4, NVFP4.scales[:2], padding=16)
    if layout == "mxfp4-pack-quantized":
        w.demand("group_size", (32, None), "as mxfp4 has it")
        return MXFP4
    beside = _beside(group, w, layout, element)
    padding = 32 // bits if layout == "pack-quantized" else 1  # whole 32-bit words
    return Format(f"{kind}{bits} {w.values.get('strategy')}", bits, (_scale(w, element), *beside), padding)


def _known() -> str:
    return ", ".join(f"{layout} ({' '.join(f'{kind}{bits}' for kind, bits in kinds)})"
                     for layout, kinds in LAYOUTS.items())


def _scale(w: Config, element: int) -> Scale:
    size = element + (0 if w.flag("symmetric", True) else sp.Rational(w.size("num_bits"), 8))
    strategy = w.values.get("strategy") or "tensor"
    if strategy == "block":
        rows, columns = w.sizes("block_structure", 2)
        return Scale(size, columns, rows)
    if strategy not in ("tensor", "channel", "group"):
        raise w.wrong("strategy", "tensor, channel, group or block")
    return Scale(size, w.size("group_size") if strategy == "group" else None, None if strategy == "tensor" else 1)


def _beside(group: Config, w: Config, layout: str, element: int) -> tuple[Scale, ...]:
    """What does not depend on the scales of the weights: a packed matrix' shape, the order of inputs, their scale."""
    static = group.given("input_activations") and not group.part("input_activations").flag("dynamic", False)
    shape = (Scale(8),) if layout == "pack-quantized" else ()
    order = (Scale(4, 1),) if w.values.get("actorder") == "group" else ()
    return shape + order + ((Scale(element),) if static else ())
