"""Accelerators: two rates and a size."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from .notation import positive


@dataclass(frozen=True)
class Accelerator:
    """Peak dense arithmetic rate (FLOP/s), device-memory bandwidth (bytes/s) and capacity (bytes, GB = 1e9).

    The two rates may be symbols. Raises ValueError when a quantity is not positive.
    """

    name: str
    peak_flops: sp.Expr
    memory_bandwidth: sp.Expr
    memory_bytes: sp.Expr
    source: str = ""

    def __post_init__(self) -> None:
        for quantity in ("peak_flops", "memory_bandwidth", "memory_bytes"):
            object.__setattr__(self, quantity, positive(f"{quantity} of {self.name!r}", getattr(self, quantity)))

    @property
    def intensity(self) -> sp.Expr:
        """Ridge point in FLOPs/byte: peak arithmetic rate over memory bandwidth."""
        return self.peak_flops / self.memory_bandwidth

    def compute_time(self, flops: sp.Expr) -> sp.Expr:
        """Seconds that the arithmetic alone takes at the peak rate."""
        return flops / self.peak_flops

    def memory_time(self, bytes_transferred: sp.Expr) -> sp.Expr:
        """Seconds that the transfers alone take at full bandwidth."""
        return bytes_transferred / self.memory_bandwidth

    def time(self, flops: sp.Expr, bytes_transferred: sp.Expr) -> sp.Expr:
        """Seconds when the two overlap perfectly: the longer of them (the roofline)."""
        return sp.Max(self.compute_time(flops), self.memory_time(bytes_transferred))


H100 = Accelerator("H100 SXM", 989 * 10**12, 3350 * 10**9, 80 * 10**9,
                   source="NVIDIA H100 data sheet, SXM5: bf16/fp16 Tensor Core, dense (1979 TFLOP/s with sparsity, halved)")
