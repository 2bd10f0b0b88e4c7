"""How many bytes of weights a folder holds, beside what its configuration describes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from .config import Config
from .transformer import Transformer

HEADER_BYTES = 8
MAX_HEADER = 10**8


def file_bytes(folder: Path) -> tuple[int, str] | None:
    """Bytes of all tensors of a folder and where that is written; None when it holds no weights.

    ``model.safetensors.index.json`` names them, a single ``model.safetensors`` lists its tensors at the start. Raises
    ValueError naming a file that does not.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.exists():
        metadata = Config.load(index).part("metadata")
        return metadata.size("total_size", at_most=10**14), f"total_size in {index.name}"
    return (_tensor_bytes(single), f"the tensors of {single.name}") if single.exists() else None


def _tensor_bytes(path: Path) -> int:
    """The end of the last tensor in a safetensors file: a header of 8 bytes and JSON tells where each lies."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEADER_BYTES), "little")
            header = json.loads(file.read(length)) if length <= MAX_HEADER else None
        return max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise ValueError(f"{path}: expected a safetensors file") from None


def compared(model: Transformer, found: tuple[int, str] | None) -> Transformer:
    """``model`` with a note on how its derived bytes compare with those that were ``found``.

    More may be in a folder (a vision part, layers that predict further tokens). Raises ValueError when there is less
    than the configuration describes: then it was misread, or belongs to other weights.
    """
    if found is None:
        return model
    size, where = found
    derived = model.weight_bytes()
    if derived > size:
        raise ValueError(f"{where} = {size}: expected at least {derived} bytes, which the configuration describes")
    more = f", and {size - derived:,} of tensors that are not counted" if size > derived else ", all that it holds"
    return replace(model, notes=(*model.notes, f"weights: {derived:,} bytes by the rule of the formats; {where}: "
                                               f"{size:,}{more}"))
