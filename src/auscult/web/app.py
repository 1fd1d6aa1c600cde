"""The web application: the page, its files and the answers of `answers.py`, behind `guard.Guard`."""

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ..errors import AuscultError
from .answers import api
from .guard import Guard, Refused, problem
from .key import Key
from .memory import give_back
from .session import Session
from .worker import ProcessWorker, Worker, command

if TYPE_CHECKING:
    from ..predict import Model

PORT = 8765
MAX_BYTES = 2**30  # of an upload: 1.7 h of 16-bit stereo at 44.1 kHz, 3.4 h of mono
SWEEP_S = 5.0
STATIC = Path(__file__).parent / "static"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
}
STATUS = {"E_DISK": 507, "E_NOT_A_FILE": 404}


def create_app(
    model: "Model",
    *,
    source: str | Path | None,
    state_dir: Path,
    folder: Path | None = None,
    port: int = PORT,
    max_bytes: int = MAX_BYTES,
    start: Callable[[], Worker] | None = None,
) -> FastAPI:
    """The application of `auscult serve`; its key is `state.key`.

    Args:
        model: that is shown and explains.
        source: what `auscult.load` made it from; the worker process loads it again.
        state_dir: where reviews are kept.
        folder: whose recordings are listed, never changed.
        port: where it will listen; requests for another are refused.
        max_bytes: of an upload.
        start: makes a worker; None takes a process.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        session = Session(model, folder, state_dir, start or partial(ProcessWorker, command(source)))
        app.state.session = session
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sweep, session)
                yield
                tasks.cancel_scope.cancel()
        finally:
            session.close()

    app = FastAPI(title="auscult", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.max_bytes, app.state.key = max_bytes, Key(port)
    app.include_router(api)
    app.add_api_route("/", page, methods=["GET"])
    app.add_api_route("/static/{name}", static, methods=["GET"])
    app.add_middleware(Guard, key=app.state.key, port=port, max_bytes=max_bytes, upload="/api/recordings")
    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(AuscultError, failed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, other)
    return app


async def sweep(session: Session) -> None:
    """Removes uploads some time after the last page was closed; gives free memory back."""
    while True:
        await anyio.sleep(SWEEP_S)
        await anyio.to_thread.run_sync(session.sweep)
        await anyio.to_thread.run_sync(give_back)


def page() -> Response:
    """The page."""
    return static("index.html")


def static(name: str) -> Response:
    """A file of the page; only names that are there."""
    files = {file.name: file for file in STATIC.iterdir() if file.suffix in KINDS}
    if name not in files:
        raise Refused(404, "E_NOT_FOUND", "there is no such file.")
    return Response(files[name].read_bytes(), media_type=KINDS[files[name].suffix])


async def refused(request: Request, error: Exception) -> Response:
    """A refusal as JSON."""
    assert isinstance(error, Refused)
    return error.answer()


async def failed(request: Request, error: Exception) -> Response:
    """An error of the toolkit as JSON, without paths of this machine."""
    assert isinstance(error, AuscultError)
    return problem(STATUS.get(error.code, 422), error.code, request.app.state.session.shown(error.message))


async def invalid(request: Request, error: Exception) -> Response:
    """A value of the wrong kind."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])[:80]
    return problem(422, "E_SETTING", f"{place}: {first['msg'][:200]}.")


async def other(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself."""
    assert isinstance(error, HTTPException)
    codes = {404: "E_NOT_FOUND", 405: "E_METHOD"}
    return problem(error.status_code, codes.get(error.status_code, "E_REQUEST"), f"{error.detail}.")
