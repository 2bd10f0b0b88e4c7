"""Lets ``[text](Other.ipynb#label)`` reach an explicit target of another page: MyST knows the slugs of headings only.

A label that does not exist fails the strict build.
"""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def labels_become_fragments(_app: Sphinx, env: BuildEnvironment) -> None:
    domain = env.get_domain("std")
    for name, (docname, node_id) in domain.anonlabels.items():
        title = domain.labels[name][2] if name in domain.labels else name
        if docname in env.metadata:
            env.metadata[docname].setdefault("myst_slugs", {}).setdefault(name, (0, node_id, title))


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("env-updated", labels_become_fragments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
