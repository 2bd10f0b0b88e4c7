"""Checks of probabilities, rates and counts: one ValueError that names the field, the value and what was expected."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational

import sympy as sp

SUM_TOLERANCE = 1e-6
"""How far floats may sum from 1 (a float32 softmax does); rationals must sum to it exactly."""


def distribution(name: str, probabilities: Sequence[object]) -> list:
    """The probabilities as a checked list: integers become fractions, other plain numbers floats, expressions stay.

    A sum that stays symbolic is taken to be 1.
    """
    values = [number(f"{name}[{i}]", value, upper=1 + SUM_TOLERANCE, expected="a probability between 0 and 1")
              for i, value in enumerate(probabilities)]
    if not values:
        raise ValueError(f"{name} is empty: expected a probability for every token")
    if any(isinstance(value, sp.Expr) for value in values):
        total = sp.simplify(sum(values))
    else:
        total = math.fsum(values) if any(isinstance(value, float) for value in values) else sum(values)
    exact = isinstance(total, (Rational, sp.Rational))
    if getattr(total, "is_number", True) and (total != 1 if exact else abs(total - 1) > SUM_TOLERANCE):
        raise ValueError(f"{name} sums to {total}: expected 1")
    return values


def pair(p: Sequence[object], q: Sequence[object]) -> tuple[list, list]:
    """A draft's and a target's distribution over the same vocabulary."""
    p, q = distribution("p", p), distribution("q", q)
    if len(p) != len(q):
        raise ValueError(f"p has {len(p)} tokens and q has {len(q)}: expected the same vocabulary")
    return p, q


def rows(draft_tokens: Sequence[int], p: Sequence[Sequence[object]], q: Sequence[Sequence[object]],
         ) -> tuple[list, list]:
    """The γ rows of p and the γ + 1 rows of q that belong to γ draft tokens, each of which its row of p can propose."""
    if len(p) != len(draft_tokens):
        raise ValueError(f"p has {len(p)} rows: expected one for each of the {len(draft_tokens)} draft tokens")
    if len(q) != len(draft_tokens) + 1:
        raise ValueError(f"q has {len(q)} rows: expected {len(draft_tokens) + 1}, one more than draft tokens")
    rows_p = [distribution(f"p[{i}]", row) for i, row in enumerate(p)]
    rows_q = [distribution(f"q[{i}]", row) for i, row in enumerate(q)]
    vocabulary = len(rows_q[-1])
    for name, matrix in (("p", rows_p), ("q", rows_q)):
        for i, row in enumerate(matrix):
            if len(row) != vocabulary:
                raise ValueError(f"{name}[{i}] has {len(row)} tokens and q[{len(q) - 1}] has {vocabulary}: "
                                 "expected the same vocabulary")
    for i, (token, row) in enumerate(zip(draft_tokens, rows_p)):
        if not hasattr(token, "__index__") or not 0 <= operator.index(token) < vocabulary:
            raise ValueError(f"draft_tokens[{i}] is {token}: expected a token between 0 and {vocabulary - 1}")
        if row[token] == 0:
            raise ValueError(f"draft_tokens[{i}] is {token}, which p[{i}] gives probability 0: "
                             "expected a token the draft can propose")
    return rows_p, rows_q


def number(name: str, value: object, upper: float = math.inf, expected: str = "") -> object:
    """A finite number between 0 and ``upper``, or an expression that is not known to be negative."""
    plain = _plain(value)
    if isinstance(plain, sp.Expr) and not plain.is_number:
        valid = not plain.is_negative and plain.is_extended_real is not False
    else:
        valid = plain is not None and bool(0 <= plain <= upper) and plain not in (math.inf, sp.oo)
    if not valid:
        at_most = f" and at most {upper}" if upper < math.inf else ""
        raise ValueError(f"{name} is {value}: expected {expected or 'a number of at least 0' + at_most}")
    return plain


def _plain(value: object) -> object:
    """Integers as fractions, other plain numbers as floats, expressions as they are,
    None for what is no real number."""
    if isinstance(value, sp.Expr):
        return value if not value.is_number or value.is_extended_real else None
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    return float(value) if hasattr(value, "__float__") else None


def count(name: str, value: object, lower: int = 0) -> object:
    """A whole number of at least ``lower``, or an expression that is not known to be negative."""
    expected = f"a whole number of at least {lower}"
    value = number(name, value, expected=expected)
    if isinstance(value, sp.Expr) and not value.is_number:
        return value
    if value != int(value) or value < lower:
        raise ValueError(f"{name} is {value}: expected {expected}")
    return int(value)
