"""What is called measured: by a clock that only the work moves every rate comes out, on this one it is plausible."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lecture10 import Accelerator
from lecture10.engine import machine
from lecture10.engine.attention import QUERY_BLOCK
from lecture10.engine.decoder import Engine
from lecture10.engine.llama import Shape, layout
from lecture10.engine.threads import BLAS, THREADS
from lecture10.engine.weights import load_weights

SHAPE = Shape(D=48, F=80, N=6, K=2, H=10, L=3, V=99, context_length=500, rope_base=1e4, norm_epsilon=1e-5)
PEAK, BANDWIDTH = 33.5, 7.25  # FLOP/s and bytes/s of a machine that exists on the clock alone
FASTEST_CORE = 6e9 * 64  # FLOP/s: 6 GHz, and two units that each multiply and add 16 numbers a cycle
FASTEST_MEMORY = 2e12  # bytes/s: no processor of a server reads its memory at half of it


class Clock:
    """A clock that stands still but for ``sleep``; stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(machine, "time", clock)
    return clock


def test_the_shortest_time_of_all_rounds_counts(clock: Clock) -> None:
    for times in ([1, 5, 3], [5, 3, 1], [5, 1, 3]):
        each = iter(times)
        assert machine.seconds(lambda left=each: clock.sleep(next(left)), rounds=3) == 1
        assert list(each) == []


class Timed(np.ndarray):
    """Multiplying it moves the clock: with a matrix by the FLOPs at PEAK, with a vector by its bytes at BANDWIDTH."""

    clock: Clock
    slow = 0

    def __matmul__(self, other: np.ndarray) -> np.ndarray:
        rows, width = self.shape
        busy = 2 * rows * width * other.shape[1] / PEAK if other.ndim == 2 else self.nbytes / BANDWIDTH
        assert other.shape[0] == width
        Timed.slow -= 1
        self.clock.sleep(busy * (4 if Timed.slow >= 0 else 1))
        return other


@pytest.mark.parametrize("square", [64, 300])
def test_both_rates_of_a_machine_are_found(clock: Clock, square: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(shape: object, dtype: type) -> Timed:
        return np.ones(shape, dtype).view(Timed)

    monkeypatch.setattr(Timed, "clock", clock, raising=False)
    monkeypatch.setattr(Timed, "slow", 2)  # the first products take four times as long
    monkeypatch.setattr(np.random, "default_rng", lambda seed: SimpleNamespace(standard_normal=timed))
    matrices = [timed(dims, np.float32) for dims in ((48, 32), (32, 48), (500, 32))]
    found = machine.measured_machine(SimpleNamespace(matrices=lambda: iter(matrices)), square, rounds=3)
    assert float(found.peak_flops) == pytest.approx(PEAK)
    assert float(found.memory_bandwidth) == pytest.approx(BANDWIDTH)
    assert found.memory_bytes == 4 * (2 * 48 * 32 + 500 * 32)
    assert all(f"{name} {value}" in found.source for name, value in machine.machine_class().items())


def test_the_rates_of_this_machine_are_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below what no core exceeds, above what a phone does, and near what other work of the same kind reaches.

    On one thread, in seconds of the processor: what else runs on the machine takes little part.
    """
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=time.process_time, sleep=time.sleep))
    weights = load_weights()
    with BLAS.limit(limits=1):
        found = machine.measured_machine(weights, 1024, rounds=3)
        x, w, rows = np.ones((512, weights.shape.D), np.float32), weights.layers[0].gate, weights.embedding
        flops = 2 * x.size * len(w) / machine.seconds(lambda: [x @ w.T for _ in range(4)]) * 4
        read = rows.nbytes / machine.seconds(rows.max)
        a_pass = machine.pass_seconds(Engine(weights), 1, 1, 1)
    peak, bandwidth = float(found.peak_flops), float(found.memory_bandwidth)
    assert 1e8 < peak < FASTEST_CORE
    assert 1e8 < bandwidth < FASTEST_MEMORY
    assert 1 / 3 < flops / peak < 3
    assert 1 / 4 < read / bandwidth < 4
    assert 1 / 2 < a_pass / machine.predicted_seconds(found, weights.shape, 1, 1, 1) < 8


def test_the_machine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "Path", lambda name: info)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    assert machine.machine_class()["CPU"] == "unnamed"
    monkeypatch.setattr(machine.platform, "processor", lambda: "arm")
    assert machine.machine_class()["CPU"] == "arm"
    info.write_text("processor\t: 0\nmodel name\t: Fast CPU 9\nflags\t: fma\nmodel name\t: Slow CPU\n")
    named = machine.machine_class()
    assert named["CPU"] == "Fast CPU 9"
    assert named["architecture"] == os.uname().machine if hasattr(os, "uname") else named["architecture"]
    assert (named["cores"], named["threads"], named["NumPy"]) == (str(os.cpu_count()), str(THREADS), np.__version__)
    assert all(word in f"{np.show_config(mode='dicts')}" for word in named["BLAS"].split())


def test_the_description_has_the_sizes_of_the_arrays() -> None:
    model = machine.transformer(SHAPE)
    held = [math.prod(dims) for array in layout(SHAPE) for dims in array.values()]
    assert model.num_params == sum(held)
    assert model.kv_cache_elements(7) == 7 * 2 * SHAPE.L * SHAPE.K * SHAPE.H


@pytest.mark.parametrize(("context", "tokens"), [(1, 1), (900, 1), (64, 64), (65, 65), (200, 130), (300, 300)])
def test_a_block_of_queries_meets_what_its_last_one_sees(context: int, tokens: int) -> None:
    last = [min(t // QUERY_BLOCK * QUERY_BLOCK + QUERY_BLOCK, tokens) for t in range(tokens)]
    assert machine.pairs_in_blocks(context, tokens) == sum(context - tokens + seen for seen in last)


def test_the_bound_of_a_pass_adds_its_operations() -> None:
    device, sizes = Accelerator("made up", 1e9, 1e8, 1e9), (2, 16, 40)
    cost = machine.pass_cost(SHAPE, *sizes)
    times = [(step.name, float(step.flops) / 1e9, float(step.bytes_transferred) / 1e8) for step in cost]
    assert {work > move for _, work, move in times} == {True, False}  # some are limited by either
    assert machine.predicted_seconds(device, SHAPE, *sizes) == pytest.approx(sum(max(pair) for _, *pair in times))
    for name in ("MLP", "attention"):
        own = sum(max(pair) for step, *pair in times if step == name)
        assert machine.predicted_seconds(device, SHAPE, *sizes, name) == pytest.approx(own)


def test_a_pass_has_the_work_of_its_products() -> None:
    (B, T, S), s = (2, 5, 40), SHAPE  # fewer tokens than one block
    cost, half = machine.pass_cost(s, B, T, S, 3), machine.pass_cost(s, B, T, S, 3, element_bytes=2)
    matrices = s.L * (2 * s.N * s.H * s.D + 2 * s.K * s.H * s.D + 3 * s.D * s.F)
    attention = s.L * B * 2 * 2 * s.N * s.H * T * S
    assert cost.flops == 2 * matrices * B * T + attention + 2 * s.V * s.D * B * 3
    assert cost.only("attention").bytes_transferred == 4 * B * S * 2 * s.L * s.K * s.H
    assert cost.bytes_transferred == 2 * half.bytes_transferred
    assert (half.flops, machine.pass_cost(s, B, T, S)) == (cost.flops, machine.pass_cost(s, B, T, S, 1, 4))


def test_measured_stands_beside_predicted() -> None:
    table = machine.beside("T", [1, 2], [0.5, 0.25], [0.1, 0.125], more=[7, 8])
    assert table.header == ("T", "实测 (ms)", "预测 (ms)", "实测 / 预测", "more")
    np.testing.assert_allclose(table.rows, [(1, 500, 100, 5, 7), (2, 250, 125, 2, 8)])


class Passes:
    """Stands in for an engine: a pass takes a second for each new token, and 0.01 for each position before it."""

    shape, weights = SHAPE, SimpleNamespace(eos=7, layers=("first", "second", "third"))

    def __init__(self, clock: Clock, extra: Iterator[float]) -> None:
        self.clock, self.extra, self.passes = clock, extra, []

    def forward(self, tokens: object, cache: object, logits: int = 1) -> np.ndarray:
        tokens = np.asarray(tokens)
        self.passes.append((tokens.tolist(), cache.lengths.tolist(), cache.capacity, logits))
        self.clock.sleep(tokens.shape[1] + 0.01 * int(cache.lengths[0]) + next(self.extra))
        cache.lengths += tokens.shape[1]
        return np.eye(SHAPE.V)[[len(self.passes)]]

    def _mlp(self, layer: str, x: np.ndarray) -> None:
        assert x.shape[1:] == (SHAPE.D,)
        self.clock.sleep({"first": 1, "second": 2, "third": 4}[layer] * len(x) + next(self.extra))


@pytest.mark.parametrize(("batch", "tokens"), [(3, 2), (1, 16), (5, 4)])
def test_the_time_of_a_pass(clock: Clock, batch: int, tokens: int) -> None:
    engine = Passes(clock, iter([9]))
    assert machine.pass_seconds(engine, batch, tokens, tokens + 10) == pytest.approx(tokens + 0.1 + 9)
    (new, lengths, capacity, logits), = engine.passes
    assert np.shape(new) == (batch, tokens)
    assert 0 <= np.min(new) <= np.max(new) < SHAPE.V
    assert (lengths, capacity, logits) == ([10] * batch, tokens + 10, 1)


def test_passes_share_the_memory_of_a_cache(clock: Clock) -> None:
    engine, cache = Passes(clock, itertools.repeat(0)), machine.filled_cache(SHAPE, 3, 40)
    assert [machine.pass_seconds(engine, batch, 2, 30, cache) for batch in (3, 2)] == [pytest.approx(2 + 0.28)] * 2
    assert [rest for _, *rest in engine.passes] == [[[28] * 3, 40, 1], [[28] * 2, 40, 1]]
    assert cache.lengths.tolist() == [30, 30, 30]


@pytest.mark.parametrize(("threads", "rest"), [(1, 0), (2, 0.1)])
def test_threads_come_to_rest_before_a_pass_is_timed(clock: Clock, threads: int, rest: float,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "THREADS", threads)
    engine = Passes(clock, itertools.repeat(0))
    assert machine.pass_seconds(engine, 1, 100, 100) == pytest.approx(100)
    assert clock.now == pytest.approx(100 + rest + 100)
    assert [logits for *_, logits in engine.passes] == [1]


def test_steps_that_are_not_timed_lie_on_lines_between_those_that_are() -> None:
    assert machine.step_totals([1, 2, 4], [1, 3, 7]) == [1, 4, 9, 16]
    assert machine.step_totals([1, 3, 6], [1, 3, 6]) == pytest.approx([1, 3, 6, 10, 15, 21])


@pytest.mark.parametrize(("layers", "scale"), [(1, 3), (2, 3 / 2), (3, 1)])
def test_the_time_of_the_parts_of_a_pass(clock: Clock, layers: int, scale: float,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def attention(q: np.ndarray, keys: np.ndarray, values: np.ndarray, before: np.ndarray) -> None:
        assert q.shape == (1, 5, SHAPE.N, SHAPE.H)
        assert keys.shape == values.shape == (1, SHAPE.K, 20, SHAPE.H)
        assert before.tolist() == [15]
        clock.sleep(0.25 + next(extra))

    extra = itertools.chain([90] * layers, itertools.repeat(0))  # the first round is slow
    monkeypatch.setattr(machine, "attention", attention)
    engine = Passes(clock, itertools.chain([90] * layers, itertools.repeat(0)))
    mlp, mixing = machine.parts_seconds(engine, 5, 20, layers, rounds=2)
    assert mlp == pytest.approx(scale * 5 * sum([1, 2, 4][:layers]))
    assert mixing == pytest.approx(scale * 0.25 * layers)


def test_the_times_at_which_tokens_appear(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(engine: str, prompts: list, tokens: int, cache: str) -> Iterator[np.ndarray]:
        assert (engine, prompts, tokens, cache) == ("engine", [[4, 5]], 3, "cache")
        for token, duration in ((8, 4), (9, 1), (7, 1)):
            clock.sleep(duration)
            yield np.array([token])

    monkeypatch.setattr(machine, "generate", generate)
    assert machine.token_seconds("engine", [4, 5], 3, "cache") == ([4, 5, 6], [8, 9, 7])


def test_every_size_has_the_best_of_all_sweeps() -> None:
    order, times = [], iter([5, 2, 8, 3, 4, 1])
    assert machine.swept(lambda size: order.append(size) or next(times), [10, 20, 30]) == [3, 2, 1]
    assert order == [10, 20, 30, 10, 20, 30]


def test_what_is_read_off_the_measurements() -> None:
    assert machine.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert machine.exponent([1, 10], [5, 5 * 10**0.5]) == pytest.approx(0.5)
    assert machine.crossing([2, 8, 32], [0.25, 0.5, 2]) == pytest.approx(16)
    assert machine.crossing([3, 5, 9], [0.1, 1, 7]) == pytest.approx(5)


def test_a_bar_shows_in_jupyterlab_and_in_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert machine.progress([1, 2]).disable  # standard error is no terminal here
    monkeypatch.setenv("JPY_SESSION_NAME", "book.ipynb")
    bar = machine.progress(iter([1, 2]), total=2)
    assert (bar.disable, bar.leave, bar.total) == (False, False, 2)
    assert list(bar) == [1, 2]
