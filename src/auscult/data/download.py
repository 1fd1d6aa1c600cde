"""Fetches a data set from where its authors publish it, checks it, unpacks it.

A download that was cut is continued where it stopped. Only an archive whose checksum is right is unpacked, and the
unpacked folder appears under its name only when it is whole.
"""

import hashlib
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import AuscultError, unknown
from ..fetch import fetch
from ..progress import say
from . import sprsound


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a data set is published: an archive with its md5, and a split file beside it with that of its lines."""

    base_url: str
    archive: str
    archive_md5: str
    database: str
    split: str
    split_md5: str
    elsewhere: str


# The archive's md5 is the one its users report for this address. The md5 of the split is of its lines joined by "\n"
# with no line end after the last: so are the copies in the public code of the field (for instance Patch-Mix CL,
# data/icbhi_dataset/official_split.txt). Checked: a copy with a last line end (md5 591647500df5beb603409ab8b1bae9f3)
# has the same 920 lines. Which of the two the site serves was not checked, so line ends do not count here.
ICBHI = Source(
    base_url="https://bhichallenge.med.auth.gr/sites/default/files/ICBHI_final_database",
    archive="ICBHI_final_database.zip",
    archive_md5="f6a5d0ea40bbcd25e17754f9d5ddae48",
    database="ICBHI_final_database",
    split="ICBHI_challenge_train_test.txt",
    split_md5="0a7701e4e3e126f8c5e142a21bdfdad7",
    elsewhere="Harvard Dataverse has the same archive: doi:10.7910/DVN/HT6PKI",
)


def download(name: str, folder: Path, base_url: str | None = None) -> Path:
    """Fetches data set `name` into `folder`, ready for its reader; what is there already is not fetched again.

    Args:
        name: ``icbhi``.
        folder: made if it does not exist.
        base_url: another place that has the same files under the same names.

    Returns:
        The folder.

    Raises:
        AuscultError: E_SETTING for an unknown name or address, E_DATA when the download fails or is not the published
            file, E_DISK when it cannot be written. The archive of SPRSound has no published checksum: E_DATA says
            where to get it.
    """
    if name == "sprsound":
        raise AuscultError("E_DATA", f"sprsound has no archive with a published checksum. {sprsound.ADVICE}")
    if name != "icbhi":
        raise unknown("data set to download", name, ["icbhi"])
    source, folder = ICBHI, Path(folder)
    base = (base_url or source.base_url).rstrip("/")
    if urlsplit(base).scheme not in ("http", "https"):
        raise AuscultError("E_SETTING", f"base_url={base_url!r}; an address with http:// or https:// is needed.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _split(f"{base}/{source.split}", folder / source.split, source)
        if (folder / source.database).exists():
            say(f"{folder / source.database} is there already; the archive is not fetched again")
        else:
            checksum = f"md5:{source.archive_md5}"
            archive = fetch(f"{base}/{source.archive}", folder / source.archive, checksum, source.elsewhere)
            unpack(archive, folder / source.database)
    except OSError as error:
        reason = error.strerror or str(error)
        raise AuscultError("E_DISK", f"cannot write to {folder}: {reason}. Free space or choose another.") from error
    return folder


def unpack(archive: Path, database: Path) -> None:
    """Unpacks a zip so that its files lie in `database`, which appears only when it is whole.

    Raises:
        AuscultError: E_DATA, for an archive that is damaged or has an entry that leads out of its folder.
    """
    working = database.with_name(database.name + ".unpacking")
    if working.exists():  # an earlier attempt was stopped
        shutil.rmtree(working)
    try:
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                parts = Path(entry.filename.replace("\\", "/")).parts
                link = (entry.external_attr >> 16) & 0o170000 == 0o120000
                if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in entry.filename or link:
                    message = (
                        f"{archive} has the entry {entry.filename!r}, which leads out of its folder; not unpacked."
                    )
                    raise AuscultError("E_DATA", message)
            file.extractall(working)
    except zipfile.BadZipFile as error:
        raise AuscultError("E_DATA", f"{archive} is no whole zip file ({error}); remove it and try again.") from error
    inner = working / database.name
    (inner if inner.is_dir() else working).replace(database)
    if working.exists():
        shutil.rmtree(working)


def _split(url: str, path: Path, source: Source) -> None:
    """The split file, with a check of its lines; a fresh one that is wrong is removed."""
    fresh = not path.exists()
    if fresh:
        fetch(url, path, None, source.elsewhere)
    lines = path.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
    found = hashlib.md5("\n".join(lines).encode()).hexdigest()
    if found == source.split_md5:
        return
    if fresh:
        path.unlink()
    raise AuscultError(
        "E_DATA",
        f"{path} is not the official split: its lines have md5 {found}, expected {source.split_md5}. "
        f"{'It was removed; run' if fresh else 'Remove it and run'} the same command again.",
    )
