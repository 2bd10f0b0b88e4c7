"""The list under the heading of the knowledge graph is drawn as SVG whose nodes are links; ``图：`` begins its caption.

An item is a topic, ``[label](target)（English，tag）``; an item below it is ``relation：[label](target)（tag）``.
Every topic is a drawing of its own, so that a page of print may end between two of them. Sphinx resolves the links, so
a node that leads nowhere is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

TAGS = {"课堂提及": "lecture", "代码实现": "code", "主动扩展": "extension"}
ROW, BOX = 48, 40  # px: distance of two rows, height of a box
TOPIC_WIDTH, CHILD_X, CHILD_WIDTH = 136, 172, 264  # as narrow as the labels allow: a phone shows the whole


class Graph(nodes.General, nodes.Element):
    pass


def draw(_app: Sphinx, doctree: nodes.document) -> None:
    for section in (section for section in doctree.findall(nodes.section) if "sec-notation-graph" in section["names"]):
        topics = next(section.findall(nodes.bullet_list))
        caption = next(text for text in section.findall(nodes.paragraph) if text.astext().startswith("图："))
        caption.parent.remove(caption)
        graph = Graph("", *(node for topic in topics for node in _nodes(topic)))
        text = nodes.caption("", caption.astext().removeprefix("图："))
        figure = nodes.figure("", graph, text, names=["fig-notation-graph"])
        doctree.note_explicit_target(figure)
        topics.replace_self(figure)


def _nodes(topic: nodes.list_item) -> Iterator[nodes.inline]:
    """The links of a topic and its children, each with what the list says about it."""
    parent = ""
    for paragraph in topic.findall(nodes.paragraph):
        link = next(node for node in paragraph if not isinstance(node, nodes.Text))
        before, _, after = paragraph.astext().partition(link.astext())
        *english, tag = after.strip("（）").split("，")
        small = before.removesuffix("：") or ", ".join(english)
        entry = {"label": link.astext(), "tag": tag, "small": small, "parent": parent}
        parent = parent or entry["label"]
        yield nodes.inline("", "", link, entry=entry)


def visit_graph(self: HTML5Translator, node: Graph) -> None:
    links = {child["entry"]["label"]: next((ref["refuri"] if "refuri" in ref else f"#{ref['refid']}"
                                            for ref in child.findall(nodes.reference)), "") for child in node}
    entries = [child["entry"] for child in node]
    key = "".join(f'<g class="{name}"><rect x="{1 + i * 112}" y="1" width="24" height="16" rx="3"/>'
                  f'<text x="{33 + i * 112}" y="14">{tag}</text></g>' for i, (tag, name) in enumerate(TAGS.items()))
    drawings = [_svg(f'<g class="key">{key}</g>', 18)]
    for topic in (entry for entry in entries if not entry["parent"]):
        children = [entry for entry in entries if entry["parent"] == topic["label"]]
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
    small, label = escape(entry["small"]), escape(entry["label"])
    name = "，".join(part for part in (label, small, entry["tag"]) if part)
    return (f'<a href="{escape(links[entry["label"]])}" class="{level} {TAGS[entry["tag"]]}" aria-label="{name}">'
            f'<rect x="{x}" y="{y}" width="{width}" height="{BOX}" rx="5"/>'
            f'<text class="small" x="{x + 10}" y="{y + 14}">{small}</text>'
            f'<text x="{x + 10}" y="{y + 31}">{label}</text></a>')


def setup(app: Sphinx) -> dict[str, object]:
    app.add_node(Graph, html=(visit_graph, None))
    app.connect("doctree-read", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
