"""The engine agrees with independent implementations and with itself, counts what the formulas say, and refuses bad
input."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lecture10.engine.attention
import lecture10.engine.decoder
import lecture10.engine.products
import lecture10.engine.threads
from lecture10 import causal_pairs
from lecture10.engine.attention import QUERY_BLOCK
from lecture10.engine.counted import count_forward
from lecture10.engine.decoder import MANY_ROWS, Engine, generate, greedy, prefill, sampler
from lecture10.engine.kv_cache import KVCache
from lecture10.engine.machine import FLOAT32, pairs_in_blocks, pass_cost, transformer
from lecture10.engine.products import block_size, product
from lecture10.engine.threads import equal_shares, helpers, shares, spread
from lecture10.engine.weights import load_weights

REFERENCE = np.load(Path(__file__).parent / "data" / "engine_reference.npz")
TEXT = np.concatenate([REFERENCE[f"ids_{i}"] for i in range(len(REFERENCE["prompts"]))])
WORDS, RENUMBERED = np.unique(TEXT, return_inverse=True)
TOLERANCE = 2e-4  # logits are of order 10, so this is float32 accuracy after 30 layers


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_weights())


@pytest.fixture(scope="module")
def shallow(engine: Engine) -> Engine:
    """The first three layers, and of the vocabulary the words of the reference texts, numbered anew: enough where one
    layer hands over to the next as every other does."""
    weights = engine.weights
    return Engine(replace(weights, shape=replace(weights.shape, L=3, V=len(WORDS)), layers=weights.layers[:3],
                          embedding=weights.embedding[WORDS]))


def logits(engine: Engine, tokens: object, count: int = 1) -> np.ndarray:
    tokens = np.atleast_2d(tokens)
    return engine.forward(tokens, KVCache.empty(engine.shape, len(tokens), tokens.shape[1]), count)


def some_tokens(*dims: int, of: np.ndarray = RENUMBERED) -> np.ndarray:
    """Real text, for ``shallow``: random tokens drive the model where the rounding of float32 alone moves logits by
    0.001."""
    return np.resize(of, dims)


@pytest.mark.parametrize("i", range(len(REFERENCE["prompts"])))
def test_logits_agree_with_an_independent_implementation(engine: Engine, i: int) -> None:
    ids = engine.weights.tokenizer.encode(str(REFERENCE["prompts"][i])).ids
    assert ids == REFERENCE[f"ids_{i}"].tolist()
    ours = logits(engine, ids)[0, 0]
    np.testing.assert_allclose(ours[::REFERENCE["step"]], REFERENCE[f"logits_{i}"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ours[REFERENCE[f"best_{i}"]], REFERENCE[f"best_logits_{i}"], rtol=0, atol=TOLERANCE)
    assert ours.argmax() == REFERENCE[f"best_{i}"][0]


@pytest.mark.parametrize(("model", "chunks"), [("shallow", [1] * 12), ("engine", [5, 7]), ("shallow", [1, 10, 1]),
                                               ("shallow", [70, 3, 64])])
def test_cached_and_chunked_passes_equal_the_whole(request: pytest.FixtureRequest, model: str,
                                                   chunks: list[int]) -> None:
    engine = request.getfixturevalue(model)
    tokens = some_tokens(1, sum(chunks), of=TEXT if model == "engine" else RENUMBERED)
    whole, cache = logits(engine, tokens, tokens.shape[1]), KVCache.empty(engine.shape, 1, sum(chunks))
    parts = [engine.forward(part, cache, part.shape[1]) for part in np.split(tokens, np.cumsum(chunks)[:-1], axis=1)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=TOLERANCE)


def test_sequences_of_different_lengths_in_a_batch_equal_each_alone(shallow: Engine) -> None:
    prompts, following = [some_tokens(n) for n in (3, 80, 1)], some_tokens(3, 2)
    cache = KVCache.empty(shallow.shape, 3, 90)
    for b, prompt in enumerate(prompts):
        prefill(shallow, prompt, cache.rows(slice(b, b + 1)))
    together = shallow.forward(following, cache, 2)
    alone = [logits(shallow, [*prompt, *new], 2) for prompt, new in zip(prompts, following)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=0, atol=TOLERANCE)
    assert cache.lengths.tolist() == [5, 82, 3]


def test_greedy_text_in_a_batch(engine: Engine) -> None:
    """The notebook has the first answer alone, to the whole of the template."""
    tokenizer = engine.weights.tokenizer
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    prompts = [tokenizer.encode(text).ids for text in (question, "def add(a, b):\n    return")]
    steps = np.array(list(generate(engine, prompts, 9)))
    assert tokenizer.decode(steps[:, 0].tolist()) == "The capital of France is Paris."
    assert tokenizer.decode(steps[:, 1].tolist()).startswith(" a + b")
    ended = steps[:, 0].tolist().index(engine.weights.eos)
    assert len(steps[ended:]) > 1 and (steps[ended:, 0] == engine.weights.eos).all()


@pytest.mark.parametrize(("batch", "tokens", "context", "count"),
                         [(1, 1, 1, 1), (1, 1, 50, 1), (3, 1, 50, 1), (2, 5, 40, 5), (1, 8, 8, 1), (1, 150, 160, 1)])
def test_products_are_counted_as_the_formula_says(shallow: Engine, batch: int, tokens: int, context: int,
                                                  count: int) -> None:
    tally, cache = count_forward(shallow.weights, np.zeros((batch, tokens), int), context, count)
    formula = pass_cost(shallow.shape, batch, tokens, context, count)
    assert tally.flops == formula.flops
    assert cache.keys.nbytes + cache.values.nbytes == formula.only("attention").bytes_transferred


def test_prefill_skips_what_whole_blocks_of_queries_must_not_see() -> None:
    assert pairs_in_blocks(3 * QUERY_BLOCK, 3 * QUERY_BLOCK) == (1 + 2 + 3) * QUERY_BLOCK**2
    assert causal_pairs(700, 300) < pairs_in_blocks(700, 300) < 300 * 700


def test_arrays_hold_what_the_description_of_the_model_says(engine: Engine) -> None:
    weights, model = engine.weights, transformer(engine.shape)
    counted = sum(w.size for w in weights.matrices()) + weights.norm.size
    counted += sum(layer.attention_norm.size + layer.mlp_norm.size for layer in weights.layers)
    assert counted == model.num_params == 134_515_008
    looked_up = FLOAT32 * engine.shape.D
    assert (pass_cost(engine.shape, 1, 1, 1).without("attention").bytes_transferred
            == model.weight_bytes(FLOAT32) + looked_up)
    assert KVCache.empty(engine.shape, 1, 7).bytes_per_token == FLOAT32 * model.kv_cache_elements(1)


def test_outputs_are_cut_into_the_largest_equal_blocks() -> None:
    for outputs, most in itertools.product(range(1, 40), range(50)):
        size, longer = block_size(outputs, most), range(block_size(outputs, most) + 1, most + 1)
        assert outputs % size == 0 and size <= max(most, 1)
        assert not any(outputs % other == 0 for other in longer if other <= outputs)


@pytest.mark.parametrize("dims", [(576, 1536), (3072, 576), (101, 64)])
@pytest.mark.parametrize("rows", [1, 2, 8, 31, 32, 80])
def test_product_is_the_same_however_it_is_cut(rows: int, dims: tuple[int, int],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((rows, dims[1]), dtype=np.float32), rng.standard_normal(dims, dtype=np.float32)
    expected = x.astype(float) @ w.T.astype(float)
    for few, vectors in ((1, 0), (100, 0), (100, 99)):  # packed, small products, vectors
        monkeypatch.setattr(lecture10.engine.products, "FEW_ROWS", few)
        monkeypatch.setattr(lecture10.engine.products, "AS_VECTORS", vectors)
        for stored in (w, np.asfortranarray(w)):
            np.testing.assert_allclose(product(x, stored), expected, atol=1e-3)


@pytest.mark.parametrize(("batch", "tokens", "many"), [
    (1, 5, MANY_ROWS), (4, 1, MANY_ROWS), (1, 3 * MANY_ROWS + 7, MANY_ROWS), (2, 2 * 16, 16), (5, 16, 16)])
def test_several_threads_give_what_one_gives(shallow: Engine, three_threads: None, monkeypatch: pytest.MonkeyPatch,
                                             batch: int, tokens: int, many: int) -> None:
    weights = shallow.weights
    monkeypatch.setattr(lecture10.engine.decoder, "MANY_ROWS", many)
    monkeypatch.setattr(lecture10.engine.attention, "SHARED_SCORES", 0)
    monkeypatch.setattr(lecture10.engine.products, "SHARED_PRODUCT", 0)
    new, before = some_tokens(batch, tokens), range(3, 3 + batch)  # the sequences have different lengths
    results = []
    for multiply in (product, lambda x, w: product(x, w)):  # only the engine's own product is shared
        cache, engine = KVCache.empty(weights.shape, batch, tokens + 10), Engine(weights, multiply)
        for b, length in enumerate(before):
            prefill(engine, some_tokens(length), cache.rows(slice(b, b + 1)))
        results.append(engine.forward(new, cache, min(tokens, 9)))
        assert cache.lengths.tolist() == [length + tokens for length in before]
    np.testing.assert_allclose(*results, rtol=0, atol=TOLERANCE)


def test_a_thread_that_fails_keeps_nobody_waiting(shallow: Engine, three_threads: None,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lecture10.engine.decoder, "MANY_ROWS", 16)
    class Full(KVCache):
        def write(self, layer: int, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if layer == 1 and self.lengths[0] == 0:
                raise MemoryError("the first positions")
            return super().write(layer, k, v)

    cache = Full.empty(shallow.shape, 1, 4 * 16)
    with pytest.raises(MemoryError, match="the first positions"):
        shallow.forward(some_tokens(1, 4 * 16), cache)
    assert cache.lengths.tolist() == [0]
    assert not lecture10.engine.threads.has_helpers()


def test_work_is_spread_in_order_and_its_error_is_raised(three_threads: None) -> None:
    with helpers(True):
        names = spread(lambda i: (i, threading.current_thread().name), range(20))
        nested = spread(lambda i: spread(lambda j: (i, j), [1, 2]), [1, 2])
        with pytest.raises(ZeroDivisionError):
            spread(lambda i: 1 // i, [2, 1, 0])
    assert [i for i, _ in names] == list(range(20))
    assert nested == [[(1, 1), (1, 2)], [(2, 1), (2, 2)]]
    assert equal_shares(7) == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert equal_shares(2) == [slice(0, 1), slice(1, 2)]
    assert shares(np.array([5, 1, 1, 1, 1, 6])) == [slice(0, 1), slice(1, 5), slice(5, 6)]


def test_sampler_follows_temperature_and_top_p() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    draw = sampler(seed=1)
    counts = np.bincount(draw(np.tile(np.log(p), (40_000, 1))), minlength=4)
    assert (((counts - 40_000 * p) ** 2) / (40_000 * p)).sum() < 25  # chi-squared, 3 degrees of freedom: 2e-5
    assert set(sampler(1, top_p=0.6)(np.tile(np.log(p), (1000, 1)))) == {0, 1}
    assert set(sampler(1, top_p=0.4)(np.tile(np.log(p), (100, 1)))) == {0}
    squared = np.bincount(sampler(2, temperature=0.5)(np.tile(np.log(p), (40_000, 1))), minlength=4) / 40_000
    np.testing.assert_allclose(squared, p**2 / (p**2).sum(), atol=0.01)
    rows = np.log(np.random.default_rng(0).dirichlet(np.ones(50), 20))
    assert sampler(3)(rows).tolist() == sampler(3)(rows).tolist()
    assert sampler(3, temperature=1e-6)(rows).tolist() == greedy(rows).tolist()


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_sampler_refuses_a_temperature_that_is_not_above_zero(value: float) -> None:
    with pytest.raises(ValueError, match=r"temperature is .*above 0.*greedy"):
        sampler(0, temperature=value)


def test_bad_input_is_named(engine: Engine) -> None:
    cache, context = KVCache.empty(engine.shape, 1, 4), engine.shape.context_length
    for bad, message in (([[1] * 5], "5 new ones: expected at most 4"), ([[]], "at least one token"),
                         ([1], r"\[B, T\]"), ([[-1]], "integers below 49152"), ([[49152]], "integers below 49152"),
                         ([[0.5]], "integers"), ([[1], [2]], "same batch")):
        with pytest.raises(ValueError, match=message):
            engine.forward(bad, cache)
    with pytest.raises(ValueError, match="logits is 2: expected 1 to 1"):
        engine.forward([[1]], cache, logits=2)
    assert cache.lengths.tolist() == [0]
    with pytest.raises(ValueError, match="empty prompt"):
        next(generate(engine, [[1], []], 3))
    with pytest.raises(ValueError, match=f"at most {context} together, the model's context length"):
        next(generate(engine, [[1] * context], 1))
    with pytest.raises(ValueError, match="max_tokens=0"):
        next(generate(engine, [[1]], 0))
    filled = KVCache.empty(engine.shape, 1, 9)
    filled.lengths += 2
    for given, message in ((filled, "1 sequences that holds 2 of 9"), (cache, "holds 0 of 4"),
                           (KVCache.empty(engine.shape, 2, 5), "a cache of 2 sequences")):
        with pytest.raises(ValueError, match=f"{message}.*: expected an empty one of 1 sequences with room for 5$"):
            next(generate(engine, [[1, 2]], 3, cache=given))
    with pytest.raises(ValueError, match=f"1 to {context}, the model's context length"):
        KVCache.empty(engine.shape, 1, context + 1)
    with pytest.raises(ValueError, match="top_p is 0"):
        sampler(0, top_p=0)
