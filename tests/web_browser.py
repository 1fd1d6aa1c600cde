"""A running server and a browser's page of it, for the tests of the local page."""

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from auscult.cli.serve import listening
from auscult.predict import Model
from auscult.runs import file_sha256
from auscult.signal.verdict import Verdict
from auscult.web.analysis import as_json
from auscult.web.app import create_app
from auscult.web.connection import Connection
from auscult.web.listening import make

from .web_parts import Inline

BREATHS = [(0.2, 1.8), (1.8, 3.4), (4.2, 5.6)]
DROP = """async (files) => {
    const transfer = new DataTransfer();
    for (const [name, content] of files) {
        const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
    }
    document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


class Told(Inline):
    """Decodes and predicts as ever, but is told where the breaths are, and takes noise for a good recording."""

    def __init__(self, model: Model, go: threading.Event) -> None:
        super().__init__(model)
        self.go = go

    def ask(self, request: Any, told: Callable[[float], None]) -> dict[str, Any]:
        path = Path(request["path"])
        duration_s = make(path, Path(request["folder"]), self.model.clip.sample_rate)
        told(0.5)
        self.go.wait(20)
        found = [(start, end) for start, end in BREATHS if end <= duration_s]
        answer = as_json(self.model.predict(path, found))
        if list(answer["verdict"]["reasons"]) != ["silent"]:
            accepted = Verdict(kind="accept", reasons=(), measures={})
            answer |= {"verdict": vars(accepted), "said": "abnormal", "doubt": round(1 / duration_s, 3)}
        return {"sha256": file_sha256(path), **answer}


@dataclass
class Visit:
    """A page, and what it must not do: say errors, ask elsewhere, open a dialog, run a name.

    Args:
        opened: the address with its token.
    """

    page: Any
    opened: str
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog {dialog.message}"), dialog.accept()))
        self.page.set_default_timeout(20_000)
        self.page.goto(self.opened)
        self.ready()

    @property
    def address(self) -> str:
        return self.opened.partition("/?")[0]

    def ready(self) -> None:
        self.page.wait_for_selector("#drop-hint:not(:empty)")

    def check(self) -> None:
        allowed = (self.address, "data:")
        assert [url for url in self.asked if not url.startswith(allowed)] == []
        assert self.said == [], self.said

    def give(self, *files: tuple[str, bytes]) -> None:
        """Drops files on the page."""
        self.page.goto(f"{self.address}/#/")
        self.page.evaluate(DROP, [[name, b64encode(content).decode()] for name, content in files])

    def show(self, name: str, content: bytes) -> None:
        """Drops a recording and waits for its result."""
        self.give((name, content))
        self.page.wait_for_selector("#result:not([hidden]) #cycles tbody tr")

    def text(self, selector: str) -> str:
        return " ".join(self.page.inner_text(selector).split())

    def rows(self) -> list[str]:
        return [" ".join(row.split()) for row in self.page.locator("#cycles tbody tr").all_inner_texts()]

    def saved(self) -> None:
        self.page.wait_for_selector("#saved.saved:not(.saving):not(.unsaved):not(.offline):not(.conflict)")

    def until(self, script: str) -> Any:
        """Waits for a script to be true; the page's own rules let Playwright's waiting not do that."""
        deadline = time.monotonic() + 20
        while not (value := self.page.evaluate(script)):
            assert time.monotonic() < deadline, script
            time.sleep(0.02)
        return value


@contextmanager
def served(model: Model, state: Path, go: threading.Event, folder: Path | None = None) -> Iterator[str]:
    """A running server; its address with the token."""
    with listening(0) as listener:
        port = listener.getsockname()[1]
        app = create_app(model, source=None, state_dir=state, folder=folder, port=port, start=lambda: Told(model, go))
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_level="error", ws="none", lifespan="on", http=Connection, timeout_graceful_shutdown=1
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield app.state.key.address
        finally:
            go.set()
            server.should_exit = True
            thread.join(10)
