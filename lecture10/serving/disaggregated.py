"""Prefill on one deployment, generation on another, and the cache sent from the first to the second.

Notebook: book/Lecture10-Lab-Serving.ipynb. DistServe, arXiv 2401.09670; Splitwise, arXiv 2311.18677.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..checks import checked, instance, real, whole
from ..models.deployment import Deployment
from ..notation import S
from ..sweep import sweep
from .blocks import Blocks, block_size, number_of_blocks
from .clock import BOUND, Overhead, compiled
from .replay import jobs_of, requests_rule, simulate
from .run import Run
from .scheduler import Jobs, Scheduler, prefill_first

_AT_LEAST_1 = partial(whole, at_least=1)


@checked(requests=requests_rule, prefill=instance(Deployment), decode=instance(Deployment), link=real,
         max_sequences=_AT_LEAST_1, token_budget=_AT_LEAST_1, blocks=number_of_blocks, block_size=block_size,
         overhead=instance(Overhead))
def disaggregated(requests: Sequence[tuple[float, int, int]], prefill: Deployment, decode: Deployment, *, link: float,
                  max_sequences: int, token_budget: int, blocks: int, block_size: int = 16,
                  overhead: Overhead = BOUND) -> Run:
    """As ``replay``, but prompts are read on ``prefill``, which makes the first token, and ``decode`` makes the others.

    Between the two the cache of the prompt travels at ``link`` bytes/s; transfers do not wait for one another and
    overlap with the work of both. Each has ``blocks`` blocks of its own; ``token_budget`` is that of ``prefill``.
    The steps of the run are those of ``decode``. Raises ValueError as ``replay``.
    """
    arrival, prompts, outputs = (np.array(column) for column in zip(*((a, p if isinstance(p, int) else len(p), n)
                                                                      for a, p, n in requests)))
    first = simulate(Scheduler(jobs_of([(a, p, 1) for a, p, _ in requests], block_size), Blocks(blocks, block_size),
                               max_sequences, token_budget, prefill_first), compiled(prefill, overhead))
    came = first.first + sweep(decode.model.kv_cache_elements(S) * decode.kv_bytes, {S: prompts}) / link
    goes = np.flatnonzero(outputs > 1)
    order = goes[np.argsort(came[goes], kind="stable")]
    last = np.array(first.first)
    if not len(order):
        return first
    jobs = Jobs(came[order], prompts[order] + 1, outputs[order] - 1, received=prompts[order])
    rest = simulate(Scheduler(jobs, Blocks(blocks, block_size), max_sequences, max_sequences + 1),
                    compiled(decode, overhead))
    last[order] = rest.last
    return Run(arrival, prompts, outputs, first.scheduled, first.first, last, rest.steps, rest.preempted, first.cached)
