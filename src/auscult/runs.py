"""The run folder: what was asked, where it ran, what it measured, and a checkpoint that survives a power cut.

    recipe.json  environment.json  metrics.jsonl  checkpoint.safetensors  weights/*.safetensors
    scores.json  predictions.csv  shift.csv  report.html  (these four by `auscult evaluate`)
    tensorboard/  where it is installed

Every file but the log is written under another name, synced to the disk and then renamed, so a reader never sees half a
file. Tensors are safetensors, everything else is JSON: nothing here can run code when it is read.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import AuscultError
from .version import __version__

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of the system's error: there is no room


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; on leaving it is synced and takes the place of `path`.

    What a killed process leaves under the temporary name is written over when `path` is written the next time.

    Raises:
        AuscultError: E_DISK when the disk is full or the folder cannot be written; the old file is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(path) as temporary:
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
    except OSError as error:
        raise unwritten(path, error) from error


def unwritten(path: Path, error: OSError) -> AuscultError:
    """The error for a file that could not be written: says why, and what to do."""
    reason = error.strerror or str(error)
    return AuscultError("E_DISK", f"cannot write {path}: {reason}. Free space or choose another folder.")


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    """A temporary name that is this block's alone; the file is removed when the block fails.

    The system holds the claim for the open file and gives it up when the process ends, however it ends.
    """
    own = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # where another process writes the same file just now
    temporary, held = own, None
    for name in (path.with_name(f".{path.name}.tmp"), own) if fcntl else ():
        if (held := _hold(name)) is not None:
            temporary = name
            break
    try:
        yield temporary
    except BaseException:
        with contextlib.suppress(OSError):  # of a disk that fails, which is being told
            temporary.unlink(missing_ok=True)
        raise
    finally:
        if held is not None:
            os.close(held)


def _hold(name: Path, create: int = os.O_CREAT) -> int | None:
    """An open file that nobody else holds under that name; None where somebody does, or it cannot be opened."""
    try:
        held = os.open(name, os.O_RDWR | create, 0o666)
    except OSError:
        return None  # the caller's own attempt says why
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), name.stat()):  # else it was renamed between the two calls
            os.ftruncate(held, 0)
            return held
    except OSError:
        pass
    os.close(held)
    return None


def sweep(folder: Path) -> None:
    """Removes temporary files of `replacing` whose processes were killed; those being written stay."""
    for name in folder.glob(".*.tmp") if fcntl else ():
        if (held := _hold(name, create=0)) is not None:
            name.unlink()
            os.close(held)


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes a text file so that it is either the old one or the whole new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, indented; see `write_text`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
        AuscultError: E_RUN when it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AuscultError(
            "E_RUN", f"{path} does not exist; give the folder that `auscult train` wrote with --out."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise AuscultError("E_RUN", f"{path} cannot be read: {error}.") from error


def without_nan(value: Any) -> Any:
    """NaN is no JSON: null in its place."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def scores_in(folder: Path) -> dict[str, Any] | None:
    """The content of scores.json; None where it, or the predictions.csv that it was made with, is not there.

    An evaluation that was killed between the two files leaves the predictions of the one before beside its scores.

    Raises:
        AuscultError: E_RUN.
    """
    scores, predictions = folder / "scores.json", folder / "predictions.csv"
    if not (scores.exists() and predictions.exists()):
        return None
    told = read_json(scores)
    wanted = told.get("predictions_sha256")  # scores of earlier versions have none
    return told if wanted is None or wanted == file_sha256(predictions) else None


class Run:
    """A run folder.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.recipe_file = self.folder / "recipe.json"
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.metrics = self.folder / "metrics.jsonl"
        self.listeners: list[Callable[[dict[str, Any]], object]] = []  # get every record that is logged from now on

    @property
    def exists(self) -> bool:
        return self.recipe_file.exists()

    def settings(self) -> dict[str, Any]:
        """The content of recipe.json: recipe, dataset, seed, classes.

        Raises:
            AuscultError: E_RUN when this is no run folder.
        """
        return read_json(self.recipe_file)

    def weights(self, selection: str) -> Path:
        """The weights file of that selection: ``last``, ``validation`` or ``best_on_test``."""
        return self.folder / "weights" / f"{selection}.safetensors"

    def log(self, record: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl and syncs it.

        Raises:
            AuscultError: E_DISK; half a line may stay, which `history` leaves out and `rewind` removes.
        """
        try:
            with self.metrics.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(record) + "\n")
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise unwritten(self.metrics, error) from error
        for listener in self.listeners:
            listener(record)

    def history(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl; a last line cut by a crash is left out."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def rewind(self, epochs: int) -> None:
        """Keeps the records of the first `epochs` epochs: those that the checkpoint holds too."""
        kept = [r for r in self.history() if r["epoch"] <= epochs]
        write_text(self.metrics, "".join(json.dumps(r) + "\n" for r in kept))


def weights_file(source: Run | Path, selection: str | None = None) -> Path:
    """Where the weights of a run lie.

    Raises:
        AuscultError: E_RUN, naming the selections that exist.
    """
    if isinstance(source, Path):
        if source.is_file():
            return source
        source = Run(source)
    wanted = selection or source.settings()["recipe"]["selection"]
    file = source.weights(wanted)
    if not file.exists():
        there = sorted(f.stem for f in file.parent.glob("*.safetensors"))
        have = f"there are: {', '.join(there)}" if there else "there are none yet; train or resume the run"
        raise AuscultError("E_RUN", f"{source.folder} has no weights selected by {wanted!r}; {have}.")
    return file


def environment() -> dict[str, Any]:
    """Where a run takes place: versions, processor, threads, accelerator and commit.

    What torch is set to is None in a process that works without it.
    """
    names = ("torch", "numpy", "numba", "soundfile", "soxr", "accelerate")
    torch = sys.modules.get("torch")
    cuda = torch is not None and torch.cuda.is_available()
    return {
        "auscult": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads() if torch else None,
        "matmul": torch.get_float32_matmul_precision() if torch else None,
        "gpu": torch.cuda.get_device_name() if torch and cuda else None,
        "versions": {n: metadata.version(n) for n in names if _installed(n)},
        "command": " ".join(sys.argv),
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def commit() -> str | None:
    """The commit of the checkout this package runs from, with ``+`` behind it if files were changed; else None."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "--", here], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # installed from a wheel: the version says it
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
