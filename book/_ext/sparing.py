"""What a build need not do: each of these took between a thirtieth and a third of its time.

A build ends before its garbage matters, so nobody searches for it among nodes that live on. Code blocks of one kind
share a formatter. Sphinx's own search index finds no Chinese phrase and no page loads it, so it has no words.
"""

from __future__ import annotations

import gc

from docutils.utils import new_document
from pygments.formatter import Formatter
from sphinx.application import Sphinx


def spare(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    index_page = app.builder.index_page
    app.builder.index_page = lambda page, _doctree, title: index_page(page, new_document(""), title)
    make, made = app.builder.highlighter.get_formatter, {}

    def get_formatter(**options: object) -> Formatter:
        kind = repr(sorted(options.items()))
        if kind not in made:
            made[kind] = make(**options)
        return made[kind]

    app.builder.highlighter.get_formatter = get_formatter


def setup(app: Sphinx) -> dict[str, object]:
    gc.disable()
    app.connect("builder-inited", spare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
