"""What a listener makes of a recording: its breaths, corrected. Kept on disk at once, under the hash of the audio.

The hash is that of the file's content, so the same file, added again after the server was stopped, finds its review. No
name of a recording is stored: names may hold a patient's. A review carries a version; who saves must have seen the
latest, so that two open pages do not overwrite each other.
"""

import threading
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import AuscultError
from ..runs import read_json, unwritten, write_json, write_text
from .guard import Refused
from .store import Entry

MOST_BREATHS = 20_000
END_TOLERANCE_S = 0.05
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class Breath(BaseModel):
    """A breath, or whatever else a box was drawn around.

    Args:
        start_s: within the recording, seconds.
        end_s: within the recording, seconds.
        label: a class of the model.
        status: what the listener did with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    start_s: Seconds
    end_s: Seconds
    label: Annotated[str, Field(max_length=80)]
    status: Literal["unseen", "accepted", "changed", "added"]

    @model_validator(mode="after")
    def _in_order(self) -> "Breath":
        if not self.start_s < self.end_s:
            raise ValueError(f"a breath from {self.start_s:g} s to {self.end_s:g} s; start must be before end")
        return self


class Review(BaseModel):
    """A review of one recording.

    Args:
        version: counts what was saved; 0 is what the model found.
        breaths: in order of their start.
        notes: words of the listener.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Annotated[int, Field(ge=0, le=2**31)] = 0
    breaths: Annotated[list[Breath], Field(max_length=MOST_BREATHS)]
    notes: Annotated[str, Field(max_length=20_000)] = ""

    @property
    def seen(self) -> int:
        """Breaths that a listener has looked at."""
        return sum(breath.status != "unseen" for breath in self.breaths)


def predicted(analysis: dict[str, Any]) -> Review:
    """The review nobody has made yet: what the model found."""
    cycles = analysis["prediction"]["cycles"]
    return Review(breaths=[Breath(status="unseen", **{k: c[k] for k in ("start_s", "end_s", "label")}) for c in cycles])


class Reviews:
    """Saved reviews.

    Args:
        folder: where they lie; made when the first is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "reviews"
        self._lock = threading.Lock()
        self._known: dict[str, Review | None] = {}

    def of(self, entry: Entry) -> Review | None:
        """The saved review of a recording; None where there is none, or its content is not known yet.

        Raises:
            AuscultError: E_RUN for a file that is no review.
        """
        sha256 = entry.sha256 or self._by_stamp(entry)
        if sha256 is None:
            return None
        if sha256 not in self._known:
            self._known[sha256] = self._read(sha256)
        return self._known[sha256]

    def save(self, entry: Entry, review: Review) -> Review:
        """Stores a review as the next version.

        Raises:
            Refused: 409 when another version was saved meanwhile.
            AuscultError: E_DISK, E_RUN.
        """
        assert entry.sha256 is not None
        with self._lock:
            latest = self._read(entry.sha256)
            if review.version != (latest.version if latest else 0):
                raise Refused(409, "E_CONFLICT", "this recording was reviewed elsewhere meanwhile; load it again.")
            breaths = sorted(review.breaths, key=lambda breath: (breath.start_s, breath.end_s))
            stored = Review(version=review.version + 1, breaths=breaths, notes=review.notes)
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise unwritten(self.folder, error) from error
            if entry.stamp is not None:  # before the review: who is told that it failed may save that version again
                write_text(self.folder / "stamps" / entry.stamp, entry.sha256)
            write_json(self._file(entry.sha256), stored.model_dump())
            self._known[entry.sha256] = stored
        return stored

    def forget(self, entry: Entry) -> None:
        """Removes a saved review."""
        assert entry.sha256 is not None
        with self._lock:
            self._file(entry.sha256).unlink(missing_ok=True)
            self._known[entry.sha256] = None

    def _file(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.json"

    def _read(self, sha256: str) -> Review | None:
        file = self._file(sha256)
        if not file.exists():
            return None
        try:
            return Review.model_validate(read_json(file))
        except ValidationError as error:
            raise AuscultError("E_RUN", f"{file} is no review; move it away to begin anew.") from error

    def _by_stamp(self, entry: Entry) -> str | None:
        file = self.folder / "stamps" / str(entry.stamp)
        if entry.stamp is None or not file.exists():
            return None
        sha256 = file.read_text(encoding="utf-8")
        return sha256 if len(sha256) == 64 and sha256.isalnum() else None


def check(review: Review, classes: tuple[str, ...], saved: Review | None, duration_s: float) -> None:
    """Refuses labels that nobody knows and breaths that lie past the end.

    Raises:
        Refused: 422.
    """
    known = {*classes, *(breath.label for breath in (saved.breaths if saved else ()))}
    for breath in review.breaths:
        if breath.label not in known:
            allowed = ", ".join(classes)
            raise Refused(422, "E_SETTING", f"no class is named {breath.label[:40]!r}; there are: {allowed}.")
        if breath.end_s > duration_s + END_TOLERANCE_S:
            raise Refused(
                422, "E_ANNOTATION", f"a breath ends at {breath.end_s:g} s, the recording at {duration_s:g} s."
            )
