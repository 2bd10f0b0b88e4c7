"""What a page of the book must satisfy before it is built; each check returns the faults it found, as sentences."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import yaml

LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^()\s]+(?:\([^()]*\)[^()\s]*)*)\)")
ANCHOR = re.compile(r'<a id="([\w-]+)"></a>')
LABELLED = re.compile(r"#+ |图：")
MYST = re.compile(r"^(?:```+|:::+) *\{.*|^\([\w-]+\)=\s*$|^\.\. .*|\{[a-z:]+\}`[^`]*`|\$\$ *\([\w-]+\)", re.M)
GROUND = re.compile(r'<g id="patch_1">\s*<path d="[^"]*" style="fill: #ffffff"')
EXERCISE, SOLUTION = "### 练习：", "#### 解答\n"


def cells(path: Path) -> list[dict]:
    """The cells of a notebook, not to be changed; a Markdown file counts as a single Markdown cell."""
    return _cells(path.read_text(encoding="utf-8"), path.suffix)


@cache  # by what stands in the file, which a test may change
def _cells(text: str, suffix: str) -> list[dict]:
    return (json.loads(text)["cells"] if suffix == ".ipynb"
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
    named = tuple(notebook["metadata"].get(part, {}).get("name") for part in ("kernelspec", "language_info"))
    if named != ("python3", "python"):  # JupyterLab writes the rest anew when it opens a notebook
        faults.append(f"{path.name}: kernel and language are {named}: use make notebooks")
    return faults


def plain_faults(path: Path) -> list[str]:
    """What only the site would show: MyST directives, roles, targets, and figures without a caption in the next cell or
    without a ground."""
    shown = cells(path)
    texts = ["".join(cell["source"]) if cell["cell_type"] == "markdown" else "" for cell in shown]
    faults = [f"{path.name}: {found.strip()} reads as markup outside the site" for text in texts
              for found in MYST.findall(_without_code(text))]
    figures = [_figures(cell) for cell in shown]
    faults += [f"{path.name}: figure {cell['id']} is drawn on nothing: black on black on a dark page"
               for cell, figure in zip(shown, figures) if not all(map(GROUND.search, figure))]
    faults += [f"{path.name}: figure {cell['id']} has no caption below it"
               for cell, figure, below in zip(shown, figures, [*texts[1:], ""])
               if figure and not below.startswith("图：")]
    return faults + [f"{path.name}: caption {cell['id']} has no figure above it"
                     for cell, text, above in zip(shown, texts, [[], *figures])
                     if text.startswith("图：") and not above]


def _figures(cell: dict) -> list[str]:
    found = ("".join(output.get("data", {}).get("image/svg+xml", "")) for output in cell.get("outputs", []))
    return [svg for svg in found if svg]


def exercise_faults(path: Path) -> list[str]:
    """Exercises whose next heading is not a solution, solutions whose last heading is not an exercise, and solutions
    with words in the cell of their heading, which JupyterLab does not close with the rest."""
    headings = [text for cell in cells(path) if cell["cell_type"] == "markdown"
                and (text := "".join(cell["source"]) + "\n").startswith("#")]
    return [f"{path.name}: {before.splitlines()[0]} is followed by {after.splitlines()[0]}"
            for before, after in itertools.pairwise(["# ", *headings, "# "])
            if before.startswith(EXERCISE) != after.startswith(SOLUTION)] + [
        f"{path.name}: the solution {text.removeprefix(SOLUTION).strip()[:20]!r} has to begin in a cell of its own"
        for text in headings if text.startswith(SOLUTION) and text != SOLUTION]


def code_share(path: Path, folded: Callable[[dict], dict]) -> float:
    """Share of the characters that a page shows at first which are code; ``folded`` closes cells as the site does."""
    seen = list(_unsolved(path))
    open_cells = [cell for cell in seen if cell["cell_type"] == "code"
                  and "hide-input" not in folded(cell)["metadata"].get("tags", ())]
    code = _length(*("".join(cell["source"]) for cell in open_cells))
    outputs = [_shown(output) for cell in seen for output in cell.get("outputs", [])]
    text = ["".join(cell["source"]) for cell in seen if cell["cell_type"] == "markdown"]
    return code / (code + _length(*outputs, re.sub(r"\]\([^)]*\)", "]", "\n".join(text))))


def _unsolved(path: Path) -> Iterator[dict]:
    """The cells outside the solutions, which the site keeps closed."""
    solving = False
    for cell in cells(path):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and text.startswith("#"):
            solving = f"{text}\n".startswith(SOLUTION)
        if not solving:
            yield cell


def _shown(output: dict) -> str:
    data = output.get("data", {})
    text = output.get("text") or data.get("text/markdown") or data.get("text/plain", "")
    return "" if "image/svg+xml" in data else "".join(text)


def _length(*texts: str) -> int:
    return sum(len("".join(text.split())) for text in texts)


def unnamed_checks(path: Path) -> list[str]:
    """Cells that only assert and do not say on their closed line what was checked."""
    code = {cell["id"]: cell for cell in cells(path) if cell["cell_type"] == "code"}
    only = [name for name, cell in code.items()
            if all(isinstance(part, ast.Assert) for part in ast.parse("".join(cell["source"])).body)]
    return [f"{path.name}: {name} only asserts: expected a code_prompt_show that begins with 核对：" for name in only
            if not code[name]["metadata"].get("mystnb", {}).get("code_prompt_show", "").startswith("核对：")]


NUMBER = re.compile(r"(?<![A-Za-z0-9_.-])(\d[\d,]*(?:\.\d+)?)(?![A-Za-z0-9_])")
PLACE = re.compile(r"(?:第|定理|推论|表|图|式|节|Python)\s*$")
YEAR = re.compile(r"(?:1[89]|20)\d\d")


def number_faults(path: Path) -> list[str]:
    """Numbers with a decimal point or three digits that a sentence states and nothing on the page does.

    A number is tied when an output of the page shows it, rounded to the sentence's digits, when the code contains it,
    or when its sentence cites a work or names a paper. Years and the numbers of sections and theorems are left out.
    """
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    given = {number.replace("_", "") for cell in code
             for number in re.findall(r"\d[\d_]*(?:\.\d+)?", "".join(cell["source"]))}
    shown = [float(number.replace(",", "")) for cell in code for text in _texts(cell)
             for number in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text)]
    return [f"{path.name}: {number} in {sentence.strip()[:40]!r} stands in no cell of the page"
            for sentence in re.split(r"\n\s*\n|\n(?=- |\d\. |\|)|。(?=.)", _without_code(markdown(path)))
            if "references.md#" not in sentence and "论文" not in sentence and not sentence.startswith("#")
            for number in _stated(re.sub(r"\]\([^)]*\)", "]", sentence))
            if number not in given and not any(_rounds_to(value, number) for value in shown)]


def _texts(cell: dict) -> list[str]:
    """The text of a code cell's outputs, without figures."""
    found = [output.get("text", "") for output in cell["outputs"]]
    found += [text for output in cell["outputs"] for kind, text in output.get("data", {}).items()
              if kind.startswith("text/")]
    return ["".join(text) for text in found]


def _stated(paragraph: str) -> list[str]:
    """The numbers of a paragraph that have to come from somewhere, without thousands separators."""
    found = [(match[1].strip(",").replace(",", ""), match) for match in NUMBER.finditer(paragraph)]
    return [number for number, match in found
            if ("." in number or len(number) > 2) and not YEAR.fullmatch(number)
            and not PLACE.search(paragraph[:match.start()]) and not paragraph[match.end():].lstrip().startswith("节")]


def _rounds_to(value: float, number: str) -> bool:
    digits = len(number.partition(".")[2])
    return abs(value - float(number)) <= 0.5 * 10**-digits * (1 + 1e-6)


def _is_expression(cell: dict) -> bool:
    """Whether the last line is a bare name or call chain, which a run cell displays."""
    last = "".join(cell["source"]).rstrip().splitlines()[-1:]
    return bool(last and re.fullmatch(r"[a-z_][\w.]*(\[[^\]=]*\])*", last[0]) and last[0] not in {"pass", "else"})


def labels(path: Path) -> set[str]:
    """What a link may name: cells that are a section, an exercise or a caption, and the entries of a list."""
    found = {f"cell-id={cell['id']}" for cell in cells(path) if "id" in cell and cell["cell_type"] == "markdown"
             and LABELLED.match("".join(cell["source"])) and re.match("(?:sec|ex|fig)-", cell["id"])}
    return found | set(ANCHOR.findall(markdown(path)))


def link_faults(path: Path) -> list[str]:
    """Relative links to a file or label that does not exist, and external links that are not https."""
    faults, labels_of = [], cache(labels)  # a page has dozens of links to the same few
    for target in (match["target"] for match in LINK.finditer(_without_code(markdown(path)))):
        if ":" in target:
            if not target.startswith("https://"):
                faults.append(f"{path.name}: link {target} is not https")
            continue
        name, _, fragment = target.partition("#")
        page = path.parent / name if name else path
        if not page.exists():
            faults.append(f"{path.name}: link {target} leads to no file")
        elif fragment and fragment not in labels_of(page):
            faults.append(f"{path.name}: link {target} leads to no label of {page.name}")
    return faults


def _without_code(text: str) -> str:
    return re.sub(r"(?<!\})`[^`\n]+`", "", re.sub(r"^```(?! *\{).*?^```", "", text, flags=re.M | re.S))
