"""Checks of arguments: one ValueError of one line that names the argument, shows its value and says what was expected.

``refusing`` the error and ``checked``, which puts rules in front of a function or a dataclass; ``objects`` rules for
objects, ``quantities`` for numbers and expressions. A string is never a number or a formula.
"""

from .objects import (
    MOST_ENTRIES,
    each,
    flag,
    function,
    hashable,
    instance,
    mapping,
    one_of,
    optional,
    pair,
    pairs,
    record,
    sequence,
    source,
    text,
    values,
)
from .quantities import (
    amount,
    count,
    expression,
    nonnegative,
    number,
    positive,
    rational,
    real,
    size,
    whole,
    within,
)
from .refusing import Rule, checked, refused, shown

__all__ = [
    "MOST_ENTRIES", "Rule", "amount", "checked", "count", "each", "expression", "flag", "function", "hashable",
    "instance", "mapping", "nonnegative", "number", "one_of", "optional", "pair", "pairs", "positive", "rational",
    "real", "record", "refused", "sequence", "shown", "size", "source", "text", "values", "whole", "within",
]
