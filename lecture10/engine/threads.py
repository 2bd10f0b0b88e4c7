"""Threads of our own that share one pass of the engine, while BLAS computes with one thread in each.

Notebook: book/Lecture10-Lab-Engine.ipynb. BLAS shares a matrix-vector product among its threads well, a product with a
few rows badly, and what stands between products (softmax, gating, norms) not at all. Its idle threads keep a core busy
for a moment, so the two kinds do not mix: a pass uses either BLAS's threads or these.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache as remember
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from typing import TypeVar

import numpy as np  # before the next line is of use: NumPy's BLAS has to be loaded to be found
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Piece, Result = TypeVar("Piece"), TypeVar("Result")
BLAS = ThreadpoolController().select(user_api="blas")
# a BLAS that is not known is left alone
THREADS = max((library.num_threads for library in BLAS.lib_controllers), default=1)

_this = threading.local()
_work: SimpleQueue[Callable[[], None]] = SimpleQueue()
_threads: list[threading.Thread] = []


@contextmanager
def helpers(wanted: bool) -> Iterator[None]:
    """Where ``wanted`` and THREADS > 1, ``spread`` shares work among THREADS threads
    and BLAS keeps to the one that calls it."""
    if not wanted or THREADS == 1:
        yield
        return
    with BLAS.limit(limits=1):
        _this.has_helpers = True
        try:
            yield
        finally:
            _this.has_helpers = False


def has_helpers() -> bool:
    """Whether this thread can share its work: not outside ``helpers``, and not while it works on a share itself."""
    return getattr(_this, "has_helpers", False)


def spread(work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """``[work(piece) for piece in pieces]``, shared among the threads where this one has helpers.

    All have ended when it returns or raises; it raises what a piece raised.
    """
    if not has_helpers() or len(pieces) == 1:
        return [work(piece) for piece in pieces]
    results: list = [None] * len(pieces)
    left, ended = iter(range(len(pieces))), SimpleQueue()

    def share() -> None:
        error = None
        try:
            for i in left:
                results[i] = work(pieces[i])
        except BaseException as caught:
            error = caught
        ended.put(error)

    _start()
    others = min(THREADS, len(pieces)) - 1
    for _ in range(others):
        _work.put(partial(copy_context().run, share))  # NumPy's handling of overflow, for one, belongs to the context
    _this.has_helpers = False
    share()
    _this.has_helpers = True
    for error in [ended.get() for _ in range(others + 1)]:
        if error is not None:
            raise error
    return results


def shares(costs: NDArray) -> list[slice]:
    """Items in a row, in as many parts of about equal cost as there are threads;
    fewer where there are not enough items."""
    total = np.cumsum(costs)
    bounds = [0, *np.searchsorted(total, total[-1] * np.arange(1, THREADS) / THREADS, side="right"), len(total)]
    return [slice(start, stop) for start, stop in pairwise(bounds) if start < stop]


@remember
def equal_shares(count: int) -> list[slice]:
    """``shares`` of ``count`` items that cost the same."""
    return shares(np.ones(count))


def _start() -> None:
    """The threads that are missing: all at first, and in a forked process, which has none of its parent's."""
    _threads[:] = [thread for thread in _threads if thread.is_alive()]
    for _ in range(THREADS - 1 - len(_threads)):
        _threads.append(threading.Thread(target=_serve, daemon=True))
        _threads[-1].start()


def _serve() -> None:
    while True:
        _work.get()()
