"""Published measurements: how a row is read, what it ran on, and the bound that its metric has by definition."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import sympy as sp

from lecture10 import H100, Accelerator, Deployment, Workload, accelerators, compare, load_model
from lecture10.measurements.published import Measurement, deployment, device, measurements


def first(**wanted: object) -> Measurement:
    return next(row for row in measurements() if all(getattr(row, name) == value for name, value in wanted.items()))


def test_one_die_of_a_card_with_two_has_half_of_its_peak_and_memory():
    card = device(first(device="MI250X, one GCD"))
    assert card.peak_flops == Fraction(383, 2) * 10**12  # AMD's data sheet: 383 TFLOP/s and 128 GB for both
    assert card.memory_bandwidth == 1638 * 10**9
    assert 2 * card.memory_bytes == 128 * 10**9


@pytest.mark.parametrize(("start", "tera"), [
    ("Apple M1 (7", sp.Rational("2.6") * 7 / 8), ("Apple M2 Ultra (76", sp.Rational("27.2"))])
def test_apple_devices_compute_in_proportion_to_their_cores(start, tera):
    row = next(row for row in measurements() if row.device.startswith(start))
    assert device(row).peak_flops == tera * 10**12
    assert device(row).memory_bandwidth == row.bandwidth


def test_other_devices_are_those_of_the_table():
    assert device(first(model="llama-2-70b")) == accelerators()["A100 SXM 80GB"]
    assert isinstance(device(measurements()[0]), Accelerator)


@pytest.mark.parametrize(("precision", "weights", "code", "scales"), [
    ("bf16", 1, 16, 0), ("BF16", 1, 16, 0), ("int8", 1, 8, 0), ("int4", 32, 4, 16 + 16), ("int4-g32", 32, 4, 16 + 16),
    ("GPTQ-Int8", 128, 8, 16), ("GPTQ-Int4", 128, 4, 16), ("AWQ", 128, 4, 16)])
def test_bytes_per_weight_count_the_scales_of_a_group(precision, weights, code, scales):
    for row in measurements():
        if row.precision == precision and not row.file_bytes:
            assert deployment(row).weight_bytes == sp.Rational(weights * code + scales, 8 * weights)


def test_a_file_is_read_as_a_whole_and_qwens_embeddings_stay_in_16_bits():
    row = next(row for row in measurements() if row.file_bytes)
    assert deployment(row).weight_bytes * load_model(row.model).num_params == row.file_bytes
    assert {deployment(row).embedding_bytes for row in measurements() if row.group == "qwen-speed"} == {2}
    assert {deployment(row).embedding_bytes for row in measurements() if row.group != "qwen-speed"} == {None}


def test_a_row_without_a_prompt_or_an_answer_has_none():
    assert {(row.prompt, row.generated) for row in measurements() if row.group == "llama.cpp-4167"} == {(0, 0)}
    assert all(row.prompt > 0 for row in measurements() if row.metric != "decode tok/s (speculative)"
               and row.group != "llama.cpp-4167")


def test_every_metric_is_bounded_as_it_is_defined():
    def step(row: Measurement, tokens: int, context: int) -> float:
        return float(deployment(row).step_time(1, tokens, context))

    prefill, decode = first(metric="pp512 tok/s"), first(metric="decode tok/s")
    assert prefill.bound == pytest.approx(512 / step(prefill, 512, 512))
    assert decode.bound == pytest.approx(1 / step(decode, 1, decode.prompt + 1))
    row = first(metric="decode tok/s (speculative)")
    drafts = 4 * float(deployment(row, load_model("llama-2-7b")).step_time(1, 1, 1))  # --speculate_k 4
    assert row.bound == pytest.approx(5 / (drafts + step(row, 5, 5)))


def test_shares_and_milliseconds_of_a_row():
    row = replace(measurements()[0], tokens_per_second=50.0)
    assert (row.measured_ms, row.bound_ms * row.bound, row.fraction * row.bound) == pytest.approx((20, 1000, 50))


def test_what_a_comparison_says_fits_its_work():
    plan = Deployment(load_model("gpt2"), H100)
    alone = compare(plan, Workload(prompt=3, generated=2), 1)
    assert alone.assumptions[0] == "The prompt is read in one pass."
    assert "arithmetic in" not in compare(plan, Workload(prompt=3), 1e30).verdict  # no peak is that high
