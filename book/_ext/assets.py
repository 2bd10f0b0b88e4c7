"""What a page loads: one style sheet, scripts that never hold up the first paint, fonts cut down to the glyphs in use.

The theme brings half a megabyte of icons as a script, three icon fonts, eight style sheets and a search of its own.
"""

from __future__ import annotations

import logging
import os
import re
from importlib.resources import files
from pathlib import Path

from fontTools import subset
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

logging.getLogger("fontTools").setLevel(logging.WARNING)

UNUSED = ("DOCUMENTATION_OPTIONS.", "sphinx_highlight")
THEME_STYLES = ["_static/styles/theme.css", "_static/styles/pydata-sphinx-theme.css"]
THEME = Path(str(files("pydata_sphinx_theme"))) / "theme" / "pydata_sphinx_theme"
THEME_SCRIPT = Path("static/scripts/pydata-sphinx-theme.js")
MEASURED = re.compile(r'document\.querySelectorAll\(\["pre",[^\]]*\]\.join\(", "\)\)')
SHEET = Path("_static/styles/site.css")
ICON = re.compile(r'(?P<names>\.fa-[\w-]+:before(?:,\.fa-[\w-]+:before)*)\{content:"\\(?P<code>[0-9a-f]+)"\}')
MATH = re.compile(r"<math.*?</math>", re.S)
ENTITY = re.compile(r"&#(?:x([0-9a-fA-F]+)|(\d+));")


def lighten(app: Sphinx, _page: str, _template: str, context: dict, _doctree: object) -> None:
    """Defer or drop the scripts, and note the style sheets for the bundle instead of linking them."""
    scripts, seen = [], set()
    for script in context["script_files"]:
        key = str(script.filename or script.attributes.get("body"))
        if key in seen or any(name in key for name in UNUSED):
            continue
        seen.add(key)
        if script.filename:
            script.attributes["defer"] = "defer"
        scripts.append(script)
    context["script_files"] = scripts
    app.site_styles = list(dict.fromkeys([*getattr(app, "site_styles", THEME_STYLES), *(
        str(sheet.filename) for sheet in context["css_files"]
        if not any(name in str(sheet.filename) for name in UNUSED))]))
    context["css_files"] = []
    if "body" in context:  # a list whose items are not list items: read aloud as an empty list
        context["body"] = context["body"].replace('<div role="list" class="citation-list">',
                                                  '<div class="citation-list">')


def outdated(app: Sphinx, env: BuildEnvironment, _added: set, _changed: set, _removed: set) -> list[str]:
    """Every page, when a script, style sheet, template or extension of ours is newer than the site."""
    ours = [path for folder in ("_ext", "_static", "_templates")
            for path in Path(app.srcdir, "book", folder).glob("*.*")]
    sheet = Path(app.outdir) / SHEET
    current = sheet.exists() and max(path.stat().st_mtime for path in ours) < sheet.stat().st_mtime
    return [] if current else sorted(env.found_docs)


def bundle(app: Sphinx, error: Exception | None) -> None:
    """Write the style sheet and both fonts from what the built pages use, and the theme's script."""
    if error or app.builder.format != "html" or not hasattr(app, "site_styles"):
        return  # no page was written, nothing has changed
    out = Path(app.outdir)
    (out / f"_{THEME_SCRIPT.as_posix()}").write_text(_unmeasuring(), encoding="utf-8")
    html = "".join(page.read_text(encoding="utf-8") for page in out.rglob("*.html"))
    css = "\n".join(_relocated(out, name) for name in app.site_styles)
    used = set(re.findall(r"\bfa-[\w-]+", html))
    codes = {int(rule["code"], 16) for rule in ICON.finditer(css)
             if used & set(re.findall(r"fa-[\w-]+", rule["names"]))}
    codes |= {ord(icon) for icon in re.findall("[\ue000-\uf8ff]", css)}  # the theme's own, written as characters
    css = ICON.sub(lambda rule: rule[0] if int(rule["code"], 16) in codes else "", css)
    css = re.sub(r',url\([^)]*\.ttf\) format\("truetype"\)', "", css)
    (out / SHEET).write_text(css, encoding="utf-8")
    fonts = out / "_static" / "vendor" / "fontawesome" / "webfonts"
    _subset(fonts / "fa-solid-900.ttf", codes, fonts / "fa-solid-900.woff2")
    mathematics = re.sub(r"<[^>]*>", "", "".join(MATH.findall(html)))
    letters = set(map(ord, mathematics)) | {int(x, 16) if x else int(d) for x, d in ENTITY.findall(mathematics)}
    stix = Path(str(files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"))
    _subset(stix, letters | set(range(0x20, 0x7F)), out / "_static" / "math.woff2")


def _unmeasuring() -> str:
    """The theme's script without its list of boxes that may scroll: it lays out all, what is closed too, whenever
    the page changes; site.js makes them reachable. Raises ValueError where the list is not found."""
    text, found = MEASURED.subn("[]", (THEME / THEME_SCRIPT).read_text(encoding="utf-8"))
    if found != 1:
        raise ValueError(f"{THEME_SCRIPT.name} has {found} lists of boxes that may scroll: expected 1")
    return text


def _relocated(out: Path, name: str) -> str:
    """A style sheet whose relative addresses hold from where the bundle stands."""
    path = out / name.split("?")[0]
    prefix = os.path.relpath(path.parent, (out / SHEET).parent)
    text = path.read_text(encoding="utf-8")
    return re.sub(r"url\((['\"]?)(?!data:|['\"#/]|https?:)", lambda match: f"url({match[1]}{prefix}/", text)


def _subset(font: Path, codepoints: set[int], target: Path) -> None:
    options = subset.Options(flavor="woff2", layout_features=["*"], notdef_outline=True)
    options.drop_tables += ["DSIG"]
    loaded = subset.load_font(str(font), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codepoints)
    subsetter.subset(loaded)
    subset.save_font(loaded, str(target), options)


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("env-get-outdated", outdated)
    app.connect("html-page-context", lighten, priority=900)
    app.connect("build-finished", bundle, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
