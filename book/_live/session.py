"""Python in the page: runs the cells of one notebook as its kernel would, and turns what they show into HTML.

A browser has neither NumPy nor Matplotlib here, nor the files beside the notebooks. A name imported from a module that
is missing complains when it is used; so does what the rest of that cell would have defined.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import linecache
import sys
import traceback
from collections.abc import Iterator
from html import escape
from pathlib import Path

REPRESENTATIONS = {"text/markdown": "_repr_markdown_", "text/latex": "_repr_latex_", "text/html": "_repr_html_"}

names: dict[str, object] = {}
shown: dict[str, object] = {}
"""The last value that each cell displayed."""


class MissingError(Exception):
    """A cell uses what only an installed book has."""


class Missing:
    """Stands for a name of a module that is not here: every use of it raises MissingError."""

    def __init__(self, module: str) -> None:
        object.__setattr__(self, "module", module)

    def __getattribute__(self, name: str) -> object:
        raise MissingError(object.__getattribute__(self, "module"))

    def __call__(self, *_arguments: object, **_named: object) -> object:
        raise MissingError(object.__getattribute__(self, "module"))

    __or__ = __ror__ = __and__ = __mod__ = __floordiv__ = __matmul__ = __abs__ = __enter__ = __exit__ = \
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = \
        __pow__ = __neg__ = __getitem__ = __iter__ = __len__ = __bool__ = __contains__ = __lt__ = __le__ = \
        __gt__ = __ge__ = __eq__ = __float__ = __int__ = __index__ = __repr__ = __str__ = __format__ = __hash__ = \
        __call__


def start() -> str:
    """A session without names."""
    names.clear()
    shown.clear()
    names["__name__"] = "__main__"
    return json.dumps(sys.version.split()[0])


def run(source: str, cell: str = "") -> str:
    """Run the cell called ``cell`` and return JSON: its status, what it shows, and what is missing or went wrong."""
    filename = f"cell {cell}"
    linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
    printed, outputs = io.StringIO(), []
    answer: dict[str, object] = {"status": "ok", "outputs": outputs}
    with contextlib.redirect_stdout(printed):
        try:
            if (value := _value(source, filename)) is not None:
                outputs.append(_bundle(value))
                shown[cell] = names["_"] = value
        except MissingError as missing:
            answer |= {"status": "missing", "missing": str(missing)}
        except (Exception, KeyboardInterrupt) as error:
            answer |= {"status": "error", "error": _report(error, filename)}
    if printed.getvalue():
        outputs.insert(0, {"stdout": printed.getvalue()})
    return json.dumps(answer)


def skip(source: str) -> str:
    """Leave a cell out that measures: what it would have defined is missing."""
    names.update(dict.fromkeys(_defined(ast.parse(source).body), Missing("measurement")))
    return "null"


def _value(source: str, filename: str) -> object:
    """Execute ``source`` statement by statement; the value of the last one where it is an expression.

    Where something is missing, so is what the statements from there on would have defined.
    """
    left = [part for statement in ast.parse(source, filename).body for part in _single_imports(statement)]
    try:
        while left:
            statement = left[0]
            if len(left) == 1 and isinstance(statement, ast.Expr) and not source.rstrip().endswith(";"):
                return eval(compile(ast.Expression(statement.value), filename, "eval"), names)
            _execute(statement, filename)
            del left[0]
    except (MissingError, ModuleNotFoundError, FileNotFoundError) as error:
        module = _missing(error)
        names.update(dict.fromkeys(_defined(left), Missing(module)))
        raise MissingError(module) from None
    return None


def _missing(error: Exception) -> str:
    """What is missing: a module by its name, or the files beside the notebooks."""
    if isinstance(error, FileNotFoundError):
        return "files"
    return error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) else str(error)


def _defined(statements: list[ast.stmt]) -> Iterator[str]:
    for node in ast.walk(ast.Module(statements, [])):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def _single_imports(statement: ast.stmt) -> Iterator[ast.stmt]:
    """An import statement as one statement for each name, any other as it is."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield statement
        return
    for alias in statement.names:
        single = ast.Import([alias]) if isinstance(statement, ast.Import) else ast.ImportFrom(
            statement.module, [alias], statement.level)
        yield ast.copy_location(single, statement)


def _execute(statement: ast.stmt, filename: str) -> None:
    try:
        exec(compile(ast.Module([statement], []), filename, "exec"), names)
    except ModuleNotFoundError as error:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)):
            raise
        alias = statement.names[0]
        names[alias.asname or alias.name.partition(".")[0]] = Missing(error.name.partition(".")[0])


def _bundle(value: object) -> dict[str, str]:
    """What a notebook keeps of ``value``: its text and the representation that the page shows instead."""
    from IPython.lib.pretty import pretty

    found = {"text/plain": pretty(value)}
    for mime, method in REPRESENTATIONS.items():
        representation = getattr(type(value), method, None)
        if representation and (text := representation(value)) is not None:
            found[mime] = text
    return found


def _report(error: BaseException, filename: str) -> str:
    """The error with those lines of the cell that led to it; what happened inside the package is left out."""
    summary = traceback.TracebackException.from_exception(error)
    summary.stack = traceback.StackSummary.from_list([f for f in summary.stack if f.filename == filename])
    return "".join(summary.format(chain=False)).rstrip()


def show(outputs: str) -> str:
    """The HTML, as JSON, of the outputs of ``run``, in the form that the pages have."""
    return json.dumps("".join(_html(output) for output in json.loads(outputs)))


def _html(output: dict[str, str]) -> str:
    if "text/html" in output:
        return f'<div class="output text_html">{output["text/html"]}</div>'
    if "text/markdown" in output:
        return f'<div class="output text_markdown">{_markdown(output["text/markdown"])}</div>'
    if "text/latex" in output:
        tex = output["text/latex"].strip().strip("$").removeprefix(r"\displaystyle")
        return f'<div class="output text_latex math">{_mathml(tex, "block")}</div>'
    text = output.get("stdout", output.get("text/plain", ""))
    return f'<div class="output text_plain"><div class="highlight"><pre>{escape(text)}</pre></div></div>'


def _markdown(text: str) -> str:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    parser = MarkdownIt("commonmark").enable("table")
    parser.use(dollarmath_plugin, renderer=lambda tex, options: _mathml(
        tex, "block" if options["display_mode"] else "inline"))
    html = parser.render(text).replace('class="math inline"', 'class="math"').replace("<eq>", "").replace("</eq>", "")
    return html.replace("<table>", '<div class="pst-scrollable-table-container"><table class="table">').replace(
        "</table>", "</table></div>")


def _mathml(tex: str, display: str) -> str:
    from latex2mathml.converter import convert
    from tex import names_apart

    return convert(names_apart(tex.strip()), display=display)


def compile_model(text: str, name: str) -> str:
    """JSON of the planner's script for the config.json with this ``text`` and of the notes on it, or of the error."""
    import deployments

    from lecture10.models.load import load_model

    path = Path("config.json")
    try:
        path.write_text(text, encoding="utf-8")
        model = load_model(path)
        return json.dumps({"script": deployments.script(name, model), "notes": model.notes})
    except ValueError as error:
        return json.dumps({"error": str(error)})
    finally:
        path.unlink(missing_ok=True)


def judge(answer: str, value: str, cell: str, unit: str) -> str:
    """JSON of the verdict on ``answer``; the right one is ``value``, evaluated after ``cell`` had been run."""
    from lecture10.answers import judge

    try:
        expected = eval(value, {**names, "_": shown.get(cell)})
        verdict = judge(answer, expected, unit)
    except ValueError as error:
        return json.dumps({"kind": "malformed", "message": str(error)})
    return json.dumps({"kind": verdict.kind, "yours": str(verdict.yours), "expected": str(verdict.expected),
                       "point": {str(symbol): str(size) for symbol, size in verdict.point.items()}})
