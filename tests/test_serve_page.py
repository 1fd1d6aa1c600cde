"""The page of `auscult serve` in Chromium: dropped, seen, heard, corrected, kept and exported; by keyboard too."""

import io
import re
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import auscult
from auscult.predict import Model
from auscult.web.app import STATIC

from .browsers import chromium
from .web_browser import Visit, served
from .web_parts import breath, tiny_weights

pytestmark = pytest.mark.browser
FAKES = ("--mute-audio", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
SEEDS = count()
HOSTILE = "<img src=x onerror=alert(1)>.wav"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(*FAKES) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return auscult.load(tiny_weights(tmp_path_factory.mktemp("model") / "tiny.safetensors"), device="cpu")


@pytest.fixture
def sounds(tmp_path: Path) -> dict[str, bytes]:
    """Three breathing sounds of 6, 7 and 8 s that no other test has, as a review stays with its sound; and silence."""
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(48_000), 8000, "PCM_16", format="WAV")
    made = {f"s{i}": breath(tmp_path / f"{i}.wav", 6.0 + i, seed=next(SEEDS)).read_bytes() for i in range(3)}
    return made | {"silence": silence.getvalue()}


@pytest.fixture(scope="module")
def go() -> threading.Event:
    """Cleared, it holds every analysis."""
    event = threading.Event()
    event.set()
    return event


@pytest.fixture(scope="module")
def address(model: Model, go: threading.Event, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(model, tmp_path_factory.mktemp("state"), go) as address:
        yield address


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    visit = Visit(context.new_page(), address)
    yield visit
    recordings = visit.page.request.get(f"{visit.address}/api/recordings").json()["recordings"]
    for one in recordings:
        visit.page.request.delete(f"{visit.address}/api/recordings/{one['id']}", headers={"origin": visit.address})
    context.close()


def test_drop_see_hear_change_reload_export(visit: Visit, sounds: dict[str, bytes]) -> None:
    page = visit.page
    visit.show("breath one.wav", sounds["s0"])
    assert [row.split(" s ")[0] for row in visit.rows()] == ["1 0.20 – 1.80", "2 1.80 – 3.40", "3 4.20 – 5.60"]
    assert "Sample rate 8 kHz" in visit.text("#facts") and visit.text("#verdict h2") == "Abnormal sounds likely"
    assert page.get_attribute("#plot", "role") == "img" and "3 breaths" in page.get_attribute("#plot", "aria-label")

    page.focus("#timeline")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    visit.until("document.querySelector('audio').currentTime > 1.85")
    visit.until("document.querySelector('audio').paused")
    assert abs(page.evaluate("document.querySelector('audio').currentTime") - 3.4) < 0.05

    page.keyboard.press("2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("a")
    assert "3 s crackle" in visit.rows()[1].replace("3.40", "3") and visit.rows()[1].endswith("Changed")
    assert visit.rows()[2].endswith("Accepted") and visit.text("#progress") == "1 of 3 to check"
    visit.saved()
    kept = visit.rows()
    page.reload()
    page.wait_for_selector("#result:not([hidden]) #cycles tbody tr")
    assert visit.rows() == kept
    with page.expect_download() as download:
        page.click("#export-links >> text=ICBHI")
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[1] == "1.8\t3.4\t1\t0" and len(lines) == 3
    visit.check()


def test_a_bad_file_and_a_hostile_name(visit: Visit, sounds: dict[str, bytes]) -> None:
    visit.give((HOSTILE, b"this is no sound"))
    visit.page.wait_for_selector("#state [role=alert]")
    assert visit.text("#name") == HOSTILE and "E_FORMAT" in visit.text("#state")
    visit.give(("empty.wav", b""))
    visit.page.wait_for_selector("#alerts [role=alert]")
    assert "empty.wav" in visit.text("#alerts") and "Drop sound files" in visit.text("#alerts")
    visit.show(HOSTILE, sounds["s1"])
    assert visit.text("#name") == visit.page.title().removesuffix(" · auscult") == HOSTILE
    assert visit.page.locator("img").count() == 1  # the page's own mark
    visit.check()


def test_edges_by_drag_new_breaths_and_undo(visit: Visit, sounds: dict[str, bytes]) -> None:
    page = visit.page
    visit.show("drag.wav", sounds["s2"])
    before = visit.rows()
    box = page.locator("#marks").bounding_box()

    def x(seconds: float) -> float:
        return box["x"] + 52 + seconds / 8.0 * (box["width"] - 60)

    def drag(start: float, end: float) -> None:
        page.mouse.move(x(start), box["y"] + 118)
        page.mouse.down()
        page.mouse.move(x((start + end) / 2), box["y"] + 118)
        page.mouse.move(x(end), box["y"] + 118)
        page.mouse.up()

    drag(1.8, 2.4)  # an edge that two breaths share
    times = [float(t) for t in re.findall(r"\d\.\d\d", " ".join(row.split(" s ")[0] for row in visit.rows()))]
    assert times[1] == times[2] and abs(times[1] - 2.4) < 0.03 and times[3:] == [3.4, 4.2, 5.6]
    drag(6.0, 7.5)
    assert len(visit.rows()) == 4 and "Added" in visit.rows()[3] and "not predicted" in visit.rows()[3]
    page.keyboard.press("4")
    assert "both" in visit.rows()[3]
    page.keyboard.press("Delete")
    assert len(visit.rows()) == 3
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert visit.rows() == before and page.is_disabled("#undo")
    page.keyboard.press("Control+Shift+z")
    assert "2.40" in visit.rows()[0] or "2.39" in visit.rows()[0] or "2.41" in visit.rows()[0]
    page.fill("#edge-end_s", "9.9")
    page.press("#edge-end_s", "Tab")
    assert float(page.input_value("#edge-end_s")) <= 8.0
    page.mouse.click(x(4.8), box["y"] + 118)
    visit.until("!document.querySelector('audio').paused")
    assert visit.text("#editor h2") == "Breath 3"
    visit.saved()
    visit.check()


def test_wheel_and_keys_zoom_and_scroll(visit: Visit, sounds: dict[str, bytes]) -> None:
    page = visit.page
    visit.show("zoom.wav", sounds["s0"])
    page.wait_for_timeout(200)
    visit.asked.clear()
    page.hover("#marks")
    page.keyboard.down("Control")
    for _ in range(4):
        page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    visit.until("performance.getEntriesByType('resource').filter(one => one.name.includes('/peaks')).length > 1")
    spans = [re.findall(r"(?:start|end)=([\d.]+)", url) for url in visit.asked if "/spectrogram" in url]
    start, end = map(float, spans[-1])
    assert 0 < start < end < 6.0, "only a part is asked for, around the pointer"
    assert page.evaluate("visualViewport.scale") == 1 and page.evaluate("scrollY") == 0
    page.mouse.wheel(0, 200)  # a plain wheel belongs to the page
    visit.until("scrollY > 0")
    visit.check()


def test_a_second_tab_makes_no_review_disappear(visit: Visit, sounds: dict[str, bytes]) -> None:
    page = visit.page
    visit.show("twice.wav", sounds["s1"])
    review = f"{visit.address}/api/recordings/{page.url.split('#/')[1]}/review"

    def other_tab(notes: str) -> None:
        stored = page.request.get(review).json() | {"notes": notes}
        assert page.request.put(review, data=stored, headers={"origin": visit.address}).ok

    for keep, button in ((True, "Keep mine"), (False, "Load the other")):
        other_tab(f"from the other tab, {button}")
        page.focus("#timeline")
        page.keyboard.press("3" if keep else "4")
        page.wait_for_selector("#conflict [role=alert]")
        assert visit.text("#saved") == "Not saved"
        page.click(f"#conflict >> text={button}")
        visit.saved()
        stored = page.request.get(review).json()
        assert stored["breaths"][0]["label"] == "wheeze" and "wheeze" in visit.rows()[0]
        assert (stored["notes"] == "") == keep and page.input_value("#notes") == stored["notes"]
    assert all("409" in line for line in visit.said)


def test_what_cannot_be_saved_now_is_saved_later(visit: Visit, sounds: dict[str, bytes]) -> None:
    page = visit.page
    visit.show("later.wav", sounds["s2"])
    page.route("**/review", lambda route: route.abort() if route.request.method == "PUT" else route.continue_())
    page.focus("#timeline")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("4")
    page.wait_for_selector("#saved.offline")
    assert "does not answer" in visit.text("#saved")
    page.unroute("**/review")
    page.reload()
    page.wait_for_selector("#result:not([hidden]) #cycles tbody tr")
    assert "both" in visit.rows()[1] and visit.rows()[1].endswith("Changed")
    visit.saved()


def test_the_threshold_says_what_it_is_worth(visit: Visit, sounds: dict[str, bytes]) -> None:
    page = visit.page
    assert "no validation figures" in page.text_content("#threshold") and not page.query_selector("#threshold input")
    points = [{"threshold": t, "sensitivity": 1 - t / 2, "specificity": t} for t in (0.1, 0.5, 0.9)]

    def answer(route: Any) -> None:
        route.fulfill(json=route.fetch().json() | {"threshold": 0.5, "operating_points": points})

    page.route("**/api/info", answer)
    page.reload()
    visit.ready()
    visit.show("threshold.wav", sounds["s0"])
    page.wait_for_selector("#threshold-slider")
    assert "75 %" in visit.text("#threshold") and "3 of 3" in visit.text("#threshold")
    page.focus("#threshold-slider")
    page.keyboard.press("ArrowRight")
    assert "55 %" in visit.text("#threshold") and "90 %" in visit.text("#threshold")
    flagged = int(re.findall(r"(\d) of 3", visit.text("#threshold"))[0])
    assert flagged == page.locator("#cycles .flag.on").count() < 3
    visit.check()


def test_a_recording_from_the_microphone(visit: Visit) -> None:
    page = visit.page
    page.click("#record")
    page.wait_for_selector("#recorder:not([hidden])")
    visit.until("document.getElementById('recorder-time').textContent >= '0:02'")
    page.click("#recorder-stop")
    page.wait_for_selector("#result:not([hidden])")
    assert visit.text("#name").startswith("recording 20") and visit.text("#facts").startswith("Length 2.")
    visit.check()


def test_every_state_is_accessible_and_fits(
    browser: Any, model: Model, sounds: dict[str, bytes], tmp_path: Path
) -> None:
    """axe-core finds nothing and nothing is too wide, at 1280 and 400 pixels; folder, waiting, running, cancelled."""
    from axe_playwright_python.sync_playwright import Axe

    folder, go = tmp_path / "folder", threading.Event()
    folder.mkdir()
    for name in ("s0", "s1", "silence"):
        (folder / f"{name}.wav").write_bytes(sounds[name])
    (folder / "broken.wav").write_bytes(b"RIFF")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    axe = Axe()

    def accessible(state: str, both: bool = False) -> None:
        for width in (400, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, state
            if both or width == 1280:
                found = axe.run(page)
                assert found.violations_count == 0, f"{state}\n{found.generate_report()}"

    def open_row(name: str) -> None:
        page.click("a[href='#/'] >> nth=0")
        page.click(f"#records >> text={name}.wav")

    with served(model, tmp_path / "empty", go) as address:
        Visit(page, address)
        accessible("empty", both=True)
    go.clear()
    page = context.new_page()
    with served(model, tmp_path / "state", go, folder) as address:
        visit = Visit(page, address)
        accessible("folder list", both=True)
        page.click("#analyse-all")
        page.wait_for_selector("#records progress")
        open_row("s1")
        page.wait_for_selector("#state:has-text('In line')")
        page.click("#state >> text=Cancel")
        page.wait_for_selector("#state:has-text('Cancelled')")
        open_row("broken")
        accessible("running")
        go.set()
        page.wait_for_selector("#state [role=alert]")
        accessible("failed")
        open_row("silence")
        page.wait_for_selector("#verdict.bad")
        assert "record again" in visit.text("#verdict") and "silent" in visit.text("#verdict")
        accessible("poor")
        open_row("s0")
        page.wait_for_selector("#cycles tbody tr")
        accessible("done")
        page.click("#heat")
        page.click("#cycles tbody tr:nth-child(2) button")
        page.keyboard.press("1")
        page.click("summary")
        visit.saved()
        accessible("reviewing", both=True)
        visit.check()
    context.close()


def test_the_list_sorts_by_doubt(visit: Visit, sounds: dict[str, bytes]) -> None:
    page = visit.page
    visit.give(*((f"sort {i}.wav", sounds[f"s{i}"]) for i in range(3)))
    visit.until("document.querySelectorAll('#records .tag').length === 3")
    for name, first in (("Doubt", "sort 0"), ("Doubt", "sort 2"), ("Length", "sort 2"), ("Recording", "sort 0")):
        page.click(f"#records .sort >> text={name}")
        assert visit.text("#records tbody tr").startswith(first)
        assert page.locator("#records [aria-sort]").count() == 1
    visit.check()


def test_a_recording_becomes_a_plain_wav(visit: Visit) -> None:
    script = """async () => {
        const { wav } = await import("/static/recorder.js");
        const blocks = [new Float32Array([0, 0.5, -0.5]), new Float32Array([1, -1, 2])];
        return [...new Uint8Array(await wav(blocks, 8000).arrayBuffer())];
    }"""
    sound, rate = soundfile.read(io.BytesIO(bytes(visit.page.evaluate(script))))
    assert rate == 8000
    np.testing.assert_allclose(sound, [0, 0.5, -0.5, 1, -1, 1], atol=1e-4)


def test_the_pages_files_are_plain_and_ours() -> None:
    """No file is long, none fetches from elsewhere, and nothing turns text into elements."""
    files = sorted(STATIC.iterdir())
    assert {file.suffix for file in files} == {".html", ".css", ".js", ".svg"}
    for file in files:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert len(text.splitlines()) <= 400, file.name
        assert not re.search(r"innerHTML|insertAdjacentHTML|outerHTML|document\.write|\beval\(|https?://", text), (
            file.name
        )
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?! type=\"module\" src=\"/static/)", page)
