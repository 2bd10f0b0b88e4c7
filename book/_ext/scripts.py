"""``python scripts.py FOLDER MARK MODEL...``: writes the script of each model, below the line MARK; prints as JSON what
was wrong with each, "" where nothing was. A process of its own, which loads SymPy and the package alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deployments import script

from lecture10.models.load import load_model


def write(name: str, folder: Path, mark: str) -> str:
    try:
        (folder / f"{name}.js").write_text(f"{mark}\n{script(name, load_model(name))}", encoding="utf-8")
    except (ValueError, TypeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    folder, mark, *names = sys.argv[1:]
    print(json.dumps({name: write(name, Path(folder), mark) for name in names}))
