"""Rules for numbers and expressions: whole or not, positive or not, known or not. A string is never one."""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Rational, Real

import sympy as sp

from .refusing import refused, shown


def whole(name: str, value: object, at_least: int = 0, at_most: int | None = None, expected: str = "") -> int:
    """A whole number of any type but bool, as an int."""
    plain = _plain(value)
    if isinstance(plain, sp.Expr):
        plain = sp.Rational(plain) if plain.is_Float else plain
        plain = int(plain) if plain.is_Integer else None
    if plain is None or plain != int(plain) or plain < at_least or (at_most is not None and plain > at_most):
        most = "" if at_most is None else f" and at most {at_most:,}"
        raise refused(name, value, expected or f"a whole number of at least {at_least}{most}")
    return int(plain)


def count(name: str, value: object, at_least: int = 0, at_most: int | None = None) -> int | sp.Expr:
    """A whole number, or an expression that is not known to be negative."""
    plain = _plain(value)
    if isinstance(plain, sp.Expr) and not plain.is_number and not plain.is_negative:
        return plain
    return whole(name, value, at_least, at_most)


def number(name: str, value: object, at_most: float = math.inf, expected: str = "") -> Fraction | float | sp.Expr:
    """A number from 0 to ``at_most``: whole numbers and fractions as fractions, others as floats; expressions stay.

    An expression is refused only where it is known to lie outside.
    """
    plain = _plain(value)
    if isinstance(plain, sp.Expr):
        outside = plain.is_negative or (plain - at_most).is_positive
    else:
        outside = plain is None or not 0 <= plain <= at_most
    if outside:
        most = f" and at most {at_most}" if at_most < math.inf else ""
        raise refused(name, value, expected or f"a number of at least 0{most}")
    return Fraction(plain) if type(plain) is int else plain


def rational(name: str, value: object, at_most: float = math.inf) -> Fraction:
    """A number from 0 to ``at_most``, no symbol, as the rational that it is; an irrational one as the float beside."""
    plain = number(name, value, at_most)
    if isinstance(plain, sp.Expr):
        if not plain.is_number:
            raise refused(name, value, "a number, for symbols have no order")
        plain = sp.Rational(plain if plain.is_Rational or plain.is_Float else float(plain))
        return Fraction(int(plain.p), int(plain.q))
    return Fraction(plain)


def real(name: str, value: object, at_most: float = math.inf, expected: str = "") -> float:
    """A number above 0, no symbol, as a float."""
    plain = _plain(value)
    try:
        found = math.nan if plain is None or (isinstance(plain, sp.Expr) and not plain.is_number) else float(plain)
    except OverflowError:
        found = math.nan
    if not 0 < found <= min(at_most, sys.float_info.max):
        most = f", at most {at_most}" if at_most < math.inf else ""
        raise refused(name, value, expected or f"a number above 0{most}")
    return found


def expression(name: str, value: object, expected: str = "a finite number or an expression") -> sp.Expr:
    """A finite real number or an expression that may be one, as an expression."""
    plain = _plain(value)
    if plain is None:
        raise refused(name, value, expected)
    return plain if isinstance(plain, sp.Expr) else sp.sympify(plain)


def positive(name: str, value: object) -> sp.Expr:
    """A number or an expression that is known to be positive."""
    expr = expression(name, value, "a positive quantity")
    if not _sign(expr, "positive"):
        raise refused(name, value, "a positive quantity")
    return expr


def nonnegative(name: str, value: object) -> sp.Expr:
    """A number or an expression that is not known to be negative."""
    expr = expression(name, value, "a non-negative expression")
    if _sign(expr, "negative"):
        raise refused(name, value, "a non-negative expression")
    return expr


def amount(name: str, value: object) -> int | sp.Expr:
    """A positive number, or an expression that may be positive; an int stays one."""
    if type(value) is int and value > 0:
        return value
    expr = expression(name, value, "a positive size")
    if _sign(expr, "positive") is False:
        raise refused(name, value, "a positive size")
    return int(expr) if isinstance(value, Integral) and not isinstance(value, sp.Expr) else expr


def size(name: str, value: object) -> int | sp.Expr:
    """A positive whole number, as an int, or an expression that may be one."""
    if type(value) is int and value > 0:
        return value
    expected = "a positive whole number or expression"
    plain = _plain(value)
    if isinstance(plain, sp.Expr) and not plain.is_number and plain.is_positive is not False:
        return plain
    return whole(name, value, 1, expected=expected)


def within(name: str, value: int | sp.Expr, limit_name: str, limit: int | sp.Expr, why: str = "") -> None:
    """Refuses a ``value`` that is known to be beyond another argument."""
    if _sign(sp.sympify(value - limit), "positive"):
        raise refused(name, value, f"at most {limit_name} = {shown(limit)}{why}")


def _sign(expr: sp.Expr, sign: str) -> bool | None:
    """Whether the ``sign`` is "positive" or "negative", None when unknown; of numbers at once, SymPy takes long."""
    if expr.is_Rational:
        return expr.p > 0 if sign == "positive" else expr.p < 0
    return sign == "positive" if _throughout("positive", expr) else getattr(expr, f"is_{sign}")


def _throughout(kind: str, expr: sp.Expr) -> bool:
    """Whether only "positive" or "real" numbers and symbols are added, multiplied and compared: so is the result.

    Most sizes and costs are sums of products, and SymPy takes a hundred times as long to find what they are.
    """
    if expr.is_Atom:
        return getattr(expr, f"is_{kind}") is True
    return isinstance(expr, (sp.Add, sp.Mul, sp.Min, sp.Max)) and all(_throughout(kind, part) for part in expr.args)


def _plain(value: object) -> int | Fraction | float | sp.Expr | None:
    """A finite real number as an int, a Fraction or a float, an expression that may be one as it is, None for the
    rest."""
    if type(value) is int or isinstance(value, sp.Rational):
        return value
    if isinstance(value, sp.Expr):
        if _throughout("real", value):  # which is finite, and commutes
            return value
        unfit = value is sp.nan or value.is_finite is False or value.is_extended_real is False
        return None if unfit or value.is_commutative is False else value
    if isinstance(value, bool):
        return None
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, Decimal) and not value.is_finite():  # whose signaling NaN complains when it is asked
        return None
    if isinstance(value, (Real, Decimal)) and math.isfinite(value):
        return float(value)
    return None
