"""Accelerators: peak rates, a bandwidth and a size, and the table of published ones."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import sympy as sp

from .checks import amount, checked, expression, optional, pairs, positive, text

PEAKS = ("16-bit", "8-bit", "4-bit")
"""Widths of arithmetic for which data sheets quote a peak."""


@checked(name=text, source=text, note=text, narrow_peaks=pairs(text, positive))
@dataclass(frozen=True)
class Accelerator:
    """Peak dense arithmetic rate (FLOP/s), device-memory bandwidth (bytes/s) and capacity (bytes, GB = 1e9).

    The two rates may be symbols. ``peak_flops`` is the 16-bit peak; ``narrow_peaks`` are (width, peak) of narrower
    arithmetic, where published. ``link_bandwidth`` (bytes/s) is what one device can send to the others of its node, in
    one direction, None if not known. Raises ValueError when a quantity is not positive.
    """

    name: str
    peak_flops: sp.Expr
    memory_bandwidth: sp.Expr
    memory_bytes: sp.Expr
    source: str = ""
    narrow_peaks: tuple[tuple[str, sp.Expr], ...] = field(default=(), repr=False)
    link_bandwidth: sp.Expr | None = field(default=None, repr=False)
    note: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for quantity in ("peak_flops", "memory_bandwidth", "memory_bytes", "link_bandwidth"):
            rule = optional(positive) if quantity == "link_bandwidth" else positive
            object.__setattr__(self, quantity, rule(f"{quantity} of {self.name!r}", getattr(self, quantity)))

    @property
    def intensity(self) -> sp.Expr:
        """Ridge point in FLOPs/byte: peak arithmetic rate over memory bandwidth."""
        return self.peak_flops / self.memory_bandwidth

    @property
    def peaks(self) -> dict[str, sp.Expr]:
        """The published peaks by width of arithmetic."""
        return {PEAKS[0]: self.peak_flops, **dict(self.narrow_peaks)}

    @checked(width=text)
    def computing_in(self, width: str) -> Accelerator:
        """The same device with the peak of ``width`` arithmetic. Raises ValueError when no such peak is published."""
        if width not in self.peaks:
            raise ValueError(f"{self.name!r} has no {width} peak: expected one of {', '.join(self.peaks)}")
        return replace(self, peak_flops=self.peaks[width], narrow_peaks=())

    @checked(devices=amount)
    def times(self, devices: sp.Expr) -> Accelerator:
        """``devices`` of them as one: rates and memory multiplied, the link left as one device has it."""
        return replace(self, peak_flops=devices * self.peak_flops, memory_bandwidth=devices * self.memory_bandwidth,
                       memory_bytes=devices * self.memory_bytes,
                       narrow_peaks=tuple((width, devices * peak) for width, peak in self.narrow_peaks))

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
        return sp.Max(self.compute_time(flops), self.memory_time(bytes_transferred))


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Published accelerators by name, from ``data/accelerators.csv``: dense peaks, exact, the source in every row."""
    with (files(__package__) / "data" / "accelerators.csv").open(encoding="utf-8", newline="") as table:
        return MappingProxyType({row["device"]: _accelerator(row) for row in csv.DictReader(table)})


def _accelerator(row: Mapping[str, str]) -> Accelerator:
    tera, giga = sp.Integer(10) ** 12, sp.Integer(10) ** 9
    narrow = {"8-bit": row["8bit_tflops_dense"], "4-bit": row["4bit_tflops_dense"]}
    return Accelerator(
        row["device"], sp.Rational(row["bf16_tflops_dense"]) * tera, sp.Rational(row["memory_bandwidth_gb_s"]) * giga,
        sp.Rational(row["memory_gb"]) * giga, source=row["source"], note=row["note"],
        narrow_peaks=tuple((width, sp.Rational(peak) * tera) for width, peak in narrow.items() if peak),
        link_bandwidth=sp.Rational(row["link_gb_s"]) * giga if row["link_gb_s"] else None)


H100 = accelerators()["H100 SXM"]
