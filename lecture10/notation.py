"""The symbols of the book, declared once.

All symbols are positive; sizes are counts, so everything the book derives may divide by them. Module-level names are
the symbols themselves: ``from lecture10.notation import B, S`` and ``B * S`` is an expression.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sympy as sp
from sympy.printing.latex import LatexPrinter

from .checks import checked, mapping, positive, shown, whole

B, S, T, D, F, N, K, G, H, L, V = sp.symbols("B S T D F N K G H L V", positive=True)
memory_bandwidth = sp.Symbol("memory_bandwidth", positive=True)
peak_flops = sp.Symbol("peak_flops", positive=True)

NOTATION: Mapping[sp.Symbol, tuple[str, str]] = MappingProxyType({
    B: ("batch size", "批次大小：一次前向同时处理的序列数"),
    S: ("context length", "上下文长度：注意力能看到的词元数，也就是 KV Cache 的长度"),
    T: ("tokens in this pass", "本次前向每个序列处理的词元数：预填充时等于提示长度，生成时等于 1"),
    D: ("model width", "模型宽度：隐藏向量的长度"),
    F: ("MLP width", "MLP 的中间宽度"),
    N: ("query heads", "查询头数"),
    K: ("key/value heads", "键值头数"),
    G: ("queries per key/value head", "每个键值头服务的查询头数，G = N/K"),
    H: ("head dimension", "每个头的维度；不一定等于 D/N"),
    L: ("layers", "层数"),
    V: ("vocabulary", "词表大小"),
    memory_bandwidth: ("memory bandwidth, bytes/s", "显存带宽，字节/秒"),
    peak_flops: ("peak arithmetic rate, FLOP/s", "峰值算力，FLOP/秒（稠密、不含稀疏加速）"),
})
"""Every symbol with its English and its Chinese meaning."""

# SymPy would set everything after the underscore as a subscript.
LatexPrinter.set_global_settings(symbol_names={memory_bandwidth: r"\text{memory bandwidth}",
                                               peak_flops: r"\text{peak FLOP/s}"})

SYMBOLS: Mapping[str, sp.Symbol] = MappingProxyType({symbol.name: symbol for symbol in NOTATION})


def symbol_of(key: sp.Symbol | str) -> sp.Symbol:
    """The book's symbol of that name; a symbol is returned as it is. Raises ValueError for a name that is none."""
    if isinstance(key, sp.Expr):
        return key
    if not isinstance(key, str) or key not in SYMBOLS:
        raise ValueError(f"unknown symbol {shown(key)}: expected one of {', '.join(SYMBOLS)}")
    return SYMBOLS[key]


@checked(config=mapping)
def bindings(config: Mapping[sp.Symbol | str, object]) -> dict[sp.Symbol, sp.Expr]:
    """A configuration, keyed by symbol or by symbol name, as a checked substitution.

    Values are numbers, or expressions in symbols of the book that the configuration leaves open. Raises ValueError
    naming the entry when a key or a value holds a symbol that the book does not have, when two keys mean the same
    symbol, when a value depends on another entry, is not positive and finite, when a size (everything but the two
    rates) is not whole, or when N is not a multiple of K.
    """
    found: dict[sp.Symbol, sp.Expr] = {}
    for key, value in config.items():
        symbol = SYMBOLS.get(key if isinstance(key, str) else getattr(key, "name", ""))
        if symbol is None or (isinstance(key, sp.Symbol) and key != symbol):
            raise ValueError(f"unknown symbol {shown(key)} in config: expected one of {', '.join(SYMBOLS)}")
        if symbol in found:
            raise ValueError(f"{symbol} is given twice in config: expected one value")
        found[symbol] = _value(symbol, value)
    left_open = set(NOTATION) - {symbol for symbol, expr in found.items() if expr != symbol}
    for symbol, expr in found.items():
        if closed := expr.free_symbols - left_open:
            raise ValueError(f"{symbol} = {expr} uses {sorted(map(str, closed))}: "
                             "expected symbols that config leaves open")
    heads, groups = found.get(N, N), found.get(K, K)
    if (heads / groups).is_number and not (heads / groups).is_Integer:
        raise ValueError(f"N = {heads} is not a multiple of K = {groups}: every key/value head serves N/K query heads")
    return found


def _value(symbol: sp.Symbol, value: object) -> sp.Expr:
    expr = positive(str(symbol), value)
    if symbol in (memory_bandwidth, peak_flops) or not expr.is_number:
        return expr
    return sp.Integer(whole(str(symbol), value, 1, expected="a whole number"))
