"""What the header of a file promises, compared with the file.

libsndfile shortens the promise of a WAV or AIFF that the file does not keep, in silence; so their chunks are walked
here up to the samples. The length of an MP3 is a count where the encoder left one (Xing, Info, VBRI), else a guess.

Source: Multimedia Programming Interface and Data Specifications 1.0 (RIFF); EBU Tech 3306 (RF64); AIFF 1.3.
"""

import os
import struct
from typing import BinaryIO, NamedTuple

STREAMED_SIZES = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 2**64 - 1)
"""Sizes that ffmpeg, sox and others write into a pipe, where they cannot know better."""

MAX_CHUNKS = 1000  # a gigabyte of zeros is 125 million empty chunks
_BYTE_ORDER = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}


class Header(NamedTuple):
    """What a header says; nothing for other formats than WAV, AIFF and MP3."""

    rate: int | None = None  # Hz, of WAV only
    missing_bytes: int = 0  # promised samples that lie past the end of the file
    streamed: bool = False  # the writer could not know the length
    counted: bool = False  # an MP3 that holds its number of frames


def read_header(file: BinaryIO) -> Header:
    """The promises of an open file. Leaves the position anywhere, reads little whatever the header says."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    order = _BYTE_ORDER.get(file.read(4))
    return Header(counted=_mp3_is_counted(file)) if order is None else _walk(file, order, size)


def _mp3_is_counted(file: BinaryIO) -> bool:
    file.seek(0)
    tag = file.read(10)
    if tag[:3] == b"ID3" and len(tag) == 10:  # skip the tags: a size in four times seven bits
        file.seek(10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)))
    start = file.read(2048)  # the first frame is at most 1,441 bytes long
    return any(name in start for name in (b"Xing", b"Info", b"VBRI"))


def _walk(file: BinaryIO, order: str, size: int) -> Header:
    file.seek(12)
    rate, long_size = None, None
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = struct.unpack(f"{order}4sI", head)
        start = file.tell()
        if name in (b"data", b"SSND"):
            if length == 0xFFFFFFFF and long_size is not None:
                length = long_size
            missing = max(0, start + length - size)
            streamed = missing > 0 and length in STREAMED_SIZES
            return Header(rate, 0 if streamed else missing, streamed)
        body = file.read(min(length, 16))
        if name == b"fmt " and len(body) >= 8:
            (rate,) = struct.unpack_from(f"{order}I", body, 4)
        if name == b"ds64" and len(body) == 16:
            (long_size,) = struct.unpack_from("<Q", body, 8)
        file.seek(start + length + length % 2)
    return Header(rate)
