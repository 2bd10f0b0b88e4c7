"""The algebra of costs, the accelerator that times them, and the table that shows them."""

from __future__ import annotations

import math

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import Accelerator, Cost, Step, matmul, mlp
from lecture10.notation import B, D, F, S

BOX = Accelerator("box", peak_flops=10, memory_bandwidth=2, memory_bytes=100)
PAIR = Cost.of(Step("load", bytes_transferred=4 * B), Step("work", flops=30 * B, bytes_transferred=2 * D))
WORK = st.integers(0, 50)


def test_totals_and_intensity() -> None:
    assert PAIR.flops == 30 * B
    assert PAIR.bytes_transferred == 4 * B + 2 * D
    assert sp.simplify(PAIR.intensity - 15 * B / (2 * B + D)) == 0
    assert [step.name for step in PAIR] == ["load", "work"]


def test_sum_lists_the_steps_of_both() -> None:
    other = Cost.of(Step("more", flops=5))
    assert (PAIR + other).steps == PAIR.steps + other.steps
    assert sum([PAIR, other, other]).flops == 30 * B + 10
    assert (Cost() + PAIR) == PAIR
    assert Cost().flops == Cost().bytes_transferred == 0


def test_scaling_repeats_every_step() -> None:
    assert 3 * PAIR == PAIR * 3 == Cost.of(Step("load", bytes_transferred=12 * B), Step("work", 90 * B, 6 * D))
    assert (S * PAIR).intensity == PAIR.intensity


@pytest.mark.parametrize("wrong", [lambda: PAIR + 1, lambda: 1 + PAIR, lambda: PAIR * PAIR], ids=["add", "radd", "mul"])
def test_nonsense_arithmetic_is_refused(wrong) -> None:
    with pytest.raises(TypeError):
        wrong()


def test_substitution_reaches_every_step() -> None:
    assert PAIR.subs({B: 2, D: 3}) == Cost.of(Step("load", bytes_transferred=8), Step("work", 60, 6))
    assert PAIR.subs(B, 2).bytes_transferred == 8 + 2 * D


def test_steps_by_name() -> None:
    assert PAIR.without("load") == PAIR.only("work") == Cost.of(PAIR.steps[1])
    assert PAIR.only("load", "work") == PAIR
    for select in (PAIR.without, PAIR.only):
        with pytest.raises(ValueError, match=r"no step named \['sing'\]: expected one of \['load', 'work'\]"):
            select("load", "sing")


def test_one_step_keeps_the_totals() -> None:
    merged = PAIR.as_step("all")
    assert merged == Cost.of(Step("all", PAIR.flops, PAIR.bytes_transferred))


def test_time_is_the_longer_of_both_step_by_step() -> None:
    cost = Cost.of(Step("arithmetic", flops=40, bytes_transferred=2), Step("transfer", flops=10, bytes_transferred=6))
    assert cost.time(BOX) == 4 + 3
    assert cost.as_step("both").time(BOX) == 5


@given(st.lists(st.tuples(WORK, WORK), min_size=1, max_size=5))
@settings(deadline=None)
def test_overlapping_everything_is_never_slower(work) -> None:
    cost = Cost(tuple(Step(f"step {i}", *both) for i, both in enumerate(work)))
    slowest = max(BOX.compute_time(cost.flops), BOX.memory_time(cost.bytes_transferred))
    assert cost.as_step("all").time(BOX) == slowest <= cost.time(BOX)
    assert cost.time(BOX) <= BOX.compute_time(cost.flops) + BOX.memory_time(cost.bytes_transferred)


@pytest.mark.parametrize("quantity", ["flops", "bytes_transferred"])
@pytest.mark.parametrize("bad", [-1, -B, math.nan, math.inf, sp.zoo, sp.true, [1]], ids=str)
def test_a_step_costs_a_finite_amount(quantity, bad) -> None:
    with pytest.raises(ValueError, match=f"{quantity} of step 'x' is .*: expected a non-negative expression"):
        Step("x", **{quantity: bad})


def test_scaling_by_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="flops of step 'work'"):
        -1 * PAIR.only("work")


def test_intensity_needs_bytes() -> None:
    with pytest.raises(ValueError, match="bytes_transferred is 0"):
        _ = Cost.of(Step("think", flops=1)).intensity


def test_the_table_lists_the_steps_and_their_total() -> None:
    lines = matmul(B, D, F)._repr_markdown_().splitlines()
    assert lines[0] == "| 步骤 | FLOPs | 字节 |"
    assert "| read X | 0 | $2 B D$ |" in lines
    assert lines[-1].startswith("| 合计 | $2 B D F$ |")
    assert len(lines) == 2 + 4 + 1


def test_a_table_of_numbers_adds_up() -> None:
    assert mlp(1, 2, 3).table().rows[-1] == ("合计", 36, 56)
