"""A model with the formats that its folder keeps each matrix in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from .experts import MixtureOfExperts
from .formats import Format, Stored
from .layers import Layer
from .modules import BEFORE, LAYER, NO_MATRIX, PREFIXES, matrices, runs, template
from .quantized import Storage
from .transformer import Transformer

CORRECTED = ("deepseek_v3", "glm4_moe", "minimax_m2", "mimo_v2_flash", "step3p5", "deepseek_v32", "glm_moe_dsa",
             "minimax_m3", "kimi_linear", "nemotron_h", "lfm2_moe")
"""Families whose routers have a correction bias: in the file, but no parameter."""


def store(model: Transformer, family: str, kept: Storage) -> Transformer:
    """``model``, whose layers stand in order, with the formats of ``kept``; equal layers become one kind.

    Raises ValueError when the experts of one layer differ in their formats.
    """
    ordered = [layer for count, layer in model.layers for _ in range(count)]
    if kept.rules:
        layers = [replace(layer, stored=_stored(kept, family, i, layer)) for i, layer in enumerate(ordered)]
    else:  # then it does not matter where a layer stands
        kinds = {layer: replace(layer, stored=_stored(kept, family, 0, layer)) for layer in {*ordered}}
        layers = [kinds[layer] for layer in ordered]
    head = kept.format_of("lm_head") if kept.head and not model.tied else None
    outside = Stored(kept.element, (("output embedding", (head,), 0),) if head else ())
    return replace(grouped(model, layers), stored=outside, kv_bytes=kept.kv_bytes,
                   notes=_strangers(kept, family, ordered))


def grouped(model: Transformer, layers: Iterable[Layer]) -> Transformer:
    """``model`` with ``layers``, equal ones as one kind."""
    return replace(model, layers=tuple((count, layer) for layer, count in Counter(layers).items()))


def _stored(kept: Storage, family: str, i: int, layer: Layer) -> Stored:
    parts, names = [], matrices(family, layer) if kept.rules else {}
    for weights in layer.weights:
        own = names.get(weights.operation, ())
        if kept.rules and weights.shapes and weights.operation != "router" and not own:
            raise ValueError(f"quantization_config: how folders of {family} keep their {weights.operation} is not "
                             "known: expected weights that are not quantized")
        formats = tuple(name and _format(kept, _prefix(family, i) + name, weights.copies) for name in own)
        beside = _beside(kept, family, layer, weights.operation)
        if any(formats) or beside:
            parts.append((weights.operation, formats or (None,) * len(weights.shapes), beside))
    return Stored(kept.element, tuple(parts))


def _strangers(kept: Storage, family: str, layers: list[Layer]) -> tuple[str, ...]:
    """A note on modules that a file lists inside these layers and that no layer has."""
    listed = {name for names in (kept.ignored, *(names for names, _ in kept.rules)) for name in names.exact
              if (found := LAYER.search(name)) and int(found[1]) < len(layers) and not NO_MATRIX.search(name)}
    known = {run for layer in {*layers} for names in matrices(family, layer).values() for name in names if name
             for run in runs(template(_prefix(family, 0) + name))}
    strange = sorted(name for name in listed if template(name) not in known)
    return (f"listed and none of this model: {strange[0]}, {len(strange)} such modules",) if strange else ()


def _prefix(family: str, i: int) -> str:
    return f"{BEFORE.get(family, PREFIXES[0])}{i}."


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
