"""The serving room (book/Lecture10-Main.ipynb, section 6): how requests share steps and memory.

``batching`` when tokens appear, what a cache saves, static and continuous batching; ``memory`` the slots of the cache.
"""
