"""How an argument is refused, and how rules stand in front of a function or a dataclass.

A rule is a function ``rule(name, value)``: it refuses the value, or hands it on in the form that the package computes
with.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable
from fractions import Fraction
from functools import wraps
from typing import TypeVar

Rule = Callable[[str, object], object]
Target = TypeVar("Target", bound=Callable)


class _Short(reprlib.Repr):
    """Values as they stand in an error: one line, the middle left out when it is long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_Fraction(self, value: Fraction, level: int) -> str:  # reprlib looks for the type's name
        over, under = (self.repr_int(part, level) for part in value.as_integer_ratio())
        return over if value.denominator == 1 else f"{over}/{under}"


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
        in_order = [(at, name, rules[name]) for at, name in enumerate(names) if name in rules]  # once, not every call
        many = rules.get(rest)

        @wraps(target)
        def call(*args: object, **kwargs: object) -> object:
            found = list(args)
            for at, name, rule in in_order:
                if at < len(args):
                    found[at] = rule(name, args[at])
            if many is not None:
                found[len(names):] = many(rest, args[len(names):])
            for name in kwargs:
                if rule := rules.get(name):
                    kwargs[name] = rule(name, kwargs[name])
            return target(*found, **kwargs)

        return call

    return decorate
