"""Arrays that count the multiply-adds of every matrix product they take part in: what the engine really computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, instance, whole
from .decoder import Engine
from .kv_cache import KVCache
from .products import product
from .weights import Weights


@dataclass
class Tally:
    """FLOPs so far, 2 for a multiply-add, and the number of products they came from."""

    flops: int = 0
    products: int = 0


class CountedArray(np.ndarray):
    """An array whose matrix products are added to ``tally``; whatever is computed from it is counted too."""

    tally: Tally

    def __array_finalize__(self, parent: NDArray | None) -> None:
        self.tally = getattr(parent, "tally", None)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, out: tuple = (),
                        **kwargs: object) -> object:
        plain = [np.asarray(x) if isinstance(x, CountedArray) else x for x in inputs]
        if out:
            kwargs["out"] = tuple(np.asarray(x) for x in out)
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc is np.matmul:
            self.tally.flops += 2 * result.size * plain[0].shape[-1]
            self.tally.products += 1
        return out[0] if out else counted(np.asarray(result), self.tally)


def counted(array: NDArray, tally: Tally) -> CountedArray:
    view = np.asarray(array).view(CountedArray)
    view.tally = tally
    return view


@checked(weights=instance(Weights), context=partial(whole, at_least=1), logits=whole)
def count_forward(weights: Weights, tokens: NDArray, context: int, logits: int = 1) -> tuple[Tally, KVCache]:
    """What one pass of ``tokens`` [B, T] multiplies when the cache holds ``context`` positions afterwards.

    The embedding table is counted where it is multiplied (logits), not where it is looked up. One thread computes the
    pass: several would cut the queries elsewhere and skip a little more of what they must not see.
    """
    tally, tokens = Tally(), np.asarray(tokens)
    if tokens.ndim != 2 or not 1 <= tokens.shape[1] <= context:
        raise ValueError(f"tokens have shape {tokens.shape}: expected [B, T] with T from 1 to context = {context}")
    arrays = replace(weights.map(lambda w: counted(w, tally)), embedding=counted(weights.embedding, tally))
    engine = Engine(arrays, lambda x, w: product(x, w))
    cache = KVCache.empty(weights.shape, len(tokens), context)
    cache.lengths[:] = context - tokens.shape[1]  # what the earlier positions hold does not change the count
    engine.forward(tokens, cache, logits)
    return tally, cache
