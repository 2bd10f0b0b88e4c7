"""Rules for objects: what kind they are, what stands in them, what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import islice

from .refusing import Rule, refused, shown

MOST_ENTRIES = 10**6
"""Entries of a sequence: what has more, or no end, would fill the memory before anything could be said of it."""


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
    return lambda name, value: tuple([rule(f"{name}[{i}]", entry) for i, entry in enumerate(sequence(name, value))])


def record(*rules: Rule) -> Rule:
    """As many entries as there are ``rules``, of which each takes its own, as a tuple."""
    expected = "a pair" if len(rules) == 2 else f"{len(rules)} entries"

    def rule(name: str, value: object) -> tuple:
        entries = sequence(name, value)
        if len(entries) != len(rules):
            raise refused(name, value, expected)
        return tuple([take(f"{name}[{i}]", entry) for i, (take, entry) in enumerate(zip(rules, entries))])

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


def hashable(name: str, value: object) -> Hashable:
    """What can be a key."""
    try:
        hash(value)
    except TypeError:
        raise refused(name, value, "a name, something that can be hashed") from None
    return value


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
