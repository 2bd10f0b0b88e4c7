"""A build ends before its garbage matters, and the search for it among nodes that live on took a third of the time."""

from __future__ import annotations

import gc

from sphinx.application import Sphinx


def setup(_app: Sphinx) -> dict[str, object]:
    gc.disable()
    return {"parallel_read_safe": True, "parallel_write_safe": True}
