"""A model from a GGUF file, with the format of every tensor as the file has it.

Notebook: book/Lecture10-Lab-Models.ipynb. Sizes come from the metadata and each tensor has to fit them, so the bytes
that are derived are those of the file. The package ``gguf`` reads it, and is loaded only then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .config import Config
from .context import max_context
from .families import FAMILIES
from .formats import Format, Scale, Stored
from .passes import Weights
from .store import grouped
from .transformer import Transformer

ARCHITECTURES: Mapping[str, str] = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3moe": "qwen3_moe"}
"""The architectures that are understood, and the families they are read as; llama with experts is mixtral."""
KEYS: Mapping[str, str] = {
    "hidden_size": "embedding_length", "intermediate_size": "feed_forward_length", "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length", "max_position_embeddings": "context_length", "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count", "moe_intermediate_size": "expert_feed_forward_length"}
"""What a config.json calls a size, and what GGUF does."""
REFUSED = ("attention.sliding_window", "expert_shared_count", "leading_dense_block_count")
"""Metadata of networks that no family here has."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "attention projections": ("attn_q", "attn_k", "attn_v", "attn_output"), "MLP": ("ffn_gate", "ffn_up", "ffn_down"),
    "router": ("ffn_gate_inp",), "experts": ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")}
"""Operation → names of its matrices, in the order of ``Weights.shapes``."""
ROTATION = "rope_freqs.weight"
LONGEST = 10_000
"""Entries of a list that is read: layers are fewer, words of a vocabulary more."""
Part = tuple[str, tuple[Format, ...], int]
"""What ``Stored.parts`` holds."""


@dataclass(frozen=True)
class Tensor:
    """``shape`` with the inputs first, as GGUF has it."""

    shape: tuple[int, ...]
    form: Format
    num_bytes: int


def read_gguf(path: Path) -> Transformer:
    """The model in the file ``path``. Raises ValueError naming it, and the key or tensor that is not understood."""
    try:
        metadata, tensors = _contents(path)
        return _model(metadata, tensors)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, OSError) as error:
        what = str(error) if type(error) is ValueError else f"{error!r}: expected a complete GGUF file"
        raise ValueError(f"{path}: {what}") from None


def _contents(path: Path) -> tuple[dict[str, object], dict[str, Tensor]]:
    from gguf import GGML_QUANT_SIZES

    reader = _reader()(path)
    metadata = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
    forms = {kind: Format(kind.name, 0, (Scale(size, block, 1),)) for kind, (block, size) in GGML_QUANT_SIZES.items()
             if not kind.name.startswith("I") or kind.name.startswith("IQ")}
    for tensor in reader.tensors:
        if tensor.tensor_type not in forms:
            raise ValueError(f"{tensor.name} is of type {tensor.tensor_type.name}: expected a format of weights")
    return metadata, {tensor.name: Tensor(tuple(map(int, tensor.shape)), forms[tensor.tensor_type], int(tensor.n_bytes))
                      for tensor in reader.tensors}


def _reader() -> type:
    """The reader of ``gguf`` that passes over words and long lists: a piece of the file for each entry of a vocabulary
    takes seconds, and a np.memmap cut that often many."""
    import numpy as np
    from gguf import GGUFReader, GGUFValueType

    class Reader(GGUFReader):
        data = property(lambda self: self._plain, lambda self, mapped: setattr(self, "_plain", np.asarray(mapped)))

        def _get_field_parts(self, start: int, kind: int) -> tuple:
            if kind != GGUFValueType.ARRAY:
                return super()._get_field_parts(start, kind)
            entry, count, end = self._get(start, np.uint32)[0], int(self._get(start + 4, np.uint64)[0]), start + 12
            if entry == GGUFValueType.STRING:
                order, words = "big" if self.byte_order == "S" else "little", memoryview(self.data)
                for _ in range(count):
                    end += 8 + int.from_bytes(words[end:end + 8], order)
                    if end > len(words):
                        raise ValueError("a list of words ends beyond the file: expected a complete GGUF file")
            elif count > LONGEST and entry in self.gguf_scalar_to_np:
                end += count * np.dtype(self.gguf_scalar_to_np[GGUFValueType(entry)]).itemsize
            else:
                return super()._get_field_parts(start, kind)
            return end - start, [], [], [GGUFValueType.ARRAY, GGUFValueType(entry)]

    return Reader


def _model(metadata: Mapping[str, object], tensors: Mapping[str, Tensor]) -> Transformer:
    name = metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        raise ValueError(f"general.architecture = {name!r}: expected one of {', '.join(ARCHITECTURES)}")
    found = {key.removeprefix(f"{name}."): value for key, value in metadata.items()}
    for key in REFUSED:
        if found.get(key):
            raise ValueError(f"{name}.{key} = {found[key]!r}: expected none")
    config = Config(_sizes(found, tensors))
    family = "mixtral" if name == "llama" and found.get("expert_count") else ARCHITECTURES[name]
    model = FAMILIES[family](config)
    left = dict(tensors)
    layers = [replace(layer, stored=Stored(4, tuple(_parts(i, layer.weights, left))))
              for i, layer in enumerate(layer for count, layer in model.layers for _ in range(count))]
    stored = Stored(4, tuple(_embeddings(model, left)))
    model = replace(grouped(model, layers), stored=stored, name=family, max_context=max_context(config, family))
    return _complete(model, left, tensors)


def _sizes(found: Mapping[str, object], tensors: Mapping[str, Tensor]) -> dict[str, object]:
    sizes = {key: found[name] for key, name in KEYS.items() if name in found}
    if found.get("attention.value_length", found.get("attention.key_length")) != found.get("attention.key_length"):
        raise ValueError("attention.value_length: expected attention.key_length")
    bias = {"attention_bias": "blk.0.attn_q.bias" in tensors}
    sizes.setdefault("num_key_value_heads", sizes.get("num_attention_heads"))
    return sizes | bias | {"vocab_size": tensors["token_embd.weight"].shape[-1], "sliding_window": None,
                           "tie_word_embeddings": "output.weight" not in tensors}


def _parts(i: int, weights: Iterable[Weights], left: dict[str, Tensor]) -> Iterator[Part]:
    """The formats of a layer's matrices, which are taken out of ``left``."""
    for w in weights:
        if w.shapes:
            experts = (w.copies,) if w.operation == "experts" else ()
            names = NAMES[w.operation]
            yield w.operation, tuple(_take(left, f"blk.{i}.{n}.weight", (*shape, *experts))
                                     for n, shape in zip(names, w.shapes, strict=True)), 0


def _embeddings(model: Transformer, left: dict[str, Tensor]) -> Iterator[Part]:
    shape = (model.width, model.vocabulary)
    lookup = _take(left, "token_embd.weight", shape)
    yield "input embedding", (lookup,), 0
    yield "output embedding", (lookup if model.tied else _take(left, "output.weight", shape),), 0


def _take(left: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Format:
    if name not in left:
        raise ValueError(f"{name} is missing: expected a tensor of {shape}")
    tensor = left.pop(name)
    if tensor.shape != shape:
        raise ValueError(f"{name} has shape {tensor.shape}: expected {shape}")
    return tensor.form


def _complete(model: Transformer, left: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> Transformer:
    """``model`` when the vectors that are ``left`` are all that it has; a table of rotations is left out."""
    beside = left.pop(ROTATION).num_bytes if ROTATION in left else 0
    size, derived = sum(tensor.num_bytes for tensor in tensors.values()), model.weight_bytes()
    for name, tensor in left.items():
        if len(tensor.shape) != 1:
            raise ValueError(f"{name} has shape {tensor.shape}: expected no such tensor in this architecture")
    if derived != size - beside:
        raise ValueError(f"{size - beside} bytes of tensors: expected {derived}, which the metadata describes")
    counts: dict[str, int] = {}
    for tensor in tensors.values():
        counts[tensor.form.name] = counts.get(tensor.form.name, 0) + tensor.num_bytes
    kinds = ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items(), key=lambda item: -item[1]))
    return replace(model, notes=(f"weights: {size:,} bytes of tensors in the file ({kinds})",
                                 "cache: 16 bits taken, as llama.cpp does"))
