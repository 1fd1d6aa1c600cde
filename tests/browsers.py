"""A browser for the tests that open pages; they are skipped where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@contextmanager
def chromium(*more: str) -> Iterator[Any]:
    """Chromium under Playwright, with further arguments."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=[*ARGUMENTS, *more])
        yield opened
        opened.close()
