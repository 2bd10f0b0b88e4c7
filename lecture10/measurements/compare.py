"""A measured speed beside the bound of the same work: what share of it was reached, and what the rest may be.

``compare(Deployment(load_model("qwen3-8b"), H100), Workload(prompt=6144, generated=2048, batch=8), 47.4).share``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import sympy as sp

from ..checks import checked, instance, optional, real, whole
from ..cost import Cost, Step
from ..models.bounds import assumptions
from ..models.deployment import Deployment, summed
from ..notation import S

TOKENS = partial(whole, at_most=10**9)
ONE = optional(partial(whole, at_least=1, at_most=10**12))


@checked(prompt=TOKENS, generated=TOKENS, batch=ONE, cached=TOKENS, requests=ONE, counted=optional(real))
@dataclass(frozen=True)
class Workload:
    """Equal requests, ``batch`` at a time: ``cached`` tokens at hand, ``prompt`` new ones to read, ``generated`` to
    make.

    Without ``requests`` a batch runs alone: all prompts are read in one pass, then every pass makes a token of each.
    With a number of them new ones begin as old ones end, and prompts are read in the passes that generate, as servers
    do it; ``batch`` None then keeps as many running as fit. A rate counts the generated tokens, the prompt's where none
    are generated, or ``counted`` tokens of a request. Raises ValueError for sizes that are none, and work without a
    token.
    """

    prompt: int = 0
    generated: int = 0
    batch: int | None = 1
    cached: int = 0
    requests: int | None = None
    counted: float | None = None

    def __post_init__(self) -> None:
        if self.prompt + self.generated == 0:
            raise ValueError("prompt = 0 and generated = 0: expected at least one token")
        if self.batch is None and self.requests is None:
            raise ValueError("batch = None: expected a number of sequences, or requests of which as many run as fit")
        if self.requests is not None and self.batch is not None and self.requests < self.batch:
            raise ValueError(f"requests = {self.requests}: expected at least batch = {self.batch}")

    @property
    def continuous(self) -> bool:
        return self.requests is not None

    @property
    def tokens(self) -> float:
        """Tokens of a request that the rate counts."""
        return self.counted or self.generated or self.prompt

    @property
    def longest(self) -> int:
        """Tokens of a sequence in its last pass."""
        return self.cached + self.prompt + len(self.contexts)

    @property
    def contexts(self) -> range:
        """Contexts of the passes that generate; the first token comes out of the pass that reads the prompt."""
        start = self.cached + self.prompt
        return range(start + 1, start + 1 + max(0, self.generated - (self.prompt > 0)))


@checked(plan=instance(Deployment), work=instance(Workload), measured=real)
@dataclass(frozen=True)
class Comparison:
    """``measured`` tokens/s of ``work`` beside ``bound`` (step by step) and ``floor`` (everything overlaps), tokens/s.

    ``bound`` holds under ``assumptions``, ``floor`` without those that name the floor. ``seconds`` are the bound's for
    the requests that run together, ``prefill_seconds`` those of a batch that runs alone.
    """

    plan: Deployment
    work: Workload
    measured: float

    @cached_property
    def prefill_seconds(self) -> float:
        """Seconds of the pass over the prompts."""
        return float(self.plan.step_time(*self._prompts)) if self.work.prompt else 0.0

    @cached_property
    def seconds(self) -> float:
        """Passes one after the other; for requests in a row each operation's FLOPs and bytes are added up first."""
        plan, work = self.plan, self.work
        if work.continuous:
            return float(self._together(plan.device_cost).time(plan.device) + self._exchanges())
        return self.prefill_seconds + summed([plan.step_time(work.batch, 1, S)], work.contexts)[0]

    @property
    def bound(self) -> float:
        """Tokens/s at most, step by step."""
        return self.work.batch * self.work.tokens / self.seconds

    @cached_property
    def floor(self) -> float:
        """Tokens/s at most when everything overlaps that can: of one sequence's passes each waits for the last."""
        plan, work = self.plan, self.work
        if work.batch > 1 or work.continuous:
            seconds = float(self._together(plan.floor_cost).as_step("run").time(plan.node))
        else:
            seconds = float(plan.floor_time(*self._prompts)) if work.prompt else 0.0
            seconds += summed([plan.floor_time(1, 1, S)], work.contexts)[0]
        return work.batch * work.tokens / seconds

    @property
    def _prompts(self) -> tuple[int, int, int]:
        return self.work.batch, self.work.prompt, self.work.cached + self.work.prompt

    def _together(self, cost: Callable[..., Cost]) -> Cost:
        """All passes as one: operations' FLOPs and bytes added up; prompts share what the passes that generate read."""
        generating, contexts = cost(self.work.batch, 1, S), self.work.contexts
        parts = iter(summed([part for step in generating for part in (step.flops, step.bytes_transferred)], contexts))
        reading = cost(*self._prompts) if self.work.prompt else 0 * generating
        return Cost(tuple(
            Step(one.name, float(first.flops) + next(parts), max(float(first.bytes_transferred), next(parts)))
            for one, first in zip(generating, reading, strict=True)))

    def _exchanges(self) -> sp.Expr:
        plan, work = self.plan, self.work
        prompts = plan.all_reduce_time(work.batch, work.prompt) if work.prompt else 0
        return prompts + len(work.contexts) * plan.all_reduce_time(work.batch, 1)

    @property
    def share(self) -> float:
        """Measured over bound: above 1 an assumption is broken."""
        return self.measured / self.bound

    @property
    def share_of_floor(self) -> float:
        return self.measured / self.floor

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What has to hold for ``bound``, one sentence each."""
        if self.work.continuous:
            how = (f"Equal requests, at most {self.work.batch:,} at a time; prompts are read in the passes that "
                   "generate, which read the weights for both.")
        elif self.work.batch > 1 and self.work.prompt and self.work.generated:
            how = (f"{self.work.batch:,} equal requests begin together: all prompts in one pass, then a token of each "
                   "a pass (the floor: prompts are read in the passes that generate).")
        else:
            how = "The prompt is read in one pass." if self.work.prompt else "The passes follow one another."
        return (how, *assumptions(self.plan))

    @property
    def verdict(self) -> str:
        """What the share means, in a sentence or two."""
        said = (f"{_rate(self.measured)} are {self.share:.1%} of the bound of {_rate(self.bound)} and "
                f"{self.share_of_floor:.1%} of the floor's {_rate(self.floor)}.")
        if self.share <= 1:
            return (f"{said} The other {1 - self.share:.1%} of the time went to what the bound leaves out, and to "
                    "arithmetic and memory below their data-sheet rates.")
        if self.share_of_floor <= 1:
            return (f"{said} Faster than step by step, within the floor: one of the assumptions that the floor drops "
                    "does not hold, so operations or passes overlapped.")
        return f"{said} Faster than the floor: another assumption does not hold. {self._faster_arithmetic()}"

    def _faster_arithmetic(self) -> str:
        peaks = self.plan.accelerator.peaks
        faster = [kind for kind, peak in peaks.items() if peak > peaks[self.plan.arithmetic]
                  and compare(replace(self.plan, arithmetic=kind), self.work, self.measured).share_of_floor <= 1]
        enough = f"arithmetic in {' or '.join(faster)} (its floor is not exceeded), " if faster else ""
        return ("It may be speculation (several tokens a pass), cached prefixes, fewer bytes of weights or cache than "
                f"assumed, {enough}or more memory bandwidth than the data sheet's.")


@checked(plan=instance(Deployment), work=instance(Workload), measured=real)
def compare(plan: Deployment, work: Workload, measured: float) -> Comparison:
    """``measured`` tokens/s, of all sequences together, beside the bound and the floor of the same work on ``plan``.

    Raises ValueError for a rate that is not positive, a context beyond the model's, and when no sequence fits where
    requests follow one another.
    """
    plan.model.kv_cache_elements(work.longest)  # refuses a context beyond the model
    return Comparison(plan, _running(plan, work) if work.continuous else work, measured)


def _running(plan: Deployment, work: Workload) -> Workload:
    """At most as many sequences as there are requests, and as fit when each has just begun."""
    fit = int(plan.largest_batch(min(work.cached + work.prompt + 1, work.longest)))
    if fit == 0:
        raise ValueError(f"{plan.model.name or 'the model'} does not fit on {plan.devices} x {plan.accelerator.name} "
                         "with one sequence: expected more devices, or smaller weights")
    return replace(work, batch=min(work.requests, fit, work.batch or fit))


def _rate(tokens_per_second: float) -> str:
    digits = 0 if tokens_per_second >= 1000 else 1 if tokens_per_second >= 10 else 3
    return f"{tokens_per_second:,.{digits}f} tokens/s"
