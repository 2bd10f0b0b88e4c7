"""Weight of the pages beside a default Jupyter Book of the same notebooks.

``python benchmarks/site.py`` after ``make book``

Bytes are what a server that compresses text with gzip sends, figures counted apart; the time to the first contentful
paint is the median of five cold loads from this machine. A default page takes its mathematics from a CDN: it is
reported, not waited for.
"""

from __future__ import annotations

import gzip
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from playwright.sync_api import Browser, Response

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import site_checks  # noqa: E402

TEXT = {".html", ".css", ".js", ".svg", ".json"}
LOADS = 5


def default_book(folder: Path) -> Path:
    """The same notebooks built by Jupyter Book with nothing configured but what they need to be read at all."""
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns("_*", "glossary.md", "references.md"))
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    toc["chapters"] = [chapter for chapter in toc["chapters"] if "Lecture10" in chapter["file"]]
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")
    config = {"title": "default", "logo": "", "execute": {"execute_notebooks": "off"},
              "sphinx": {"extra_extensions": ["sphinx_exercise"]}}
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    subprocess.run([Path(sys.executable).with_name("jupyter-book"), "build", folder, "-q"], check=False,
                   capture_output=True)
    return folder / "_build" / "html"


def weigh(browser: Browser, site: Path, page: str) -> tuple[float, float, float, int]:
    """kB before figures, kB of figures, median milliseconds to the first contentful paint, foreign requests of one
    page."""
    paints, received = [], []
    with site_checks.served(site) as address:
        for _ in range(LOADS):
            tab, received, foreign = site_checks.tab(browser, 1280, "light"), [], 0
            tab.route(lambda url: not url.startswith(address), lambda route: route.abort())
            tab.on("response", lambda response, received=received: received.append(response))
            requests: list[str] = []
            tab.on("request", lambda request, requests=requests: requests.append(request.url))
            tab.goto(address + page, wait_until="networkidle")
            paints.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            foreign = sum(not url.startswith((address, "data:")) for url in requests)
            sizes = [(_sent(response), "/_images/" in response.url) for response in received]
            tab.context.close()
    return (sum(size for size, figure in sizes if not figure) / 1e3,
            sum(size for size, figure in sizes if figure) / 1e3, statistics.median(paints), foreign)


def _sent(response: Response) -> int:
    body, suffix = response.body(), Path(response.url.split("?")[0]).suffix
    return len(gzip.compress(body)) if suffix in TEXT else len(body)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, site_checks.chromium() as browser:
        default, ours = default_book(Path(folder)), ROOT / "_build" / "html"
        print("| page | kB | figures, kB | first paint, ms | default: kB | first paint, ms | foreign requests |")
        print("| :--- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for path in sorted((ours / "book").glob("*.html")):
            page = f"book/{path.name}"
            kilobytes, figures, paint, _ = weigh(browser, ours, page)
            other = weigh(browser, default, page) if (default / page).exists() else None
            beside = f"{other[0]:.0f} | {other[2]:.0f} | {other[3]}" if other else "| |"
            print(f"| {path.stem} | {kilobytes:.0f} | {figures:.0f} | {paint:.0f} | {beside} |")


if __name__ == "__main__":
    main()
