"""Tables as a notebook shows them: Markdown, so that JupyterLab and the book both typeset the mathematics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral

import sympy as sp

from .checks import checked, each, sequence, shown
from .notation import memory_bandwidth, peak_flops


@checked(header=sequence, rows=each(sequence))
@dataclass(frozen=True)
class Table:
    """Rows under a header; cells are text, numbers or SymPy expressions.

    Expressions are typeset, whole numbers get thousands separators, other numbers four significant digits; a
    Decimal keeps the digits that it has, None is an empty cell. The table prints as its Markdown, so that no output
    holds digits that hang on how a sum was rounded. Raises ValueError when a row has another length than the header.
    """

    header: tuple[object, ...]
    rows: tuple[tuple[object, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", tuple(self.header))
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"row {shown(row)} has {len(row)} cells: expected {len(self.header)}")

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def _repr_markdown_(self) -> str:
        numeric = [_is_numeric([row[i] for row in self.rows]) for i in range(len(self.header))]
        rule = ["---:" if right else ":---" for right in numeric]
        lines = [[cell(c) for c in self.header], rule, *([cell(c) for c in row] for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: object) -> str:
    """One table cell as Markdown."""
    if isinstance(value, bool) or value is None:
        return {True: "是", False: "否", None: ""}[value]
    if isinstance(value, sp.Expr) and not _is_number(value):
        return f"${_typeset(value)}$"
    if not _is_number(value):
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:,}"
    if isinstance(value, Integral) or getattr(value, "is_Integer", False):
        return f"{int(value):,}"
    return _rounded(float(value))


def _is_numeric(column: list[object]) -> bool:
    """Whether a column holds numbers alone; None, a number that is not known, leaves it one."""
    known = [value for value in column if value is not None]
    return all(map(_is_number, known)) and (bool(known) or not column)


def _is_number(value: object) -> bool:
    if isinstance(value, sp.Expr):
        return bool(value.is_number and value.is_extended_real)
    return isinstance(value, (Integral, float, Decimal)) and not isinstance(value, bool)


def _typeset(value: sp.Expr) -> str:
    """LaTeX, with space around the symbols that are words: in a product they would run into their neighbours."""
    words = {symbol: rf"\,{sp.latex(symbol)}\," for symbol in (memory_bandwidth, peak_flops)}
    return sp.latex(value) if value.is_Symbol else sp.latex(value, symbol_names=words)


def _rounded(value: float) -> str:
    """Four significant digits, never fewer than the integer part has, no exponent between 1e-4 and 1e15."""
    if not 1e-4 <= abs(value) < 1e15:
        return f"{value:.4g}"
    magnitude = math.floor(math.log10(abs(float(f"{value:.3e}"))))  # after rounding: 9.9996 becomes 10.00
    return f"{value:,.{max(0, 3 - magnitude)}f}"
