"""The pages in a browser: nothing comes from outside, nothing runs, axe-core finds nothing, no screen is too narrow."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auscult.analysis.report import embedding_section
from auscult.analysis.results import write
from auscult.data.cycles import Cycle

from .browsers import chromium
from .reported import make_results
from .scored_runs import make_study

pytestmark = pytest.mark.browser
WIDTHS = (1280, 400)


def toy_embedding() -> Any:
    """What `embedding.embed` gives, of twelve cycles."""
    cycles = tuple(
        Cycle(recording=f"r{i}", patient=f"p{i}", device="d", site=f"s{i % 2}", start_s=0.0, end_s=1.0, label=i % 3,
              part="test")
        for i in range(12)
    )  # fmt: skip
    return SimpleNamespace(
        cycles=cycles, classes=("a", "b", "c"), truth=np.arange(12) % 3, predicted=np.zeros(12, int), facts="toy",
        place=np.random.default_rng(0).normal(size=(12, 2)), alike={}, features=8, perplexity=3.0, seed=0,
        fact=("site", [c.site for c in cycles]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run page with all its sections, and a study page."""
    folder = tmp_path_factory.mktemp("pages")
    run = write(folder / "out", make_results(folder), embedding_section(toy_embedding(), "test"))
    study = make_study(folder / "study", {"plain": 0.5, "a row with a rather long name": 2.0, "best": 3.0})
    return {"run": run, "study": study / "study.html"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["run", "study"])
def test_a_page_in_a_browser(pages: dict[str, Path], browser: Any, name: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(viewport={"width": width, "height": 900})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert said == [], "the browser complains, of something that the page may not load for instance"
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") == (0 if name == "study" else 3 + count_examples(pages[name]))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()


def count_examples(file: Path) -> int:
    """How many spectrograms a page shows, at least one."""
    found = file.read_text().count("spectrogram of a cycle")
    assert found
    return found


def test_the_pages_are_small_and_run_nothing(pages: dict[str, Path]) -> None:
    for file in pages.values():
        text = file.read_text()
        assert len(text) < 2_000_000 and "<script" not in text and "default-src 'none'" in text
        assert "http" not in text.replace('http-equiv="', "")
