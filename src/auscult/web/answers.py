"""What the server answers at ``/api/...``."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from ..analysis import RESEARCH_ONLY
from ..signal.io import AUDIO_SUFFIXES
from ..version import __version__
from . import grids
from .guard import Refused
from .listening import FILE
from .review import Review, check, predicted
from .room import Room
from .session import Session
from .store import Entry

T = TypeVar("T")
FLUSH = 2**18  # bytes of an upload that are written at once

api = APIRouter(prefix="/api")


def session_of(request: Request) -> Session:
    """What this server holds."""
    return request.app.state.session


Here = Annotated[Session, Depends(session_of)]


def entry_of(id: str, here: Here) -> Entry:
    """The recording of an address."""
    return here.store.get(id)


This = Annotated[Entry, Depends(entry_of)]
Start = Annotated[float, Query(ge=0, le=1e6, allow_inf_nan=False)]
End = Annotated[float | None, Query(ge=0, le=1e6, allow_inf_nan=False)]
Width = Annotated[int, Query(ge=1, le=grids.MOST_COLUMNS)]


@api.get("/info")
def info(request: Request, here: Here) -> dict[str, Any]:
    """What the page has to know once; looks through the folder again."""
    here.store.scan()
    model = here.model
    return {
        "version": __version__,
        "note": RESEARCH_ONLY,
        "model": {
            "name": model.recipe["name"],
            "sha256": model.sha256,
            "classes": model.classes,
            "dataset": model.facts.get("dataset"),
            "clip_s": model.clip.length_s,
        },
        "threshold": model.choice.threshold if model.calibrated else None,
        "operating_points": [asdict(point) for point in model.choice.points],
        "max_bytes": request.app.state.max_bytes,
        "suffixes": AUDIO_SUFFIXES,
        "folder": here.store.folder is not None,
    }


@api.post("/pages", status_code=201)
async def open_page(here: Here) -> dict[str, str]:
    """A page has opened."""
    return {"page": here.opened()}


@api.post("/pages/{page}/close", status_code=204)
async def close_page(page: str, here: Here) -> None:
    """A page has closed; when none is open for a while the uploads are removed."""
    here.closed(page)


@api.get("/recordings")
def recordings(here: Here) -> dict[str, Any]:
    """The list."""
    return {"recordings": [here.summary(entry) for entry in here.store.all()]}


@api.post("/recordings", status_code=202)
async def upload(request: Request, here: Here, name: str = "") -> dict[str, Any]:
    """Takes a file as the body, and queues it."""
    expect(request, "application/octet-stream")
    entry = here.store.upload(name)
    try:
        with here.store.room.coming(entry.id, int(request.headers.get("content-length", 0))):
            entry.sha256 = await keep(request, entry, here.store.room)
    except BaseException:
        here.store.remove(entry)
        raise
    here.store.add(entry)
    here.jobs.put(entry)
    return here.summary(entry)


async def keep(request: Request, entry: Entry, room: Room) -> str:
    """Writes a body to the entry's file as it comes; gives its sha256.

    Raises:
        Refused: 507 for a full disk, and what `guard.Guard` says of the body.
    """
    total, part, size = hashlib.sha256(), bytearray(), 0
    try:
        with entry.path.open("xb") as file:
            async for chunk in request.stream():
                part += chunk
                if len(part) >= FLUSH or not chunk:  # the last one is empty
                    size += len(part)
                    room.grown(entry.id, size)
                    total.update(part)
                    await run_sync(file.write, bytes(part))
                    part.clear()
    except OSError as error:
        raise Refused(507, "E_DISK", f"the upload could not be kept: {error.strerror}.") from error
    return total.hexdigest()


def expect(request: Request, kind: str) -> None:
    """Refuses a body of another type: forms of other sites can send a few types only, and none of ours.

    Raises:
        Refused: 415.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise Refused(415, "E_TYPE", f"send the body as {kind}.")


@api.get("/recordings/{id}")
def recording(entry: This, here: Here) -> dict[str, Any]:
    """One recording."""
    return here.detail(entry)


@api.delete("/recordings/{id}", status_code=204)
def remove(entry: This, here: Here) -> None:
    """Removes an upload and what was made of it; a saved review stays."""
    if entry.source == "folder":
        raise Refused(409, "E_READ_ONLY", "recordings of the folder stay where they are.")
    here.remove(entry)


@api.post("/recordings/{id}/analyse", status_code=202)
def analyse(entry: This, here: Here) -> dict[str, Any]:
    """Queues a recording."""
    here.jobs.put(entry)
    return here.summary(entry)


@api.post("/recordings/{id}/cancel", status_code=202)
def cancel(entry: This, here: Here) -> dict[str, Any]:
    """Takes a recording out of the queue, or stops its analysis."""
    here.jobs.cancel(entry)
    return here.summary(entry)


@api.get("/recordings/{id}/audio")
def audio(entry: This, here: Here) -> FileResponse:
    """The sound as WAV, 16 bit, mono, at the model's rate; takes byte ranges."""
    here.sound(entry)
    return FileResponse(entry.work / FILE, media_type="audio/wav")


@api.get("/recordings/{id}/peaks")
def peaks(entry: This, here: Here, start: Start = 0.0, end: End = None, width: Width = 1000) -> dict[str, Any]:
    """The waveform of a stretch."""
    return grids.peaks(here.sound(entry), start, end, width)


async def in_turn(request: Request, turns: CapacityLimiter, work: Callable[[], T]) -> T:
    """What `work` gives, in a thread; so much waits outside that what is quick always finds a thread.

    Raises:
        ClientDisconnect: the page has gone on meanwhile, and the work is not done.
    """
    async with turns:
        if await request.is_disconnected():
            raise ClientDisconnect
        return await run_sync(work)


@api.get("/recordings/{id}/spectrogram")
async def spectrogram(
    request: Request, entry: This, here: Here, start: Start = 0.0, end: End = None, width: Width = 1000
) -> Response:
    """The spectrogram of a stretch."""

    def draw() -> grids.Grid:
        sound = here.sound(entry)
        return grids.spectrogram(sound, here.model.clip, here.brightness(entry, sound), start, end, width)

    return drawn(await in_turn(request, here.drawing, draw))


def drawn(grid: grids.Grid) -> Response:
    """A picture as bytes, row by row."""
    return Response(grid.values.tobytes(), media_type="application/octet-stream", headers=grid.headers())


@api.get("/recordings/{id}/saliency")
async def saliency(
    request: Request,
    entry: This,
    here: Here,
    breath: Annotated[int | None, Query(ge=0)] = None,
    start: Start = 0.0,
    end: End = None,
) -> Response:
    """What the model looked at in a breath, or in any stretch."""
    sound = here.sound(entry)
    if breath is not None:
        cycles = entry.analysis["prediction"]["cycles"] if entry.analysis else []
        if breath >= len(cycles):
            raise Refused(404, "E_NOT_FOUND", f"there is no breath {breath}; there are {len(cycles)}.")
        start, end = cycles[breath]["start_s"], cycles[breath]["end_s"]
    return drawn(await in_turn(request, here.explaining, partial(here.saliency, sound, start, end)))


@api.get("/recordings/{id}/review")
def review(entry: This, here: Here) -> Review:
    """The saved review, or what the model found."""
    return latest(entry, here)


def latest(entry: Entry, here: Session) -> Review:
    """The saved review, or what the model found.

    Raises:
        Refused: 409 where neither exists yet.
    """
    saved = here.reviews.of(entry)
    if saved is not None:
        return saved
    if entry.analysis is None:
        raise Refused(409, "E_NOT_READY", "this recording is not analysed yet.")
    return predicted(entry.analysis)


@api.put("/recordings/{id}/review")
def save_review(entry: This, here: Here, request: Request, review: Review) -> Review:
    """Stores a review, made from the version it names."""
    expect(request, "application/json")
    if entry.analysis is None:
        raise Refused(409, "E_NOT_READY", "this recording is not analysed yet.")
    check(review, here.model.classes, here.reviews.of(entry), entry.analysis["duration_s"])
    return here.reviews.save(entry, review)


@api.delete("/recordings/{id}/review", status_code=204)
def forget_review(entry: This, here: Here) -> None:
    """Removes the saved review."""
    if entry.sha256 is not None:
        here.reviews.forget(entry)


@api.get("/recordings/{id}/export")
def export(entry: This, here: Here, format: str) -> Response:
    """The review, or what the model found, as a file."""
    from ..formats import ENDINGS, Row, write

    duration_s = here.sound(entry).duration_s
    saved = here.reviews.of(entry)
    p = {(c["start_s"], c["end_s"], c["label"]): max(c["probabilities"].values()) for c in found(entry)}
    breaths = (saved or predicted(entry.analysis or {})).breaths
    rows = [Row(b.start_s, b.end_s, b.label, p.get((b.start_s, b.end_s, b.label))) for b in breaths]
    text = write(format, rows, entry.name, duration_s)
    stem = entry.name.rpartition("/")[2].rpartition(".")[0] or entry.name
    return attachment(text, stem + ENDINGS[format])


def found(entry: Entry) -> list[dict[str, Any]]:
    """The predicted breaths of a recording."""
    return entry.analysis["prediction"]["cycles"] if entry.analysis else []


def attachment(text: str, name: str) -> Response:
    """Text that a browser saves under `name`."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return Response(text.encode(), media_type="text/plain; charset=utf-8", headers={"content-disposition": disposition})
