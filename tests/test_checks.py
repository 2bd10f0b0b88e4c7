"""The rules: what each takes, what it hands on, and how it refuses."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import sympy as sp

from lecture10 import checks
from lecture10.notation import B, S

FREE = sp.Symbol("x")  # nothing is known of it
NEVER = [None, True, np.True_, "1", b"1", [1], {1: 1}, math.nan, math.inf, 1j, sp.nan, sp.zoo, sp.oo, sp.I, object(),
         Decimal("sNaN"), np.array([1.0]), sp.MatrixSymbol("M", 2, 2)]
RULES = {
    # rule: (taken → handed on), refused beside NEVER
    "whole": (checks.whole, [(0, 0), (3.0, 3), (np.int8(3), 3), (sp.Integer(3), 3), (sp.Float(3), 3),
                             (Fraction(6, 2), 3), (10**30, 10**30)], [-1, 0.5, sp.Rational(1, 2), B, sp.sqrt(2)]),
    "whole, bounded": (partial(checks.whole, at_least=2, at_most=4), [(2, 2), (4, 4)], [1, 5, 2.5]),
    "count": (checks.count, [(0, 0), (2.0, 2), (B, B), (FREE, FREE)], [-1, 0.5, -B, sp.Rational(1, 2)]),
    "number": (partial(checks.number, at_most=1), [(0, 0), (1, 1), (0.25, 0.25), (Fraction(1, 3), Fraction(1, 3)),
                                                   (FREE, FREE), (sp.Rational(1, 3), sp.Rational(1, 3))],
               [-0.1, 1.1, Fraction(4, 3), -B, B + 1, sp.Rational(4, 3)]),
    "real": (partial(checks.real, at_most=2), [(0.5, 0.5), (2, 2.0), (sp.sqrt(2), math.sqrt(2)),
                                               (Decimal("0.25"), 0.25)], [0, -1, 2.5, 10**400, B, FREE]),
    "expression": (checks.expression, [(-1, -1), (B - S, B - S), (FREE, FREE), (0.5, sp.Float(0.5))], []),
    "positive": (checks.positive, [(1, 1), (B, B), (Fraction(1, 3), sp.Rational(1, 3))], [0, -1, FREE, B - S]),
    "nonnegative": (checks.nonnegative, [(0, 0), (B, B), (FREE, FREE), (B - S, B - S)], [-1, -B]),
    "amount": (checks.amount, [(1, 1), (0.5, sp.Float(0.5)), (np.int64(2), 2), (B - S, B - S)], [0, -1, -B]),
    "size": (checks.size, [(1, 1), (2.0, 2), (np.int64(2), 2), (B - S, B - S), (sp.Integer(2), 2)], [0, -1, 0.5, -B]),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_hand_on_what_they_take_and_refuse_the_rest_by_name(name):
    rule, taken, others = RULES[name]
    for value, handed_on in taken:
        found = rule("size", value)
        assert found == handed_on
        assert type(found) is type(handed_on) or isinstance(found, (sp.Expr, Fraction))
    for value in (*NEVER, *others):
        with pytest.raises(ValueError, match=r"^size is .*: expected [^\n]*$"):
            rule("size", value)


@pytest.mark.parametrize(("value", "text"), [
    (Fraction(-1, 2), "-1/2"), (Fraction(3), "3"), (Fraction(10**400, 3), "10000...0000/3"),
    ("a\nb", r"'a\nb'"), ("x" * 10**6, "xxx...xxx"),
    (np.arange(4).reshape(2, 2), "array([[0, 1], [2, 3]])"),
    (10**10_000, "int"), (list(range(100)), "[0, 1, 2, 3, 4, 5, ...]")], ids=range(8))
def test_values_are_shown_short_and_in_one_line(value, text):
    shown = checks.shown(value)
    assert len(shown) < 80
    assert all(part in shown for part in text.split("..."))


def test_an_argument_beyond_another_is_refused_only_where_that_is_known():
    for value, limit in ((3, 3), (S, B), (B, 2 * B), (3, FREE)):
        checks.within("tokens", value, "context", limit)
    for value, limit in ((4, 3), (B + 1, B), (2 * B, B)):
        with pytest.raises(ValueError, match=r"^tokens is .*: expected at most context = .*, or not$"):
            checks.within("tokens", value, "context", limit, ", or not")


@checks.checked(size=checks.size, names=checks.each(checks.text))
def area(size: int, width: int = 2, *names: str, scale: object = None) -> tuple:
    return size, width, names, scale


@checks.checked(size=checks.size)
@dataclass(frozen=True)
class Box:
    size: int
    name: str = ""


def test_arguments_go_through_their_rules_wherever_they_stand():
    assert area(np.int64(3)) == area(size=3.0) == (3, 2, (), None)
    assert type(area(np.int64(3))[0]) is int
    assert area(1, "free", "a", "b", scale=5) == (1, "free", ("a", "b"), 5)
    assert Box(np.int32(4)) == Box(4) == replace(Box(5), size=4)
    for call in (lambda: area(0), lambda: area(size="2"), lambda: Box(None), lambda: replace(Box(5), size=-1)):
        with pytest.raises(ValueError, match=r"^size is .*: expected a positive whole number or expression$"):
            call()
    with pytest.raises(ValueError, match=r"^names\[1\] is 7: expected a str$"):
        area(1, 2, "a", 7)


def test_a_wrong_number_of_arguments_is_an_error_of_the_call():
    for call in (lambda: area(), lambda: area(1, size=2), lambda: Box(1, "", 3), lambda: area(1, colour=2)):
        with pytest.raises(TypeError, match=r"(area|__init__)\(\)"):
            call()


def test_rules_for_objects():
    assert checks.optional(checks.size)("a", None) is None
    assert checks.each(checks.whole)("a", np.array([1, 2])) == (1, 2)
    assert checks.pairs(checks.text, checks.whole)("a", {"x": 1}.items()) == (("x", 1),)
    assert checks.values(checks.whole)("a", {"x": 1.0}) == {"x": 1}
    for rule, value, message in (
            (checks.each(checks.whole), [1, "b"], r"a\[1\] is 'b'"), (checks.sequence, "ab", "a is 'ab'"),
            (checks.sequence, {1, 2}, r"a is \{1, 2\}: expected a sequence"),
            (checks.sequence, np.array(2), "a is array"),
            (checks.sequence, itertools.count(), r"a is count\(\d+\): expected at most 1,000,000 entries"),
            (checks.pairs(checks.text, checks.whole), [("x",)], r"a\[0\] is \('x',\): expected a pair"),
            (checks.values(checks.whole), {"x": -1}, r"a\['x'\] is -1"), (checks.mapping, [1], "expected a Mapping"),
            (checks.instance(int, Fraction), "", "expected an int or a Fraction"),
            (checks.function, 3, "expected a function"),
            (checks.flag, 1, "expected a bool")):
        with pytest.raises(ValueError, match=message):
            rule("a", value)
