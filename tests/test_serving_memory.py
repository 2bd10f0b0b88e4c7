"""Cache memory in one piece and in blocks, against counting by hand and the published figures; runs of real engines."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import H100, Deployment, compute_transformer_stats, llama2_13b_config, load_model, replay
from lecture10.serving.blocks import Blocks
from lecture10.serving.clock import Overhead, compiled, ticks
from lecture10.serving.disaggregated import disaggregated
from lecture10.serving.memory import (
    Contiguous,
    Usage,
    next_power_of_two,
    saved_by_sharing,
    served_in_blocks,
    served_in_one_piece,
    usage,
)
from lecture10.serving.published import beams, means, published, step_times
from lecture10.serving.run import Run

sizes = st.integers(1, 12)


@given(st.lists(st.tuples(sizes, st.booleans()), max_size=12), st.integers(1, 40), st.booleans())
@settings(deadline=None)
def test_pieces_never_overlap_and_are_refused_only_without_room(changes, slots, buddy):
    memory, owner = Contiguous(slots, buddy), [None] * slots
    for name, (size, leaves) in enumerate(changes):
        asked, size = size, next_power_of_two(size) if buddy else size
        starts = [start for start in range(slots - size + 1)
                  if owner[start:start + size] == [None] * size and not (buddy and start % size)]
        assert memory.place(name, asked) == (starts[0] if starts else None)
        for start in starts[:1]:
            owner[start:start + size] = [name] * size
        if leaves and memory.pieces:
            memory.release(oldest := min(memory.pieces))
            owner = [None if slot == oldest else slot for slot in owner]
        assert sum(length for _, length in memory.holes()) == owner.count(None)


def test_usage_of_a_hand_made_memory():
    memory = Contiguous(18)
    for name, size in {"a": 6, "gone": 3, "b": 4}.items():
        memory.place(name, size)
    memory.release("gone")
    with pytest.raises(ValueError, match=r"^name is 'gone': expected one of \['a', 'b'\]$"):
        memory.release("gone")
    requests = {"a": (2, 5), "b": (4, 9)}
    assert usage(memory, requests, 6) == Usage(6, 3, 1, 3 + 5, 0)
    assert usage(memory, requests, 4) == Usage(6, 3, 1, 3, 5)
    one = Contiguous(3)
    one.place("a", 2)
    assert usage(one, {"a": (1, 1)}) == Usage(1, 0, 1, 0, 1)
    assert usage(memory, requests).share == sp.Rational(6, 18)
    assert usage(memory, {"a": (0, 5), "b": (4, 4)}).reserved == 5
    assert (usage(memory, requests) + Usage(1)).slots == 19
    with pytest.raises(ValueError, match=r"requests\['a'\] is \(7, 9\)"):
        usage(memory, {"a": (7, 9), "b": (1, 1)})
    with pytest.raises(ValueError, match="expected those that hold slots"):
        usage(memory, {"a": (1, 1)})


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=6), st.integers(1, 20))
def test_blocks_waste_less_than_one_a_request(shapes, size):
    memory = Blocks(200, size, sharing=False)
    requests = {i: (now, now + more) for i, (now, more) in enumerate(shapes)}
    for i, (now, _) in requests.items():
        memory.admit(i, now, now, str)
    found = usage(memory, requests)
    assert found.reserved + found.internal < size * len(shapes)
    assert (found.external, found.slots) == (0, 200 * size)


@pytest.mark.parametrize("warm_up", [0, 2])
def test_a_queue_in_one_piece_is_counted_step_by_step(warm_up):
    requests = [(2, 3), (4, 2), (1, 5), (3, 3), (2, 2), (1, 1)]
    found = served_in_one_piece(requests, 10, lambda prompt, output: prompt + output, warm_up=warm_up)
    memory, running, waiting, slow, batch, steps = Contiguous(10), {}, list(range(6)), Usage(), 0, 0
    while waiting:
        prompt, output = requests[waiting[0]]
        if memory.place(waiting[0], prompt + output) is not None:
            running[waiting.pop(0)] = (prompt, prompt + output)
            continue
        if 6 - len(waiting) - len(running) >= warm_up:
            slow, batch, steps = slow + usage(memory, running, prompt + output), batch + len(running), steps + 1
        running = {name: (now + 1, final) for name, (now, final) in running.items()}
        for name in [name for name, (now, final) in running.items() if now > final]:
            del running[name]
            memory.release(name)
    assert found == (slow, batch, steps)
    with pytest.raises(ValueError, match=r"requests\[0\] is \(2, 3\): expected one that fits into 4 slots"):
        served_in_one_piece(requests, 4, lambda prompt, output: prompt + output)


def test_what_a_buddy_allocator_rounds_up_is_external():
    assert [next_power_of_two(n) for n in (1, 2, 3, 8, 9)] == [1, 2, 4, 8, 16]
    memory = Contiguous(32, buddy=True)
    assert [memory.place(name, slots) for name, slots in (("a", 3), ("b", 9), ("c", 4))] == [0, 16, 4]
    found = usage(memory, {"a": (1, 2), "b": (9, 9), "c": (2, 4)}, 16)
    assert found == Usage(12, 1 + 2, 1, 1 + 7 + 8, 0) and list(memory.holes()) == [(8, 8)]


def test_samples_save_the_full_blocks_of_their_prompt_and_beams_what_they_have_in_common():
    requests, samples, size = [(33, 20), (7, 9)], 3, 4
    steps = [(prompt, now) for prompt, output in requests for now in range(prompt + 1, prompt + output + 1)]
    saved = sum((samples - 1) * (prompt // size) for prompt, _ in steps)
    alone = sum(samples * -(-now // size) for _, now in steps)
    assert saved_by_sharing(requests, samples, size=size) == sp.Rational(saved, alone)
    search = [[0] * 3, *np.random.default_rng(0).integers(0, 3, (19, 3)).tolist()]
    lines, used = [()] * 3, []  # who wrote each token of a beam, so a block is known by who wrote its last one
    for step, parents in enumerate(search, 1):
        lines = [(*lines[parent], (step, beam)) for beam, parent in enumerate(parents)]
        for prompt, _ in (shape for shape in requests if shape[1] >= step):
            now = [[("prompt",)] * prompt + list(line) for line in lines]
            used.append(len({(i, line[min(i + size, len(line)) - 1]) for line in now
                             for i in range(0, len(line), size)}))
    assert saved_by_sharing(requests, samples, search, size) == 1 - sp.Rational(sum(used), alone)
    apart = [[0] * 3, *[[0, 1, 2]] * 19]  # every beam goes on for itself: samples
    assert saved_by_sharing(requests, samples, apart, size) == sp.Rational(saved, alone)
    with pytest.raises(ValueError, match="expected 3 beams below 3 in each of at least 20 steps"):
        saved_by_sharing(requests, samples, search[:19], size)


def test_beams_of_the_books_model_start_from_one_text_and_share_less_than_one_text_would():
    for width, search in beams().items():
        assert search[0] == (0,) * width and all(len(step) == width > max(step) for step in search)
        assert saved_by_sharing([(40, 60)], width) < saved_by_sharing([(40, 60)], width, search) < 1 - 1 / width


@pytest.mark.parametrize(("warm_up", "pairs"), [(0, 2), (1, 1)])
def test_a_queue_in_blocks_is_counted_while_somebody_waits(monkeypatch, warm_up, pairs):
    monkeypatch.setattr("lecture10.serving.memory.LOOKED_AT", 1)
    found = served_in_blocks([(3, 2)] * 6, 4, size=2, warm_up=warm_up)  # pairs of 3, then 4 tokens; the last is alone
    assert found == (Usage(14 * pairs, 2 * pairs), 4 * pairs, 2 * pairs)


def test_slots_of_the_pagedattention_paper_fit_its_table_1():
    per_token = compute_transformer_stats(llama2_13b_config(S=1)).kv_cache_size  # OPT-13B has the same attention shape
    assert per_token == 819_200
    assert sp.floor(12 * 2**30 / per_token) == 15_728  # printed as 15.7K for 12 GB: the table counts in GiB


# Runs of real engines: bounds and predictions of both, and of all phases, are held in the notebook


def test_the_published_runs_are_those_that_were_published():
    runs = published()
    assert all(len(one.measured.arrival) == 300 for one in runs.values())
    assert means(runs["RTX 4090"].measured)["TTFT"] == pytest.approx(65.46, abs=0.005)
    assert runs["RTX 4090"].blocks == 2588


def test_mixed_steps_of_the_lectures_card_stay_above_the_bound_and_near_the_prediction():
    ratios = {kind: [] for kind in ("mixed", "prefix")}
    for timing, predicted in step_times():
        assert timing.bound < timing.seconds
        ratios[timing.what].append(predicted / timing.seconds)
    assert (len(ratios["mixed"]), len(ratios["prefix"])) == (58, 14)
    assert all(0.7 < ratio < 1.06 for found in ratios.values() for ratio in found)
    assert np.median(ratios["mixed"]) > 0.9


# Prefill and generation apart


def test_apart_the_first_token_is_prefills_and_the_rest_wait_for_the_cache():
    plan = Deployment(load_model("llama-3-8b"), H100)
    link = 1e9
    run = disaggregated([(0.0, 1000, 5), (10.0, 500, 1)], plan, plan, link=link, max_sequences=4, token_budget=2048,
                        blocks=200)
    assert run.ttft[0] == pytest.approx(float(plan.time_to_first_token(1, 1000)))
    sent = 1000 * float(plan.stored_cache(1)) / link
    assert run.last[0] - run.first[0] == pytest.approx(sent + plan.generation_time(1, 1000, 5))
    assert run.last[1] == run.first[1] and run.throughput == 6 / run.seconds and run.prompt.tolist() == [1000, 500]
    alone = disaggregated([(0.0, 1000, 1)], plan, plan, link=link, max_sequences=1, token_budget=2048, blocks=63)
    assert (alone.output.tolist(), alone.ttft[0]) == ([1], run.ttft[0])  # nobody generates


def test_a_run_refuses_what_cannot_have_been():
    with pytest.raises(ValueError, match=r"first\[1\] is 1.0: expected at least scheduled = 2.0"):
        Run([0, 1], [1, 1], [1, 1], [0, 2], [1, 1], [2, 2])
    with pytest.raises(ValueError, match="columns have"):
        Run([0], [1, 1], [1, 1], [0, 2], [1, 1], [2, 2])
    with pytest.raises(ValueError, match="bandwidth is 2: expected a share"):
        Overhead(bandwidth=2)


def test_goodput_queue_and_throughput_of_a_run_by_hand():
    run = Run([0, 1, 2], [5, 5, 5], [3, 1, 5], [0, 3, 4], [1, 4, 5], [5, 4, 7])
    assert run.throughput == 9 / 7 and run.goodput() == 3 / 7
    assert run.goodput(ttft=2) == 1 / 7 and run.goodput(per_token=1) == 2 / 7
    assert run.queue([0, 1, 2.5, 3.5, 4.5]).tolist() == [0, 1, 2, 1, 0]
    assert run.per_token.tolist() == [2, 0.5] and run.latency.tolist() == [5, 3, 5]
    assert run.summary()["time per token"] == pytest.approx((1.25, 1.25, 1.85, 1.985))  # mean, p50, p90, p99
    assert {"| s | mean | p50 | p90 | p99 |", "| time per token | 1.250 | 1.250 | 1.850 | 1.985 |"} < {
        *run._repr_markdown_().splitlines()}


def test_one_prompt_after_the_other_waits_as_lindleys_recursion_says():
    plan = Deployment(load_model("llama-3-8b"), H100)
    service = compiled(plan)(np.array([1000]), np.array([1000]), 1)[0]
    arrivals = np.cumsum(np.random.default_rng(0).exponential(service / 0.8, 300))
    run = replay([(float(at), 1000, 1) for at in arrivals], plan, max_sequences=1, token_budget=1000, blocks=63)
    waits = [0.0]
    for gap in np.diff(arrivals):
        waits.append(max(0.0, waits[-1] + service - gap))
    assert run.scheduled - run.arrival == pytest.approx(waits, abs=1e-9) and max(waits) > service


def test_ticks_are_one_second_each():
    assert ticks(np.ones(2), np.ones(2), 3).tolist() == [1, 1, 1]
