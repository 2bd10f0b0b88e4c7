"""The engine room (book/Lecture10-Lab-Engine.ipynb): a real language model in NumPy, and what is measured on it.

``decoder`` the forward pass and generation; ``kv_cache`` the cache and how it is rewound; ``weights`` what a pass
multiplies with, converted once; ``llama`` what a file must say to be run, and its tokenizer; ``gguf_file`` its format;
``products`` and ``threads`` how a matrix product is run; ``quantization`` int8 weights, activations and cache;
``shortcuts`` windows, caches and heads that leave something out (book/Lecture10-Lab-Attention.ipynb);
``machine`` measures this machine and predicts with it; ``counted`` counts the work of a pass.
"""
