"""A Hugging Face ``config.json`` read with suspicion: every value checked, every complaint naming its key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path

from ..checks import checked, instance, mapping, shown

MAX_SIZE = 10**7
"""No size of a released model comes near it; a larger one is a damaged file."""
MAX_LAYERS = 10**4
MAX_ENTRIES = 10**6
"""A list of modules names every matrix of every expert at most."""


class Config:
    """A mapping of keys to JSON values. Every reader raises ValueError naming the key, its value and what was expected.

    ``where`` is the key of a part of a file, written in front of its own keys. ``filled`` collects what stood in for
    keys that are absent.
    """

    @checked(values=mapping)
    def __init__(self, values: Mapping[str, object], where: str = "") -> None:
        self.values = {key: int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value
                       for key, value in values.items()}  # NumPy's integers are whole numbers too
        self.where = where
        self.filled: dict[str, object] = {}

    @classmethod
    @checked(path=instance(Path))
    def load(cls, path: Path) -> Config:
        """The JSON object in the file ``path``. Raises ValueError when there is none or it is no object."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: expected a readable JSON file ({error})") from None
        if not isinstance(values, dict):
            raise ValueError(f"{path} holds {type(values).__name__}: expected a JSON object")
        return cls(values)

    def wrong(self, key: str, expected: str) -> ValueError:
        """The complaint about ``key``, to be raised."""
        name = f"{self.where}.{key}" if self.where else key
        if key not in self.values:
            return ValueError(f"{name} is missing: expected {expected}")
        return ValueError(f"{name} = {shown(self.values[key])}: expected {expected}")

    def given(self, key: str) -> bool:
        """Whether ``key`` is there and not null."""
        return self.values.get(key) is not None

    def size(self, key: str, *, at_least: int = 1, at_most: int = MAX_SIZE, what: str = "a whole number") -> int:
        """A whole number between ``at_least`` and ``at_most``."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value <= at_most:
            raise self.wrong(key, f"{what} between {at_least} and {at_most}")
        return value

    def size_or_null(self, key: str, *, at_least: int = 1) -> int | None:
        """A size or an explicit null; the key itself must be there, since families differ in what its absence means."""
        if key not in self.values:
            raise self.wrong(key, "a whole number or null")
        return self.size(key, at_least=at_least, what="null or a whole number") if self.given(key) else None

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false; required without a ``default``."""
        value = self.values.get(key, default)
        if key not in self.values and default is not None:
            self.filled[key] = default
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def names(self, key: str, allowed: tuple[str, ...]) -> list[str]:
        """A list of the ``allowed`` words."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(word, str) and word in allowed for word in value):
            raise self.wrong(key, f"a list of {' or '.join(allowed)}")
        return value

    def demand(self, key: str, allowed: tuple[object, ...], why: str) -> None:
        """Nothing when ``key`` is absent or has one of the ``allowed`` values."""
        value = self.values.get(key)
        if key in self.values and not any(type(value) is type(word) and value == word for word in allowed):
            raise self.wrong(key, f"{' or '.join(json.dumps(word) for word in allowed)}, {why}")

    def part(self, key: str) -> Config:
        """The mapping under ``key``, its keys named with it."""
        value = self.values.get(key)
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise self.wrong(key, "a mapping")
        return Config(value, f"{self.where}.{key}" if self.where else key)

    def parts(self) -> list[tuple[str, Config]]:
        """Every key with its mapping; at least one."""
        if not self.values:
            raise ValueError(f"{self.where} is empty: expected a mapping")
        return [(key, self.part(key)) for key in self.values]

    def strings(self, key: str) -> list[str]:
        """A list of texts."""
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) > MAX_ENTRIES or not all(isinstance(word, str) for word in value):
            raise self.wrong(key, f"a list of at most {MAX_ENTRIES} names")
        return value

    def sizes(self, key: str, count: int) -> list[int]:
        """A list of ``count`` positive whole numbers."""
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) != count or not all(
                type(size) is int and 1 <= size <= MAX_SIZE for size in value):
            raise self.wrong(key, f"a list of {count} positive whole numbers")
        return value

    def bits(self, key: str, count: int) -> list[int]:
        """A list of ``count`` zeros and ones."""
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) != count or not all(
                type(bit) is int and bit in (0, 1) for bit in value):
            raise self.wrong(key, f"a list of {count} zeros and ones")
        return value

    def marked(self, key: str, count: int) -> list[bool]:
        """Which of ``count`` numbers from 0 on stand in a text with commas between them."""
        value = self.values.get(key)
        words = value.split(",") if isinstance(value, str) and len(value) <= MAX_ENTRIES else [""]
        if not all(word.strip().isdecimal() and len(word) < 9 and int(word) < count for word in words):
            raise self.wrong(key, f"whole numbers below {count} with commas between them")
        return [i in {int(word) for word in words} for i in range(count)]
