"""Every hostile annotation, table and journal through its reader."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auscult.errors import AuscultError

from . import OK
from .annotations import READERS, no_regular_files, notes, write

pytestmark = pytest.mark.skipif(os.name != "posix", reason="makes pipes")


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Ends what takes longer."""

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def answer(kind: str, path: Path) -> str:
    try:
        with within(10):
            READERS[kind][1](path)
    except AuscultError as error:
        assert error.message
        return error.code
    return OK


def test_every_annotation_gets_its_answer(tmp_path: Path) -> None:
    made = notes()
    assert len({(note.kind, note.name) for note in made}) == len(made) >= 60
    found = {(note.kind, note.name): answer(note.kind, write(tmp_path, note)) for note in made}
    wrong = {key: found[key] for note in made if found[key := (note.kind, note.name)] != note.answer}
    assert not wrong


def test_a_pipe_is_not_waited_for_and_a_folder_is_no_file(tmp_path: Path) -> None:
    for kind, path in no_regular_files(tmp_path):
        assert answer(kind, path) in ("E_ANNOTATION", "E_DATA", "E_DISK"), path
