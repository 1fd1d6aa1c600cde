"""`auscult bench frontend`: from a file to a masked batch, part by part, in ms a clip.

A clip bears the whole cost of decoding and resampling its recording, though most recordings hold several clips.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from ..data.store import DTYPE
from ..signal import io
from ..signal.clip import Clip
from ..signal.fbank import fbank
from ..signal.specaugment import SpecAugment
from .document import document
from .setting import Setting, prepare
from .timing import Clock, Contestant, race

RECORDING_S, NATIVE_HZ = 20.0, 44100
BATCH = 32
STORED = 256
TARGET_MS = 15.0
FBANK_TOLERANCE = 1e-3  # of natural logs; fp32 against fp64
TONE_HZ, TONE_TOLERANCE = 440.0, 2e-2
PARTS = ("decode", "decode + resample", "cut + pad", "filterbank", "read from the store", "SpecAugment")
ONCE = PARTS[1:]  # decoding alone is part of the second
STEADY = ("read from the store", "SpecAugment")


def measure(setting: Setting) -> dict[str, Any]:
    """Times every part on a synthetic recording of 20 s at 44.1 kHz, a tone in noise."""
    state = prepare(setting)
    with tempfile.TemporaryDirectory() as folder:
        parts = _parts(Path(folder), Clip(length_s=setting.seconds))
        rows = race([c for c, _ in parts], setting.rounds, Clock(threads=setting.threads), "frontend")
    for row, (_, clips) in zip(rows, parts, strict=True):
        row["clip_ms"] = row["min_ms"] / clips if "min_ms" in row else None
    times = {row["name"]: row["clip_ms"] for row in rows}
    return document(
        "frontend",
        setting,
        state,
        options={},
        races={"parts": rows},
        totals={
            "first epoch, from the file": _sum(times, ONCE),
            "later epochs, from the store": _sum(times, STEADY),
        },
        target_ms=TARGET_MS,
        notes=[
            f"one recording of {RECORDING_S:g} s at {NATIVE_HZ} Hz, 16 bit; each clip bears the whole of its decoding",
            f"filterbank and SpecAugment in batches of {BATCH}; the store is a memory map in {np.dtype(DTYPE).name}",
        ],
    )


def _sum(times: dict[str, float | None], names: tuple[str, ...]) -> float | None:
    known = [times[name] for name in names]
    return None if None in known else sum(t for t in known if t is not None)


def _parts(folder: Path, clip: Clip) -> list[tuple[Contestant, int]]:
    """Each part, checked, and how many clips its work is for."""
    file, samples, tone = _recording(folder)
    recording = io.load(file, clip.sample_rate).waveform
    end_s = min(clip.length_s, RECORDING_S) - 0.5 if clip.length_s > 1 else clip.length_s / 2  # short: it is padded
    cut = clip.cut(recording, 0.0, end_s)
    batch = torch.from_numpy(np.stack([cut] * BATCH))
    bank = clip.fbank(batch)
    store = _store(folder, bank)
    rows = np.random.default_rng(0).permutation(STORED)[:BATCH].tolist()
    augment, generator = SpecAugment(), torch.Generator().manual_seed(0)
    exact = fbank(batch[:1].double(), clip.sample_rate, clip.n_mels)
    decoded = io.decode(file).waveform
    read = torch.from_numpy(store[rows]).float()
    masked = augment(bank, torch.Generator().manual_seed(0))
    errors = (
        float(np.abs(decoded - samples).max()),
        float(np.abs(recording - tone(clip.sample_rate, len(recording)))[1000:-1000].max()),
        float(np.abs(cut[:1000] - recording[:1000]).max()) if len(cut) >= 1000 else 0.0,
        float((bank[:1].double() - exact).abs().max()),
        float((read - bank).abs().max()),
        float((masked - bank)[masked == bank].abs().max()) + float((masked == bank).float().mean() < 0.1),
    )
    works = (
        lambda: io.decode(file),
        lambda: io.load(file, clip.sample_rate),
        lambda: clip.cut(recording, 0.0, end_s),
        lambda: clip.fbank(batch),
        lambda: torch.from_numpy(store[rows]).float(),
        lambda: augment(bank, generator),
    )
    tolerances = (2**-15, TONE_TOLERANCE, 0.0, FBANK_TOLERANCE, 2**-7, 0.0)
    made = [
        Contestant(name=name, work=work, error=error, tolerance=tolerance)
        for name, work, error, tolerance in zip(PARTS, works, errors, tolerances, strict=True)
    ]
    return list(zip(made, (1, 1, 1, BATCH, BATCH, BATCH), strict=True))


def _recording(folder: Path) -> tuple[Path, NDArray[np.float32], Any]:
    """A file with a tone, what decoding must give, and the tone at any rate: what resampling must give."""

    def tone(rate_hz: int, samples: int) -> NDArray[np.float32]:
        return (0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(samples) / rate_hz)).astype(np.float32)

    samples = round(RECORDING_S * NATIVE_HZ)
    noise = np.random.default_rng(0).normal(0, 0.003, samples)  # silence between the lines of a tone is no recording
    whole = np.round((tone(NATIVE_HZ, samples) + noise) * 32767).astype(np.int16)
    soundfile.write(folder / "tone.wav", whole, NATIVE_HZ, "PCM_16")
    return folder / "tone.wav", (whole / 32768).astype(np.float32), tone


def _store(folder: Path, bank: torch.Tensor) -> NDArray[np.float16]:
    """A feature store of the clip, many times over, memory-mapped."""
    np.save(folder / "store.npy", np.stack([bank[0].numpy().astype(DTYPE)] * STORED))
    return np.load(folder / "store.npy", mmap_mode="r")
