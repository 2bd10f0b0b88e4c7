"""Accelerators: the published figures, times and bad input."""

import csv
from importlib.resources import files

import pytest
import sympy as sp

from lecture10 import H100, Accelerator, accelerators
from lecture10.notation import memory_bandwidth, peak_flops


def test_h100_as_published():
    """NVIDIA H100 data sheet, SXM5: 989 TFLOP/s dense bf16, 3.35 TB/s, 80 GB."""
    assert (H100.peak_flops, H100.memory_bandwidth, H100.memory_bytes) == (989 * 10**12, 3350 * 10**9, 80 * 10**9)
    assert H100.intensity == sp.Rational(989_000, 3350)
    assert round(H100.intensity) == 295


def test_every_figure_has_a_source_that_was_read():
    with (files("lecture10") / "data" / "accelerators.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert all(row["source"] and bool(row["link_gb_s"]) == bool(row["link_source"]) for row in rows)
    assert not [row["device"] for row in rows if "recalled" in ",".join(row.values())]
    assert {row["device"] for row in rows if row["link_gb_s"]} == {
        name for name, device in accelerators().items() if device.link_bandwidth is not None}


@pytest.mark.parametrize(("name", "gigabytes"), [
    ("A100 SXM 80GB", 12 * 25), ("H100 SXM", 18 * 25), ("B200 HGX", 18 * 50), ("MI300X", 7 * 64), ("L40S", 64 // 2),
    ("TPU v4", 6 * 45), ("TPU v5e", 4 * 45), ("TPU v5p", 6 * 90), ("TPU v6e", 4 * 90),
])
def test_links_add_up_in_one_direction(name, gigabytes):
    """Links of a device times the bytes/s of one, as the sources named in data/README.md have them."""
    assert accelerators()[name].link_bandwidth == gigabytes * 10**9


def test_times_are_quotients_and_the_longer_one_counts():
    device = Accelerator("device", 200, 10, 1)
    assert device.intensity == 20
    assert (device.compute_time(1000), device.memory_time(1000)) == (5, 100)
    assert device.time(1000, 20) == 5
    assert device.time(1000, 80) == 8
    assert device.time(1000, 50) == 5


def test_rates_may_be_symbols():
    device = Accelerator("device", peak_flops, memory_bandwidth, 1)
    assert device.intensity == peak_flops / memory_bandwidth
    assert device.time(6, 2) == sp.Max(6 / peak_flops, 2 / memory_bandwidth)


@pytest.mark.parametrize("field", ["peak_flops", "memory_bandwidth", "memory_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "80e9", True, None, [1], sp.Symbol("x"), sp.I],
                         ids=repr)
def test_quantities_that_are_not_positive(field, value):
    arguments = {"peak_flops": 1, "memory_bandwidth": 1, "memory_bytes": 1} | {field: value}
    with pytest.raises(ValueError, match=f"{field} of 'device' is .*: expected a positive quantity"):
        Accelerator("device", **arguments)
