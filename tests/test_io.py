"""Decoding: every format, and a corpus of files that are wrong in every way that was met."""

import io
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
import soxr

from auscult.errors import AuscultError
from auscult.signal import io as audio
from auscult.signal.io import AUDIO_SUFFIXES, decode, load

RATE = 16000


def tone(seconds: float = 0.5, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(t))
    return (level * np.sin(2 * np.pi * 440 * t) + 0.01 * level * noise).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = RATE, format: str = "WAV", subtype: str | None = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def wav(data: bytes | None = None, *, rate: int = RATE, channels: int = 1, data_size: int | None = None) -> bytes:
    """A 16 bit WAV whose header says what the test wants."""
    data = (tone() * 32767).astype("<i2").tobytes() if data is None else data
    size = len(data) if data_size is None else data_size
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, min(2 * rate, 2**32 - 1), 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", min(36 + size, 2**32 - 1))
        + b"WAVE"
        + head
        + b"data"
        + struct.pack("<I", size)
        + data
    )


def flac_claiming(frames: int, samples: np.ndarray | None = None) -> bytes:
    """A FLAC whose STREAMINFO claims so many frames (36 bits; 0 means unknown)."""
    raw = bytearray(encoded(tone() if samples is None else samples, format="FLAC"))
    raw[21] = (raw[21] & 0xF0) | (frames >> 32)
    raw[22:26] = struct.pack(">I", frames & 0xFFFFFFFF)
    return bytes(raw)


def put(tmp_path: Path, raw: bytes, name: str = "a.wav") -> Path:
    path = tmp_path / name
    path.write_bytes(raw)
    return path


def code_of(path: str | Path) -> str:
    with pytest.raises(AuscultError) as caught:
        decode(path)
    assert "<" not in caught.value.message and "object at" not in caught.value.message
    assert caught.value.message.isprintable()
    return caught.value.code


# --- what must work ---


@pytest.mark.parametrize(
    ("format", "subtype", "error"),
    [
        ("WAV", "PCM_U8", 0.01), ("WAV", "PCM_16", 1e-4), ("WAV", "PCM_24", 1e-6), ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 0), ("WAV", "DOUBLE", 0), ("WAV", "ALAW", 0.05), ("WAV", "ULAW", 0.05),
        ("WAV", "IMA_ADPCM", 0.5), ("WAV", "MS_ADPCM", 0.1), ("WAVEX", "PCM_16", 1e-4), ("RF64", "PCM_16", 1e-4),
        ("W64", "PCM_16", 1e-4), ("FLAC", "PCM_16", 1e-4), ("AIFF", "PCM_16", 1e-4), ("CAF", "PCM_16", 1e-4),
        ("AU", "PCM_16", 1e-4), ("OGG", "VORBIS", 0.2), ("OGG", "OPUS", 0.5), ("MP3", None, 0.5),
    ],
)  # fmt: skip
def test_formats(tmp_path: Path, format: str, subtype: str | None, error: float) -> None:
    samples = tone(6.0)  # longer than one block
    raw = encoded(samples, RATE, format, subtype)
    recording = decode(put(tmp_path, raw, "misnamed.txt"))
    assert recording.sample_rate == recording.native_rate == RATE
    assert recording.waveform.dtype == np.float32 and recording.waveform.flags.writeable
    assert recording.notes == ()
    n = min(len(samples), len(recording.waveform))
    assert abs(len(recording.waveform) - len(samples)) <= 1024
    assert np.abs(recording.waveform[:n] - samples[:n]).max() <= error + 1e-7
    in_one_piece = soundfile.read(io.BytesIO(raw), dtype="float32")[0]
    assert np.allclose(recording.waveform, in_one_piece, rtol=0, atol=1e-6)  # blocks leave no trace


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone()
    stereo = decode(put(tmp_path, encoded(np.stack([left, -0.5 * left], 1), subtype="FLOAT")))
    assert np.allclose(stereo.waveform, left / 4, atol=1e-7)
    assert stereo.notes == ("stereo mixed to mono",)
    many = np.stack([left] * 8, 1)
    assert decode(put(tmp_path, encoded(many, subtype="FLOAT"))).notes == ("8 channels mixed to mono",)


@pytest.mark.parametrize("native", [4000, 8000, 10000, 22050, 44100, 48000, 192000])
def test_load_resamples_as_soxr_does_in_one_piece(tmp_path: Path, native: int) -> None:
    samples = tone(3.0, native)
    recording = load(put(tmp_path, encoded(samples, native, subtype="FLOAT")), RATE)
    assert (recording.sample_rate, recording.native_rate) == (RATE, native)
    assert abs(len(recording.waveform) - 3 * RATE) <= 1
    assert recording.length_s == pytest.approx(3.0, abs=1e-4)
    expected = soxr.resample(samples, native, RATE, quality="HQ")
    assert np.allclose(recording.waveform, expected, atol=1e-6)


def test_a_tone_survives_resampling_and_one_above_the_new_limit_does_not(tmp_path: Path) -> None:
    t = np.arange(2 * 44100) / 44100
    low, high = (0.5 * np.sin(2 * np.pi * hz * t).astype(np.float32) for hz in (1000, 9000))
    kept = load(put(tmp_path, encoded(low, 44100, subtype="FLOAT"))).waveform[1000:-1000]
    gone = load(put(tmp_path, encoded(high, 44100, subtype="FLOAT"))).waveform[1000:-1000]
    assert kept.std() == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert gone.std() < 1e-4


def test_load_at_the_native_rate_changes_nothing(tmp_path: Path) -> None:
    path = put(tmp_path, encoded(tone()))
    assert np.array_equal(load(path, RATE).waveform, decode(path).waveform)
    with pytest.raises(AuscultError, match=r"E_SETTING: sample_rate=10 Hz"):
        load(path, 10)


def test_odd_names(tmp_path: Path) -> None:
    names = [b"\xff\xfe.wav", "\N{SMILING FACE WITH OPEN MOUTH}\n<script>.wav".encode(), b"-x.wav", b"=cmd.wav"]
    for name in names:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        Path(path).write_bytes(wav())
        assert len(decode(path).waveform) == 8000
        Path(path).write_bytes(b"text")
        with pytest.raises(AuscultError) as caught:
            decode(path)
        str(caught.value).encode("utf-8")  # a message can always be printed
        assert "\n" not in str(caught.value)


def test_suffixes_are_lower_case_and_start_with_a_dot() -> None:
    assert {".wav", ".flac", ".mp3", ".ogg"} <= set(AUDIO_SUFFIXES)
    assert all(s.startswith(".") and s == s.lower() for s in AUDIO_SUFFIXES)


# --- what is decoded with a note ---


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_streamed_wav_has_no_length_in_its_header(tmp_path: Path, size: int) -> None:
    recording = decode(put(tmp_path, wav(data_size=size)))
    assert len(recording.waveform) == 8000 and recording.notes == ("length unknown in header",)


def test_a_streamed_flac_too(tmp_path: Path) -> None:
    recording = decode(put(tmp_path, flac_claiming(0, tone(9.0))))
    assert len(recording.waveform) == 9 * RATE and recording.notes == ("length unknown in header",)


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_a_truncated_wav_is_said_to_be(tmp_path: Path, kept: float) -> None:
    raw = wav()
    recording = decode(put(tmp_path, raw[: int(len(raw) * kept)]))
    assert len(recording.waveform) == (int(len(raw) * kept) - 44) // 2
    assert recording.notes == ("truncated",)


def test_one_missing_byte_is_a_missing_sample(tmp_path: Path) -> None:
    assert decode(put(tmp_path, wav()[:-1])).notes == ("truncated",)


def test_other_truncated_files(tmp_path: Path) -> None:
    for format, subtype in (("RF64", "PCM_16"), ("AIFF", "PCM_16"), ("MP3", None)):
        raw = encoded(tone(5.0), format=format, subtype=subtype)
        assert decode(put(tmp_path, raw[: len(raw) // 2])).notes == ("truncated",), format


def test_an_mp3_without_a_count_is_not_called_truncated(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    quiet_then_loud = np.concatenate([np.zeros(10 * RATE), np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE)])
    with soundfile.SoundFile(
        buffer, "w", RATE, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    ) as file:
        file.write(quiet_then_loud)
    raw = buffer.getvalue()
    uncounted = raw[raw.index(raw[:2], 4) :]  # from the second frame on
    assert soundfile.info(io.BytesIO(uncounted)).frames > 25 * RATE  # the estimate
    assert decode(put(tmp_path, uncounted)).notes == ()
    assert decode(put(tmp_path, raw)).notes == ()
    tags = b"ID3\x04\0\0" + bytes((0, 0, 100, 0)) + bytes(100 * 128)
    assert decode(put(tmp_path, tags + raw[: len(raw) // 2])).notes == ("truncated",)


def test_a_chunk_after_the_samples_is_no_matter(tmp_path: Path) -> None:
    assert decode(put(tmp_path, wav() + b"LIST\x10\0\0\0abc")).notes == ()


def test_silent_and_clipped(tmp_path: Path) -> None:
    assert decode(put(tmp_path, encoded(np.zeros(8000, np.float32)))).notes == ("silent",)
    assert decode(put(tmp_path, encoded(np.full(8000, 0.3, np.float32)))).notes == ("silent",)
    assert decode(put(tmp_path, encoded(tone(level=1e-3)))).notes == ()
    loud = np.clip(3 * tone(), -1, 1)
    assert decode(put(tmp_path, encoded(loud))).notes == ("clipped",)
    assert decode(put(tmp_path, encoded(tone() / np.abs(tone()).max()))).notes == ()  # normalised, not clipped
    one_side = np.stack([loud, np.zeros_like(loud)], 1)
    assert decode(put(tmp_path, encoded(one_side))).notes == ("stereo mixed to mono", "clipped")


# --- what is refused ---

NOT_AUDIO = {
    "stub": wav()[:20],
    "text": b"hello, this is text\n" * 200,
    "html": b"<!doctype html><html><body>404</body></html>" * 20,
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8,
    "random": np.random.default_rng(1).bytes(20000),
    "zeros": bytes(5000),
    "no channel": wav(channels=0),
    "33 channels": encoded(np.zeros((4000, 33), np.float32)),
    "65535 channels": wav(channels=65535),
    "empty chunks": b"RIFF\xff\xff\xff\x7fWAVE" + bytes(400_000),
}


@pytest.mark.parametrize("name", NOT_AUDIO)
def test_what_is_no_audio(tmp_path: Path, name: str) -> None:
    assert code_of(put(tmp_path, NOT_AUDIO[name])) == "E_FORMAT"


def test_a_zip_is_no_audio(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.wav", "w") as archive:
        archive.writestr("a.wav", wav())
    assert code_of(tmp_path / "z.wav") == "E_FORMAT"


@pytest.mark.parametrize("raw", [b"", wav(b""), encoded(np.zeros(0, np.float32), format="FLAC")])
def test_empty(tmp_path: Path, raw: bytes) -> None:
    assert code_of(put(tmp_path, raw)) == "E_EMPTY"


def test_too_short_is_under_a_tenth_of_a_second(tmp_path: Path) -> None:
    for n in (1, 2, 1599):
        assert code_of(put(tmp_path, encoded(tone()[:n]))) == "E_TOO_SHORT"
    assert len(decode(put(tmp_path, encoded(tone()[:1600]))).waveform) == 1600


@pytest.mark.parametrize("rate", [0, 1, 999, 384_001, 4_000_000_000])
def test_absurd_rates(tmp_path: Path, rate: int) -> None:
    path = put(tmp_path, wav(rate=rate))
    assert code_of(path) == "E_RATE"
    with pytest.raises(AuscultError, match=r"E_RATE.*1,000 to 384,000"):
        load(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, -10001.0])
def test_absurd_samples(tmp_path: Path, bad: float) -> None:
    samples = tone(6.0)
    samples[-1] = bad
    assert code_of(put(tmp_path, encoded(samples, subtype="FLOAT"))) == "E_NONFINITE"


def test_absurd_samples_in_one_channel(tmp_path: Path) -> None:
    samples = np.stack([tone(), np.full(8000, np.inf), np.full(8000, -np.inf)], 1)
    assert code_of(put(tmp_path, encoded(samples, subtype="DOUBLE"))) == "E_NONFINITE"


def test_a_flac_that_breaks_midway(tmp_path: Path) -> None:
    raw = encoded(tone(9.0), format="FLAC")
    assert code_of(put(tmp_path, raw[: len(raw) // 2])) == "E_CORRUPT"
    middle = len(raw) // 2
    damaged = raw[:middle] + np.random.default_rng(2).bytes(2000) + raw[middle + 2000 :]
    assert code_of(put(tmp_path, damaged)) == "E_CORRUPT"


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for ever
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    names = ["pipe.wav", "dangling.wav", "loop.wav", "missing.wav", "nul\0.wav", "x" * 5000 + ".wav", "."]
    for name in names:
        assert code_of(tmp_path / name) == "E_NOT_A_FILE", name
    assert code_of("/dev/zero") == "E_NOT_A_FILE"


def test_a_disk_that_fails_midway_is_no_end_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BufferedReader, BinaryIO):
        def readinto(self, buffer) -> int:
            if self.tell() > 40_000:
                raise OSError(5, "Input/output error")
            return super().readinto(buffer)

    monkeypatch.setattr(audio, "_open_regular", lambda path: Failing(io.BytesIO(encoded(tone(9.0)))))
    with pytest.raises(AuscultError, match=r"E_CORRUPT.*Input/output error"):
        decode(tmp_path / "a.wav")


def test_too_long_is_refused_before_memory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_SAMPLES", 5 * RATE)
    path = put(tmp_path, encoded(tone(10.0)))
    with pytest.raises(AuscultError, match=r"E_FORMAT.*too long.*shorter files"):
        decode(path)
    assert load(path, 8000).length_s == 10  # what counts is what is kept


def test_a_header_claiming_2_to_the_36_frames_costs_no_memory(tmp_path: Path) -> None:
    path = put(tmp_path, flac_claiming(2**36 - 1, tone(9.0)), "bomb.flac")
    program = """
import resource, sys
from auscult.errors import AuscultError
from auscult.signal.io import load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(load(sys.argv[1]).notes)
except AuscultError as error:
    print(error.code)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    said, megabytes = run.stdout.splitlines()
    assert said in ("('truncated',)", "E_CORRUPT")
    assert int(megabytes) < 200


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "AIFF", "MP3"])
def test_damaged_files_meet_our_error_or_none(tmp_path: Path, format: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    raw = encoded(tone(0.2), format=format, subtype=None)
    refused = 0
    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(int(rng.integers(1, 6))):
            damaged[int(rng.integers(0, min(len(raw), 300)))] = int(rng.integers(0, 256))
        try:
            recording = load(put(tmp_path, bytes(damaged[: int(rng.integers(1, len(raw) + 1))])))
            assert np.all(np.isfinite(recording.waveform))
        except AuscultError:
            refused += 1
    assert refused > 10
    assert "Traceback" not in capfd.readouterr().err  # nothing was raised inside a callback of libsndfile


@pytest.mark.data
def test_real_recordings_decode(data_dir: Path) -> None:
    files = sorted(data_dir.glob("icbhi/**/*.flac"))[::10] + sorted(data_dir.glob("sprsound/**/*.flac"))[::200]
    assert len(files) > 20
    for path in files:
        recording = load(path)
        assert recording.sample_rate == RATE and recording.native_rate in (4000, 8000, 10000, 16000)
        assert set(recording.notes) <= {"clipped"}, path
