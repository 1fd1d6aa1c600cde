"""Bytes of audio files, right and wrong, made chunk by chunk."""

import io
import struct

import numpy as np
import soundfile

RATE = 8000
Wave = np.ndarray


def tone(seconds: float = 1.0, rate: int = RATE, level: float = 0.5) -> Wave:
    """A tone in a little noise, float32."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(t))
    return (level * np.sin(2 * np.pi * 200 * t) + 0.02 * level * noise).astype(np.float32)


def encoded(samples: Wave, rate: int = RATE, format: str = "WAV", subtype: str | None = "PCM_16") -> bytes:
    """The file that libsndfile writes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def pcm(samples: Wave | None = None) -> bytes:
    """16 bit samples."""
    return (np.clip(tone() if samples is None else samples, -1, 1) * 32767).astype("<i2").tobytes()


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """A RIFF chunk; `size` is what its header says instead of the truth."""
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def form(
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    align: int | None = None,
    byte_rate: int | None = None,
) -> bytes:
    """The chunk `fmt ` of a WAV; None: what follows from the others."""
    align = min(channels * bits // 8, 2**16 - 1) if align is None else align
    byte_rate = min(rate * align, 2**32 - 1) if byte_rate is None else byte_rate
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, byte_rate, align, bits))


def wav(data: bytes | None = None, head: bytes | None = None, size: int | None = None, between: bytes = b"") -> bytes:
    """A WAV of its parts; `size` is what the chunk `data` says of itself."""
    data = pcm() if data is None else data
    body = b"WAVE" + (form() if head is None else head) + between + chunk(b"data", data, size)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def flac(seconds: float = 3.0) -> bytearray:
    """A sound FLAC to damage."""
    return bytearray(encoded(tone(seconds), format="FLAC"))


def flac_claiming(frames: int) -> bytes:
    """A FLAC whose header claims so many samples, of 36 bits; 0 means unknown."""
    raw = flac()
    raw[21] = (raw[21] & 0xF0) | (frames >> 32)
    raw[22:26] = struct.pack(">I", frames & 0xFFFFFFFF)
    return bytes(raw)


def flipped(raw: bytes, places: range, to: int = 0xFF) -> bytes:
    """Some bytes turned over."""
    changed = bytearray(raw)
    for place in places:
        changed[place] ^= to
    return bytes(changed)


def cut(raw: bytes, share: float) -> bytes:
    """The beginning of a file."""
    return bytes(raw[: int(len(raw) * share)])


def floats(value: float, at: int, subtype: str = "FLOAT", channels: int = 1) -> bytes:
    """A float WAV with one sample of another value, in the last channel."""
    samples = np.repeat(tone()[:, None].astype(np.float64), channels, axis=1)
    samples[at, -1] = value
    kind, bits = ("<f4", 32) if subtype == "FLOAT" else ("<f8", 64)
    return wav(samples.astype(kind).tobytes(), form(3, channels, bits=bits))
