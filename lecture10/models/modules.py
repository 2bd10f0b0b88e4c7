"""What a file calls the matrices of a layer, and lists of such names with patterns in them.

Notebook: book/Lecture10-Lab-Models.ipynb. Names are those of the checkpoints that the library transformers writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .config import Config
from .layers import Attention, LatentAttention, Layer
from .names import HYBRID_NAMES
from .sparse import SparseAttention

PREFIXES = ("model.layers.", "language_model.model.layers.", "model.language_model.layers.")
"""Where the layers of a language model stand, alone or beside a part that sees."""
REGEX = re.compile(r"[\\^$()|+?\[\]{}]")
EXPERT = re.compile(r"experts\.(\d+)")
LAYER = re.compile(r"(?:layers|h)\.(\d+)\.")
NO_MATRIX = re.compile(r"(gate|router|norm\w*|bias|rotary_emb|sinks)$")
"""Names in lists that mean nothing a format could change here: routers, vectors, tables."""

MLP_NAMES = ("gate_proj", "up_proj", "down_proj")
GROUPED = tuple(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
LATENT = tuple(f"self_attn.{name}" for name in ("kv_a_proj_with_mqa", "kv_b_proj", "o_proj"))
QUERIES = {4: ("self_attn.q_proj",), 5: ("self_attn.q_a_proj", "self_attn.q_b_proj")}
USUAL: Mapping[str, tuple[str, ...]] = {
    "MLP": tuple(f"mlp.{name}" for name in MLP_NAMES), "experts": tuple(f"mlp.experts.*.{name}" for name in MLP_NAMES),
    "shared experts": tuple(f"mlp.shared_experts.{name}" for name in MLP_NAMES)}
BEFORE: Mapping[str, str] = {"gpt2": "transformer.h.", "gpt_neox": "gpt_neox.layers."}
"""Families whose layers stand elsewhere."""
SPARSE = {"experts": tuple(f"block_sparse_moe.experts.*.{name}" for name in ("w1", "w3", "w2"))}
SPECIAL: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "mixtral": SPARSE, "phimoe": SPARSE, "minimax_m2": SPARSE,
    "qwen2_moe": {"shared experts": tuple(f"mlp.shared_expert.{name}" for name in MLP_NAMES)},
    "llama4_text": {
        "MLP": tuple(f"feed_forward.{name}" for name in MLP_NAMES),
        "experts": ("feed_forward.experts.gate_up_proj", "feed_forward.experts.gate_up_proj",
                    "feed_forward.experts.down_proj"),
        "shared experts": tuple(f"feed_forward.shared_expert.{name}" for name in MLP_NAMES)},
    "step3p5": {"attention projections": (*GROUPED, "self_attn.g_proj"),
                "experts": tuple(f"moe.{name}" for name in MLP_NAMES),
                "shared experts": tuple(f"share_expert.{name}" for name in MLP_NAMES)},
    "laguna": {"attention projections": (*GROUPED, "self_attn.g_proj"),
               "shared experts": tuple(f"mlp.shared_expert.{name}" for name in MLP_NAMES)},
    "afmoe": {"attention projections": (*GROUPED, "self_attn.gate_proj")},
    "starcoder2": {"MLP": ("mlp.c_fc", "mlp.c_proj")},
    "gpt_neox": {"attention projections": ("attention.query_key_value", "attention.dense"),
                 "MLP": ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")},
    "gpt_oss": {"experts": ("mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj", "mlp.experts.down_proj")},
    "phi3": {"attention projections": ("self_attn.qkv_proj", "self_attn.o_proj"),
             "MLP": ("mlp.gate_up_proj", "mlp.down_proj")},
    "gpt2": {"attention projections": ("attn.c_attn", "attn.c_proj"), "MLP": ("mlp.c_fc", "mlp.c_proj")}}
"""Families that call the matrices of an operation something else, in the order of ``Weights.shapes``."""


def matrices(family: str, layer: Layer) -> dict[str, tuple[str | None, ...]]:
    """Operation → names of its matrices in a layer, an asterisk for the number of an expert; routers are left out.

    None for a matrix that folders leave as it is.
    """
    mixer = layer.attention.attention if isinstance(layer.attention, SparseAttention) else layer.attention
    special = SPECIAL.get(family, HYBRID_NAMES.get(family, {}))
    if isinstance(mixer, LatentAttention):
        [projections] = mixer.weights
        special = {"attention projections": QUERIES[len(projections.shapes)] + LATENT} | special
    elif isinstance(mixer, Attention) and mixer.kv_projections != 2:
        special = {"attention projections": (*GROUPED[:1 + mixer.kv_projections], GROUPED[-1])} | special
    return {"attention projections": GROUPED, **USUAL, **special}


@dataclass(frozen=True)
class Names:
    """Module names as a file lists them: whole names, parts of names, ``*`` for anything, and regular expressions.

    ``whole``: a name means exactly that module; otherwise also everything inside it. A leading ``model.`` or
    ``language_model.`` may be left out.
    """

    exact: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()
    whole: bool = False
    experts: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def of(cls, config: Config, key: str, entries: Iterable[str], whole: bool = False) -> Names:
        """The ``entries`` of ``key``. Raises ValueError naming it for a regular expression that is none."""
        exact, patterns, experts = set(), set(), set()
        for entry in entries:
            experts.update(EXPERT.findall(entry))
            if entry.startswith("re:") or REGEX.search(entry):
                patterns.add(entry.removeprefix("re:"))
            elif "*" in entry:
                end = "$" if whole else r"(\.|$)"
                patterns.add(r"(.*\.)?" + re.escape(_plain(entry)).replace(r"\*", ".*") + end)
            else:
                exact.add(_plain(entry))
        try:
            compiled = tuple(re.compile(pattern) for pattern in sorted(patterns))
        except (re.error, RecursionError, OverflowError):
            raise config.wrong(key, "names of modules, or regular expressions that can be read") from None
        return cls(frozenset(exact), compiled, whole, frozenset(experts))

    def hold(self, module: str) -> bool:
        """Whether the list means ``module``, a complete name such as model.layers.3.mlp.up_proj."""
        if self.exact and not self.exact.isdisjoint(runs(module, self.whole)):
            return True
        if not self.patterns:
            return False
        names = [module] + [prefix + module.removeprefix(PREFIXES[0]) for prefix in PREFIXES[1:]
                            if module.startswith(PREFIXES[0])]
        return any(pattern.match(name) for pattern in self.patterns for name in names)


def runs(module: str, whole: bool = False) -> list[str]:
    """The parts of a dotted name that a list may give for it: a.b.c, b.c, c, and unless ``whole`` a.b, b, a."""
    cuts = [-1, *(i for i, sign in enumerate(module) if sign == "."), len(module)]
    ends = [cuts[-1]] if whole else cuts[1:]
    return [module[start + 1:end] for end in ends for start in cuts if start < end]


def template(name: str) -> str:
    """``name`` without the numbers of its layer and its expert."""
    return EXPERT.sub("experts.*", LAYER.sub("layers.#.", name))


def _plain(entry: str) -> str:
    """``entry`` without what multimodal files put in front or between, so that one spelling is left."""
    return entry.replace("language_model.", "").replace("backbone.", "model.").rstrip(".")
