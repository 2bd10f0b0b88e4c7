"""The clock against ``step_time``, the replay against one step after the other, by hand and in closed form."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from lecture10 import H100, Deployment, find_accelerator, load_model
from lecture10.serving.blocks import Blocks
from lecture10.serving.clock import Clock, Overhead, compiled, ticks
from lecture10.serving.replay import jobs_of, replay, simulate
from lecture10.serving.scheduler import Scheduler, chunked, continuous, longest_prefix, prefill_first, static
from lecture10.serving.trace import recorded, short_run

POLICIES = (static, continuous, prefill_first, chunked, longest_prefix)
STEPS = ([(1, 7)] * 3, [(1, 900), (1, 30), (5, 5)], [(512, 2560), (64, 64), (1, 4000)], [(700, 700)])


@pytest.mark.parametrize(("name", "devices"), [("llama-3-8b", 1), ("gemma-2-2b", 1), ("gpt-oss-20b", 1),
                                               ("deepseek-v2-lite", 1), ("mistral-7b-v0.1", 2)])
def test_the_clock_is_step_time_of_the_mixed_step(name, devices):
    plan = Deployment(load_model(name), H100, devices)
    clock = compiled(plan)
    for parts in STEPS:
        (tokens, context), *also = parts
        exact = float(plan.step_time(1, tokens, context, *((1, t, s) for t, s in also)))
        assert clock(*np.array(parts).T, 1)[0] == pytest.approx(exact, rel=1e-12)
    several = clock(np.ones(3, int), np.array([5, 130, 4095]), 4)
    single = [clock(np.ones(3, int), np.array([5, 130, 4095]) + i, 1)[0] for i in range(4)]
    assert several == pytest.approx(single, rel=1e-12)


@cache
def gaming_card() -> Clock:
    return compiled(Deployment(load_model("llama-3-8b"), find_accelerator("RTX 4090")))


def test_overhead_slows_each_of_the_two_rates_and_every_step():
    plan = Deployment(load_model("llama-3-8b"), H100)
    read, compute = (np.array([1]), np.array([9]), 1), (np.array([4096]), np.array([4096]), 1)
    for case, overhead in ((read, Overhead(bandwidth=0.5)), (compute, Overhead(compute=0.5))):
        assert compiled(plan, overhead)(*case)[0] == pytest.approx(2 * compiled(plan)(*case)[0], rel=2e-2)
    assert compiled(plan, Overhead(seconds_per_step=1))(*read)[0] == pytest.approx(1 + compiled(plan)(*read)[0])


def test_data_parallel_attention_is_refused():
    plan = Deployment(load_model("llama-3-8b"), H100, 2, attention="data-parallel")
    with pytest.raises(ValueError, match=r"deployment\.attention is 'data-parallel'"):
        replay([(0, 1, 1)], plan, max_sequences=1, token_budget=1, blocks=1)


@pytest.mark.parametrize("policy", POLICIES)
def test_stretches_are_one_step_after_the_other(policy):
    rng = np.random.default_rng(1)
    arrival = np.cumsum(rng.exponential(0.02, 30))
    requests = [(float(a), int(p), int(n)) for a, p, n in zip(arrival, rng.integers(1, 300, 30),
                                                            rng.integers(1, 160, 30))]
    clock = gaming_card()
    runs = [simulate(Scheduler(jobs_of(requests, 16), Blocks(60), 8, 128, policy), clock, watch)
            for watch in (None, lambda *_: None)]
    for column in ("scheduled", "first", "last"):
        assert getattr(runs[0], column) == pytest.approx(getattr(runs[1], column), rel=1e-12)
    for column in ("end", "tokens", "batch", "blocks"):
        assert getattr(runs[0].steps, column) == pytest.approx(getattr(runs[1].steps, column), rel=1e-12)
    assert runs[0].preempted == runs[1].preempted and len(runs[0].steps._parts) < len(runs[1].steps._parts)
    assert runs[0].steps.tokens.sum() >= sum(p + n - 1 for _, p, n in requests)
    assert runs[0].steps.blocks.max() <= 60 and runs[0].steps.batch.max() <= 8


def test_one_request_alone_is_a_prefill_and_then_steps_over_a_growing_cache():
    plan = Deployment(load_model("llama-3-8b"), H100)
    run = replay([(1.5, 1000, 20)], plan, max_sequences=4, token_budget=4096, blocks=100)
    assert run.ttft[0] == pytest.approx(float(plan.time_to_first_token(1, 1000)))
    assert run.last[0] - run.first[0] == pytest.approx(plan.generation_time(1, 1000, 20))
    assert len(run.steps) == 20 and run.preempted == run.cached == 0


def test_a_long_prompt_stalls_who_generates_by_as_much_as_the_formula_says():
    plan, requests = Deployment(load_model("llama-3-8b"), H100), [(0, 16, 400)] * 32 + [(0.2, 8000, 1)]
    longest = {}
    for name, policy, budget in (("whole", continuous, 10**6), ("chunks", chunked, 512)):
        run = replay(requests, plan, max_sequences=64, token_budget=budget, blocks=3000, policy=policy)
        longest[name] = run.steps.seconds[run.steps.batch > 32].max()
    context = 16 + round(0.2 / float(plan.step_time(32, 1, 32)))
    assert longest["whole"] == pytest.approx(float(plan.step_time(32, 1, context, (1, 8000, 8000))), rel=0.01)
    assert longest["chunks"] == pytest.approx(float(plan.step_time(32, 1, context, (1, 480, 8000))), rel=0.05)


def test_ticks_count_the_steps_of_the_lectures_example():
    lengths, arrivals = (3, 8, 2, 6, 4, 2, 5, 1), (0, 0, 0, 0, 1, 2, 5, 6)
    requests = list(zip(arrivals, (1,) * 8, lengths))
    static_run, continuous_run = (replay(requests, ticks, max_sequences=4, token_budget=8, blocks=8, policy=policy)
                                  for policy in (static, continuous))
    assert (len(static_run.steps), len(continuous_run.steps)) == (13, 10)
    assert static_run.steps.batch.sum() == continuous_run.steps.batch.sum() == sum(lengths)
    assert (static_run.scheduled - arrivals).sum() == 18 and (continuous_run.scheduled - arrivals).sum() == 2


def test_a_static_batch_lasts_as_long_as_its_longest_request_and_iterations_never_start_later():
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths, slots = rng.integers(1, 9, rng.integers(1, 12)).tolist(), int(rng.integers(1, 5))
        requests = [(0, 1, n) for n in lengths]
        runs = [replay(requests, ticks, max_sequences=slots, token_budget=99, blocks=99, policy=policy)
                for policy in (static, continuous)]
        assert len(runs[0].steps) == sum(max(lengths[i:i + slots]) for i in range(0, len(lengths), slots))
        assert (runs[1].scheduled <= runs[0].scheduled).all()
        assert (np.diff(runs[0].scheduled) >= 0).all()


def test_a_shared_prompt_is_computed_once():
    shared = list(range(64))
    requests = [(0.0, [*shared, 1000 + i], 2) for i in range(5)]
    run = replay(requests, ticks, max_sequences=1, token_budget=100, blocks=10)
    assert run.cached == 4 * 64
    assert run.steps.tokens.sum() == 65 + 4 * 1 + 5


def test_the_longest_cached_prefix_joins_first_and_nobody_waits_for_ever():
    warm, cold = list(range(64)), list(range(100, 164))
    requests = [(0.0, warm, 3), (1.0, cold, 1)] + [(1.0 + i, [*warm, i], 1) for i in range(12)]
    run = replay(requests, ticks, max_sequences=1, token_budget=100, blocks=20, policy=longest_prefix)
    assert run.scheduled[2] < run.scheduled[1] < run.scheduled[-1]


def test_preemption_starts_when_blocks_run_out_and_loses_nothing():
    requests = [(0, 16, 33), (0, 16, 33)]
    for blocks, preempted in ((6, 0), (5, 1)):
        run = replay(requests, ticks, max_sequences=2, token_budget=99, blocks=blocks)
        assert run.preempted == preempted and (run.output == 33).all()


def test_what_is_swapped_takes_the_link_and_is_not_computed_again():
    plan, requests = Deployment(load_model("llama-3-8b"), H100), [(0, 16, 49), (0, 16, 49)]
    limits, link = {"max_sequences": 2, "token_budget": 99, "blocks": 5}, 1e9
    swapped, fast = (replay(requests, plan, host_link=rate, **limits) for rate in (link, 1e3 * link))
    again = replay(requests, plan, **limits)
    assert swapped.preempted == fast.preempted == again.preempted == 1
    assert swapped.steps.tokens.sum() == sum(p + n - 1 for _, p, n in requests) < again.steps.tokens.sum()
    moved = 2 * 2 * float(plan.stored_cache(16)) / link  # two blocks, there and back
    assert swapped.seconds - fast.seconds == pytest.approx(moved * (1 - 1e-3))
    with pytest.raises(ValueError, match=r"host_link is 1\.0: expected None"):
        replay(requests, ticks, host_link=1, **limits)


@pytest.mark.parametrize(("change", "message"), [
    ({"requests": []}, r"requests is \[\]: expected at least one"),
    ({"requests": [(0, 5)]}, r"requests\[0\] is \(0, 5\)"),
    ({"requests": [(1, 5, 5), (0, 5, 5)]}, r"requests\[1\]\[0\] is 0: expected at least 1"),
    ({"requests": [(0, -5, 5)]}, r"requests\[0\]\[1\] is -5"),
    ({"requests": [(0, 5, 0)]}, r"requests\[0\]\[2\] is 0"),
    ({"requests": [(-1, 5, 5)]}, r"requests\[0\]\[0\] is -1"),
    ({"token_budget": 0}, "token_budget is 0"),
    ({"max_sequences": 0}, "max_sequences is 0"),
    ({"blocks": 6}, "blocks is 6: expected at least 7, for the 109 tokens that request 0 stores"),
    ({"block_size": 0}, "block_size is 0"),
    ({"deployment": "H100"}, "deployment is 'H100'"),
    ({"overhead": 1}, "overhead is 1"),
])
def test_bad_input_is_named_before_anything_runs(change, message):
    given = {"requests": [(0, 100, 10)], "deployment": ticks, "max_sequences": 1, "token_budget": 8, "blocks": 7}
    with pytest.raises(ValueError, match=message):
        replay(**{**given, **change})


def test_a_run_is_seen_step_by_step_with_the_places_and_blocks_of_each_request():
    frames = short_run([(0, 3, 2), (0, 2, 4), (1, 1, 1), (1, 20, 2)], continuous, 2)[1]
    assert [(frame.start, frame.end) for frame in frames] == [(second, second + 1) for second in range(5)]
    assert [frame.places for frame in frames] == [  # request: (place, new tokens, whether it only generates)
        {0: (0, 3, False), 1: (1, 2, False)}, {0: (0, 1, True), 1: (1, 1, True)}, {1: (1, 1, True), 2: (0, 1, False)},
        {1: (1, 1, True), 3: (0, 20, False)}, {3: (0, 1, True)}]
    assert [frame.owners[:5] for frame in frames[2:]] == [
        ((), (1,), (2,), (), ()), ((), (1,), (), (3,), (3,)), ((), (), (), (3,), (3,))]
    assert len(frames[0].owners) == (3 + 1 + 2 + 3 + 1 + 20 + 1 + 16 * 4) // 16 + 1
    run, frames = short_run([(0, 17, 1)] * 3, chunked, 3)
    assert len(frames) == 1 and run.preempted == 0  # all at once, two blocks each


def test_what_a_preempted_request_computes_again_is_not_generated_and_who_ends_leaves_blocks_to_be_found():
    frames = recorded(Scheduler(jobs_of([(0, 2, 4)] * 2, 2), Blocks(4, 2), 2, 3), ticks)[1]
    assert [frame.places.get(1) for frame in frames] == [
        (1, 1, False), (1, 1, False), (1, 1, True), None, (0, 2, False), (0, 1, True)]
    assert (frames[-1].owners, frames[-1].cached) == (((), (1,), (1,), (1,)), {0})
