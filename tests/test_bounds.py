"""A bound says of what: its assumptions, the floor beside it, and where its numbers come from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lecture10 import H100, Accelerator, Deployment, Measurement, accelerators, load_model
from lecture10.hardware import PEAKS
from lecture10.measurements.published import device
from lecture10.models.bounds import SUMS, assumptions, basis, bound_table


def test_every_assumption_that_a_faster_system_breaks_is_named():
    """EAGLE-3 made 373 tokens/s of Llama-3.1-8B on an H100; fp16 sums beat the RTX 4090's bound; weights may travel."""
    plan = Deployment(load_model("llama-3-8b"), H100)
    assert 1 / plan.step_time(1, 1, 1) < 373 and "no speculation" in assumptions(plan)[0]
    card = accelerators()["RTX 4090"]
    kinds = [Deployment(plan.model, card, arithmetic=kind) for kind in ("16-bit", "16-bit in fp16", "int8")]
    assert 1.9 < kinds[0].time_to_first_token(1, 512) / kinds[1].time_to_first_token(1, 512) < 2
    assert ["fp32" in assumptions(p)[1] for p in kinds] == [True, False, False]
    several = assumptions(replace(plan, devices=8))
    assert any("weights stay" in said and "switch" in said for said in several)
    assert set(SUMS) == set(PEAKS)


def test_assumptions_follow_the_model_and_the_layout():
    mixture = Deployment(load_model("mixtral-8x7b"), H100, 4)
    assert any("expected number" in said for said in assumptions(mixture))
    assert not any("xperts" in said for said in assumptions(Deployment(load_model("gpt2"), H100)))
    spread = replace(mixture, attention="data-parallel", experts="expert-parallel")
    assert any("whole sequences" in said and "the experts are divided" in said for said in assumptions(spread))
    whole = replace(mixture, attention="data-parallel")
    assert any("whole sequences" in said and "those of attention are divided" in said for said in assumptions(whole))


def test_every_number_has_a_basis():
    found = basis(Deployment(load_model("mixtral-8x7b"), H100, 2, "fp8"))
    assert found["weights"] == "counted, as asked (1 bytes an element)" and "expectation" in found["times"]
    assert found["KV cache"] == "counted, format rule"
    assert found["memory of a device"].startswith("driver (measured for this book")
    nominal = basis(Deployment(load_model("gpt2"), accelerators()["MI355X"]))
    assert nominal["memory of a device"] == "data sheet, nominal"
    assert found["link"] == "data sheet" and "link" not in nominal
    words = ("counted", "data sheet", "driver", "expectation", "memory less")
    assert all(any(word in text for word in words) for text in found.values())


def test_bounds_from_the_loosest_to_the_strictest_assumption():
    plan = Deployment(load_model("llama-3-8b"), H100, 8)
    names, times = zip(*bound_table(plan, 16, 1, 1000).rows)
    assert names == ("逐个运算", "在交换机里求和", "全部重叠") and list(times) == sorted(times, reverse=True)
    assert times[0] == pytest.approx(1e3 * float(plan.step_time(16, 1, 1000)))


MINE = {"group": "mine", "model": "llama-3-8b", "precision": "bf16", "device": "NVIDIA H100 80GB HBM3", "devices": 1,
        "prompt": 128, "generated": 100, "metric": "decode tok/s", "tokens_per_second": 150.0}


def test_a_readers_own_measurement():
    row = Measurement(**MINE)
    assert row.bound == pytest.approx(1 / float(Deployment(load_model("llama-3-8b"), H100).step_time(1, 1, 129)))
    assert row.fraction == 150 / row.bound and 220 < row.bound < 224
    many = Measurement(**MINE | {"batch": 32, "metric": "generated tok/s (time incl. prefill)"})
    plan = Deployment(load_model("llama-3-8b"), H100)
    seconds = float(plan.time_to_first_token(32, 128)) + plan.generation_time(32, 128, 100)
    assert many.bound == pytest.approx(32 * 100 / seconds)


def test_each_card_has_its_own_bandwidth():
    assert device(Measurement(**MINE | {"device": "A100-40GB"})).memory_bandwidth == 1555 * 10**9
    assert device(Measurement(**MINE | {"device": "A100-80GB"})).memory_bandwidth == 2039 * 10**9
    assert device(Measurement(**MINE | {"bandwidth": 10**12})).memory_bandwidth == 10**12
    own = Accelerator("own", 10**14, 10**12, 10**11)
    assert device(Measurement(**MINE | {"device": own})) is own


@pytest.mark.parametrize(("change", "complaint"), [
    ({"device": "H101"}, "no accelerator 'H101': did you mean 'H100 SXM'"),
    ({"device": None}, "device is None: expected a str or an Accelerator"),
    ({"device": "Apple M9 (3 GPU cores)"}, "no accelerator 'Apple M9"),
    ({"metric": "speed"}, "metric is 'speed': expected"),
    ({"precision": "q9"}, "precision is 'q9': expected one of 'bf16'"),
    ({"devices": 3}, "devices = 3: expected 2 or 4"),
    ({"prompt": -1}, "prompt is -1: expected a whole number of at least 0"),
    ({"batch": 0}, "batch is 0: expected a whole"),
    ({"tokens_per_second": 0}, "tokens_per_second is 0: expected a number above 0"),
    ({"model": "lama"}, "no model 'lama'"),
])
def test_measurements_that_are_not_understood(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        Measurement(**MINE | change)
