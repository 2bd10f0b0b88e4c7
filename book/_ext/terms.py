"""The first time a page uses a term of the glossary, the word links to its entry.

Notebooks stay plain text: nobody marks terms by hand, and no term is forgotten.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

SKIPPED = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.caption, nodes.math,
           nodes.math_block, nodes.term)
GLOSSARY = "book/glossary"


def link_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    terms = {name: anchor for name, _, kind, target, anchor, _ in app.env.get_domain("std").get_objects()
             if kind == "term" and target == GLOSSARY}
    if docname == GLOSSARY or not terms:
        return
    unseen, every = set(terms), re.compile("|".join(map(re.escape, sorted(terms, key=len, reverse=True))))
    for text in list(doctree.findall(nodes.Text)):
        if every.search(text) and not any(isinstance(parent, SKIPPED) for parent in _ancestors(text)):
            _replace(app, text, docname, terms, every, unseen)


def _replace(app: Sphinx, text: nodes.Text, docname: str, terms: dict[str, str], every: re.Pattern,
             unseen: set[str]) -> None:
    """Split ``text`` at the terms that the page has not used before; the longest term wins: 显存带宽 is not 显存."""
    parts: list[nodes.Node] = []
    for piece in re.split(f"({every.pattern})", text.astext()):
        if piece in unseen:
            unseen.remove(piece)
            link = make_refnode(app.builder, docname, GLOSSARY, terms[piece], nodes.inline("", piece))
            link["classes"].append("term")
            parts.append(link)
        elif piece:
            parts.append(nodes.Text(piece))
    if len(parts) > 1 or (parts and not isinstance(parts[0], nodes.Text)):
        text.parent.replace(text, parts)


def _ancestors(node: nodes.Node) -> list[nodes.Node]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("doctree-resolved", link_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
