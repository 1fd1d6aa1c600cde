"""At least 150 audio files with the answer that each must get; half of them are to be predicted, half refused."""

import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import OK
from .sounds import RATE, chunk, cut, encoded, flac, flac_claiming, flipped, floats, form, pcm, tone, wav

Special = Callable[[Path], object]


class Sound(NamedTuple):
    """A file, what makes it, and the answers that are right: `OK` or codes; versions of libsndfile may differ."""

    name: str
    content: bytes | Special
    answers: tuple[str, ...]


FORMATS = [
    *(("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW")),
    *(("WAV", kind) for kind in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32")),
    *(("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_S8"), ("FLAC", "PCM_16")),
    *(("FLAC", "PCM_24"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "PCM_16"), ("AU", "ULAW")),
    *(("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)),
]
RATES = (1000, 1001, 2000, 4000, 11025, 22050, 44100, 96000, 192000, 384000)
BAD_RATES = (0, 1, 100, 999, 384_001, 1_000_000, 2**31 - 1, 2**31, 2**32 - 1)
BROKEN = ("E_CORRUPT", "E_EMPTY")  # an Ogg whose first page of sound is damaged holds no samples
STREAMED = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000)
NOT_AUDIO = {
    "stub": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0",
    "riff": b"RIFF",
    "wave": b"RIFF\x04\0\0\0WAVE",
    "avi": b"RIFF\x24\0\0\0AVI LIST" + bytes(200),
    "webp": b"RIFF\x24\0\0\0WEBPVP8 " + bytes(200),
    "text": b"start\tend\tcrackle\twheeze\n" * 20,
    "utf16": ("breath " * 50).encode("utf-16"),
    "html": b"<!doctype html><html><body>404 not found</body></html>",
    "json": b'{"recording": [1, 2, 3]}' * 10,
    "xml": b"<?xml version='1.0'?><a/>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "pdf": b"%PDF-1.7\n" + bytes(range(256)),
    "zip": b"PK\x03\x04" + bytes(300),
    "gzip": b"\x1f\x8b\x08" + bytes(300),
    "elf": b"\x7fELF" + bytes(300),
    "sqlite": b"SQLite format 3\0" + bytes(300),
    "mp4": b"\0\0\0\x20ftypM4A " + bytes(300),
    "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(300),
    "midi": b"MThd\0\0\0\x06\0\x01\0\x02\x01\xe0" + bytes(100),
    "matroska": b"\x1aE\xdf\xa3" + bytes(300),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "random": np.random.default_rng(1).bytes(4096),
    "one byte": b"\0",
    "flac marker": b"fLaC",
    "two data chunks": wav() + chunk(b"data", pcm()),
    "cut caf": cut(encoded(tone(3.0), RATE, "CAF", None), 0.5),
    "ogg marker": b"OggS",
    "aiff marker": b"FORM\0\0\0\x04AIFF",
    "caf marker": b"caff\0\x01\0\0",
    "au bad encoding": struct.pack(">4s5I", b".snd", 24, 100, 999, RATE, 1) + bytes(100),
    "w64 marker": b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + bytes(40),
    "no data chunk": b"RIFF\x18\0\0\0WAVE" + form(),
    "no fmt chunk": b"RIFF\x18\0\0\0WAVE" + chunk(b"data", pcm()),
    "0 channels": wav(head=form(channels=0)),
    "33 channels": wav(head=form(channels=33)),
    "65535 channels": wav(head=form(channels=65535)),
    "0 bits": wav(head=form(bits=0)),
    "255 bits": wav(head=form(bits=255)),
    "unknown tag": wav(head=form(tag=0x1234)),
    "fmt of 4 bytes": wav(head=chunk(b"fmt ", b"\x01\0\x01\0")),
    "torch": b"\x80\x02}q\0(X\x01\0\0\0wq\x01K\x01u.",
    "two markers": b"fLaCOggSRIFF" * 50,
}
ODD_NAMES = (
    b"\xff\xfe bytes.wav", b"line\nbreak.wav", "\N{SNOWMAN}\N{PILE OF POO}.wav".encode(), b"<script>alert(1)<b>.wav",
    b"-o.wav", b"=cmd.wav", b"+1.wav", b"@x.wav", b"n" * 240 + b".wav", b" space .wav", b"CON.wav", b"a%00b.wav",
    b"\"quote's\".wav", b"comma,semicolon;.wav", "\N{RIGHT-TO-LEFT OVERRIDE}vaw.wav".encode(), b"tab\t.wav",
    b"\x1b[31mred.wav", b"x..wav", b"UPPER.WAV", b"star*[1]?.wav", b"back\\slash.wav", b"{brace}$HOME`x`.wav",
)  # fmt: skip


def sounds() -> list[Sound]:
    """Every file; no name twice."""
    return [*good(), *refused(), *special()]


def good() -> Iterator[Sound]:
    """What must be predicted."""
    for format, subtype in FORMATS:
        yield Sound(f"format {format} {subtype}.wav", encoded(tone(1.5), RATE, format, subtype), (OK,))
    for rate in RATES:
        yield Sound(f"rate {rate}.wav", encoded(tone(1.0, rate), rate), (OK,))
    for channels in (2, 3, 8, 32):
        yield Sound(f"channels {channels}.wav", encoded(np.repeat(tone()[:, None], channels, 1)), (OK,))
    for size in STREAMED:
        yield Sound(f"streamed {size:x}.wav", wav(size=size), (OK,))
    levels = {
        "silent": 0,
        "constant": 0.3,
        "faint": 1e-4,
        "tiny": 1e-38,
        "subnormal": 1e-43,
        "clipped": 30,
        "loud": 5e3,
    }
    for name, level in levels.items():
        wave = np.full(RATE, level, np.float32) if name == "constant" else tone() * np.float32(level)
        wave = np.clip(wave, -1, 1) if name == "clipped" else wave
        yield Sound(f"level {name}.wav", encoded(wave, subtype="FLOAT"), (OK,))
    for rate in (1000, 8000, 384000):
        yield Sound(f"shortest at {rate}.wav", encoded(tone(0.1, rate), rate), (OK,))
    for format, ending in (("MP3", "wav"), ("FLAC", "wav"), ("OGG", "mp3"), ("WAV", "flac"), ("AIFF", "caf")):
        yield Sound(f"named otherwise {format}.{ending}", encoded(tone(1.5), RATE, format, None), (OK,))
    for share in (0.5, 0.9):
        for format in ("WAV", "RF64", "AIFF", "MP3", "AU", "W64"):
            yield Sound(f"cut {format} {share}.wav", cut(encoded(tone(3.0), RATE, format, None), share), (OK,))
    yield Sound("one byte less.wav", wav()[:-1], (OK,))
    yield Sound("chunk before.wav", wav(between=chunk(b"LIST", b"INFO" + bytes(31))), (OK,))
    yield Sound("chunk after.wav", wav() + chunk(b"LIST", bytes(8), size=2**31), (OK,))
    yield Sound("900 chunks.wav", wav(between=chunk(b"junk", b"") * 900), (OK,))
    yield Sound("zeros after.wav", wav() + bytes(4096), (OK,))
    yield Sound("block align 0.wav", wav(head=form(align=0)), (OK,))
    yield Sound("byte rate 0.wav", wav(head=form(byte_rate=0)), (OK,))
    yield Sound("flac of unknown length.flac", flac_claiming(0), (OK,))
    yield Sound("ten minutes of silence.flac", _silence, (OK,))
    yield Sound("70 s at 384 kHz.flac", _fine, (OK,))
    yield Sound(
        "mp3 behind a tag.mp3", b"ID3\x04\0\0\0\0\x01\0" + bytes(128) + encoded(tone(2.0), RATE, "MP3", None), (OK,)
    )
    for name in ODD_NAMES:
        yield Sound(os.fsdecode(name), wav(), (OK,))


def refused() -> Iterator[Sound]:
    """What must be refused, by its code."""
    for name, content in NOT_AUDIO.items():
        yield Sound(f"no audio {name}.wav", content, ("E_FORMAT",))
    for rate in BAD_RATES:
        yield Sound(f"bad rate {rate}.wav", wav(head=form(rate=rate)), ("E_RATE",))
    yield Sound("bytes 0.wav", b"", ("E_EMPTY",))
    yield Sound("samples 0.wav", wav(b""), ("E_EMPTY",))
    yield Sound("frames 0.flac", bytes(flac()[:42]), ("E_EMPTY",))
    for format in ("FLAC", "AIFF", "AU", "W64", "CAF"):
        yield Sound(f"samples 0 {format}.wav", encoded(tone(0.0), RATE, format), ("E_EMPTY",))
    for samples in (1, 2, 799):
        yield Sound(f"samples {samples}.wav", encoded(tone()[:samples]), ("E_TOO_SHORT",))
        yield Sound(f"samples {samples}.flac", encoded(tone()[:samples], format="FLAC"), ("E_TOO_SHORT",))
    values = {"nan": np.nan, "inf": np.inf, "minus inf": -np.inf, "1e30": 1e30, "above 1e4": -1.1e4}
    for name, value in values.items():
        for at in (0, RATE // 2, RATE - 1):
            yield Sound(f"sample {at} is {name}.wav", floats(value, at), ("E_NONFINITE",))
    yield Sound("double nan.wav", floats(np.nan, 5, "DOUBLE"), ("E_NONFINITE",))
    yield Sound("double 1e300.wav", floats(1e300, 5, "DOUBLE"), ("E_NONFINITE",))
    yield Sound("nan in the second channel.wav", floats(np.nan, 5, channels=2), ("E_NONFINITE",))
    for share in (0.3, 0.6, 0.9):
        yield Sound(f"cut {share}.flac", cut(flac(), share), ("E_CORRUPT",))
    raw = bytes(flac())
    middle = len(raw) // 2
    yield Sound("flac turned over.flac", flipped(raw, range(middle, middle + 400)), (*BROKEN, OK))
    yield Sound("flac zeroed.flac", raw[:middle] + bytes(2000) + raw[middle + 2000 :], (*BROKEN, OK))
    yield Sound("flac of 2^36 samples.flac", flac_claiming(2**36 - 1), (*BROKEN, OK))
    for format in ("OGG", "MP3"):
        whole = encoded(tone(3.0), RATE, format, None)
        yield Sound(f"turned over {format}.ogg", flipped(whole, range(len(whole) // 2, len(whole))), (*BROKEN, OK))
    yield Sound("cut in the first page.ogg", cut(encoded(tone(3.0), RATE, "OGG", None), 0.5), BROKEN)


def special() -> Iterator[Sound]:
    """What is no regular file."""
    yield Sound("folder.wav", Path.mkdir, ("E_NOT_A_FILE",))
    yield Sound("dangling.wav", lambda p: p.symlink_to("nowhere.wav"), ("E_NOT_A_FILE",))
    yield Sound("loop.wav", lambda p: p.symlink_to(p.name), ("E_NOT_A_FILE",))
    yield Sound("pipe.wav", os.mkfifo, ("E_NOT_A_FILE",))
    yield Sound("socket.wav", _bind, ("E_NOT_A_FILE",))
    yield Sound("null device.wav", lambda p: p.symlink_to("/dev/null"), ("E_NOT_A_FILE",))
    yield Sound("zero device.wav", lambda p: p.symlink_to("/dev/zero"), ("E_NOT_A_FILE",))
    yield Sound("link to the folder.wav", lambda p: p.symlink_to(p.parent), ("E_NOT_A_FILE",))
    yield Sound("sparse 256 MiB.wav", _sparse, ("E_FORMAT",))


def _silence(path: Path) -> None:
    path.write_bytes(encoded(np.zeros(600 * 4000, np.int16), 4000, "FLAC"))


def _fine(path: Path) -> None:
    path.write_bytes(encoded(np.tile(tone(1.0, 384_000), 70), 384_000, "FLAC"))


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # the address of a socket is short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**28)


def write(folder: Path, some: list[Sound]) -> dict[str, Sound]:
    """Makes the files in a folder; gives path as a string -> its case."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for one in some:
        path = folder / one.name
        if callable(one.content):
            one.content(path)
        else:
            path.write_bytes(one.content)
        made[str(path)] = one
    return made
