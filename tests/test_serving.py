"""Request times, generation with and without a cache, schedules and cache memory against counting by hand."""

from itertools import groupby

import matplotlib.pyplot as plt
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import (
    H100,
    Accelerator,
    admit,
    allocate,
    compute_transformer_stats,
    continuous_batching,
    forward_pass,
    generation_cost,
    llama2_13b_config,
    memory_usage,
    release,
    static_batching,
    token_times,
)
from lecture10.figures import serving as serving_plots
from lecture10.notation import B, D, F, H, K, L, N, S, V

n, p = sp.symbols("n p", integer=True, positive=True)
SYMBOLIC = {cached: generation_cost(p, n, cached=cached) for cached in (True, False)}
sizes = st.integers(1, 7)
queues = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), min_size=1, max_size=12)


def passes(prompt, tokens, cached):
    """For every pass the positions it processes and, for each of them, those it attends to."""
    stored = 0
    for total in range(prompt, prompt + tokens):
        new = range(stored, total)
        yield [(position, range(position + 1)) for position in new]
        stored = total if cached else 0


def counted_flops(prompt, tokens, cached):
    """Multiply-adds, each 2 FLOPs, of one sequence, one weight and one query–key pair at a time."""
    weights = L * (2 * D * N * H + 2 * D * K * H + 3 * D * F)
    total = 0
    for one_pass in passes(prompt, tokens, cached):
        for _, seen in one_pass:
            total += 2 * weights + sum(2 * (2 * N * H * L) for _ in seen)
        total += 2 * D * V
    return sp.expand(B * total)


@given(prompt=sizes, tokens=sizes, cached=st.booleans())
@settings(max_examples=25, deadline=None)
def test_generation_flops_are_those_of_a_counting_loop(prompt, tokens, cached):
    cost = generation_cost(sp.Integer(prompt), sp.Integer(tokens), cached=cached)
    assert sp.expand(cost.flops) == counted_flops(prompt, tokens, cached)


@given(prompt=sizes, tokens=sizes)
@settings(max_examples=10, deadline=None)
def test_symbolic_sums_hold_at_every_integer(prompt, tokens):
    for cached in (True, False):
        symbolic = SYMBOLIC[cached].subs({p: prompt, n: tokens})
        exact = generation_cost(sp.Integer(prompt), sp.Integer(tokens), cached=cached)
        assert sp.expand(symbolic.flops - exact.flops) == 0
        assert sp.expand(symbolic.bytes_transferred - exact.bytes_transferred) == 0


def test_generation_from_one_token_has_the_closed_forms_of_the_pairs():
    with_cache, without = (generation_cost(sp.Integer(1), n, cached=cached) for cached in (True, False))
    per_pair = 4 * B * N * H * L
    assert sp.expand(with_cache.only("attention").flops - per_pair * n * (n + 1) / 2) == 0
    assert sp.expand(without.only("attention").flops - per_pair * n * (n + 1) * (n + 2) / 6) == 0
    assert sp.expand(with_cache.only("MLP").flops - 6 * B * D * F * L * n) == 0
    assert sp.expand(without.only("MLP").flops - 6 * B * D * F * L * n * (n + 1) / 2) == 0


def test_cache_reads_grow_to_the_mean_context_of_the_run():
    prompt, tokens = sp.Integer(100), sp.Integer(31)
    read = generation_cost(prompt, tokens).only("attention").bytes_transferred
    assert sp.expand(read / tokens - 4 * B * K * H * L * (prompt + (tokens - 1) / sp.Integer(2))) == 0


def test_token_times_are_one_prefill_and_then_steps_over_a_growing_cache():
    config = llama2_13b_config(B=1)
    first, second, third = token_times(config, 1024, 3, H100)
    assert token_times(config, 1, 1, H100) == (forward_pass(1, logits=1).subs({**config, S: 1}).time(H100),)
    assert first == forward_pass(1024, logits=1).subs(config).time(H100)
    assert second - first == forward_pass(1).subs({**config, S: 1025}).time(H100)
    assert third - second == forward_pass(1).subs({**config, S: 1026}).time(H100)
    assert float(second - first) == pytest.approx(
        float(compute_transformer_stats(llama2_13b_config(B=1)).latency), rel=1e-3)


def test_token_times_on_slow_arithmetic_count_logits_once_and_one_token_a_step():
    config, slow = llama2_13b_config(B=1), Accelerator("slow arithmetic", 10**9, 10**15, 10**12)
    first, second = token_times(config, 8, 2, slow)
    weights = compute_transformer_stats(config).num_params - 2 * 32000 * 5120
    pairs, embedding = 4 * 40 * 128 * 40, 2 * 32000 * 5120 // 2
    assert first == pytest.approx((8 * 2 * weights + 64 * pairs + 2 * embedding) / 10**9, rel=1e-3)
    assert second - first == pytest.approx((2 * weights + 9 * pairs + 2 * embedding) / 10**9, rel=1e-3)


@pytest.mark.parametrize(("arguments", "message"), [
    ((llama2_13b_config(), 8, 1), "config leaves B open"),
    ((llama2_13b_config(B=1), 0, 1), "prompt is 0"),
    ((llama2_13b_config(B=1), 8, 1.5), "tokens is 1.5"),
    ((llama2_13b_config(B=1), "x", 1), "prompt is 'x'"),
])
def test_token_times_name_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        token_times(*arguments, H100)


@given(queues, sizes)
@settings(deadline=None)
def test_every_request_is_served_once_in_one_piece_and_not_before_it_arrives(queue, slots):
    lengths, arrivals = zip(*queue)
    for policy in (static_batching, continuous_batching):
        schedule = policy(lengths, slots, arrivals)
        assert len(schedule.rows) == slots
        assert schedule.busy == sum(lengths)
        assert schedule.busy + schedule.idle == slots * schedule.steps
        assert schedule.utilization == sp.Rational(sum(lengths), slots * schedule.steps)
        for request, (first, end) in schedule.spans.items():
            row, = (row for row in schedule.rows if request in row)
            assert end - first == lengths[request] == row.count(request)
            assert first >= arrivals[request]
        first_steps = [schedule.spans[i][0] for i in sorted(range(len(queue)), key=lambda i: arrivals[i])]
        assert first_steps == sorted(first_steps)


@given(queues, sizes)
@settings(deadline=None)
def test_iteration_level_scheduling_leaves_no_slot_empty_while_a_request_waits(queue, slots):
    lengths, arrivals = zip(*queue)
    schedule = continuous_batching(lengths, slots, arrivals)
    for step, column in enumerate(zip(*schedule.rows)):
        waiting = [i for i, (first, _) in schedule.spans.items() if arrivals[i] <= step < first]
        assert None not in column or not waiting


@given(queues, sizes)
@settings(deadline=None)
def test_iteration_level_scheduling_never_starts_a_request_later(queue, slots):
    lengths, arrivals = zip(*queue)
    static, continuous = (policy(lengths, slots, arrivals).spans for policy in (static_batching, continuous_batching))
    assert all(continuous[i][0] <= static[i][0] for i in static)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), sizes)
def test_static_batches_last_as_long_as_their_longest_request(lengths, slots):
    batches = [lengths[i:i + slots] for i in range(0, len(lengths), slots)]
    assert static_batching(lengths, slots).steps == sum(max(batch) for batch in batches)


def test_a_late_request_waits_for_the_batch_or_joins_it():
    assert static_batching((6, 2), 2, (0, 1)).spans[1] == (6, 8)
    assert continuous_batching((6, 2), 2, (0, 1)).spans[1] == (1, 3)


@pytest.mark.parametrize(("arguments", "message"), [
    (((), 2), "lengths is empty"),
    (((1, 0), 2), r"lengths\[1\] is 0"),
    (((1, 2.5), 2), r"lengths\[1\] is 2.5"),
    (((1,), 0), "slots is 0"),
    (((1, 2), 1, (0,)), "arrivals has 1 entries and lengths 2"),
    (((1,), 1, (-1,)), r"arrivals\[0\] is -1"),
])
def test_schedules_name_what_is_wrong(arguments, message):
    for policy in (static_batching, continuous_batching):
        with pytest.raises(ValueError, match=message):
            policy(*arguments)


owners = st.sampled_from([None, "a", "b", "c"])


@given(st.lists(owners, min_size=1, max_size=40).map(tuple), st.integers(1, 12), st.integers(1, 6))
def test_allocation_takes_only_free_slots_in_whole_pieces_and_fails_only_without_room(memory, slots, piece):
    after = allocate(memory, "new", slots, piece)
    runs = [len(list(run)) for owner, run in groupby(memory) if owner is None]
    needed = -(-slots // piece)
    if sum(run // piece for run in runs) < needed:
        assert after is None
    else:
        assert after.count("new") == needed * piece
        assert all(old is None if new == "new" else old == new for old, new in zip(memory, after))
        assert release(after, "new") == memory
        assert all(len(list(run)) % piece == 0 for owner, run in groupby(after) if owner == "new")


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=8), st.integers(1, 30))
def test_admission_stops_at_the_first_request_that_does_not_fit(requests, slots):
    memory, held = admit((None,) * slots, requests, max)
    sizes = [max(request) for request in requests]
    fitting = max(k for k in range(len(sizes) + 1) if sum(sizes[:k]) <= slots)
    assert list(held.values()) == requests[:fitting]
    assert [memory.count(name) for name in held] == sizes[:fitting]
    paged, few = admit((None,) * slots, requests, min, 2)
    blocks = [-(-min(request) // 2) for request in requests]
    assert len(few) == max(k for k in range(len(blocks) + 1) if sum(blocks[:k]) <= slots // 2)
    assert [paged.count(name) for name in few] == [2 * count for count in blocks[:len(few)]]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=6), st.integers(1, 20))
def test_paged_requests_waste_less_than_a_block_each(shapes, block):
    memory, requests = (None,) * (block * 200), {}
    for i, (now, more) in enumerate(shapes):
        requests[f"r{i}"] = (now, now + more)
        memory = allocate(memory, f"r{i}", now, block) or memory
    usage = memory_usage(memory, {name: shape for name, shape in requests.items() if name in memory}, block)
    assert usage.reserved + usage.internal < block * len(shapes)
    assert usage.external == 0
    assert usage.token_states + usage.reserved + usage.internal + usage.external + usage.free == len(memory)


def test_usage_of_a_hand_made_memory():
    memory = ("a",) * 6 + (None,) * 3 + ("b",) * 4 + (None,) * 5
    requests = {"a": (2, 5), "b": (4, 9)}
    contiguous, paged = memory_usage(memory, requests, 6), memory_usage(memory, requests, 1)
    assert (contiguous.token_states, contiguous.reserved, contiguous.internal) == (6, 3, 1)
    assert (contiguous.external, contiguous.free) == (8, 0)
    assert (paged.external, paged.free) == (0, 8)
    assert memory_usage(memory, requests, 4).external == 3 + 1
    assert contiguous.share == paged.share == sp.Rational(6, 18)
    assert memory_usage(memory, {"a": (2, 5), "b": (4, 4)}, 1).internal == 1
    assert memory_usage(memory, {"a": (0, 5), "b": (4, 4)}, 1).reserved == 5


@pytest.mark.parametrize(("call", "message"), [
    (lambda: allocate((None,), "a", 0, 1), "slots is 0"),
    (lambda: allocate((None,), "a", 1, 0), "piece is 0"),
    (lambda: release(("a",), "b"), "'b' holds no slot"),
    (lambda: memory_usage(("a",), {}, 1), r"no entry for \['a'\]"),
    (lambda: memory_usage(("a",), {"a": (2, 3)}, 1), "'a' stores 2 of 3 tokens in 1 slots"),
    (lambda: memory_usage(("a", "a"), {"a": (2, 1)}, 1), "'a' stores 2 of 1 tokens in 2 slots"),
    (lambda: memory_usage((None,), {}, 0), "piece is 0"),
])
def test_memory_functions_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_slots_of_the_pagedattention_paper_fit_its_table_1():
    per_token = compute_transformer_stats(llama2_13b_config(S=1)).kv_cache_size  # OPT-13B has the same attention shape
    assert per_token == 819_200
    assert sp.floor(12 * 2**30 / per_token) == 15_728  # printed as 15.7K for 12 GB: the table counts in GiB


def test_a_memory_map_is_solid_for_every_token_and_pale_for_every_other_held_slot():
    memory, stored = ("a",) * 6 + (None,) * 3 + ("b",) * 4 + ("a",) * 2, {"a": 7, "b": 1}
    ax, = serving_plots.memory_maps({"memory": memory}, stored)
    bars = [(bar.get_x(), bar.get_width(), bar.get_alpha() or bar.get_facecolor()[3]) for bar in ax.patches]
    plt.close("all")
    assert bars[:-1] == [(0, 6, 1), (9, 1, 1), (10, 3, 0.3), (13, 1, 1), (14, 1, 0.3)]
    assert bars[-1][:2] == (0, len(memory))


def test_a_schedule_is_drawn_step_by_step_with_the_number_of_its_request():
    schedule = continuous_batching((3, 1, 2), 2)
    ax, = serving_plots.schedules({"continuous": schedule})
    drawn = {(int(text.get_position()[1]), int(text.get_position()[0])): int(text.get_text()) for text in ax.texts}
    plt.close("all")
    assert drawn == {(slot, step): request for slot, row in enumerate(schedule.rows)
                     for step, request in enumerate(row) if request is not None}
