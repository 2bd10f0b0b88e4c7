"""``{knowledge-graph} file.yml`` draws the book's knowledge graph as SVG whose nodes are links.

Its text is the caption. Every topic is a drawing of its own, so that a page of print may end between two of them. The
file is a list of nodes: ``label``, ``target`` (the label of a section) and ``tag``; a node of the second level also has
the ``parent`` it belongs to and its ``relation`` to it. Sphinx resolves the links, so a node that leads nowhere is a
warning.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

TAGS = {"课堂提及": "lecture", "代码实现": "code", "主动扩展": "extension"}
ROW, BOX = 48, 40  # px: distance of two rows, height of a box
TOPIC_WIDTH, CHILD_X, CHILD_WIDTH = 136, 172, 264  # as narrow as the labels allow: a phone shows the whole


class Graph(nodes.General, nodes.Element):
    pass


class KnowledgeGraph(SphinxDirective):
    required_arguments = 1
    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        path, absolute = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(path)
        graph = Graph()
        for entry in yaml.safe_load(Path(absolute).read_text(encoding="utf-8")):
            link = addnodes.pending_xref("", nodes.inline("", entry["label"]), refdomain="std", reftype="ref",
                                         refexplicit=True, reftarget=entry["target"], refdoc=self.env.docname,
                                         refwarn=True)
            graph += nodes.inline("", "", link, entry=entry)
        caption, messages = self.state.inline_text(" ".join(self.content), self.lineno)
        figure = nodes.figure("", graph, nodes.caption("", "", *caption))
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure, *messages]


def visit_graph(self: HTML5Translator, node: Graph) -> None:
    links = {child["entry"]["label"]: next((ref["refuri"] if "refuri" in ref else f"#{ref['refid']}"
                                            for ref in child.findall(nodes.reference)), "") for child in node}
    entries = [child["entry"] for child in node]
    key = "".join(f'<g class="{name}"><rect x="{1 + i * 112}" y="1" width="24" height="16" rx="3"/>'
                  f'<text x="{33 + i * 112}" y="14">{tag}</text></g>' for i, (tag, name) in enumerate(TAGS.items()))
    drawings = [_svg(f'<g class="key">{key}</g>', 18)]
    for topic in (entry for entry in entries if "parent" not in entry):
        children = [entry for entry in entries if entry.get("parent") == topic["label"]]
        middle = 1 + (len(children) - 1) * ROW / 2
        edges, boxes = [], [_box(topic, links, 1, middle, TOPIC_WIDTH, "level-1")]
        for row, child in enumerate(children):
            top = 1 + row * ROW
            start, end, turn = TOPIC_WIDTH + 1, CHILD_X, (TOPIC_WIDTH + CHILD_X) / 2
            edges.append(f'<path d="M{start} {middle + BOX / 2}C{turn} {middle + BOX / 2} '
                         f'{turn} {top + BOX / 2} {end} {top + BOX / 2}"/>')
            boxes.append(_box(child, links, CHILD_X, top, CHILD_WIDTH, "level-2"))
        drawings.append(_svg(f'<g class="edges">{"".join(edges)}</g>{"".join(boxes)}',
                             (len(children) - 1) * ROW + BOX + 2))
    self.body.append(f'<nav class="knowledge-graph" aria-label="知识图谱">{"".join(drawings)}</nav>\n')
    raise nodes.SkipNode


def _svg(content: str, height: float) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {CHILD_X + CHILD_WIDTH + 1} {height}">{content}</svg>'


def _box(entry: dict, links: dict[str, str], x: float, y: float, width: int, level: str) -> str:
    """One node: a link around a box with the label, and above it how it relates to its topic."""
    small, label = escape(entry.get("relation", entry.get("english", ""))), escape(entry["label"])
    name = "，".join(part for part in (label, small, entry["tag"]) if part)
    return (f'<a href="{escape(links[entry["label"]])}" class="{level} {TAGS[entry["tag"]]}" aria-label="{name}">'
            f'<rect x="{x}" y="{y}" width="{width}" height="{BOX}" rx="5"/>'
            f'<text class="small" x="{x + 10}" y="{y + 14}">{small}</text>'
            f'<text x="{x + 10}" y="{y + 31}">{label}</text></a>')


def setup(app: Sphinx) -> dict[str, object]:
    app.add_node(Graph, html=(visit_graph, None))
    app.add_directive("knowledge-graph", KnowledgeGraph)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
