"""Execute notebooks in place and write them canonically: ``python tools/notebooks.py [--measure] [NOTEBOOK ...]``.

Canonical means that running a notebook again changes no byte: no timestamps, no machine-dependent metadata, cells of a
notebook counted from 1, solutions closed. Without arguments every notebook of the book is executed. One that fails
is left untouched. Cells tagged ``measurement`` show timings of one machine: they are run, but keep their outputs unless
``--measure`` is given.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

BOOK = Path(__file__).resolve().parent.parent / "book"
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}
TIMEOUT_S = 600


def execute(path: Path, measure: bool = False) -> None:
    """Run ``path`` from top to bottom in a fresh kernel and rewrite it.

    Raises CellExecutionError at the first failing cell.
    """
    notebook = nbformat.read(path, as_version=4)
    kept = {} if measure else {cell.id: cell.outputs for cell in notebook.cells
                               if "measurement" in cell.metadata.get("tags", ()) and cell.outputs}
    NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False,
                   resources={"metadata": {"path": str(path.parent)}}).execute()
    temporary = path.with_suffix(".tmp")
    temporary.write_text(canonical(notebook, kept), encoding="utf-8", newline="\n")
    temporary.replace(path)


def canonical(notebook: nbformat.NotebookNode, kept: dict[str, list]) -> str:
    """The text of an executed notebook; cells named in ``kept`` get those outputs."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat_minor = 5
    for cell in notebook.cells:
        if cell.source.startswith("#### 解答"):
            cell.metadata["jp-MarkdownHeadingCollapsed"] = True  # JupyterLab notes which ones its reader has opened
        if cell.cell_type == "code":
            cell.outputs = kept.get(cell.id, _merge_streams(cell.outputs))
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    return nbformat.writes(notebook, indent=1, ensure_ascii=False) + "\n"


def _merge_streams(outputs: list) -> list:
    """Neighbouring writes to one stream as one output: how they were cut depends on timing."""
    merged: list = []
    for output in outputs:
        if merged and output.output_type == "stream" and merged[-1].get("name") == output.name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def main(arguments: list[str]) -> int:
    measure = "--measure" in arguments
    paths = [Path(argument) for argument in arguments if argument != "--measure"] or sorted(BOOK.glob("*.ipynb"))
    for path in tqdm(paths, unit="notebook", disable=None):
        try:
            execute(path, measure)
        except CellExecutionError as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
