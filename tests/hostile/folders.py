"""The hostile sounds and annotations as data set folders: ICBHI, SPRSound, and own recordings."""

import json
from collections.abc import Iterator
from pathlib import Path

from auscult import formats
from auscult.data.icbhi import PUBLISHED

from .annotations import notes
from .sound_files import Sound, sounds
from .sounds import encoded, tone

GOOD_TXT = "0.0\t0.1\t0\t0\n"  # so short that it fits every sound
GOOD_JSON = {"record_annotation": "Normal", "event_annotation": [{"start": "0", "end": "100", "type": "Normal"}]}
LABELS = ("Normal", "Wheeze", "Fine Crackle")
GOOD = 40  # sound recordings that a training is left with in any case


def good_txt(number: int) -> str:
    """Two cycles of any class."""
    return f"0.0\t0.5\t{number % 2}\t{number // 2 % 2}\n0.5\t0.9\t0\t0\n"


def put(path: Path, sound: Sound) -> None:
    """Makes a sound under another name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(sound.content):
        sound.content(path)
    else:
        path.write_bytes(sound.content)


def contents() -> Iterator[bytes]:
    """What hostile annotation files hold."""
    return (note.content for note in notes())


def icbhi(folder: Path) -> Path:
    """920 recordings: the hostile sounds, good sounds with hostile annotations, good ones; the rest has no audio."""
    database = folder / "ICBHI_final_database"
    database.mkdir(parents=True)
    names = [f"{101 + i // 8}_{i % 8}b1_Al_sc_Meditron" for i in range(sum(PUBLISHED.recordings.values()))]
    parts = [f"{name}\t{'train' if int(name[:3]) % 3 else 'test'}\n" for name in names]
    (folder / "ICBHI_challenge_train_test.txt").write_text("".join(parts))
    for name in names:
        (database / f"{name}.txt").write_text(GOOD_TXT)
    left = iter(names)
    for sound in sounds():
        put(database / f"{next(left)}{Path(sound.name).suffix.lower()}", sound)
    whole = encoded(tone(1.0))
    for content in contents():
        name = next(left)
        (database / f"{name}.txt").write_bytes(content)
        (database / f"{name}.wav").write_bytes(whole)
    for number in range(GOOD):
        name = next(left)
        (database / f"{name}.txt").write_text(good_txt(number))
        (database / f"{name}.wav").write_bytes(whole)
    return folder


def sprsound(folder: Path) -> Path:
    """The layout of the challenge; every patient has one recording."""
    left, whole = iter(range(65_000_000, 66_000_000)), encoded(tone(1.0))
    for place in ("train_json", "train_wav", "test_json/inter_test_json", "test_json/intra_test_json", "test_wav"):
        (folder / place).mkdir(parents=True)

    def add(note: bytes, sound: Sound | bytes, suffix: str = ".wav") -> None:
        number = next(left)
        name, part = f"{number}_3.4_1_p2_{number % 1000}", ("train_json", "test_json/inter_test_json")[number % 5 == 0]
        (folder / part / f"{name}.json").write_bytes(note)
        audio = folder / part.replace("json", "wav").partition("/")[0] / f"{name}{suffix}"
        if isinstance(sound, bytes):
            audio.write_bytes(sound)
        else:
            put(audio, sound)

    for sound in sounds():
        add(json.dumps(GOOD_JSON).encode(), sound, Path(sound.name).suffix.lower())
    for content in contents():
        add(content, whole)
    for number in range(GOOD):
        event = {"start": "0", "end": "900", "type": LABELS[number % 3]}
        add(json.dumps(GOOD_JSON | {"event_annotation": [event]}).encode(), whole)
    return folder


def own(folder: Path) -> Path:
    """The hostile sounds under their own odd names, and hostile annotations of every format."""
    whole = encoded(tone(1.0))
    folder.mkdir(parents=True)
    for sound in sounds():
        put(folder / sound.name, sound)
        (folder / f"{Path(sound.name).stem}.txt").write_text(GOOD_TXT)
    for number, note in enumerate(notes()):
        (folder / f"note{number}.wav").write_bytes(whole)
        (folder / f"note{number}{formats.ENDINGS.get(note.kind, '.txt')}").write_bytes(note.content)
    for number in range(GOOD):
        (folder / f"patient{number}_1.wav").write_bytes(whole)
        (folder / f"patient{number}_1.txt").write_text(good_txt(number))
    return folder


KINDS = {"icbhi": icbhi, "sprsound": sprsound, "own": own}
