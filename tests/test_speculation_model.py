"""Speculation on the book's language model: rewound caches, greedy text token for token, laws at real prefixes."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lecture10 import output_distribution, speculative_sampling
from lecture10.engine.decoder import Engine, chat, generate, greedy, probabilities, sampler
from lecture10.engine.kv_cache import KVCache
from lecture10.engine.weights import load_weights
from lecture10.speculation.drafts import autoregressive, first_layers, prompt_lookup, prompts
from lecture10.speculation.faults import Forgetful
from lecture10.speculation.law import joint_law, total_variation
from lecture10.speculation.loop import Reader, Round, certain, first_difference, greedy_rows, margins, speculate, until
from lecture10.speculation.proofs import first_tokens, over_words, two_token_distance
from lecture10.speculation.rules import block_verification
from lecture10.speculation.runs import generated, passes_seconds, replayed

CLOSE = 1e-3
"""Logits that lie closer may change places between passes over 1 and over γ + 1 tokens: float32 moves each by up to
2e-4 (tests/test_engine.py), so a difference of two by 4e-4."""

LAW_TOLERANCE = 2e-3
"""How far probabilities may move with the logits: ½·Σ|Δq| ≤ e^(2·4e-4) − 1 a token at temperature 1, two tokens."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_weights())


@pytest.fixture(scope="module")
def texts(engine: Engine) -> dict[str, list[list[int]]]:
    encode = engine.weights.tokenizer.encode
    return {kind: [encode(chat(text)).ids for text in some] for kind, some in prompts().items()}


@pytest.fixture(scope="module")
def words(engine: Engine, texts: dict) -> list[int]:
    """Of the vocabulary what the prompts use: with all of it, two layers are a small part of the model."""
    return sorted({engine.weights.eos}.union(*itertools.chain(*texts.values())))


@pytest.fixture(scope="module")
def shallow(engine: Engine, words: list[int]) -> Engine:
    weights = first_layers(engine.weights, 2)
    return Engine(replace(weights, shape=replace(weights.shape, V=len(words)), embedding=weights.embedding[words],
                          eos=words.index(weights.eos)))


@pytest.fixture(scope="module")
def encoded(texts: dict, words: list[int]) -> dict[str, list[list[int]]]:
    """The prompts in those words, numbered anew."""
    return {kind: [[words.index(token) for token in text] for text in some] for kind, some in texts.items()}


def fresh(engine: Engine, tokens: list[int], count: int) -> np.ndarray:
    return engine.forward([tokens], KVCache.empty(engine.shape, 1, len(tokens)), count)[0]


class NeverRewound(Reader):
    """Takes what was rejected for what is there now."""

    def _kept(self, tokens, most):
        return min(most, len(self.read))


@pytest.mark.parametrize(("kind", "right"), [(Reader, True), (NeverRewound, False)])
def test_what_was_rejected_is_rewound(shallow, kind, right):
    text, rng, off = [5, 9, 7, 3, 11, 2, 8], random.Random(0), []
    reader = kind(shallow, 64, lambda logits: logits)
    for _ in range(8):
        text = [*text[:rng.randrange(3, len(text))], *(rng.randrange(100) for _ in range(rng.randrange(1, 6)))]
        count = rng.randrange(1, 4)
        off.append(np.abs(reader(text, count) - fresh(shallow, text, count)).max())
    assert bool(max(off) < CLOSE) is right and sum(reader.passes) < 8 * 20


def test_a_forgetful_reader_appends_to_what_was_rejected(shallow):
    reader = Forgetful(shallow, 64, lambda logits: logits)
    for tokens, count, seen in (([5, 9, 7], 1, [5, 9, 7]), ([5, 9, 2, 8], 2, [5, 9, 7, 2, 8])):
        assert np.abs(reader(tokens, count) - fresh(shallow, seen, count)).max() < CLOSE
    assert reader.passes == [3, 2]


def test_two_tokens_of_the_loop_are_two_of_the_target_up_to_rounding(shallow):
    shapes = set()

    def law(logits):
        shapes.add(logits.shape)
        return probabilities(logits, 1.0)

    draft, target = (Reader(shallow, 64, law) for _ in range(2))
    assert two_token_distance(draft, target, [5, 9, 7], law) < LAW_TOLERANCE
    assert shapes == {(1, 3), (2, 3)}  # γ = 1, three words


def test_a_pass_reads_the_draft_and_one_token(shallow):
    rng, target = random.Random(0), Reader(shallow, 64, greedy_rows)
    rounds = speculate([1, 2, 3, 4], autoregressive(Reader(shallow, 64, greedy_rows)), target, 3, rng)
    tokens, used = until(rounds, 12)
    assert [made.accepted for made in used] == [3, 3, 3]  # a draft that is the target is always right
    assert target.passes == [4 + 3, 4, 4] and len(tokens) == 12
    plain, used = until(speculate([1, 2, 3, 4], prompt_lookup(shallow.shape.V), target, 0, rng), 4)  # without a draft
    assert plain == tokens[:4] and [made.drafted for made in used] == [()] * 4 and target.passes[3:] == [1] * 4


def test_a_reader_goes_on_where_a_cache_was_filled(shallow):
    text, cache = [5, 9, 7, 3, 11], KVCache.empty(shallow.shape, 2, 9)
    texts = np.array([*generate(shallow, [text, [8, 2]], 3, cache=cache)]).T.tolist()
    assert texts[0] == [int(token[0]) for token in generate(shallow, [text], 3)]
    reader = Reader(shallow, cache.rows(slice(1)), greedy_rows, text)  # what was generated after it is not believed
    assert reader.has_read(text) and reader.has_read(text[:2]) and not reader.has_read([*text, texts[0][0]])
    np.testing.assert_allclose(reader.logits([*text, 2], 2), fresh(shallow, [*text, 2], 2), rtol=0, atol=CLOSE)
    assert reader.passes == [2] and reader.has_read([*text, 2]) and not reader.has_read([*text, 3])
    assert generated(reader, text, prompt_lookup(shallow.shape.V), 2, 3).tokens == texts[0]
    assert len(reader.passes) == 4  # the prompt is not read again
    with pytest.raises(ValueError, match=r"^room is .*: expected a cache of one sequence, not of 2$"):
        Reader(shallow, cache, greedy_rows)
    with pytest.raises(ValueError, match=r"^read is .*: expected at most 4 tokens, which the cache holds$"):
        Reader(shallow, cache.rows(slice(1, 2)), greedy_rows, text + text)


def test_greedy_text_is_plain_decodings_token_for_token(shallow, encoded):
    """On two layers; the notebook does it with the whole model, nine prompts."""
    engine, prompt, length = shallow, encoded["code editing"][2], 24
    seen: list[float] = []

    def choose(logits):
        seen.extend(margins(logits))
        return greedy(logits)

    plain = [int(token[0]) for token in generate(engine, [prompt], length, choose)]
    draft = prompt_lookup(engine.shape.V)
    target = Reader(engine, len(prompt) + length + 9, greedy_rows)
    run = generated(target, prompt, draft, 8, length)
    sure = next((n for n, margin in enumerate(seen) if margin < CLOSE), length)
    assert first_difference(plain[:sure], run.tokens[:sure]) is None and len(run.tokens) == length
    assert len(run.rounds) == len(run.passes) < length and run.tokens_per_pass == length / len(run.passes)
    if sure == length:
        assert replayed(prompt, plain, draft, 8, engine.shape.V) == run.rounds
    again = generated(target, prompt, draft, 8, length)  # the prompt is not read again, and what came after it is gone
    assert (again.tokens, again.passes) == (run.tokens, run.passes) and target.passes[0] == len(prompt) - 1


def test_passes_are_read_off_the_curve():
    rounds = [Round((), (1,)), Round((1, 2), (1, 5)), Round((1, 2, 3), (7,))]
    assert passes_seconds({1: 1.0, 2: 2.0, 4: 6.0}, rounds) == 1 + 4 + 6
    with pytest.raises(ValueError, match="expected the seconds of passes over 1 to 4 tokens"):
        passes_seconds({1: 1.0, 3: 2.0}, rounds)


def test_the_margin_is_between_the_two_largest():
    logits = np.array([[1.0, 5.0, 4.5], [2.0, 2.0, 1.0]], np.float32)
    assert margins(logits).tolist() == [0.5, 0.0]
    assert certain([1, 0], 3).tolist() == [[0, 1, 0], [1, 0, 0]] == greedy_rows(logits).tolist()


# Temperature and top-p


def by_sorting(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    p = np.exp(logits.astype(float) / temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    before = p[order].cumsum() - p[order]
    p[order[before >= top_p]] = 0
    return p / p.sum()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.5, 0.5), (0.5, 1e-9)])
def test_top_p_is_the_smallest_set_that_reaches_it(temperature, top_p):
    logits = np.random.default_rng(0).normal(size=(3, 2000)).astype(np.float32) * 3
    found = probabilities(logits, temperature, top_p)
    for row, scores in zip(found, logits):
        np.testing.assert_allclose(row, by_sorting(scores, temperature, top_p), rtol=1e-9, atol=0)
    drawn = sampler(1, temperature, top_p)(logits)
    assert all(found[np.arange(3), drawn] > 0)


@pytest.mark.parametrize("i", [2, 1, 0])
def test_two_tokens_at_a_real_prefix_have_the_targets_law(shallow, encoded, i):
    """Over the three words that the target finds most probable: every path of the loop, in rationals. On two layers;
    the notebook does it with the whole model."""
    prompt = encoded["chat"][i]
    early, whole = (Reader(Engine(first_layers(shallow.weights, layers)), 64, greedy_rows) for layers in (1, 2))
    words = np.argsort(-whole.logits(prompt, 1)[0])[:3].tolist()
    filtered = partial(probabilities, temperature=2, top_p=0.95)
    draft, target, unfiltered = (over_words(reader, prompt, words, rows) for reader, rows in (
        (early, filtered), (whole, filtered), (whole, probabilities)))
    alone, other = (joint_law(lambda tokens, model=model: model(tokens, 1)[0], (), 2) for model in (target, unfiltered))
    for rule in (speculative_sampling, block_verification):
        made = first_tokens(autoregressive(draft), target, 1, 2, rule)
        assert sum(made.values()) == 1
        assert total_variation(made, alone) < LAW_TOLERANCE < total_variation(made, other)


def test_one_token_over_the_whole_vocabulary(engine, texts):
    prompt = texts["chat"][2]
    p, q = (probabilities(fresh(Engine(first_layers(engine.weights, layers)), prompt, 1), 0.8, 0.9)[0]
            for layers in (1, 2))
    kept = np.flatnonzero(p + q)
    out = output_distribution(p[kept].tolist(), q[kept].tolist())
    np.testing.assert_allclose(out, q[kept], rtol=0, atol=1e-12)


def test_bad_calls_of_a_reader(engine, shallow):
    with pytest.raises(ValueError, match=r"^count is 3: expected at most 2, the tokens of the text"):
        Reader(shallow, 8, greedy_rows)([1, 2], 3)
    with pytest.raises(ValueError, match=r"^count is 31: expected at most 30, the layers"):
        first_layers(engine.weights, 31)
    with pytest.raises(ValueError, match=r"^tokens is 9: expected"):
        certain([9], 9)
