"""Accelerators: peak rates, a bandwidth and a size, and the table of published ones."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import sympy as sp

from .checks import amount, checked, expression, optional, pairs, positive, shown, text

PEAKS = ("16-bit", "16-bit in fp16", "fp8", "fp8 in fp16", "int8", "fp4", "int4")
"""Kinds of arithmetic with a peak of their own; "in fp16" means summed in fp16, which some chips do twice as fast.

16-bit and 8-bit floats are summed in fp32 otherwise. Whole and floating numbers of one width are different
arithmetic: a chip may have one without the other.
"""

MAKERS = ("nvidia", "geforce", "tesla", "amd", "instinct", "google", "intel", "aws", "cloud")
"""Words that drivers and data sheets put before a device's name."""


@checked(name=text, source=text, note=text, narrow_peaks=pairs(text, positive))
@dataclass(frozen=True)
class Accelerator:
    """Peak dense arithmetic rate (FLOP/s), device-memory bandwidth (bytes/s) and capacity (bytes, GB = 1e9).

    The two rates may be symbols. ``peak_flops`` is the 16-bit peak; ``narrow_peaks`` are (arithmetic, peak) of the
    others in ``PEAKS`` that the chip has. ``link_bandwidth`` (bytes/s) is what one device can send to the others of
    its node, in one direction, None if not known. ``memory_bytes`` is the nominal size, ``driver_bytes`` what the
    driver offers, None if not known, and ``driver_source`` who read it; ``aliases`` are other names. Raises
    ValueError when a quantity is not positive.
    """

    name: str
    peak_flops: sp.Expr
    memory_bandwidth: sp.Expr
    memory_bytes: sp.Expr
    source: str = ""
    narrow_peaks: tuple[tuple[str, sp.Expr], ...] = field(default=(), repr=False)
    link_bandwidth: sp.Expr | None = field(default=None, repr=False)
    note: str = field(default="", repr=False)
    driver_bytes: sp.Expr | None = field(default=None, repr=False)
    driver_source: str = field(default="", repr=False)
    aliases: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for quantity in ("peak_flops", "memory_bandwidth", "memory_bytes", "link_bandwidth", "driver_bytes"):
            rule = optional(positive) if quantity in ("link_bandwidth", "driver_bytes") else positive
            object.__setattr__(self, quantity, rule(f"{quantity} of {self.name!r}", getattr(self, quantity)))

    @property
    def capacity(self) -> sp.Expr:
        """Bytes that can hold something: what the driver offers, or the nominal size where that is not known."""
        return self.memory_bytes if self.driver_bytes is None else self.driver_bytes

    @property
    def capacity_basis(self) -> str:
        """Where ``capacity`` comes from: "driver" with its reader, or "data sheet" (nominal: the driver's may
        differ)."""
        return "data sheet, nominal" if self.driver_bytes is None else f"driver ({self.driver_source or 'as given'})"

    @property
    def intensity(self) -> sp.Expr:
        """Ridge point in FLOPs/byte: peak arithmetic rate over memory bandwidth."""
        return self.peak_flops / self.memory_bandwidth

    @property
    def peaks(self) -> dict[str, sp.Expr]:
        """The published peaks by kind of arithmetic."""
        return {PEAKS[0]: self.peak_flops, **dict(self.narrow_peaks)}

    @checked(arithmetic=text)
    def computing_in(self, arithmetic: str) -> Accelerator:
        """The same device with the peak of ``arithmetic``. Raises ValueError when the chip has none or none is
        published."""
        if arithmetic not in self.peaks:
            alike = [kind for kind in self.peaks if {kind[:-1], arithmetic[:-1]} == {"fp", "int"}
                     and kind[-1] == arithmetic[-1]]
            reason = f", of that width only {' and '.join(alike)}" if alike else ""
            raise ValueError(f"{self.name!r} has no {shown(arithmetic)[1:-1]} peak{reason}: expected one of "
                             f"{', '.join(self.peaks)}")
        return replace(self, peak_flops=self.peaks[arithmetic], narrow_peaks=())

    @checked(devices=amount)
    def times(self, devices: sp.Expr) -> Accelerator:
        """``devices`` of them as one: rates and memory multiplied, the link left as one device has it."""
        return replace(self, peak_flops=devices * self.peak_flops, memory_bandwidth=devices * self.memory_bandwidth,
                       memory_bytes=devices * self.memory_bytes,
                       driver_bytes=None if self.driver_bytes is None else devices * self.driver_bytes,
                       narrow_peaks=tuple((kind, devices * peak) for kind, peak in self.narrow_peaks))

    @checked(flops=expression)
    def compute_time(self, flops: sp.Expr) -> sp.Expr:
        """Seconds that the arithmetic alone takes at the peak rate."""
        return flops / self.peak_flops

    @checked(bytes_transferred=expression)
    def memory_time(self, bytes_transferred: sp.Expr) -> sp.Expr:
        """Seconds that the transfers alone take at full bandwidth."""
        return bytes_transferred / self.memory_bandwidth

    def time(self, flops: sp.Expr, bytes_transferred: sp.Expr) -> sp.Expr:
        """Seconds when the two overlap perfectly: the longer of them (the roofline)."""
        compute, move = self.compute_time(flops), self.memory_time(bytes_transferred)
        if compute.is_Number and move.is_Number:  # SymPy's Max of two numbers needs a hundred times as long
            return max(compute, move)
        return sp.Max(compute, move)


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Published accelerators by name, from ``data/accelerators.csv``: dense peaks, exact, the source in every row."""
    with (files(__package__) / "data" / "accelerators.csv").open(encoding="utf-8", newline="") as table:
        return MappingProxyType({row["device"]: _accelerator(row) for row in csv.DictReader(table)})


def _accelerator(row: Mapping[str, str]) -> Accelerator:
    tera, giga = sp.Integer(10) ** 12, sp.Integer(10) ** 9
    columns = ("16bit_in_fp16_tflops", "fp8_tflops", "fp8_in_fp16_tflops", "int8_tops", "fp4_tflops", "int4_tops")
    return Accelerator(
        row["device"], sp.Rational(row["16bit_tflops"]) * tera, sp.Rational(row["memory_bandwidth_gb_s"]) * giga,
        sp.Rational(row["memory_gb"]) * giga, source=row["source"], note=row["note"],
        narrow_peaks=tuple((kind, sp.Rational(row[column]) * tera)
                           for kind, column in zip(PEAKS[1:], columns) if row[column]),
        link_bandwidth=sp.Rational(row["link_gb_s"]) * giga if row["link_gb_s"] else None,
        driver_bytes=sp.Integer(row["driver_bytes"]) if row["driver_bytes"] else None,
        driver_source=row["driver_source"], aliases=tuple(filter(None, row["aliases"].split(";"))))


def find_accelerator(name: str) -> Accelerator:
    """The accelerator of that name as people, data sheets or drivers write it.

    ``H100``, ``NVIDIA H100 80GB HBM3``, ``rtx4090``: case, spaces, makers' words and a remark in parentheses do
    not matter; everything else must be the table's name or one of its aliases, so that a sibling (``RTX 4090 D``,
    ``A100-PCIE-40GB``) is not taken for it. Raises ValueError that suggests.
    """
    if not isinstance(name, str) or len(name) > 200:
        raise ValueError(f"no accelerator {str(name)[:40]!r}: expected a name such as 'H100 SXM'")
    known, wanted = _by_key(), _key(name)
    if wanted in known:
        return known[wanted]
    near = [k for k in known if wanted and (wanted in k or k in wanted)]
    near = near or get_close_matches(wanted, known, n=1, cutoff=0.3)
    names = list(dict.fromkeys(known[k].name for k in near))
    hint = f"did you mean {' or '.join(map(repr, names))}?" if names else f"expected one of {', '.join(accelerators())}"
    raise ValueError(f"no accelerator {name!r}: {hint}")


@cache
def _by_key() -> Mapping[str, Accelerator]:
    return {_key(each): card for card in accelerators().values() for each in (card.name, *card.aliases)}


def _key(name: str) -> str:
    words = re.sub(r"[^a-z0-9.]+", " ", re.sub(r"\(.*?\)", " ", name).lower()).split()
    return "".join(word for word in words if word not in MAKERS)


H100 = accelerators()["H100 SXM"]
