"""`auscult serve`: the local page."""

import signal
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..analysis import RESEARCH_ONLY
from ..analysis.spreadsheet import printable
from ..blas import tune_torch
from ..errors import AuscultError
from .process import prepare_memory

if TYPE_CHECKING:
    from fastapi import FastAPI

SEND_BYTES = 2**18  # that the system takes for a reader that does not read; it would be some MiB
HOST = "127.0.0.1"  # and nothing else: recordings of patients stay on this machine


def serve(
    folder: Path | None = None,
    /,
    *,
    model: str | None = None,
    port: int = 8765,
    state: Path | None = None,
    open_browser: Annotated[bool, Parameter(name="open", negative="no-open")] = True,
) -> int:
    """Shows recordings on a local page: hear, see and correct what the model found. Research use only.

    The page is for this machine: the server listens at 127.0.0.1 only, and sends nothing anywhere. Files dropped on it
    are removed when it is closed; reviews are kept. The address that it shows holds a token, new at every start: other
    users of this machine get nothing without it. Ctrl-C ends it.

    Args:
        folder: lists the recordings in it; they are only read.
        model: a name, a run folder or a weights file; the model in the package without it.
        port: where it listens; 0 takes a free one.
        state: where reviews are kept; the user's data folder without it.
        open_browser: show the page in the browser.
    """
    import platformdirs

    from ..predict import load
    from ..progress import say
    from ..web.app import create_app
    from ..web.memory import keep_little

    if folder is not None and not folder.is_dir():
        raise AuscultError("E_SETTING", f"{printable(str(folder))} is not a folder; give one with recordings, or none.")
    prepare_memory()
    keep_little()
    with listening(port) as listener:
        port = listener.getsockname()[1]
        loaded = load(model)
        tune_torch()
        state_dir = state or Path(platformdirs.user_data_dir("auscult", appauthor=False))
        app = create_app(loaded, source=model, folder=folder, state_dir=state_dir, port=port)
        say(RESEARCH_ONLY)
        say(f"reviews are kept in {state_dir}")
        run(app, listener, open_browser)
    return 0


def listening(port: int) -> socket.socket:
    """A socket at 127.0.0.1.

    Raises:
        AuscultError: E_SETTING for a port that is taken or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
    if sys.platform != "win32":  # there it would share the port with another program
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise AuscultError("E_SETTING", f"--port {port}: {reason}. Take another, or 0 for a free one.") from error
    return listener


def run(app: "FastAPI", listener: socket.socket, open_browser: bool) -> None:
    """Serves until Ctrl-C, or until the terminal is closed."""
    import uvicorn

    from ..progress import say
    from ..web.connection import Connection

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say(f"open {app.state.key.address} in a browser; Ctrl-C ends it")
            if open_browser:
                page = app.state.key.leave_at(app.state.session.store.root / "open.html")
                threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        http=Connection,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
    )
    server = Server(config)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, lambda *_: server.handle_exit(signal.SIGTERM, None))
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        say("stopped")
