"""Blocks and schedulers on all small cases: every rule holds, and every published fault, planted, breaks one."""

from __future__ import annotations

from itertools import product

import pytest

from lecture10.serving.blocks import Blocks, content_keys
from lecture10.serving.queues import first_fault, small_queues
from lecture10.serving.scheduler import Scheduler, chunked, continuous, longest_prefix, prefill_first, static
from lecture10.serving.traces import Cache, World, explore, following

FULL, LONGER, OTHER = (0, 0, 0, 0), (0, 0, 0, 0, 0), (1, 0)
CASES = (((FULL, FULL), 3, 5), ((FULL, OTHER), 3, 5), ((LONGER, FULL, OTHER), 4, 4))
PROMPTS = ((0,), FULL, (0, 0, 1))


def test_every_rule_holds_in_every_short_history_of_three():  # of two, one action longer: in the notebook
    prompts, total, depth = CASES[-1]
    proof = explore(prompts, total, depth=depth)
    assert (proof.fault, proof.history) == (None, ())
    assert proof.states > 1000 and proof.actions > 2500


def test_the_toy_model_sees_every_token_before_its_own():
    for tokens in product((0, 1), repeat=5):
        assert {following((*tokens[:i], 1 - tokens[i], *tokens[i + 1:])) for i in range(5)} == {1 - following(tokens)}


def test_everybody_comes_with_its_own_prompt_and_samples_differ():
    world = World(Cache(Blocks(6, 2)), {}, (FULL, OTHER))
    for action in (("admit", 0), ("admit", 1), ("fork", 0), ("step", 0), ("step", 2)):
        world.act(*action)
    assert world.tokens[1] == OTHER and world.tokens[0][:-1] == world.tokens[2][:-1] == FULL
    assert world.tokens[0] != world.tokens[2]


def test_small_queues_fit_and_come_in_order():
    queues = list(small_queues(((1,),), (1, 4), 2, blocks=(1, 2), budgets=(3,), swap=(False,)))
    needs = [(queue.blocks, max(output for _, output, _ in queue.requests)) for queue in queues]
    assert {*needs} == {(1, 1), (2, 1), (2, 4)} and len(queues) == 3 + 3 * 4  # (0, 0), (0, 1), (1, 1): when they come


@pytest.mark.parametrize("policy", [chunked, continuous, static, prefill_first, longest_prefix])
def test_every_small_queue_gets_what_each_of_its_requests_would_get_alone(policy):
    served, queue, fault = first_fault(small_queues(PROMPTS, (1, 3), 2, blocks=(3,), budgets=(1, 3)), policy)
    assert (queue, fault) == (None, None) and served == 432


def test_three_requests_that_crowd_each_other_out():
    served, queue, fault = first_fault(small_queues((FULL, (1,)), (3,), 3, blocks=(3,), budgets=(3,)))
    assert (queue, fault) == (None, None) and served == 64


# The published faults (issues and pull requests of nano-vllm, vLLM, SGLang, mini-sglang, mllm), one kind each: what was
# done, and after FOUND_BY the rule of the machine that it breaks first.


class CountsBeforeLookingUp(Scheduler):  # nano-vllm pulls 207, 211, 233
    """The tokens to compute are fixed before the look-up and not lessened by what it finds."""

    def _admit(self, number, most, step):
        return most if super()._admit(number, most, step) is not None else None


class FullyCachedComputesNothing(Blocks):  # nano-vllm issues 114, 144
    """A prompt that is cached to its end has nothing left to compute."""

    def found(self, tokens, key):
        return super().found(tokens + 1, key)


class OutputMeansGenerating(Scheduler):  # nano-vllm issue 144
    """Who has output is taken for generating, though it was preempted and must be read again."""

    def _admit(self, number, most, step):
        new = super()._admit(number, most, step)
        if new is not None and self.jobs.generated[number]:
            self.jobs.computed[number] += new - 1
            return 1
        return new


class KeepsTheKeyOfAnEvictedBlock(Blocks):  # vllm pulls 4761, 4764
    """A block is handed out afresh and still found under its old content."""

    def _evict(self):
        index, key = dict(self.index), list(self.key)
        block = super()._evict()
        self.index, self.key = index, key
        return block


class PinsLate(Blocks):  # vllm issue 37076, pull 37164
    """Between the look-up of a block and its pinning somebody else is given it as a free one."""

    def admit(self, name, tokens, most, key):
        found = self.found(tokens, key)
        end = min(tokens, len(found) * self.size + most)
        if self.needed(end) - len(found) > self.available:
            return None
        fresh = self._fresh(self.needed(end) - len(found))
        self._pin(found)
        self.tables[name], self.stored[name] = found + fresh, len(found) * self.size
        return end - self.stored[name]


class LeavesTheLastMatchUnpinned(Blocks):  # mini-sglang pull 52
    """Of a prefix that is in use the last block can be evicted."""

    def admit(self, name, tokens, most, key):
        found = self.found(tokens, key)
        new = super().admit(name, tokens, most, key)
        if new is not None and found:
            self._unpin(found[-1:])
        return new


class FreesADuplicateThatIsPointedTo(Blocks):  # mini-sglang pull 142
    """A duplicate block goes back to the free ones while a table still points to it."""

    def fill(self, name, tokens, key):
        before = self.stored[name] // self.size
        super().fill(name, tokens, key)
        for i in range(before, self.stored[name] // self.size):
            if self.index[key(i)] != self.tables[name][i]:
                self._unpin([self.tables[name][i]])


class CountsAPinnedBlockAsEvictable(Blocks):  # mllm pull 656, sglang issue 35270, pull 10637
    """A block that is in use again is still counted among those that may go."""

    def _pin(self, blocks):
        for block in blocks:
            self.count[block] += 1


class EvictsEverything(Blocks):  # sglang issue 4987
    """Eviction does not stop when enough is evicted."""

    def _evict(self):
        first, *others = [super(EvictsEverything, self)._evict() for _ in list(self.cached)]
        self.free.extend(others)
        return first


class EvictsBesideFreeBlocks(Blocks):
    """What is cached goes although a block is free."""

    def _fresh(self, number):
        if self.cached and self.free:
            self.free.appendleft(self._evict())
        return super()._fresh(number)


class PinsMoreThanTheMatch(Blocks):  # bytedance-iaas/sglang pull 508
    """More is pinned than is used, and never given back."""

    def admit(self, name, tokens, most, key):
        found, longer = self.found(tokens, key), self.found(tokens + 1, key)
        new = super().admit(name, tokens, most, key)
        if new is not None:
            self._pin(longer[len(found):])
        return new


class ForgetsABlock(Blocks):  # mllm pull 656, the other half: the pool check
    """A block is in no list any more: the memory shrinks."""

    def release(self, name):
        super().release(name)
        if self.free:
            self.free.pop()


class SmallOnesOvertake(Scheduler):  # vllm pull 36390, sglang pull 23152
    """Who does not fit is put behind those who came later."""

    def schedule(self):
        step = super().schedule()
        if self.waiting and len(self.running) < self.max_sequences and not step.preempted:
            self.waiting.rotate(-1)
        return step


class PreemptedGoToTheEnd(Scheduler):  # vllm pull 36390, the other half: starved by those behind
    """Who made room waits behind those who came later."""

    def _preempt(self, number, step):
        super()._preempt(number, step)
        self.waiting.append(self.waiting.popleft())


ONE_STATE, OWNERS = "every block is free, cached or referenced, and only one of these", "counts are numbers of owners"
IN_ORDER = "those who wait are in the order in which they came"
FOUND_BY = {
    CountsBeforeLookingUp: "nobody computes more tokens than it has",
    FullyCachedComputesNothing: "a prompt that is cached to its end still computes a token",
    OutputMeansGenerating: "a request reads what was computed from its own tokens",
    KeepsTheKeyOfAnEvictedBlock: "a key leads to the content that it names",
    PinsLate: "nothing is written that somebody else reads",
    LeavesTheLastMatchUnpinned: OWNERS,
    FreesADuplicateThatIsPointedTo: ONE_STATE,
    CountsAPinnedBlockAsEvictable: ONE_STATE,
    ForgetsABlock: ONE_STATE,
    EvictsEverything: "no more is evicted than is needed",
    EvictsBesideFreeBlocks: "no more is evicted than is needed",
    PinsMoreThanTheMatch: OWNERS,
    SmallOnesOvertake: IN_ORDER,
    PreemptedGoToTheEnd: IN_ORDER,
}


@pytest.mark.parametrize("mutant", [mutant for mutant in FOUND_BY if issubclass(mutant, Blocks)])
def test_the_enumeration_finds_a_planted_fault_of_the_blocks(mutant):
    faults = (explore(prompts, total, depth=depth, kind=mutant) for prompts, total, depth in CASES)
    found = next(proof for proof in faults if proof.fault)
    assert found.fault == FOUND_BY[mutant]
    assert 1 <= len(found.history) <= found.depth


@pytest.mark.parametrize("mutant", [mutant for mutant in FOUND_BY if issubclass(mutant, Scheduler)])
def test_the_enumeration_finds_a_planted_fault_of_the_scheduler(mutant):
    queues = small_queues((FULL, (1,)), (3, 1), 3, blocks=(3,), budgets=(3,), swap=(False,))
    _, queue, fault = first_fault(queues, kind=mutant)
    assert queue is not None and fault == FOUND_BY[mutant]


# What the lecture tells of blocks, in numbers.


def test_two_samples_share_a_prompt_until_they_differ():
    blocks, key = Blocks(8), list(range(3)).__getitem__
    assert blocks.admit("a", 40, 40, key) == 40 and blocks.used == 3
    blocks.fill("a", 40, key)
    blocks.fork("a", "b")
    assert blocks.used == 3
    [(source, target)] = blocks.grow("a", 41)
    assert blocks.used == 4 and blocks.tables["b"][2] == source and blocks.tables["a"][2] == target
    assert blocks.grow("b", 41) == []  # now it is its own
    assert Blocks(8).needed(40) * 2 == 6


def test_a_prompt_that_is_cached_to_its_end_computes_one_block_and_one_a_token_longer_one_token():
    keys = content_keys(range(32), 16)
    blocks = Blocks(8)
    blocks.admit("a", 32, 32, keys.__getitem__)
    blocks.fill("a", 32, keys.__getitem__)
    blocks.release("a")
    assert blocks.available == 8 and blocks.used == 0
    assert blocks.admit("b", 32, 32, keys.__getitem__) == 16
    assert blocks.admit("c", 33, 33, keys.__getitem__) == 1
    assert blocks.tables["b"][0] == blocks.tables["c"][0] and blocks.used == 4


def test_the_block_that_was_used_longest_ago_is_evicted_and_the_start_of_a_prompt_last():
    a, b = content_keys((1,) * 4, 2), content_keys((2,) * 2, 2)
    blocks = Blocks(4, 2)
    for name, keys in (("a", a), ("b", b)):
        blocks.admit(name, 2 * len(keys), 9, keys.__getitem__)
        blocks.fill(name, 2 * len(keys), keys.__getitem__)
        blocks.release(name)
    blocks.admit("c", 4, 4, [None, None].__getitem__)  # a free block, and the end of a
    assert set(blocks.index) == {a[0], b[0]}


@pytest.mark.parametrize(("call", "message"), [
    (lambda blocks: blocks.admit("a", 1, 1, str), "name is 'a': expected a new one"),
    (lambda blocks: blocks.grow("b", 1), "name is 'b': expected one that has a table"),
    (lambda blocks: blocks.release("b"), "name is 'b'"),
    (lambda blocks: blocks.fill("a", 9, str), "tokens is 9: expected at most 4"),
    (lambda blocks: blocks.swap_in("a"), "expected one that was swapped out"),
    (lambda blocks: Blocks(0), "total is 0"),
    (lambda blocks: Blocks(1, 0), "size is 0"),
    (lambda blocks: Blocks(1, 2**16 + 1), "size is 65537: expected a whole number of at least 1 and at most 65,536"),
])
def test_blocks_name_what_is_wrong(call, message):
    blocks = Blocks(2, 4)
    blocks.admit("a", 1, 1, str)
    with pytest.raises(ValueError, match=message):
        call(blocks)
