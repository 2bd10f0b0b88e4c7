"""What people write for sizes, formats and rates: ``64k`` tokens, ``INT8``, ``4.85 bits``, ``3.35TB/s``."""

from __future__ import annotations

import argparse
import re
import reprlib
from collections.abc import Callable, Iterable
from fractions import Fraction

import sympy as sp

from ..models.formats import BYTES, FORMATS, Format

LARGEST = 10**12
BINARY = {"": 1, "k": 2**10, "m": 2**20}
DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
WITHOUT_UNIT = 10**9
"""A rate or a memory without a unit is taken in FLOP/s, bytes/s or bytes only from here on: 80 is not 80 bytes."""

NUMBER = r"(\d{1,15}(?:\.\d{1,15})?)"


def wrong(text: str, expected: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{reprlib.repr(text)}: expected {expected}")


def size(text: str) -> int:
    """A positive whole number: ``131072``, ``131,072``, ``128k`` (k = 1,024) or ``1m`` (m = 1,048,576)."""
    found = re.fullmatch(NUMBER + r"\s*([km]?)", text.strip().replace(",", "").replace("_", "").lower(), re.ASCII)
    value = Fraction(found[1]) * BINARY[found[2]] if found else Fraction(0)
    if value.denominator != 1 or not 0 < value <= LARGEST:
        raise wrong(text, f"a positive whole number up to {LARGEST:.0e}, such as 4096, 64k or 1m")
    return int(value)


def size_or_none(text: str) -> int:
    """As ``size``, or 0."""
    return 0 if text.strip() == "0" else size(text)


def quantity(unit: str, example: str) -> Callable[[str], sp.Rational]:
    """Reads a rate or a memory in ``unit`` (``FLOP/s``, ``B/s``, ``B``), exactly: ``989T``, ``3.35TB/s``, ``80GiB``."""
    names = {"FLOP/s": r"(?:flop/?s|flops/s|ops|op/s|)", "B/s": r"(?:b/s|)", "B": r"(?:b|)"}[unit]
    expected = f"a number with its unit, such as {example}"

    def read(text: str) -> sp.Rational:
        plain = text.strip().replace(",", "").replace("_", "")
        if re.search(r"[KMGTP]b", plain):  # bits, by the usual spelling
            raise wrong(text, f"{expected} (B: bytes)")
        found = re.fullmatch(NUMBER + r"\s*([kmgtp]?)(i?)\s*" + names, plain.lower(), re.ASCII)
        if not found or (found[3] and (unit != "B" or not found[2])):
            raise wrong(text, expected)
        power = 2 ** (10 * "kmgtp".index(found[2]) + 10) if found[3] else DECIMAL[found[2]]
        value = Fraction(found[1]) * power
        if value <= 0 or (not found[2] and value < WITHOUT_UNIT):
            raise wrong(text, expected)
        return sp.Rational(value.numerator, value.denominator)

    return read


def number(text: str) -> float:
    """A positive, finite decimal number."""
    if not re.fullmatch(NUMBER + r"(?:e[+-]?\d{1,2})?", text.strip().replace(",", "").lower(), re.ASCII):
        raise wrong(text, "a positive number")
    value = float(text.replace(",", ""))
    if not value > 0:
        raise wrong(text, "a positive number")
    return value


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """Reads one of ``names``, in any case."""
    known = tuple(names)

    def read(text: str) -> str:
        if text.strip().lower() not in known:
            raise wrong(text, f"one of {', '.join(known)}")
        return text.strip().lower()

    return read


def element(text: str) -> sp.Rational:
    """Bytes of a number: the name of a format or bits, ``4.85 bits``."""
    return _stored(text, BYTES)


def weights(text: str) -> sp.Rational | Format | tuple[sp.Rational]:
    """As ``element``; formats with scales have names too, and ``(bytes,)`` is the size of a whole file, ``4.68GB``."""
    try:
        return _stored(text, BYTES | FORMATS)
    except argparse.ArgumentTypeError as error:
        if not re.search(r"\d\s*[KMGT]i?B$", text.strip(), re.IGNORECASE):
            raise argparse.ArgumentTypeError(f"{error} or a file's size, such as 4.68GB") from None
        return (quantity("B", "4.68GB")(text),)


def _stored(text: str, known: dict[str, object]) -> object:
    name = text.strip().lower()
    if name in known:
        return known[name]
    found = re.fullmatch(NUMBER + r"\s*(?:bits?|bpw)", name, re.ASCII)
    bits = Fraction(found[1]) if found else Fraction(0)
    if not 0 < bits <= 64:
        raise wrong(text, f"one of {', '.join(known)}, bits of a number, such as '4.85 bits'")
    return sp.Rational(bits.numerator, 8 * bits.denominator)
