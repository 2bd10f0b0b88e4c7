"""Arithmetic intensity of the matrix product, the MLP and attention, step by step.

Notebook: book/Lecture10-Code-Intensity.ipynb. All bytes are device-memory traffic of a kernel that reads every input
once and writes every result once; what a real kernel re-reads comes on top. Elements have 2 bytes (bf16) unless told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import sympy as sp

from .checks import amount, checked, each, expression, flag, instance, optional, pairs, shown, size, within
from .cost import Cost, Step
from .notation import B, D, F, H, K, N, S, T


@checked(rows=amount, inner=amount, columns=amount, weight_bytes=amount)
def matmul(rows: sp.Expr = B, inner: sp.Expr = D, columns: sp.Expr = F, *, weight_bytes: sp.Expr = 2) -> Cost:
    """Y = X W with X [rows, inner], W [inner, columns]: 2·rows·inner·columns FLOPs, a multiply and an add a term.

    Bytes: X and Y at 2 bytes an element, W at ``weight_bytes`` (1 for int8 weights, 1/2 for int4, scales not counted).
    The intensity tends to 2·rows/weight_bytes when inner and columns grow. Raises ValueError for a size that is not
    positive, as do all building blocks below.
    """
    return Cost.of(
        Step("read X", bytes_transferred=2 * rows * inner),
        Step("read W", bytes_transferred=weight_bytes * inner * columns),
        Step("Y = X W", flops=product_flops(rows, inner, columns)),
        Step("write Y", bytes_transferred=2 * rows * columns),
    )


@checked(rows=amount, inner=amount, columns=amount)
def product_flops(rows: sp.Expr, inner: sp.Expr, columns: sp.Expr) -> sp.Expr:
    """2·rows·inner·columns: all of ``matmul`` that a pass asks for."""
    return 2 * rows * inner * columns


@checked(rows=amount, shapes=pairs(amount, amount), weight_bytes=amount)
def products(rows: sp.Expr, shapes: Iterable[tuple[sp.Expr, sp.Expr]], weight_bytes: sp.Expr = 2) -> Cost:
    """``rows`` tokens times each of several matrices [inputs, outputs]: ``matmul`` for each of ``shapes``."""
    return Cost.of(*(step for shape in shapes for step in matmul(rows, *shape, weight_bytes=weight_bytes)))


@checked(width=amount, heads=amount, kv_heads=amount, head_dim=amount, value_dim=optional(amount))
def attention_shapes(width: sp.Expr = D, heads: sp.Expr = N, kv_heads: sp.Expr = K, head_dim: sp.Expr = H,
                     value_dim: sp.Expr | None = None) -> tuple[tuple[sp.Expr, sp.Expr], ...]:
    """The matrices around attention, [inputs, outputs]: queries D → NH, keys and values D → KH, output NH → D.

    ``value_dim`` takes the place of H in values and output where it differs.
    """
    value_dim = head_dim if value_dim is None else value_dim
    return (width, heads * head_dim), (width, kv_heads * head_dim), (width, kv_heads * value_dim), (
        heads * value_dim, width)


@checked(width=amount, hidden=amount, gated=flag)
def mlp_shapes(width: sp.Expr = D, hidden: sp.Expr = F, gated: bool = True) -> tuple[tuple[sp.Expr, sp.Expr], ...]:
    """The matrices of an MLP, [inputs, outputs]: up D → F, a gate like it when ``gated``, down F → D."""
    return ((width, hidden),) * (1 + gated) + ((hidden, width),)


@checked(tokens=amount, width=amount, hidden=amount, weight_bytes=amount)
def mlp(tokens: sp.Expr = B * T, width: sp.Expr = D, hidden: sp.Expr = F, *, weight_bytes: sp.Expr = 2) -> Cost:
    """Gated MLP, Y = (silu(X W_gate) * (X W_up)) W_down, as the lecture counts it.

    6·tokens·width·hidden FLOPs; activation and gating are left out (of order tokens·hidden). The lecture writes U
    and G to memory and never reads them back: take the two writes away for a fused kernel, use ``unfused_mlp``
    for separate ones.
    """
    x, h, w = 2 * tokens * width, 2 * tokens * hidden, weight_bytes * width * hidden
    product = 2 * tokens * width * hidden
    return Cost.of(
        Step("read X", bytes_transferred=x),
        Step("read W_up", bytes_transferred=w),
        Step("read W_gate", bytes_transferred=w),
        Step("read W_down", bytes_transferred=w),
        Step("U = X W_up", flops=product),
        Step("write U", bytes_transferred=h),
        Step("G = X W_gate", flops=product),
        Step("write G", bytes_transferred=h),
        Step("Y = (silu(G) * U) W_down", flops=product),
        Step("write Y", bytes_transferred=x),
    )


@checked(tokens=amount, width=amount, hidden=amount, weight_bytes=amount)
def unfused_mlp(tokens: sp.Expr = B * T, width: sp.Expr = D, hidden: sp.Expr = F, *, weight_bytes: sp.Expr = 2) -> Cost:
    """The gated MLP as three kernels: up and gate each read X, the gating runs inside the third, which reads U and G.

    4·tokens·hidden + 2·tokens·width bytes more than ``mlp``.
    """
    return mlp(tokens, width, hidden, weight_bytes=weight_bytes) + Cost.of(
        Step("read X again", bytes_transferred=2 * tokens * width),
        Step("read U", bytes_transferred=2 * tokens * hidden),
        Step("read G", bytes_transferred=2 * tokens * hidden),
    )


@checked(batch=amount, context=amount, tokens=amount, query_width=amount, kv_width=amount, pairs=optional(amount),
         kv_bytes=amount, values_per_key=amount)
def attention(batch: sp.Expr = B, context: sp.Expr = S, tokens: sp.Expr = T, *, query_width: sp.Expr = D,
              kv_width: sp.Expr = D, pairs: sp.Expr | None = None, kv_bytes: sp.Expr = 2,
              values_per_key: sp.Expr = 1) -> Cost:
    """Softmax(Q Kᵀ) V for ``tokens`` queries over ``context`` positions, without the projections.

    ``query_width`` is N·H and ``kv_width`` K·H; both are D in the lecture's multi-head case, K·H is smaller with
    grouped queries. ``pairs`` counts the query–key pairs of one sequence: context·tokens in a dense kernel
    (default), ``causal_pairs`` when the masked ones are skipped. 4·batch·pairs·query_width FLOPs; softmax is left
    out. K and V are read once, at ``kv_bytes`` an element: a lower bound in prefill, where a tiled kernel streams
    them once per query block. ``values_per_key``: the head dimension of values over that of keys, where they differ.
    Raises ValueError for more tokens than positions too.
    """
    within("tokens", tokens, "context", context, ", which includes them")
    pairs = context * tokens if pairs is None else pairs
    return Cost.of(
        Step("read Q", bytes_transferred=2 * batch * tokens * query_width),
        Step("read K", bytes_transferred=kv_bytes * batch * context * kv_width),
        Step("read V", bytes_transferred=kv_bytes * batch * context * kv_width * values_per_key),
        Step("A = Q Kᵀ", flops=2 * batch * pairs * query_width),
        Step("Y = softmax(A) V", flops=2 * batch * pairs * query_width * values_per_key),
        Step("write Y", bytes_transferred=2 * batch * tokens * query_width * values_per_key),
    )


_factored = cache(sp.factor)  # the layers of a model ask again and again


@checked(context=amount, tokens=amount)
def causal_pairs(context: sp.Expr = S, tokens: sp.Expr = T) -> sp.Expr:
    """Query–key pairs that a causal mask leaves when the last ``tokens`` of ``context`` positions are queries.

    The i-th of them sees context − tokens + i positions: tokens·(context − tokens) + tokens·(tokens + 1)/2. Raises
    ValueError for more tokens than positions.
    """
    within("tokens", tokens, "context", context, ", which includes them")
    pairs = tokens * (context - tokens) + tokens * (tokens + 1) / sp.Integer(2)
    return pairs if pairs.is_Rational else _factored(pairs)  # of a number SymPy would only look long for its factors


@checked(batch=amount, context=amount, tokens=amount, heads=amount, latent=amount, rope=amount, pairs=optional(amount),
         kv_bytes=amount)
def latent_attention(batch: sp.Expr = B, context: sp.Expr = S, tokens: sp.Expr = T, *, heads: sp.Expr, latent: sp.Expr,
                     rope: sp.Expr, pairs: sp.Expr | None = None, kv_bytes: sp.Expr = 2) -> Cost:
    """Multi-head latent attention in its absorbed form, as decode runs it (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    The cache holds one vector of ``latent + rope`` elements a token for K and V together; every head compares a query
    of that length with it and sums its first ``latent`` elements. ``pairs`` as for ``attention``. The projections into
    and out of the latent space are matrix products and not counted here. At tokens = 1 the intensity tends to
    heads·(2·latent + rope)/(latent + rope).
    """
    within("tokens", tokens, "context", context, ", which includes them")
    pairs = context * tokens if pairs is None else pairs
    pairs = batch * heads * pairs
    return Cost.of(
        Step("read Q", bytes_transferred=2 * batch * tokens * heads * (latent + rope)),
        Step("read latent cache", bytes_transferred=kv_bytes * batch * context * (latent + rope)),
        Step("A = Q Cᵀ", flops=2 * pairs * (latent + rope)),
        Step("Y = softmax(A) C", flops=2 * pairs * latent),
        Step("write Y", bytes_transferred=2 * batch * tokens * heads * latent),
    )


@checked(batch=amount, tokens=amount, heads=amount, key_heads=optional(amount), key=amount, value=amount,
         corrected=flag, state_bytes=amount)
def recurrence(batch: sp.Expr = B, tokens: sp.Expr = T, *, heads: sp.Expr = N, key_heads: sp.Expr | None = None,
               key: sp.Expr = H, value: sp.Expr = H, corrected: bool = True, state_bytes: sp.Expr = 4) -> Cost:
    """Linear attention with decay: every head keeps a matrix M of ``key`` × ``value`` numbers instead of a cache.

    A token does M ← a·M, M ← M + k uᵀ, y = Mᵀ q. ``corrected`` is the delta rule, u = β(v − Mᵀ k): what M already
    answers to k is taken off first (gated DeltaNet, arXiv 2412.06464, equation 10; Kimi delta attention decays each
    row of M by its own a, at the same cost); else u = v (Mamba-2, arXiv 2405.21060, with k, v and q named B, x and C).
    7·key·value FLOPs a head and token, 5 without the correction; terms of order key + value are left out. The state
    is read and written once a pass whatever ``tokens`` is, which makes intensity 7/8 at one token and fp32: neither
    batch nor context can raise it. ``key_heads`` heads of q and k, if fewer, are shared. Kernels take
    prompts in chunks of C tokens: one decay for a chunk, and about C/2 pairs a token on top, at C = 64 and heads of 128
    about as many FLOPs, beyond that more.
    """
    cells, rows = batch * heads * key * value, batch * tokens
    token = rows * heads * key * value
    return Cost.of(
        Step("read Q, K, V", bytes_transferred=2 * rows * (2 * (key_heads or heads) * key + heads * value)),
        Step("read M", bytes_transferred=state_bytes * cells),
        Step("a M", flops=token),
        *((Step("Mᵀ k", flops=2 * token),) if corrected else ()),
        Step("M + k uᵀ", flops=2 * token),
        Step("Y = Mᵀ q", flops=2 * token),
        Step("write M", bytes_transferred=state_bytes * cells),
        Step("write Y", bytes_transferred=2 * rows * heads * value),
    )


@checked(batch=amount, tokens=amount, channels=amount, kernel=size)
def short_convolution(batch: sp.Expr = B, tokens: sp.Expr = T, *, channels: sp.Expr = D, kernel: sp.Expr) -> Cost:
    """Every channel's sum of its last ``kernel`` values with weights of its own: 2·kernel·channels FLOPs a token.

    What is kept between passes are kernel − 1 values of each channel, read and written once a pass, at 2 bytes.
    """
    kept = 2 * batch * (kernel - 1) * channels
    moved = 2 * batch * tokens * channels
    return Cost.of(
        Step("read X", bytes_transferred=moved),
        Step("read the last columns", bytes_transferred=kept),
        Step("Y = X * w", flops=2 * batch * tokens * channels * kernel),
        Step("write the last columns", bytes_transferred=kept),
        Step("write Y", bytes_transferred=moved),
    )


def review_of_arithmetic_intensity() -> Cost:
    """Cost of the matrix product X [B, D] times W [D, F]: 2BDF FLOPs, 2BD + 2DF + 2BF bytes, intensity → B."""
    return matmul(B, D, F)


def arithmetic_intensity_of_inference() -> Mapping[str, Cost]:
    """Costs of the two halves of a Transformer layer, as the lecture counts them, keyed ``mlp`` and ``attention``.

    MLP: 6BTDF FLOPs, 4BTD + 4BTF + 6DF bytes, intensity → BT. Attention: 4BSTD FLOPs, 4BSD + 4BTD bytes, intensity
    ST/(S + T): S/2 in prefill (T = S), S/(S + 1) < 1 in generation (T = 1), whatever B.
    """
    return {"mlp": mlp(), "attention": attention()}


@checked(expr=expression, symbols=each(instance(sp.Symbol)))
def when_large(expr: sp.Expr, *symbols: sp.Symbol) -> sp.Expr:
    """Limit of ``expr`` when all ``symbols`` grow in proportion: "B much smaller than D and F", made exact.

    Puts symbol = c·(fresh positive constant) for each, lets c → ∞ and simplifies; raises ValueError when the limit
    still depends on the constants, that is, on how fast the symbols grow relative to each other.
    """
    c = sp.Symbol("c", positive=True)
    rates = [sp.Dummy(f"r_{symbol}", positive=True) for symbol in symbols]
    limit = sp.simplify(sp.limit(sp.cancel(expr.subs({s: c * r for s, r in zip(symbols, rates)}, simultaneous=True)),
                                 c, sp.oo))
    if limit.has(*rates):
        raise ValueError(f"the limit of {expr} for large {symbols} depends on their proportion: take one at a time")
    return limit


@checked(intensity=expression, size=instance(sp.Symbol), target=expression)
def critical_size(intensity: sp.Expr, size: sp.Symbol, target: sp.Expr) -> sp.Expr:
    """The value of ``size`` at which ``intensity`` reaches ``target`` (an accelerator's ridge point).

    Raises ValueError when no positive value or more than one does.
    """
    said = f"{shown(intensity)} = {shown(target)}"
    try:
        roots = [root for root in sp.solve(sp.Eq(intensity, target), size) if root.is_positive is not False]
    except NotImplementedError:
        raise ValueError(f"{said} is not solved for {size}: expected an algebraic formula") from None
    if len(roots) != 1:
        raise ValueError(f"{said} has {len(roots)} positive solutions for {size}: expected exactly one")
    return roots[0]
