"""Write tests/data/classes.json: what the library transformers takes for the sizes that ``defaults.CLASSES`` fills in.

Needs ``pip install transformers==5.24.0``, without PyTorch; not part of the tests. Qwen's classes drop their window
unless it is used; Gemma 3n's has an MLP width for each layer, Gemma 4's keeps the widest heads layer by layer.
"""

from __future__ import annotations

import json
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig

from lecture10.models.defaults import CLASSES


def size(config: PreTrainedConfig, key: str) -> object:
    values = config.to_dict()
    if key == "global_head_dim":
        return max(changed["head_dim"] for changed in values["per_layer_config"].values())
    value = values[config.attribute_map.get(key, key)]
    return value[0] if isinstance(value, list) and len({*value}) == 1 else value


def main() -> None:
    lines = []
    for kind, keys in CLASSES.items():
        config = AutoConfig.for_model(kind, **({"use_sliding_window": True} if "max_window_layers" in keys else {}))
        lines.append(f"  {json.dumps(kind)}: {json.dumps({key: size(config, key) for key in sorted(keys)})}")
    path = Path(__file__).parent / "data" / "classes.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
