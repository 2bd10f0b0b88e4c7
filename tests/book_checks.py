"""What a page of the book must satisfy before it is built; each check returns the faults it found, as sentences."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^()\s]+(?:\([^()]*\)[^()\s]*)*)\)")
LABEL = re.compile(r"^\((?P<label>[\w-]+)\)=\s*$|^\s*:(?:label|name): *(?P<option>[\w-]+)\s*$|"
                   r"\$\$ *\((?P<equation>[\w-]+)\)", re.M)
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}


def cells(path: Path) -> list[dict]:
    """The cells of a notebook; a Markdown file counts as a single Markdown cell."""
    text = path.read_text(encoding="utf-8")
    return (json.loads(text)["cells"] if path.suffix == ".ipynb"
            else [{"cell_type": "markdown", "source": text, "metadata": {}}])


def markdown(path: Path) -> str:
    return "\n\n".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown")


def pages(root: Path) -> list[Path]:
    """The files of the table of contents, in order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"], *(chapter["file"] for chapter in toc["chapters"])]
    return [next((root / f"{name}{suffix}" for suffix in (".ipynb", ".md") if (root / f"{name}{suffix}").exists()),
                 root / name) for name in names]


def toc_faults(root: Path) -> list[str]:
    """Entries without a file, and pages of the book that no entry names."""
    listed = pages(root)
    missing = [f"_toc.yml names {page.relative_to(root)}, which does not exist"
               for page in listed if not page.is_file()]
    files = [page for suffix in ("ipynb", "md") for page in (root / "book").glob(f"*.{suffix}")]
    return missing + [f"{page.relative_to(root)} is not in _toc.yml" for page in sorted(files) if page not in listed]


def execution_faults(path: Path) -> list[str]:
    """Code cells that were not run from top to bottom, failed, are empty, or metadata that another run would change."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    faults = ([f"{path.name}: execution counts are {counts}: run it from top to bottom"]
              * (counts != [*range(1, len(code) + 1)]))
    faults += [f"{path.name}: cell {cell['id']} is empty" for cell in code if not "".join(cell["source"]).strip()]
    faults += [f"{path.name}: cell {cell['id']} holds an error or stderr output"
               for cell in code for output in cell["outputs"]
               if output["output_type"] == "error" or output.get("name") == "stderr"]
    faults += [f"{path.name}: cell {cell['id']} shows nothing"
               for cell in code if _is_expression(cell) and not cell["outputs"]]
    if notebook["metadata"] != METADATA:
        faults.append(f"{path.name}: notebook metadata is not the canonical one: use make notebooks")
    return faults


def _is_expression(cell: dict) -> bool:
    """Whether the last line is a bare name or call chain, which a run cell displays."""
    last = "".join(cell["source"]).rstrip().splitlines()[-1:]
    return bool(last and re.fullmatch(r"[a-z_][\w.]*(\[[^\]=]*\])*", last[0]) and last[0] not in {"pass", "else"})


def labels(path: Path) -> set[str]:
    """Targets that a link may name: explicit labels, directive labels, equations and figure names."""
    found = {name for match in LABEL.finditer(markdown(path)) for name in match.groups() if name}
    return found | {cell["metadata"]["mystnb"]["figure"]["name"] for cell in cells(path)
                    if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")}


def link_faults(path: Path) -> list[str]:
    """Relative links to a file or label that does not exist, and external links that are not https."""
    faults = []
    for target in (match["target"] for match in LINK.finditer(_without_code(markdown(path)))):
        if ":" in target:
            if not target.startswith("https://"):
                faults.append(f"{path.name}: link {target} is not https")
            continue
        name, _, fragment = target.partition("#")
        page = path.parent / name if name else path
        if not page.exists():
            faults.append(f"{path.name}: link {target} leads to no file")
        elif fragment and fragment not in labels(page):
            faults.append(f"{path.name}: link {target} leads to no label of {page.name}")
    return faults


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```(?!\{).*?^```", "", text, flags=re.M | re.S))
