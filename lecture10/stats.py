"""Parameters, KV cache, memory, latency and throughput of a Transformer, symbolic until a configuration fills it in.

Notebook: book/Lecture10-Code-Stats.ipynb. The model is the lecture's: dense, gated MLP, no biases, norms left out,
input and output embedding counted separately, 2 bytes an element.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import sympy as sp

from .checks import amount, checked, expression, instance, mapping, optional, positive, size, within
from .cost import Cost, Step
from .hardware import H100, Accelerator
from .intensity import attention, attention_shapes, matmul, mlp_shapes, products
from .notation import B, D, F, H, K, L, N, S, V, bindings, memory_bandwidth
from .table import Table


@checked(num_params=expression, parameter_size=expression, kv_cache_size=expression, memory=expression,
         latency=expression, throughput=expression)
@dataclass(frozen=True)
class TransformerStats:
    """What ``compute_transformer_stats`` returns; every field is a SymPy expression.

    num_params (a count), parameter_size and kv_cache_size (bytes; the cache of one sequence at full context S), memory
    (bytes, parameters plus B caches), latency (seconds per generation step), throughput (tokens per second).
    """

    num_params: sp.Expr
    parameter_size: sp.Expr
    kv_cache_size: sp.Expr
    memory: sp.Expr
    latency: sp.Expr
    throughput: sp.Expr

    @classmethod
    @checked(num_params=positive, parameter_size=positive, kv_cache_size=positive)
    def of_sizes(cls, num_params: sp.Expr, parameter_size: sp.Expr, kv_cache_size: sp.Expr) -> TransformerStats:
        """The lecture's three last formulas on given sizes, B and the bandwidth symbolic.

        memory = B·kv_cache_size + parameter_size; latency = memory / memory_bandwidth (everything in memory is read
        once a step, and arithmetic is never the limit); throughput = B / latency.
        """
        memory = B * kv_cache_size + parameter_size
        latency = memory / memory_bandwidth
        return cls(num_params, parameter_size, kv_cache_size, memory, latency, B / latency)

    def subs(self, config: Mapping[sp.Symbol | str, object]) -> TransformerStats:
        """The same record for ``config``, a mapping of symbols (or their names) to values; what it leaves open stays.

        Raises ValueError as ``compute_transformer_stats``.
        """
        values = bindings(config)
        return TransformerStats(*(_shortest(getattr(self, f.name).subs(values)) for f in fields(self)))

    def _repr_markdown_(self) -> str:
        return Table(("量", "值"),
                     tuple((f.name, getattr(self, f.name)) for f in fields(self)))._repr_markdown_()


def _shortest(expr: sp.Expr) -> sp.Expr:
    """A sum or a quotient of polynomials, with what its terms share taken out where that names fewer symbols.

    It is what SymPy's simplify, which tries far more, comes to for the formulas of the record.
    """
    if expr.is_number:
        return expr
    quotient = sp.Mul(*map(sp.factor_terms, sp.Mul.make_args(sp.together(expr))))
    return min([expr] * expr.is_Add + [quotient, sp.factor_terms(quotient)],
               key=lambda each: sum(part.is_Symbol for part in sp.preorder_traversal(each)))


@checked(tokens=size, weight_bytes=amount, kv_bytes=amount, logits=optional(size), pairs=optional(amount))
def forward_pass(tokens: sp.Expr = 1, *, weight_bytes: sp.Expr = 2, kv_bytes: sp.Expr = 2,
                 logits: sp.Expr | None = None, pairs: sp.Expr | None = None) -> Cost:
    """One pass of B sequences with ``tokens`` new tokens each over a context of S: five operations.

    Bytes are weights, read once, and the KV cache of S tokens; activations are left out, as in the lecture (they stay
    small beside the weights while B·tokens is far below D). FLOPs are 2·weights a token, but none for the input
    embedding, which is looked up, not multiplied, and 4·pairs·N·H a layer for attention (``pairs`` = S·tokens in a
    dense kernel). ``logits`` is the number of positions per sequence that get logits, all by default. Raises ValueError
    for sizes that are not positive and whole, and for more logits than tokens.
    """
    if logits is not None:
        within("logits", logits, "tokens", tokens, ", the positions of the pass")
    rows = B * tokens
    scores = attention(B, S, tokens, query_width=N * H, kv_width=K * H, kv_bytes=kv_bytes, pairs=pairs)
    layer = (products(rows, attention_shapes(D, N, K, H), weight_bytes).as_step("attention projections", "read W")
             + scores.as_step("attention", "read K", "read V")
             + products(rows, mlp_shapes(D, F), weight_bytes).as_step("MLP", "read W"))
    head = matmul(rows if logits is None else B * logits, D, V, weight_bytes=weight_bytes)
    lookup = Step("input embedding", bytes_transferred=weight_bytes * D * V)
    return Cost.of(lookup) + L * layer + head.as_step("output embedding", "read W")


def transformer_stats() -> TransformerStats:
    """The lecture's formulas, all symbolic: arithmetic on the bytes of one generation step.

    num_params = 2VD + 3DFL + (2DNH + 2DKH)L; parameter_size = 2·num_params; kv_cache_size = S·K·H·L·2·2; the rest as in
    ``TransformerStats.of_sizes``.
    """
    step = forward_pass(1)
    kv_cache_size = step.only("attention").bytes_transferred / B
    parameter_size = step.without("attention").bytes_transferred
    return TransformerStats.of_sizes(sp.expand(parameter_size / 2), parameter_size, kv_cache_size)


def compute_transformer_stats(config: Mapping[sp.Symbol | str, object]) -> TransformerStats:
    """The lecture's statistics for ``config``, a mapping of symbols (or their names) to values.

    What ``config`` leaves open stays symbolic. Assumes every step reads all weights, the whole input embedding
    included, and a full cache of S tokens per sequence, and that arithmetic is never the limit;
    ``forward_pass().time(accelerator)`` takes it into account. Raises ValueError naming an unknown symbol, a size that
    is not a positive whole number, or N not a multiple of K.
    """
    values = bindings(config)
    return transformer_stats().subs(values)


def llama2_13b_config(**overrides: object) -> dict[sp.Symbol, sp.Expr]:
    """Llama-2-13B with a context of 1024 on an H100, B left open; ``overrides`` by symbol name, ``K=8, B=64``.

    Shape: Touvron et al., arXiv 2307.09288, and the released configuration. Llama-2-13B is multi-head (K = N = 40);
    K = 8 is the lecture's thought experiment. Raises ValueError as ``compute_transformer_stats``.
    """
    shape = {"S": 1024, "D": 5120, "F": 13824, "N": 40, "K": 40, "H": 128, "L": 40, "V": 32000,
             "memory_bandwidth": H100.memory_bandwidth}
    return bindings({**shape, **overrides})


@checked(step=instance(Cost), accelerator=instance(Accelerator))
def throughput_limit(step: Cost, accelerator: Accelerator = H100) -> sp.Expr:
    """Tokens/s of a generation step for B → ∞: of each operation only what grows with B is left.

    1 / Σ max(FLOPs / peak, bytes / bandwidth), all of one more sequence: products of weights cost arithmetic alone,
    attention reads a cache. By bytes alone (the lecture's assumption) the limit is bandwidth / kv_cache_size, which
    no card can reach. Raises ValueError for a step in which nothing grows with B.
    """
    each = [Step(s.name, sp.diff(s.flops, B), sp.diff(s.bytes_transferred, B)) for s in step]
    seconds = Cost(tuple(each)).time(accelerator)
    if seconds == 0:
        raise ValueError("no step depends on B: expected a cost that leaves the batch open")
    return 1 / seconds


@checked(config=mapping, kv_heads=size)
def reduce_kv_cache_size(config: Mapping[sp.Symbol | str, object], kv_heads: int = 8) -> TransformerStats:
    """The lecture's experiment: the statistics of ``config`` with fewer key/value heads, K = ``kv_heads``.

    The cache shrinks in proportion to K, and so do the two projections that make it. Raises ValueError as
    ``compute_transformer_stats``, and for ``kv_heads`` above the K of ``config``.
    """
    given = bindings(config)
    within("kv_heads", kv_heads, "K", given.get(K, kv_heads), " of config")
    return compute_transformer_stats({**given, K: kv_heads})


@checked(stats=instance(TransformerStats), memory_bytes=positive)
def largest_batch(stats: TransformerStats, memory_bytes: sp.Expr) -> sp.Expr:
    """How many full caches fit beside the parameters: floor((memory_bytes − parameter_size) / kv_cache_size),
    at least 0.

    Nothing is set aside for activations or the framework, so a real server fits fewer. Raises ValueError when
    ``memory_bytes`` is not a positive quantity.
    """
    return sp.Max(0, sp.floor((memory_bytes - stats.parameter_size) / stats.kv_cache_size))
