"""Generated examples are the same on every run, so that a red test is red again.

HYPOTHESIS_PROFILE=search looks for new ones. What circles leave behind is swept between files, not all the time: most
of it lives to the end, and the search took a tenth of the time. Kernels of notebooks, which end with their page, leave
it where it is.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
KERNELS = TemporaryDirectory(prefix="kernels-", ignore_cleanup_errors=True)  # what IPython reads and keeps

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_configure() -> None:
    profile = Path(KERNELS.name, "profile_default")
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text("import gc\ngc.disable()\n", encoding="utf-8")
    os.environ["IPYTHONDIR"] = KERNELS.name


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what all tests share is not searched again
    gc.disable()


@pytest.fixture(scope="module", autouse=True)
def _swept() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    import site_checks  # the browser's library is for those who ask

    with site_checks.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the built site."""
    import site_checks

    with site_checks.served(SITE) as address:
        yield address


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine shares its work among three threads, however many BLAS has."""
    from lecture10.engine import decoder, threads  # NumPy and the engine are for those who ask

    for module in (threads, decoder):
        monkeypatch.setattr(module, "THREADS", 3)
    threads.equal_shares.cache_clear()
    yield
    threads.equal_shares.cache_clear()
