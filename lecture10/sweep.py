"""Symbolic formulas at millions of points: compiled once, evaluated on arrays."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp


def sweep(expr: sp.Expr, points: Mapping[sp.Symbol, object]) -> object:
    """``expr`` at ``points``, a mapping of symbols to NumPy arrays that broadcast against each other, in floats.

    The same formula, compiled by ``sympy.lambdify`` with common subexpressions shared: no second definition of it.
    Raises ValueError naming the symbols of ``expr`` that ``points`` leaves open.
    """
    if missing := expr.free_symbols - set(points):
        raise ValueError(f"no values for {sorted(map(str, missing))}: expected an array for every symbol of the formula")
    compiled = sp.lambdify(list(points), expr.evalf(), modules="numpy", cse=True)
    return compiled(*points.values())
