"""Symbolic formulas at millions of points: compiled once, evaluated on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import sympy as sp

if TYPE_CHECKING:
    import numpy as np


def sweep(expr: sp.Expr, points: Mapping[sp.Symbol, object]) -> np.ndarray:
    """``expr`` at ``points``, a mapping of symbols to NumPy arrays that broadcast against each other, in floats.

    The same formula, compiled by ``sympy.lambdify`` with common subexpressions shared: no second definition of it. The
    result has the shape that all the arrays broadcast to, also where ``expr`` leaves some of them out.
    Raises ValueError naming the symbols of ``expr`` that ``points`` leaves open.
    """
    import numpy as np  # so that importing the package loads SymPy alone

    if missing := expr.free_symbols - set(points):
        raise ValueError(f"no values for {sorted(map(str, missing))}: "
                         "expected an array for every symbol of the formula")
    arrays = [np.asarray(values, dtype=float) for values in points.values()]
    compiled = sp.lambdify(list(points), expr.evalf(), modules="numpy", cse=True)
    return np.broadcast_to(compiled(*arrays), np.broadcast_shapes(*(array.shape for array in arrays)))
