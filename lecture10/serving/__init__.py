"""The serving room: when tokens appear, what a cache saves, how requests share steps and memory."""
