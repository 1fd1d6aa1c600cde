"""Everything that one `auscult serve` holds while it runs, and how a recording is told to the page."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from anyio import CapacityLimiter

from ..errors import AuscultError
from . import grids
from .guard import Refused
from .jobs import Jobs
from .listening import Sound
from .review import Reviews
from .store import Entry, Store, token
from .worker import Worker

if TYPE_CHECKING:
    from ..predict import Model

LONGEST_S = 60.0  # of a stretch to explain
LEFT_S = 30.0  # uploads are kept so long after the last page has closed: a reload is quicker
PAGES = 1000  # open at once, at most; a browser that crashed never closes its own


class Session:
    """What the answers are made from.

    Args:
        model: that is shown and explains; the worker loads its own.
        folder: whose recordings are listed; None for uploads only.
        state_dir: where reviews are kept.
        start: makes a worker.
    """

    def __init__(self, model: "Model", folder: Path | None, state_dir: Path, start: Callable[[], Worker]) -> None:
        folder, state_dir = folder and folder.resolve(), state_dir.resolve()
        self.model = model
        self.store = Store(folder)
        self.reviews = Reviews(state_dir)
        places = (state_dir, self.store.root, *(() if folder is None else (folder,)))
        self.places = [str(place) for place in places if len(place.parts) > 1]
        self.jobs = Jobs(start, self.shown)
        self.drawing, self.explaining = CapacityLimiter(2), CapacityLimiter(1)  # at once; the others wait
        self._brightness: dict[str, tuple[float, float]] = {}
        self._pages: dict[str, None] = {}
        self._left: float | None = None

    def close(self) -> None:
        """Ends the work; removes uploads."""
        self.jobs.stop()
        self.store.close()

    def shown(self, message: str, entry: Entry | None = None) -> str:
        """An error message without the paths of this machine."""
        if entry is not None:
            message = message.replace(repr(str(entry.path)), f"'{entry.name}'").replace(str(entry.path), entry.name)
        for place in self.places:
            message = message.replace(place, "...")
        return message

    def remove(self, entry: Entry) -> None:
        """Stops the work on a recording and forgets it."""
        self.jobs.leave(entry)
        self.store.remove(entry)
        self._brightness.pop(entry.id, None)

    def sound(self, entry: Entry) -> Sound:
        """The decoded recording.

        Raises:
            Refused: 409 before it is analysed, 404 when it was removed.
        """
        if entry.analysis is None:
            raise Refused(409, "E_NOT_READY", "this recording is not analysed yet.")
        try:
            return Sound(entry.work)
        except OSError as error:
            raise Refused(404, "E_NOT_FOUND", "this recording was removed.") from error

    def brightness(self, entry: Entry, sound: Sound) -> tuple[float, float]:
        """The scale of its spectrogram."""
        if entry.id not in self._brightness:
            self._brightness[entry.id] = grids.brightness(sound, self.model.clip)
        return self._brightness[entry.id]

    def saliency(self, sound: Sound, start_s: float, end_s: float | None) -> grids.Grid:
        """What the model looked at in a stretch, its brightest place 255; not from two threads.

        Raises:
            Refused: 422 for a stretch of more than a minute; 501 without torch.
        """
        try:
            from ..analysis.saliency import saliency
        except ModuleNotFoundError as error:
            words = f"saliency needs {error.name}; install it with: pip install 'auscult[torch]'"
            raise Refused(501, "E_SETTING", words) from error

        first, last = sound.span(start_s, end_s)
        if last - first > LONGEST_S * sound.rate:
            raise Refused(422, "E_SETTING", f"saliency explains one breath, {LONGEST_S:g} s at most.")
        # with a margin: the ends of what `saliency` is given are faded, as those of a recording
        margin = round(self.model.clip.recording_fade_s * sound.rate) + 1
        begin, end = max(0, first - margin), min(sound.samples, last + margin)
        part, times = sound.read(begin, end), ((first - begin) / sound.rate, (last - begin) / sound.rate)
        found = saliency(self.model, part, *times)
        peak = float(found.values.max()) or 1.0
        values = np.round(found.values / peak * 255).astype(np.uint8)
        return grids.grid(values, self.model.clip, first / sound.rate, last / sound.rate)

    def summary(self, entry: Entry) -> dict[str, Any]:
        """A recording as a line of the list."""
        found = entry.analysis or {}
        review, error = None, entry.error
        try:
            review = self.reviews.of(entry)
        except AuscultError as damaged:
            error = error or {"code": damaged.code, "message": self.shown(damaged.message)}
        breaths = len(found["prediction"]["cycles"]) if found else None
        return {
            "id": entry.id,
            "name": entry.name,
            "source": entry.source,
            "state": entry.state,
            "progress": round(entry.progress, 3),
            "error": error,
            "duration_s": found.get("duration_s"),
            "verdict": found["verdict"]["kind"] if found.get("verdict") else None,
            "said": found.get("said"),
            "p_abnormal": found.get("p_abnormal"),
            "doubt": found.get("doubt"),
            "breaths": breaths if review is None else len(review.breaths),
            "seen": 0 if review is None else review.seen,
            "reviewed": review is not None and review.seen == len(review.breaths),
        }

    def detail(self, entry: Entry) -> dict[str, Any]:
        """A recording with all that is known of it."""
        found = entry.analysis or {}
        told = {
            name: found.get(name)
            for name in ("prediction", "native_rate_hz", "bandwidth_hz", "notes", "verdict", "why")
        }
        if told["prediction"] is not None:
            told["prediction"] = told["prediction"] | {"recording": entry.name}
        return self.summary(entry) | told

    def opened(self) -> str:
        """A page opens; gives its token."""
        page = token(str(time.monotonic_ns()).encode(), str(len(self._pages)).encode())
        self._pages[page] = None
        self._left = None
        for old in list(self._pages)[:-PAGES]:
            del self._pages[old]
        return page

    def closed(self, page: str) -> None:
        """A page closes."""
        if page in self._pages:
            del self._pages[page]
            self._left = None if self._pages else time.monotonic()

    def sweep(self) -> None:
        """Removes the uploads when all pages have been closed for a while."""
        if self._left is None or time.monotonic() - self._left < LEFT_S:
            return
        self._left = None
        for entry in self.store.all():
            if entry.source == "upload":
                self.remove(entry)
