"""Formulas of the package as JavaScript functions: what a page computes is what Python derived, not typed again.

``function`` compiles expressions; the pages' extensions say which. The result is plain text for a classic script, which
browsers run from a file too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.jscode import JavascriptCodePrinter
from sympy.simplify.cse_main import tree_cse

RESERVED = {"arguments", "await", "case", "class", "const", "do", "else", "enum", "eval", "for", "function", "if", "in",
            "let", "new", "null", "return", "switch", "this", "throw", "try", "typeof", "var", "void", "while", "with"}


class Floored(sp.Function):
    """⌊a/b⌋ of the two arguments: one division, for a rounded reciprocal would miss whole quotients."""


class Raised(sp.Function):
    """⌈a/b⌉, likewise."""


class Largest(sp.Function):
    """Max without SymPy's comparisons of its arguments, which took place when the expression was made."""


class Least(sp.Function):
    """Min, likewise."""


EXACT = {sp.Max: Largest, sp.Min: Least, sp.floor: lambda x: Floored(*sp.fraction(sp.together(x))),
         sp.ceiling: lambda x: Raised(*sp.fraction(sp.together(x)))}


class Printer(JavascriptCodePrinter):
    """Numbers as doubles, a rational as the nearest one."""

    def doprint(self, expr: sp.Expr) -> str:
        """The expression alone: a page needs no comments and no indentation around it."""
        return self._print(expr)

    def _print_AppliedUndef(self, expr: AppliedUndef) -> str:
        return f"{expr.func.__name__}({','.join(map(self._print, expr.args))})"

    def _print_Sum(self, expr: sp.Sum) -> str:
        index, first, last = map(self._print, expr.limits[0])
        term = self._print(expr.function)
        return f"(()=>{{let t=0;for(let {index}={first};{index}<={last};{index}++)t+={term};return t}})()"

    def _print_Largest(self, expr: Largest) -> str:
        return f"Math.max({','.join(map(self._print, expr.args))})"

    def _print_Least(self, expr: Least) -> str:
        return f"Math.min({','.join(map(self._print, expr.args))})"

    def _print_Floored(self, expr: Floored) -> str:
        return "Math.floor(({})/({}))".format(*map(self._print, expr.args))

    def _print_Raised(self, expr: Raised) -> str:
        return "Math.ceil(({})/({}))".format(*map(self._print, expr.args))

    def _print_Integer(self, expr: sp.Integer) -> str:
        return str(int(expr)) if abs(int(expr)) < 2**53 else repr(float(expr))

    def _print_Rational(self, expr: sp.Rational) -> str:
        return repr(float(expr)) if (expr.q & (expr.q - 1)) == 0 else f"{self._print(expr.p)}/{self._print(expr.q)}"

    def _print_Float(self, expr: sp.Float) -> str:
        return repr(float(expr))


PRINTER = Printer({"strict": True, "order": "none"})


class Function(str):
    """The text of a function."""


Parameter = sp.Symbol | type[AppliedUndef] | Sequence[sp.Symbol]


def function(parameters: Iterable[Parameter], outputs: Iterable[object]) -> Function:
    """``(a, [b, c]) => { …; return [x, y]; }``: the ``outputs`` for numbers in place of the ``parameters``, in order.

    A parameter is a symbol, a list of symbols or a function, such as one compiled before. Subterms are computed once.
    Raises ValueError for a symbol that is no parameter, a name that JavaScript reserves, and a function that it does
    not have.
    """
    parameters, outputs = list(parameters), [exact(output) for output in outputs]
    known = {each for one in parameters for each in (one if isinstance(one, Sequence) else [one])}
    subterms, results = tree_cse(outputs, sp.numbered_symbols("$", real=True), order="none")
    names, values = [name for name, _ in subterms], [*(value for _, value in subterms), *results]
    used = set().union(*(expr.free_symbols | {call.func for call in expr.atoms(AppliedUndef)} for expr in values))
    if unknown := used - known - {*names}:
        raise ValueError(f"no values for {sorted(map(str, unknown))}: expected parameters {sorted(map(str, known))}")
    if reserved := {str(symbol) for symbol in known} & RESERVED:
        raise ValueError(f"{sorted(reserved)} mean something else in JavaScript: expected other names of symbols")
    body = ",".join(f"{_print(name)}={_print(value)}" for name, value in subterms)
    constants = f"const {body};" if body else ""
    given = ",".join(f"[{','.join(map(str, one))}]" if isinstance(one, Sequence) else str(one) for one in parameters)
    return Function(f"({given})=>{{{constants}return[{','.join(map(_print, results))}]}}")


def exact(expr: object) -> sp.Expr:
    """The expression with roundings of one quotient each; what is left may be taken apart without a second thought."""
    expr = sp.sympify(expr)
    return _exact(expr) if expr.has(*EXACT) else expr


def _exact(expr: sp.Expr) -> sp.Expr:
    parts = tuple(map(_exact, expr.args))
    if type(expr) in EXACT:
        return EXACT[type(expr)](*parts)
    return expr if parts == expr.args else expr.func(*parts)


def _print(expr: sp.Expr) -> str:
    try:
        return re.sub(r"\s*([^\w$\s])\s*", r"\1", PRINTER.doprint(expr))
    except NotImplementedError as error:  # SymPy names the class that has no spelling
        reason = str(error).splitlines()[0]
        raise ValueError(f"{type(expr).__name__}: expected what JavaScript can compute ({reason})") from None
