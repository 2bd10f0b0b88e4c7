"""The book's engine behind the scheduler: the same tokens under every schedule, and the counts that were predicted."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from lecture10.engine.counted import Tally, counted
from lecture10.engine.decoder import Engine, generate
from lecture10.engine.machine import step_cost
from lecture10.engine.products import product
from lecture10.engine.weights import load_weights
from lecture10.serving.blocks import Blocks
from lecture10.serving.paged import PagedCache, Server, mixed_step
from lecture10.serving.scheduler import chunked, continuous, longest_prefix, prefill_first, static

TEXT = ("The quick brown fox jumps over the lazy dog and runs along the river until the evening, when all the animals "
        "of the forest meet to tell each other what they have seen on their way through the world.")


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Two layers of the book's model, one that hands over to the other, and the first tokens of its vocabulary."""
    weights = load_weights()
    return Engine(replace(weights, shape=replace(weights.shape, L=2, V=2048), layers=weights.layers[:2],
                          embedding=weights.embedding[:2048]))


@pytest.fixture(scope="module")
def requests(engine: Engine) -> list[tuple[float, list[int], int]]:
    words = [token % engine.shape.V for token in engine.weights.tokenizer.encode(TEXT).ids]
    return [(0.0, words[:33], 9), (0.0, words[5:12], 12), (0.0, words[:32], 7), (0.0, words[:20], 9)]


@pytest.fixture(scope="module")
def alone(engine: Engine, requests: list) -> list[list[int]]:
    """Each request on its own, through the plain cache."""
    return [[int(token[0]) for token in generate(engine, [prompt], output)] for _, prompt, output in requests]


CASES = [(static, 99, 40, False, False), (continuous, 99, 40, False, False), (prefill_first, 16, 40, False, False),
         (chunked, 7, 40, False, False), (chunked, 7, 40, False, True), (longest_prefix, 16, 40, False, True),
         (chunked, 20, 11, False, False), (chunked, 20, 11, True, False), (chunked, 5, 11, False, True)]


@pytest.mark.parametrize(("policy", "budget", "blocks", "swap", "sharing"), CASES)
def test_every_schedule_gives_the_tokens_of_the_plain_engine(engine, requests, alone, policy, budget, blocks, swap,
                                                             sharing):
    server = Server(engine, requests, max_sequences=3, token_budget=budget, blocks=blocks, block_size=4, policy=policy,
                    swap=swap, sharing=sharing)
    run = server.run()
    assert server.outputs == alone
    assert (run.preempted > 0) == (blocks == 11) and (run.cached > 0) == sharing
    assert run.steps.tokens.sum() == sum(new for step in server.log for new, _ in step)


def test_a_server_skips_the_time_without_requests_and_refuses_texts_beyond_the_model(engine):
    small = Engine(replace(engine.weights, shape=replace(engine.shape, context_length=8)))
    limits = {"max_sequences": 2, "token_budget": 9, "blocks": 2}
    server = Server(small, [(0, [1, 2, 3], 5), (100, [4], 1)], **limits)
    run = server.run(count().__next__)  # every look at the clock takes a second
    assert run.scheduled.tolist() == [1, 100] and run.first.tolist() == [2, 101] and run.last.tolist() == [10, 101]
    assert server.cache.size == 16 and [len(tokens) for tokens in server.outputs] == [5, 1]
    with pytest.raises(ValueError, match=r"^requests\[0\] is \(3, 6\): expected at most 8 tokens$"):
        Server(small, [(0, [1, 2, 3], 6)], **limits)


def test_two_samples_of_a_prompt_share_its_blocks_and_do_not_disturb_each_other(engine, requests):
    prompt, cache, blocks = requests[0][1], PagedCache(engine.shape, 8, 16), Blocks(8, 16, sharing=False)
    new = blocks.admit("a", len(prompt), len(prompt), str)
    first = mixed_step(engine, cache, [(prompt, 0, blocks.tables["a"])])[0]
    blocks.fill("a", new, str)
    blocks.fork("a", "b")
    texts = {"a": [*prompt, int(first.argmax())], "b": [*prompt, int(first.argsort()[-2])]}
    for _ in range(4):
        for name, text in texts.items():
            for source, target in blocks.grow(name, len(text)):
                cache.restore([target], cache.contents([source]))
        parts = [(text[-1:], len(text) - 1, blocks.tables[name]) for name, text in texts.items()]
        for (name, text), scores in zip(texts.items(), mixed_step(engine, cache, parts)):
            blocks.fill(name, 1, str)
            text.append(int(scores.argmax()))
    for text in texts.values():
        start = len(prompt) + 1
        assert text[start:] == [int(token[0]) for token in generate(engine, [text[:start]], 4)]
    assert blocks.used == 2 * 3 - 2


def test_several_threads_give_what_one_gives(engine, requests, three_threads):
    (_, prompt, _), (_, other, _), *_ = requests
    found = []
    for one in (engine, Engine(engine.weights, lambda x, w: product(x, w))):  # only the engine's own product is shared
        cache, table = PagedCache(engine.shape, 8, 16), [5, 0, 3]
        mixed_step(one, cache, [(prompt[:6], 0, table), (other, 0, [7])])
        found.append(mixed_step(one, cache, [(prompt[6:], 6, table), (other[:1], len(other), [7])]))
    np.testing.assert_allclose(*found, atol=1e-3)


@pytest.mark.parametrize("parts", [[(1, 8)] * 3, [(1, 40), (1, 9), (70, 70)], [(9, 30), (1, 5), (65, 130)], [(33, 33)]])
def test_flops_and_bytes_of_a_mixed_step_are_those_predicted(engine, parts):
    tally, weights = Tally(), engine.weights
    arrays = replace(weights.map(lambda w: counted(w, tally)), embedding=counted(weights.embedding, tally))
    cache, read = PagedCache(engine.shape, 64, 8), []
    gather = cache.read
    cache.read = lambda layer, tables: read.append(tables) or gather(layer, tables)
    tables = np.arange(63).reshape(3, -1) if len(parts) == 3 else np.arange(64)[None]
    step = [(np.zeros(new, int), context - new, table.tolist()) for (new, context), table in zip(parts, tables)]
    mixed_step(Engine(arrays, lambda x, w: product(x, w)), cache, step)
    cost = step_cost(engine.shape, parts)
    assert tally.flops == cost.flops
    gathered = sum(tables.size * cache.size for tables in read) * 2 * engine.shape.K * engine.shape.H * 4
    exact = int(cost.only("attention").bytes_transferred)
    assert exact <= gathered < exact + len(read) * 3 * 8 * 2 * engine.shape.K * engine.shape.H * 4
