"""A Llama in a GGUF file: what the file says is checked against what the engine computes, before anything runs.

Notebook: book/Lecture10-Lab-Engine.ipynb. What is not understood is refused: an engine that ignored a key or a tensor
would compute another model than the file's.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from ..models.config import Config
from .gguf_file import GGUFFile

MAX_CONTEXT = 2**17  # the longest context of a released Llama: the engine keeps a table with a row for every position
MAX_WEIGHT = 1e4  # in size: far beyond what was ever trained, and products of such stay far below what float32 can hold
TEXT, CONTROL = 1, 3  # GGUF's types of tokens: of text, and markers such as <|im_end|>, which text is not split into
UNDERSTOOD = {
    "llama": {"block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
              "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
              "attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.dimension_count"},
    "tokenizer": {"ggml.model", "ggml.pre", "ggml.tokens", "ggml.token_type", "ggml.merges", "ggml.scores",
                  "ggml.add_bos_token", "ggml.add_eos_token", "ggml.add_space_prefix", "ggml.bos_token_id",
                  "ggml.eos_token_id", "ggml.unknown_token_id", "ggml.padding_token_id", "chat_template"},
}
"""Of the keys that say what a model computes and how text is cut: those followed, and those that change neither."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model in the book's letters; rope_base and norm_epsilon as in the file."""

    D: int
    F: int
    N: int
    K: int
    H: int
    L: int
    V: int
    context_length: int
    rope_base: float
    norm_epsilon: float


@dataclass(frozen=True)
class Llama:
    """A file that was checked. ``eos`` is the token that ends an answer.

    ``tensor(name)`` is one of ``layout(shape)`` in float32, [out, in]; it raises ValueError for weights that are not
    finite or exceed ``MAX_WEIGHT`` in size.
    """

    shape: Shape
    tokenizer: Tokenizer
    eos: int
    tensor: Callable[[str], NDArray]


def layout(s: Shape) -> list[dict[str, tuple[int, ...]]]:
    """The engine's arrays in order, each as the tensors that it stacks, [out, in]: seven a layer, then two."""
    norm, queries, keys, hidden = (s.D,), (s.N * s.H, s.D), (s.K * s.H, s.D), (s.F, s.D)
    block = ({"attn_norm": norm}, {"attn_q": queries, "attn_k": keys, "attn_v": keys}, {"attn_output": queries[::-1]},
             {"ffn_norm": norm}, {"ffn_gate": hidden}, {"ffn_up": hidden}, {"ffn_down": hidden[::-1]})
    layers = [{f"blk.{i}.{name}.weight": dims for name, dims in array.items()} for i in range(s.L) for array in block]
    return [*layers, {"output_norm.weight": norm}, {"token_embd.weight": (s.V, s.D)}]


def read_llama(raw: bytes) -> Llama:
    """The model in the bytes of a GGUF file: a Llama with tied embeddings and the tokenizer of SmolLM.

    Raises ValueError, in one line that names the key or the tensor, for what is damaged and for what the engine would
    not compute as the file means it.
    """
    file = GGUFFile(raw)
    c = Config(file.fields)
    if c.values.get("general.architecture") != "llama":
        raise c.wrong("general.architecture", "'llama'")
    c.demand("general.quantization_version", (2,), "as the package gguf decodes")
    for key, value in file.fields.items():
        room, _, name = key.partition(".")
        if name not in UNDERSTOOD.get(room, {name}):
            raise ValueError(f"{key[:80]!r} = {reprlib.repr(value)}: expected no key that the engine does not follow")
    shape = _shape(c, len(file.sizes))
    _compare(file.sizes, {name: dims for array in layout(shape) for name, dims in array.items()})
    tensors = file.tensors()

    def tensor(name: str) -> NDArray:
        weights = tensors[name].float32()
        low, high = weights.min(), weights.max()  # both are nan where one weight is
        if not -MAX_WEIGHT <= low <= high <= MAX_WEIGHT:
            raise ValueError(f"{name} has weights from {low} to {high}: expected at most {MAX_WEIGHT:.0f} in size")
        return weights

    eos = c.size("tokenizer.ggml.eos_token_id", at_least=0, at_most=shape.V - 1)
    return Llama(shape, _tokenizer(c, shape.V), eos, tensor)


def _shape(c: Config, tensors: int) -> Shape:
    width, heads = c.size("llama.embedding_length"), c.size("llama.attention.head_count")
    groups = c.size("llama.attention.head_count_kv", at_most=heads)
    if heads % groups:
        raise c.wrong("llama.attention.head_count_kv", f"a divisor of head_count = {heads}")
    key = "llama.attention.key_length"
    if not c.given(key) and width % heads:
        raise c.wrong("llama.embedding_length", f"a multiple of head_count = {heads}, since key_length is not given")
    head_dim = c.size(key) if c.given(key) else width // heads
    if head_dim % 2:
        raise ValueError(f"a head has {head_dim} elements: expected an even number, since rotary embedding turns pairs")
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        c.demand(key, (head_dim,), "the elements of a head")
    return Shape(width, c.size("llama.feed_forward_length"), heads, groups, head_dim,
                 c.size("llama.block_count", at_most=tensors), c.size("llama.vocab_size"),
                 c.size("llama.context_length", at_most=MAX_CONTEXT), _number(c, "llama.rope.freq_base", 1, math.inf),
                 _number(c, "llama.attention.layer_norm_rms_epsilon", 0, 1))


def _number(c: Config, key: str, lower: float, upper: float) -> float:
    value = c.values.get(key)
    if not isinstance(value, float) or not lower < value < upper:
        raise c.wrong(key, f"a floating-point number between {lower} and {upper}")
    return value


def _compare(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """The tensors that the engine computes with, each of its size, and no other."""
    if missing := expected.keys() - found.keys():
        raise ValueError(f"it lacks the tensor {min(missing)}")
    if extra := found.keys() - expected.keys():
        raise ValueError(f"it holds the tensor {min(extra)[:80]!r}: expected none that the engine does not use")
    for name, dims in expected.items():
        if found[name] != dims:
            raise ValueError(f"{name} is {found[name]}: expected {dims}, [out, in]")


def _tokenizer(c: Config, size: int) -> Tokenizer:
    """Byte-level BPE from the file's vocabulary and merges; digits are single tokens (pre-tokenizer "smollm")."""
    tokens, kinds, merges = _vocabulary(c, size)
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    markers = [token for token, kind in zip(tokens, kinds) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in markers])
    return tokenizer


def _vocabulary(c: Config, size: int) -> tuple[list[str], list[int], list[tuple[str, str]]]:
    """Tokens, their types, and the pairs that merge."""
    for name, expected in (("model", "gpt2"), ("pre", "smollm")):
        if c.values.get(f"tokenizer.ggml.{name}") != expected:
            raise c.wrong(f"tokenizer.ggml.{name}", repr(expected))
    for name in ("add_bos_token", "add_eos_token", "add_space_prefix"):
        c.demand(f"tokenizer.ggml.{name}", (False,), "the tokenizer adds nothing to a text")
    tokens, kinds, merges = (c.values.get(f"tokenizer.ggml.{name}") for name in ("tokens", "token_type", "merges"))
    if not (_all(str, tokens) and len(tokens) == size == len(set(tokens))):
        raise c.wrong("tokenizer.ggml.tokens", f"{size} different texts, as llama.vocab_size says")
    if not (_all(int, kinds) and len(kinds) == size and set(kinds) <= {TEXT, CONTROL}):
        raise c.wrong("tokenizer.ggml.token_type", f"{TEXT} or {CONTROL} for each of {size} tokens")
    if not _all(str, merges):
        raise c.wrong("tokenizer.ggml.merges", "pairs of tokens")
    known, pairs = set(tokens), [tuple(merge.split(" ")) for merge in merges]
    for pair in pairs:
        if len(pair) != 2 or not known.issuperset((*pair, "".join(pair))):
            raise ValueError(f"tokenizer.ggml.merges has {' '.join(pair)[:80]!r}: "
                             "expected two tokens that make a third")
    return tokens, kinds, pairs


def _all(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)
