"""The product with a weight matrix, in the form that BLAS does best for the rows at hand.

Notebook: book/Lecture10-Lab-Engine.ipynb. The sizes were found by measuring (benchmarks/engine.py) with OpenBLAS on
AVX-512 and on AVX2; elsewhere they cost time, never correctness.
"""

from __future__ import annotations

from functools import cache as remember

import numpy as np
from numpy.typing import NDArray

from .threads import BLAS, equal_shares, has_helpers, spread

# multiply-adds up to which OpenBLAS, on one thread, takes matrices as they lie, without packing
SMALL_PRODUCT = 600_000
# its kernels that do so; the others pack small products too, x anew for each
WITHOUT_PACKING = {"SkylakeX", "Cooperlake", "SapphireRapids"}
_KERNELS = {library.info().get("architecture") for library in BLAS.lib_controllers}
FEW_ROWS = 100 if _KERNELS & WITHOUT_PACKING else 24  # below this many rows small products beat packed ones
# up to so many rows, vectors one after the other beat small products that are packed
AS_VECTORS = 1 if _KERNELS & WITHOUT_PACKING else 12
VECTOR_BLOCK = 40_000  # weights that stay in a core's cache while they meet one row after the other
READING = 16  # rows: reading a matrix takes as long as multiplying it with so many
# multiply-adds, with READING, from which sharing a product saves more than waking threads costs
SHARED_PRODUCT = 17_000_000


def product(x: NDArray, w: NDArray) -> NDArray:  # [M, in] [out, in] -> [M, out]
    """x Wᵀ; a large W is shared by outputs among the threads, where there are helpers.
    A few rows give a result that lies column after column."""
    if w.size * (len(x) + READING) < SHARED_PRODUCT or not has_helpers():
        return _product(x, w)
    result = np.empty_like(w, shape=(len(w), len(x)))  # [out, M]

    def some(outputs: slice) -> None:
        result[outputs] = _product(x, w[outputs]).T

    spread(some, equal_shares(len(w)))
    return result.T


def _product(x: NDArray, w: NDArray) -> NDArray:  # [M, in] [out, in] -> [M, out]
    """BLAS first copies both matrices into a layout of its own, and for a few rows copying W costs more than
    multiplying it. It leaves the copy out in products with a vector, and with some kernels in small ones, of some
    outputs at a time."""
    (rows, width), out = x.shape, len(w)
    if rows == 1:
        return (w @ x[0])[None]
    if rows >= FEW_ROWS:
        return x @ w.T
    most = VECTOR_BLOCK // width if rows <= AS_VECTORS else SMALL_PRODUCT // x.size
    blocks = w.reshape(-1, block_size(out, most), width)  # [blocks, block, in]
    if rows <= AS_VECTORS:
        return (blocks[:, None] @ x[:, :, None]).swapaxes(0, 1).reshape(rows, out)  # of [blocks, M, block, 1]
    return (blocks @ x.T).reshape(out, rows).T


@remember
def block_size(outputs: int, most: int) -> int:
    """The largest divisor of ``outputs`` that is at most ``most``."""
    return max(size for size in range(1, min(outputs, max(most, 1)) + 1) if outputs % size == 0)
