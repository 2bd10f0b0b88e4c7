"""A model with the formats that its folder keeps each matrix in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from .formats import Format, Stored
from .layers import MixtureOfExperts
from .modules import PREFIXES, matrices
from .quantized import Storage
from .transformer import Layer, Transformer

CORRECTED = ("deepseek_v3",)
"""Families whose routers have a correction bias: in the file, but no parameter."""


def store(model: Transformer, family: str, kept: Storage) -> Transformer:
    """``model``, whose layers stand in order, with the formats of ``kept``; equal layers become one kind.

    Raises ValueError when the experts of one layer differ in their formats.
    """
    ordered = (layer for count, layer in model.layers for _ in range(count))
    layers = [replace(layer, stored=_stored(kept, family, i, layer)) for i, layer in enumerate(ordered)]
    head = kept.format_of("lm_head") if kept.head and not model.tied else None
    outside = Stored(kept.element, (("output embedding", (head,), 0),) if head else ())
    return replace(grouped(model, layers), stored=outside, kv_bytes=kept.kv_bytes)


def grouped(model: Transformer, layers: Iterable[Layer]) -> Transformer:
    """``model`` with ``layers``, equal ones as one kind."""
    return replace(model, layers=tuple((count, layer) for layer, count in Counter(layers).items()))


def _stored(kept: Storage, family: str, i: int, layer: Layer) -> Stored:
    parts, names = [], matrices(family, layer) if kept.rules else {}
    for weights in layer.weights:
        prefix = f"transformer.h.{i}." if family == "gpt2" else f"{PREFIXES[0]}{i}."
        formats = tuple(_format(kept, prefix + name, weights.copies) for name in names.get(weights.operation, ()))
        beside = _beside(kept, family, layer, weights.operation)
        if any(formats) or beside:
            parts.append((weights.operation, formats or (None,) * len(weights.shapes), beside))
    return Stored(kept.element, tuple(parts))


def _beside(kept: Storage, family: str, layer: Layer, operation: str) -> int:
    """Bytes that are stored with an operation and are no parameters."""
    if operation == "router" and family in CORRECTED and isinstance(layer.mlp, MixtureOfExperts):
        return kept.buffer_bytes * layer.mlp.experts
    return kept.layer_bytes if operation == "attention projections" else 0


def _format(kept: Storage, name: str, experts: int) -> Format | None:
    numbers = {"0"} | {number for number in kept.experts if int(number) < experts} if "*" in name else {""}
    found = {kept.format_of(name.replace("*", number)) for number in numbers}
    if len(found) > 1:
        raise ValueError(f"quantization_config: the experts of {name} differ in their formats: expected one for all")
    return found.pop()
