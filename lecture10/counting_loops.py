"""Real loops on small nested lists that count what they do: the check on the formulas of ``lecture10.intensity``.

Nothing here knows a formula. A ``Meter`` counts two FLOPs for every multiply-add that runs and the bytes of every
element that is read from or written to device memory. Pure Python, exact for integers and Fractions (softmax excepted).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from .checks import Rule, checked, each, expression, flag, instance, refused, sequence, shown, whole, within

Row = Sequence[object]
Matrix = Sequence[Row]


@checked(flops=whole, bytes_transferred=whole)
@dataclass
class Meter:
    """Counts the FLOPs and the device-memory bytes of the loops that it is handed to."""

    flops: int = 0
    bytes_transferred: int = 0

    @checked(tensor=sequence, element_bytes=whole)
    def move(self, tensor: Sequence, element_bytes: int = 2) -> Sequence:
        """Read or write every element of a nested list once, and hand the list on."""
        for part in tensor:
            if isinstance(part, Sequence) and not isinstance(part, (str, bytes)):
                self.move(part, element_bytes)
            else:
                self.bytes_transferred += element_bytes
        return tensor

    def dot(self, a: Row, b: Row) -> object:
        """Sum of products: one multiply-add, 2 FLOPs, for every pair of elements."""
        total = 0
        try:
            for x, y in zip(a, b, strict=True):
                total += x * y
                self.flops += 2
        except (TypeError, ValueError):
            raise ValueError(f"the rows are {shown(a)} and {shown(b)}: expected numbers, equally many") from None
        return total

    @checked(x=each(sequence), w=each(sequence))
    def product(self, x: Matrix, w: Matrix) -> Matrix:  # [R, I] [I, C] -> [R, C]
        """The matrix product of operands that are already on the chip: arithmetic, no transfer."""
        return [[self.dot(row, column) for column in zip(*w)] for row in x]


def _tensor(dimensions: int) -> Rule:
    """Nested sequences of numbers, as many entries in each row."""
    entries: Rule = _entry
    for _ in range(dimensions):
        entries = each(entries)

    def rule(name: str, value: object) -> tuple:
        found = layer = entries(name, value)
        for _ in range(dimensions):
            if not layer or (isinstance(layer[0], tuple) and len({len(row) for row in layer}) != 1):
                raise refused(name, value, f"{dimensions} dimensions, as many entries in each row")
            layer = sum(layer, ()) if isinstance(layer[0], tuple) else layer
        return found

    return rule


def _entry(name: str, value: object) -> object:
    expression(name, value, "a number")
    return value


_MATRIX, _HEADS, _BYTES = _tensor(2), _tensor(3), partial(whole, at_least=1)
_METER = instance(Meter)


@checked(meter=_METER, x=_MATRIX, w=_MATRIX, weight_bytes=_BYTES)
def matmul_loop(meter: Meter, x: Matrix, w: Matrix, *, weight_bytes: int = 2) -> Matrix:  # [R, I] [I, C] -> [R, C]
    """Y = X W: read both operands, write the result."""
    return meter.move(meter.product(meter.move(x), meter.move(w, weight_bytes)))


@checked(meter=_METER, x=_MATRIX, up=_MATRIX, gate=_MATRIX, down=_MATRIX, weight_bytes=_BYTES)
def mlp_loop(meter: Meter, x: Matrix, up: Matrix, gate: Matrix, down: Matrix, *,
             weight_bytes: int = 2) -> Matrix:  # [R, D] [D, F] [D, F] [F, D] -> [R, D]
    """Gated MLP as the lecture counts it: U and G are written to memory, and the copies on the chip are used."""
    x, up, gate, down = meter.move(x), *(meter.move(w, weight_bytes) for w in (up, gate, down))
    u, g = meter.move(meter.product(x, up)), meter.move(meter.product(x, gate))
    return meter.move(meter.product(_gated(u, g), down))


@checked(meter=_METER, x=_MATRIX, up=_MATRIX, gate=_MATRIX, down=_MATRIX, weight_bytes=_BYTES)
def unfused_mlp_loop(meter: Meter, x: Matrix, up: Matrix, gate: Matrix, down: Matrix, *,
                     weight_bytes: int = 2) -> Matrix:  # [R, D] [D, F] [D, F] [F, D] -> [R, D]
    """Gated MLP as three kernels, each of which reads all its operands and writes its result."""
    u, g = (matmul_loop(meter, x, w, weight_bytes=weight_bytes) for w in (up, gate))
    return meter.move(meter.product(_gated(meter.move(u), meter.move(g)), meter.move(down, weight_bytes)))


@checked(meter=_METER, q=_HEADS, k=_HEADS, v=_HEADS, causal=flag, kv_bytes=_BYTES)
def attention_loop(meter: Meter, q: Sequence[Matrix], k: Sequence[Matrix], v: Sequence[Matrix], *,
                   causal: bool = False,
                   kv_bytes: int = 2) -> Sequence[Matrix]:  # [T, N, H] [S, K, H] [S, K, H] -> [T, N, H]
    """Attention of one sequence; query head n uses key/value head n // (N/K),
    the T queries are the last of S positions."""
    within("tokens", len(q), "positions", len(k))
    if len(k) != len(v) or len(k[0]) != len(v[0]) or len(q[0]) % len(k[0]):
        raise ValueError(f"q has {len(q[0])} heads, k {len(k[0])} of {len(k)} positions, v {len(v[0])} of {len(v)}: "
                         "expected as many values as keys, and query heads a multiple of theirs")
    q, k, v = meter.move(q), meter.move(k, kv_bytes), meter.move(v, kv_bytes)
    group = len(q[0]) // len(k[0])
    y = []
    for heads, visible in zip(q, _visible(q, k, causal)):
        y.append([_attend(meter, query, [k[s][n // group] for s in range(visible)],
                          [v[s][n // group] for s in range(visible)])
                  for n, query in enumerate(heads)])
    return meter.move(y)


@checked(meter=_METER, q=_HEADS, cache=_MATRIX, latent=_BYTES, causal=flag, kv_bytes=_BYTES)
def latent_attention_loop(meter: Meter, q: Sequence[Matrix], cache: Matrix, latent: int, *,
                          causal: bool = False, kv_bytes: int = 2,
                          ) -> Sequence[Matrix]:  # [T, N, latent + rope] [S, latent + rope] -> [T, N, latent]
    """Absorbed MLA of one sequence: the cache is read once, and its first ``latent`` columns are the values too."""
    within("tokens", len(q), "positions", len(cache))
    within("latent", latent, "the width of the cache", len(cache[0]))
    q, cache = meter.move(q), meter.move(cache, kv_bytes)
    values = [row[:latent] for row in cache]
    return meter.move([[_attend(meter, query, cache[:visible], values[:visible]) for query in heads]
                       for heads, visible in zip(q, _visible(q, cache, causal))])


def _visible(queries: Sequence, positions: Sequence, causal: bool) -> list[int]:
    """How many positions each query sees; the queries are the last ones."""
    before = len(positions) - len(queries)
    return [before + i + 1 if causal else len(positions) for i in range(len(queries))]


def _attend(meter: Meter, query: Row, keys: Matrix, values: Matrix) -> list:
    """One query over the keys that it sees. The softmax between the two products is not counted."""
    scores = [meter.dot(query, key) for key in keys]
    weights = [math.exp(score - max(scores)) for score in scores]
    return [meter.dot([weight / sum(weights) for weight in weights], column) for column in zip(*values)]


def _gated(u: Matrix, g: Matrix) -> Matrix:
    """silu(G) * U, element by element. Not counted: of order tokens times hidden."""
    return [[a * b / (1 + math.exp(-b)) for a, b in zip(*rows, strict=True)] for rows in zip(u, g, strict=True)]
