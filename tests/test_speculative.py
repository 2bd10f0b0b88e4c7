"""Speculative sampling: exactness in rationals, the round against its enumeration, the formulas against brute force."""

from __future__ import annotations

import itertools
import math
import random
import time
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import (
    H100,
    acceptance_probability,
    batch_improvement,
    best_gamma,
    distributions,
    draw,
    expected_tokens,
    llama2_13b_config,
    operations_increase,
    output_distribution,
    overlap,
    residual_distribution,
    round_distribution,
    sampling_paths,
    speculative_decoding,
    speculative_results,
    speculative_sampling,
    two_token_paths,
    walltime_improvement,
)
from lecture10.figures.speculative import batch_plot, improvement_plot, overlap_plot, round_diagram, rounds_plot
from lecture10.notation import B, K
from lecture10.speculation.law import continued, joint_law, law

PUBLISHED = speculative_results()
HALF = Fraction(1, 2)
PEAK, BANDWIDTH = float(H100.peak_flops), float(H100.memory_bandwidth)
A = sp.Symbol("a", positive=True)


def normalised(weights: list[int]) -> list[Fraction]:
    return [Fraction(weight, sum(weights)) for weight in weights]


def rational_distributions(vocabulary: int) -> st.SearchStrategy[list[Fraction]]:
    return st.lists(st.integers(0, 9), min_size=vocabulary, max_size=vocabulary).filter(any).map(normalised)


def pairs(largest: int = 6) -> st.SearchStrategy[tuple[list[Fraction], list[Fraction]]]:
    return st.integers(1, largest).flatmap(lambda v: st.tuples(rational_distributions(v), rational_distributions(v)))


def model(seed: int, vocabulary: int):
    """A model in rationals whose every context has its own distribution, zeros among them."""
    def next_token(prefix: tuple[int, ...]) -> list[Fraction]:
        rng = random.Random(f"{seed} {prefix}")
        weights = [rng.choice((0, 1, 2, 5)) for _ in range(vocabulary)]
        weights[rng.randrange(vocabulary)] += 1
        return normalised(weights)
    return next_token


models = st.integers(0, 10**6)


# One token


@settings(max_examples=40)
@given(pairs())
def test_the_output_is_the_targets_distribution_exactly(pq):
    p, q = pq
    assert output_distribution(p, q) == q


@settings(max_examples=40)
@given(pairs())
def test_both_paths_are_min_and_excess(pq):
    accepted, redrawn = sampling_paths(*pq)
    assert accepted == [min(a, b) for a, b in zip(*pq)]
    assert redrawn == [max(b - a, 0) for a, b in zip(*pq)]


@settings(max_examples=40)
@given(pairs())
def test_the_acceptance_rule(pq):
    for accept, a, b in zip(acceptance_probability(*pq), *pq):
        assert accept == (1 if b >= a else b / a)


@settings(max_examples=40)
@given(pairs())
def test_overlap_is_one_minus_total_variation_and_the_accepted_mass(pq):
    p, q = pq
    assert overlap(p, q) == 1 - sum(abs(a - b) for a, b in zip(p, q)) / 2
    assert overlap(p, q) == sum(a * accept for a, accept in zip(p, acceptance_probability(p, q)))


@settings(max_examples=40)
@given(pairs())
def test_the_residual_is_a_distribution_on_the_tokens_the_draft_underrates(pq):
    p, q = pq
    if p == q:
        with pytest.raises(ValueError, match="p equals q"):
            residual_distribution(p, q)
        return
    residual = residual_distribution(p, q)
    assert sum(residual) == 1
    for r, a, b in zip(residual, p, q):
        assert r == 0 if a >= b else r * (1 - overlap(p, q)) == b - a


def test_the_lectures_two_tokens_symbolically():
    q_a, p_b, delta = sp.symbols("q_A p_B delta", positive=True)
    p, q = [q_a + delta, p_b], [q_a, p_b + delta]
    assert acceptance_probability(p, q) == [q_a / (q_a + delta), 1]
    assert residual_distribution(p, q) == [0, 1]
    accepted, redrawn = sampling_paths(p, q)
    assert (accepted, redrawn[0]) == ([q_a, p_b], 0)
    assert sp.simplify(redrawn[1].subs(p_b, 1 - q_a - delta) - delta) == 0
    assert output_distribution(p, q)[0] == q_a
    assert sp.expand(output_distribution(p, q)[1] - (1 - q_a)) == 0
    assert sp.expand(1 - overlap(p, q) - (1 - q_a - p_b)) == 0
    assert two_token_paths() == {"A": (q_a, 0), "B": (1 - q_a - delta, delta)}


def test_symbols_of_unknown_order_stay_min_and_max():
    a, b = sp.symbols("a b", positive=True)
    assert overlap([a, 1 - a], [b, 1 - b]) == sp.Min(a, b) + sp.Min(1 - a, 1 - b)
    assert acceptance_probability([a, 1 - a], [b, 1 - b])[0] == sp.Min(1, b / a)
    values = {a: sp.Rational(2, 3), b: sp.Rational(1, 4)}
    residual = [sp.sympify(r).subs(values) for r in residual_distribution([a, 1 - a], [b, 1 - b])]
    assert residual == [0, 1]
    assert ([out.subs(values) for out in output_distribution([a, 1 - a], [b, 1 - b])]
            == [sp.Rational(1, 4), sp.Rational(3, 4)])


def test_an_order_that_only_factoring_shows():
    p, q = [A / (A + 1), 1 / (A + 1)], [A / (A + 2), 2 / (A + 2)]
    assert residual_distribution(p, q) == [0, 1]
    assert [sp.simplify(out - b) for out, b in zip(output_distribution(p, q), q)] == [0, 0]


def test_sympy_rationals_stay_exact():
    p, q = [sp.Rational(1, 2), sp.Rational(1, 2)], [sp.Rational(1, 6), sp.Rational(5, 6)]
    assert acceptance_probability(p, q) == [sp.Rational(1, 3), 1]
    assert output_distribution(p, q) == q


def test_equal_and_disjoint_and_one_hot_distributions():
    assert output_distribution([HALF, HALF], [HALF, HALF]) == [HALF, HALF]
    assert acceptance_probability([0, HALF, HALF], [1, 0, 0]) == [1, 0, 0]
    assert (overlap([1, 0], [0, 1]), residual_distribution([1, 0], [0, 1])) == (0, [0, 1])
    assert output_distribution([0.1] * 10, [0.1] * 10) == [0.1] * 10  # floats whose sum is not 1


# One round


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 3), models, models)
def test_a_round_of_the_running_code_has_the_enumerated_law(vocabulary, gamma, seed_p, seed_q):
    draft, target = model(seed_p, vocabulary), model(seed_q, vocabulary)
    ran = law(lambda rng: tuple(next(speculative_decoding((), draft, target, gamma, gamma + 1, rng))))
    assert ran == round_distribution((), draft, target, gamma)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(0, 3), models, models)
def test_a_round_continued_by_the_target_is_the_targets_joint_distribution(vocabulary, gamma, seed_p, seed_q):
    draft, target = model(seed_p, vocabulary), model(seed_q, vocabulary)
    outcomes = round_distribution((1,), draft, target, gamma)
    assert sum(outcomes.values()) == 1
    assert all(1 <= len(tokens) <= gamma + 1 for tokens in outcomes)
    joint = continued(outcomes, target, (1,), gamma + 1)
    assert {k: v for k, v in joint.items() if v} == joint_law(target, (1,), gamma + 1)


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 2), models, models)
def test_whole_generations_have_the_targets_distribution(gamma, seed_p, seed_q):
    draft, target = model(seed_p, 2), model(seed_q, 2)
    ran = law(lambda rng: tuple(itertools.chain(*speculative_decoding((), draft, target, gamma, 3, rng)))[:3])
    assert ran == joint_law(target, (), 3)


@settings(deadline=None, max_examples=40)
@given(pairs(), st.data())
def test_one_draft_token_by_hand(pq, data):
    p, q = pq
    x = data.draw(st.sampled_from([x for x, a in enumerate(p) if a]))
    bonus = data.draw(rational_distributions(len(p)))
    accept, expected = min(Fraction(1), q[x] / p[x]), {}
    for y, b in enumerate(bonus):
        expected[(x, y)] = accept * b
    if accept < 1:
        for y, r in enumerate(residual_distribution(p, q)):
            expected[(y,)] = (1 - accept) * r
    assert (law(lambda rng: tuple(speculative_sampling([x], [p], [q, bonus], rng)))
            == {k: v for k, v in expected.items() if v})


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), models, models, st.integers(0, 99))
def test_greedy_decoding_gives_the_targets_tokens(gamma, seed_p, seed_q, seed):
    vocabulary, draft, sampled = 3, model(seed_p, 3), model(seed_q, 3)

    def greedy(prefix):
        row = sampled(prefix)
        return [int(x == row.index(max(row))) for x in range(vocabulary)]

    tokens: tuple[int, ...] = (0,)
    for _ in range(8):
        tokens = (*tokens, greedy(tokens).index(1))
    rounds = list(speculative_decoding((0,), draft, greedy, gamma, 8, random.Random(seed)))
    assert tuple(itertools.chain((0,), *rounds))[:9] == tokens
    assert all(1 <= len(tokens) <= gamma + 1 for tokens in rounds)
    assert sum(map(len, rounds[:-1])) < 8 <= sum(map(len, rounds))


def test_a_perfect_draft_gives_gamma_plus_one_tokens_and_a_hopeless_one_gives_one():
    def target(prefix):
        return [HALF, HALF, 0]

    def hopeless(prefix):
        return [0, 0, 1]

    assert {len(tokens) for tokens in round_distribution((), target, target, 3)} == {4}
    assert round_distribution((), hopeless, target, 3) == {(0,): HALF, (1,): HALF}


def test_float32_rows_of_a_softmax():
    logits = np.random.default_rng(0).normal(size=(9, 32000)).astype(np.float32)
    rows = np.exp(logits)
    rows /= rows.sum(axis=1, keepdims=True)
    assert rows.dtype == np.float32
    p, q = rows[:4], rows[4:]
    guesses = np.array([draw(row, np.random.default_rng(1)) for row in p])
    tokens = speculative_sampling(guesses, p, q, np.random.default_rng(2))
    assert 1 <= len(tokens) <= 5
    assert all(type(token) is int for token in tokens)
    same = speculative_sampling(guesses, p, [*p, q[0]], np.random.default_rng(2))
    assert same[:4] == guesses.tolist()


def softmax(seed: int, rows: int, vocabulary: int, kind: type) -> np.ndarray:
    weights = np.exp(np.random.default_rng(seed).normal(size=(rows, vocabulary)).astype(kind))
    return weights / weights.sum(axis=1, keepdims=True)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(1, 6))
def test_arrays_and_lists_give_the_same_tokens(seed, gamma, vocabulary):
    p, q = softmax(seed, gamma, vocabulary, np.float64), softmax(seed + 1, gamma + 1, vocabulary, np.float64)
    guesses = [draw(row, random.Random(seed + i)) for i, row in enumerate(p)]
    assert guesses == [draw(row.tolist(), random.Random(seed + i)) for i, row in enumerate(p)]
    arrays, lists = (speculative_sampling(guesses, *rows, random.Random(seed))
                     for rows in ((p, q), (p.tolist(), q.tolist())))
    mixed = speculative_sampling(guesses, list(p), q.tolist(), random.Random(seed))
    assert arrays == lists == mixed


@pytest.mark.parametrize(("kind", "error"), [(np.float16, 0.005), (np.float32, 5e-4), (np.float64, 5e-7)])
def test_rows_may_sum_to_one_within_their_rounding(kind, error):
    for sign in (-1, 1):
        good, bad = (np.array([0.5, 0.5 + sign * factor * error], kind) for factor in (1, 4))
        assert speculative_sampling([0], [good], [good, good], random.Random(0))[0] == 0
        assert sum(distributions.row("p", good)) == pytest.approx(1, abs=2e-6)
        with pytest.raises(ValueError, match=r"^q\[1\] sums to .*: expected 1"):
            speculative_sampling([0], [good], [good, bad], random.Random(0))


@pytest.mark.parametrize("listed", [False, True])
def test_a_large_vocabulary_is_sampled_without_a_loop(listed):
    p, q = softmax(0, 4, 151_936, np.float32), softmax(1, 5, 151_936, np.float32)
    guesses = [draw(row, random.Random(i)) for i, row in enumerate(p)]
    one_by_one = 5 * 151_936 / 10_000 * min(_seconds(lambda: [Fraction(x) for x in q[0, :10_000].tolist()]))
    p, q = (p.astype(float).tolist(), q.astype(float).tolist()) if listed else (p, q)
    assert 1 <= len(speculative_sampling(guesses, p, q, random.Random(0))) <= 5
    assert min(_seconds(lambda: speculative_sampling(guesses, p, q, random.Random(0)))) < one_by_one / 5


def _seconds(work):
    """Three times of ``work``: a machine, or its emulation, may be slow, but then in everything."""
    for _ in range(3):
        start = time.process_time()
        work()
        yield time.process_time() - start


def test_a_rejection_that_only_rounding_causes_keeps_the_draft_token():
    class Last:
        def random(self) -> float:
            return 1 - 2.0**-53

    p, q = [0.5, 0.5 + 4e-7], [0.5, 0.5]
    assert speculative_sampling([1], [p], [q, [1, 0]], Last()) == [1, 0]


def test_draw_inverts_the_cumulative_sum():
    third = Fraction(1, 3)
    assert law(lambda rng: draw([0, third, 0, 1 - third], rng)) == {1: third, 3: 1 - third}

    class Last:
        def random(self) -> float:
            return 1 - 2.0**-53

    assert draw([0.3, 0.7 - 1e-9, 0.0], Last()) == 1


# What it gains


@settings(max_examples=40)
@given(st.fractions(0, 1), st.integers(0, 6))
def test_expected_tokens_against_all_outcomes_of_the_coin_tosses(alpha, gamma):
    total = 0
    for tosses in itertools.product((True, False), repeat=gamma):
        accepted = len(list(itertools.takewhile(bool, tosses)))
        total += (accepted + 1) * math.prod(alpha if toss else 1 - alpha for toss in tosses)
    assert expected_tokens(alpha, gamma) == total


@settings(deadline=None, max_examples=30)
@given(pairs(3), st.integers(1, 3))
def test_expected_tokens_of_a_round_whose_models_ignore_the_context(pq, gamma):
    p, q = pq
    outcomes = round_distribution((), lambda prefix: p, lambda prefix: q, gamma)
    assert (sum(len(tokens) * probability for tokens, probability in outcomes.items())
            == expected_tokens(overlap(p, q), gamma))


def test_expected_tokens_in_closed_form():
    alpha, gamma = sp.Symbol("alpha", positive=True), sp.Symbol("gamma", positive=True, integer=True)
    closed = expected_tokens(alpha, gamma)
    for k in range(6):
        assert sp.cancel(closed.subs(gamma, k) - expected_tokens(alpha, k)) == 0
        assert expected_tokens(1, gamma).subs(gamma, k) == expected_tokens(1, k) == k + 1
    assert sp.limit(closed.subs(gamma, 5), alpha, 1) == 6
    assert expected_tokens(0, gamma) == 1
    exact = expected_tokens(Fraction(1, 3), gamma)
    assert not exact.has(sp.Float)
    assert sp.simplify(exact - closed.subs(alpha, sp.Rational(1, 3))) == 0
    assert sp.simplify(closed.subs(alpha, sp.Rational(1, 3)) - expected_tokens(sp.Rational(1, 3), gamma)) == 0


@settings(max_examples=40)
@given(st.fractions(0, 1), st.integers(0, 6), st.fractions(0, 2), st.fractions(1, 3))
def test_walltime_and_operations_are_counts_of_passes(alpha, gamma, c, check):
    tokens = expected_tokens(alpha, gamma)
    time, operations = gamma * c + 1, gamma * c + gamma + 1  # in passes of the target over one token
    assert walltime_improvement(alpha, gamma, c) * time == tokens
    assert walltime_improvement(alpha, gamma, c, check) * (time + check - 1) == tokens
    assert operations_increase(alpha, gamma, c) * tokens == operations


@settings(max_examples=40)
@given(st.fractions(0, 1), st.fractions(0, 1))
def test_speculation_pays_exactly_when_alpha_exceeds_c(alpha, c):
    assert walltime_improvement(alpha, 1, c) == (1 + alpha) / (1 + c)
    gamma = best_gamma(alpha, c, largest=8)
    assert (gamma > 0) == (alpha > c)
    assert walltime_improvement(alpha, gamma, c) >= max(1, (1 + alpha) / (1 + c))


@settings(max_examples=40)
@given(st.fractions(0, 1), st.fractions(0, 1))
def test_best_gamma_is_the_smallest_maximum(alpha, c):
    gains = [walltime_improvement(alpha, gamma, c) for gamma in range(13)]
    assert best_gamma(alpha, c, largest=12) == gains.index(max(gains))


@pytest.mark.parametrize("alpha", [0.5, 0.1, 0.9, 1 - 2**-40, 2**-40])
def test_floats_that_stop_growing_are_no_tie(alpha):
    assert best_gamma(alpha, 0) == 64
    assert best_gamma(alpha, 0, 300) == 300


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.floats(0, 2), st.integers(0, 30))
def test_best_gamma_of_floats_is_that_of_their_rationals(alpha, c, largest):
    gains = [walltime_improvement(Fraction(alpha), gamma, Fraction(c)) for gamma in range(largest + 1)]
    assert best_gamma(alpha, c, largest) == gains.index(max(gains))


def test_long_drafts_have_the_closed_form():
    third, symbol = Fraction(1, 3), sp.Symbol("a", positive=True)
    assert expected_tokens(third, 100) == sum(third**i for i in range(101))
    assert expected_tokens(sp.Rational(1, 3), 100) == expected_tokens(third, 100)
    assert expected_tokens(symbol, 100).subs(symbol, third) == expected_tokens(third, 100)
    for alpha in (0.0, 1e-300, 0.3, 0.999, 1 - 2**-50, 1.0):
        assert expected_tokens(alpha, 100) == pytest.approx(math.fsum(alpha**i for i in range(101)), rel=1e-12)
    assert expected_tokens(0.8, 10**9) == pytest.approx(5)
    assert expected_tokens(1 - 1e-12, 10**9) == pytest.approx(10**9 - 10**18 * 1e-12 / 2, rel=1e-6)
    assert (expected_tokens(1, 10**9), expected_tokens(0, 10**9)) == (10**9 + 1, 1)


def seconds(tokens: int, batch: int, context: int, layers: int) -> float:
    """A pass of Llama-3.1-8B's shape on an H100, operation by operation.

    Matrices are [inputs, outputs], 2 bytes an element.
    """
    D, F, N, K, H, V = 4096, 14336, 32, 8, 128, 128256
    matrices = [[(D, N * H), (D, K * H), (D, K * H), (N * H, D)], [(D, F), (D, F), (F, D)]] * layers + [[(D, V)]]
    total = 0.0
    for operation in matrices:
        weights = sum(a * b for a, b in operation)
        total += max(2 * batch * tokens * weights / PEAK, 2 * weights / BANDWIDTH)
    pairs = layers * batch * context
    return total + max(4 * pairs * tokens * N * H / PEAK, 4 * pairs * K * H / BANDWIDTH)


@pytest.mark.parametrize(("batch", "context"), [(1, 128), (74, 1024), (75, 1024), (256, 128), (256, 8192), (4096, 128)])
def test_batch_improvement_against_passes_written_out(batch, context):
    shape = {"D": 4096, "F": 14336, "N": 32, "K": 8, "V": 128256, "S": context}
    gain = batch_improvement(Fraction(4, 5), 3, llama2_13b_config(**shape, L=32), llama2_13b_config(**shape, L=1))
    once = seconds(4, batch, context, 32) + 3 * seconds(1, batch, context, 1)
    plain = (1 + 0.8 + 0.8**2 + 0.8**3) * seconds(1, batch, context, 32)
    assert float(gain.subs(B, batch)) == pytest.approx(plain / once)


def test_batch_improvement_below_the_critical_batch_is_leviathans_formula():
    target, draft = llama2_13b_config(B=59), llama2_13b_config(B=59, L=1)
    c = expected_tokens(HALF, 1) / batch_improvement(HALF, 1, target, draft) - 1
    assert 0 < c < Fraction(1, 20)
    assert batch_improvement(HALF, 4, target, draft) == walltime_improvement(HALF, 4, c)
    assert batch_improvement(HALF, 5, target, draft) < walltime_improvement(HALF, 5, c)  # 59·6 is past the ridge of 295
    assert batch_improvement(HALF, 0, target, draft) == 1


def test_leviathan_table_1():
    rows = PUBLISHED["leviathan"]["table1"]
    assert len(rows) == 6
    for row in rows:
        alpha, gamma = Fraction(str(row["alpha"])), row["gamma"]
        assert f"{float(operations_increase(alpha, gamma, 0)):.2f}" == f"{row['operations']:.2f}"
        assert f"{float(walltime_improvement(alpha, gamma, 0)):.2f}" == f"{row['speed']:.2f}"


def test_published_tables_are_whole():
    leviathan, chen, eagle = (PUBLISHED[paper] for paper in ("leviathan", "chen", "eagle3"))
    assert len(leviathan["table3"]) == 16
    assert all(0 <= row[f"alpha_T{t}"] <= 1 for row in leviathan["table3"] for t in (0, 1))
    plain = chen["setup"]["target_ms_per_token"]
    gaps = [abs(row["speedup"] - plain / row["ms_per_token"]) for row in chen["table1"]]
    assert sorted(gap > 0.005 for gap in gaps) == [False] * 5 + [True]  # 1.92 is printed beside 14.1/7.52 = 1.875
    for table in (eagle["table3"], eagle["table5"]):
        assert table["batch"] == sorted(table["batch"])
        assert len(table["batch"]) == len(table["EAGLE"]) == len(table["EAGLE-3"])


# Figures


@pytest.fixture
def figures():
    yield
    plt.close("all")


@pytest.mark.usefixtures("figures")
def test_bars_stand_for_both_distributions():
    p, q = normalised([8, 6, 3, 2, 1]), normalised([4, 5, 6, 2, 3])
    ax = overlap_plot(p, q, "abcde")
    tops = {"left": [0.0] * 5, "right": [0.0] * 5}
    for bar in ax.patches:
        x = bar.get_x() + bar.get_width() / 2
        tops["left" if x < round(x) else "right"][round(x)] += bar.get_height()
    assert tops == {"left": pytest.approx([float(a) for a in p]), "right": pytest.approx([float(b) for b in q])}


@pytest.mark.usefixtures("figures")
@pytest.mark.parametrize(("accepted", "decisions"), [
    (2, ["keep\n$x_1$", "keep\n$x_2$", "redraw\n$\\sim r_3$", "drop\n$x_4$"]),
    (4, [*(f"keep\n$x_{i}$" for i in (1, 2, 3, 4)), "bonus\n$\\sim q_5$"]),
])
def test_the_diagram_follows_the_algorithm(accepted, decisions):
    row = [text for text in round_diagram(4, accepted).texts if text.get_position()[1] == 0]
    assert [text.get_text() for text in row] == ["decision", *decisions]


@pytest.mark.usefixtures("figures")
def test_rounds_start_where_the_last_one_ended():
    ax = rounds_plot([3, 5, 1], 4)
    cells = [(round(bar.get_y() + bar.get_height() / 2), bar.get_x()) for bar in ax.patches]
    assert cells == [*((1, x) for x in range(4)), *((2, x) for x in range(3, 8)), *((3, x) for x in range(8, 12))]
    assert ax.get_title() == "9 tokens in 3 target passes"


@pytest.mark.usefixtures("figures")
def test_every_curve_shows_its_numbers_in_a_colour_of_its_own():
    predicted = {name: {2: HALF, 8: gain} for name, gain in (("a", 1), ("b", 2), ("c", 3))}
    published = {name: {2: 1.5, 4: gain} for name, gain in (("d", 1.1), ("e", 1.2), ("f", 1.3), ("g", 1.4))}
    curves = [line for ax in batch_plot(predicted, published) for line in ax.get_lines() if line.get_label()[0] != "_"]
    assert {line.get_label(): dict(zip(*line.get_data())) for line in curves} == predicted | published
    assert len({line.get_color() for line in curves}) == 7


@pytest.mark.usefixtures("figures")
def test_the_best_gamma_is_marked():
    cases = [(0.8, 0.05), (0.6, 0.2), (0.3, 0.5)]
    for (alpha, c), line in zip(cases, improvement_plot(cases, 20).get_lines()):
        assert line.get_markevery() == [best_gamma(alpha, c, 20)]
        assert line.get_ydata()[7] == walltime_improvement(alpha, 7, c)


# Bad input

ONE_TOKEN = [acceptance_probability, residual_distribution, output_distribution, overlap, sampling_paths]
NOT_DISTRIBUTIONS = [
    ([], "p is empty"),
    ([-HALF, 3 * HALF], r"p\[0\] is -1/2"),
    ([1.5, -0.5], r"p\[0\] is 1.5"),
    ([0.5, -0.5, 1.0], r"p\[1\] is -0.5"),
    ([math.nan, 1.0], r"p\[0\] is nan"),
    ([sp.nan, sp.Integer(1)], r"p\[0\] is nan"),
    ([math.inf, 0.0], r"p\[0\] is inf"),
    ([sp.oo, 0], r"p\[0\] is oo"),
    ([sp.I, 1 - sp.I], r"p\[0\] is I"),
    ([sp.Symbol("n", negative=True), 1], r"p\[0\] is n"),
    (["1", 0], r"p\[0\] is '1'"),
    ([None, 1], r"p\[0\] is None"),
    ([0.5, 0.5001], "p sums to 1.0001"),
    ([HALF, HALF + Fraction(1, 10**9)], r"p sums to \S+/\d+"),
    ([sp.Rational(1, 2), sp.Rational(1, 3)], "p sums to 5/6"),
    ([np.float32(0.5), np.float32(0.25)], "p sums to 0.75"),
    ([A / (A + 1), 1 / (A + 1), Fraction(1, 10)], "p sums to 11/10"),
    ([0, 0], "p sums to 0"),
]


@pytest.mark.parametrize(("bad", "message"), NOT_DISTRIBUTIONS)
@pytest.mark.parametrize("function", ONE_TOKEN)
def test_what_is_no_distribution_is_named(function, bad, message):
    good = [Fraction(1), *[Fraction(0)] * (max(len(bad), 1) - 1)]
    with pytest.raises(ValueError, match=f"^{message}.*: expected"):
        function(bad, good)
    with pytest.raises(ValueError, match=f"^{message.replace('p', 'q', 1)}.*: expected"):
        function(good, bad)


@pytest.mark.parametrize("function", ONE_TOKEN)
def test_different_vocabularies(function):
    with pytest.raises(ValueError, match="p has 2 tokens and q has 3: expected the same vocabulary"):
        function([HALF, HALF], [HALF, HALF, 0])


ROW = [HALF, HALF, 0]


@pytest.mark.parametrize(("tokens", "p", "q", "message"), [
    ([0], [], [ROW, ROW], "p has 0 rows: expected one for each of the 1 draft tokens"),
    ([0], [ROW, ROW], [ROW, ROW], "p has 2 rows: expected one"),
    ([0], [ROW], [ROW], "q has 1 rows: expected 2"),
    ([0], [ROW], [ROW, ROW, ROW], "q has 3 rows: expected 2"),
    ([2], [ROW], [ROW, ROW], r"draft_tokens\[0\] is 2, which p\[0\] gives probability 0"),
    ([0, 3], [ROW, ROW], [ROW] * 3, r"draft_tokens\[1\] is 3: expected a token between 0 and 2"),
    ([-1], [ROW], [ROW, ROW], r"draft_tokens\[0\] is -1: expected a token between 0 and 2"),
    ([0.5], [ROW], [ROW, ROW], r"draft_tokens\[0\] is 0.5: expected a token"),
    ([0], [[HALF, HALF]], [ROW, ROW], r"p\[0\] has 2 tokens and q\[1\] has 3"),
    ([0], [ROW], [[HALF, HALF], ROW], r"q\[0\] has 2 tokens and q\[1\] has 3"),
    ([0], [[HALF, HALF, HALF]], [ROW, ROW], r"p\[0\] sums to 3/2"),
    ([0], [ROW], [ROW, [HALF, 0, 0]], r"q\[1\] sums to 1/2"),
    ([0], [ROW], [[math.nan, 0, 1], ROW], r"q\[0\]\[0\] is nan"),
    ([0], [ROW], [ROW, [2, -1, 0]], r"q\[1\]\[0\] is 2"),
])
def test_rounds_that_do_not_fit(tokens, p, q, message):
    with pytest.raises(ValueError, match=message):
        speculative_sampling(tokens, p, q, random.Random(0))


BAD_COUNTS = [-1, 1.5, math.nan, math.inf, sp.nan, sp.oo, sp.Rational(3, 2), None, "2", 2j,
              sp.Symbol("n", negative=True)]
BAD_RATES = [-0.1, Fraction(-1, 10), math.nan, sp.nan, math.inf, sp.oo, sp.I, None, "0.5",
             sp.Symbol("n", negative=True)]


@pytest.mark.parametrize("gamma", BAD_COUNTS)
def test_bad_gamma(gamma):
    for call in (lambda: expected_tokens(HALF, gamma), lambda: walltime_improvement(HALF, gamma, 0),
                 lambda: operations_increase(HALF, gamma, 0), lambda: round_distribution((), list, list, gamma),
                 lambda: next(speculative_decoding((), list, list, gamma, 1, random.Random(0)))):
        with pytest.raises(ValueError, match=r"^gamma is .*: expected a whole number of at least"):
            call()


@pytest.mark.parametrize("name", ["gamma", "length"])
def test_decoding_needs_at_least_one_draft_token_and_one_token_to_make(name):
    sizes = {"gamma": 1, "length": 1, name: 0}
    with pytest.raises(ValueError, match=f"^{name} is 0: expected a whole number of at least 1"):
        next(speculative_decoding((), list, list, **sizes, rng=random.Random(0)))


@pytest.mark.parametrize("alpha", [*BAD_RATES, 1.01, Fraction(11, 10), sp.Rational(11, 10)])
def test_bad_alpha(alpha):
    for call in (lambda: expected_tokens(alpha, 2), lambda: walltime_improvement(alpha, 2, 0),
                 lambda: operations_increase(alpha, 2, 0), lambda: best_gamma(alpha, 0)):
        with pytest.raises(ValueError, match=r"^alpha is .*: expected a number of at least 0 and at most 1"):
            call()


@pytest.mark.parametrize("c", BAD_RATES)
def test_bad_cost_ratio(c):
    for call in (lambda: walltime_improvement(HALF, 2, c), lambda: operations_increase(HALF, 2, c),
                 lambda: best_gamma(HALF, c)):
        with pytest.raises(ValueError, match=r"^c is .*: expected a number of at least 0$"):
            call()
    with pytest.raises(ValueError, match=r"^check is .*: expected a number of at least 0$"):
        walltime_improvement(HALF, 2, 0, c)


def test_bad_largest():
    with pytest.raises(ValueError, match=r"^largest is -1: expected a whole number of at least 0"):
        best_gamma(HALF, 0, largest=-1)


def test_a_pass_that_takes_no_time_is_refused():
    with pytest.raises(ValueError, match=r"^check is 0: expected a number above 0"):
        walltime_improvement(0.8, 3, 0, 0)


def test_configurations_of_a_batch_are_checked():
    config = llama2_13b_config(B=1)
    with pytest.raises(ValueError, match="N = 40 is not a multiple of K = 7"):
        batch_improvement(HALF, 3, config | {K: 7}, config)
    with pytest.raises(ValueError, match=r"^gamma \+ 1 is 1025: expected at most S = 1024"):
        batch_improvement(0.5, 1024, config, config)
    assert batch_improvement(0.5, 1023, config, config) > 0


@pytest.mark.parametrize(("call", "message"), [
    (lambda: expected_tokens(HALF, 10**9), "gamma is 1000000000: expected at most 10,000 with an exact alpha"),
    (lambda: best_gamma(HALF, 0, 10**9), r"largest is 1000000000: expected .* at most 10,000"),
    (lambda: speculative_decoding((), list, list, 10**9, 1, random.Random(0)),
     r"gamma is 1000000000: .* at most 1,000"),
    (lambda: round_distribution((), list, list, 10**9), r"gamma is 1000000000: expected .* at most 64"),
    (lambda: round_distribution((), lambda _: [HALF, HALF], lambda _: [HALF, HALF], 20), r"not 2\^20"),
])
def test_sizes_that_would_never_end_have_a_limit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("bad", [[2, 3], [0.5, 0.4], [], "ab", None, [sp.Symbol("a"), 1 - sp.Symbol("a")],
                                 np.array([0.5, 0.51]), np.array([math.nan, 1]), np.full((2, 2), 0.25)], ids=str)
def test_only_distributions_are_drawn_from(bad):
    with pytest.raises(ValueError, match=r"^distribution(\[0\])? .*: expected"):
        draw(bad, random.Random(0))


def test_numpy_and_whole_float_counts_are_counts():
    assert expected_tokens(HALF, np.int64(2)) == expected_tokens(HALF, 2.0) == Fraction(7, 4)
