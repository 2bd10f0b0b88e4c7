"""Accelerators: the published figures, times and bad input."""

import csv
from importlib.resources import files

import pytest
import sympy as sp

from lecture10 import H100, Accelerator, accelerators, find_accelerator
from lecture10.hardware import PEAKS
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
    ("TPU v4", 6 * 45), ("TPU v5e", 4 * 45), ("TPU v5p", 6 * 90), ("TPU v6e", 4 * 90), ("H20", 18 * 25),
    ("B300 HGX", 18 * 50), ("GB200", 18 * 50), ("GB300", 18 * 50), ("RTX 4090", 32), ("RTX 5090", 2 * 32),
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


@pytest.mark.parametrize(("name", "mebibytes"), [
    ("A100 SXM 80GB", 81920), ("A100 SXM 40GB", 40960), ("L40S", 46068), ("L4", 23034), ("T4", 15360),
    ("RTX 4090", 24564),
    ("RTX 3090", 24576), ("RTX 5090", 32607), ("RTX PRO 6000", 97887), ("H20", 97871), ("B200 HGX", 183359),
    ("B300 HGX", 275040), ("GB200", 189471)])
def test_memory_as_the_driver_reports_it(name, mebibytes):
    """nvidia-smi, as the ``driver_source`` of the row has it."""
    card = accelerators()[name]
    assert card.capacity == card.driver_bytes == mebibytes * 2**20 and card.driver_source in card.capacity_basis


def test_memory_as_measured():
    assert accelerators()["H100 SXM"].capacity == 85_017_493_504
    assert accelerators()["H200 SXM"].capacity == 150_109_880_320
    assert accelerators()["MI300X"].capacity == 206_141_652_992  # rocm-smi


def test_where_no_driver_was_read_the_size_is_nominal():
    card = accelerators()["MI355X"]
    assert (card.capacity, card.capacity_basis) == (288 * 10**9, "data sheet, nominal")
    assert all(bool(card.driver_source) == (card.driver_bytes is not None) for card in accelerators().values())
    assert all(0.94 < card.capacity / card.memory_bytes < 1.1 for card in accelerators().values())


def test_several_devices_have_several_memories():
    assert H100.times(8).capacity == 8 * H100.capacity
    assert accelerators()["MI355X"].times(2).capacity == 576 * 10**9


@pytest.mark.parametrize(("name", "peaks"), [
    ("V100 SXM2 32GB", {"16-bit": 125}), ("A100 SXM 80GB", {"16-bit": 312, "int8": 624, "int4": 1248}),
    ("RTX 3090", {"16-bit": 71, "16-bit in fp16": 142, "int8": 284, "int4": 568}),
    ("RTX 4090", {"16-bit": 165.2, "16-bit in fp16": 330.3, "fp8": 330.3, "fp8 in fp16": 660.6, "int8": 660.6,
    "int4": 1321.2}),
    ("RTX 5090", {"16-bit": 209.5, "16-bit in fp16": 419, "fp8": 419, "fp8 in fp16": 838, "int8": 838, "fp4": 1676}),
    ("H100 SXM", {"16-bit": 989, "fp8": 1979, "int8": 1979}),
    ("B200 HGX", {"16-bit": 2250, "fp8": 4500, "int8": 4500, "fp4": 9000}),
    ("TPU v5e", {"16-bit": 197, "int8": 394}), ("Gaudi 3", {"16-bit": 1835, "fp8": 1835}),
])
def test_whole_and_floating_numbers_are_different_arithmetic(name, peaks):
    assert accelerators()[name].peaks == {kind: sp.Rational(str(tera)) * 10**12 for kind, tera in peaks.items()}


def test_arithmetic_that_a_chip_does_not_have():
    for name, kind, reason in (("A100 SXM 80GB", "fp8", "only int8"), ("RTX 3090", "fp8", "only int8"),
                               ("B200 HGX", "int4", "only fp4"), ("T4", "fp4", "only int4"),
                               ("V100 SXM2 32GB", "fp8", ""),
                               ("H100 SXM", "8-bit", ""), ("H100 SXM", "", "")):
        with pytest.raises(ValueError, match=f"{name!r} has no {kind} peak.*{reason}: expected one of 16"):
            accelerators()[name].computing_in(kind)
    assert all(set(card.peaks) <= set(PEAKS) for card in accelerators().values())


@pytest.mark.parametrize(("name", "found"), [
    ("H100", "H100 SXM"), ("NVIDIA H100 80GB HBM3", "H100 SXM"), ("h100 sxm", "H100 SXM"),
    ("NVIDIA H100 PCIe", "H100 PCIe"),
    ("NVIDIA H200", "H200 SXM"), ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"), ("NVIDIA A100-SXM4-40GB", "A100 SXM 40GB"),
    ("A100-80GB (330 W cap)", "A100 SXM 80GB"), ("Tesla T4", "T4"), ("Tesla V100-SXM2-32GB", "V100 SXM2 32GB"),
    ("NVIDIA L4", "L4"), ("NVIDIA L40S", "L40S"), ("rtx4090", "RTX 4090"), ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000"), ("NVIDIA B200", "B200 HGX"), ("b300", "B300 HGX"),
    ("NVIDIA B300 SXM6 AC", "B300 HGX"), ("AMD Instinct MI300X", "MI300X"), ("NVIDIA GB200", "GB200"),
    ("tpu-v5e", "TPU v5e"),
])
def test_names_as_drivers_and_people_write_them(name, found):
    assert find_accelerator(name).name == found


@pytest.mark.parametrize(("name", "hint"), [
    ("a100", "did you mean 'A100 SXM 40GB' or 'A100 SXM 80GB'"),
    ("NVIDIA GeForce RTX 4090 D", "did you mean 'RTX 4090'"),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", "did you mean 'RTX 4090'"),
    ("NVIDIA A100-PCIE-40GB", "did you mean 'A100 SXM 40GB'"),
    ("NVIDIA A100 80GB PCIe", "did you mean 'A100 SXM 80GB'"), ("NVIDIA H100 NVL", "did you mean 'H100 SXM'"),
    ("Tesla V100-SXM2-16GB", "did you mean 'V100"), ("H101", "did you mean 'H100 SXM'"), ("", "expected one of V100"),
    ("()", "expected one of V100"), ("NVIDIA", "expected one of V100"), (None, "expected a name such as"),
    ("x" * 10**6, "expected a name such as"), (7, "expected a name such as"),
], ids=lambda value: str(value)[:30])
def test_siblings_are_not_taken_for_each_other(name, hint):
    with pytest.raises(ValueError, match=f"no accelerator .*: {hint}"):
        find_accelerator(name)


def test_every_row_is_found_by_its_names():
    cards = accelerators().values()
    assert all(find_accelerator(name) is card for card in cards for name in (card.name, *card.aliases))
