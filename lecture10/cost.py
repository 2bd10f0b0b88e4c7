"""A cost is a list of named steps; everything else is arithmetic on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sympy as sp

from .hardware import Accelerator
from .notation import symbol_of
from .table import Table


@dataclass(frozen=True)
class Step:
    """One named step: ``flops`` floating-point operations and ``bytes_transferred`` bytes to or from device memory.

    Both are SymPy expressions (numbers are converted). A multiply-add counts as 2 FLOPs. Raises ValueError when either
    is not an expression or is known to be negative or not finite.
    """

    name: str
    flops: sp.Expr = sp.S.Zero
    bytes_transferred: sp.Expr = sp.S.Zero

    def __post_init__(self) -> None:
        for quantity in ("flops", "bytes_transferred"):
            value = getattr(self, quantity)
            expr = sp.sympify(value)
            if not isinstance(expr, sp.Expr) or expr.is_negative or expr.is_finite is False or expr is sp.nan:
                raise ValueError(f"{quantity} of step {self.name!r} is {value!r}: expected a non-negative expression")
            object.__setattr__(self, quantity, expr)


@dataclass(frozen=True)
class Cost:
    """A tuple of steps, with totals, intensity and time derived from them.

    ``a + b`` lists both, ``n * a`` repeats every step n times, ``a.subs(...)`` substitutes in every step. A step is the
    unit of overlap: within one, arithmetic and transfers run at the same time; two steps run one after the other.
    """

    steps: tuple[Step, ...] = field(default=())

    @classmethod
    def of(cls, *steps: Step) -> Cost:
        return cls(tuple(steps))

    @property
    def flops(self) -> sp.Expr:
        """Total FLOPs."""
        return sp.Add(*(step.flops for step in self.steps))

    @property
    def bytes_transferred(self) -> sp.Expr:
        """Total bytes moved to and from device memory."""
        return sp.Add(*(step.bytes_transferred for step in self.steps))

    @property
    def intensity(self) -> sp.Expr:
        """Arithmetic intensity, FLOPs / bytes, simplified. Raises ValueError for a cost that moves no bytes."""
        if self.bytes_transferred == 0:
            raise ValueError("bytes_transferred is 0: expected a cost that moves bytes, intensity is undefined")
        return sp.simplify(self.flops / self.bytes_transferred)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.steps + other.steps) if isinstance(other, Cost) else NotImplemented

    def __radd__(self, other: object) -> Cost:
        return self if other == 0 else NotImplemented  # so that sum(costs) works

    def __mul__(self, times: object) -> Cost:
        if isinstance(times, Cost):
            return NotImplemented
        times = sp.sympify(times)
        return Cost(tuple(Step(s.name, times * s.flops, times * s.bytes_transferred) for s in self.steps))

    __rmul__ = __mul__

    def subs(self, *args, **sizes) -> Cost:
        """The same steps after ``Expr.subs(*args)`` in each of them; sizes also by name, ``cost.subs(B=64)``.

        Raises ValueError for a name that is no symbol of the book, which SymPy would pass over in silence.
        """
        if args and isinstance(args[0], Mapping):
            args = ({symbol_of(key): value for key, value in args[0].items()},)
        named = {symbol_of(name): value for name, value in sizes.items()}

        def substitute(expr: sp.Expr) -> sp.Expr:
            return (expr.subs(*args) if args else expr).subs(named)

        return Cost(tuple(Step(s.name, substitute(s.flops), substitute(s.bytes_transferred)) for s in self.steps))

    def without(self, *names: str) -> Cost:
        """The cost without the named steps. Raises ValueError for a name that no step has."""
        if unknown := set(names) - {step.name for step in self.steps}:
            raise ValueError(f"no step named {sorted(unknown)}: expected one of {[step.name for step in self.steps]}")
        return Cost(tuple(step for step in self.steps if step.name not in names))

    def only(self, *names: str) -> Cost:
        """The named steps alone. Raises ValueError for a name that no step has."""
        others = [step.name for step in self.without(*names).steps]
        return self.without(*others)

    def as_step(self, name: str, *reads: str) -> Cost:
        """All steps merged into one: an operation whose arithmetic and transfers overlap perfectly.

        With ``reads`` only the bytes of these steps count, where everything else stays on the chip: of a product the
        weights, of attention the cache. Raises ValueError for a name that no step has.
        """
        moved = self.only(*reads) if reads else self
        return Cost.of(Step(name, self.flops, moved.bytes_transferred))

    def time(self, accelerator: Accelerator) -> sp.Expr:
        """Seconds on ``accelerator``: per step max(FLOPs / peak, bytes / bandwidth), summed over the steps.

        A lower bound: data-sheet peaks, no launch overhead, no communication. How the steps are cut is the assumption
        about overlap: ``cost.as_step(...)`` overlaps everything, and max over totals <= sum over steps of max.
        """
        return sp.Add(*(accelerator.time(step.flops, step.bytes_transferred) for step in self.steps))

    def table(self) -> Table:
        """The steps and their total as a table that a notebook renders."""
        rows = [(step.name, step.flops, step.bytes_transferred) for step in self.steps]
        total = ("total", sp.factor(self.flops), sp.factor(self.bytes_transferred))
        return Table(("step", "FLOPs", "bytes"), (*rows, total))

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()
