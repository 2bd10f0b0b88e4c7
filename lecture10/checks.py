"""Checks of arguments: one ValueError of one line that names the argument, shows its value and says what was expected.

A rule is a function ``rule(name, value)``: it refuses the value, or hands it on in the form that the package computes
with. ``checked`` puts rules in front of a function or a dataclass. A string is never a number or a formula.
"""

from __future__ import annotations

import inspect
import math
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import wraps
from itertools import islice
from numbers import Integral, Rational, Real
from typing import TypeVar

import sympy as sp

Rule = Callable[[str, object], object]
Target = TypeVar("Target", bound=Callable)

MOST_ENTRIES = 10**6
"""Entries of a sequence: what has more, or no end, would fill the memory before anything could be said of it."""


class _Short(reprlib.Repr):
    """Values as they stand in an error: one line, the middle left out when it is long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_Fraction(self, value: Fraction, _level: int) -> str:  # reprlib looks for the type's name
        return str(value)


_short = _Short()


def shown(value: object) -> str:
    """``value`` for an error message: its repr in one line, shortened."""
    try:
        return " ".join(_short.repr(value).split())
    except Exception:  # a repr that fails (an integer of over 4,300 digits does) must not hide what is wrong
        return f"a value of type {type(value).__name__}"


def refused(name: str, value: object, expected: str) -> ValueError:
    """The error about ``name``, to be raised."""
    return ValueError(f"{name} is {shown(value)}: expected {expected}")


def checked(**rules: Rule) -> Callable[[Target], Target]:
    """Decorates a function or a dataclass: each named argument that is given goes through its rule before the call."""
    def decorate(target: Target) -> Target:
        if isinstance(target, type):
            target.__init__ = decorate(target.__init__)
            return target
        parameters = inspect.signature(target).parameters
        names = [name for name, parameter in parameters.items() if parameter.kind < parameter.VAR_POSITIONAL]
        rest = next((name for name, parameter in parameters.items() if parameter.kind == parameter.VAR_POSITIONAL), "")
        in_order = [(name, rules.get(name)) for name in names]  # looked up once: this runs before every call
        many = rules.get(rest)

        @wraps(target)
        def call(*args: object, **kwargs: object) -> object:
            found = [value if rule is None else rule(name, value) for (name, rule), value in zip(in_order, args)]
            more = args[len(names):]
            for name in kwargs:
                if rule := rules.get(name):
                    kwargs[name] = rule(name, kwargs[name])
            return target(*found, *(more if many is None else many(rest, more)), **kwargs)

        return call

    return decorate


# Rules for objects


def instance(*kinds: type) -> Rule:
    """An object of one of the ``kinds``."""
    names = " or ".join(f"a{'n' * (kind.__name__[0] in 'AEIOUaeiou')} {kind.__name__}" for kind in kinds)

    def rule(name: str, value: object) -> object:
        if not isinstance(value, kinds):
            raise refused(name, value, names)
        return value

    return rule


def optional(rule: Rule) -> Rule:
    """None, or what ``rule`` takes."""
    return lambda name, value: None if value is None else rule(name, value)


def each(rule: Rule) -> Rule:
    """A sequence whose entries the ``rule`` takes, handed on as a tuple."""
    return lambda name, value: tuple(rule(f"{name}[{i}]", entry) for i, entry in enumerate(sequence(name, value)))


def record(*rules: Rule) -> Rule:
    """As many entries as there are ``rules``, of which each takes its own, as a tuple."""
    expected = "a pair" if len(rules) == 2 else f"{len(rules)} entries"

    def rule(name: str, value: object) -> tuple:
        entries = sequence(name, value)
        if len(entries) != len(rules):
            raise refused(name, value, expected)
        return tuple(take(f"{name}[{i}]", entry) for i, (take, entry) in enumerate(zip(rules, entries)))

    return rule


def pair(first: Rule, second: Rule) -> Rule:
    """Two entries, of which ``first`` and ``second`` take one each, as a tuple."""
    return record(first, second)


def pairs(first: Rule, second: Rule) -> Rule:
    """A sequence of such pairs, as a tuple."""
    return each(pair(first, second))


def values(rule: Rule) -> Rule:
    """A mapping whose values the ``rule`` takes."""
    return lambda name, value: {key: rule(f"{name}[{shown(key)}]", entry)
                                for key, entry in mapping(name, value).items()}


def sequence(name: str, value: object) -> list:
    """Entries in an order, at most ``MOST_ENTRIES``, as a list: no text, no mapping, no set."""
    if type(value) in (tuple, list) and len(value) <= MOST_ENTRIES:  # at once: to ask for its kind takes longer
        return list(value)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, set, frozenset)):
        try:
            entries = list(islice(value, MOST_ENTRIES + 1))
        except TypeError:  # an array without dimensions has a method __iter__ all the same
            raise refused(name, value, "a sequence") from None
        if len(entries) <= MOST_ENTRIES:
            return entries
        raise refused(name, value, f"at most {MOST_ENTRIES:,} entries")
    raise refused(name, value, "a sequence")


mapping, text, flag = instance(Mapping), instance(str), instance(bool)


def one_of(known: Iterable[str]) -> Rule:
    """One of the ``known`` words."""
    words = tuple(known)

    def rule(name: str, value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise refused(name, value, f"one of {', '.join(words)}")
        return value

    return rule


def function(name: str, value: object) -> Callable:
    """Something that can be called."""
    if not callable(value):
        raise refused(name, value, "a function")
    return value


def source(name: str, value: object) -> object:
    """A source of uniform numbers, as ``random.Random`` and ``numpy.random.Generator`` are."""
    if not callable(getattr(value, "random", None)):
        raise refused(name, value, "a source of random numbers with a method random()")
    return value


# Rules for numbers and expressions


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
    return getattr(expr, f"is_{sign}")


def _plain(value: object) -> int | Fraction | float | sp.Expr | None:
    """A finite real number as an int, a Fraction or a float, an expression that may be one as it is, None for the
    rest."""
    if type(value) is int or isinstance(value, sp.Rational):
        return value
    if isinstance(value, sp.Expr):
        unfit = value is sp.nan or value.is_finite is False or value.is_extended_real is False
        return None if unfit or value.is_commutative is False else value
    if isinstance(value, bool):
        return None
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, (Real, Decimal)) and math.isfinite(value):
        return float(value)
    return None
