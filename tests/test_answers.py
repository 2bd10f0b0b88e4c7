"""Typed answers: right, equivalent, nearly right and malformed ones, of expressions and of numbers."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy as sp

from lecture10 import critical_size
from lecture10.answers import judge
from lecture10.intensity import recurrence
from lecture10.notation import B, F, H, S, T

C = sp.Symbol("C", positive=True)

ATTENTION = S * T / (S + T)
STATE = recurrence(state_bytes=2).as_step("state", "read M", "write M").subs(T=1).intensity
ONE_BY_ONE = recurrence(1, 1, heads=1, key=H, value=H, corrected=False).flops
CHUNK = critical_size(2 * H * (C + 1) + 4 * H**2 - ONE_BY_ONE, C, 0)
GIVEN = sp.log(2) / -sp.log(1 - sp.Rational(1, 32))


@pytest.mark.parametrize(("answer", "expected"), [
    ("S*T/(S + T)", ATTENTION),
    ("1/(1/S + 1/T)", ATTENTION),
    ("T - T^2/(S+T)", ATTENTION),
    ("log(B**2)", 2 * sp.log(B)),
    ("Max(B, S)*2", 2 * sp.Max(S, B)),
    ("exp(ln(F)/2)", sp.sqrt(F)),
    ("0.5*alpha", sp.Symbol("alpha") / 2),
    ("-B", -B),
    ("H/2 - 1", CHUNK),
    ("(H - 2)/2", CHUNK),
])
def test_an_equivalent_expression_is_right(answer: str, expected: sp.Expr) -> None:
    assert judge(answer, expected).kind == "right"


@pytest.mark.parametrize("answer", ["S*T/(S + T + 1)", "T", "S*T", "G*S*T/(S + T)", "2", "Max(S, T)"])
def test_a_wrong_expression_gets_a_point_where_it_differs(answer: str) -> None:
    verdict = judge(answer, ATTENTION)
    assert verdict.kind == "wrong"
    assert verdict.expected == ATTENTION.subs(verdict.point)
    assert verdict.yours != verdict.expected
    assert verdict.yours.is_number and verdict.expected.is_number


@pytest.mark.parametrize("answer", ["H/2", "(H + 1)/2 - 1", "(S - 2)/2"])
def test_a_block_that_is_nearly_right_is_wrong(answer: str) -> None:
    verdict = judge(answer, CHUNK)
    assert verdict.kind == "wrong" and verdict.expected == CHUNK.subs(verdict.point) != verdict.yours


def test_what_agrees_at_the_first_point_is_compared_at_others() -> None:
    verdict = judge("B + (B - 2)", B)  # 2 where B = 2
    assert verdict.kind == "wrong" and verdict.point == {B: 8}


@pytest.mark.parametrize(("answer", "expected", "unit", "kind"), [
    ("21.5 GB", 21474836480, "B", "right"),
    ("21.47GB", 21474836480, "B", "right"),
    ("20 GiB", 21474836480, "B", "right"),
    ("21,474,836,480 B", 21474836480, "B", "right"),
    ("21.4 GB", 21474836480, "B", "close"),
    ("22 GB", 21474836480, "B", "larger"),
    ("20 GB", 21474836480, "B", "smaller"),
    ("3/4", Fraction(3, 4), "", "right"),
    ("75 %", Fraction(3, 4), "", "right"),
    ("7/4", STATE, "", "right"),
    ("1.75", STATE, "", "right"),
    ("7/8", STATE, "", "smaller"),
    ("1.74", STATE, "", "close"),
    ("0.7", Fraction(3, 4), "", "smaller"),
    ("0.8", 0.75, "", "larger"),
    ("295.2/4", sp.Rational(989, 4 * Fraction(67, 20)), "", "right"),
    ("294.9/4", sp.Rational(989, 4 * Fraction(67, 20)), "", "close"),
    ("118/4", 29, "", "close"),
    ("29", 29, "", "right"),
    ("29.3", 29, "", "close"),
    ("30", 29, "", "larger"),
    ("5", 5, "", "right"),
    ("2", Fraction(9, 5), "", "larger"),
    ("21.8", GIVEN, "", "right"),
    ("ln(2)/(-ln(1 - 8/256))", GIVEN, "", "right"),
    ("ln(2)/(1 - 8/256)", GIVEN, "", "smaller"),
])
def test_a_number_is_judged_by_the_digits_that_are_given(answer: str, expected: object, unit: str, kind: str) -> None:
    verdict = judge(answer, expected, unit)
    assert verdict.kind == kind
    assert not verdict.point and verdict.expected == ""  # the right number is not given away


@pytest.mark.parametrize(("answer", "unit", "named"), [
    ("S*T/(S+", "", "expression"), ("", "", "expression"), ("Q", "", "Q"), ("B.free_symbols", "", "expression"),
    ("trap()", "", "expression"), ("__import__('os').getcwd()", "", "expression"), ("B if S else T", "", "expression"),
    ("1/0", "", "expression"), ("2**101", "", "power"), ("B" * 300, "", "expression"), ("Max()", "", "expression"),
    ("True", "", "expression"), ("2B", "", "expression"),
])
def test_a_malformed_expression_is_refused(answer: str, unit: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        judge(answer, ATTENTION, unit)


@pytest.mark.parametrize("answer", ["21.5", "21.5 GQ", "GB", "21.5 Gb", "1e3 GB", "21.5 %", "-3 GB"])
def test_bytes_need_their_unit(answer: str) -> None:
    with pytest.raises(ValueError, match="80 GB"):
        judge(answer, 21474836480, "B")


def test_what_cannot_be_proved_is_not_called_right() -> None:
    assert judge("Max(B, S) + Min(B, S)", B + S).kind == "unproved"
