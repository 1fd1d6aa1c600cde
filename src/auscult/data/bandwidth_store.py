"""Bandwidth on disk: measured once for every recording that is asked for, kept beside the features."""

from collections.abc import Callable, Iterable

from ..config import fingerprint
from ..errors import AuscultError
from ..runs import read_json, write_json
from ..signal import io
from ..signal.bandwidth import bandwidth
from .cycles import Corpus
from .store import cache_folder, places

MEASURE = 1  # raise it when decoding or the measure change their numbers


def bandwidths(
    corpus: Corpus, recordings: Iterable[str], progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """The effective bandwidth in Hz of some recordings of a corpus, from the store or measured and stored.

    A recording that is silent, not here, or cannot be decoded has none; the feature store says why.

    Args:
        progress: called with (recordings done, recordings in all).

    Raises:
        AuscultError: E_DISK when the store cannot be written.
    """
    key = fingerprint({"measure": MEASURE, "files": places(corpus)["files"]}, length=20)
    file = cache_folder() / f"{corpus.name}-bandwidth-{key}.json"
    known: dict[str, float | None] = read_json(file) if file.exists() else {}
    wanted = [stem for stem in sorted(recordings) if stem in corpus.audio]
    new = [stem for stem in wanted if stem not in known]
    for done, stem in enumerate(new):
        known[stem] = recording_bandwidth(corpus, stem)
        if progress:
            progress(done + 1, len(new))
    if new:
        write_json(file, known)
    return {stem: found for stem in wanted if (found := known[stem]) is not None}


def recording_bandwidth(corpus: Corpus, stem: str) -> float | None:
    """The bandwidth of one recording at its own rate; None where there is none to measure."""
    try:
        recording = io.decode(corpus.audio[stem])
    except AuscultError:
        return None  # told and skipped when its features were made
    return bandwidth(recording.waveform, recording.native_rate)
