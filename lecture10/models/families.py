"""All families that are read, by the ``model_type`` of their files.

Notebook: book/Lecture10-Lab-Models.ipynb. ``load.load_model`` finds the file, ``defaults`` fills in what published
files leave out, and a reader returns a ``Transformer`` whose layers stand in order. A further kind of family is a
module like ``dense`` with a table of its readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files

from .config import Config
from .dense import DENSE
from .hybrids import HYBRIDS
from .mixtures import MIXTURES
from .transformer import Transformer

DATA = files("lecture10.models") / "data"
"""The configurations that come with the package."""

FAMILIES: Mapping[str, Callable[[Config], Transformer]] = {**DENSE, **MIXTURES, **HYBRIDS}
"""How to read each ``model_type``."""
