"""Downloads from a server on this machine: whole, cut, wrong, and gone."""

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from auscult.data import download as module
from auscult.data.download import download, unpack
from auscult.data.icbhi import read_folder
from auscult.errors import AuscultError

STEM = "101_1b1_Al_sc_Meditron"
SPLIT = f"{STEM}\ttrain\n"


def archive(**extra: bytes) -> bytes:
    """A zip with one annotation and 3 MB of noise as its audio, so that a download takes several blocks."""
    noise = np.random.default_rng(0).bytes(3_000_000)
    files = {f"{STEM}.txt": b"0.0\t1.0\t0\t0\n", f"{STEM}.wav": noise}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in ({f"ICBHI_final_database/{n}": c for n, c in files.items()} | extra).items():
            file.writestr(name, content)
    return out.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `files`; the first `cuts` answers for the archive stop after a third of what was asked."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.ranges, self.log = files, 0, True, list[tuple[str, str | None]]()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/data"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, asked = self.path.rpartition("/")[2], self.headers.get("Range")
        self.server.log.append((name, asked))
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        found = re.fullmatch(r"bytes=(\d+)-", asked or "")
        start = int(found[1]) if found and self.server.ranges else 0
        if start >= len(content) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content)
        if name.endswith(".zip") and self.server.cuts > 0:
            self.server.cuts -= 1
            end = start + (len(content) - start) // 3
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the machine the tests run on would not find 127.0.0.1."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    content = archive()
    source = replace(
        module.ICBHI,
        archive_md5=hashlib.md5(content).hexdigest(),
        split_md5=hashlib.md5(SPLIT.strip().encode()).hexdigest(),
    )
    monkeypatch.setattr(module, "ICBHI", source)
    running = Server({"ICBHI_final_database.zip": content, "ICBHI_challenge_train_test.txt": SPLIT.encode()})
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def asked_for_the_archive(server: Server) -> list[str | None]:
    return [asked for name, asked in server.log if name.endswith(".zip")]


def refused(server: Server, folder: Path) -> str:
    with pytest.raises(AuscultError) as error:
        download("icbhi", folder, server.url)
    assert error.value.code == "E_DATA"
    return error.value.message


def test_downloads_checks_and_unpacks(server: Server, tmp_path: Path) -> None:
    folder = download("icbhi", tmp_path / "new" / "icbhi", server.url)
    assert sorted(p.name for p in folder.iterdir()) == [
        "ICBHI_challenge_train_test.txt",
        "ICBHI_final_database",
        "ICBHI_final_database.zip",
    ]
    assert read_folder(folder).recordings == {STEM: "train"}


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    download("icbhi", tmp_path, server.url)
    asked = len(server.log)
    download("icbhi", tmp_path, server.url)
    assert len(server.log) == asked


def test_an_archive_put_there_by_hand_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ICBHI_final_database.zip").write_bytes(server.files["ICBHI_final_database.zip"])
    download("icbhi", tmp_path, server.url)
    assert asked_for_the_archive(server) == []
    assert (tmp_path / "ICBHI_final_database" / f"{STEM}.txt").is_file()


def test_goes_on_after_cuts(server: Server, tmp_path: Path) -> None:
    server.cuts = 2
    download("icbhi", tmp_path, server.url)
    size = len(server.files["ICBHI_final_database.zip"])
    first = size // 3
    second = first + (size - first) // 3
    assert asked_for_the_archive(server) == [None, f"bytes={first}-", f"bytes={second}-"]
    assert (tmp_path / "ICBHI_final_database" / f"{STEM}.wav").stat().st_size == 3_000_000


def test_goes_on_where_an_earlier_run_stopped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ICBHI_final_database.zip.part").write_bytes(server.files["ICBHI_final_database.zip"][:1000])
    download("icbhi", tmp_path, server.url)
    assert asked_for_the_archive(server) == ["bytes=1000-"]


def test_a_whole_part_file_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ICBHI_final_database.zip.part").write_bytes(server.files["ICBHI_final_database.zip"])
    download("icbhi", tmp_path, server.url)
    assert (tmp_path / "ICBHI_final_database" / f"{STEM}.txt").is_file()


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "ICBHI_final_database.zip.part").write_bytes(b"old" * 50)
    download("icbhi", tmp_path, server.url)
    assert (tmp_path / "ICBHI_final_database" / f"{STEM}.txt").is_file()


def test_wrong_checksum_is_named_and_the_file_removed(server: Server, tmp_path: Path) -> None:
    right = server.files["ICBHI_final_database.zip"]
    wrong = archive(extra=b"1")
    server.files["ICBHI_final_database.zip"] = wrong
    message = refused(server, tmp_path)
    for part in (hashlib.md5(right).hexdigest(), hashlib.md5(wrong).hexdigest(), "again", "doi:10.7910/DVN/HT6PKI"):
        assert part in message
    assert [p.name for p in tmp_path.iterdir()] == ["ICBHI_challenge_train_test.txt"]
    server.files["ICBHI_final_database.zip"] = right
    download("icbhi", tmp_path, server.url)


def test_line_ends_of_the_split_do_not_count_its_lines_do(server: Server, tmp_path: Path) -> None:
    server.files["ICBHI_challenge_train_test.txt"] = SPLIT.replace("\n", "\r\n").encode()
    download("icbhi", tmp_path / "a", server.url)
    server.files["ICBHI_challenge_train_test.txt"] = SPLIT.replace("train", "test").encode()
    assert "is not the official split" in refused(server, tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []


def test_a_split_that_was_there_is_not_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ICBHI_challenge_train_test.txt").write_text("mine\ttrain\n")
    assert "Remove it" in refused(server, tmp_path)
    assert (tmp_path / "ICBHI_challenge_train_test.txt").read_text() == "mine\ttrain\n"


def test_server_down(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ICBHI_challenge_train_test.txt").write_text(SPLIT)
    (tmp_path / "ICBHI_final_database.zip.part").write_bytes(b"x" * 100)
    with pytest.raises(AuscultError, match="no connection") as error:
        download("icbhi", tmp_path, "http://127.0.0.1:9/data")
    message = error.value.message
    assert "100 bytes are kept" in message
    assert "run the same command again" in message


def test_file_not_on_the_server(server: Server, tmp_path: Path) -> None:
    del server.files["ICBHI_final_database.zip"]
    assert "the server answers 404" in refused(server, tmp_path)


def test_names_and_addresses_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match=r"E_DATA.*github\.com/SJTU-YONGFU-RESEARCH-GRP/SPRSound"):
        download("sprsound", tmp_path)
    with pytest.raises(AuscultError, match=r"E_SETTING.*Did you mean 'icbhi'"):
        download("icbh", tmp_path)
    with pytest.raises(AuscultError, match="E_SETTING: base_url='file:///etc'"):
        download("icbhi", tmp_path, "file:///etc")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuscultError, match="E_DISK"):
        download("icbhi", tmp_path / "file" / "icbhi", "http://127.0.0.1:9/data")


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
def test_an_archive_that_leads_out_is_not_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(archive(**{name: b"x"}))
    with pytest.raises(AuscultError, match=r"E_DATA.*leads out of its folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out" / "ICBHI_final_database")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip"]


def test_a_damaged_archive_leaves_no_database(tmp_path: Path) -> None:
    content = bytearray(archive())
    content[1_000_000] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(AuscultError, match=r"E_DATA.*no whole zip file"):
        unpack(tmp_path / "a.zip", tmp_path / "ICBHI_final_database")
    assert not (tmp_path / "ICBHI_final_database").exists()


def test_files_at_the_top_of_an_archive_and_what_an_earlier_attempt_left(tmp_path: Path) -> None:
    (tmp_path / "ICBHI_final_database.unpacking").mkdir()
    (tmp_path / "ICBHI_final_database.unpacking" / "stale.txt").touch()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(f"{STEM}.txt", "0.0\t1.0\t0\t0\n")
    unpack(tmp_path / "a.zip", tmp_path / "ICBHI_final_database")
    assert [p.name for p in (tmp_path / "ICBHI_final_database").iterdir()] == [f"{STEM}.txt"]


@pytest.mark.data
def test_the_checksum_of_the_split_is_that_of_the_real_one(data_dir: Path) -> None:
    path = data_dir / "icbhi" / "ICBHI_challenge_train_test.txt"
    module._split("http://127.0.0.1:9/unused", path, module.ICBHI)
