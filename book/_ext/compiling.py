"""The scripts of all known models, compiled by other processes while the pages are written.

A script whose first line still names the package as it is stays from the build before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

from lecture10.models.load import known_models

REMEMBERED = {"SYMPY_CACHE_SIZE": "20000"}
"""Results of each function that SymPy keeps: with the usual 1,000 it derives a third of everything again."""

FOLDER = Path("_static", "formulas")

log = logging.getLogger(__name__)


def start(app: Sphinx) -> None:
    """Begin to compile the scripts that are missing or older than the package."""
    app.compiled_models, app.compiling = [], []
    if app.builder.format != "html":
        return
    folder = Path(app.outdir, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    mark, known = f"// {_digest()}", known_models()
    for path in folder.glob("*.js"):
        if path.stem not in known or not path.read_text(encoding="utf-8").startswith(mark):
            path.unlink()
    app.compiled_models = [name for name in known if (folder / f"{name}.js").exists()]
    missing = [name for name in known if name not in app.compiled_models]
    workers = min(4, max(1, (os.cpu_count() or 2) - 1), len(missing))
    command = [sys.executable, Path(__file__).with_name("scripts.py"), folder, mark]
    app.compiling = [subprocess.Popen([*command, *missing[first::workers]], env=os.environ | REMEMBERED,
                                      stdout=subprocess.PIPE, encoding="utf-8") for first in range(workers)]


def _digest() -> str:
    """A name of everything that the scripts are made of."""
    package, here = Path(str(files("lecture10"))), Path(__file__).parent
    sources = [*package.rglob("*.py"), *package.rglob("*.csv"), *package.rglob("*.json"),
               *(here / name for name in ("compiling.py", "scripts.py", "deployments.py", "formulas.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()[:16]


def offered(app: Sphinx) -> list[str]:
    """The models that were compiled; the build says which were not, and why."""
    for process in app.compiling:
        said, _ = process.communicate()
        if process.returncode:
            raise ChildProcessError(f"compiling the models ended with {process.returncode}: expected 0")
        for name, wrong in json.loads(said).items():
            if wrong:
                log.info("%s is not offered, %s", name, wrong)
            else:
                app.compiled_models.append(name)
    app.compiling = []
    return [name for name in known_models() if name in app.compiled_models]


def finish(app: Sphinx, error: Exception | None) -> None:
    """The chart library, which comes with a package."""
    if error is None:
        offered(app)
    for process in app.compiling:
        process.terminate()
    if error is None and app.builder.format == "html":
        charts = Path(find_spec("mpld3").origin).parent  # found, not imported: that would load Matplotlib
        shutil.copy(charts / "js" / "d3.v5.min.js", Path(app.outdir, "_static", "d3.min.js"))


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("builder-inited", start)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
