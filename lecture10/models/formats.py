"""Storage formats of weights: payload bits, and the scales of each group, give the bytes of a matrix exactly.

Notebook: book/Lecture10-Lab-Models.ipynb. Sizes are whole numbers or symbols; a group may be a symbol too, so that
4.25 bits, or the group at which 8 bits and a scale cost as much as 16, come out as algebra.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import sympy as sp

from ..checks import (
    amount,
    checked,
    count,
    each,
    flag,
    instance,
    nonnegative,
    optional,
    pairs,
    positive,
    record,
    refused,
    size,
    text,
    whole,
)

Size = sp.Expr | int


@checked(size=amount, inputs=optional(size), outputs=optional(size), flat=flag)
@dataclass(frozen=True)
class Scale:
    """``size`` bytes for every started group of ``inputs`` × ``outputs`` weights; None: as many as the matrix has.

    A scale, a zero point or an index. ``flat``: groups of ``inputs`` weights that run on from one output to the next.
    Raises ValueError for sizes that are none, and ``flat`` groups without one.
    """

    size: Size
    inputs: Size | None = None
    outputs: Size | None = None
    flat: bool = False

    def __post_init__(self) -> None:
        if self.flat and self.inputs is None:
            raise refused("inputs", None, "the size of a group, since flat is True")

    @checked(inputs=size, outputs=size)
    def num_bytes(self, inputs: Size, outputs: Size) -> Size:
        """size · ⌈I/i⌉ · ⌈O/o⌉ of a matrix with I inputs and O outputs."""
        if self.flat:
            return self.size * _groups(inputs * outputs, self.inputs)
        columns = 1 if self.inputs is None else _groups(inputs, self.inputs)
        return self.size * columns * (1 if self.outputs is None else _groups(outputs, self.outputs))


def _groups(weights: Size, group: Size) -> Size:
    """How many groups are started; of whole numbers at once, SymPy takes long."""
    if isinstance(weights, int) and isinstance(group, int):
        return -(-weights // group)
    return sp.ceiling(sp.sympify(weights) / group)


@checked(name=text, bits=nonnegative, scales=each(instance(Scale)), padding=partial(whole, at_least=1))
@dataclass(frozen=True)
class Format:
    """``bits`` a weight, ``scales`` beside them; inputs are padded to a multiple of ``padding``, as packing needs it.

    Raises ValueError for bits outside 0 to 64.
    """

    name: str
    bits: Size
    scales: tuple[Scale, ...] = ()
    padding: int = 1

    def __post_init__(self) -> None:
        if (self.bits - 64).is_positive:
            raise refused("bits", self.bits, "a number between 0 and 64")

    @checked(inputs=size, outputs=size)
    def matrix_bytes(self, inputs: Size, outputs: Size) -> Size:
        """Bytes of a matrix with ``inputs`` columns and ``outputs`` rows: bits/8 · I · O and the scales."""
        padded = self.padding * _groups(inputs, self.padding)
        return self.bits / 8 * padded * outputs + sum(s.num_bytes(inputs, outputs) for s in self.scales)

    @property
    def bits_per_weight(self) -> sp.Expr:
        """Bits of a weight in a large matrix, where what there is once for all inputs or all outputs vanishes."""
        shared = [(s.size, s.inputs if s.flat else (s.inputs or sp.oo) * (s.outputs or sp.oo)) for s in self.scales]
        return self.bits + sum(8 * sp.sympify(size) / group for size, group in shared)


@checked(bits=nonnegative, group=optional(size), zero_points=nonnegative)
def integers(bits: Size, group: Size | None, *, zero_points: Size = 0) -> Format:
    """Integers with a 16-bit scale and ``zero_points`` bits for each ``group`` of inputs of an output; None: all."""
    scale = Scale(2 + sp.sympify(zero_points) / 8, group, 1)
    return Format(f"int{bits}" + ("" if group is None else f" g{group}"), bits, (scale,))


TENSOR = Scale(4)
"""One fp32 number for a whole matrix."""
MXFP4 = Format("mxfp4", 4, (Scale(1, 32, 1),), padding=32)
"""OCP microscaling: 4-bit floats, an 8-bit exponent for 32 of them."""
MXFP8 = Format("mxfp8", 8, (Scale(1, 32, 1),), padding=32)
"""OCP microscaling: 8-bit floats, an 8-bit exponent for 32 of them."""
NVFP4 = Format("nvfp4", 4, (Scale(1, 16, 1), TENSOR, TENSOR), padding=16)
"""4-bit floats, an 8-bit float for 16 of them, an fp32 scale for the weights and one for the inputs of a matrix."""
FP8_BLOCK = Format("fp8 128x128", 8, (Scale(4, 128, 128),))
"""DeepSeek-V3: 8-bit floats, an fp32 scale for each started tile."""
NF4 = Format("nf4", 4, (Scale(4, 64, flat=True),))
"""bitsandbytes: 4 bits, an fp32 scale for 64 weights (Dettmers et al., 2305.14314, section 3)."""
NF4_DOUBLE = Format("nf4 double", 4, (Scale(1, 64, flat=True), Scale(4, 64 * 256, flat=True)))
"""The scales of ``NF4`` in 8 bits, with an fp32 scale for 256 of them."""

BYTES: Mapping[str, sp.Expr] = MappingProxyType({
    "fp32": sp.Integer(4), "bf16": sp.Integer(2), "fp16": sp.Integer(2), "fp8": sp.Integer(1), "int8": sp.Integer(1),
    "fp4": sp.Rational(1, 2), "int4": sp.Rational(1, 2)})
"""Bytes per element of each format, without the scales of a quantized one."""

FORMATS: Mapping[str, Format] = MappingProxyType(
    {"mxfp4": MXFP4, "nvfp4": NVFP4, "fp8-block": FP8_BLOCK, "nf4": NF4, "nf4-double": NF4_DOUBLE,
     "int4-g128": integers(4, 128), "int4-g32": integers(4, 32), "q8_0": integers(8, 32), "q4_0": integers(4, 32)})
"""Formats with scales by name: what a call or the command may ask for instead of what a file says."""


_FORMAT = optional(instance(Format))
_MATRICES = {"operation": text, "shapes": pairs(size, size), "vectors": count}


@checked(element=amount, parts=each(record(text, each(_FORMAT), whole)), default=_FORMAT)
@dataclass(frozen=True)
class Stored:
    """How the weights of a layer are kept: ``element`` bytes of every number without a format of its own.

    ``parts`` are (operation, format of each of its matrices or None, bytes beside them); ``default`` is the format of
    the matrices of all other operations but routers and embeddings, which quantization leaves alone.
    """

    element: Size = 2
    parts: tuple[tuple[str, tuple[Format | None, ...], int], ...] = ()
    default: Format | None = None

    @checked(**_MATRICES)
    def num_bytes(self, operation: str, shapes: tuple[tuple[Size, Size], ...], vectors: Size) -> Size:
        """Bytes of the matrices (inputs, outputs) of ``operation`` and of ``vectors`` numbers beside them."""
        kept, beside = self._kept(operation, len(shapes))
        matrices = sum(self.element * i * o if form is None else form.matrix_bytes(i, o)
                       for form, (i, o) in zip(kept, shapes, strict=True))
        return matrices + self.element * vectors + beside

    @checked(**_MATRICES)
    def names(self, operation: str, shapes: tuple[tuple[Size, Size], ...], vectors: Size) -> tuple[str, ...]:
        """What the matrices and vectors of ``operation`` are kept in."""
        kept, _ = self._kept(operation, len(shapes))
        return tuple(f"{8 * self.element}-bit" if form is None else form.name
                     for form in (*kept, *(() if vectors == 0 else (None,))))

    def _kept(self, operation: str, count: int) -> tuple[tuple[Format | None, ...], int]:
        """The format of each of ``count`` matrices, and bytes beside them."""
        usual = None if operation in ("router", "input embedding", "output embedding") else self.default
        return next(((formats, more) for name, formats, more in self.parts if name == operation),
                    ((usual,) * count, 0))

    def instead(self, weight_bytes: Size | Format | None) -> Stored:
        """The same with ``weight_bytes`` for every number, or another format of all matrices; None changes nothing."""
        if weight_bytes is None:
            return self
        if isinstance(weight_bytes, Format):
            return replace(self, parts=(), default=weight_bytes)
        return Stored(weight_bytes)


PLAIN = Stored()
"""Two bytes for every number."""


def weight_format(name: str, value: object, plain: bool = False) -> Size | Format | None:
    """``value`` of the argument ``name``: bytes per element, a ``Format`` or the name of one; None: as the file says.

    ``plain``: no format with scales will do. Raises ValueError for anything else, naming the argument.
    """
    known = BYTES if plain else BYTES | FORMATS
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    if value is None or (isinstance(value, Format) and not plain):
        return value
    try:
        return positive(name, value)
    except ValueError:
        raise refused(name, value, f"bytes per element or one of {', '.join(known)}") from None
