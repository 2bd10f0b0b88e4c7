"""Write tests/data/engine_reference.npz: next-token logits of SmolLM2 by two independent implementations.

Token ids come from llama.cpp, logits from transformers on PyTorch in float32; both read the GGUF file themselves. Needs
``pip install torch transformers gguf llama-cpp-python`` and the weights; not part of the tests.
Kept of each prompt's 49,152 logits: those of every 97th token and of the 16 likeliest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from llama_cpp import Llama
from transformers import AutoModelForCausalLM

PROMPTS = (
    "The capital of France is",
    "Once upon a time there was a small robot who",
    "To be, or not to be, that is the",
    "The arithmetic intensity of a matrix product is the number of operations per byte",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "for (int i = 0; i < 10; ++i) {\n\tprintf(\"%d\\n\",",
    "SELECT name, COUNT(*) FROM users WHERE age >= 21 GROUP BY",
    "1234567890 + 9876543210 =",
    "大模型推理的瓶颈是显存带宽，因为",
    "Καλημέρα κόσμε — \u00bfcómo estás? naïve façade",
    "👩‍👩‍👧‍👦 🇨🇳 e\u0301 \u200b\u202eabc\u202c ﬁ ½ 𝔘𝔫𝔦",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
)
STEP, BEST = 97, 16


def main(path: Path) -> None:
    tokenizer = Llama(str(path), vocab_only=True, verbose=False)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    out = {"prompts": np.array(PROMPTS), "step": np.array(STEP)}
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer.tokenize(prompt.encode(), add_bos=False, special=True)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].numpy()
        best = np.argsort(-logits)[:BEST]
        out |= {f"ids_{i}": np.array(ids), f"logits_{i}": logits[::STEP], f"best_{i}": best,
                f"best_logits_{i}": logits[best]}
    np.savez_compressed(Path(__file__).parent / "data" / "engine_reference.npz", **out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
