"""When every request was scheduled, got its first and its last token: what users notice and what operators count.

Notebook: book/Lecture10-Lab-Serving.ipynb. Simulated and measured runs are the same record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, optional, real, refused
from ..sweep import array
from ..table import Table
from .scheduler import Jobs

PERCENTILES = (50, 90, 99)


class Steps:
    """Steps in the order in which they ran: when each began and ended (s), its new tokens, its sequences, and the
    blocks in use while it ran."""

    COLUMNS = ("start", "end", "tokens", "batch", "blocks")

    def __init__(self) -> None:
        self._parts: list[tuple] = []

    def add(self, start: float, ends: NDArray, tokens: int, batch: int, blocks: NDArray) -> None:
        """Steps that follow one another from ``start`` on, of ``tokens`` tokens each."""
        self._parts.append((start, ends, tokens, batch, blocks))

    def __len__(self) -> int:
        return len(self.end)

    @cached_property
    def _columns(self) -> dict[str, NDArray]:
        if not self._parts:
            return dict.fromkeys(self.COLUMNS, np.zeros(0))
        starts, ends, tokens, batch, blocks = zip(*self._parts)
        lengths = list(map(len, ends))
        start = np.concatenate([part for first, rest in zip(starts, ends) for part in ((first,), rest[:-1])])
        return {"start": start, "end": np.concatenate(ends), "tokens": np.repeat(tokens, lengths),
                "batch": np.repeat(batch, lengths), "blocks": np.concatenate(blocks)}

    def __getattr__(self, name: str) -> NDArray:
        if name not in self.COLUMNS:
            raise AttributeError(name)
        return self._columns[name]

    @property
    def seconds(self) -> NDArray:
        return self.end - self.start


def _times(name: str, value: object) -> NDArray:
    found = array(name, value)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise refused(name, value, "a finite number for every request")
    return found


@checked(arrival=_times, prompt=_times, output=_times, scheduled=_times, first=_times, last=_times)
@dataclass(frozen=True)
class Run:
    """An entry for every request: ``arrival``, ``prompt`` and ``output`` tokens, when it was ``scheduled`` first, when
    its ``first`` and its ``last`` token appeared (s). Steps, preemptions and cached tokens where they are known.

    Raises ValueError for columns of different lengths, a request that is served before it comes, and a run of no time.
    """

    arrival: NDArray
    prompt: NDArray
    output: NDArray
    scheduled: NDArray
    first: NDArray
    last: NDArray
    steps: Steps = field(default_factory=Steps)
    preempted: int | None = None
    cached: int | None = None

    def __post_init__(self) -> None:
        columns = {f.name: getattr(self, f.name) for f in fields(self)[:6]}
        if len({len(column) for column in columns.values()}) != 1:
            raise ValueError(f"columns have {[len(column) for column in columns.values()]} entries: expected the same")
        for early, late in (("arrival", "scheduled"), ("scheduled", "first"), ("first", "last")):
            if (wrong := columns[early] > columns[late]).any():
                i = int(wrong.argmax())
                raise refused(f"{late}[{i}]", float(columns[late][i]), f"at least {early} = {columns[early][i]}")
        if not self.seconds > 0:
            raise refused("last", float(self.last.max()), "something later than the first arrival")

    @classmethod
    def of(cls, jobs: Jobs, steps: Steps) -> Run:
        """What became of ``jobs``."""
        columns = (getattr(jobs, f.name) for f in fields(cls)[:6])
        return cls(*columns, steps, int(jobs.preempted.sum()), int(jobs.cached.sum()))

    @property
    def ttft(self) -> NDArray:
        """Seconds from arrival to the first token."""
        return self.first - self.arrival

    @property
    def latency(self) -> NDArray:
        """Seconds from arrival to the last token."""
        return self.last - self.arrival

    @property
    def per_token(self) -> NDArray:
        """Seconds per token after the first, of the requests that have one."""
        several = self.output > 1
        return (self.last - self.first)[several] / (self.output - 1)[several]

    @property
    def seconds(self) -> float:
        """From the first arrival to the last token."""
        return float(self.last.max() - self.arrival.min())

    @property
    def throughput(self) -> float:
        """Output tokens per second of the whole run."""
        return float(self.output.sum()) / self.seconds

    @checked(ttft=optional(real), per_token=optional(real))
    def goodput(self, ttft: float | None = None, per_token: float | None = None) -> float:
        """Requests per second that keep to the limits (s): first token within ``ttft``, each later one, on average,
        within ``per_token``."""
        pace = (self.last - self.first) / np.maximum(self.output - 1, 1)
        kept = (self.ttft <= (ttft or np.inf)) & (pace <= (per_token or np.inf))
        return float(kept.sum()) / self.seconds

    @checked(times=_times)
    def queue(self, times: Sequence[float]) -> NDArray:
        """How many requests have come and were not scheduled yet, at each of ``times`` (s)."""
        return (np.searchsorted(np.sort(self.arrival), times, side="right")
                - np.searchsorted(np.sort(self.scheduled), times, side="right"))

    def summary(self) -> dict[str, tuple[float, ...]]:
        """Mean and percentiles of what a user notices, in seconds."""
        named = {"TTFT": self.ttft, "time per token": self.per_token, "latency": self.latency}
        return {name: (float(np.mean(values)), *map(float, np.percentile(values, PERCENTILES)))
                for name, values in named.items() if len(values)}

    def _repr_markdown_(self) -> str:
        return Table(("s", "mean", *(f"p{p}" for p in PERCENTILES)),
                     [(name, *values) for name, values in self.summary().items()])._repr_markdown_()
