"""The site carries the whole project: an archive of the tracked files, which the download menu of every page names.

Outside a git checkout nobody says which files are the project's: such a site is built without the archive.
"""

from __future__ import annotations

import subprocess
import zipfile
from functools import cache
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

NAME = "lecture10-book"
ARCHIVE = f"_static/{NAME}.zip"
logger = logging.getLogger(__name__)


@cache
def tracked(root: Path) -> list[str]:
    """The tracked files below ``root`` that exist, none where it is no git checkout."""
    try:
        listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True).stdout
        top = subprocess.run(["git", "-C", str(root), "rev-parse", "--show-toplevel"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    if Path(top.stdout.decode().strip()) != root.resolve():
        return []  # a copy that lies in another project's checkout
    return sorted(name for name in listed.decode().split("\0") if name and (root / name).is_file())


def offer(app: Sphinx, _page: str, _template: str, context: dict, _doctree: object) -> None:
    """Name the archive in the download menu."""
    menus = [button for button in context.get("header_buttons", []) if button.get("label") == "download-buttons"]
    if menus and tracked(Path(app.srcdir)):
        menus[0]["buttons"].append({
            "type": "link", "label": "download-book", "url": context["pathto"](ARCHIVE, resource=True),
            "icon": "fas fa-box-archive", "text": "整本书 .zip", "tooltip": "下载整个项目：笔记本、软件包和测试"})


def pack(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    root = Path(app.srcdir)
    names = tracked(root)
    if not names:
        logger.info("the archive of the project is left out: this is not a git checkout")
        return
    with zipfile.ZipFile(Path(app.outdir) / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(root / name, f"{NAME}/{name}")


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("html-page-context", offer, priority=950)
    app.connect("build-finished", pack, priority=700)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
