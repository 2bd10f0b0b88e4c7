"""Released models from a file, a folder or a name, with what was read and what was filled in.

Notebook: book/Lecture10-Lab-Models.ipynb. Files are read with suspicion: what is not understood is refused by name.
"""

from __future__ import annotations

import csv
import stat
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType

from .config import Config
from .context import max_context
from .defaults import fill
from .families import DATA, FAMILIES
from .files import compared, file_bytes
from .quantized import storage
from .recognise import other_than_a_language_model
from .store import store
from .transformer import Transformer
from .vision import vision_params

CONFIGS = Path(str(DATA / "configs"))
"""Where the files of known models are."""
SAME_SHAPE: Mapping[str, str] = {
    "kimi_k2": "deepseek_v3", "glm4_moe_lite": "deepseek_v3", "granite": "llama", "ministral3": "mistral",
    "qwen3_vl_text": "qwen3", "qwen3_vl_moe_text": "qwen3_moe", "qwen2_vl": "qwen2", "qwen2_vl_text": "qwen2",
    "qwen2_5_vl": "qwen2", "qwen2_5_vl_text": "qwen2", "minimax_m3_vl_text": "minimax_m3"}
"""Other names under which files describe a family of ``FAMILIES``."""
UNNAMED: Mapping[str, str] = {"gemma3": "gemma3_text", "minimax_m3_vl": "minimax_m3"}
"""Multimodal files whose text_config may not name the family it belongs to, and that family."""
SHARED = ("tie_word_embeddings", "dtype", "torch_dtype", "quantization_config", "is_encoder_decoder")
"""Keys of a multimodal file that also hold for the language model in its text_config."""
TIED_BY_TOP = ("qwen3_vl_moe",)
"""Families whose text_config, as transformers 5 saves it, has a default of its class that does not hold."""
STORED_TELL = "only the weights tell which is right: true in both places where they lack lm_head.weight, else false"
"""Mistral3Config of transformers 5.24 is tied by default, its text_config's MistralConfig is not; it saves both, and
Mistral3ForConditionalGeneration goes by the former, unless the weights hold two matrices that differ."""
PARTS = ("vision_config", "audio_config")
"""Keys of what stands beside the language model."""
FURTHER = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers")
"""Keys of layers that guess further tokens (MTP), which the reference implementations do not build."""


@cache
def known_models() -> Mapping[str, str]:
    """Names of the configurations that come with the package, and the Hugging Face repository each was taken from."""
    with (DATA / "models.csv").open(encoding="utf-8", newline="") as table:
        return MappingProxyType({row["name"]: row["hub_id"] for row in csv.DictReader(table)})


def load_model(source: str | Path | Mapping[str, object], *, any_context: bool = False) -> Transformer:
    """The model that ``source`` describes: a mapping, a config.json, a folder with one, a GGUF file, or a known model.

    Known models go by their name or their Hugging Face repository (``known_models``); families: see ``FAMILIES``. A
    folder's ``hf_quant_config.json`` and the size of its weights are read too. ``any_context`` lifts the limit that
    max_position_embeddings sets. Raises ValueError naming the key for anything missing, of the wrong type, out of
    range, contradictory or not supported, and naming the nearest known model when ``source`` is neither file nor name.
    """
    if isinstance(source, Mapping):
        model = read(Config(dict(source)))
    elif isinstance(source, (str, Path)):
        model = _from_path(source)
    else:
        hint = ", such as its to_dict()" if hasattr(source, "to_dict") else ""
        raise ValueError(f"source is of type {type(source).__name__}: expected a path, a name or a mapping{hint}")
    return replace(model, max_context=None) if any_context else model


def _from_path(source: str | Path) -> Transformer:
    path = _existing(source)
    return _shipped(path) if path.parent == CONFIGS else _read(path)


@cache
def _shipped(path: Path) -> Transformer:
    """A known model; the package's own files do not change."""
    return _read(path)


def _read(path: Path) -> Transformer:
    if path.suffix == ".gguf":
        from .gguf_file import read_gguf

        return replace(read_gguf(path), name=path.stem)
    name = path.resolve().parent.name if path.name == "config.json" else path.stem
    beside = path.parent / "hf_quant_config.json"
    model = read(Config.load(path), Config.load(beside) if path.name == "config.json" and beside.exists() else None)
    if path.name == "config.json":
        model = compared(model, file_bytes(path.parent))
    return replace(model, name=name)


def _existing(source: str | Path) -> Path:
    """The file that ``source`` means."""
    text = str(source)
    if text.lstrip().startswith("{"):
        raise ValueError(f"source = {text[:40]!r}: this is JSON text, expected a file's path or the parsed mapping")
    if "://" in text:
        raise ValueError(f"source = {text[:80]!r}: this is an address, expected a file that was downloaded or a name")
    known = {spelling.lower(): name for name, hub_id in known_models().items() for spelling in (name, hub_id)}
    path = Path(source)
    if (mode := _mode(path)) is not None:
        return _in_folder(path) if stat.S_ISDIR(mode) else path
    if text.lower() in known:
        return CONFIGS / f"{known[text.lower()]}.json"
    if path.suffix in (".json", ".gguf") or text[:1] in ("/", ".", "~"):
        raise ValueError(f"source = {text[:80]!r}: no such file: expected a config.json or a known model")
    near = get_close_matches(text.lower().rsplit("/", 1)[-1], known_models(), n=1, cutoff=0.4)
    hint = f", such as {near[0]!r}" if near else f"; known_models lists {len(known_models())}"
    raise ValueError(f"no model {text[:80]!r}: expected a config.json or a known model{hint}")


def _mode(path: Path) -> int | None:
    """What kind of file it is; None where there is none. From Python 3.14 on ``exists`` hides every other reason."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last of a name that no file can have
        return None
    except OSError as error:
        what = f"source = {str(path)[:80]!r}: {error.strerror}"
        raise ValueError(f"{what}: expected a config.json or a known model") from None


def _in_folder(folder: Path) -> Path:
    if (folder / "config.json").exists():
        if (folder / "modules.json").exists():
            raise ValueError(f"{folder} has a modules.json: this is an embedding model, expected a language model")
        return folder / "config.json"
    if (folder / "adapter_config.json").exists():
        return folder / "adapter_config.json"
    raise ValueError(f"{folder} has no config.json: expected a model's folder")


def read(top: Config, beside: Config | None = None) -> Transformer:
    """The language model of a config.json, with the formats that it, or a hf_quant_config.json ``beside`` it, tells.

    Raises ValueError as ``load_model``.
    """
    if other := other_than_a_language_model(top.values):
        raise ValueError(other)
    text = _language_part(top)
    kind = text.values.get("model_type")
    family = SAME_SHAPE.get(kind, kind) if isinstance(kind, str) else None
    if family not in FAMILIES:
        known = [*FAMILIES, *SAME_SHAPE]
        near = get_close_matches(str(kind), known, n=3)
        raise text.wrong("model_type", f"one of {', '.join(near or known[:6])} or of {len(known)} others, "
                         "see models.families.FAMILIES")
    _require_language_model(top, nested=text is not top or kind in SAME_SHAPE)
    text.demand("is_encoder_decoder", (False,), "decoders only")
    fill(text, kind, family, nested=text is not top)
    model, kept = FAMILIES[family](text), storage(text, beside)
    stored = store(model, family, kept)
    return replace(stored, name=kind, max_context=max_context(text, family),
                   notes=(*_notes(top, text, model, family), *kept.notes, *stored.notes))


def _language_part(top: Config) -> Config:
    """``top`` itself, or its text_config with the keys that hold for all parts."""
    if not top.given("text_config"):
        return top
    text = top.part("text_config")
    if top.given("tie_word_embeddings") and top.values.get("model_type") in TIED_BY_TOP:
        text.values = {key: value for key, value in text.values.items() if key != "tie_word_embeddings"}
    if text.given("tie_word_embeddings"):
        top.demand("tie_word_embeddings", (text.values["tie_word_embeddings"],), f"as text_config says; {STORED_TELL}")
    text.values = {key: top.values[key] for key in SHARED if top.given(key)} | dict(text.values)
    if (kind := top.values.get("model_type")) in UNNAMED:
        text.values.setdefault("model_type", UNNAMED[kind])
    return text


def _require_language_model(top: Config, nested: bool) -> None:
    ends = ("ForCausalLM", "LMHeadModel") + (("ForConditionalGeneration",) if nested else ())
    named = top.values.get("architectures")
    if named is not None and (not isinstance(named, list) or not any(str(name).endswith(ends) for name in named)):
        raise top.wrong("architectures", f"a language model, named ...{' or ...'.join(ends)}")


def _notes(top: Config, text: Config, model: Transformer, family: str) -> list[str]:
    notes = []
    others = [key for key in PARTS if top.given(key)]
    if text is not top or others:
        params = vision_params(top, model.width)
        sizes = {"vision_config": f"{params:,} parameters, not in these numbers"} if params else {}
        notes.append("; ".join(("counted: the language model", *(f"{key}: {sizes.get(key, 'not counted')}"
                                                                 for key in others))))
    if text.values["model_type"] != family:
        notes.append(f"model_type = {text.values['model_type']}: read as {family}, which has the same shape")
    notes.extend(f"{key}: what predicts further tokens is not counted" for key in FURTHER if text.values.get(key))
    if found := {**text.filled, **top.filled}:
        filled = ", ".join(f"{key} = {str(value).lower() if isinstance(value, bool) else value}"
                           for key, value in found.items())
        notes.append(f"filled in as the library transformers does: {filled}")
    if max_context(text, family) is None and not model.positions:
        notes.append("max_position_embeddings is absent: the context is not checked")
    return notes
