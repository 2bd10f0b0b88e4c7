"""Fewer bits for weights, activations and the KV cache, measured on a real model.

Notebook: book/Lecture10-Lab-Engine.ipynb. Quantized values are turned back into float32 before they are
multiplied: what is measured is the error and the bytes, not a faster kernel. All scales are symmetric (absmax) and
cost 2 bytes each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, function, instance, real, refused, sequence, whole
from .decoder import Engine
from .kv_cache import KVCache
from .products import product
from .weights import Weights

SCALE_BYTES = 2  # a scale is kept in 16 bits


def _matrix(name: str, value: object) -> NDArray:
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.size == 0 or value.dtype.kind != "f":
        raise refused(name, value, "a matrix of floats")
    return value


@checked(bits=partial(whole, at_least=2, at_most=8))
@dataclass(frozen=True)
class Scheme:
    """``bits`` a weight; one scale for a whole matrix (group None), for each output row ("row")
    or for ``group`` weights.

    Groups are taken row after row, so that one may span two rows where ``group`` does not divide their length.

    Raises ValueError for bits outside 2 to 8 or a group below 1.
    """

    bits: int
    group: int | str | None

    def __post_init__(self) -> None:
        if self.group is not None and not (isinstance(self.group, str) and self.group == "row"):
            group = whole("group", self.group, 1, expected="None, 'row' or a number of weights of at least 1")
            object.__setattr__(self, "group", group)

    @checked(w=_matrix)
    def groups(self, w: NDArray) -> NDArray:  # [out, in] -> [scales, weights that share one]
        size = {None: w.size, "row": w.shape[-1]}.get(self.group, self.group)
        if w.size % size:
            raise ValueError(f"group is {size}: expected a divisor of {w.size}, the number of weights")
        return w.reshape(-1, size)

    @checked(w=_matrix)
    def __call__(self, w: NDArray) -> NDArray:  # [out, in] -> [out, in]
        """w rounded to what its code can express: scale · round(w / scale), scale = max|w| / (2^(bits-1) - 1)
        of a group."""
        groups = self.groups(w)  # [scales, group]
        return _rounded(groups, self.bits).reshape(w.shape)

    @checked(w=_matrix)
    def bytes(self, w: NDArray) -> int:
        """Bytes of the codes, packed, and of the scales."""
        return math.ceil(w.size * self.bits / 8) + SCALE_BYTES * len(self.groups(w))

    @checked(weights=instance(Weights))
    def model_bytes(self, weights: Weights) -> int:
        """Bytes of all matrices of the layers; embedding and norms are left as they are and not counted."""
        return sum(self.bytes(matrix) for matrix in list(weights.matrices())[:-1])


def _rounded(groups: NDArray, bits: int) -> NDArray:  # [scales, group] -> [scales, group]
    top = 2 ** (bits - 1) - 1
    scale = np.abs(groups).max(axis=-1, keepdims=True) / np.float32(top)  # [scales, 1]
    scale[scale == 0] = 1
    codes = groups / scale  # [scales, group]
    np.rint(codes, out=codes)
    codes *= scale
    return codes


@checked(engine=instance(Engine), tokens=sequence, cache=function)
def perplexity(engine: Engine, tokens: Sequence[int], cache: Callable[..., KVCache] = KVCache.empty) -> float:
    """exp of the mean of -log P(token | the tokens before it), over all but the first.
    Raises ValueError for fewer than 2."""
    if len(tokens) < 2:
        raise ValueError(f"{len(tokens)} tokens: expected at least 2, the first is only context")
    logits = engine.forward([tokens[:-1]], cache(engine.shape, 1, len(tokens)), logits=len(tokens) - 1)[0]  # [T-1, V]
    chosen = logits[np.arange(len(tokens) - 1), tokens[1:]]  # [T-1]
    top = logits.max(axis=-1)  # [T-1]
    logits -= top[:, None]
    np.exp(logits, out=logits)
    normalizer = top + np.log(logits.sum(axis=-1, dtype=float))  # [T-1]
    return float(np.exp(np.mean(normalizer - chosen)))


def _threshold(name: str, value: object) -> float:
    return value if isinstance(value, float) and value == math.inf else real(name, value)


class Int8Product:
    """x Wᵀ with activations and weights in int8, as in LLM.int8() (Dettmers et al., 2208.07339, section 3).

    One scale for each row of x and of W; columns of x that hold a value beyond ``threshold`` are multiplied in float,
    with the same columns of W. ``math.inf`` turns the decomposition off. Matrices in ``keep`` are multiplied as they
    are. ``outliers`` counts the columns taken out, ``columns`` all of them.
    """

    @checked(threshold=_threshold, keep=sequence)
    def __init__(self, threshold: float, keep: Sequence[NDArray] = ()) -> None:
        self.threshold, self.keep = threshold, {id(w): w for w in keep}
        # with the matrix itself: while it lives, its id is its own
        self.rounded: dict[int, tuple[NDArray, NDArray]] = {}
        self.outliers = self.columns = 0

    def at(self, threshold: float) -> Int8Product:
        """The same with another threshold; matrices that were rounded are not rounded again. Raises as the class."""
        other = Int8Product(threshold)
        other.keep, other.rounded = self.keep, self.rounded
        return other

    def __call__(self, x: NDArray, w: NDArray) -> NDArray:  # [M, in] [out, in] -> [M, out]
        if id(w) in self.keep:
            return product(x, w)
        if id(w) not in self.rounded:
            self.rounded[id(w)] = w, _rounded(w, 8)  # [out, in]
        outlier = (np.abs(x) > self.threshold).any(axis=0)  # [in]
        self.outliers, self.columns = self.outliers + int(outlier.sum()), self.columns + len(outlier)
        if not outlier.any():
            return product(_rounded(x, 8), self.rounded[id(w)][1])
        regular = np.where(outlier, np.float32(0), x)  # [M, in]
        exact = x[:, outlier] @ w[:, outlier].T  # [M, out]
        return product(_rounded(regular, 8), self.rounded[id(w)][1]) + exact


class Int8KVCache(KVCache):
    """A cache whose keys and values are rounded to int8, one scale for each head of each position."""

    def write(self, layer: int, k: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:  # [B,T,K,H] x2 -> [B,K,S,H] x2
        return super().write(layer, _rounded(k, 8), _rounded(v, 8))

    @property
    def bytes_per_token(self) -> int:
        """One byte an element, and a scale for each key and each value vector."""
        vectors = 2 * self.keys.shape[0] * self.keys.shape[2]
        return vectors * (self.keys.shape[-1] + SCALE_BYTES)
