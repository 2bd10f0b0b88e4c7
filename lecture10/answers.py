"""Answers that a reader types are judged: an expression symbolically, a number by the digits that are given."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import sympy as sp

from .checks import checked, expression, instance, refused, text
from .notation import SYMBOLS

FUNCTIONS = {"Max": sp.Max, "Min": sp.Min, "sqrt": sp.sqrt, "log": sp.log, "ln": sp.log, "exp": sp.exp,
             "floor": sp.floor, "ceiling": sp.ceiling}
OPERATORS = {ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
             ast.Div: lambda a, b: a / b, ast.Pow: lambda a, b: a ** b}
UNITS = {"": {"": 1, "%": Fraction(1, 100)},
         "B": {prefix + unit: base**power for unit, base in (("B", 1000), ("iB", 1024))
               for power, prefix in enumerate(("k", "M", "G", "T"), 1)} | {"B": 1, "KiB": 1024}}
NUMBER = re.compile(r"(?P<whole>\d{1,20})(?:\.(?P<decimals>\d{1,20}))?\s*(?P<unit>%|[A-Za-z]*)")
LONGEST = 200
SIZES = (2, 8, 3, 5, 13, 7, 1, 4, 11, 6, 17)
"""What is put in for the symbols, one size after the other: distinct, so that no two symbols are confused."""


@dataclass(frozen=True)
class Verdict:
    """What is said of an answer.

    ``kind`` is "right" or "wrong" for expressions, then ``point`` gives sizes at which ``yours`` and ``expected`` are
    the two values; "unproved" when they agree wherever they were compared and SymPy proves nothing. For numbers it is
    "right", "close" (off by less than 2 %), "larger" or "smaller", without the value that is right.
    """

    kind: str
    point: Mapping[sp.Symbol, int] = field(default_factory=dict)
    yours: object = ""
    expected: object = ""


@checked(answer=text, expected=expression, unit=instance(str))
def judge(answer: str, expected: sp.Expr, unit: str = "") -> Verdict:
    """Whether the typed ``answer`` is ``expected``: an expression in symbols of the book, or a number in ``unit``.

    A decimal number is right when ``expected``, rounded to as many digits, is that number; with fewer than two digits
    only when they are equal. Arithmetic on numbers (``295.2/4``) is right when three digits agree, or all of a whole
    number. The unit is "" or "B" (bytes; then the answer names kB, MB, GB, TB or KiB to TiB).
    Raises ValueError for an answer that is no expression, uses an unknown name or lacks its unit.
    """
    if unit not in UNITS:
        raise refused("unit", unit, "one of " + ", ".join(map(repr, UNITS)))
    if expected.free_symbols:
        return _compare(_read(answer, expected.free_symbols), expected)
    exact = sp.nsimplify(expected, rational=True) if expected.has(sp.Float) else expected
    typed = NUMBER.fullmatch(answer.strip().replace(",", ""))
    if typed is None and not unit:
        digit = sp.S.Zero if exact.is_integer else sp.Rational(10) ** (sp.floor(sp.log(abs(exact), 10)) - 2)
        return _compare_numbers(_read(answer, set()), exact, digit / 2)
    if typed is None or typed["unit"] not in UNITS[unit]:
        raise refused("answer", answer, f"a number with its unit, such as {'80 GB' if unit else '0.75 or 75 %'}")
    scale = sp.Rational(UNITS[unit][typed["unit"]])
    digits = typed["whole"] + (typed["decimals"] or "")
    place = sp.Rational(1, 10 ** len(typed["decimals"] or ""))
    slack = scale * place / 2 if len(digits.lstrip("0")) > 1 else sp.S.Zero
    return _compare_numbers(sp.Integer(digits) * place * scale, exact, slack)


def _read(answer: str, symbols: set[sp.Symbol]) -> sp.Expr:
    """An expression in the ``symbols`` and those of the book: numbers, names, + - * / **, brackets, a few functions.

    The text is parsed, never evaluated as code.
    """
    known = {**SYMBOLS, **{symbol.name: symbol for symbol in symbols}}
    try:
        tree = ast.parse(answer.strip().replace("^", "**"), mode="eval") if len(answer) <= LONGEST else None
        value = _value(tree.body, known) if tree else None
    except (SyntaxError, RecursionError, ZeroDivisionError, OverflowError, MemoryError):
        value = None
    if value is None or value.has(sp.nan, sp.zoo, sp.oo):
        raise refused("answer", answer, "an expression such as 2*B/(B + 1)")
    return value


def _value(node: ast.expr, known: Mapping[str, sp.Symbol]) -> sp.Expr:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return sp.Rational(str(number))
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Name(id=name):
            raise refused("name", name, f"one of {', '.join(known)}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, known)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)) if power > 100:
            raise refused("power", power, "at most 100")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            a = _value(left, known)
            b = _value(right, known)
            return OPERATORS[type(op)](a, b)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS and arguments:
            return FUNCTIONS[name](*(_value(argument, known) for argument in arguments))
    raise SyntaxError


def _compare(yours: sp.Expr, expected: sp.Expr) -> Verdict:
    """Compared at points first, for a point where they differ says why; then symbolically."""
    symbols = sorted(yours.free_symbols | expected.free_symbols, key=str)
    for shift in range(4):
        sizes = itertools.islice(itertools.cycle(SIZES), shift, None)
        point = dict(zip(symbols, sizes))
        two = yours.subs(point), expected.subs(point)
        if two[0] != two[1] and not sp.simplify(two[0] - two[1]).equals(0):
            return Verdict("wrong", point, *two)
    difference = sp.simplify(yours - expected)
    return Verdict("right" if difference == 0 or difference.equals(0) else "unproved")


def _compare_numbers(yours: sp.Expr, expected: sp.Expr, slack: sp.Expr) -> Verdict:
    gap = sp.simplify(yours - expected)
    if abs(gap) <= slack:
        return Verdict("right")
    if abs(gap) < abs(expected) / 50:
        return Verdict("close")
    return Verdict("larger" if gap > 0 else "smaller")
