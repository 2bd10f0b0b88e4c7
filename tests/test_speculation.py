"""Rules, trees, schedules and costs of the speculative room: exact laws of the running code, optima, planted faults."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import (
    batch_costs,
    batch_improvement,
    best_gamma,
    expected_tokens,
    llama2_13b_config,
    round_improvement,
    speculative_sampling,
    walltime_improvement,
)
from lecture10.distributions import excess, residual
from lecture10.figures import speculation as plots
from lecture10.notation import S
from lecture10.speculation import acceptance, costs, runs, trees
from lecture10.speculation.drafts import autoregressive, looked_up, most_probable, ngram, rows_of
from lecture10.speculation.faults import FAULTS, right
from lecture10.speculation.law import continued, joint_law, law, mean_tokens, total_variation
from lecture10.speculation.loop import Round, first_difference, until
from lecture10.speculation.optimum import optimal_acceptance, optimal_tokens
from lecture10.speculation.proofs import MOST_WORDS, by_last, first_round, first_tokens, made_up, normalised
from lecture10.speculation.rules import block_verification, lenient, typical_acceptance

HALF = Fraction(1, 2)
RULES = (speculative_sampling, block_verification)
KINDS = (trees.with_replacement, trees.without_replacement, trees.largest)


models = st.integers(0, 10**6)


def one_hot(token: int, vocabulary: int) -> list[int]:
    return [int(token == x) for x in range(vocabulary)]


def copying(tokens, gamma, _rng):
    """Prompt look-up in whole numbers, so that laws stay exact."""
    found = looked_up(tokens, gamma)
    return found, [one_hot(x, 3) for x in found]


def silent(_tokens, _gamma, _rng):
    return [], []


# Lossless


def test_a_program_of_too_many_paths_is_refused(monkeypatch):
    monkeypatch.setattr("lecture10.speculation.law.MOST_PATHS", 4)
    assert law(lambda rng: (rng.random() < HALF) + (rng.random() < HALF)) == {0: HALF / 2, 1: HALF, 2: HALF / 2}
    with pytest.raises(ValueError, match="expected one of at most 4 paths"):
        law(lambda rng: sum(rng.random() < HALF for _ in range(3)))


@settings(deadline=None, max_examples=8)
@given(st.sampled_from(RULES), st.sampled_from(["model", "copy", "silent"]), st.integers(1, 2), models, models)
def test_the_loop_draws_from_the_targets_law(rule, kind, gamma, seed_p, seed_q):
    target = made_up(seed_q, 3)
    draft = {"model": autoregressive(rows_of(made_up(seed_p, 3))), "copy": copying, "silent": silent}[kind]
    assert first_tokens(draft, rows_of(target), gamma, 2, rule, (0, 1, 0)) == joint_law(target, (0, 1, 0), 2)


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 2), models, models)
def test_block_verification_is_lossless_dominant_and_optimal(gamma, seed_p, seed_q):
    draft, target = made_up(seed_p, 3), made_up(seed_q, 3)
    single, block = (first_round(draft, target, gamma, rule) for rule in RULES)
    assert continued(block, target, (), gamma + 1) == joint_law(target, (), gamma + 1)
    assert mean_tokens(single) <= mean_tokens(block) == optimal_tokens((), draft, target, gamma)


def test_the_papers_example_of_block_verification():
    """Sun et al., 2403.10444, section 2: 10/9 and 11/9 tokens kept of two."""
    p, q = normalised(2, 1), normalised(1, 2)
    kept = [mean_tokens(first_round(lambda _: p, lambda _: q, 2, rule)) - 1 for rule in RULES]
    assert kept == [Fraction(10, 9), Fraction(11, 9)]
    assert optimal_tokens((), lambda _: p, lambda _: q, 2) == 1 + kept[1]


@settings(deadline=None, max_examples=5)
@given(st.sampled_from(KINDS), st.sampled_from([(2,), (3,), (1, 2)]), models, models)
def test_trees_are_lossless(children, widths, seed_p, seed_q):
    draft, target = made_up(seed_p, 3), made_up(seed_q, 3)
    out = law(lambda rng: tuple(trees.verify_tree(trees.grow((), draft, widths, rng, children), (), target, rng)))
    assert continued(out, target, (), len(widths) + 1) == joint_law(target, (), len(widths) + 1)


def test_a_tree_grows_where_its_tokens_lead():
    asked = []

    def draft(prefix):
        asked.append(prefix)
        return normalised(1, 3, 2)

    tree = trees.grow((7,), draft, (2, 1), random.Random(0), trees.largest)
    assert tree.tokens == (1, 2) and [place.tokens for place in tree.places] == [(1,), (1,)] and tree.size == 4
    assert asked == [(7,), (7, 1), (7, 2)] and trees.grow((7,), draft, (), random.Random(0)) == trees.Node()


def accepted(children, p, width: int, q) -> Fraction:
    return law(lambda rng: trees.choose(*children(p, width, rng), q, rng)[0] is not None).get(True, Fraction(0))


def drafts(children, p, width: int) -> dict:
    return law(lambda rng: frozenset(children(p, width, rng)[0]))


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(KINDS), st.integers(1, 2), models, models)
def test_no_rule_accepts_more_than_the_optimum(children, width, seed_p, seed_q):
    p, q = made_up(seed_p, 3)(()), made_up(seed_q, 3)(())
    best = optimal_acceptance(drafts(children, p, width), q)
    assert accepted(children, p, width, q) <= best
    if width == 1 and children is not trees.largest:
        assert best == sum(map(min, p, q))
    chances = drafts(children, p, width)
    inside = {some: sum(chance for tokens, chance in chances.items() if tokens <= set(some))
              for n in range(4) for some in itertools.combinations(range(3), n)}
    assert best == min(sum(q[x] for x in some) + 1 - chance for some, chance in inside.items())  # the smallest cut


def test_different_children_are_better_than_the_same_one_twice():
    """Only token 0 is rejected, half of the time; then all that q has left is token 2, which the second child is with
    1/10 when it is drawn again from p, and with 1/4 when 0 is out."""
    p, q = normalised(6, 3, 1), normalised(1, 3, 6)
    rates = [accepted(children, p, 2, q) for children in KINDS]
    assert rates == [HALF + HALF / 10, HALF + HALF / 4, Fraction(2, 5)]
    best = [optimal_acceptance(drafts(children, p, 2), q) for children in KINDS]
    assert best == [Fraction(59, 100), Fraction(97, 140), Fraction(2, 5)]
    assert optimal_acceptance({frozenset(range(3)): 1}, q) == 1  # every token was drafted


def test_small_models_have_the_laws_that_are_asked_for():
    model = by_last((3, 1), (0, 2))
    assert [model(prefix) for prefix in ((1, 0), (0, 1), (1, 1, 2))] == [normalised(3, 1), [0, 1], normalised(3, 1)]
    laws = [made_up(3, 4)(prefix) for prefix in ((1, 2), (1, 2), *((i,) for i in range(9)))]
    assert laws[0] == laws[1] != laws[2] and {len(one) for one in laws} == {4} and any(0 in one for one in laws)
    assert made_up(0, 1)(()) == [1] and len(made_up(0, MOST_WORDS)(())) == 100
    for words in (0, 101):
        with pytest.raises(ValueError, match=r"^vocabulary is "):
            made_up(0, words)


# Planted faults


@pytest.mark.parametrize(("name", "parts"), [
    ("redrawn from q", (15, 15, 18)), ("only the rejected token taken out of q", (12, 16, 20)),
    ("draft at another temperature", (16, 8, 24)), ("draft with another top-p", (24, 0, 24)),
    ("draft token by argmax, its row by softmax", (24, 0, 24)), ("vocabularies of different length", (12, 10, 26)),
    ("probabilities in half precision", (12, 12, 24))])  # none, where halves hold them exactly
def test_every_fault_has_the_law_that_its_name_says(name, parts):
    p, q = normalised(2, 1, 1), normalised(1, 1, 2)  # Σ min = 3/4; token 0 is rejected with probability 1/4
    draft, rule = FAULTS[name](lambda _: p)
    found = first_tokens(draft, rows_of(lambda _: q), 1, 1, rule, (0,))
    assert [48 * found.get((token,), 0) for token in range(3)] == [*parts]
    assert len(draft((0,), 2, random.Random(0))[1]) == 2


def test_half_precision_is_no_fault_where_halves_hold_the_probabilities():
    draft, rule = FAULTS["probabilities in half precision"](lambda _: normalised(2, 1, 1))
    target = by_last((1, 1, 2), (2, 1, 1), (1, 3, 4))
    assert first_tokens(draft, rows_of(target), 1, 2, rule, (0,)) == joint_law(target, (0,), 2)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_seen(name):
    draft = lambda _: normalised(3, 2, 1)  # noqa: E731
    target = lambda prefix: normalised(*((3, 1, 1), (1, 1, 2))[prefix[-1] < 2])  # noqa: E731
    laws = [first_tokens(made[0], rows_of(target), 1, 2, made[1], (0, 1, 0))
            for made in (right(draft), FAULTS[name](draft))]
    away = [total_variation(found, joint_law(target, (0, 1, 0), 2)) for found in laws]
    assert away[0] == 0 < away[1] < 1


@pytest.mark.parametrize(("children", "wrong"), [
    (trees.without_replacement, lambda p, laws: [p] * len(laws)),  # verified as if drawn with replacement
    (trees.largest, lambda p, laws: [p] * len(laws)),  # verified as if drawn (EAGLE issue 221)
    (trees.with_replacement, lambda p, laws: [one_hot(0, 4)] * len(laws)),
])
def test_children_verified_with_another_law_are_seen(children, wrong):
    p, q = normalised(6, 1, 2, 3), normalised(1, 3, 4, 4)

    def program(rng, laws_of):
        tokens, laws = children(p, 2, rng)
        return trees.choose(tokens, laws_of(p, laws), q, rng)[1]

    target = dict(enumerate(q))
    assert total_variation(law(lambda rng: program(rng, lambda _, laws: laws)), target) == 0
    assert total_variation(law(lambda rng: program(rng, wrong)), target) > 0


def test_a_vocabulary_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"^p\[0\] has 152064 tokens and q\[1\] has 151936: expected the same vocab"):
        p, q = np.full(152064, 1 / 152064), np.full(151936, 1 / 151936)
        speculative_sampling([0], [p], [q, q], random.Random(0))


# Lossy on purpose


def one_token(rule, p, q) -> dict:
    out: dict = {}
    for tokens, chance in first_round(lambda _: p, lambda _: q, 1, rule).items():
        out[tokens[0]] = out.get(tokens[0], 0) + chance
    return out


def test_lenience_bounds_what_it_gives_away():
    p, q = normalised(8, 6, 3, 2, 1), normalised(4, 5, 6, 2, 3)
    target, away = dict(enumerate(q)), []
    for lenience in (1, Fraction(4, 5), Fraction(3, 5), HALF):
        out = one_token(lenient(lenience), p, q)
        assert all(chance <= q[x] / lenience for x, chance in out.items())
        away.append(total_variation(out, target))
    assert away[0] == 0 and away == sorted(away) and away[-1] == Fraction(1, 4) == total_variation(
        dict(enumerate(p)), target)
    models = made_up(3, 3), made_up(4, 3)
    assert first_round(*models, 2, lenient(1)) == first_round(*models, 2, speculative_sampling)


def test_typical_acceptance_keeps_what_is_typical():
    q, rule = normalised(6, 3, 1), typical_acceptance(epsilon=0.2)
    for x, expected in ((0, {0: 1}), (1, {1: 1}), (2, dict(enumerate(q)))):
        assert one_token(rule, one_hot(x, 3), q) == expected
    likely, peaked = normalised(12, 5, 3), normalised(8, 2)  # exp(−H) is 0.39 and 0.61
    for row, epsilon, delta, kept in ((likely, 0.2, 0.3, True), (likely, 0.2, 0.4, False), (peaked, 0.09, 0.5, True),
                                      (peaked, 0.21, 0.5, False)):
        last = len(row) - 1
        assert (one_token(typical_acceptance(epsilon, delta), one_hot(last, len(row)), row) == {last: 1}) is kept
    for bad in ({"epsilon": 0}, {"delta": -1}):
        with pytest.raises(ValueError, match="expected a number above 0"):
            typical_acceptance(**bad)


def test_excess_of_lists_and_arrays():
    p, q = [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]
    for scale in (1, 2, Fraction(1, 2)):
        assert excess(np.array(p), np.array(q), scale).tolist() == [float(e) for e in excess(p, q, scale)]
    assert residual(np.array(p), np.array(p)) is residual(p, p) is None


# The loop and its drafts


def test_looking_up():
    text = [1, 2, 3, 4, 1, 2, 5, 6, 3, 1, 2]
    assert looked_up(text, 3) == [5, 6, 3]  # the last earlier "1 2"; "3 1 2" does not occur
    assert looked_up([*text, 3], 9, 2) == [4, 1, 2, 5, 6, 3, 1, 2, 3]
    assert looked_up([7, 7, 7], 2) == [7]
    assert looked_up([1, 2, 3], 4) == looked_up([1], 4) == looked_up([], 4) == []


def test_an_ngram_model_counts():
    text = [0, 1, 0, 1, 0, 2, 0, 1]
    three = ngram(text, 3, 4)
    assert three([1, 0], 2) == pytest.approx(np.array([[1, 0, 0, 0], [0, 1 / 2, 1 / 2, 0]]))  # after 1; after 1 0
    assert three([2, 1], 1) == pytest.approx(np.array([[1, 0, 0, 0]]))  # 2 1 does not occur: after 1
    assert three([3, 3], 1) == pytest.approx(np.array([[4, 3, 1, 0]]) / 8)  # 3 does not occur: how often each does
    assert most_probable(three)([0], 1).tolist() == [[0, 1, 0, 0]]
    greedy = autoregressive(most_probable(three))([1, 0], 3, random.Random(0))
    assert greedy[0] == [1, 0, 1]


def test_rounds_are_cut_where_the_answer_ends():
    rounds = [Round((5, 6), (5, 6, 7)), Round((8,), (9,)), Round((), (1,))]
    assert until(rounds, 4) == ([5, 6, 7, 9], rounds[:2])
    assert until(rounds, 9, end=6) == ([5, 6], rounds[:1])
    with pytest.raises(ValueError, match="expected rounds with at least 9 tokens"):
        until(rounds, 9)
    assert [made.accepted for made in rounds] == [2, 0, 0]
    assert (first_difference([1, 2, 3], [1, 2]), first_difference([1, 2], [1, 3])) == (None, 1)


# Measured lengths


def test_survival_of_the_iid_formula_is_its_sum():
    alpha, gamma = Fraction(4, 5), 8
    lengths = [expected_tokens(alpha, n) for n in range(1, gamma + 1)]
    assert acceptance.survival(lengths) == acceptance.geometric(alpha, gamma)
    mean, variance = acceptance.mean_and_variance(acceptance.length_law(acceptance.geometric(alpha, gamma)))
    counted = {n: alpha**(n - 1) * (1 - alpha) for n in range(1, gamma + 1)} | {gamma + 1: alpha**gamma}
    assert mean == lengths[-1] and variance == sum((n - mean)**2 * chance for n, chance in counted.items())


def test_published_lengths_end_below_the_iid_formula():
    curves = acceptance.acceptance_lengths()
    too_long = [float(expected_tokens(curve[0] - 1, 8) / curve[7]) - 1 for curve in curves.values()]
    assert len(curves) == 6 and all(len(curve) == 8 for curve in curves.values())
    assert (min(too_long), max(too_long)) == (pytest.approx(0.219, abs=5e-4), pytest.approx(1.122, abs=5e-4))


def test_means_that_are_no_law_are_refused():
    with pytest.raises(ValueError, match=r"^survived\[1\] is 1/2: expected at most 1/4"):
        acceptance.length_law([Fraction(1, 4), HALF])
    with pytest.raises(ValueError, match=r"^survived\[0\] is -1/2: expected"):
        acceptance.length_law([-HALF])


@given(st.fractions(0, 1, max_denominator=7), st.integers(1, 6))
def test_the_schedule_of_least_variance(alpha, gamma):
    mean = expected_tokens(alpha, gamma)
    laws = [acceptance.length_law(made) for made in (acceptance.geometric(alpha, gamma),
                                                     acceptance.minimum_variance(mean, gamma))]
    (one, spread), (other, least) = map(acceptance.mean_and_variance, laws)
    part = mean - mean // 1
    assert one == other == mean and least == part * (1 - part) <= spread


def test_passes_of_a_request_against_all_ways_to_make_it():
    lengths = {1: Fraction(1, 4), 3: Fraction(3, 4)}

    def passes(left: int) -> Fraction:
        return 1 + sum(chance * passes(left - n) for n, chance in lengths.items()) if left > 0 else Fraction(0)

    assert [acceptance.expected_passes(lengths, n) for n in range(6)] == [passes(n) for n in range(6)]
    sure = acceptance.length_law(acceptance.minimum_variance(3, 4))
    assert acceptance.expected_passes(sure, 10) == 4


def test_observed_survival_counts_rounds():
    rounds = [Round((1, 2), (1, 2, 3)), Round((1, 2), (5,)), Round((), (4,)), Round((1,), (1, 2))]
    assert runs.observed_survival(rounds, 3) == (HALF, Fraction(1, 4), 0)
    with pytest.raises(ValueError, match="expected at least one round"):
        runs.observed_survival([], 3)


@given(st.fractions(0, Fraction(8, 9), max_denominator=9), st.fractions(0, 1, max_denominator=9))
def test_the_best_length_of_the_iid_formula(alpha, c):
    lengths = [expected_tokens(alpha, gamma) for gamma in range(1, 9)]
    assert acceptance.best_length(lengths, c, lambda _: 1) == best_gamma(alpha, c, largest=8)
    assert acceptance.improvements(lengths, c, lambda _: 2)[3] == walltime_improvement(alpha, 3, c, 2)


# Costs


def test_batch_costs_make_the_batch_improvement():
    sizes = llama2_13b_config(B=96, S=1024), llama2_13b_config(B=96, S=1024, L=2)
    c, check = batch_costs(3, *sizes)
    assert check > 1 > c > 0
    assert batch_improvement(0.8, 3, *sizes) == round_improvement(expected_tokens(0.8, 3), 3, c, check)


def test_a_draft_with_part_of_the_cache_pays_from_some_context_on():
    def sizes(batch, **context):
        return {key: size for key, size in llama2_13b_config(B=batch, K=8, **context).items() if context or key != S}

    found = {batch: costs.crossing_context(Fraction(4, 5), 3, sizes(batch), 512) for batch in (8, 64, 256)}
    assert found[8] > found[64] > found[256] > 512
    for context, pays in ((found[64], True), (found[64] - 1, False)):
        gain = batch_improvement(Fraction(4, 5), 3, sizes(64, S=context), sizes(64, S=512))
        assert bool(gain > 1) is pays
    assert costs.crossing_context(0, 3, sizes(8), 512) is None


# Figures


def test_survival_is_drawn_as_given():
    ax = plots.survival_plot({"a": [0.9, 0.5, -0.1], "b": [0.5]}, {"a": [0.9, 0.81, 0.729]})
    drawn = [line.get_ydata().tolist() for line in ax.lines[:3]]
    assert drawn == [[0.9, 0.5, -0.1], [0.9, 0.81, 0.729], [0.5]]
    assert ax.lines[0].get_color() == ax.lines[1].get_color() != ax.lines[2].get_color()
    plt.close("all")


def test_speedups_measured_and_predicted_share_a_colour():
    ax = plots.speedup_plot([2, 4], {"a": ([1.5, 1.7], [1.6, 1.8])})
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[1.5, 1.7], [1.6, 1.8]]
    assert ax.lines[0].get_color() == ax.lines[1].get_color()
    plt.close("all")


def test_a_drawn_tree_tells_what_became_of_every_child():
    tree = trees.Node((0, 1), (HALF, HALF), (trees.Node((2,), (HALF,), (trees.Node(),)),
                                             trees.Node((3, 4), (HALF, HALF), (trees.Node(), trees.Node()))))
    ax = plots.tree_diagram(tree, [1, 5], list("abcdef"))
    colors = {text.get_text(): text.get_bbox_patch().get_edgecolor()[:3] for text in ax.texts}
    wanted = {"a": plots.REJECTED, "b": plots.ACCEPTED, "c": plots.DISCARDED, "d": plots.REJECTED,
              "e": plots.REJECTED, "f": plots.BONUS}
    assert tree.size == 5 and {word: plt.matplotlib.colors.to_rgb(color) for word, color in wanted.items()}.items() \
        <= colors.items()
    plt.close("all")
