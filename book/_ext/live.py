"""Python in the pages: each notebook page gets the data with which ``_static/live.js`` runs its cells in the browser.

Nothing is loaded before the reader asks. ``tools/runtime.py`` fetches what runs Python; without it the pages are as
they were, and a line says so. The metadata of an exercise, ``answers``, lists what may be typed there: what it ``asks``
for, the right ``value`` as an expression in the names of the solution (``_``: what its last cell shows), the ``unit``
of the value (``B``) and a ``hint`` for who is wrong.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

PYODIDE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "pyodide-lock.json")
COMPILED = ("python_stdlib.zip", "libraries.zip")
EDITOR = re.compile(r"@codemirror/|@lezer/|@marijn/|style-mod|w3c-keyname|crelt")
IMPORT = re.compile(r"""(?<=from )(['"])(?P<package>@?\w[\w./-]*)\1(?=;)""")
logger = logging.getLogger(__name__)


def available(app: Sphinx) -> bool:
    return all((Path(app.srcdir) / ".runtime" / name).exists() for name in COMPILED)


def outdated(app: Sphinx, env: BuildEnvironment, _added: set, _changed: set, _removed: set) -> list[str]:
    """Every page, when the runtime has come or gone since the site was built."""
    built = (Path(app.outdir) / "_static" / "live" / "archives.json").exists()
    return [] if built == available(app) else sorted(env.found_docs)


def page_data(cells: list[dict]) -> dict:
    """The code cells with their committed outputs, and for each exercise its answers and the cell that knows them."""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return {"cells": [{"id": cell["id"], "source": "".join(cell["source"]), "outputs": _texts(cell["outputs"]),
                       "measures": "measurement" in cell["metadata"].get("tags", ())} for cell in code],
            "answers": _answers(cells)}


def _texts(outputs: list[dict]) -> list[dict[str, str]]:
    """The texts of committed outputs by kind; figures are not compared."""
    kinds = [{"stdout": output["text"]} if output["output_type"] == "stream" else output["data"] for output in outputs]
    return [{kind: "".join(text) for kind, text in found.items()} for found in kinds if "image/svg+xml" not in found]


def _answers(cells: list[dict]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    asked, exercise, solving = [], "", False
    for cell in cells:
        if cell["cell_type"] == "code":
            if solving and asked:
                found[exercise] = [answer | {"cell": cell["id"]} for answer in asked]
        elif (text := "".join(cell["source"])).startswith("#"):
            solving = text.startswith("#### 解答")
            if not solving:
                asked, exercise = cell["metadata"].get("answers", []), cell["id"]
    return found


def add(app: Sphinx, page: str, _template: str, context: dict, _doctree: object) -> None:
    """Put the address of the page's cells and its questions into the page."""
    path = Path(app.env.doc2path(page)) if page in app.env.found_docs else Path()
    if path.suffix != ".ipynb" or "body" not in context or not available(app):
        return
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    data = page_data(cells)
    if 2 * sum(cell["measures"] for cell in data["cells"]) >= len(data["cells"]):
        return  # a page that measures, or without cells
    text = json.dumps(data, ensure_ascii=False)
    target = Path(app.outdir) / "_static" / "live" / f"{path.stem}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    told = {"cells": f"_static/live/{target.name}?v={_digest(text.encode())}", "answers": data["answers"]}
    text = json.dumps(told, ensure_ascii=False).replace("</", "<\\/")
    context["body"] += f'<script type="application/json" id="live">{text}</script>'
    for script in ("python-bar.js", "live.js"):
        app.add_js_file(script)


def copy(app: Sphinx, error: Exception | None) -> None:
    """Put the runtime and the package of the book into the site."""
    if error or app.builder.format != "html":
        return
    source, out = Path(app.srcdir), Path(app.outdir) / "_static" / "live"
    if not available(app):
        shutil.rmtree(out, ignore_errors=True)
        logger.info("Python in the pages is left out: tools/runtime.py has not fetched it")
        return
    (out / "pyodide").mkdir(parents=True, exist_ok=True)
    for name in PYODIDE:
        shutil.copy2(source / ".runtime" / "node_modules" / "pyodide" / name, out / "pyodide")
    _copy_editor(source / ".runtime" / "node_modules", out)
    for name, folder in zip(COMPILED, (out / "pyodide", out)):
        shutil.copy2(source / ".runtime" / name, folder)
    _pack(source, out / "book.zip")
    archives = {name: _digest((out / name).read_bytes()) for name in ("libraries.zip", "book.zip")}
    (out / "archives.json").write_text(json.dumps([f"{name}?v={v}" for name, v in archives.items()]), encoding="utf-8")


def _copy_editor(modules: Path, out: Path) -> None:
    """The packages of the editor, one file each, which import each other by file name: a browser knows no packages."""
    for manifest in sorted([*modules.glob("*/package.json"), *modules.glob("@*/*/package.json")]):
        package = manifest.parent.relative_to(modules).as_posix()
        if EDITOR.match(package):
            module = json.loads(manifest.read_text(encoding="utf-8"))["exports"]["import"]
            text = (manifest.parent / module).read_text(encoding="utf-8")
            text = IMPORT.sub(lambda found: f'"./{_flat(found["package"])}"', text)
            (out / _flat(package)).write_text(text, encoding="utf-8")


def _flat(package: str) -> str:
    return package.removeprefix("@").replace("/", "-") + ".js"


def _pack(source: Path, target: Path) -> None:
    """The package, the session that runs it, and what formats and compiles for the build too, as one archive."""
    own = [source / "book" / "_live" / "session.py",
           *(source / "book" / "_ext" / name for name in ("tex.py", "formulas.py", "deployments.py"))]
    package = sorted(path for path in (source / "lecture10").rglob("*")
                     if path.suffix in {".py", ".csv", ".json"} and "__pycache__" not in path.parts)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (*own, *package):
            member = zipfile.ZipInfo(path.name if path in own else path.relative_to(source).as_posix())
            archive.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("env-get-outdated", outdated)
    app.connect("html-page-context", add, priority=850)
    app.connect("build-finished", copy, priority=700)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
