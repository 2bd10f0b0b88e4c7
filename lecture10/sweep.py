"""Symbolic formulas at millions of points: compiled once, evaluated on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import sympy as sp

from .checks import checked, expression, mapping, refused, sequence, shown

if TYPE_CHECKING:
    import numpy as np


@checked(expr=expression, points=mapping)
def sweep(expr: sp.Expr, points: Mapping[sp.Symbol, object]) -> np.ndarray:
    """``expr`` at ``points``, a mapping of symbols to NumPy arrays that broadcast against each other, in floats.

    The same formula, compiled by ``sympy.lambdify`` with common subexpressions shared: no second definition of it. The
    result has the shape that all the arrays broadcast to, also where ``expr`` leaves some of them out.
    Raises ValueError naming the symbols of ``expr`` that ``points`` leaves open, keys that are no symbols and values
    that are no numbers.
    """
    import numpy as np  # so that importing the package loads SymPy alone

    if missing := expr.free_symbols - set(points):
        raise ValueError(f"no values for {sorted(map(str, missing))}: "
                         "expected an array for every symbol of the formula")
    arrays = [_values(symbol, values) for symbol, values in points.items()]
    compiled = sp.lambdify(list(points), expr.evalf(), modules="numpy", cse=True)
    return np.broadcast_to(compiled(*arrays), np.broadcast_shapes(*(array.shape for array in arrays)))


def _values(symbol: object, values: object) -> np.ndarray:
    if not isinstance(symbol, sp.Symbol):
        raise ValueError(f"points has the key {shown(symbol)}: expected a symbol")
    return array(f"points[{symbol}]", values)


def _holds_a_range(value: object) -> bool:
    return isinstance(value, range) or (isinstance(value, (list, tuple)) and any(map(_holds_a_range, value)))


def array(name: str, value: object) -> np.ndarray:
    """Numbers in a NumPy array of floats; raises ValueError for anything else."""
    import numpy as np

    try:
        if isinstance(value, range):
            value = sequence(name, value)
        if _holds_a_range(value):  # NumPy would fill the memory with it
            raise ValueError
        found = np.asarray(value)
        if found.dtype.kind in "iufO":
            return found.astype(float)
    except (TypeError, ValueError, OverflowError):  # ragged lists, entries that are no numbers or beyond floats
        pass
    raise refused(name, value, "an array of numbers")
