"""Real loops on small nested lists that count what they do: the check on the formulas of ``lecture10.intensity``.

Nothing here knows a formula. A ``Meter`` counts two FLOPs for every multiply-add that runs and the bytes of every
element that is read from or written to device memory. Pure Python, exact for integers and Fractions (softmax excepted).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from .checks import Rule, checked, each, expression, flag, instance, optional, refused, sequence, shown, whole, within

Row = Sequence[object]
Matrix = Sequence[Row]

REPEATED = {list, tuple, str, bytes}
"""What is no number and times a large one fills the memory."""


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
        a, b, total = sequence("a", a), sequence("b", b), 0
        try:
            if len(a) != len(b) or not REPEATED.isdisjoint(map(type, (*a, *b))):
                raise TypeError
            for x, y in zip(a, b):
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


@checked(meter=_METER, q=_HEADS, k=_HEADS, v=_HEADS, decay=_HEADS, beta=optional(_MATRIX), state=_HEADS,
         state_bytes=_BYTES)
def recurrence_loop(meter: Meter, q: Sequence[Matrix], k: Sequence[Matrix], v: Sequence[Matrix],
                    decay: Sequence[Matrix], beta: Matrix | None, state: Sequence[Matrix], *, state_bytes: int = 4,
                    ) -> tuple[list, list]:  # [T, Nk, Hk] [T, Nk, Hk] [T, N, Hv] [T, N, Hk] [T, N] [N, Hk, Hv]
    """Linear attention with decay of one sequence, token by token: outputs [T, N, Hv] and the state after them.

    ``decay`` for each row of a head's state (gated DeltaNet and Mamba-2: the same for all rows). With ``beta`` the
    delta rule, without it values are added as they are. Decays and gates of a token are not moved.
    """
    q, k, v, state = meter.move(q), meter.move(k), meter.move(v), meter.move(state, state_bytes)
    heads, outputs = [[list(row) for row in head] for head in state], []
    for t, values in enumerate(v):
        outputs.append([])
        for n, head in enumerate(heads):
            shared = n * len(k[t]) // len(heads)
            update = values[n]
            for row, factor in zip(head, decay[t][n], strict=True):
                row[:] = [factor * x for x in row]
                meter.flops += len(row)
            if beta is not None:
                known = [meter.dot(k[t][shared], column) for column in zip(*head)]
                update = [beta[t][n] * (x - y) for x, y in zip(update, known, strict=True)]
            for row, x in zip(head, k[t][shared], strict=True):
                row[:] = [old + x * u for old, u in zip(row, update, strict=True)]
                meter.flops += 2 * len(row)
            outputs[t].append([meter.dot(q[t][shared], column) for column in zip(*head)])
    return meter.move(outputs), meter.move(heads, state_bytes)


@checked(meter=_METER, x=_MATRIX, w=_MATRIX, kept=_MATRIX)
def convolution_loop(meter: Meter, x: Matrix, w: Matrix, kept: Matrix) -> tuple[list, list]:  # [T, C] [C, k] [k-1, C]
    """Every channel's weighted sum of its last k values; ``kept`` are the k − 1 rows before, returned as they end."""
    rows = [*meter.move(kept), *meter.move(x)]
    outputs = [[meter.dot(window, weights) for window, weights in zip(zip(*rows[t:t + len(w[0])]), w, strict=True)]
               for t in range(len(x))]
    return meter.move(outputs), meter.move(rows[len(x):])


def _index(name: str, value: object) -> tuple:
    parts = sequence(name, value)
    if len(parts) != 3:
        raise refused(name, value, "queries, weights of their heads, keys")
    return tuple(rule(f"{name}[{i}]", part) for i, (rule, part) in enumerate(zip((_HEADS, _MATRIX, _MATRIX), parts)))


@checked(meter=_METER, q=_HEADS, near=_MATRIX, far=each(sequence), latent=_BYTES, window=whole, ratio=_BYTES,
         kept=optional(_BYTES), index=optional(_index), kv_bytes=_BYTES)
def sparse_attention_loop(meter: Meter, q: Sequence[Matrix], near: Matrix, far: Matrix, *, latent: int, window: int = 0,
                          ratio: int = 1, kept: int | None = None, index: Sequence | None = None,
                          kv_bytes: int = 2) -> list:  # [T, N, H] [S, H] [S // ratio, H] -> [T, N, latent]
    """The last T positions look at the last ``window`` rows of ``near`` and at ``kept`` rows of ``far`` each.

    A row of ``far`` stands for ``ratio`` positions and can be seen once all of them have been. ``index`` chooses:
    (queries [T, Ni, d], weights of their heads [T, Ni], keys [S // ratio, d]); the score of a row is the weighted sum
    of its products with the heads, negative ones taken as 0. The first ``latent`` columns of a row are its values too.
    Bytes: every row of the cache that some query uses, once; queries and outputs stay on the chip.
    """
    within("queries", len(q), "positions", len(near))
    within("rows", len(near) // ratio, "far", min(len(far), len(far if index is None else index[2])))
    if index is not None and not len(index[0]) == len(index[1]) == len(q):
        raise ValueError(f"index is {shown(index)}: expected queries and weights for {len(q)} tokens")
    outputs, used = [], set()
    keys = () if index is None else meter.move(index[2], kv_bytes)
    for t, heads in enumerate(q):
        seen = len(near) - len(q) + t + 1
        chosen = range(seen // ratio)
        if index is not None:
            queries, weights = index[0][t], index[1][t]
            scores = [meter.dot([max(0, meter.dot(one, keys[e])) for one in queries], weights) for e in chosen]
            chosen = sorted(chosen, key=lambda e: -scores[e])[:kept]
        rows = [("near", s) for s in range(max(0, seen - window), seen)] + [("far", e) for e in chosen]
        used.update(rows)
        cache = [{"near": near, "far": far}[name][i] for name, i in rows]
        outputs.append([_attend(meter, query, cache, [row[:latent] for row in cache]) for query in heads])
    meter.move([{"near": near, "far": far}[name][i] for name, i in used], kv_bytes)
    return outputs


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
