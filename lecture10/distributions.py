"""What counts as a distribution: rationals and symbols exactly, floats within their rounding, arrays without a loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational
from typing import TYPE_CHECKING

import sympy as sp

from .checks import number, sequence, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUM_TOLERANCE = 1e-6
"""How far floats may sum from 1; rationals must sum to it exactly."""

ARRAY_TOLERANCE = {4: 2.0**-10, 2: 2.0**-7}
"""The same for arrays, by the bytes of an element: a softmax over 150,000 words in float32 that adds one after the
other is 2.4e-4 off, one rounded to 16 bits 4e-3."""

LONG = 1000
"""From this length on a list of floats is worth turning into an array."""


def distribution(name: str, probabilities: object) -> list:
    """The probabilities as a list of what ``number`` makes of them. A sum that stays symbolic is taken to be 1."""
    if _sums_to_one(probabilities):
        return [value if type(value) is Fraction else Fraction(value) for value in probabilities]
    values = [number(f"{name}[{i}]", value, 1 + SUM_TOLERANCE, "a probability between 0 and 1")
              for i, value in enumerate(sequence(name, probabilities))]
    if not values:
        raise ValueError(f"{name} is empty: expected a probability for every token")
    if any(isinstance(value, sp.Expr) for value in values):
        total = sp.simplify(sum(values))
    else:
        total = math.fsum(values) if any(isinstance(value, float) for value in values) else sum(values)
    exact = isinstance(total, (Rational, sp.Rational))
    if getattr(total, "is_number", True) and (total != 1 if exact else abs(total - 1) > _tolerance(probabilities)):
        raise ValueError(f"{name} sums to {total}: expected 1")
    return values


def _sums_to_one(values: object) -> bool:
    """Whether these are fractions of which none is negative and whose sum is 1, found in whole numbers: sums and
    comparisons of fractions take several times as long."""
    if not isinstance(values, (list, tuple)) or not all(type(value) in (Fraction, int) for value in values):
        return False
    unit = math.lcm(*(value.denominator for value in values))
    parts = [value.numerator * (unit // value.denominator) for value in values]
    return sum(parts) == unit and min(parts) >= 0


def row(name: str, probabilities: object) -> Sequence:
    """As ``distribution``, for sampling: no symbols; an array of floats stays one, a long list of floats becomes one.

    An array that is further from 1 than ``SUM_TOLERANCE`` is scaled to it.
    """
    array = _array(probabilities)
    if array is not None and array.ndim == 1 and len(array) and array.min() >= 0:
        total = float(array.sum(dtype=float))
        if abs(total - 1) <= _tolerance(probabilities):
            return array if abs(total - 1) <= SUM_TOLERANCE else array.astype(float) / total
    values = distribution(name, probabilities)
    if symbolic := [value for value in values if isinstance(value, sp.Expr) and not value.is_number]:
        raise ValueError(f"{name} holds {symbolic[0]}: expected numbers, nothing can be drawn from symbols")
    return values


def _tolerance(probabilities: object) -> float:
    return ARRAY_TOLERANCE.get(getattr(getattr(probabilities, "dtype", None), "itemsize", 8), SUM_TOLERANCE)


def _array(probabilities: object) -> NDArray | None:
    """An array of floats, or a long list of them, as one of float64; None for anything else."""
    listed = isinstance(probabilities, (list, tuple)) and len(probabilities) > LONG
    try:
        if "float" in str(getattr(probabilities, "dtype", "")):
            import numpy as np  # where there is an array, it is there

            array = np.asarray(probabilities)
            return array if array.dtype.kind == "f" else array.astype(float)
        if listed and isinstance(sum(probabilities), float):
            import numpy as np

            return np.fromiter(probabilities, float, len(probabilities))
    except (ImportError, TypeError, ValueError):
        pass
    return None


def pair(p: object, q: object) -> tuple[list, list]:
    """A draft's and a target's distribution over the same vocabulary."""
    p, q = distribution("p", p), distribution("q", q)
    if len(p) != len(q):
        raise ValueError(f"p has {len(p)} tokens and q has {len(q)}: expected the same vocabulary")
    return p, q


def rows(draft_tokens: object, p: object, q: object) -> tuple[list[int], list, list]:
    """γ draft tokens, the γ rows of p, each of which can propose its token, and the γ + 1 rows of q, all alike."""
    tokens, p, q = sequence("draft_tokens", draft_tokens), sequence("p", p), sequence("q", q)
    if len(p) != len(tokens):
        raise ValueError(f"p has {len(p)} rows: expected one for each of the {len(tokens)} draft tokens")
    if len(q) != len(tokens) + 1:
        raise ValueError(f"q has {len(q)} rows: expected {len(tokens) + 1}, one more than draft tokens")
    named = {f"{name}[{i}]": row(f"{name}[{i}]", entry)
             for name, matrix in (("p", p), ("q", q)) for i, entry in enumerate(matrix)}
    last, vocabulary = f"q[{len(tokens)}]", len(named[f"q[{len(tokens)}]"])
    for name, entry in named.items():
        if len(entry) != vocabulary:
            raise ValueError(f"{name} has {len(entry)} tokens and {last} has {vocabulary}: "
                             "expected the same vocabulary")
    entries = _alike([*named.values()])
    for i, token in enumerate(tokens):
        name = f"draft_tokens[{i}]"
        tokens[i] = whole(name, token, 0, vocabulary - 1, f"a token between 0 and {vocabulary - 1}")
        if entries[i][tokens[i]] == 0:
            raise ValueError(f"{name} is {tokens[i]}, which p[{i}] gives probability 0: "
                             "expected a token the draft can propose")
    return tokens, entries[:len(tokens)], entries[len(tokens):]


def _alike(entries: list) -> list:
    """All as arrays where one is: a list has no differences."""
    if all(isinstance(entry, list) for entry in entries):
        return entries
    import numpy as np

    return [np.array(entry, dtype=float) if isinstance(entry, list) else entry for entry in entries]


def acceptance(a: object, b: object) -> object:
    """min(1, b/a): the acceptance of a token with draft probability a and target probability b."""
    if hasattr(a, "item"):  # of an array
        a, b = a.item(), b.item()
    symbolic = isinstance(a, sp.Expr) or isinstance(b, sp.Expr)
    return 1 if a == 0 or (not symbolic and b >= a) else smaller(1, b / a)


def excess(p: list, q: list, scale: object = 1) -> list:
    """max(scale·q − p, 0), token by token."""
    if not isinstance(p, list):
        return (float(scale) * q.astype(float) - p).clip(0)
    return [larger(scale * b - a, 0) for a, b in zip(p, q)]


def residual(p: list, q: list, scale: object = 1) -> list | None:
    """The residual distribution, ``excess`` normalised, or None when scale·q exceeds p nowhere."""
    rest = excess(p, q, scale)
    total = sum(rest) if isinstance(rest, list) else rest.sum()
    if total == 0:
        return None
    return [e / total for e in rest] if isinstance(rest, list) else rest / total


def smaller(a: object, b: object) -> object:
    if isinstance(a, sp.Expr) or isinstance(b, sp.Expr):
        difference = sp.factor(b - a)  # SymPy's Min compares term by term: it leaves Min(1, q/(q + d)) alone
        return a if difference.is_nonnegative else b if difference.is_nonpositive else sp.Min(a, b)
    return min(a, b)


def larger(a: object, b: object) -> object:
    if isinstance(a, sp.Expr) or isinstance(b, sp.Expr):
        difference = sp.factor(b - a)
        return b if difference.is_nonnegative else a if difference.is_nonpositive else sp.Max(a, b)
    return max(a, b)
