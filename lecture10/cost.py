"""A cost is a list of named steps; everything else is arithmetic on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sympy as sp

from .checks import checked, each, expression, instance, nonnegative, pairs, shown, text
from .hardware import Accelerator
from .notation import symbol_of
from .table import Table


@checked(name=text)
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
            if (given := getattr(self, quantity)) is not sp.S.Zero:
                object.__setattr__(self, quantity, nonnegative(f"{quantity} of step {self.name!r}", given))

    @checked(others=lambda name, value: each(instance(Step))(name, value))
    def together(self, *others: Step) -> Step:
        """This and the ``others`` as one operation: their FLOPs and bytes added, under this one's name."""
        steps = (self, *others)
        return Step(self.name, sum(step.flops for step in steps), sum(step.bytes_transferred for step in steps))


@checked(steps=each(instance(Step)))
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
        return sp.factor(self.flops / self.bytes_transferred)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.steps + other.steps) if isinstance(other, Cost) else NotImplemented

    def __radd__(self, other: object) -> Cost:
        return self if other == 0 else NotImplemented  # so that sum(costs) works

    def __mul__(self, times: object) -> Cost:
        if isinstance(times, Cost):
            return NotImplemented
        times = expression("times", times)
        return Cost(tuple(Step(s.name, times * s.flops, times * s.bytes_transferred) for s in self.steps))

    __rmul__ = __mul__

    def subs(self, *args, **sizes) -> Cost:
        """The same steps after ``Expr.subs(*args)`` in each of them; sizes also by name, ``cost.subs(B=64)``.

        Raises ValueError for a name that is no symbol of the book, which SymPy would pass over in silence, and for a
        value that is no number or expression.
        """
        stages = [_substitution(given) for given in (*([[args]] if len(args) == 2 else args), sizes)]

        def substitute(expr: sp.Expr) -> sp.Expr:
            for stage in stages:
                expr = expr.subs(stage)
            return expr

        return Cost(tuple(Step(s.name, substitute(s.flops), substitute(s.bytes_transferred)) for s in self.steps))

    @checked(names=each(text))
    def without(self, *names: str) -> Cost:
        """The cost without the named steps. Raises ValueError for a name that no step has."""
        if unknown := set(names) - {step.name for step in self.steps}:
            known = [step.name for step in self.steps]
            raise ValueError(f"no step named {shown(sorted(unknown))}: expected one of {known}")
        return Cost(tuple(step for step in self.steps if step.name not in names))

    @checked(names=each(text))
    def only(self, *names: str) -> Cost:
        """The named steps alone. Raises ValueError for a name that no step has."""
        others = [step.name for step in self.without(*names).steps]
        return self.without(*others)

    @checked(name=text, reads=each(text))
    def as_step(self, name: str, *reads: str) -> Cost:
        """All steps merged into one: an operation whose arithmetic and transfers overlap perfectly.

        With ``reads`` only the bytes of these steps count, where everything else stays on the chip: of a product the
        weights, of attention the cache. Raises ValueError for a name that no step has.
        """
        moved = self.only(*reads) if reads else self
        return Cost.of(Step(name, self.flops, moved.bytes_transferred))

    @checked(accelerator=instance(Accelerator))
    def time(self, accelerator: Accelerator) -> sp.Expr:
        """Seconds on ``accelerator``: per step max(FLOPs / peak, bytes / bandwidth), summed over the steps.

        A lower bound: data-sheet peaks, no launch overhead, no communication. How the steps are cut is the assumption
        about overlap: ``cost.as_step(...)`` overlaps everything, and max over totals <= sum over steps of max.
        """
        return sp.Add(*(accelerator.time(step.flops, step.bytes_transferred) for step in self.steps))

    def table(self) -> Table:
        """The steps and their total as a table that a notebook renders."""
        rows = [(step.name, step.flops, step.bytes_transferred) for step in self.steps]
        total = ("合计", sp.factor(self.flops), sp.factor(self.bytes_transferred))
        return Table(("步骤", "FLOPs", "字节"), (*rows, total))

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def _substitution(sizes: object) -> dict | list:
    """What ``Expr.subs`` takes, from a mapping or a sequence of pairs."""
    named = isinstance(sizes, Mapping)
    given = sizes.items() if named else pairs(_anything, _anything)("sizes", sizes)
    found = [(symbol_of(key), expression(shown(key), value)) for key, value in given]
    return dict(found) if named else found


def _anything(_name: str, value: object) -> object:
    return value
