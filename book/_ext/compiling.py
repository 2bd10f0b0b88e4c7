"""The scripts of all known models, compiled by other processes while the pages are written.

A script whose first line still names the package as it is stays from the build before.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import Future, ProcessPoolExecutor
from importlib.resources import files
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import deployments
from sphinx.application import Sphinx
from sphinx.util import logging

from lecture10.models.load import known_models, load_model

FOLDER = Path("_static", "formulas")

log = logging.getLogger(__name__)


def start(app: Sphinx) -> None:
    """Begin to compile the scripts that are missing or older than the package."""
    app.compiled_models = {}
    if app.builder.format != "html":
        return
    folder = Path(app.outdir, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    marks = dict.fromkeys(known_models(), f"// {_digest()}")
    for path in folder.glob("*.js"):
        if not path.read_text(encoding="utf-8").startswith(marks.get(path.stem, "none")):
            path.unlink()
    missing = [name for name in marks if not (folder / f"{name}.js").exists()]
    app.compiled_models = {name: None for name in marks if name not in missing}
    if missing:
        workers = max(1, min(4, (os.cpu_count() or 2) - 1, len(missing)))
        pool = app.compiling_pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        app.compiled_models |= {name: pool.submit(_write, name, folder, marks[name]) for name in missing}


def _digest() -> str:
    """A name of everything that the scripts are made of."""
    package, here = Path(str(files("lecture10"))), Path(__file__).parent
    sources = [*package.rglob("*.py"), *package.rglob("*.csv"), *package.rglob("*.json"),
               *(here / name for name in ("compiling.py", "deployments.py", "formulas.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()[:16]


def _write(name: str, folder: Path, mark: str) -> str:
    """Compile a model; what was wrong, "" if nothing."""
    try:
        (folder / f"{name}.js").write_text(f"{mark}\n{deployments.script(name, load_model(name))}", encoding="utf-8")
    except (ValueError, TypeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def offered(app: Sphinx) -> list[str]:
    """The models that were compiled; the build says which were not, and why."""
    found = []
    for name, future in app.compiled_models.items():
        wrong = future.result() if isinstance(future, Future) else ""
        if wrong:
            log.info("%s is not offered, %s", name, wrong)
        else:
            found.append(name)
    return found


def finish(app: Sphinx, error: Exception | None) -> None:
    """The chart library, which comes with a package."""
    if hasattr(app, "compiling_pool"):
        app.compiling_pool.shutdown(cancel_futures=error is not None)
    if error is None and app.builder.format == "html":
        charts = Path(find_spec("mpld3").origin).parent  # found, not imported: that would load Matplotlib
        shutil.copy(charts / "js" / "d3.v5.min.js", Path(app.outdir, "_static", "d3.min.js"))


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("builder-inited", start)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
